//! Slices: the counts of a group by each value of each dimension.
//!
//! An event touches a slice of every dimension it has. So events are only noted as they come, and each slice is brought up to date
//! once, when the second is judged, with all that came for it: a page's slices then pass through the processor's caches once a
//! second, not with every event.

use serde::{Deserialize, Serialize};

use crate::model::limits::{OTHER, SLICES_PER_DIM};
use crate::model::{Dim, Event, HashedMap, Timestamp};
use crate::rule::detector::{Counts, Detector};
use crate::window::{Ring, Tally};

use super::gathered::Gathered;

/// Sessions (or views) a slice must have shown before it may be named.
const PEOPLE: usize = crate::model::limits::SLICE_NAMED_SESSIONS_MIN as usize;

/// The names of the values that were noted, by their hashes.
pub(crate) type Names = HashedMap<String>;

/// Up to so many events, without an error among them, a group is young and has no slices …
const YOUNG_EVENTS: usize = 6;
/// … if they stand for fewer views than any slice needs for a detector.
const YOUNG_VIEWS: u64 = 50;

/// Whether a group to which this came has no need for slices yet.
pub(crate) fn is_young(noted: &[Noted]) -> bool {
    noted.len() <= YOUNG_EVENTS
        && noted.iter().all(|event| event.errors == 0)
        && noted.iter().map(|event| u64::from(event.views)).sum::<u64>() < YOUNG_VIEWS
}

/// One event as slices see it, until it is brought into them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Noted {
    at: Timestamp,
    now: Timestamp,
    session: u64,
    dims: [u32; Dim::COUNT],
    views: u32,
    errors: u32,
    evidence: Counts,
}

impl Noted {
    /// An event that counts as so many views and errors, and as this evidence.
    pub(crate) fn new(event: &Event, views: u64, errors: u64, evidence: Counts) -> Self {
        Self {
            at: event.at,
            now: event.arrival,
            session: event.session,
            dims: event.dims.map(crate::model::Text::hash),
            views: views as u32,
            errors: errors as u32,
            evidence,
        }
    }
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
    pub(super) seen: f64,
    /// Views, fading with a half-life of an hour: a new release is seen within minutes.
    weight: f64,
    pub(super) weighed: Timestamp,
    pub(crate) detector: Option<Box<Detector>>,
    people: Vec<u64>,
    /// While a second is settled; nothing between.
    #[serde(skip)]
    sum: Sum,
}

/// What came for a slice in the second at hand, of one second of event time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    at: Timestamp,
    now: Timestamp,
    tally: Tally,
    evidence: Counts,
}

/// Brings what was noted into the slices.
pub(crate) fn settle(of_dims: &mut Vec<DimSlices>, noted: &[Noted], names: &Names) {
    for dim in 0..Dim::COUNT {
        let mut of_dim = None;
        for event in noted.iter().filter(|event| event.dims[dim] != 0) {
            let place = *of_dim.get_or_insert_with(|| {
                of_dims.iter().position(|slices| usize::from(slices.dim) == dim).unwrap_or_else(|| {
                    of_dims.push(DimSlices { dim: dim as u8, hashes: Vec::new(), slices: Vec::new() });
                    of_dims.len() - 1
                })
            });
            of_dims[place].meet(event, event.dims[dim], names);
        }
        if let Some(place) = of_dim {
            of_dims[place].slices.iter_mut().for_each(Slice::close);
        }
    }
}

impl DimSlices {
    fn meet(&mut self, event: &Noted, hash: u32, names: &Names) {
        let place = match self.hashes.iter().position(|known| *known == hash) {
            Some(place) => place,
            None => self.add(hash, event.now, names),
        };
        self.slices[place].meet(event);
    }

    /// The place of a slice that is new, or of the one that stands for all beyond the limit.
    fn add(&mut self, hash: u32, now: Timestamp, names: &Names) -> usize {
        let hash = if self.hashes.len() >= SLICES_PER_DIM && !self.make_room(now) { 0 } else { hash };
        if hash == 0
            && let Some(place) = self.hashes.iter().position(|known| *known == 0)
        {
            return place;
        }
        let name = names.get(&u64::from(hash)).map_or(OTHER, String::as_str);
        self.hashes.push(hash);
        self.slices.push(Slice {
            hash,
            value: if hash == 0 { OTHER.to_owned() } else { name.to_owned() },
            ring: Ring::default(),
            pending: Gathered::default(),
            seen: 0.0,
            weight: 0.0,
            weighed: now,
            detector: None,
            people: Vec::new(),
            sum: Sum::default(),
        });
        self.slices.len() - 1
    }

    /// Lets the slice that was silent for longest give way, if it was so for a day and nothing fires on it.
    fn make_room(&mut self, now: Timestamp) -> bool {
        // What has come in the second at hand is not weighed yet.
        let idle = |slice: &Slice| if slice.sum == Sum::default() { now.since(slice.weighed).as_secs() } else { 0 };
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
    fn meet(&mut self, event: &Noted) {
        self.meet_person(event);
        if self.sum.at.secs() != event.at.secs() {
            self.close();
        }
        let sum = &mut self.sum;
        (sum.at, sum.now) = (event.at, event.now);
        sum.tally.views += u64::from(event.views);
        sum.tally.errors += u64::from(event.errors);
        sum.evidence.add(&event.evidence);
    }

    /// Puts the sum where it belongs.
    fn close(&mut self) {
        let Sum { at, now, tally, evidence } = std::mem::take(&mut self.sum);
        if tally == Tally::default() {
            return;
        }
        self.ring.add(now, at, tally.views, tally.errors);
        self.seen += tally.views as f64;
        self.weight = self.weight_at(now) + tally.views as f64;
        self.weighed = now;
        self.pending.add(&evidence, at, now);
    }

    /// The fading view count now.
    pub(crate) fn weight_at(&self, now: Timestamp) -> f64 {
        self.weight * super::group::fade_over(now, self.weighed, 3_600.0)
    }

    fn meet_person(&mut self, event: &Noted) {
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
