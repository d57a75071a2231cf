//! The start: the first core as it was, brought up to the end of the log; or one that learns from past events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::model::{State, Transition};
use crate::telemetry::Metrics;
use crate::wal::{Wal, WalOptions, checkpoint};
use crate::watch::{Input, Output};

use super::archive::Archive;
use super::data_dir::DataDir;
use super::run::StartError;
use super::settings::Live;
use super::watch_task::{CHECKPOINT_FORMAT, WatchTask};
use super::{clock, desk_task, history};

/// The first core and its log, ready to go on.
pub(super) struct Restored {
    pub(super) task: WatchTask,
    pub(super) wal: Wal,
    /// The name of what is to be in force, where the log does not say so yet.
    pub(super) config: Option<u64>,
}

/// Restores the first core and its log. `taken` is the least offset that the next entry may have.
pub(super) fn restore(
    data_dir: &DataDir,
    live: &Live,
    metrics: &Arc<Metrics>,
    desk: &Sender<desk_task::Message>,
    taken: u64,
    history: &[PathBuf],
) -> Result<Restored, StartError> {
    let archive = Archive::new(data_dir.rules());
    let config = Arc::new(live.settings.watch());
    let hash = archive.keep(&config).map_err(|e| StartError::DataDir(data_dir.rules(), e))?;
    let mut task = WatchTask::new((hash, config), archive, Arc::clone(metrics));
    let is_new = !from_checkpoint(&mut task, data_dir)?;
    // First: what a crash left torn at the end is no damage.
    let (wal, opened) = Wal::open_from(&data_dir.wal(), WalOptions::default(), task.next_offset.max(taken))?;
    if opened.torn_bytes > 0 {
        tracing::warn!(event = "wal_torn_tail", bytes = opened.torn_bytes, "an unfinished write at the end of the log was cut");
    }
    replay(&mut task, data_dir, metrics, desk, is_new)?;
    if is_new && task.next_offset == 0 {
        for path in history {
            learn(&mut task, live, path)?;
        }
        if !history.is_empty() {
            let state = task.checkpoint();
            checkpoint::write(&data_dir.checkpoints(), state.offset, CHECKPOINT_FORMAT, &state.bytes)?;
        }
    } else if !history.is_empty() {
        tracing::warn!(event = "history_skipped", "the data folder has a state already; history is for a new one");
    }
    task.next_offset = wal.next_offset();
    let config = (task.in_force != hash || is_new).then_some(hash);
    Ok(Restored { task, wal, config })
}

/// Whether there was one.
fn from_checkpoint(task: &mut WatchTask, data_dir: &DataDir) -> Result<bool, StartError> {
    let started = clock::monotonic();
    let Some(found) = checkpoint::load(&data_dir.checkpoints(), CHECKPOINT_FORMAT)? else { return Ok(false) };
    for damaged in &found.damaged {
        tracing::error!(event = "checkpoint_damaged", file = %damaged.display(), "an older one is used, more is replayed");
    }
    if found.format_version < CHECKPOINT_FORMAT {
        return Err(StartError::OldCheckpoint { dir: data_dir.checkpoints(), version: found.format_version });
    }
    task.restore(found.state(), found.offset)?;
    let took = format!("{:?}", clock::monotonic() - started);
    let (bytes, series) = (found.state().len(), task.watch.series_count());
    tracing::info!(event = "checkpoint_read", offset = found.offset, bytes, series, took);
    Ok(true)
}

/// Judges again what came since the checkpoint, and tells the desk how things stand then.
fn replay(
    task: &mut WatchTask,
    data_dir: &DataDir,
    metrics: &Metrics,
    desk: &Sender<desk_task::Message>,
    is_new: bool,
) -> Result<(), StartError> {
    let from = task.next_offset;
    let started = clock::monotonic();
    let mut began: BTreeMap<u64, Transition> = BTreeMap::new();
    let mut to_desk = |transitions: Vec<Transition>| {
        for transition in &transitions {
            match transition.state {
                State::Firing => drop(began.insert(transition.key(), transition.clone())),
                State::Resolved => drop(began.remove(&transition.key())),
            }
        }
        let _stopping = desk.send(desk_task::Message::Transitions(transitions));
    };
    let mut replay = Wal::replay(&data_dir.wal(), from)?;
    for entry in replay.by_ref() {
        let (offset, entry) = entry?;
        task.apply(offset, entry, &mut to_desk);
    }
    for damage in replay.damages() {
        metrics.wal_lost_entries.inc_by(damage.lost);
        tracing::error!(event = "wal_damaged", ?damage, "part of the log cannot be read; the events in it are lost");
    }
    if task.next_offset > from || !is_new {
        let took = format!("{:?}", clock::monotonic() - started);
        tracing::info!(event = "replayed", entries = task.next_offset - from, took, series = task.watch.series_count());
    }
    let firing = task.watch.firing();
    began.retain(|key, _| firing.contains(key));
    let _stopping = desk.send(desk_task::Message::Replayed { firing, began: began.into_values().collect() });
    Ok(())
}

/// Learns from a file of past events and announces nothing from it.
fn learn(task: &mut WatchTask, live: &Live, path: &Path) -> Result<(), StartError> {
    let fail = |e| StartError::History(path.to_owned(), e);
    let mut reader = history::open(path).map_err(fail)?;
    let mut output = Output::default();
    let line_bytes = live.settings.config.limits.line_bytes;
    let mut clock = crate::ingest::ArrivalClock::Running(None);
    let watch = &mut task.watch;
    let mut arrival = task.arrival;
    let report = history::read(&mut reader, &live.door, line_bytes, &mut clock, |batch| {
        watch.handle(0, Input::Events(batch), &mut output);
        arrival = batch.events.last().map_or(arrival, |event| event.arrival.max(arrival));
        output.transitions.clear();
    })
    .map_err(fail)?;
    task.watch.handle(0, Input::EndOfHistory, &mut output);
    task.arrival = arrival.min(clock::now());
    for refused in report.rejected.iter().take(3) {
        tracing::warn!(event = "history_line_refused", file = %path.display(), line = refused.line, error = refused.error);
    }
    tracing::info!(
        event = "history_learned", file = %path.display(), lines = report.accepted, refused = report.rejected_count,
        series = task.watch.series_count()
    );
    Ok(())
}
