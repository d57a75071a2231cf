//! `drop` rules of a watch: each group's traffic by the clock, and silence of a whole site told once.
//!
//! When a group falls while nothing at all comes to the groups of its site that the rule watches, although the others should have
//! had several views by now, it is not the page: the first to cross *leads*, and its alert is about the site (no page, no step).
//! Those that cross while it stands are *folded* into it and say nothing. As soon as one of them has traffic again, by the same
//! statistics that raised it, the site's alert is over; whoever is still silent then is judged anew, alone.

use serde::{Deserialize, Serialize};

use crate::alert::state::{AlertState, Edge};
use crate::model::{Finding, Metric, Timestamp};
use crate::rule::drop::{Change, Traffic, View, threshold};

use super::Watch;
use super::finding::{Cause, Scene, nats, ratio};
use super::group::{Group, Minute, RuleState};
use super::site::Site;

/// Views that the others should have had: silence of less is chance (e⁻³ and below).
const EXPECTED_MIN: f64 = 3.0;

/// A site is not silent before so many seconds: clients send their events in bundles.
const SILENT_SECS: u64 = 30;

/// What a `drop` rule knows of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DropState {
    traffic: Traffic,
    part: Part,
    /// What ended the last firing.
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Part {
    /// Speaks for itself.
    Own,
    /// Speaks for the site.
    Leads(WholeSite),
    /// Told with the site.
    Folded,
}

/// The site as a whole when it fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WholeSite {
    /// Expected count a minute over all groups.
    expected: f64,
    groups: usize,
    seen: Timestamp,
}

/// What a `drop` rule knows of a site.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SiteDrop {
    condition: u64,
    /// When any group that the rule watches was last heard of.
    seen: Timestamp,
    /// The group whose alert stands for the site: cut, group, place.
    leader: Option<(u32, u32, u32)>,
}

/// How a stream fell.
pub(super) struct Fall {
    view: View,
    bar: f64,
}

impl DropState {
    /// The site, where the alert stands for it.
    pub(crate) fn whole_site(&self) -> Option<WholeSite> {
        if let Part::Leads(site) = self.part { Some(site) } else { None }
    }

    /// Whether it neither fires nor stands for others, nor another for it.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.part == Part::Own && !self.traffic.is_firing()
    }

    /// Whether it knows what is usual.
    pub(crate) fn expects(&self) -> bool {
        self.traffic.is_known()
    }

    /// Forgets what fires, keeps what was learned.
    pub(crate) fn forget(&mut self) {
        self.part = Part::Own;
        self.traffic.forget_firing();
    }
}

impl Site {
    fn drop_entry(&mut self, condition: u64) -> &mut SiteDrop {
        let place = self.drops.iter().position(|entry| entry.condition == condition).unwrap_or_else(|| {
            self.drops.push(SiteDrop { condition, seen: Timestamp::default(), leader: None });
            self.drops.len() - 1
        });
        &mut self.drops[place]
    }
}

impl Watch {
    /// Judges a `drop` rule of a group: `came` in the second that ends now, or its deadline has come.
    pub(super) fn judge_drop(
        &mut self,
        cut: u32,
        index: u32,
        place: usize,
        came: &[Minute],
        now: Timestamp,
        out: &mut super::Output,
    ) {
        let site = self.state.cuts[cut as usize].groups[index as usize].site;
        let zone = self.zone_secs(site, now);
        let resumed = (self.state.resumed.secs() + 59).div_euclid(60);
        let is_conversion = self.is_conversion(cut, index, place);
        let (state, bar) = self.drop_rule(cut, index, place);
        // What is judged at the end of a second came in it.
        let minute = (now.secs() - 1).div_euclid(60);
        let (condition, started) =
            (state.condition, || if is_conversion { Traffic::conversion(minute) } else { Traffic::new(minute) });
        let fresh = || Box::new(DropState { traffic: started(), part: Part::Own, ended: false });
        let drop = state.drop.get_or_insert_with(fresh);
        drop.traffic.skip_to(resumed);
        let mut changes = Vec::new();
        while let Some(change) = drop.traffic.judge_next(minute, zone, bar) {
            changes.extend(change);
        }
        for came in came {
            drop.traffic.add_sessions(came.at, came.tries);
            if came.count > 0.0 {
                drop.traffic.add(came.at, minute, came.count);
            }
        }
        while let Some(change) = drop.traffic.judge_next(now.secs().div_euclid(60), zone, bar) {
            changes.extend(change);
        }
        if !came.is_empty() {
            self.state.sites[site as usize].drop_entry(condition).seen = now;
        }
        for change in changes {
            self.note_change(cut, index, place, change, now, out);
        }
        self.step_drop(cut, index, place, now, out);
    }

    fn drop_rule(&mut self, cut: u32, index: u32, place: usize) -> (&mut RuleState, f64) {
        let rule = self.state.cuts[cut as usize].groups[index as usize].rules[place].rule;
        let bar = threshold(self.alpha(rule));
        (&mut self.state.cuts[cut as usize].groups[index as usize].rules[place], bar)
    }

    fn is_conversion(&self, cut: u32, index: u32, place: usize) -> bool {
        let rule = self.state.cuts[cut as usize].groups[index as usize].rules[place].rule;
        self.plan.rules[rule].condition.metric() == Some(&Metric::Conversion)
    }

    fn note_change(&mut self, cut: u32, index: u32, place: usize, change: Change, now: Timestamp, out: &mut super::Output) {
        // The deadline was set for another state.
        self.set_wake(cut, index, place, None, now);
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        let (site, condition) = (group.site, group.rules[place].condition);
        let leader = self.state.sites[site as usize].drop_entry(condition).leader;
        if change == Change::Fell {
            let part = match leader {
                Some(_) => Part::Folded,
                // Of two steps one may stop alone; where both do, nothing is judged.
                None if self.is_conversion(cut, index, place) => Part::Own,
                None => self.silent_site(cut, index, place, now).map_or(Part::Own, Part::Leads),
            };
            if matches!(part, Part::Leads(_)) {
                self.state.sites[site as usize].drop_entry(condition).leader = Some((cut, index, place as u32));
            }
            self.set_part(cut, index, place, part);
            return;
        }
        let Some(drop) = self.state.cuts[cut as usize].groups[index as usize].rules[place].drop.as_mut() else { return };
        drop.ended = change == Change::NewUsual;
        if drop.part == Part::Folded {
            drop.part = Part::Own;
        } else if leader != Some((cut, index, place as u32)) {
            return;
        }
        self.end_site_drop(site, condition, now, out);
    }

    fn set_part(&mut self, cut: u32, index: u32, place: usize, part: Part) {
        let state = &mut self.state.cuts[cut as usize].groups[index as usize].rules[place];
        // What has been told keeps its name until its resolve has been told.
        if let Some(drop) = state.drop.as_mut().filter(|_| state.alert == AlertState::Inactive) {
            drop.part = part;
        }
    }

    /// Whether nothing comes to any group of the site that the rule watches, although it should.
    fn silent_site(&self, cut: u32, index: u32, place: usize, now: Timestamp) -> Option<WholeSite> {
        let groups = &self.state.cuts[cut as usize].groups;
        let me = &groups[index as usize];
        let condition = me.rules[place].condition;
        let site = &self.state.sites[me.site as usize];
        let seen = site.drops.iter().find(|entry| entry.condition == condition)?.seen;
        let silence = now.since(seen);
        if silence.as_secs() < SILENT_SECS {
            return None;
        }
        let minutes = silence.as_secs_f64() / 60.0;
        let zone = self.zone_secs(me.site, now);
        let (mut expected, mut count) = (0.0, 0);
        for (other, _) in groups.heads().filter(|(_, head)| head.site == me.site && head.expects) {
            let group = groups.look(other);
            let Some(drop) = state_of(&group, condition) else { continue };
            let fires_alone = drop.traffic.is_firing() && other as u32 != index;
            if drop.traffic.is_known() && !fires_alone {
                expected += drop.traffic.view(zone).expected;
                count += 1;
            }
        }
        let own = state_of(me, condition)?.traffic.view(zone).expected;
        ((expected - own) * minutes >= EXPECTED_MIN).then_some(WholeSite { expected, groups: count, seen })
    }

    /// Something came again: the site's alert is over, and whoever was told with it speaks for itself.
    fn end_site_drop(&mut self, site: u32, condition: u64, now: Timestamp, out: &mut super::Output) {
        let Some((cut, index, place)) = self.state.sites[site as usize].drop_entry(condition).leader.take() else { return };
        let mut woken = Vec::new();
        for (member, group) in self.state.cuts[cut as usize].groups.awake_mut().filter(|(_, group)| group.site == site) {
            let Some(at) = group.rules.iter().position(|state| state.condition == condition) else { continue };
            let Some(drop) = group.rules[at].drop.as_mut() else { continue };
            if drop.part == Part::Folded {
                drop.forget();
                woken.push((member as u32, at));
            }
        }
        if let Some(drop) = &mut self.state.cuts[cut as usize].groups[index as usize].rules[place as usize].drop
            && drop.traffic.is_firing()
        {
            drop.traffic.forget_firing();
        }
        for (member, at) in woken {
            self.set_wake(cut, member, at, None, now);
            self.step_drop(cut, member, at, now, out);
        }
        self.set_wake(cut, index, place as usize, None, now);
        self.step_drop(cut, index, place as usize, now, out);
    }

    /// Steps the alert, says what changed, and sets the next deadline.
    fn step_drop(&mut self, cut: u32, index: u32, place: usize, now: Timestamp, out: &mut super::Output) {
        let zone = self.zone_secs(self.state.cuts[cut as usize].groups[index as usize].site, now);
        let rule = self.state.cuts[cut as usize].groups[index as usize].rules[place].rule;
        let (hold, keep) = (self.plan.rules[rule].hold, self.plan.rules[rule].keep_firing);
        let (state, bar) = self.drop_rule(cut, index, place);
        let Some(drop) = &state.drop else { return };
        let holds = drop.part != Part::Folded && drop.traffic.is_firing();
        let at_rest = !drop.traffic.is_firing() && state.alert == AlertState::Inactive;
        // A deadline that was set is early enough: what came since can only put the crossing off.
        let waits = at_rest && state.wake.is_some_and(|wake| wake > now);
        let (view, wake) = (drop.traffic.view(zone), if waits { 0 } else { drop.traffic.wake(zone, bar) });
        match state.alert.step(now, Some(holds), hold, keep) {
            Some(Edge::Fire) => self.say_firing(cut, index, place, now, Cause::Fell(Fall { view, bar }), out),
            Some(Edge::Resolve) => {
                self.say_resolved(cut, index, place, now, out);
                self.set_part(cut, index, place, Part::Own);
            }
            None => {}
        }
        if !waits {
            self.set_wake(cut, index, place, Some(Timestamp::from_secs(wake * 60)), now);
        }
    }

    /// History has been learned: no site is silent yet.
    pub(super) fn forget_site_drops(&mut self) {
        for entry in self.state.sites.iter_mut().flat_map(|site| &mut site.drops) {
            entry.leader = None;
        }
    }

    /// After a change of the plan: leaders have other places, and rules may be gone.
    pub(super) fn relink_drops(&mut self) {
        for site in &mut self.state.sites {
            site.drops.retain(|entry| self.plan.conditions.contains(&entry.condition));
        }
        self.forget_site_drops();
        for (cut, state) in self.state.cuts.iter().enumerate() {
            for (index, group) in state.groups.awake() {
                for (place, rule) in group.rules.iter().enumerate() {
                    let leads = rule.drop.as_ref().is_some_and(|drop| drop.whole_site().is_some() && drop.traffic.is_firing());
                    if leads {
                        let entry = self.state.sites[group.site as usize].drop_entry(rule.condition);
                        entry.leader = Some((cut as u32, index as u32, place as u32));
                    }
                }
            }
        }
    }
}

fn state_of(group: &Group, condition: u64) -> Option<&DropState> {
    group.rules.iter().find(|state| state.condition == condition)?.drop.as_deref()
}

impl Scene<'_> {
    /// What is said of a fall: value and baseline are counts a minute.
    pub(super) fn drop_finding(&self, now: Timestamp, fall: &Fall) -> (Finding, Timestamp, String) {
        let view = &fall.view;
        if self.metric() == Metric::Conversion {
            return Self::conversion_finding(fall);
        }
        let began = match self.whole_site {
            Some(site) => site.seen,
            // Nothing since: then the last view is the best estimate.
            None if view.since.count == 0.0 => self.group.view_seen,
            None => Timestamp::from_secs(view.since.minute * 60),
        };
        let usual = self.whole_site.map_or(view.expected, |site| site.expected);
        let views = if self.whole_site.is_some() { 0 } else { view.since.count as u64 };
        let value = self.views_a_minute(views, began, now);
        let finding = Finding {
            metric: self.metric(),
            value,
            baseline: Some(usual),
            baseline_range: self.whole_site.is_none().then_some(view.expected_range),
            ratio: ratio(value, Some(usual)),
            views,
            evidence: Some((nats(view.evidence), nats(fall.bar))),
            dispersion: Some(view.phi),
            season: Some(view.season),
            ..Finding::default()
        };
        let (found, needed) = finding.evidence.unwrap_or_default();
        let noise = view.phi;
        let name = finding.metric.as_str();
        let reason = match self.whole_site {
            Some(site) => format!(
                "nothing since {began} from any of {} groups of the site, usually {usual:.1} {name} a minute together",
                site.groups
            ),
            None => format!(
                "{views} {name} since {began}, usually {usual:.1} a minute; evidence {found:.1} nats of {needed:.1} needed, noise \u{3c6} {noise:.1}"
            ),
        };
        (finding, began, reason)
    }

    /// The same of a conversion: value and baseline are shares, views the sessions that may have gone on.
    fn conversion_finding(fall: &Fall) -> (Finding, Timestamp, String) {
        let view = &fall.view;
        let (came, of) = (view.since.count, view.since.exposure);
        let began = Timestamp::from_secs(view.since.minute * 60);
        let value = (of > 0.0).then(|| came / of);
        let finding = Finding {
            metric: Metric::Conversion,
            value,
            baseline: Some(view.expected),
            baseline_range: Some(view.expected_range),
            ratio: ratio(value, Some(view.expected)),
            views: of.round() as u64,
            evidence: Some((nats(view.evidence), nats(fall.bar))),
            dispersion: Some(view.phi),
            season: Some(view.season),
            ..Finding::default()
        };
        let (found, needed) = finding.evidence.unwrap_or_default();
        let (usual, noise) = (view.expected * 100.0, view.phi);
        let reason = format!(
            "{came:.0} at the next step since {began} of about {of:.0} that were at this one, usually {usual:.1} %; evidence {found:.1} \
             nats of {needed:.1} needed, noise \u{3c6} {noise:.1}"
        );
        (finding, began, reason)
    }

    /// A count a minute from `began` to `now`. Of a whole site it is not known once something came.
    pub(super) fn views_a_minute(&self, views: u64, began: Timestamp, now: Timestamp) -> Option<f64> {
        (self.whole_site.is_none() || views == 0).then(|| views as f64 / (now.since(began).as_secs_f64() / 60.0).max(1.0))
    }

    /// Views that should have come and did not.
    pub(super) fn missing(finding: &Finding) -> u64 {
        let (value, usual) = (finding.value.unwrap_or_default(), finding.baseline.unwrap_or_default());
        if finding.metric == Metric::Conversion {
            return ((usual - value).max(0.0) * finding.views as f64) as u64;
        }
        let minutes = if value > 0.0 { finding.views as f64 / value } else { 1.0 };
        ((usual - value).max(0.0) * minutes) as u64
    }

    /// Whether a fall ended because it has become the usual.
    pub(super) fn is_new_usual(&self) -> bool {
        let id = self.rule.condition_id();
        self.group.rules.iter().any(|state| state.condition == id && state.drop.as_ref().is_some_and(|drop| drop.ended))
    }
}
