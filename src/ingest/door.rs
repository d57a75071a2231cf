//! The one door: raw fields of any format become resolved events in a batch, or are refused with a reason.
//!
//! What the core sees is decided here and nowhere else: defaults, the page template and step, hashes of session and id, scrubbed
//! texts, bounded lengths, times that make sense. An event is checked whole before the batch is touched.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::{Config, Site};
use crate::model::batch::hash_text;
use crate::model::event::{ErrorPart, HeartbeatPart, TrackPart};
use crate::model::limits::{FUTURE, VALUE_CHARS};
use crate::model::outcome::Refusal;
use crate::model::{Batch, Dim, Event, Kind, Outcome, Text, Timestamp};

use super::fingerprint::Named;
use super::page::PageRules;
use super::raw::{RawError, RawEvent, RawKind};
use super::salt::Salts;
use super::scratch::{Asked, Scratch};
use super::scrub;

/// Why an event did not become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `Filtered`, `Limited` or `Invalid`.
    pub outcome: Outcome,
    /// For the client; holds no more than a few characters of what it sent.
    pub reason: Cow<'static, str>,
}

/// The arrival times of events. Live, a batch has one. In a backtest the greatest event time so far stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalClock {
    /// Everything arrives now; what claims to come from the future is set to now.
    Fixed(Timestamp),
    /// Arrival is the greatest event time so far; `None` before the first.
    Running(Option<Timestamp>),
}

/// How raw fields become resolved events: built from a checked configuration, shared by every source.
#[derive(Clone, Debug)]
pub struct Door {
    sites: BTreeMap<String, SiteRules>,
    default_site: SiteRules,
    salts: Salts,
    sample_messages: bool,
}

#[derive(Clone, Debug)]
struct SiteRules {
    pages: PageRules,
    tags: Vec<String>,
}

/// A checked event before it is written: its place and time, and its error's name where it has one.
struct Common {
    at: Timestamp,
    arrival: Timestamp,
    session: u64,
    id: u64,
    site_hash: u64,
}

impl Door {
    /// From a checked configuration and the salts in force.
    pub fn new(config: &Config, salts: Salts) -> Self {
        let sites = config.sites.iter().map(|(name, site)| (name.clone(), site));
        Self::for_sites(sites, &config.default_site, salts, config.sample_messages)
    }

    /// From the parts of a configuration that matter here; `default_site` stands for every site that is not named.
    pub fn for_sites<'s>(
        sites: impl IntoIterator<Item = (String, &'s Site)>,
        default_site: &Site,
        salts: Salts,
        sample_messages: bool,
    ) -> Self {
        let rules = |site: &Site| SiteRules { pages: PageRules::new(site), tags: site.tags.clone() };
        Self {
            sites: sites.into_iter().map(|(name, site)| (name, rules(site))).collect(),
            default_site: rules(default_site),
            salts,
            sample_messages,
        }
    }

    /// Appends the event to the batch, and the error of a failed request after it; or says why not and leaves the batch alone.
    pub fn push(
        &self,
        raw: &RawEvent<'_>,
        clock: &mut ArrivalClock,
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> Result<(), Refused> {
        check_needs(raw)?;
        let (at, arrival) = clock.stamp(raw.at)?;
        if raw.kind == RawKind::Error && scratch.error(&raw.error).0.is_none() {
            return Err(refused(Outcome::Filtered(Refusal::Extension), "thrown by a browser extension"));
        }
        clock.advance(arrival);
        let site = clean(if raw.site.is_empty() { "default" } else { &raw.site });
        let site_hash = hash_text(&site);
        let common = Common {
            at,
            arrival,
            session: if raw.session.is_empty() { 0 } else { self.salts.hash_session(arrival, site_hash, &raw.session) },
            id: hash_id(site_hash, &raw.id),
            site_hash,
        };
        let mut event = self.resolve(raw, &site, &common, batch, scratch);
        match raw.kind {
            RawKind::View => {}
            RawKind::Deploy => event.kind = Kind::Deploy,
            RawKind::Error => self.add_error(&mut event, &raw.error, batch, scratch),
            RawKind::Request { status } if status < 500 => {}
            RawKind::Request { status } => {
                batch.events.push(event.clone());
                event.companion = true;
                let class = Cow::Owned(format!("HTTP {status}"));
                let said = !raw.error.class.is_empty() || !raw.error.message.is_empty();
                let error = if said {
                    RawError { status, ..raw.error.clone() }
                } else {
                    RawError { class, status, ..RawError::default() }
                };
                self.add_error(&mut event, &error, batch, scratch);
            }
            RawKind::Track => {
                event.kind = Kind::Track;
                event.part = batch.tracks.len() as u32;
                let name = batch.intern(&clean_scrubbed(&raw.name), &mut scratch.texts);
                let currency = batch.intern(&clean(&raw.currency), &mut scratch.texts);
                batch.tracks.push(TrackPart {
                    name,
                    value: raw.value,
                    currency,
                    event_id: hash_id(common.site_hash, &raw.event_id),
                });
            }
            RawKind::Heartbeat => {
                event.kind = Kind::Heartbeat;
                event.part = batch.heartbeats.len() as u32;
                let status = if raw.job_status.is_empty() { "ok" } else { &*raw.job_status };
                let job = batch.intern(&clean_scrubbed(&raw.job), &mut scratch.texts);
                let status = batch.intern(status, &mut scratch.texts);
                batch.heartbeats.push(HeartbeatPart { job, status });
            }
        }
        batch.events.push(event);
        Ok(())
    }

    fn rules(&self, site: &str) -> &SiteRules {
        self.sites.get(site).unwrap_or(&self.default_site)
    }

    /// The fields that all kinds share, as a view.
    fn resolve(&self, raw: &RawEvent<'_>, site: &str, common: &Common, batch: &mut Batch, scratch: &mut Scratch) -> Event {
        let env = clean(if raw.env.is_empty() { "production" } else { &raw.env });
        let step = clean_scrubbed(&raw.step);
        let tags = self.add_tags(raw, site, batch, scratch);
        let (site_text, env_text) = (scratch.value(site, false, batch), scratch.value(&env, false, batch));
        let seed = common.site_hash ^ u64::from(env_text.hash()).rotate_left(32);
        let asked = Asked { site, env: &env, seed, page: raw.page.trim(), step: &step };
        let place = scratch.place(asked, || &self.rules(site).pages, batch);
        let mut dims = [Text::NONE; Dim::COUNT];
        for (dim, value) in Dim::ALL.into_iter().zip(&raw.dims) {
            if !value.is_empty() {
                // What people type into links may hold anything; the others are names made by machines (`web@4.2.1`).
                dims[dim as usize] = scratch.value(value, matches!(dim, Dim::Source | Dim::Campaign), batch);
            }
        }
        Event {
            at: common.at,
            arrival: common.arrival,
            kind: Kind::View,
            count: raw.count.max(1),
            companion: false,
            site: site_text,
            env: env_text,
            page: place.page,
            step: place.step,
            series: place.series,
            session: common.session,
            id: common.id,
            dims,
            tags,
            part: 0,
        }
    }

    /// Tags that the site declares, in the order of the declaration.
    fn add_tags(&self, raw: &RawEvent<'_>, site: &str, batch: &mut Batch, scratch: &mut Scratch) -> (u32, u32) {
        let start = batch.tags.len() as u32;
        if !raw.tags.is_empty() {
            for declared in &self.rules(site).tags {
                // The last of duplicate keys counts, as for other fields.
                if let Some((name, value)) = raw.tags.iter().rev().find(|(name, _)| name == declared) {
                    let name = batch.intern(name, &mut scratch.texts);
                    let value = batch.intern(&clean_scrubbed(value), &mut scratch.texts);
                    batch.tags.push((name, value));
                }
            }
        }
        (start, batch.tags.len() as u32)
    }

    fn add_error(&self, event: &mut Event, raw: &RawError<'_>, batch: &mut Batch, scratch: &mut Scratch) {
        event.kind = Kind::Error;
        event.part = batch.errors.len() as u32;
        let (named, texts) = scratch.error(raw);
        // A failed request is an error of the site whatever its stack says.
        let unnamed = Named::default();
        let named = named.unwrap_or(&unnamed);
        let part = ErrorPart {
            class: batch.intern(&named.class, texts),
            message: if self.sample_messages { batch.intern(&named.message, texts) } else { Text::NONE },
            frame: batch.intern(&named.frame, texts),
            fingerprint: batch.intern(&named.fingerprint, texts),
            fingerprint_hash: hash_text(&named.fingerprint),
            level: batch.intern(&clean(&raw.level), texts),
            handled: raw.handled,
            status: raw.status,
        };
        batch.errors.push(part);
    }
}

impl ArrivalClock {
    /// Event time and arrival of an event that says `at`.
    fn stamp(self, at: Option<Timestamp>) -> Result<(Timestamp, Timestamp), Refused> {
        let time = |reason: &'static str| refused(Outcome::Invalid(Refusal::Time), reason);
        match at {
            Some(at) if at < Timestamp::MIN => {
                return Err(time("field `ts`: lies before 2000: a broken clock, or no Unix seconds"));
            }
            Some(at) if at > Timestamp::MAX => {
                return Err(time("field `ts`: lies after 2100: numbers are Unix seconds, not milliseconds"));
            }
            _ => {}
        }
        match (self, at) {
            (Self::Fixed(arrival), at) => Ok((at.filter(|at| *at <= arrival + FUTURE).unwrap_or(arrival), arrival)),
            (Self::Running(now), Some(at)) => Ok((at, now.map_or(at, |now| now.max(at)))),
            (Self::Running(Some(now)), None) => Ok((now, now)),
            (Self::Running(None), None) => Err(time("field `ts` is missing, and no event before this one has a time")),
        }
    }

    fn advance(&mut self, arrival: Timestamp) {
        if let Self::Running(now) = self {
            *now = Some(arrival);
        }
    }
}

fn refused(outcome: Outcome, reason: &'static str) -> Refused {
    Refused { outcome, reason: Cow::Borrowed(reason) }
}

/// What a kind cannot do without.
fn check_needs(raw: &RawEvent<'_>) -> Result<(), Refused> {
    let has_page = !raw.page.trim().is_empty() || !raw.step.is_empty();
    let reason = match raw.kind {
        RawKind::View if !has_page => "field `page` is missing: a view needs a page or a step",
        RawKind::Error if !has_page => "field `page` is missing: an error needs a page or a step",
        RawKind::Request { .. } if !has_page => "field `page` is missing: a request needs a page or a step",
        RawKind::Track if raw.name.is_empty() => "field `name` is missing: a track event needs its name",
        RawKind::Deploy if raw.dims[Dim::Release as usize].is_empty() => "field `release` is missing: a deploy needs its release",
        RawKind::Heartbeat if raw.job.is_empty() => "field `job` is missing: a heartbeat needs its job",
        RawKind::Heartbeat if !matches!(&*raw.job_status, "" | "in_progress" | "ok" | "error") => {
            "field `status`: a heartbeat's is in_progress, ok or error"
        }
        _ => return Ok(()),
    };
    Err(refused(Outcome::Invalid(Refusal::Field), reason))
}

/// Hash of a client's id within its site; 0 for none.
fn hash_id(site_hash: u64, id: &str) -> u64 {
    if id.is_empty() { 0 } else { xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), site_hash).max(1) }
}

/// Bounded and printable; borrowed where it is already.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.len() <= VALUE_CHARS && text.bytes().all(|b| (b' '..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(VALUE_CHARS).map(|c| if scrub::is_unprintable(c) { ' ' } else { c }).collect())
}

/// As [`clean`], and without secrets. Short words without digits and signs cannot be one and cost nothing.
pub(super) fn clean_scrubbed(text: &str) -> Cow<'_, str> {
    let (mut digits, mut signs, mut printable) = (0, false, text.len() <= VALUE_CHARS);
    for byte in text.bytes() {
        digits += usize::from(byte.is_ascii_digit());
        signs |= matches!(byte, b'@' | b'%' | b'?' | b'=' | b':');
        printable &= matches!(byte, b' '..=b'~');
    }
    if digits < 7 && !(digits > 0 && text.len() >= 20) && !signs {
        return if printable { Cow::Borrowed(text) } else { clean(text) };
    }
    let mut scrubbed = String::with_capacity(text.len());
    scrub::scrub(text, &mut scrubbed);
    scrub::cut_chars(&mut scrubbed, VALUE_CHARS);
    Cow::Owned(scrubbed)
}
