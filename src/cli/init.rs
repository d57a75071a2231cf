//! `spiked init`: a first configuration with rules, to be edited.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::say;

const FILES: [(&str, &str); 4] = [
    ("spiked.yaml", crate::config::DEFAULT_YAML),
    ("rules/shop.yaml", include_str!("../../rules/shop.yaml")),
    ("rules/first-seen.yaml", include_str!("../../rules/first-seen.yaml")),
    ("rules/traffic.yaml", include_str!("../../rules/traffic.yaml")),
];

/// Arguments of `spiked init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// Where to; made if it is not there
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// Writes the files; none is overwritten.
pub fn run(args: &InitArgs) -> anyhow::Result<u8> {
    if let Some(there) = FILES.iter().map(|(name, _)| args.folder.join(name)).find(|path| path.exists()) {
        bail!("{} is there already; nothing was written", there.display());
    }
    for (name, text) in FILES {
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
