//! Events as bytes, for the log: what repeats from one event to the next is one bit, numbers are as short as they are small, and
//! hashes of texts are made anew on the way back.
//!
//! ```text
//! event   flags u24  [count]  at  arrival  text…  series u64  [session u64]  [id u64]  [tags: two numbers]  [part]
//! text    start  length       one for each of the twelve texts whose flag is set; the others are as in the event before
//! ```
//!
//! Numbers without a width are LEB128; times are differences, zigzag: `arrival` from that of the event before, `at` from `arrival`.

use super::batch::Text;
use super::event::{Dim, Event, Kind};
use super::time::Timestamp;

/// Texts of an event: site, environment, page, step and the dimensions.
const TEXTS: usize = 4 + Dim::COUNT;
/// Flags above those of the texts.
const KIND: u32 = TEXTS as u32;
const COMPANION: u32 = 1 << (KIND + 3);
const COUNTED: u32 = 1 << (KIND + 4);
const SESSION: u32 = 1 << (KIND + 5);
const ID: u32 = 1 << (KIND + 6);
const TAGS: u32 = 1 << (KIND + 7);
const PART: u32 = 1 << (KIND + 8);

const KINDS: [Kind; 5] = [Kind::View, Kind::Error, Kind::Track, Kind::Deploy, Kind::Heartbeat];

/// Most bytes of one event: flags, fourteen numbers of up to five bytes and two of up to ten, twelve texts and three hashes.
const EVENT_BYTES_MAX: usize = 3 + 5 * 5 + 2 * 10 + TEXTS * 10 + 3 * 8;

fn texts(event: &Event) -> [Text; TEXTS] {
    let [a, b, c, d, e, f, g, h] = event.dims;
    [event.site, event.env, event.page, event.step, a, b, c, d, e, f, g, h]
}

/// The events of a batch as bytes.
pub(super) fn encode(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + events.len() * 72);
    put(&mut out, events.len() as u64);
    let (mut before, mut arrival) = ([Text::NONE; TEXTS], 0i64);
    for event in events {
        out.reserve(EVENT_BYTES_MAX);
        let now = texts(event);
        let changed =
            now.iter().zip(&before).enumerate().fold(0, |flags, (at, (now, before))| flags | u32::from(now != before) << at);
        let kind = KINDS.iter().position(|kind| *kind == event.kind).unwrap_or(0) as u32;
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        let flags = changed
            | kind << KIND
            | flag(event.companion, COMPANION)
            | flag(event.count != 1, COUNTED)
            | flag(event.session != 0, SESSION)
            | flag(event.id != 0, ID)
            | flag(event.tags != (0, 0), TAGS)
            | flag(event.part != 0, PART);
        out.extend_from_slice(&flags.to_le_bytes()[..3]);
        if event.count != 1 {
            put(&mut out, u64::from(event.count));
        }
        put_signed(&mut out, event.arrival.millis().wrapping_sub(arrival));
        put_signed(&mut out, event.at.millis().wrapping_sub(event.arrival.millis()));
        arrival = event.arrival.millis();
        for (at, text) in now.iter().enumerate() {
            if changed >> at & 1 != 0 {
                put(&mut out, u64::from(text.start()));
                put(&mut out, u64::from(text.len()));
            }
        }
        before = now;
        out.extend_from_slice(&event.series.to_le_bytes());
        for hash in [event.session, event.id].into_iter().filter(|hash| *hash != 0) {
            out.extend_from_slice(&hash.to_le_bytes());
        }
        if event.tags != (0, 0) {
            put(&mut out, u64::from(event.tags.0));
            put(&mut out, u64::from(event.tags.1));
        }
        if event.part != 0 {
            put(&mut out, u64::from(event.part));
        }
    }
    out
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, (number << 1 ^ number >> 63) as u64);
}

/// The events of these bytes, whose texts lie in `text`; `None` where they are no events of it.
pub(super) fn decode(bytes: &[u8], text: &str) -> Option<Vec<Event>> {
    let mut reader = Reader { bytes };
    let count = reader.number()?;
    // Each takes more bytes than this; a wrong count reserves no more than what is there.
    let mut events = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len() / 8));
    let (mut texts, mut arrival) = ([Text::NONE; TEXTS], 0i64);
    for _ in 0..count {
        let event = reader.event(&mut texts, &mut arrival, text)?;
        events.push(event);
    }
    reader.bytes.is_empty().then_some(events)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take::<1>()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn short(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn hash_if(&mut self, is: bool) -> Option<u64> {
        if is { self.take::<8>().map(u64::from_le_bytes) } else { Some(0) }
    }

    fn event(&mut self, texts: &mut [Text; TEXTS], before: &mut i64, all: &str) -> Option<Event> {
        let [a, b, c] = self.take::<3>()?;
        let flags = u32::from_le_bytes([a, b, c, 0]);
        let count = if flags & COUNTED != 0 { self.short()? } else { 1 };
        let arrival = before.wrapping_add(self.signed()?);
        let at = arrival.wrapping_add(self.signed()?);
        *before = arrival;
        for (_, text) in texts.iter_mut().enumerate().filter(|(place, _)| flags >> place & 1 != 0) {
            let (start, len) = (self.short()?, self.short()?);
            *text = Text::new(start, all.get(start as usize..(start as usize).checked_add(len as usize)?)?);
        }
        let series = u64::from_le_bytes(self.take::<8>()?);
        let session = self.hash_if(flags & SESSION != 0)?;
        let id = self.hash_if(flags & ID != 0)?;
        let tags = if flags & TAGS != 0 { (self.short()?, self.short()?) } else { (0, 0) };
        let part = if flags & PART != 0 { self.short()? } else { 0 };
        let [site, env, page, step, dims @ ..] = *texts;
        Some(Event {
            at: Timestamp(at),
            arrival: Timestamp(arrival),
            kind: *KINDS.get((flags >> KIND & 7) as usize)?,
            count,
            companion: flags & COMPANION != 0,
            site,
            env,
            page,
            step,
            series,
            session,
            id,
            dims,
            tags,
            part,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::batch::Batch;
    use super::*;

    fn event(batch: &mut Batch, words: &[u64; 8]) -> Event {
        let mut text = |word: u64| batch.add_text(["", "shop", "/cart", "/pay/ä", "Chrome", "web@1"][(word % 6) as usize]);
        let mut dims = [Text::NONE; Dim::COUNT];
        for (at, dim) in dims.iter_mut().enumerate() {
            *dim = text(words[6] >> (at * 3) & 7);
        }
        let small = |word: u64| if word.is_multiple_of(3) { 0 } else { word };
        Event {
            at: Timestamp(words[0] as i64 >> (words[1] % 60)),
            arrival: Timestamp(words[1] as i64 >> (words[0] % 60)),
            kind: KINDS[(words[2] % 5) as usize],
            count: words[3] as u32,
            companion: words[2].is_multiple_of(2),
            site: text(words[4]),
            env: text(words[4] >> 8),
            page: text(words[4] >> 16),
            step: text(words[4] >> 24),
            series: words[5],
            session: small(words[6]),
            id: small(words[7]),
            dims,
            tags: (small(words[7]) as u32 & 0xff, small(words[5]) as u32 & 0xff),
            part: small(words[3]) as u32,
        }
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_were(words in prop::collection::vec(any::<[u64; 8]>(), 0..20)) {
            let mut batch = Batch::new();
            for words in &words {
                let event = event(&mut batch, words);
                batch.events.push(event);
            }
            let bytes = postcard::to_stdvec(&batch).unwrap();
            let again: Batch = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(format!("{batch:?}"), format!("{again:?}"));
        }

        #[test]
        fn bytes_that_are_no_events_are_refused_and_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            count in 0u8..4,
        ) {
            let bytes = [vec![count], bytes].concat();
            if let Some(events) = decode(&bytes, "some text of a batch") {
                prop_assert_eq!(events.len(), usize::from(count));
            }
        }
    }
}
