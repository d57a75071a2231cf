//! Group commit: one thread owns the log, and one sync makes durable all that waited for it.
//!
//! An append to an idle log is synced at once. Under load the next sync waits until as many appends are there as last time or
//! 256 KiB, and 5 ms at most: a sync costs the same whatever is in it up to that size. Durable entries go on in log order.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Entry, Wal};
use crate::model::Timestamp;
use crate::telemetry::Metrics;

/// A group of this many bytes is synced without waiting for more.
const GROUP_BYTES: usize = 256 * 1024;
/// The least time between two syncs of small groups.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// How to commit.
#[derive(Clone, Copy)]
pub struct CommitOptions {
    /// The longest that an append waits for company before its sync. Default 5 ms.
    pub interval: Duration,
    /// Appends that may wait; more are refused as [`CommitError::Full`]. Default 8192.
    pub queue_entries_max: usize,
    /// Bytes, about, that may wait. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// How often a failed log is tried again. Default 1 s.
    pub retry: Duration,
    /// A clock that only rises, to measure syncs by.
    pub monotonic: fn() -> Duration,
}

impl CommitOptions {
    /// The defaults, with the caller's clock.
    pub fn new(monotonic: fn() -> Duration) -> Self {
        Self {
            interval: Duration::from_millis(5),
            queue_entries_max: 8192,
            queue_bytes_max: 64 * 1024 * 1024,
            retry: Duration::from_secs(1),
            monotonic,
        }
    }
}

impl fmt::Debug for CommitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitOptions").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// Why an entry is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Too many appends wait: try again soon.
    #[error("too much waits for the log; try again in a moment")]
    Full,
    /// The disk refused: nothing is taken until it works again, which is tried all the time.
    #[error("the log cannot be written ({0}); free some space or check the disk")]
    Failed(String),
    /// The daemon is stopping.
    #[error("spiked is stopping")]
    Stopped,
}

struct Waiting {
    entry: Entry,
    answer: oneshot::Sender<Result<u64, CommitError>>,
}

/// Durable entries of one sync, in log order, each with its offset.
pub type Group = Vec<(u64, Entry)>;

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    bytes: usize,
    /// So many entries wake the thread. Waking it for each would cost more than the entry itself.
    wake_at: usize,
    failed: Option<String>,
    stopping: bool,
    delete_before: Option<u64>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    options: CommitOptions,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// Whether the thread has waited long enough, where it waits for so many entries.
    fn is_enough(&self, entries: usize) -> bool {
        self.stopping || self.bytes >= GROUP_BYTES || self.waiting.len() >= entries
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue holds no invariant that a panic could break half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle on the thread that owns the log. Clones share it; the log is closed by [`stop`](Self::stop).
#[derive(Clone)]
pub struct Committer(Arc<Shared>);

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Committer").finish()
    }
}

impl Committer {
    /// Starts the thread. `deliver` hears every durable entry in log order, sync by sync, before its appender does; while it blocks,
    /// nothing is acknowledged, so a slow reader slows the senders down. Join the handle after [`stop`](Self::stop).
    pub fn start(
        wal: Wal,
        options: CommitOptions,
        metrics: Arc<Metrics>,
        last_arrival: Timestamp,
        deliver: impl FnMut(Group) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<Wal>)> {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::default()), changed: Condvar::new(), options, metrics });
        let writer = Writer { wal, shared: Arc::clone(&shared), last_arrival, deliver };
        let thread = std::thread::Builder::new().name("wal".into()).spawn(move || writer.run())?;
        Ok((Self(shared), thread))
    }

    /// Puts an entry in the log; resolves with its offset once it is durable. Arrival times before that of an earlier entry
    /// are raised to it. An append whose future is dropped still happens.
    pub async fn append(&self, entry: Entry) -> Result<u64, CommitError> {
        self.submit(entry)?.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// As [`append`](Self::append), for threads outside the runtime.
    pub fn append_blocking(&self, entry: Entry) -> Result<u64, CommitError> {
        self.submit(entry)?.blocking_recv().unwrap_or(Err(CommitError::Stopped))
    }

    /// Queues an entry without waiting: what comes back tells how it went.
    pub fn submit(&self, entry: Entry) -> Result<oneshot::Receiver<Result<u64, CommitError>>, CommitError> {
        let bytes = entry.size_hint();
        let mut queue = self.0.lock();
        if queue.stopping {
            return Err(CommitError::Stopped);
        }
        if let Some(reason) = &queue.failed {
            return Err(CommitError::Failed(reason.clone()));
        }
        let full = queue.waiting.len() >= self.0.options.queue_entries_max
            || (queue.bytes + bytes > self.0.options.queue_bytes_max && !queue.waiting.is_empty());
        if full {
            return Err(CommitError::Full);
        }
        let (answer, receipt) = oneshot::channel();
        queue.bytes += bytes;
        queue.waiting.push(Waiting { entry, answer });
        let is_wanted = queue.is_enough(queue.wake_at);
        drop(queue);
        if is_wanted {
            self.0.changed.notify_one();
        }
        Ok(receipt)
    }

    /// Why the log takes nothing at the moment, if it does not: for `/-/ready`.
    pub fn failure(&self) -> Option<String> {
        self.0.lock().failed.clone()
    }

    /// Appends that wait.
    pub fn queue_len(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Asks the thread to delete the segments before `offset`, which a checkpoint covers.
    pub fn delete_before(&self, offset: u64) {
        self.0.lock().delete_before = Some(offset);
        self.0.changed.notify_one();
    }

    /// Takes nothing more, commits what waits, and ends the thread.
    pub fn stop(&self) {
        self.0.lock().stopping = true;
        self.0.changed.notify_one();
    }
}

struct Writer<D> {
    wal: Wal,
    shared: Arc<Shared>,
    last_arrival: Timestamp,
    deliver: D,
}

impl<D: FnMut(Group)> Writer<D> {
    fn run(mut self) -> Wal {
        let mut last_group = 0;
        loop {
            self.gather(last_group);
            let (group, delete, stopping) = {
                let mut queue = self.shared.lock();
                (queue.bytes, queue.wake_at) = (0, usize::MAX);
                (std::mem::take(&mut queue.waiting), queue.delete_before.take(), queue.stopping)
            };
            if let Some(Err(error)) = delete.map(|offset| self.wal.delete_before(offset)) {
                tracing::warn!(event = "wal_delete_failed", %error, "cannot delete old log segments; they stay until the next checkpoint");
            }
            last_group = group.len();
            if stopping && group.is_empty() {
                return self.wal;
            }
            self.mend();
            self.commit(group);
        }
    }

    /// Waits for work: for company after a sync, then for the first append. A failed log wakes up to be tried again.
    fn gather(&self, last_group: usize) {
        let interval = self.shared.options.interval;
        let mut queue = self.shared.lock();
        if last_group > 0 {
            queue = self.pause(queue, PAUSE_MIN.min(interval), usize::MAX);
            queue = self.pause(queue, interval.saturating_sub(PAUSE_MIN), last_group);
        }
        queue.wake_at = 1;
        let idle = |q: &mut Queue| !q.is_enough(1) && q.delete_before.is_none();
        if self.wal.is_failed() {
            drop(self.shared.changed.wait_timeout_while(queue, self.shared.options.retry, idle));
        } else {
            drop(self.shared.changed.wait_while(queue, idle));
        }
    }

    /// Waits for so many entries.
    fn pause<'q>(&self, mut queue: MutexGuard<'q, Queue>, longest: Duration, enough: usize) -> MutexGuard<'q, Queue> {
        queue.wake_at = enough;
        let waited = self.shared.changed.wait_timeout_while(queue, longest, |q| !q.is_enough(enough));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn mend(&mut self) {
        if !self.wal.is_failed() {
            return;
        }
        match self.wal.recover() {
            Ok(()) => {
                tracing::info!(event = "wal_recovered", "the log can be written again");
                self.shared.lock().failed = None;
            }
            Err(error) => self.shared.lock().failed = Some(error.to_string()),
        }
    }

    fn commit(&mut self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let (mut done, mut answers) = (Group::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for Waiting { mut entry, answer } in group {
            entry.order_arrivals(&mut self.last_arrival);
            match self.wal.append(&entry) {
                Ok(offset) => {
                    done.push((offset, entry));
                    answers.push((offset, answer));
                }
                Err(error) => drop(answer.send(Err(CommitError::Failed(error.to_string())))),
            }
        }
        let bytes = self.wal.pending_bytes();
        let began = (self.shared.options.monotonic)();
        let result = self.wal.sync();
        let took = (self.shared.options.monotonic)().saturating_sub(began);
        let metrics = &self.shared.metrics;
        metrics.wal_sync_seconds.observe(took.as_secs_f64());
        match result {
            Ok(()) => {
                metrics.wal_written_bytes.inc_by(bytes as u64);
                metrics.wal_next_offset.set(self.wal.next_offset() as i64);
                (self.deliver)(done);
                for (offset, answer) in answers {
                    drop(answer.send(Ok(offset)));
                }
            }
            Err(error) => self.refuse(&error, answers.into_iter().map(|(_, answer)| answer)),
        }
    }

    fn refuse(&mut self, error: &io::Error, answers: impl Iterator<Item = oneshot::Sender<Result<u64, CommitError>>>) {
        self.shared.metrics.wal_failures.inc();
        let reason = error.to_string();
        let first = self.shared.lock().failed.replace(reason.clone()).is_none();
        if first {
            tracing::error!(event = "wal_failed", %error, "the log cannot be written; events are refused until it can");
        }
        for answer in answers {
            drop(answer.send(Err(CommitError::Failed(reason.clone()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::wal::WalOptions;

    fn options() -> CommitOptions {
        CommitOptions::new(|| Duration::ZERO)
    }

    fn start(dir: &std::path::Path, options: CommitOptions) -> (Committer, JoinHandle<Wal>, mpsc::Receiver<(u64, Entry)>) {
        let (wal, _) = Wal::open(dir, WalOptions::default()).unwrap();
        let (tell, told) = mpsc::channel();
        let deliver = move |group: Group| group.into_iter().for_each(|entry| tell.send(entry).unwrap());
        let (committer, thread) = Committer::start(wal, options, Arc::new(Metrics::new()), Timestamp(0), deliver).unwrap();
        (committer, thread, told)
    }

    #[test]
    fn what_was_acknowledged_is_on_disk_and_was_delivered_in_log_order() {
        let dir = tempfile::tempdir().unwrap();
        let (committer, thread, told) = start(dir.path(), options());
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let committer = committer.clone();
                std::thread::spawn(move || {
                    (0..20).map(|n| committer.append_blocking(Entry::Tick(Timestamp(n * 10 + sender))).unwrap()).collect()
                })
            })
            .collect();
        let mut offsets: Vec<u64> = senders.into_iter().flat_map(|s| -> Vec<u64> { s.join().unwrap() }).collect();
        let on_disk: Vec<_> = Wal::replay(dir.path(), 0).unwrap().map(|item| item.unwrap()).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..160).collect::<Vec<_>>());
        assert_eq!(on_disk.len(), 160);
        committer.stop();
        thread.join().unwrap();
        let delivered: Vec<_> = told.iter().collect();
        assert_eq!(format!("{delivered:?}"), format!("{on_disk:?}"));
        let times: Vec<_> =
            on_disk.iter().map(|(_, entry)| if let Entry::Tick(at) = entry { *at } else { Timestamp(-1) }).collect();
        assert!(times.is_sorted(), "arrivals never go back");
        assert_eq!(committer.append_blocking(Entry::Config { hash: 1 }), Err(CommitError::Stopped));
    }

    #[test]
    fn a_full_queue_refuses_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(dir.path(), WalOptions::default()).unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let options = CommitOptions { queue_entries_max: 2, ..options() };
        let deliver = move |_| blocked.recv().unwrap_or_default();
        let (committer, thread) = Committer::start(wal, options, Arc::new(Metrics::new()), Timestamp(0), deliver).unwrap();
        let first = committer.submit(Entry::Config { hash: 0 }).unwrap();
        while committer.queue_len() > 0 {
            std::thread::yield_now(); // until the thread has it and is held up by the reader
        }
        let held: Vec<_> = (1..=2).map(|hash| committer.submit(Entry::Config { hash }).unwrap()).collect();
        assert_eq!(committer.submit(Entry::Config { hash: 3 }).unwrap_err(), CommitError::Full);
        drop(release);
        assert_eq!(first.blocking_recv().unwrap(), Ok(0));
        assert_eq!(held.into_iter().map(|r| r.blocking_recv().unwrap().unwrap()).collect::<Vec<_>>(), [1, 2]);
        committer.stop();
        thread.join().unwrap();
    }

    #[test]
    fn a_disk_that_fails_is_told_to_every_waiter_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("wal");
        let (mut wal, _) = Wal::open(&log, WalOptions { segment_bytes: 1 }).unwrap();
        // A roll into a folder that is gone fails, and so does recovery until the folder is back.
        std::fs::remove_dir_all(&log).unwrap();
        wal.append(&Entry::Config { hash: 0 }).unwrap();
        wal.sync().unwrap();
        let options = CommitOptions { retry: Duration::from_millis(1), ..options() };
        let (committer, thread) = Committer::start(wal, options, Arc::new(Metrics::new()), Timestamp(0), |_| {}).unwrap();
        assert!(matches!(committer.append_blocking(Entry::Config { hash: 1 }), Err(CommitError::Failed(_))));
        assert!(committer.failure().is_some());
        std::fs::create_dir_all(&log).unwrap();
        while committer.failure().is_some() {
            std::thread::yield_now();
        }
        assert_eq!(committer.append_blocking(Entry::Config { hash: 2 }), Ok(1));
        committer.stop();
        thread.join().unwrap();
    }
}
