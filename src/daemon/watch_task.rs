//! The thread that owns the first core: durable entries in log order in, transitions to the desk out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Timestamp, Transition};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::StateLabel;
use crate::wal::{Committer, Entry};
use crate::watch::{Input, Notice, Output, Watch, WatchConfig};

use super::clock;

/// Format of a checkpoint's bytes.
pub const CHECKPOINT_FORMAT: u32 = 3;

/// Entries that may wait for the watch; more hold back the log, and with it the senders.
const QUEUE: usize = 256;

/// How often the state goes out as a checkpoint, at most …
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// … and no more than one part in so many of the time is spent on it: a large state takes seconds.
const CHECKPOINT_SHARE: u32 = 20;
/// Ticks alone are replayed in no time: a state that only they have changed can wait so long.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(3600);

/// What a checkpoint holds beside the watch.
#[derive(Serialize, Deserialize)]
pub struct Snapshot {
    /// [`Watch::checkpoint`].
    pub watch: Vec<u8>,
    /// How far each source was read.
    pub positions: BTreeMap<String, Vec<u8>>,
    /// The newest arrival.
    pub arrival: Timestamp,
}

/// A look at the watch at a time.
pub type Look = Box<dyn FnOnce(&Watch, Timestamp) + Send>;

/// What the thread hears.
pub enum Message {
    /// A durable entry of the log.
    Entry(u64, Entry),
    /// Look at the watch.
    Read(Look),
    /// The configuration that the next `Config` entry puts in force.
    Config(Arc<WatchConfig>),
    /// Write a checkpoint and end.
    Stop,
}

/// A state that is to be written once the desk has taken all transitions before it.
pub struct Checkpoint {
    /// Replay goes on here.
    pub offset: u64,
    /// [`Snapshot`], serialised.
    pub bytes: Vec<u8>,
}

/// The state of the thread; also used by the replay at start.
pub struct WatchTask {
    /// The core.
    pub watch: Watch,
    /// How far each source was read.
    pub positions: BTreeMap<String, Vec<u8>>,
    /// The newest arrival.
    pub arrival: Timestamp,
    /// The offset of the next entry.
    pub next_offset: u64,
    /// Entries so far that were no ticks.
    batches: u64,
    metrics: Arc<Metrics>,
    pending: Option<Arc<WatchConfig>>,
    output: Output,
}

impl WatchTask {
    /// Around a core that is new or was restored.
    pub fn new(
        watch: Watch,
        positions: BTreeMap<String, Vec<u8>>,
        arrival: Timestamp,
        next_offset: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { watch, positions, arrival, next_offset, batches: 0, metrics, pending: None, output: Output::default() }
    }

    /// Hands one durable entry to the core; what it says goes to `desk`.
    pub fn apply(&mut self, offset: u64, entry: Entry, desk: &mut dyn FnMut(Vec<Transition>)) {
        let started = clock::monotonic();
        self.next_offset = offset + 1;
        self.batches += u64::from(!matches!(entry, Entry::Tick(_)));
        match entry {
            Entry::Batch { source, batch, positions } => {
                self.arrival = batch.events.last().map_or(self.arrival, |event| event.arrival.max(self.arrival));
                self.metrics.watch_events.inc_by(batch.events.len() as u64);
                self.watch.handle(offset, Input::Events(&batch), &mut self.output);
                self.positions.extend(positions);
                self.count_outcomes(&source);
            }
            Entry::Tick(now) => {
                self.arrival = self.arrival.max(now);
                self.watch.handle(offset, Input::Tick(now), &mut self.output);
            }
            Entry::Resume(now) => {
                self.arrival = self.arrival.max(now);
                self.watch.handle(offset, Input::Resume(now), &mut self.output);
            }
            Entry::Config { .. } => {
                if let Some(config) = self.pending.take() {
                    self.watch.set_config(config, offset, &mut self.output);
                }
            }
        }
        self.metrics.watch_evaluation_seconds.observe((clock::monotonic() - started).as_secs_f64());
        self.tell(desk);
    }

    /// Passes on what the core has said.
    pub fn tell(&mut self, desk: &mut dyn FnMut(Vec<Transition>)) {
        for notice in self.output.notices.drain(..) {
            let Notice::SeriesLimit { site, env, limit } = notice;
            tracing::warn!(
                event = "series_limit",
                site,
                env,
                limit,
                "the limit of series is reached; further pages are counted in `other` (limits.series_per_site)"
            );
        }
        if self.output.transitions.is_empty() {
            return;
        }
        let transitions = std::mem::take(&mut self.output.transitions);
        for transition in &transitions {
            self.metrics.transitions.get_or_create(&StateLabel { state: transition.state.as_str() }).inc();
            tracing::info!(
                event = "transition", alert = %transition.alert, state = transition.state.as_str(), group = %transition.group,
                severity = %transition.severity, reason = %transition.reason
            );
        }
        desk(transitions);
    }

    fn count_outcomes(&mut self, source: &str) {
        let source = source_label(source);
        for (outcome, count) in std::mem::take(&mut self.output.outcomes) {
            self.metrics.lines(source, outcome, count);
        }
        self.metrics.watch_series.set(self.watch.series_count() as i64);
    }

    /// The whole state, to be written.
    pub fn checkpoint(&self) -> Checkpoint {
        let snapshot = Snapshot { watch: self.watch.checkpoint(), positions: self.positions.clone(), arrival: self.arrival };
        let bytes = postcard::to_stdvec(&snapshot).expect("plain data serialises into memory");
        Checkpoint { offset: self.next_offset, bytes }
    }

    /// Runs until it is stopped. `checkpoints` takes states to write; while it is busy with one, the next is skipped.
    pub fn run(
        mut self,
        messages: &Receiver<Message>,
        committer: &Committer,
        mut desk: impl FnMut(Vec<Transition>),
        checkpoints: &SyncSender<Checkpoint>,
    ) {
        let mut asked = None;
        let mut checkpointed = (clock::monotonic(), self.next_offset, self.batches);
        let mut pause = CHECKPOINT_EVERY;
        self.tell(&mut desk);
        loop {
            let wait = self.watch.next_deadline().map_or(Duration::from_secs(1), |at| at.since(clock::now()));
            // A tick that was asked for comes back through the queue: no need to look for it.
            let least = Duration::from_millis(if asked.is_some() { 100 } else { 1 });
            match messages.recv_timeout(wait.clamp(least, Duration::from_secs(1))) {
                Ok(Message::Entry(offset, entry)) => {
                    if matches!(entry, Entry::Tick(_)) {
                        asked = None;
                    }
                    self.apply(offset, entry, &mut desk);
                }
                Ok(Message::Read(read)) => read(&self.watch, clock::now().max(self.arrival)),
                Ok(Message::Config(config)) => self.pending = Some(config),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = clock::now();
            let due = self.watch.next_deadline().is_some_and(|at| at <= now);
            // Ticks go through the log like events, so that a replay judges at the same times.
            let overdue = asked.is_none_or(|at: Timestamp| now.since(at) > Duration::from_secs(5));
            if due && overdue {
                // A log that fails now is asked again in a while, not at once.
                let _failing = committer.submit(Entry::Tick(now));
                asked = Some(now);
            }
            let age = clock::monotonic() - checkpointed.0;
            let rest = if self.batches > checkpointed.2 { pause } else { CHECKPOINT_IDLE };
            if age > rest && self.next_offset > checkpointed.1 {
                let began = clock::monotonic();
                let _busy = checkpoints.try_send(self.checkpoint());
                checkpointed = (clock::monotonic(), self.next_offset, self.batches);
                pause = CHECKPOINT_EVERY.max((checkpointed.0 - began) * CHECKPOINT_SHARE);
            }
        }
        // The last one waits for its turn: the next start replays nothing.
        let _gone = checkpoints.send(self.checkpoint());
    }
}

/// The queue into the thread.
pub fn queue() -> (SyncSender<Message>, Receiver<Message>) {
    sync_channel(QUEUE)
}

/// Sources are a closed set, so that they can be metric labels.
pub fn source_label(source: &str) -> &'static str {
    ["native", "beacon", "heartbeat", "deploy", "access_log"].into_iter().find(|known| *known == source).unwrap_or("native")
}
