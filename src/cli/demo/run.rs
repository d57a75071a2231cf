//! `spiked demo`: the real daemon in a temporary folder, and a shop that sends to it through HTTP.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::run::{init_log, runtime, serve};
use crate::cli::say;
use crate::daemon::{Found, Options, Origin, Settings, clock};

use super::script::Script;
use super::shop::Shop;
use super::{config, sender};

/// Days of history that are loaded before live traffic begins.
const DAYS: u32 = 7;

/// Arguments of `spiked demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Address and port of the page
    #[arg(long, default_value = "127.0.0.1:7745")]
    pub listen: String,
    /// Another seed, another shop
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What to log, as in RUST_LOG; by default only what goes wrong
    #[arg(long, env = "RUST_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// Runs until it is interrupted.
pub fn run(args: &DemoArgs) -> anyhow::Result<u8> {
    init_log(Some(args.log.as_deref().unwrap_or("warn")))?;
    let folder = Folder::make()?;
    let (mut config, rules) = config::load(&folder.0.join("data"))?;
    config.external_url = format!("http://{}", args.listen);
    config.listen.clone_from(&args.listen);
    let shop = Shop::new(args.seed);
    say(&format!("loading {DAYS} days of history of a synthetic shop …"));
    let history = folder.0.join("history.ndjson");
    write_history(&shop, &history)?;
    let settings = Settings { config, rules };
    let origin = Origin::Given(Box::new(settings.clone()));
    let base_url = format!("http://{}", args.listen);
    runtime()?.block_on(async move {
        let script = Script::new(clock::now());
        let live = async {
            say(&format!("the page is at {base_url}; the first trouble comes in half a minute; stop with Ctrl-C\n"));
            let shown = sender::drive(&base_url, shop, script, clock::now, say, std::future::pending()).await;
            if let Err(error) = shown {
                say(&format!("the shop has stopped: {error:#}"));
            }
        };
        serve(Options { origin, settings, found: Found::default(), history: vec![history] }, live).await
    })
}

fn write_history(shop: &Shop, path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for line in shop.history(clock::now(), DAYS) {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

/// A folder of the demo's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("spiked-demo-{}-{}", std::process::id(), clock::now().millis()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder is the system's to clean.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
