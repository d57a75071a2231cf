//! Memory that one reader keeps between events, so that a page, an error or a name that was seen before costs one hash look-up.
//! Every table has a fixed number of slots; a newcomer takes the slot of whoever was there. Nothing in here changes a result.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::{SeriesKey, Text};

use super::fingerprint::{self, Named};
use super::page::PageRules;
use super::raw::RawError;

/// Paths remembered.
const PAGES: usize = 4096;

/// Longest path remembered, in bytes.
const PAGE_BYTES_MAX: usize = 512;

/// Errors remembered.
const ERRORS: usize = 512;

/// Longest error remembered (type, message and stack together), in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// Texts of the batch remembered.
const TEXTS: usize = 1024;

/// Caches of one reader, for one [`Door`](super::Door): a new configuration needs a new scratch.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(super) texts: Vec<Text>,
    pages: Vec<Place>,
    errors: Vec<KnownError>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { texts: vec![Text::NONE; TEXTS], pages: vec![Place::default(); PAGES], errors: vec![KnownError::default(); ERRORS] }
    }
}

/// What is asked of the page cache: an event's place as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) site: &'a str,
    pub(super) env: &'a str,
    /// Path or URL.
    pub(super) page: &'a str,
    /// Step that the event names, or empty.
    pub(super) step: &'a str,
}

/// An event's place, resolved.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    hash: u64,
    asked: [String; 4],
    pub(super) page: String,
    pub(super) step: String,
    pub(super) series: u64,
}

#[derive(Clone, Debug, Default)]
struct KnownError {
    hash: u64,
    asked: [String; 4],
    status: u16,
    named: Option<Named>,
}

impl Scratch {
    /// Empty caches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Page, step and series of a place; `rules` is asked for the site's rules only when the place is new.
    pub(super) fn place<'r>(&mut self, asked: Asked<'_>, rules: impl FnOnce() -> &'r PageRules) -> (&Place, &mut Vec<Text>) {
        let Asked { site, env, page, step } = asked;
        let fields = [site, env, page, step];
        let hash = hash_fields(&fields) | 1;
        let slot = &mut self.pages[(hash >> 1) as usize & (PAGES - 1)];
        if slot.hash != hash || slot.asked != fields {
            let rules = rules();
            slot.page = if page.is_empty() { String::new() } else { rules.page_of(page) };
            slot.step.clear();
            slot.step.push_str(if step.is_empty() && !page.is_empty() { rules.step_of(&slot.page, page) } else { step });
            slot.series = SeriesKey::hash_of(site, env, &slot.page, &slot.step);
            let fits = page.len() <= PAGE_BYTES_MAX;
            slot.hash = if fits { hash } else { 0 };
            remember(&mut slot.asked, if fits { &fields } else { &[""; 4] });
        }
        (slot, &mut self.texts)
    }

    /// Class, message, frame and fingerprint of an error; `None` when it was not thrown by the site.
    pub(super) fn error(&mut self, raw: &RawError<'_>) -> (Option<&Named>, &mut Vec<Text>) {
        let fields = [&*raw.class, &*raw.message, &*raw.stack, &*raw.fingerprint];
        let hash = hash_fields(&fields) | 1;
        let slot = &mut self.errors[(hash >> 1) as usize & (ERRORS - 1)];
        if slot.hash != hash || slot.status != raw.status || slot.asked != fields {
            slot.named = fingerprint::name(raw);
            slot.status = raw.status;
            let fits = fields.iter().map(|field| field.len()).sum::<usize>() <= ERROR_BYTES_MAX;
            slot.hash = if fits { hash } else { 0 };
            remember(&mut slot.asked, if fits { &fields } else { &[""; 4] });
        }
        (slot.named.as_ref(), &mut self.texts)
    }
}

fn hash_fields(fields: &[&str; 4]) -> u64 {
    fields.iter().fold(0, |seed, field| if field.is_empty() { seed.rotate_left(7) } else { combine(seed, field) })
}

fn combine(seed: u64, field: &str) -> u64 {
    if seed == 0 { xxh3_64(field.as_bytes()) } else { xxh3_64_with_seed(field.as_bytes(), seed) }
}

fn remember(kept: &mut [String; 4], fields: &[&str; 4]) {
    for (kept, field) in kept.iter_mut().zip(fields) {
        kept.clear();
        kept.push_str(field);
        // One long text must not hold its memory for ever.
        kept.shrink_to(PAGE_BYTES_MAX.max(field.len()));
    }
}
