//! The thread that owns the first core: durable entries in log order in, transitions to the desk out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Timestamp, Transition};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::StateLabel;
use crate::wal::{Committer, Entry, Group};
use crate::watch::{BadCheckpoint, Input, Notice, Output, Watch, WatchConfig};

use super::archive::Archive;
use super::clock;
use super::spare::Spare;

/// Format of a checkpoint's bytes: positions of the sources, the newest arrival and the name of what is in force, then
/// [`Watch::checkpoint`].
pub const CHECKPOINT_FORMAT: u32 = 4;

/// Groups of entries that may wait for the watch; more hold back the log, and with it the senders.
const QUEUE: usize = 256;

/// How often the state goes out as a checkpoint, at most …
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// … and no more than one part in so many of the time is spent on it: a large state takes seconds.
const CHECKPOINT_SHARE: u32 = 20;
/// Ticks alone are replayed in no time: a state that only they have changed can wait so long.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(3600);

/// Work of the watch after which a checkpoint is written before its time: a replay does that work again, and about as long.
const REPLAY_MAX: Duration = Duration::from_secs(1);

/// … but the work between two checkpoints is at least this many times that of writing one.
const CHECKPOINT_WORK: u32 = 10;

/// A look at the watch at a time.
pub type Look = Box<dyn FnOnce(&Watch, Timestamp) + Send>;

/// What the thread hears.
pub enum Message {
    /// Durable entries of the log.
    Entries(Group),
    /// Look at the watch.
    Read(Look),
    /// The configuration that the `Config` entry with this hash puts in force.
    Config(u64, Arc<WatchConfig>),
    /// Write a checkpoint and end.
    Stop,
}

/// A state that is to be written once the desk has taken all transitions before it.
pub struct Checkpoint {
    /// Replay goes on here.
    pub offset: u64,
    /// As [`CHECKPOINT_FORMAT`] says.
    pub bytes: Vec<u8>,
}

/// The way to the thread that writes states.
pub struct Checkpoints {
    /// Takes one state while another is written.
    pub queue: SyncSender<Checkpoint>,
    /// Set while one is on its way to the disk: the next is not even made.
    pub busy: Arc<AtomicBool>,
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
    /// What is in force, by the name that the log has for it.
    pub in_force: u64,
    /// Entries so far that were no ticks.
    batches: u64,
    metrics: Arc<Metrics>,
    /// Where counted batches go.
    pub spare: Spare,
    archive: Archive,
    /// The newest configuration and its name.
    newest: (u64, Arc<WatchConfig>),
    output: Output,
    /// Time spent in the core since the last checkpoint.
    worked: Duration,
    /// A checkpoint is wanted before its time.
    wanted: bool,
    /// Bytes of the last checkpoint: the next will have about as many.
    bytes: usize,
}

impl WatchTask {
    /// Around a core that is new, under the newest configuration.
    pub fn new(newest: (u64, Arc<WatchConfig>), archive: Archive, metrics: Arc<Metrics>) -> Self {
        Self {
            watch: Watch::new(0, Arc::clone(&newest.1)),
            positions: BTreeMap::new(),
            arrival: Timestamp::default(),
            next_offset: 0,
            in_force: newest.0,
            batches: 0,
            metrics,
            spare: Spare::default(),
            archive,
            newest,
            output: Output::default(),
            worked: Duration::ZERO,
            wanted: false,
            bytes: 0,
        }
    }

    /// Takes up the core as it was when the checkpoint was made, under what was in force then.
    pub fn restore(&mut self, state: &[u8], offset: u64) -> Result<(), BadCheckpoint> {
        let (head, watch) = postcard::take_from_bytes(state).map_err(|e| BadCheckpoint::new(&e))?;
        (self.positions, self.arrival, self.in_force) = head;
        let then = Some(&self.newest).filter(|(name, _)| *name == self.in_force).map(|(_, config)| Arc::clone(config));
        let config = then.or_else(|| self.archive.find(self.in_force)).unwrap_or_else(|| {
            tracing::warn!(event = "rules_unknown", "the rules of then cannot be read; the replay judges by those of now");
            self.in_force = self.newest.0;
            Arc::clone(&self.newest.1)
        });
        self.watch = Watch::restore(watch, config)?;
        (self.next_offset, self.bytes) = (offset, state.len());
        Ok(())
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
                self.spare.give(batch);
            }
            Entry::Tick(now) => {
                self.arrival = self.arrival.max(now);
                self.watch.handle(offset, Input::Tick(now), &mut self.output);
            }
            Entry::Resume(now) => {
                self.arrival = self.arrival.max(now);
                self.watch.handle(offset, Input::Resume(now), &mut self.output);
            }
            Entry::Config { hash } => {
                self.set_config(hash, offset);
            }
        }
        let took = clock::monotonic() - started;
        self.worked += took;
        self.metrics.watch_evaluation_seconds.observe(took.as_secs_f64());
        self.tell(desk);
    }

    fn set_config(&mut self, hash: u64, offset: u64) {
        let newest = Some(&self.newest).filter(|(name, _)| *name == hash).map(|(_, config)| Arc::clone(config));
        let Some(config) = newest.or_else(|| self.archive.find(hash)) else {
            tracing::warn!(event = "rules_unknown", "the rules of then cannot be read; the replay judges by others");
            return;
        };
        self.watch.set_config(config, offset, &mut self.output);
        self.in_force = hash;
        // Worth a checkpoint: a replay from here needs no older rules.
        self.wanted = true;
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
        let room = Vec::with_capacity(self.bytes + self.bytes / 8);
        let head = postcard::to_extend(&(&self.positions, self.arrival, self.in_force), room)
            .expect("plain data serialises into memory");
        Checkpoint { offset: self.next_offset, bytes: self.watch.checkpoint_after(head) }
    }

    /// Runs until it is stopped. `checkpoints` takes states to write; while it is busy with one, the next waits.
    pub fn run(
        mut self,
        messages: &Receiver<Message>,
        committer: &Committer,
        mut desk: impl FnMut(Vec<Transition>),
        checkpoints: &Checkpoints,
        room: Room,
    ) {
        let room = Freed(room);
        let mut asked = None;
        let mut last = Last { at: clock::monotonic(), offset: self.next_offset, batches: self.batches, took: Duration::ZERO };
        self.tell(&mut desk);
        loop {
            let wait = self.watch.next_deadline().map_or(Duration::from_secs(1), |at| at.since(clock::now()));
            // A tick that was asked for comes back through the queue: no need to look for it.
            let least = Duration::from_millis(if asked.is_some() { 100 } else { 1 });
            match messages.recv_timeout(wait.clamp(least, Duration::from_secs(1))) {
                Ok(Message::Entries(group)) => {
                    let bytes = bytes_of(&group);
                    for (offset, entry) in group {
                        if matches!(entry, Entry::Tick(_)) {
                            asked = None;
                        }
                        self.apply(offset, entry, &mut desk);
                    }
                    room.0.free(bytes, false);
                }
                Ok(Message::Read(read)) => read(&self.watch, clock::now().max(self.arrival)),
                Ok(Message::Config(hash, config)) => self.newest = (hash, config),
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
            if self.is_checkpoint_due(&last) && !checkpoints.busy.swap(true, Ordering::AcqRel) {
                let at = clock::monotonic();
                let state = self.checkpoint();
                (self.worked, self.wanted, self.bytes) = (Duration::ZERO, false, state.bytes.len());
                last = Last { at, offset: state.offset, batches: self.batches, took: clock::monotonic() - at };
                let _gone = checkpoints.queue.send(state);
            }
        }
        // The last one waits for its turn: the next start replays nothing.
        let _gone = checkpoints.queue.send(self.checkpoint());
    }

    fn is_checkpoint_due(&self, last: &Last) -> bool {
        let worked = self.worked > REPLAY_MAX.max(last.took * CHECKPOINT_WORK);
        let pause =
            if self.batches > last.batches { CHECKPOINT_EVERY.max(last.took * CHECKPOINT_SHARE) } else { CHECKPOINT_IDLE };
        let is_time = clock::monotonic() - last.at > pause;
        self.wanted || ((worked || is_time) && self.next_offset > last.offset)
    }
}

/// The last checkpoint: when, where, and how long the core stood still for it.
struct Last {
    at: Duration,
    offset: u64,
    batches: u64,
    took: Duration,
}

/// The queue into the thread.
pub fn queue() -> (SyncSender<Message>, Receiver<Message>) {
    sync_channel(QUEUE)
}

/// About how many bytes these entries hold.
pub fn bytes_of(group: &Group) -> usize {
    group.iter().map(|(_, entry)| entry.size_hint()).sum()
}

/// Bytes of entries that wait for the watch: what is beyond holds back the log, and with it the senders.
#[derive(Clone)]
pub struct Room {
    used: Arc<(Mutex<Used>, Condvar)>,
    max: usize,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    /// Nobody will free anything any more.
    closed: bool,
}

impl Room {
    /// For so many bytes. One group of entries always fits.
    pub fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    /// Waits until there is room for so many, or the watch is gone.
    pub fn take(&self, bytes: usize) {
        let (used, freed) = &*self.used;
        let used = used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut Used| !used.closed && used.bytes > 0 && used.bytes.saturating_add(bytes) > self.max;
        let mut used = freed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_add(bytes);
    }

    fn free(&self, bytes: usize, closed: bool) {
        let (used, freed) = &*self.used;
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_sub(bytes);
        used.closed = closed;
        freed.notify_one();
    }
}

/// Opens the door when the watch ends, however it ends: nobody shall wait for it.
struct Freed(Room);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.free(0, true);
    }
}

/// Sources are a closed set, so that they can be metric labels.
pub fn source_label(source: &str) -> &'static str {
    ["native", "beacon", "heartbeat", "deploy", "access_log"].into_iter().find(|known| *known == source).unwrap_or("native")
}
