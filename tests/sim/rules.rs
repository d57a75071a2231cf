//! Rules from a text, read as rule files are, for a watch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spiked::config::{Reader, load_rules_for};
use spiked::watch::WatchConfig;

struct NoFiles;

impl Reader for NoFiles {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, path.display().to_string()))
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn glob(&self, _: &str) -> std::io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn is_folder(&self, _: &Path) -> bool {
        false
    }
}

/// A watch's configuration from the text of a rule file, without a limit on series.
pub(crate) fn config_of(rules: &str) -> Arc<WatchConfig> {
    let (rules, found) = load_rules_for(&NoFiles, &[("rules.yaml".to_owned(), rules.to_owned())], &[]);
    assert!(found.iter().all(|told| !told.is_error()), "{}", found.iter().map(|told| told.render(false)).collect::<String>());
    Arc::new(WatchConfig { rules, series_per_site: usize::MAX, ..WatchConfig::default() })
}
