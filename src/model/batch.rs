//! Events travel in batches: one arena of text and flat vectors, so that nothing is allocated for a single event.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::event::{ErrorPart, Event, HeartbeatPart, TrackPart};
use super::stored;

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

    /// The handle of a text that begins at `start` of its batch.
    pub(super) fn new(start: u32, content: &str) -> Self {
        if content.is_empty() { Self::NONE } else { Self { start, len: content.len() as u32, hash: hash_text(content) as u32 } }
    }

    /// Where it begins in its batch.
    pub(super) const fn start(self) -> u32 {
        self.start
    }

    /// Its bytes.
    pub(super) const fn len(self) -> u32 {
        self.len
    }

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
#[inline]
pub fn hash_text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Events with the texts they refer to. Also what the log keeps, so it holds nothing that must not be stored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Stored")]
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

/// A batch as it is written down, events as [`stored`] bytes.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    text: &'a str,
    #[serde(serialize_with = "serialize_bytes")]
    events: &'a [u8],
    errors: Cow<'a, [ErrorPart]>,
    tracks: Cow<'a, [TrackPart]>,
    heartbeats: Cow<'a, [HeartbeatPart]>,
    tags: Cow<'a, [(Text, Text)]>,
}

/// All at once; a slice would be written byte by byte.
fn serialize_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = Stored {
            text: &self.text,
            events: &stored::encode(&self.events),
            errors: Cow::Borrowed(&self.errors),
            tracks: Cow::Borrowed(&self.tracks),
            heartbeats: Cow::Borrowed(&self.heartbeats),
            tags: Cow::Borrowed(&self.tags),
        };
        stored.serialize(serializer)
    }
}

impl TryFrom<Stored<'_>> for Batch {
    type Error = &'static str;

    fn try_from(stored: Stored<'_>) -> Result<Self, Self::Error> {
        let events = stored::decode(stored.events, stored.text).ok_or("these are no events")?;
        Ok(Self {
            text: stored.text.to_owned(),
            events,
            errors: stored.errors.into_owned(),
            tracks: stored.tracks.into_owned(),
            heartbeats: stored.heartbeats.into_owned(),
            tags: stored.tags.into_owned(),
        })
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for what a body of so many bytes usually holds.
    pub fn reserve_for_body(&mut self, bytes: usize) {
        self.text.reserve((bytes / 2).clamp(64, 1 << 16));
        self.events.reserve((bytes / 256).clamp(1, 1 << 12));
    }

    /// Stores a text and returns its handle. The arena holds 4 GiB at most, far over any body limit.
    pub fn add_text(&mut self, text: &str) -> Text {
        if text.is_empty() {
            return Text::NONE;
        }
        self.add_hashed(text, hash_text(text) as u32)
    }

    fn add_hashed(&mut self, text: &str, hash: u32) -> Text {
        let start = u32::try_from(self.text.len()).expect("a batch is far smaller than 4 GiB by the body limits");
        self.text.push_str(text);
        Text { start, len: text.len() as u32, hash }
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
        if known.hash == hash && self.holds(known, text) {
            return known;
        }
        memo[slot] = self.add_hashed(text, hash);
        memo[slot]
    }

    /// Whether `handle`, of this batch or another, stands for `text` here.
    pub fn holds(&self, handle: Text, text: &str) -> bool {
        let start = handle.start as usize;
        // As bytes: where a text begins and ends here was asked when it was stored.
        self.text.as_bytes().get(start..start + handle.len as usize) == Some(text.as_bytes())
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

    /// Bytes that it has taken from the system, about.
    pub fn capacity(&self) -> usize {
        let parts = self.errors.capacity() * size_of::<ErrorPart>() + self.tracks.capacity() * size_of::<TrackPart>();
        self.text.capacity()
            + self.events.capacity() * size_of::<Event>()
            + parts
            + self.tags.capacity() * size_of::<(Text, Text)>()
    }

    /// Bytes of text held.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }
}
