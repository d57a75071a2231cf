//! One thread for each access log that is followed: lines in, durable batches out, with the position in the same log entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::Source;
use crate::ingest::access_log::{LogParser, Meaning, View, judge};
use crate::ingest::agent::Agents;
use crate::ingest::{ArrivalClock, Door, RawEvent, RawKind, Scratch};
use crate::model::{Batch, Dim, Outcome, Refusal, Timestamp};
use crate::telemetry::Metrics;
use crate::wal::{CommitError, Committer, Entry};

use super::clock;
use super::shared::Shared;
use super::tail::{Chunk, Position, Start, Tail};

/// How often a quiet log is looked at.
const POLL: Duration = Duration::from_millis(250);
/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Follows one access log until `stop` is set.
pub fn follow(shared: &Arc<Shared>, source: &Source, parser: &LogParser, from: Option<Position>, stop: &AtomicBool) {
    let name = source.access_log.display().to_string();
    let line_bytes = shared.live().settings.config.limits.line_bytes;
    let mut tail = Tail::open(&source.access_log, from, Start::End).with_line_bytes(line_bytes);
    let mut reader = Reader { source, parser, agents: Agents::default(), scratch: Scratch::new(), generation: 0 };
    let mut stored_start = false;
    let mut said = None;
    let mut gaps = 0;
    while !stop.load(Ordering::Relaxed) {
        let polled = tail.poll(CHUNK_BYTES);
        if tail.gaps() > gaps {
            gaps = tail.gaps();
            tracing::warn!(event = "access_log_gap", file = name, "the file that was read last is gone; lines may be missing");
        }
        match polled {
            Ok(Some(chunk)) => {
                said = None;
                let batch = reader.read(shared, &chunk);
                keep(shared, &name, batch, &chunk.position, stop);
            }
            Ok(None) => {
                said = None;
                if let Some(position) = tail.position().filter(|_| !stored_start) {
                    keep(shared, &name, Batch::new(), position, stop);
                }
                stored_start |= tail.position().is_some();
                std::thread::sleep(POLL);
            }
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(event = "access_log_unreadable", file = name, error = text, "it is tried again all the time");
                    said = Some(text);
                }
                std::thread::sleep(POLL * 4);
            }
        }
    }
}

/// Puts a batch into the log, however long that takes: a file can wait.
fn keep(shared: &Shared, name: &str, batch: Batch, position: &Position, stop: &AtomicBool) {
    let position = postcard::to_stdvec(position).expect("plain data serialises into memory");
    let committer: &Committer = &shared.committer;
    let entry = Entry::Batch { source: "access_log".to_owned(), batch, positions: vec![(name.to_owned(), position)] };
    loop {
        match committer.append_blocking(entry.clone()) {
            Err(CommitError::Full | CommitError::Failed(_)) if !stop.load(Ordering::Relaxed) => std::thread::sleep(POLL),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Turns lines into events.
pub struct Reader<'a> {
    /// Where the lines come from.
    pub source: &'a Source,
    /// Knows their format.
    pub parser: &'a LogParser,
    /// Known user agents.
    pub agents: Agents,
    /// Known pages; made anew when the configuration changes.
    pub scratch: Scratch,
    /// Of the configuration that `scratch` belongs to.
    pub generation: u64,
}

impl Reader<'_> {
    fn read(&mut self, shared: &Shared, chunk: &Chunk) -> Batch {
        let live = shared.live();
        if self.generation != live.generation {
            (self.generation, self.scratch) = (live.generation, Scratch::new());
        }
        let metrics = &shared.metrics;
        metrics.lines("access_log", Outcome::Limited(Refusal::LineBytes), chunk.long_lines);
        let mut batch = Batch::new();
        let mut clock = ArrivalClock::Fixed(clock::now());
        for line in chunk.data.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            if let Err(outcome) = self.line(line, &live.door, &mut clock, &mut batch) {
                count(metrics, outcome);
            }
        }
        batch
    }

    /// Adds one line to the batch, or says how it ended.
    pub fn line(&mut self, line: &[u8], door: &Door, clock: &mut ArrivalClock, batch: &mut Batch) -> Result<(), Outcome> {
        let access = self.parser.parse(line).map_err(|error| Outcome::Invalid(error.refusal()))?;
        match judge(&access, &mut self.agents) {
            Meaning::Filtered(refusal) => Err(Outcome::Filtered(refusal)),
            Meaning::View(view) => {
                let raw = raw_event(self.source, &view);
                door.push(&raw, clock, batch, &mut self.scratch).map_err(|refused| refused.outcome)
            }
        }
    }
}

fn count(metrics: &Metrics, outcome: Outcome) {
    metrics.lines("access_log", outcome, 1);
}

fn raw_event<'a>(source: &'a Source, view: &'a View<'a>) -> RawEvent<'a> {
    let mut raw = RawEvent {
        at: view.at.filter(|at| *at >= Timestamp::MIN),
        kind: RawKind::Request { status: view.status },
        site: source.site.as_str().into(),
        env: source.env.as_str().into(),
        page: view.page.into(),
        id: view.id.into(),
        ..RawEvent::default()
    };
    raw.dims[Dim::Browser as usize] = view.agent.browser.into();
    raw.dims[Dim::Os as usize] = view.agent.os.into();
    raw.dims[Dim::Device as usize] = view.agent.device.into();
    raw.dims[Dim::Country as usize] = view.country.into();
    raw.dims[Dim::Source as usize] = view.source.as_ref().into();
    raw.dims[Dim::Campaign as usize] = view.campaign.as_ref().into();
    raw
}
