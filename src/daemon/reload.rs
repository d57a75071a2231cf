//! Another configuration while the daemon runs: read, check, build, then swap. What is broken changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

use crate::config::Diagnostic;
use crate::rule::Rule;
use crate::wal::Entry;

use super::settings::{Live, Origin, Settings};
use super::shared::Shared;
use super::{clock, desk_task, watch_task};

/// Editors write in several steps: wait until a folder has been quiet for this long.
const QUIET: Duration = Duration::from_millis(500);

/// Reads the configuration again and puts it in force. Says what was found, or why nothing was changed.
pub async fn reload(shared: &Shared) -> Result<String, String> {
    let _one_at_a_time = shared.reloading.lock().await;
    let result = try_reload(shared).await;
    shared.metrics.reload(result.is_ok(), clock::now().secs());
    match &result {
        Ok(said) => tracing::info!(event = "reloaded", said),
        Err(said) => tracing::error!(event = "reload_refused", said, "the configuration that was in force stays in force"),
    }
    result
}

async fn try_reload(shared: &Shared) -> Result<String, String> {
    let loaded = shared.origin.load();
    let said = |diagnostics: &[Diagnostic]| diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n");
    let Some(mut settings) = loaded.settings else { return Err(said(&loaded.diagnostics)) };
    let old = shared.live();
    let kept = keep_last_good(&mut settings, &old.settings, &loaded.diagnostics);
    if settings.config.listen != old.settings.config.listen || settings.config.data_dir != old.settings.config.data_dir {
        tracing::warn!(event = "restart_needed", "`listen` and `data_dir` change with a restart only");
    }
    if settings.config.sources != old.settings.config.sources {
        tracing::warn!(event = "restart_needed", "`sources` change with a restart only");
    }
    let salts = shared.data_dir.salts(clock::now()).map_err(|e| format!("the salts cannot be read: {e}"))?;
    let generation = shared.generation.fetch_add(1, Ordering::AcqRel) + 1;
    let hash = settings.hash();
    let (watch, desk) = (Arc::new(settings.watch()), Box::new(settings.desk()));
    let live = Live::build(settings, salts, generation).map_err(|e| e.to_string())?;
    let queue = shared.watch.clone();
    let sent = tokio::task::spawn_blocking(move || queue.send(watch_task::Message::Config(watch))).await;
    sent.map_err(|e| e.to_string())?.map_err(|_| "spiked is stopping".to_owned())?;
    shared.committer.append(Entry::Config { hash }).await.map_err(|e| e.to_string())?;
    shared.live.store(Arc::new(live));
    let _stopping = shared.desk.send(desk_task::Message::Config(desk));
    let errors = loaded.diagnostics.iter().filter(|found| found.is_error()).count();
    let mut answer = said(&loaded.diagnostics);
    if errors > 0 {
        answer.push_str(&format!("\nrules that keep their last good version: {kept}"));
        return Err(answer);
    }
    Ok(if answer.is_empty() { "reloaded".to_owned() } else { answer })
}

/// Rules of files with errors that the new set lacks stay as they were. How many.
fn keep_last_good(settings: &mut Settings, old: &Settings, diagnostics: &[Diagnostic]) -> usize {
    let broken = |rule: &Rule| diagnostics.iter().any(|found| found.is_error() && found.file == rule.place.file);
    let missing: Vec<Rule> = old
        .rules
        .iter()
        .filter(|rule| broken(rule) && !settings.rules.iter().any(|new| new.alert == rule.alert))
        .cloned()
        .collect();
    let kept = missing.len();
    settings.rules.extend(missing);
    kept
}

/// The folders whose files make up the configuration.
fn folders(shared: &Shared) -> Vec<PathBuf> {
    let Origin::Files(path) = &shared.origin else { return Vec::new() };
    let live = shared.live();
    let parent = |path: &Path| path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let mut folders: Vec<PathBuf> = live.settings.config.rule_files.iter().map(|glob| parent(Path::new(glob))).collect();
    folders.extend(path.as_deref().map(parent));
    folders.sort();
    folders.dedup();
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Reloads when a file of the configuration changes. Folders are watched, as editors replace files.
pub async fn watch_files(shared: Arc<Shared>) {
    let (changed, mut changes) = tokio::sync::mpsc::channel(1);
    let heard = move |event: notify::Result<notify::Event>| {
        let is_change = event.as_ref().is_ok_and(|event| !event.kind.is_access());
        let is_yaml =
            |event: notify::Event| event.paths.iter().any(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        if is_change && event.is_ok_and(is_yaml) {
            let _already_noted = changed.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(heard) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(event = "file_watch_failed", %error, "changes are taken with SIGHUP or POST /-/reload");
            return;
        }
    };
    for folder in folders(&shared) {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!(event = "file_watch_failed", folder = %folder.display(), %error);
        }
    }
    while changes.recv().await.is_some() {
        while tokio::time::timeout(QUIET, changes.recv()).await.is_ok() {}
        let _said = reload(&shared).await;
    }
}
