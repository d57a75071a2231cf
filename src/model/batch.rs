//! Events travel in batches: one arena of text and flat vectors, so that nothing is allocated for a single event.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::event::{ErrorPart, Event, HeartbeatPart, TrackPart};

/// A piece of a batch's text, with a hash of its content to compare by. Empty means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    start: u32,
    len: u32,
    hash: u32,
}

impl Text {
    /// An absent text.
    pub const NONE: Self = Self { start: 0, len: 0, hash: 0 };

    /// Whether it is absent.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The lower half of [`hash_text`] of its content; 0 for the absent text.
    pub const fn hash(self) -> u32 {
        self.hash
    }
}

/// The stable hash used for texts throughout (xxh3, 64 bits, no seed).
pub fn hash_text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Events with the texts they refer to. Also what the log keeps, so it holds nothing that must not be stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    text: String,
    /// In order of arrival.
    pub events: Vec<Event>,
    /// For events of kind `Error`.
    pub errors: Vec<ErrorPart>,
    /// For events of kind `Track`.
    pub tracks: Vec<TrackPart>,
    /// For events of kind `Heartbeat`.
    pub heartbeats: Vec<HeartbeatPart>,
    /// Declared tags of the events: name and value.
    pub tags: Vec<(Text, Text)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a text and returns its handle. The arena holds 4 GiB at most, far over any body limit.
    pub fn add_text(&mut self, text: &str) -> Text {
        if text.is_empty() {
            return Text::NONE;
        }
        let start = u32::try_from(self.text.len()).expect("a batch is far smaller than 4 GiB by the body limits");
        self.text.push_str(text);
        Text { start, len: text.len() as u32, hash: hash_text(text) as u32 }
    }

    /// As [`add_text`](Self::add_text), but a text that this batch holds already where `memo` says is not stored again. `memo` is
    /// a table of a power of two handles, of any batch: what does not fit this one is replaced.
    pub fn intern(&mut self, text: &str, memo: &mut [Text]) -> Text {
        if text.is_empty() || memo.is_empty() {
            return self.add_text(text);
        }
        let hash = hash_text(text) as u32;
        let slot = hash as usize & (memo.len() - 1);
        let known = memo[slot];
        let start = known.start as usize;
        if known.hash == hash && self.text.get(start..start + known.len as usize) == Some(text) {
            return known;
        }
        memo[slot] = self.add_text(text);
        memo[slot]
    }

    /// The text of a handle of this batch.
    pub fn str(&self, text: Text) -> &str {
        &self.text[text.start as usize..text.start as usize + text.len as usize]
    }

    /// Whether every handle and part index lies inside the batch: asked once of what was read from disk.
    pub fn is_sound(&self) -> bool {
        let text = |t: Text| self.text.get(t.start as usize..(t.start as usize).saturating_add(t.len as usize)).is_some();
        let parts = |event: &Event| {
            let index = event.part as usize;
            match event.kind {
                super::Kind::Error => index < self.errors.len(),
                super::Kind::Track => index < self.tracks.len(),
                super::Kind::Heartbeat => index < self.heartbeats.len(),
                super::Kind::View | super::Kind::Deploy => true,
            }
        };
        self.events.iter().all(|e| {
            [e.site, e.env, e.page, e.step].into_iter().chain(e.dims).all(text)
                && parts(e)
                && e.tags.0 <= e.tags.1
                && e.tags.1 as usize <= self.tags.len()
        }) && self.errors.iter().all(|p| [p.class, p.message, p.frame, p.fingerprint, p.level].into_iter().all(text))
            && self.tracks.iter().all(|p| text(p.name) && text(p.currency))
            && self.heartbeats.iter().all(|p| text(p.job) && text(p.status))
            && self.tags.iter().all(|(name, value)| text(*name) && text(*value))
    }

    /// The error part of an event of kind `Error`.
    pub fn error(&self, event: &Event) -> &ErrorPart {
        &self.errors[event.part as usize]
    }

    /// The track part of an event of kind `Track`.
    pub fn track(&self, event: &Event) -> &TrackPart {
        &self.tracks[event.part as usize]
    }

    /// The heartbeat part of an event of kind `Heartbeat`.
    pub fn heartbeat(&self, event: &Event) -> &HeartbeatPart {
        &self.heartbeats[event.part as usize]
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.events.clear();
        self.errors.clear();
        self.tracks.clear();
        self.heartbeats.clear();
        self.tags.clear();
    }

    /// Bytes of text held.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }
}
