//! `spiked run`: the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::shared::Shared;
use crate::daemon::{Daemon, Options, Origin, reload};
use crate::telemetry::log;

use super::say;

/// Arguments of `spiked run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration; without it ./spiked.yaml, then /etc/spiked/spiked.yaml, then built-in defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Learn from past events first and announce nothing from them (NDJSON, .gz, .zst); only into a new data folder
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub history: Vec<PathBuf>,
    /// What to log, as in RUST_LOG: `info`, `debug`, `info,spiked::web=debug`
    #[arg(long, env = "RUST_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// Runs until a signal ends it.
pub fn run(args: &RunArgs) -> anyhow::Result<u8> {
    init_log(args.log.as_deref())?;
    let path = args.config.clone().or_else(|| crate::config::check::default_place(&crate::daemon::files::DiskFiles));
    let origin = Origin::Files(path);
    let loaded = origin.load();
    for found in &loaded.found.diagnostics {
        say(found.render(false).trim_end());
    }
    let Some(settings) = loaded.settings else { return Ok(2) };
    let options = Options { origin, settings, found: loaded.found, history: args.history.clone() };
    runtime()?.block_on(serve(options, std::future::pending()))
}

/// Starts the log of this process.
pub(crate) fn init_log(filter: Option<&str>) -> anyhow::Result<()> {
    let variable = |name| std::env::var(name).ok();
    let format = log::Format::choose(variable("JOURNAL_STREAM").as_deref(), variable("INVOCATION_ID").as_deref());
    Ok(log::init(format, filter)?)
}

/// The runtime of the daemon.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// The longest that stopping may take.
const STOP: Duration = Duration::from_secs(30);

#[expect(clippy::exit, reason = "threads that hang cannot be joined")]
fn exit(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

/// SIGHUP: reloads, and tells the supervisor how it went. On a task of its own, so that the watchdog hears of us meanwhile.
async fn hang_up(shared: Arc<Shared>) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _no_supervisor = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    let status = match reload::reload(shared).await {
        Ok(_) => "running".to_owned(),
        // One line, and what it quotes is the operator's own file.
        Err(said) => format!("the last reload was refused: {}", said.lines().next().unwrap_or_default()),
    };
    let _no_supervisor = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Runs a daemon until a signal, or until `until` resolves.
pub(crate) async fn serve(options: Options, until: impl Future<Output = ()>) -> anyhow::Result<u8> {
    // Signals are heard from the first moment, so that none is answered with the default.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let daemon = Daemon::start(options).await?;
    let _no_supervisor = sd_notify::notify(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled().map_or(Duration::from_secs(1), |limit| (limit / 3).min(Duration::from_secs(1)));
    let mut beat = tokio::time::interval(watchdog);
    let mut until = std::pin::pin!(until);
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break 0,
            _ = interrupt.recv() => break 0,
            () = &mut until => break 0,
            _ = hangup.recv() => drop(tokio::spawn(hang_up(Arc::clone(daemon.shared())))),
            _ = beat.tick() => {
                if daemon.is_broken() {
                    tracing::error!(event = "thread_ended", "a thread that must not end has ended");
                    break 1;
                }
                let _no_supervisor = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        }
    };
    let _no_supervisor = sd_notify::notify(&[NotifyState::Stopping]);
    // A store or disk that hangs must not keep the process: what was acknowledged is in the log.
    if tokio::time::timeout(STOP, daemon.stop()).await.is_err() {
        tracing::error!(event = "stop_timed_out", "the next start replays the log");
        exit(code.max(1));
    }
    Ok(code)
}
