//! Takes a changed configuration without being asked.
//!
//! The system tells of changes at once where it can. Where it cannot (a network file system, a folder that is a link to
//! another one and is swapped as a whole, a folder that is made later) a look every few seconds finds them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;

use crate::config::Reader;

use super::files::DiskFiles;
use super::reload::reload;
use super::settings::Origin;
use super::shared::Shared;

/// Editors write in several steps: wait until a folder has been quiet for this long.
const QUIET: Duration = Duration::from_millis(500);

/// How often files are looked at where no news of them comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Name, last change and length of each file of the configuration.
pub type Seen = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Reloads when a file of the configuration changes, or is not as it was `seen` when the daemon began to start.
pub async fn watch_files(shared: Arc<Shared>, mut seen: Seen) {
    let (changed, mut changes) = tokio::sync::mpsc::channel(1);
    let mut _watcher = watcher(&shared, changed.clone());
    // The first look is at once: nobody told of what changed before.
    let mut wait = Duration::ZERO;
    loop {
        let change = tokio::time::timeout(wait, changes.recv()).await;
        wait = LOOK_EVERY;
        match change {
            Ok(None) => return,
            Ok(Some(())) => {}
            Err(_silent) => {
                if see(&shared).await == seen {
                    continue;
                }
            }
        }
        while tokio::time::timeout(QUIET, changes.recv()).await.is_ok() {}
        // Seen before it is read: what changes in between is read once more.
        seen = see(&shared).await;
        let _said = reload(Arc::clone(&shared)).await;
        // The rule files may be elsewhere now.
        _watcher = watcher(&shared, changed.clone());
    }
}

/// Tells of changes in the folders of the configuration: folders, as editors replace files.
fn watcher(shared: &Shared, changed: Sender<()>) -> Option<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        let is_yaml =
            |event: &notify::Event| event.paths.iter().any(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        if event.is_ok_and(|event| !event.kind.is_access() && is_yaml(&event)) {
            let _already_noted = changed.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(heard) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(event = "file_watch_failed", %error, "changes are found a little later");
            return None;
        }
    };
    for folder in folders(shared) {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!(event = "file_watch_failed", folder = %folder.display(), %error, "changes are found a little later");
        }
    }
    Some(watcher)
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

async fn see(shared: &Arc<Shared>) -> Seen {
    let shared = Arc::clone(shared);
    let look_now = move || look(&shared.origin, &shared.live().settings.config.rule_files);
    tokio::task::spawn_blocking(look_now).await.unwrap_or_default()
}

/// The files as they are now.
pub fn look(origin: &Origin, rule_files: &[String]) -> Seen {
    let Origin::Files(path) = origin else { return Seen::new() };
    let mut files: Vec<PathBuf> = path.iter().cloned().collect();
    files.extend(rule_files.iter().flat_map(|glob| DiskFiles.glob(glob).unwrap_or_default()));
    // A link that leads to another file now shows that file's time and length.
    let seen = |file: &PathBuf| std::fs::metadata(file).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
    files.into_iter().map(|file| (file.clone(), seen(&file))).collect()
}
