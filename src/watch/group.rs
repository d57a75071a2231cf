//! One group of a cut: its windows, its sessions, its slices, and what rules know of it.

use serde::{Deserialize, Serialize};

use crate::alert::state::AlertState;
use crate::model::finding::TopError;
use crate::model::{Batch, Event, Labels, Timestamp};
use crate::rule::detector::{Counts, Detector};
use crate::rule::release::{Newcomer, Trials};
use crate::rule::spike::{SpikeState, Stream};
use crate::window::{Ring, Sessions, Visited};

use super::drop::DropState;
use super::gathered::Gathered;
use super::plan::Asks;
use super::slices::{self, DimSlices, Names, Noted, Slice};

/// Kinds of error kept for the words of a message.
const TOP_ERRORS: usize = 12;

/// Events of a second that a group keeps room for.
const NOTED_KEPT: usize = 8;

/// A slice without views for so long, while its group has some, is gone.
const SLICE_GONE_SECS: u64 = 900;

/// A group and everything learned about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    /// Index of the site.
    pub(crate) site: u32,
    pub(crate) ring: Ring,
    pub(crate) sessions: Sessions,
    pub(crate) slices: Vec<DimSlices>,
    /// What came for the slices since the last judgement.
    noted: Vec<Noted>,
    pub(crate) top_errors: Vec<KnownError>,
    pub(crate) pending: Gathered,
    /// All that came since the last judgement, late or not.
    pub(crate) came: Counts,
    /// Events from before this time are no evidence: they are of before the alert that holds, or of the one that is over.
    deaf_to: Timestamp,
    /// Views by their minute since the last look, where a `drop` rule wants them.
    pub(crate) minutes: Vec<Minute>,
    pub(crate) touched: bool,
    /// It is judged early.
    pub(crate) suspect: bool,
    /// The minute in which slices were last looked over.
    sliced: i64,
    pub(crate) detector: Option<Box<Detector>>,
    /// The first looks, views alone, from before there is a detector.
    pub(super) young: Vec<(Timestamp, f64)>,
    /// In the order of the plan's rules for this group.
    pub(crate) rules: Vec<RuleState>,
    /// Arrival of the newest counted event.
    pub(crate) seen: Timestamp,
    /// Arrival of the newest view (or named event).
    pub(crate) view_seen: Timestamp,
}

/// What came for a minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Minute {
    /// Which minute since the epoch.
    pub(crate) at: i64,
    /// Views, named events, or of a conversion sessions at the next step.
    pub(crate) count: f64,
    /// Of a conversion: sessions at this step.
    pub(crate) tries: f64,
}

/// A group's labels, as the keys of its cut in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupKey {
    pub(crate) hash: u64,
    pub(crate) page: String,
    pub(crate) step: String,
    /// Dimensions and tags of `by`.
    pub(crate) others: Vec<(String, String)>,
}

/// What one rule knows of one group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RuleState {
    /// [`crate::rule::Rule::condition_id`]: how the state is found again after an edit.
    pub(crate) condition: u64,
    /// Index into the plan's rules; set anew by each plan that is not as the one before.
    pub(crate) rule: usize,
    pub(crate) alert: AlertState,
    pub(crate) spike: SpikeState,
    pub(crate) novelty: Option<Box<Novelty>>,
    pub(crate) drop: Option<Box<DropState>>,
    pub(crate) release: Option<Box<Trials>>,
    /// When the rule looks at the group again even if nothing comes.
    pub(crate) wake: Option<Timestamp>,
    /// The second that this is booked at among the deadlines, `wake` or before it; 0: at none.
    pub(crate) booked: i64,
    /// What was said when it began to fire, for the resolve.
    pub(crate) said: Option<Box<Said>>,
}

/// What must be remembered of a firing until its resolve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) began: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) slice: Labels,
    pub(crate) severity: crate::model::Severity,
    pub(crate) baseline: Option<f64>,
}

/// First-seen state of a page, and the alerts that are open for its errors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Novelty {
    pub(crate) page: crate::rule::first_seen::Page,
    pub(crate) open: Vec<OpenError>,
}

/// A told error that still comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenError {
    pub(crate) hash: u64,
    pub(crate) fingerprint: String,
    pub(crate) began: Timestamp,
    pub(crate) seen: Timestamp,
    pub(crate) count: u64,
    pub(crate) severity: crate::model::Severity,
}

/// A kind of error and how often it came lately.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KnownError {
    pub(crate) hash: u64,
    pub(crate) error: TopError,
    weight: f64,
    seen: Timestamp,
}

/// One event's contribution to a group.
pub(crate) struct Hit<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) event: &'a Event,
    pub(crate) views: u64,
    pub(crate) errors: u64,
    /// Count sessions instead of events (`of: session_error_rate`).
    pub(crate) by_session: bool,
    /// What the rules of the cut need to know.
    pub(crate) asks: Asks,
    /// Its release, if that is new to the site.
    pub(crate) newcomer: Option<&'a Newcomer>,
    pub(crate) visit: Visited,
}

impl Group {
    pub(crate) fn new(key: GroupKey, site: u32, now: Timestamp) -> Self {
        Self {
            key,
            site,
            ring: Ring::default(),
            sessions: Sessions::default(),
            slices: Vec::new(),
            noted: Vec::new(),
            top_errors: Vec::new(),
            pending: Gathered::default(),
            came: Counts::default(),
            deaf_to: Timestamp(i64::MIN),
            minutes: Vec::new(),
            touched: false,
            suspect: false,
            sliced: 0,
            detector: None,
            young: Vec::new(),
            rules: Vec::new(),
            seen: now,
            view_seen: now,
        }
    }

    /// Counts an event into windows, sessions and slices, and keeps it for the judgement of its second.
    pub(crate) fn add(&mut self, hit: &Hit) {
        let (event, now) = (hit.event, hit.event.arrival);
        let is_error = hit.errors > 0;
        // An error of a session is evidence once an hour; errors without a session all are.
        let mut units = hit.errors as f64;
        let mut tries = hit.views as f64;
        if event.session != 0 && hit.asks.sessions {
            self.sessions.note(event.at, event.session, is_error);
            if is_error {
                units = f64::from(u8::from(self.sessions.is_unit(event.at, event.session, true)));
            } else if hit.by_session {
                tries = f64::from(u8::from(self.sessions.is_unit(event.at, event.session, false)));
            }
        } else if hit.by_session {
            return;
        }
        self.ring.add(now, event.at, hit.views, hit.errors);
        self.seen = now;
        if hit.views > 0 {
            self.view_seen = now;
        }
        let counts = Counts { views: tries, units, errors: hit.errors as f64 };
        let evidence = if event.at < self.deaf_to { Counts::default() } else { counts };
        self.pending.add(&evidence, event.at, now);
        self.came.add(&counts);
        if hit.views > 0 && hit.asks.drops && self.rules.iter().any(|state| state.drop.is_some()) {
            self.add_minute(event.at, hit.views as f64, 0.0);
        }
        if hit.asks.slices {
            self.noted.push(Noted::new(event, hit.views, hit.errors, evidence));
        }
        if hit.asks.releases {
            self.add_trials(hit, &counts);
        }
        if is_error {
            self.note_error(hit);
        }
    }

    /// When late counts are to be judged, if any wait.
    pub(crate) fn late_wake(&self) -> Option<Timestamp> {
        self.pending.wake()
    }

    /// What happened before this time is no evidence from now on.
    pub(crate) fn be_deaf_to(&mut self, time: Timestamp) {
        self.deaf_to = self.deaf_to.max(time);
        self.pending.forget_before(time);
        for slice in self.slices.iter_mut().flat_map(|of_dim| &mut of_dim.slices) {
            slice.pending.forget_before(time);
        }
    }

    /// Hears everything again.
    pub(crate) fn hear_all(&mut self) {
        self.deaf_to = Timestamp(i64::MIN);
    }

    /// Drops what waits to be judged.
    pub(crate) fn drop_pending(&mut self) {
        self.pending = Gathered::default();
        for slice in self.slices.iter_mut().flat_map(|of_dim| &mut of_dim.slices) {
            slice.pending = Gathered::default();
        }
    }

    /// Counts a session (where it is unknown: a view) at this step, or at the next one.
    pub(crate) fn add_step(&mut self, event: &Event, at_next: bool) {
        let count = if event.session == 0 {
            u64::from(event.count)
        } else {
            self.sessions.note(event.at, event.session, at_next);
            u64::from(self.sessions.is_unit(event.at, event.session, at_next))
        };
        let (tries, next) = if at_next { (0, count) } else { (count, 0) };
        self.ring.add(event.arrival, event.at, tries, next);
        self.seen = event.arrival;
        if !at_next {
            self.view_seen = event.arrival;
        }
        if count > 0 && self.rules.iter().any(|state| state.drop.is_some()) {
            self.add_minute(event.at, next as f64, tries as f64);
        }
    }

    fn add_minute(&mut self, at: Timestamp, count: f64, tries: f64) {
        let minute = at.secs().div_euclid(60);
        match self.minutes.iter_mut().find(|known| known.at == minute) {
            Some(known) => (known.count, known.tries) = (known.count + count, known.tries + tries),
            None => self.minutes.push(Minute { at: minute, count, tries }),
        }
    }

    /// Brings what was noted for the slices into them, unless the group is too young for any: most pages never have more than a
    /// few views, and a list of them is far smaller than their slices.
    pub(crate) fn settle(&mut self, names: &Names) {
        if self.slices.is_empty() && slices::is_young(&self.noted) {
            return;
        }
        self.settle_all(names);
    }

    /// Whether events wait to be brought into the slices.
    pub(crate) fn has_noted(&self) -> bool {
        !self.noted.is_empty()
    }

    /// Brings all that was noted into the slices. `names` knows its values.
    pub(crate) fn settle_all(&mut self, names: &Names) {
        if !self.noted.is_empty() {
            slices::settle(&mut self.slices, &self.noted, names);
            let came = self.noted.len();
            self.noted.clear();
            // A busy page has about as many again in its next second.
            self.noted.shrink_to(NOTED_KEPT.max(came));
        }
    }

    /// Makes the detector of the whole, and shows it what came while the group was young.
    pub(super) fn grow_up(&mut self, now: Timestamp, zone: chrono_tz::Tz, deploy: Option<f64>) {
        if self.detector.is_some() {
            return;
        }
        let young = std::mem::take(&mut self.young);
        let mut detector = Box::new(Detector::new(young.first().map_or(now, |look| look.0).secs_f64()));
        for (at, views) in young {
            let counts = Counts { views, ..Counts::default() };
            detector.look(at.secs_f64(), counts, super::judge::zone_secs(zone, at), deploy);
        }
        self.detector = Some(detector);
    }

    fn note_error(&mut self, hit: &Hit) {
        let error = hit.batch.error(hit.event);
        let now = hit.event.arrival;
        let fade = |known: &KnownError| known.weight * fade_over(now, known.seen, 600.0);
        let count = f64::from(hit.event.count);
        if let Some(known) = self.top_errors.iter_mut().find(|known| known.hash == error.fingerprint_hash) {
            known.weight = fade(known) + count;
            known.seen = now;
            return;
        }
        if self.top_errors.len() >= TOP_ERRORS {
            let least = self.top_errors.iter().enumerate().min_by(|a, b| fade(a.1).total_cmp(&fade(b.1))).map(|(i, _)| i);
            if let Some(least) = least {
                self.top_errors.swap_remove(least);
            }
        }
        let text = |text| hit.batch.str(text).to_owned();
        self.top_errors.push(KnownError {
            hash: error.fingerprint_hash,
            error: TopError {
                fingerprint: text(error.fingerprint),
                class: text(error.class),
                message: text(error.message),
                frame: text(error.frame),
                count: 0,
            },
            weight: count,
            seen: now,
        });
    }

    /// The most frequent errors of late, with counts that share out `errors`.
    pub(crate) fn top(&self, now: Timestamp, errors: u64, most: usize) -> Vec<TopError> {
        let mut weighed: Vec<(f64, &KnownError)> =
            self.top_errors.iter().map(|known| (known.weight * fade_over(now, known.seen, 600.0), known)).collect();
        weighed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.hash.cmp(&b.1.hash)));
        let total: f64 = weighed.iter().map(|(weight, _)| weight).sum();
        let share = |weight: f64| if total > 0.0 { (weight / total * errors as f64).round() as u64 } else { 0 };
        weighed
            .into_iter()
            .take(most)
            .map(|(weight, known)| TopError { count: share(weight), ..known.error.clone() })
            .filter(|top| top.count > 0)
            .collect()
    }

    /// Errors by fingerprint hash and count, the most frequent first, with counts of at most `errors` in all.
    pub(crate) fn named(&self, kinds: &[(u64, u64)], errors: u64, most: usize) -> Vec<TopError> {
        let known = |(hash, count): &(u64, u64)| {
            let known = self.top_errors.iter().find(|known| known.hash == *hash)?;
            Some(TopError { count: (*count).min(errors), ..known.error.clone() })
        };
        kinds.iter().filter_map(known).take(most).collect()
    }

    /// Opens detectors for slices that have become large enough, where a detector is wanted. Once a minute is enough.
    pub(crate) fn open_slices(&mut self, now: Timestamp) {
        let minute = now.secs().div_euclid(60);
        if minute == self.sliced {
            return;
        }
        self.sliced = minute;
        for of_dim in &mut self.slices {
            let total: f64 = of_dim.slices.iter().map(|slice| slice.weight_at(now)).sum();
            let large = |slice: &Slice| slice.seen >= 100.0 && slice.weight_at(now) >= 0.01 * total;
            // A dimension with one value tells nothing that the whole does not.
            let several = of_dim.slices.iter().filter(|slice| large(slice)).count() > 1;
            for slice in &mut of_dim.slices {
                if several && slice.detector.is_none() && slice.hash != 0 && large(slice) {
                    slice.detector = Some(Box::new(Detector::new(now.secs_f64())));
                }
            }
        }
    }

    /// Ends the firing of slices whose traffic is gone while the group's goes on (a release that was replaced): nothing will come
    /// that they could be judged by.
    pub(crate) fn abandon_slices(&mut self, now: Timestamp) -> Vec<Stream> {
        let mut gone = Vec::new();
        if now.since(self.view_seen).as_secs() > 60 {
            return gone;
        }
        for of_dim in &mut self.slices {
            for slice in &mut of_dim.slices {
                let silent = now.since(slice.weighed).as_secs() > SLICE_GONE_SECS;
                if let Some(detector) = slice.detector.as_mut().filter(|detector| silent && detector.is_firing()) {
                    detector.abandon();
                    gone.push(Stream::Slice(of_dim.dim, slice.hash));
                }
            }
        }
        gone
    }

    /// Keeps what was learned and forgets what fires.
    pub(super) fn forget_alerts(&mut self, names: &Names) {
        self.touched = false;
        self.settle(names);
        self.drop_pending();
        self.came = Counts::default();
        self.minutes.clear();
        let slices = self.slices.iter_mut().flat_map(|of_dim| &mut of_dim.slices);
        for detector in slices.filter_map(|slice| slice.detector.as_mut()).chain(self.detector.as_mut()) {
            detector.forget_firing();
            detector.forget_episodes();
        }
        self.hear_all();
        for state in &mut self.rules {
            state.alert = AlertState::default();
            state.spike.clear();
            state.said = None;
            if let Some(drop) = &mut state.drop {
                drop.forget();
            }
            if let Some(trials) = &mut state.release {
                trials.forget();
            }
            if let Some(novelty) = &mut state.novelty {
                novelty.open.clear();
            }
        }
    }

    /// Whether nothing goes on in it that others ask for: no alert, and nothing that waits for the end of its second.
    pub(crate) fn is_at_rest(&self) -> bool {
        let fires = |detector: &Option<Box<Detector>>| detector.as_ref().is_some_and(|detector| detector.is_firing());
        let idle = |state: &RuleState| {
            state.alert == AlertState::Inactive
                && state.said.is_none()
                && state.novelty.as_ref().is_none_or(|novelty| novelty.open.is_empty())
                && state.drop.as_ref().is_none_or(|drop| drop.is_at_rest())
        };
        !self.touched && !self.suspect && !fires(&self.detector) && self.rules.iter().all(idle)
    }

    /// How many slices have a detector.
    pub(crate) fn watched_slices(&self) -> usize {
        self.slices.iter().flat_map(|of_dim| &of_dim.slices).filter(|slice| slice.detector.is_some()).count()
    }
}

impl RuleState {
    pub(crate) fn new(rule: usize, condition: u64) -> Self {
        Self {
            condition,
            rule,
            alert: AlertState::default(),
            spike: SpikeState::default(),
            novelty: None,
            drop: None,
            release: None,
            wake: None,
            booked: 0,
            said: None,
        }
    }
}

pub(super) fn fade_over(now: Timestamp, then: Timestamp, half_life: f64) -> f64 {
    crate::stats::decay((now.millis() - then.millis()).max(0) as f64 / 1000.0, half_life)
}
