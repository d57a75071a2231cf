//! Judgement: the touched groups of a second, the deadlines that have come, first-seen errors as they arrive.

use std::time::Duration;

use chrono::{Offset, TimeZone};

use crate::alert::state::{AlertState, Edge};
use crate::model::event::SCRIPT_ERROR;
use crate::model::transition::WITHDRAWN;
use crate::model::{Batch, Event, Timestamp};
use crate::rule::detector::{Detector, Look, Over, Since};
use crate::rule::first_seen::{RESOLVE_SECS, Sighting};
use crate::rule::spike::{Stream, thresholds};
use crate::rule::window::{Sight, absent_holds, frequency_holds, threshold_holds};
use crate::rule::{Condition, Rule};

use super::finding::{Cause, Scene};
use super::group::{Group, Novelty, OpenError, RuleState};
use super::{Output, Watch};

/// While a fixed window holds anything, it is looked at again after so many seconds.
const SLIDE_SECS: i64 = 10;

/// Names of dimensions' values kept, or as many as there are series.
const NAMES_MAX: usize = 65_536;

/// Looks at a group without errors that are kept before it gets a detector.
const YOUNG_LOOKS: usize = 6;

/// What one stream of a group showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    stream: Stream,
    look: Look,
    since: Since,
    /// Evidence before this look.
    before: f64,
}

impl Watch {
    /// Lets time pass: judges the gathered second when it is over and all deadlines up to `to`, each at its own time.
    pub(super) fn advance(&mut self, to: Timestamp, out: &mut Output) {
        let early = self.early();
        if to.secs() == self.state.second
            && self.state.deadlines.first().is_none_or(|first| first > to)
            && early.is_none_or(|early| early > to)
        {
            return;
        }
        loop {
            let close = (!self.state.touched.is_empty()).then(|| Timestamp::from_secs(self.state.second + 1));
            let wake = self.state.deadlines.first();
            let hour = self.next_count(to);
            let early = self.early();
            let soonest = close.into_iter().chain(wake).chain(hour).chain(early).min();
            let Some(next) = soonest.filter(|next| *next <= to) else { break };
            if close == Some(next) {
                self.judge_touched(next, out);
            } else if early == Some(next) {
                self.judge_early(next, out);
            }
            if hour == Some(next) {
                self.count_groups(next);
            }
            while let Some((at, spots)) = self.state.deadlines.take(next) {
                for (cut, group, place) in spots {
                    self.judge_woken(cut, group, place as usize, at, next, out);
                }
            }
        }
        if self.state.touched.is_empty() {
            self.state.second = to.secs();
            self.rest(to);
        }
    }

    /// Judges every touched group, in the order in which they were touched.
    pub(super) fn judge_touched(&mut self, now: Timestamp, out: &mut Output) {
        self.clear_suspects();
        let mut touched = std::mem::take(&mut self.state.touched);
        for &(cut, group) in &touched {
            self.judge_group(cut, group, now, out);
        }
        touched.clear();
        self.state.touched = touched;
        self.bound_names();
        self.rest(now);
    }

    /// Packs groups that have been quiet.
    fn rest(&mut self, now: Timestamp) {
        for cut in &mut self.state.cuts {
            cut.groups.rest(now.secs());
        }
    }

    /// Forgets the names of values when there are many, once no group needs them any more.
    fn bound_names(&mut self) {
        if self.state.names.len() <= NAMES_MAX.max(self.series_count()) {
            return;
        }
        for cut in &mut self.state.cuts {
            cut.groups.for_some_mut(|head| head.noted, |_, group| group.settle_all(&self.state.names));
        }
        self.state.names.clear();
        self.named.fill(0);
    }

    fn judge_group(&mut self, cut: u32, index: u32, now: Timestamp, out: &mut Output) {
        let group = &mut self.state.cuts[cut as usize].groups[index as usize];
        group.touched = false;
        group.settle(&self.state.names);
        let (minutes, counts) = (std::mem::take(&mut group.minutes), std::mem::take(&mut group.came));
        let wants_spike = group.rules.iter().any(|s| matches!(self.plan.rules[s.rule].condition, Condition::Spike(_)));
        if wants_spike {
            self.judge_spike(cut, index, now, out);
        } else {
            group.drop_pending();
        }
        for place in 0..self.state.cuts[cut as usize].groups[index as usize].rules.len() {
            let state = &self.state.cuts[cut as usize].groups[index as usize].rules[place];
            match self.plan.rules[state.rule].condition {
                Condition::Drop(_) => self.judge_drop(cut, index, place, &minutes, now, out),
                Condition::Release(_) => self.judge_release(cut, index, place, Some(&counts), now, out),
                _ => self.judge_rule(cut, index, place, now, out),
            }
        }
    }

    /// A spot that was booked for `at` comes up; it is judged if it has not been put off since.
    fn judge_woken(&mut self, cut: u32, index: u32, place: usize, at: Timestamp, now: Timestamp, out: &mut Output) {
        let group = &mut self.state.cuts[cut as usize].groups[index as usize];
        let Some(state) = group.rules.get_mut(place).filter(|state| state.booked == at.secs()) else { return };
        state.booked = 0;
        match state.wake {
            Some(wake) if wake > now => {
                state.booked = wake.secs();
                self.state.deadlines.book(wake.secs(), (cut, index, place as u32));
            }
            Some(_) => {
                state.wake = None;
                self.judge_rule(cut, index, place, now, out);
            }
            None => {}
        }
    }

    /// Seconds that the group's site is ahead of UTC.
    pub(super) fn zone_secs(&self, site: u32, now: Timestamp) -> f64 {
        let name = &self.state.sites[site as usize].name;
        let zone = self.config.sites.get(name).unwrap_or(&self.config.default_site).time_zone;
        zone_secs(zone, now)
    }

    /// [`Group::grow_up`]
    pub(super) fn grow_up(&mut self, cut: u32, index: u32, now: Timestamp) {
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        if group.detector.is_some() {
            return;
        }
        let name = &self.state.sites[group.site as usize].name;
        let zone = self.config.sites.get(name).unwrap_or(&self.config.default_site).time_zone;
        let deploy = self.deploy_secs(group);
        self.state.cuts[cut as usize].groups[index as usize].grow_up(now, zone, deploy);
    }

    /// When a release last came that the group's page has, in seconds since the epoch.
    pub(super) fn deploy_secs(&self, group: &Group) -> Option<f64> {
        self.state.sites[group.site as usize].releases.deploy_of(&group.key.page).map(|deploy| deploy.at.secs_f64())
    }

    /// Lets the detectors of a group look, and every spike rule consider what they saw.
    pub(super) fn judge_spike(&mut self, cut: u32, index: u32, now: Timestamp, out: &mut Output) {
        let mut looks = std::mem::take(&mut self.looks);
        looks.clear();
        let quiet = self.look(cut, index, now, &mut looks);
        let rules = self.state.cuts[cut as usize].groups[index as usize].rules.len();
        for place in 0..rules {
            let group = &self.state.cuts[cut as usize].groups[index as usize];
            if matches!(self.plan.rules[group.rules[place].rule].condition, Condition::Spike(_)) {
                if !looks.is_empty() {
                    self.consider_looks(cut, index, place, now, &looks, &quiet, out);
                }
                let late = self.state.cuts[cut as usize].groups[index as usize].late_wake();
                self.set_wake(cut, index, place, late, now);
            }
        }
        self.looks = looks;
    }

    /// Lets the detectors of a group look at what came, the whole first. Returns streams whose traffic is gone.
    fn look(&mut self, cut: u32, index: u32, now: Timestamp, looks: &mut Vec<Seen>) -> Vec<Stream> {
        let secs = now.secs_f64();
        let site = self.state.cuts[cut as usize].groups[index as usize].site;
        let zone = self.zone_secs(site, now);
        let deploy = self.deploy_secs(&self.state.cuts[cut as usize].groups[index as usize]);
        let group = &mut self.state.cuts[cut as usize].groups[index as usize];
        let counts = group.pending.take(now);
        if counts.views + counts.units == 0.0 {
            group.pending.give_back(&counts);
            return Vec::new();
        }
        if group.detector.is_none() && counts.units == 0.0 && group.young.len() < YOUNG_LOOKS {
            group.young.push((now, counts.views));
            return Vec::new();
        }
        self.grow_up(cut, index, now);
        let group = &mut self.state.cuts[cut as usize].groups[index as usize];
        group.open_slices(now);
        let Some(detector) = group.detector.as_mut() else { return Vec::new() };
        let (told, before) = (detector.is_firing(), detector.evidence());
        let look = detector.look(secs, counts, zone, deploy);
        looks.push(Seen { stream: Stream::Whole, look, since: detector.since(), before });
        // Something that recurs is over, untold: nor are its slices told.
        let untold = look.over.is_some() && !told;
        self.tally.held_back += u64::from(untold);
        for of_dim in &mut group.slices {
            for slice in &mut of_dim.slices {
                let counts = slice.pending.take(now);
                if let Some(detector) = slice.detector.as_mut().filter(|_| untold) {
                    detector.forget_evidence();
                }
                if let Some(detector) = slice.detector.as_mut().filter(|_| counts.views + counts.units > 0.0) {
                    let (stream, before) = (Stream::Slice(of_dim.dim, slice.hash), detector.evidence());
                    let look = detector.look(secs, counts, zone, deploy);
                    looks.push(Seen { stream, look, since: detector.since(), before });
                }
            }
        }
        group.abandon_slices(now)
    }

    /// One spike rule considers what was seen.
    fn consider_looks(
        &mut self,
        cut: u32,
        index: u32,
        place: usize,
        now: Timestamp,
        looks: &[Seen],
        quiet: &[Stream],
        out: &mut Output,
    ) {
        let group = &mut self.state.cuts[cut as usize].groups[index as usize];
        let slices = group.watched_slices();
        let state = &mut group.rules[place];
        let rule = &self.plan.rules[state.rule];
        let Condition::Spike(spike) = &rule.condition else { return };
        let (whole, slice) = thresholds(self.state.budgets.alpha(state.rule), slices);
        let bar_of = |stream| if stream == Stream::Whole { whole } else { slice };
        let was_firing = state.spike.first().is_some();
        for stream in quiet {
            state.spike.over(*stream, Over::Back);
        }
        // What recurs on the page recurs in its slices, unless one of them fails far more often.
        let rate = |seen: &Seen| seen.since.units / seen.since.views.max(1.0);
        let echoes = |seen: &Seen| looks[0].look.recurs && rate(seen) <= 2.0 * rate(&looks[0]);
        let mut crossing: Option<&Seen> = None;
        for seen in looks {
            self.tally.weigh(seen.before, seen.look.evidence, bar_of(seen.stream));
            if let Some(why) = seen.look.over {
                state.spike.over(seen.stream, why);
            } else if !echoes(seen) && state.spike.consider(spike, seen.stream, &seen.look, seen.since, bar_of(seen.stream)) {
                let score = |seen: &Seen| seen.look.evidence / bar_of(seen.stream);
                if crossing.is_none_or(|best| score(seen) > score(best)) {
                    crossing = Some(seen);
                }
                fire_stream(group_detector(&mut group.detector, &mut group.slices, seen.stream), now.secs_f64());
            }
        }
        if let Some(best) = crossing.filter(|_| !was_firing) {
            state.spike.lead_with(best.stream);
        }
        let (detector, of_dims) = (&group.detector, &group.slices);
        let calm = |stream| stream_in(detector.as_deref(), of_dims, stream).map_or(f64::INFINITY, Detector::calm);
        let holds = state.spike.holds(calm);
        let best = *crossing.unwrap_or(&looks[0]);
        let edge = state.alert.step(now, Some(holds), rule.hold, rule.keep_firing);
        if looks[0].look.over.is_some() {
            group.be_deaf_to(now);
        }
        match edge {
            Some(Edge::Fire) => {
                group.be_deaf_to(Timestamp::from_secs(best.since.began as i64));
                let cause = Cause::Spike { stream: best.stream, look: best.look, bar: bar_of(best.stream) };
                self.say_firing(cut, index, place, now, cause, out);
            }
            Some(Edge::Resolve) => {
                group.be_deaf_to(now);
                self.say_resolved(cut, index, place, now, out);
            }
            None => {}
        }
    }

    /// Judges one rule of a group, spikes aside: at the end of a second that touched it, or at its deadline.
    pub(super) fn judge_rule(&mut self, cut: u32, index: u32, place: usize, now: Timestamp, out: &mut Output) {
        let group = &mut self.state.cuts[cut as usize].groups[index as usize];
        let late_wake = group.late_wake();
        let state = &mut group.rules[place];
        let rule = &self.plan.rules[state.rule];
        let sight = Sight { ring: &group.ring, sessions: &group.sessions, site_seen: self.state.sites[group.site as usize].seen };
        let slides;
        let (holds, cause) = match &rule.condition {
            Condition::Spike(_) => {
                // Judged with the looks; here only `for` and `keep_firing_for` run on, and late counts have waited long enough.
                if late_wake.is_some_and(|wake| wake <= now) {
                    return self.judge_spike(cut, index, now, out);
                }
                slides = late_wake;
                (Some(state.spike.first().is_some()), Cause::Again)
            }
            Condition::Drop(_) => return self.judge_drop(cut, index, place, &[], now, out),
            Condition::Release(_) => return self.judge_release(cut, index, place, None, now, out),
            Condition::FirstSeen(_) => return self.close_novelties(cut, index, place, now, out),
            Condition::Threshold(threshold) => {
                let (holds, measured) = threshold_holds(threshold, &sight, now);
                let always = matches!(threshold.bound, crate::rule::Bound::Below(_));
                let holds_something = measured.tally.views + measured.tally.errors > 0;
                slides = slide(now, threshold.over.as_secs() as i64, holds_something || always, state);
                (holds, Cause::Window { measured, secs: threshold.over.as_secs() as i64 })
            }
            Condition::Frequency(frequency) => {
                let (holds, measured) = frequency_holds(frequency, &sight, now);
                // A count only falls while nothing comes.
                slides = slide(now, frequency.within.as_secs() as i64, false, state);
                (holds, Cause::Window { measured, secs: frequency.within.as_secs() as i64 })
            }
            Condition::Absent(absent) => {
                // While it fires, only what was missed ends it: a restart brought nothing back.
                let fires = state.alert.is_firing();
                let last = if fires { group.view_seen } else { group.view_seen.max(self.state.resumed) };
                let holds = absent_holds(absent, last, now);
                slides = (!holds).then(|| last + absent.over);
                (Some(holds), Cause::Silence { last, secs: absent.over.as_secs() as i64 })
            }
        };
        let edge = state.alert.step(now, holds, rule.hold, rule.keep_firing);
        match edge {
            Some(Edge::Fire) => self.say_firing(cut, index, place, now, cause, out),
            Some(Edge::Resolve) => self.say_resolved(cut, index, place, now, out),
            None => {}
        }
        self.set_wake(cut, index, place, slides, now);
    }

    /// Sets the next deadline of a rule: its own and that of the alert's `for` or `keep_firing_for`.
    pub(super) fn set_wake(&mut self, cut: u32, index: u32, place: usize, own: Option<Timestamp>, now: Timestamp) {
        let state = &mut self.state.cuts[cut as usize].groups[index as usize].rules[place];
        let rule = &self.plan.rules[state.rule];
        let alert = state.alert.deadline(rule.hold, rule.keep_firing);
        let soonest = own.into_iter().chain(alert).min();
        // Deadlines lie on whole seconds, and always ahead.
        let wake = soonest.map(|at| Timestamp::from_secs(((at.millis() + 999) / 1000).max(now.secs() + 1)));
        state.wake = wake;
        if let Some(wake) = wake.map(Timestamp::secs)
            && (state.booked == 0 || wake < state.booked)
        {
            state.booked = wake;
            self.state.deadlines.book(wake, (cut, index, place as u32));
        }
    }

    /// First-seen rules look at each error as it arrives.
    pub(super) fn judge_novelty(&mut self, cut: u32, index: u32, batch: &Batch, event: &Event, out: &mut Output) {
        if batch.str(batch.error(event).fingerprint) == SCRIPT_ERROR {
            return;
        }
        let rules = self.state.cuts[cut as usize].groups[index as usize].rules.len();
        for place in 0..rules {
            let group = &mut self.state.cuts[cut as usize].groups[index as usize];
            let state = &mut group.rules[place];
            let rule = &self.plan.rules[state.rule];
            if !matches!(rule.condition, Condition::FirstSeen(_)) {
                continue;
            }
            let site = &mut self.state.sites[group.site as usize];
            let error = batch.error(event);
            let now = event.arrival;
            let novelty = state.novelty.get_or_insert_with(Box::default);
            let open = novelty.open.iter_mut().find(|open| open.hash == error.fingerprint_hash);
            if let Some(open) = open {
                open.seen = now;
                open.count += u64::from(event.count);
            }
            let after_deploy = site
                .releases
                .deploy_of(&group.key.page)
                .is_some_and(|deploy| (0..1800).contains(&(now.secs() - deploy.at.secs())));
            let sighting = Sighting {
                now: now.secs_f64(),
                fingerprint: error.fingerprint_hash,
                session: event.session,
                count: event.count,
                site_born: site.born.secs_f64(),
                after_deploy,
            };
            let budget = self.state.budgets.alpha(state.rule);
            if !novelty.page.see(&sighting, budget) || !site.told.may_tell(sighting.now, error.fingerprint_hash) {
                continue;
            }
            self.say_new_error(cut, index, place, batch, event, out);
            let wake = self.novelty_wake(cut, index, place);
            self.set_wake(cut, index, place, wake, now);
        }
    }

    /// Resolves told errors that have not come for an hour.
    fn close_novelties(&mut self, cut: u32, index: u32, place: usize, now: Timestamp, out: &mut Output) {
        let state = &mut self.state.cuts[cut as usize].groups[index as usize].rules[place];
        let Some(novelty) = state.novelty.as_mut() else { return };
        let is_over = |open: &OpenError| now.secs() - open.seen.secs() >= RESOLVE_SECS;
        let (over, open): (Vec<_>, Vec<_>) = std::mem::take(&mut novelty.open).into_iter().partition(is_over);
        novelty.open = open;
        for error in over {
            self.say_error_gone(cut, index, place, &error, now, out);
        }
        let own = self.novelty_wake(cut, index, place);
        self.set_wake(cut, index, place, own, now);
    }

    /// When the first of the told errors may be over.
    fn novelty_wake(&self, cut: u32, index: u32, place: usize) -> Option<Timestamp> {
        let state = &self.state.cuts[cut as usize].groups[index as usize].rules[place];
        let first = state.novelty.as_ref()?.open.iter().map(|open| open.seen).min()?;
        Some(first + Duration::from_secs(RESOLVE_SECS as u64))
    }

    /// Says the end of alerts whose rules are not in the new plan.
    pub(super) fn retire(&mut self, plan: &super::Plan, now: Timestamp, out: &mut Output) {
        let said = out.transitions.len();
        let kept: Vec<u64> = plan.rules.iter().map(Rule::condition_id).collect();
        let mut gone = Vec::new();
        for (cut, state) in self.state.cuts.iter().enumerate() {
            for (index, group) in state.groups.awake() {
                for (place, rule) in group.rules.iter().enumerate() {
                    if !kept.contains(&rule.condition) {
                        gone.push((cut as u32, index as u32, place));
                    }
                }
            }
        }
        for (cut, index, place) in gone {
            let state = &mut self.state.cuts[cut as usize].groups[index as usize].rules[place];
            let open = state.novelty.as_mut().map(|novelty| std::mem::take(&mut novelty.open)).unwrap_or_default();
            let fires = state.alert.is_firing();
            if state.rule < self.plan.rules.len() {
                if fires {
                    self.say_resolved(cut, index, place, now, out);
                }
                for error in open {
                    self.say_error_gone(cut, index, place, &error, now, out);
                }
            }
        }
        for transition in &mut out.transitions[said..] {
            WITHDRAWN.clone_into(&mut transition.reason);
        }
    }

    /// Keeps what was learned and forgets what fires: history announces nothing.
    pub(super) fn forget_alerts(&mut self) {
        self.clear_suspects();
        self.state.touched.clear();
        self.forget_site_drops();
        for cut in &mut self.state.cuts {
            cut.groups.for_each_mut(|_, group| group.forget_alerts(&self.state.names));
        }
    }
}

fn group_detector<'a>(
    whole: &'a mut Option<Box<Detector>>,
    slices: &'a mut [super::slices::DimSlices],
    stream: Stream,
) -> Option<&'a mut Box<Detector>> {
    match stream {
        Stream::Whole => whole.as_mut(),
        Stream::Slice(dim, hash) => slices
            .iter_mut()
            .find(|of_dim| of_dim.dim == dim)?
            .slices
            .iter_mut()
            .find(|slice| slice.hash == hash)?
            .detector
            .as_mut(),
    }
}

pub(super) fn stream_in<'a>(
    whole: Option<&'a Detector>,
    slices: &'a [super::slices::DimSlices],
    stream: Stream,
) -> Option<&'a Detector> {
    match stream {
        Stream::Whole => whole,
        Stream::Slice(dim, hash) => {
            let of_dim = slices.iter().find(|of_dim| of_dim.dim == dim)?;
            of_dim.slices.iter().find(|slice| slice.hash == hash)?.detector.as_deref()
        }
    }
}

fn fire_stream(detector: Option<&mut Box<Detector>>, now: f64) {
    if let Some(detector) = detector {
        detector.fire(now);
    }
}

/// When a fixed window must be looked at again: while it may change its verdict, or its alert is not at rest.
fn slide(now: Timestamp, secs: i64, may_change: bool, state: &RuleState) -> Option<Timestamp> {
    let step = SLIDE_SECS.min(secs.max(1));
    (may_change || state.alert != AlertState::Inactive).then(|| Timestamp::from_secs((now.secs() / step + 1) * step))
}

/// Seconds that a zone is ahead of UTC.
pub(super) fn zone_secs(zone: chrono_tz::Tz, at: Timestamp) -> f64 {
    if zone == chrono_tz::UTC {
        return 0.0;
    }
    f64::from(zone.offset_from_utc_datetime(&at.utc().naive_utc()).fix().local_minus_utc())
}

/// The scene of a group: what `finding` needs to describe it.
impl Watch {
    pub(super) fn scene(&self, cut: u32, index: u32, place: usize) -> Scene<'_> {
        let group: &Group = &self.state.cuts[cut as usize].groups[index as usize];
        let site = &self.state.sites[group.site as usize];
        let plan = self.config.sites.get(&site.name).unwrap_or(&self.config.default_site);
        let state = &group.rules[place];
        let whole_site = state.drop.as_ref().and_then(|drop| drop.whole_site());
        Scene { group, site, plan, rule: &self.plan.rules[state.rule], whole_site }
    }

    pub(super) fn novelty_mut(&mut self, cut: u32, index: u32, place: usize) -> &mut Novelty {
        self.state.cuts[cut as usize].groups[index as usize].rules[place].novelty.get_or_insert_with(Box::default)
    }
}
