//! Memory that one reader keeps between events, so that a page, an error or a name that was seen before costs one hash look-up.
//! Every table has a fixed number of slots; a newcomer takes the slot of whoever was there. Nothing in here changes a result.

use std::borrow::Cow;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::{Batch, SeriesKey, Text};

use super::door::{clean, clean_scrubbed};
use super::fingerprint::{self, Named};
use super::page::PageRules;
use super::raw::RawError;

/// Paths remembered.
const PAGES: usize = 8192;

/// Longest path remembered, in bytes.
const PAGE_BYTES_MAX: usize = 512;

/// Errors remembered.
const ERRORS: usize = 2048;

/// Longest error remembered (type, message and stack together), in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// Texts of the batch remembered.
const TEXTS: usize = 1024;

/// Short values remembered.
const SHORTS: usize = 1024;

/// Caches of one reader, for one [`Door`](super::Door): a new configuration needs a new scratch.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(super) texts: Vec<Text>,
    shorts: Vec<KnownShort>,
    pages: Vec<Place>,
    errors: Vec<KnownError>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            texts: vec![Text::NONE; TEXTS],
            shorts: vec![KnownShort::default(); SHORTS],
            pages: vec![Place::default(); PAGES],
            errors: vec![KnownError::default(); ERRORS],
        }
    }
}

/// A text of up to sixteen bytes as two words: they and the length are the same for no two texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Short {
    head: u64,
    tail: u64,
    len: usize,
}

impl Short {
    #[inline]
    fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let long = |at: &[u8; 8]| u64::from_le_bytes(*at);
        let half = |at: &[u8; 4]| u64::from(u32::from_le_bytes(*at));
        let (head, tail) = match bytes {
            [] => return None,
            [one] => (u64::from(*one), 0),
            [first, .., last] if bytes.len() < 4 => (u64::from(*first) << 16 | u64::from(bytes[1]) << 8 | u64::from(*last), 0),
            _ => match (bytes.first_chunk(), bytes.last_chunk()) {
                (Some(head), Some(tail)) if bytes.len() <= 16 => (long(head), long(tail)),
                (Some(_), _) => return None,
                _ => (half(bytes.first_chunk()?), half(bytes.last_chunk()?)),
            },
        };
        Some(Self { head, tail, len: bytes.len() })
    }

    /// Where it is remembered.
    #[inline]
    fn slot(self) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(29) ^ self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize % SHORTS
    }
}

/// A short value that was found to be clean, and where it stood in the last batch that had it.
#[derive(Clone, Copy, Debug, Default)]
struct KnownShort {
    short: Short,
    /// Whether it was also looked over for secrets.
    scrubbed: bool,
    text: Text,
}

/// What is asked of the page cache: an event's place as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) site: &'a str,
    pub(super) env: &'a str,
    /// Different for any two sites and environments that come in practice.
    pub(super) seed: u64,
    /// Path or URL.
    pub(super) page: &'a str,
    /// Step that the event names, or empty.
    pub(super) step: &'a str,
}

/// An event's place, resolved.
#[derive(Clone, Debug, Default)]
struct Place {
    hash: u64,
    asked: [String; 4],
    page: String,
    step: String,
    series: u64,
    /// Page and step in the last batch that had them.
    texts: [Text; 2],
}

/// Where an event belongs.
pub(super) struct Placed {
    pub(super) page: Text,
    pub(super) step: Text,
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

    /// A value in the batch, cleaned; one that also may hold secrets is `typed`.
    #[inline]
    pub(super) fn value(&mut self, raw: &str, typed: bool, batch: &mut Batch) -> Text {
        let short = Short::of(raw);
        if let Some(short) = short {
            let known = &self.shorts[short.slot()];
            if known.short == short && known.scrubbed >= typed && batch.holds(known.text, raw) {
                return known.text;
            }
        }
        let cleaned = if typed { clean_scrubbed(raw) } else { clean(raw) };
        let text = batch.intern(&cleaned, &mut self.texts);
        if let Some(short) = short.filter(|_| matches!(cleaned, Cow::Borrowed(_))) {
            self.shorts[short.slot()] = KnownShort { short, scrubbed: typed, text };
        }
        text
    }

    /// Page, step and series of a place; `rules` is asked for the site's rules only when the place is new.
    pub(super) fn place<'r>(&mut self, asked: Asked<'_>, rules: impl FnOnce() -> &'r PageRules, batch: &mut Batch) -> Placed {
        let Asked { site, env, seed, page, step } = asked;
        let fields = [site, env, page, step];
        let mut hash = xxh3_64_with_seed(page.as_bytes(), seed) | 1;
        if !step.is_empty() {
            hash = xxh3_64_with_seed(step.as_bytes(), hash) | 1;
        }
        let slot = (hash >> 1) as usize & (PAGES - 1);
        let [slot, other] = self.pages.get_disjoint_mut([slot, slot ^ 1]).expect("two places of one table");
        if slot.hash != hash || slot.asked != fields {
            // Two pages may share a place and its neighbour; the third lets the older one go.
            std::mem::swap(slot, other);
        }
        if slot.hash != hash || slot.asked != fields {
            let rules = rules();
            slot.page = if page.is_empty() { String::new() } else { rules.page_of(page) };
            slot.step.clear();
            slot.step.push_str(if step.is_empty() && !page.is_empty() { rules.step_of(&slot.page, page) } else { step });
            slot.series = SeriesKey::hash_of(site, env, &slot.page, &slot.step);
            let fits = page.len() <= PAGE_BYTES_MAX;
            slot.hash = if fits { hash } else { 0 };
            remember(&mut slot.asked, if fits { &fields } else { &[""; 4] });
            slot.texts = [Text::NONE; 2];
        }
        for (text, known) in slot.texts.iter_mut().zip([&slot.page, &slot.step]) {
            if !batch.holds(*text, known) {
                *text = batch.intern(known, &mut self.texts);
            }
        }
        let [page, step] = slot.texts;
        Placed { page, step, series: slot.series }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_texts_are_told_apart(a in "[ab\0]{0,18}", b in "[ab\0]{0,18}") {
            let (short_a, short_b) = (Short::of(&a), Short::of(&b));
            prop_assert_eq!(short_a.is_some(), (1..=16).contains(&a.len()));
            if short_a.is_some() {
                prop_assert_eq!(short_a == short_b, a == b);
            }
        }

        #[test]
        fn values_are_the_same_with_and_without_memory(
            values in prop::collection::vec((prop::sample::select(vec!["DE", "", "a b", "web@4.2.1", "Mobile Safari", "x\u{7}y", "card=4111111111111111", "12345678", "a value that is long enough", "web@4.2.2"]), any::<bool>(), any::<bool>()), 1..40),
        ) {
            let (mut scratch, mut batch) = (Scratch::new(), Batch::new());
            for (raw, typed, fresh) in values {
                if fresh {
                    // Another batch, with other texts in the same places.
                    batch = Batch::new();
                    batch.add_text("web@4");
                }
                let text = scratch.value(raw, typed, &mut batch);
                let cleaned = if typed { clean_scrubbed(raw) } else { clean(raw) };
                prop_assert_eq!(batch.str(text), &*cleaned);
                prop_assert_eq!(text.hash(), batch.add_text(&cleaned).hash());
            }
        }
    }
}
