//! `spiked init`: a first configuration with rules, to be edited.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::demo::config::RULES;
use super::say;

fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    [("spiked.yaml", crate::config::DEFAULT_YAML)].into_iter().chain(RULES)
}

/// Arguments of `spiked init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// Where to; made if it is not there
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// Writes the files; none is overwritten.
pub fn run(args: &InitArgs) -> anyhow::Result<u8> {
    if let Some(there) = files().map(|(name, _)| args.folder.join(name)).find(|path| path.exists()) {
        bail!("{} is there already; nothing was written", there.display());
    }
    for (name, text) in files() {
        write(&args.folder.join(name), text)?;
    }
    say(&format!("wrote spiked.yaml and rules/ to {}; next: `spiked check`, then `spiked run`", args.folder.display()));
    Ok(0)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
