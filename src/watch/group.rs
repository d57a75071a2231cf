//! One group of a cut: its windows, its sessions, its slices, and what rules know of it.

use serde::{Deserialize, Serialize};

use crate::alert::state::AlertState;
use crate::model::finding::TopError;
use crate::model::limits::{OTHER, SLICES_PER_DIM};
use crate::model::{Batch, Dim, Event, Labels, Timestamp};
use crate::rule::detector::{Counts, Detector};
use crate::rule::release::{Newcomer, Trials};
use crate::rule::spike::{SpikeState, Stream};
use crate::window::{Ring, Sessions, Visited};

use super::drop::DropState;

/// Kinds of error kept for the words of a message.
const TOP_ERRORS: usize = 12;

/// A slice without views for so long, while its group has some, is gone.
const SLICE_GONE_SECS: u64 = 900;

/// Sessions (or views) a slice must have shown before it may be named.
const PEOPLE: usize = crate::model::limits::SLICE_NAMED_SESSIONS_MIN as usize;

/// Events that come this late wait before they are judged: bundles bring views first and errors after, seconds apart.
const LATE_SECS: i64 = 60;
/// They wait for the end of the minute after that in which the first event of their minute came.
const LATE_MINUTES: i64 = 2;
/// Minutes that wait at once; beyond this the oldest are judged together.
const LATE_MAX: usize = 8;

/// Counts that wait to be judged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gathered {
    fresh: Counts,
    late: Vec<Late>,
}

/// Late counts of one minute.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Late {
    minute: i64,
    /// The minute of arrival of the first of them.
    since: i64,
    counts: Counts,
}

impl Gathered {
    fn add(&mut self, counts: &Counts, at: Timestamp, now: Timestamp) {
        if now.secs() - at.secs() < LATE_SECS {
            add_counts(&mut self.fresh, counts);
            return;
        }
        let minute = at.secs().div_euclid(60);
        let full = self.late.len() >= LATE_MAX;
        match self.late.iter_mut().find(|late| late.minute == minute || full) {
            Some(late) => add_counts(&mut late.counts, counts),
            None => self.late.push(Late { minute, since: now.secs().div_euclid(60), counts: *counts }),
        }
    }

    /// Takes what is to be judged at `now`.
    pub(crate) fn take(&mut self, now: Timestamp) -> Counts {
        let mut counts = std::mem::take(&mut self.fresh);
        let minute = now.secs().div_euclid(60);
        self.late.retain(|late| {
            let waits = late.since + LATE_MINUTES > minute;
            if !waits {
                add_counts(&mut counts, &late.counts);
            }
            waits
        });
        counts
    }

    /// Gives counts back that no judgement is made of: errors of sessions that have been counted.
    pub(crate) fn give_back(&mut self, counts: &Counts) {
        add_counts(&mut self.fresh, counts);
    }

    /// Forgets late counts from before a time.
    fn forget_before(&mut self, time: Timestamp) {
        self.late.retain(|late| late.minute * 60 >= time.secs());
    }

    /// When late counts are to be judged, if any wait.
    fn wake(&self) -> Option<Timestamp> {
        self.late.iter().map(|late| Timestamp::from_secs((late.since + LATE_MINUTES) * 60)).min()
    }
}

/// A group and everything learned about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    /// Index of the site.
    pub(crate) site: u32,
    pub(crate) ring: Ring,
    pub(crate) sessions: Sessions,
    pub(crate) slices: Vec<DimSlices>,
    pub(crate) top_errors: Vec<KnownError>,
    pub(crate) pending: Gathered,
    /// All that came since the last judgement, late or not.
    pub(crate) came: Counts,
    /// Events from before this time are no evidence: they are of before the alert that holds, or of the one that is over.
    deaf_to: Timestamp,
    /// Views by their minute since the last look, where a `drop` rule wants them.
    pub(crate) minutes: Vec<Minute>,
    pub(crate) touched: bool,
    /// The minute in which slices were last looked over.
    sliced: i64,
    pub(crate) detector: Option<Box<Detector>>,
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
    /// Index into the plan's rules; set anew by each plan.
    #[serde(skip)]
    pub(crate) rule: usize,
    pub(crate) alert: AlertState,
    pub(crate) spike: SpikeState,
    pub(crate) novelty: Option<Box<Novelty>>,
    pub(crate) drop: Option<Box<DropState>>,
    pub(crate) release: Option<Box<Trials>>,
    /// When the rule looks at the group again even if nothing comes.
    pub(crate) wake: Option<Timestamp>,
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

/// The slices of one dimension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DimSlices {
    pub(crate) dim: u8,
    hashes: Vec<u32>,
    pub(crate) slices: Vec<Slice>,
}

/// One value of a dimension within a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slice {
    pub(crate) hash: u32,
    pub(crate) value: String,
    pub(crate) ring: Ring,
    pub(crate) pending: Gathered,
    /// Views in all.
    seen: f64,
    /// Views, fading with a half-life of an hour: a new release is seen within minutes.
    weight: f64,
    weighed: Timestamp,
    pub(crate) detector: Option<Box<Detector>>,
    people: Vec<u64>,
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
            top_errors: Vec::new(),
            pending: Gathered::default(),
            came: Counts::default(),
            deaf_to: Timestamp(i64::MIN),
            minutes: Vec::new(),
            touched: false,
            sliced: 0,
            detector: None,
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
        if event.session != 0 {
            let counts = self.sessions.note(event.at, event.session, is_error);
            if is_error {
                units = f64::from(u8::from(counts));
            } else if hit.by_session {
                tries = f64::from(u8::from(counts));
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
        add_counts(&mut self.came, &counts);
        if hit.views > 0 && self.rules.iter().any(|state| state.drop.is_some()) {
            self.add_minute(event.at, hit.views as f64, 0.0);
        }
        self.add_slices(hit, &evidence);
        self.add_trials(hit, &counts);
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
        let known = event.session != 0;
        let count = if known { u64::from(self.sessions.note(event.at, event.session, at_next)) } else { u64::from(event.count) };
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

    fn add_slices(&mut self, hit: &Hit, counts: &Counts) {
        for (dim, text) in hit.event.dims.iter().enumerate() {
            if text.is_empty() {
                continue;
            }
            let dim = dim as u8;
            let place = if let Some(place) = self.slices.iter().position(|slices| slices.dim == dim) {
                place
            } else {
                self.slices.push(DimSlices { dim, hashes: Vec::new(), slices: Vec::new() });
                self.slices.len() - 1
            };
            let now = hit.event.arrival;
            let slice = self.slices[place].find(hit.batch.str(*text), text.hash(), now);
            slice.ring.add(now, hit.event.at, hit.views, hit.errors);
            slice.weigh(now, hit.views as f64);
            slice.meet(hit.event);
            slice.pending.add(counts, hit.event.at, now);
        }
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

    /// How many slices have a detector.
    pub(crate) fn watched_slices(&self) -> usize {
        self.slices.iter().flat_map(|of_dim| &of_dim.slices).filter(|slice| slice.detector.is_some()).count()
    }
}

impl DimSlices {
    fn find(&mut self, value: &str, hash: u32, now: Timestamp) -> &mut Slice {
        if let Some(place) = self.hashes.iter().position(|known| *known == hash) {
            return &mut self.slices[place];
        }
        let hash = if self.hashes.len() >= SLICES_PER_DIM && !self.make_room(now) { 0 } else { hash };
        if hash == 0
            && let Some(place) = self.hashes.iter().position(|known| *known == 0)
        {
            return &mut self.slices[place];
        }
        self.hashes.push(hash);
        self.slices.push(Slice {
            hash,
            value: if hash == 0 { OTHER.to_owned() } else { value.to_owned() },
            ring: Ring::default(),
            pending: Gathered::default(),
            seen: 0.0,
            weight: 0.0,
            weighed: now,
            detector: None,
            people: Vec::new(),
        });
        self.slices.last_mut().expect("a slice was just added")
    }

    /// Lets the slice that was silent for longest give way, if it was so for a day and nothing fires on it.
    fn make_room(&mut self, now: Timestamp) -> bool {
        let idle = |slice: &Slice| now.since(slice.weighed).as_secs();
        let oldest = self
            .slices
            .iter()
            .enumerate()
            .filter(|(_, slice)| slice.hash != 0 && slice.detector.as_ref().is_none_or(|d| !d.is_firing()))
            .max_by_key(|(_, slice)| idle(slice));
        let Some((place, _)) = oldest.filter(|(_, slice)| idle(slice) > 86_400) else { return false };
        self.hashes.swap_remove(place);
        self.slices.swap_remove(place);
        true
    }

    /// The dimension's name.
    pub(crate) fn name(&self) -> &'static str {
        Dim::ALL[self.dim as usize].as_str()
    }
}

impl Slice {
    fn weigh(&mut self, now: Timestamp, views: f64) {
        self.seen += views;
        self.weight = self.weight_at(now) + views;
        self.weighed = now;
    }

    /// The fading view count now.
    pub(crate) fn weight_at(&self, now: Timestamp) -> f64 {
        self.weight * fade_over(now, self.weighed, 3_600.0)
    }

    fn meet(&mut self, event: &Event) {
        if self.people.len() >= PEOPLE {
            return;
        }
        // Where sessions are unknown, views stand for people.
        let person = if event.session == 0 { event.at.millis() as u64 ^ (self.people.len() as u64) } else { event.session };
        if !self.people.contains(&person) {
            self.people.push(person);
        }
    }

    /// Whether enough people are behind it to name it in a message.
    pub(crate) fn may_be_named(&self) -> bool {
        self.people.len() >= PEOPLE && self.hash != 0
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
            said: None,
        }
    }
}

fn add_counts(to: &mut Counts, counts: &Counts) {
    to.views += counts.views;
    to.units += counts.units;
    to.errors += counts.errors;
}

fn fade_over(now: Timestamp, then: Timestamp, half_life: f64) -> f64 {
    crate::stats::decay((now.millis() - then.millis()).max(0) as f64 / 1000.0, half_life)
}
