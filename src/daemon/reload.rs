//! Another configuration while the daemon runs: read, check, build, then swap. What is broken changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::desk::DeskConfig;
use crate::wal::Entry;
use crate::watch::WatchConfig;

use super::archive::Archive;
use super::settings::{Found, Live, Origin, Settings};
use super::shared::Shared;
use super::trouble::{self, Trouble};
use super::{clock, desk_task, last_good, watch_task};

/// Reads the configuration again and puts it in force. Says what was found, or why nothing was changed.
///
/// It runs on a task of its own: whoever asked may go away, and a reload that has begun is finished all the same.
pub async fn reload(shared: Arc<Shared>) -> Result<String, String> {
    let run = tokio::spawn(async move {
        let _one_at_a_time = shared.reloading.lock().await;
        let (result, mistakes) = try_reload(&shared).await;
        shared.metrics.reload(mistakes, clock::now().secs());
        match &result {
            Ok(said) => tracing::info!(event = "reloaded", said),
            Err(said) => tracing::error!(event = "reload_refused", said, "what is broken stays as it was"),
        }
        result
    });
    run.await.unwrap_or_else(|error| Err(format!("the reload failed: {error}; please report this")))
}

/// What is built before anything is swapped.
struct Next {
    live: Live,
    watch: Arc<WatchConfig>,
    desk: Box<DeskConfig>,
    hash: u64,
}

/// What there is to say, and how many mistakes were found.
async fn try_reload(shared: &Arc<Shared>) -> (Result<String, String>, usize) {
    let preparing = Arc::clone(shared);
    let (next, found, kept) = match tokio::task::spawn_blocking(move || prepare(&preparing)).await {
        Ok(prepared) => prepared,
        Err(error) => return (Err(format!("the reload failed: {error}; please report this")), 1),
    };
    let failed = match next {
        Ok(next) => put_in_force(shared, next).await.err(),
        Err(reason) => reason,
    };
    let mistakes = found.errors() + usize::from(failed.is_some());
    if failed.is_none() {
        let (data_dir, found) = (shared.data_dir.clone(), found.clone());
        let _not_kept = tokio::task::spawn_blocking(move || last_good::keep(&data_dir, &found)).await;
    }
    let troubles = troubles(&shared.origin, &found, &kept, failed.as_deref());
    let _stopping = shared.desk.send(desk_task::Message::Trouble(troubles));
    let mut said: Vec<String> = found.diagnostics.iter().map(ToString::to_string).collect();
    if !kept.is_empty() {
        said.push(format!("rules that keep their last good version: {}", kept.join(", ")));
    }
    said.extend(failed.clone());
    let said = said.join("\n");
    if mistakes > 0 {
        return (Err(said), mistakes);
    }
    (Ok(if said.is_empty() { "reloaded".to_owned() } else { said }), 0)
}

type Prepared = (Result<Next, Option<String>>, Found, Vec<String>);

/// Reads and builds. The names are those of rules that keep their last good version; a reason is there where no mistake in a
/// file tells it.
fn prepare(shared: &Shared) -> Prepared {
    let loaded = shared.origin.load();
    let Some(mut settings) = loaded.settings else { return (Err(None), loaded.found, Vec::new()) };
    let old = shared.live();
    tell_what_needs_a_restart(&settings, &old.settings);
    let kept = loaded.found.kept(&settings.rules, old.settings.rules.clone());
    let names = kept.iter().map(|rule| rule.alert.clone()).collect();
    settings.rules.extend(kept);
    let generation = shared.generation.fetch_add(1, Ordering::AcqRel) + 1;
    let salts = shared.data_dir.salts(clock::now()).map_err(|e| format!("the salts cannot be read: {e}"));
    let next = salts.and_then(|salts| {
        let (watch, desk) = (Arc::new(settings.watch()), Box::new(settings.desk()));
        let live = Live::build(settings, salts, generation).map_err(|e| e.to_string())?;
        let kept = Archive::new(shared.data_dir.rules()).keep(&watch);
        let hash = kept.map_err(|e| format!("the rules cannot be written down: {e}"))?;
        Ok(Next { live, watch, desk, hash })
    });
    (next.map_err(Some), loaded.found, names)
}

fn tell_what_needs_a_restart(new: &Settings, old: &Settings) {
    if new.config.listen != old.config.listen || new.config.data_dir != old.config.data_dir {
        tracing::warn!(event = "restart_needed", "`listen` and `data_dir` change with a restart only");
    }
    if new.config.sources != old.config.sources {
        tracing::warn!(event = "restart_needed", "`sources` change with a restart only");
    }
}

async fn put_in_force(shared: &Shared, next: Next) -> Result<(), String> {
    let queue = shared.watch.clone();
    let (hash, watch) = (next.hash, next.watch);
    let sent = tokio::task::spawn_blocking(move || queue.send(watch_task::Message::Config(hash, watch))).await;
    sent.map_err(|e| e.to_string())?.map_err(|_| "spiked is stopping".to_owned())?;
    let written = shared.committer.append(Entry::Config { hash: next.hash }).await;
    written.map_err(|e| format!("the log cannot be written: {e}"))?;
    shared.live.store(Arc::new(next.live));
    let _stopping = shared.desk.send(desk_task::Message::Config(next.desk));
    Ok(())
}

/// What receivers hear of a configuration that is not in force as it is written.
pub(super) fn troubles(origin: &Origin, found: &Found, kept: &[String], failed: Option<&str>) -> Vec<Trouble> {
    let config = match origin {
        Origin::Files(Some(path)) => path.display().to_string(),
        Origin::Files(None) | Origin::Given(_) => "the configuration".to_owned(),
    };
    let instead = |file: &str| {
        if file == config {
            return "All of the last good configuration stays in force.".to_owned();
        }
        let of_file = |alert: &&String| {
            let said = |broken: &&crate::config::Broken| broken.names(file);
            found.broken.iter().filter(said).any(|broken| broken.alert.as_ref().is_none_or(|name| name == *alert))
        };
        match kept.iter().filter(of_file).map(String::as_str).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "Rules without an earlier good version are not in force.".to_owned(),
            kept => format!("In their last good version: {kept}."),
        }
    };
    let mut all = trouble::troubles(&found.diagnostics, instead);
    if let Some(reason) = failed.filter(|_| all.iter().all(|trouble| trouble.file != config)) {
        all.push(Trouble { text: format!("{reason}. {}", instead(&config)), file: config.clone(), mistakes: 1 });
    }
    all
}
