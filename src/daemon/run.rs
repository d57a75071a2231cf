//! Start, run, stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;

use crate::config::Diagnostic;
use crate::desk::Desk;
use crate::ingest::access_log::LogParser;
use crate::model::limits::Limits;
use crate::model::{Delivery, Timestamp};
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{ChannelLabel, ResultLabel};
use crate::wal::{CommitError, CommitOptions, Committer, DirLock, Entry, Group, LockError, Wal, WalError, checkpoint};
use crate::watch::BadCheckpoint;

use super::data_dir::DataDir;
use super::restore::{Restored, restore};
use super::settings::{Found, Live, Origin, Settings};
use super::shared::Shared;
use super::watch_task::{CHECKPOINT_FORMAT, Checkpoint, Checkpoints, WatchTask};
use super::{clock, desk_task, file_watch, last_good, reload, signs, source_task, trouble, watch_task};

/// How to start.
pub struct Options {
    /// Where the configuration comes from.
    pub origin: Origin,
    /// The settings as loaded from it.
    pub settings: Settings,
    /// What was found when they were loaded.
    pub found: Found,
    /// Past events to learn from when the data folder is new.
    pub history: Vec<PathBuf>,
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}", .0.display())]
    DataDir(PathBuf, #[source] std::io::Error),
    /// Another daemon has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The checkpoints.
    #[error(transparent)]
    CheckpointFile(#[from] checkpoint::CheckpointError),
    /// What a checkpoint holds.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// A checkpoint of a build from before the first release. What it learned cannot be read; the log can.
    #[error(
        "the checkpoints in {} have format {version}, of a build before 0.1.0 that cannot be migrated; \
         move that folder away to learn anew from what the log still has",
        .dir.display()
    )]
    OldCheckpoint {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        version: u32,
    },
    /// A file of past events.
    #[error("cannot read the history {}", .0.display())]
    History(PathBuf, #[source] std::io::Error),
    /// The address.
    #[error("cannot listen on {0}; is another spiked running there?")]
    Listen(String, #[source] std::io::Error),
    /// A receiver's settings.
    #[error(transparent)]
    Client(#[from] crate::notifier::ClientError),
    /// An access log's format.
    #[error("the format of {file} is not right: {reason}")]
    LogFormat {
        /// The access log.
        file: String,
        /// Why.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The configuration is broken.
    #[error("{}", .0.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Diagnostic>),
}

/// A running daemon.
pub struct Daemon {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    stop_web: tokio::sync::watch::Sender<bool>,
    web: tokio::task::JoinHandle<()>,
    stop_sources: Arc<AtomicBool>,
    sources: Vec<JoinHandle<()>>,
    wal: JoinHandle<Wal>,
    watch: JoinHandle<()>,
    desk: JoinHandle<()>,
    checkpoints: JoinHandle<()>,
    _lock: DirLock,
}

impl Daemon {
    /// Starts everything; returns when replay has ended and events are taken.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { origin, mut settings, found, history } = options;
        // Before all that takes time: what changes from here on is read again.
        let seen = file_watch::look(&origin, &settings.config.rule_files);
        let path = settings.config.data_dir.clone();
        let data_dir = DataDir::create(&path).map_err(|e| StartError::DataDir(path.clone(), e))?;
        let lock = DirLock::take(data_dir.path())?;
        let salts = data_dir.salts(clock::now()).map_err(|e| StartError::DataDir(path.clone(), e))?;
        let kept_names = last_good::complete(&data_dir, &mut settings, &found);
        let parsers = parsers(&settings)?;
        let listen = settings.config.listen.clone();
        let listener = TcpListener::bind(&listen).await.map_err(|e| StartError::Listen(listen.clone(), e))?;
        let address = listener.local_addr().map_err(|e| StartError::Listen(listen, e))?;
        let metrics = Metrics::shared();
        let live = Live::build(settings, salts, 1)?;

        let store = Store::open(&data_dir.database())?;
        let desk = Desk::new(live.settings.desk(), store.restore()?, clock::now().millis() as u64);
        let (desk_queue, desk_messages) = channel();
        // Offsets name transitions for ever: they never begin anew while the desk remembers higher ones.
        let taken = desk.taken().values().filter(|id| id.shard != trouble::SHARD).map(|id| id.offset + 1).max().unwrap_or(0);
        let Restored { task, wal, config } = restore(&data_dir, &live, &metrics, &desk_queue, taken, &history)?;
        tell_found(&origin, &found, &kept_names, &metrics, &desk_queue);

        let (watch_queue, watch_messages) = watch_task::queue();
        let room = watch_task::Room::new(live.settings.config.limits.queue_bytes);
        let limits = &live.settings.config.limits;
        let (committer, wal) = spawn_log(wal, limits, &metrics, task.arrival, watch_queue.clone(), room.clone())?;
        open_log(&committer, config);
        let positions = task.positions.clone();
        let shared = Arc::new(Shared {
            origin,
            live: ArcSwap::from_pointee(live),
            committer: committer.clone(),
            watch: watch_queue,
            desk: desk_queue.clone(),
            metrics: Arc::clone(&metrics),
            spare: task.spare.clone(),
            store_failure: ArcSwapOption::empty(),
            data_dir: data_dir.clone(),
            taking: AtomicBool::new(false),
            generation: AtomicU64::new(1),
            reloading: tokio::sync::Mutex::new(()),
        });
        let desk = spawn_desk(&shared, desk, store, desk_messages)?;
        let (to_checkpoints, checkpoints) = spawn_checkpoints(&shared, data_dir)?;
        let watch = spawn_watch(task, watch_messages, committer, desk_queue, to_checkpoints, room)?;
        let stop_sources = Arc::new(AtomicBool::new(false));
        let sources = spawn_sources(&shared, parsers, &positions, &stop_sources)?;
        let (stop_web, mut stopped) = tokio::sync::watch::channel(false);
        let site = Arc::new(crate::web::Site::new(Arc::clone(&shared)));
        let web = tokio::spawn(async move {
            let stop = async move {
                let _dropped = stopped.wait_for(|stop| *stop).await;
            };
            crate::web::serve(listener, site, stop).await;
        });
        shared.taking.store(true, Ordering::Release);
        tokio::spawn(file_watch::watch_files(Arc::clone(&shared), seen));
        tokio::spawn(rotate_salts(Arc::clone(&shared)));
        tokio::spawn(signs::heartbeat(Arc::clone(&shared)));
        tokio::spawn(signs::gauges(Arc::clone(&shared)));
        tracing::info!(event = "started", listen = %address, data_dir = %path.display());
        Ok(Self { shared, address, stop_web, web, stop_sources, sources, wal, watch, desk, checkpoints, _lock: lock })
    }

    /// Where it listens.
    pub const fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// What the tasks share.
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether a thread that must not end has ended: then the process must, too.
    pub fn is_broken(&self) -> bool {
        self.sources.iter().any(JoinHandle::is_finished)
            || self.wal.is_finished()
            || self.watch.is_finished()
            || self.desk.is_finished()
            || self.checkpoints.is_finished()
    }

    /// Takes nothing new, finishes what was taken, writes a last checkpoint.
    pub async fn stop(self) {
        tracing::info!(event = "stopping");
        self.shared.taking.store(false, Ordering::Release);
        self.stop_sources.store(true, Ordering::Relaxed);
        let _gone = self.stop_web.send(true);
        let _ended = self.web.await;
        let shared = Arc::clone(&self.shared);
        settle_attempts(&shared).await;
        let threads = (self.sources, self.wal, self.watch, self.checkpoints, self.desk);
        let joined = tokio::task::spawn_blocking(move || {
            let (sources, wal, watch, checkpoints, desk) = threads;
            for source in sources {
                let _ended = source.join();
            }
            shared.committer.stop();
            let wal_ok = wal.join().is_ok();
            let _ended = shared.watch.send(watch_task::Message::Stop);
            let ok = watch.join().is_ok() & checkpoints.join().is_ok() & wal_ok;
            let _ended = shared.desk.send(desk_task::Message::Stop);
            desk.join().is_ok() && ok
        });
        if let Ok(true) = joined.await {
            tracing::info!(event = "stopped");
        } else {
            tracing::error!(event = "stopped_badly", "a thread had failed; the next start replays the log");
        }
    }
}

/// Waits a little for messages that are on their way, so that they need not be sent again.
async fn settle_attempts(shared: &Shared) {
    for _ in 0..100 {
        let flying = shared.read_desk(|desk, _| desk.deliveries().any(|queued| queued.leased.is_some()));
        if !matches!(tokio::time::timeout(Duration::from_secs(1), flying).await, Ok(Some(true))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn parsers(settings: &Settings) -> Result<Vec<LogParser>, StartError> {
    let parser = |source: &crate::config::Source| {
        LogParser::new(&source.format)
            .map_err(|e| StartError::LogFormat { file: source.access_log.display().to_string(), reason: e.to_string() })
    };
    settings.config.sources.iter().map(parser).collect()
}

fn spawn_log(
    wal: Wal,
    limits: &Limits,
    metrics: &Arc<Metrics>,
    arrival: Timestamp,
    watch: SyncSender<watch_task::Message>,
    room: watch_task::Room,
) -> Result<(Committer, JoinHandle<Wal>), StartError> {
    let deliver = move |group: Group| {
        room.take(watch_task::bytes_of(&group));
        let _stopping = watch.send(watch_task::Message::Entries(group));
    };
    let options = CommitOptions {
        queue_entries_max: limits.queue_entries,
        queue_bytes_max: limits.queue_bytes,
        ..CommitOptions::new(clock::monotonic)
    };
    let (committer, wal) = Committer::start(wal, options, Arc::clone(metrics), arrival, deliver).map_err(StartError::Thread)?;
    Ok((committer, wal))
}

/// What is not in force as it is written is told from the start.
fn tell_found(origin: &Origin, found: &Found, kept: &[String], metrics: &Metrics, desk: &Sender<desk_task::Message>) {
    if found.errors() > 0 {
        let kept = kept.join(", ");
        tracing::error!(event = "rules_broken", kept, "some rules are not in force as written; run `spiked check`");
    }
    metrics.configured(found.errors(), clock::now().secs());
    let _stopping = desk.send(desk_task::Message::Trouble(reload::troubles(origin, found, kept, None)));
}

/// Puts in the log, before all else, what a later replay must know: which rules hold, and that nobody was listening.
fn open_log(committer: &Committer, config: Option<u64>) {
    let entries = config.map(|hash| Entry::Config { hash }).into_iter().chain([Entry::Resume(clock::now())]);
    for entry in entries {
        let receipt = committer.submit(entry.clone());
        let committer = committer.clone();
        tokio::spawn(async move {
            let mut result = match receipt {
                Ok(receipt) => receipt.await.unwrap_or(Err(CommitError::Stopped)),
                Err(error) => Err(error),
            };
            // A log that fails takes nothing else either, until it works again.
            while !matches!(result, Ok(_) | Err(CommitError::Stopped)) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                result = committer.append(entry.clone()).await;
            }
        });
    }
}

fn spawn_desk(
    shared: &Arc<Shared>,
    desk: Desk,
    store: Store,
    messages: Receiver<desk_task::Message>,
) -> Result<JoinHandle<()>, StartError> {
    let task = desk_task::DeskTask::new(desk, store, Arc::clone(shared));
    let runtime = tokio::runtime::Handle::current();
    let shared = Arc::clone(shared);
    let send = move |delivery: Delivery| {
        runtime.spawn(deliver(Arc::clone(&shared), delivery));
    };
    std::thread::Builder::new().name("desk".into()).spawn(move || task.run(&messages, send)).map_err(StartError::Thread)
}

/// One attempt; its result goes back to the desk.
async fn deliver(shared: Arc<Shared>, delivery: Delivery) {
    let live = shared.live();
    let config = &live.settings.config;
    let now = clock::now();
    let site = delivery.notification.lead().firing.group.get("site").to_owned();
    let result = match config.receivers.iter().find(|receiver| receiver.name == delivery.target.receiver) {
        Some(receiver) => {
            let zone = live.settings.zone_of(&site);
            crate::notifier::send(&delivery, receiver, &live.clients, now, &config.external_url, zone).await
        }
        None => crate::model::AttemptResult::BadTarget {
            reason: format!("receiver {} is not configured any more", delivery.target.receiver),
        },
    };
    tracing::info!(
        event = "attempt", receiver = %delivery.target.receiver, channel = %delivery.target.channel,
        incident = %delivery.notification.incident, reason = delivery.notification.reason.as_str(), ?result
    );
    shared.metrics.attempt(&delivery.target.receiver, &delivery.target.channel, result.as_str());
    let channel = ChannelLabel { channel: delivery.target.channel.clone() };
    let latency = clock::now().since(delivery.notification.at).as_secs_f64();
    shared.metrics.delivery_seconds.get_or_create(&channel).observe(latency);
    let _stopping = shared.desk.send(desk_task::Message::AttemptDone(delivery.id, result));
}

fn spawn_watch(
    task: WatchTask,
    messages: Receiver<watch_task::Message>,
    committer: Committer,
    desk: Sender<desk_task::Message>,
    checkpoints: Checkpoints,
    room: watch_task::Room,
) -> Result<JoinHandle<()>, StartError> {
    let run = move || {
        let to_desk = |transitions| {
            let _stopping = desk.send(desk_task::Message::Transitions(transitions));
        };
        task.run(&messages, &committer, to_desk, &checkpoints, room);
    };
    std::thread::Builder::new().name("watch".into()).spawn(run).map_err(StartError::Thread)
}

/// Writes states once the desk has stored all that was decided before them, and lets the log forget what they hold.
fn spawn_checkpoints(shared: &Arc<Shared>, data_dir: DataDir) -> Result<(Checkpoints, JoinHandle<()>), StartError> {
    let (queue, states) = sync_channel::<Checkpoint>(1);
    let checkpoints = Checkpoints { queue, busy: Arc::default() };
    let (shared, busy) = (Arc::clone(shared), Arc::clone(&checkpoints.busy));
    let run = move || {
        for state in states {
            let result = if write_checkpoint(&shared, &data_dir, &state) { "success" } else { "failure" };
            shared.metrics.checkpoints.get_or_create(&ResultLabel { result }).inc();
            busy.store(false, Ordering::Release);
        }
    };
    let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(run).map_err(StartError::Thread)?;
    Ok((checkpoints, thread))
}

/// Whether the state is on disk.
fn write_checkpoint(shared: &Shared, data_dir: &DataDir, state: &Checkpoint) -> bool {
    let (answer, stored) = channel();
    let asked = shared.desk.send(desk_task::Message::Barrier(answer));
    if asked.is_err() || stored.recv().is_err() {
        tracing::warn!(event = "checkpoint_waits", "the log is kept until the database has taken what was decided");
        return false;
    }
    if let Err(error) = checkpoint::write(&data_dir.checkpoints(), state.offset, CHECKPOINT_FORMAT, &state.bytes) {
        tracing::error!(event = "checkpoint_failed", %error, "the log is kept until one can be written");
        return false;
    }
    shared.metrics.checkpoint_offset.set(state.offset as i64);
    if let Some(offset) = checkpoint::oldest_offset(&data_dir.checkpoints()) {
        shared.committer.delete_before(offset);
    }
    true
}

fn spawn_sources(
    shared: &Arc<Shared>,
    parsers: Vec<LogParser>,
    positions: &BTreeMap<String, Vec<u8>>,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let sources = shared.live().settings.config.sources.clone();
    let mut threads = Vec::new();
    for (source, parser) in sources.into_iter().zip(parsers) {
        let stored = positions.get(&source.access_log.display().to_string());
        let from = stored.and_then(|bytes| postcard::from_bytes(bytes).ok());
        let (shared, stop) = (Arc::clone(shared), Arc::clone(stop));
        let run = move || source_task::follow(&shared, &source, &parser, from, &stop);
        threads.push(std::thread::Builder::new().name("access-log".into()).spawn(run).map_err(StartError::Thread)?);
    }
    Ok(threads)
}

/// Puts the salt of a new day in force.
async fn rotate_salts(shared: Arc<Shared>) {
    let mut day = clock::now().secs() / 86_400;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = clock::now();
        if now.secs() / 86_400 == day {
            continue;
        }
        let _no_reload_meanwhile = shared.reloading.lock().await;
        let generation = shared.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let built = shared
            .data_dir
            .salts(now)
            .map_err(|e| e.to_string())
            .and_then(|salts| Live::build(shared.live().settings.clone(), salts, generation).map_err(|e| e.to_string()));
        match built {
            Ok(live) => {
                day = now.secs() / 86_400;
                shared.live.store(Arc::new(live));
            }
            Err(error) => tracing::error!(event = "salt_rotation_failed", error, "yesterday's salt stays in use"),
        }
    }
}
