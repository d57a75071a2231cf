//! The rule files as they last were without a mistake, kept in the data folder: a rule that is broken when spiked starts keeps
//! its last good version then, too.

use std::collections::BTreeMap;
use std::io;

use crate::config::{self, Config};
use crate::rule::Rule;

use super::data_dir::DataDir;
use super::files::DiskFiles;
use super::settings::{Found, Settings};

type Files = BTreeMap<String, String>;

/// At a start: adds the last good versions of what is broken, and keeps the files that are good. The names of what was added.
pub fn complete(data_dir: &DataDir, settings: &mut Settings, found: &Found) -> Vec<String> {
    let kept = found.kept(&settings.rules, rules(data_dir, &settings.config));
    let names = kept.iter().map(|rule| rule.alert.clone()).collect();
    settings.rules.extend(kept);
    keep(data_dir, found);
    names
}

/// The rules of all files as they last were good.
fn rules(data_dir: &DataDir, config: &Config) -> Vec<Rule> {
    let files: Vec<(String, String)> = read(data_dir).into_iter().collect();
    let mut set = config::read_rules(&DiskFiles, &files, &config.declared_tags());
    crate::render::check_annotations(&mut set);
    set.rules
}

/// Keeps the texts of the good files; those of broken ones stay as they were.
pub fn keep(data_dir: &DataDir, found: &Found) {
    let old = read(data_dir);
    let is_bad = |file: &str| found.diagnostics.iter().any(|error| error.is_error() && error.file == file);
    let is_unreadable = |file: &str| found.broken.iter().any(|broken| broken.alert.is_none() && broken.names(file));
    let stays = |file: &String| is_bad(file) || is_unreadable(file);
    let mut new: Files = old.iter().filter(|(file, _)| stays(file)).map(|(file, text)| (file.clone(), text.clone())).collect();
    new.extend(found.files.iter().filter(|(file, _)| !stays(file)).cloned());
    if new == old {
        return;
    }
    let written = serde_json::to_vec(&new).map_err(io::Error::other).and_then(|text| data_dir.write_last_good(&text));
    if let Err(error) = written {
        tracing::warn!(event = "last_good_failed", %error, "a rule that is broken at the next start will not be in force");
    }
}

fn read(data_dir: &DataDir) -> Files {
    match std::fs::read(data_dir.last_good()) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(event = "last_good_unreadable", %error);
            Files::new()
        }),
        Err(_) => Files::new(),
    }
}
