//! `spiked backtest`: past events through both cores, in event time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::config::{self, Config, Diagnostic, Reader};
use crate::daemon::files::DiskFiles;
use crate::daemon::settings::Settings;
use crate::daemon::{clock, history};
use crate::desk::{Desk, Input as DeskInput, Output as DeskOutput};
use crate::ingest::{ArrivalClock, Door, Salts};
use crate::model::{AttemptResult, Labels, State, Timestamp, Transition};
use crate::watch::{Input, Output, Watch};

use super::say;

/// Arguments of `spiked backtest`.
#[derive(Clone, Debug, clap::Args)]
pub struct BacktestArgs {
    /// Rule files or folders
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub rules: Vec<PathBuf>,
    /// Native events as NDJSON, plain, .gz or .zst; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub events: Vec<PathBuf>,
    /// The configuration: sites, pages, funnels, lateness, limits, routes
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One JSON object for each transition
    #[arg(long)]
    pub json: bool,
}

/// One transition as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    alert: &'a str,
    state: &'a str,
    group: &'a Labels,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    slice: &'a Labels,
    severity: &'a str,
    value: Option<f64>,
    baseline: Option<f64>,
    ratio: Option<f64>,
    errors: u64,
    views: u64,
    sessions: Option<u64>,
    began: Timestamp,
    reason: &'a str,
}

/// Both cores, and what they have said.
struct Replay<'a> {
    watch: Watch,
    output: Output,
    desk: Desk,
    told: BTreeMap<(String, String), u64>,
    json: bool,
    fired: u64,
    resolved: u64,
    out: &'a mut dyn Write,
}

/// Replays and prints. Exit code 0, or 2 where something cannot be read.
pub fn run(args: &BacktestArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Some(settings) = settings(args)? else { return Ok(2) };
    let door = Door::new(&settings.config, Salts::fixed(&[0; 32]));
    let mut clock_of_events = ArrivalClock::Running(None);
    let mut replay = Replay {
        watch: Watch::new(0, Arc::new(settings.watch())),
        output: Output::default(),
        desk: Desk::new(settings.desk(), crate::desk::Restored::default(), 0),
        told: BTreeMap::new(),
        json: args.json,
        fired: 0,
        resolved: 0,
        out,
    };
    let started = clock::monotonic();
    let (mut accepted, mut refused) = (0, 0);
    for path in &args.events {
        let mut reader = history::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut failed = Ok(());
        let report = history::read(&mut reader, &door, settings.config.limits.line_bytes, &mut clock_of_events, |batch| {
            replay.watch.handle(0, Input::Events(batch), &mut replay.output);
            if failed.is_ok() {
                failed = replay.print();
            }
        })
        .with_context(|| format!("cannot read {}", path.display()))?;
        failed?;
        for line in report.rejected.iter().take(5) {
            say(&format!("{}:{}: {}", path.display(), line.line, line.error));
        }
        if report.rejected_count > 5 {
            say(&format!("{}: {} lines were refused in all", path.display(), report.rejected_count));
        }
        accepted += report.accepted;
        refused += report.rejected_count;
    }
    replay.watch.handle(0, Input::End, &mut replay.output);
    replay.print()?;
    if !args.json {
        let secs = (clock::monotonic() - started).as_secs_f64();
        replay.summary(accepted, refused, secs);
    }
    Ok(0)
}

impl Replay<'_> {
    fn print(&mut self) -> anyhow::Result<()> {
        for transition in std::mem::take(&mut self.output.transitions) {
            match transition.state {
                State::Firing => self.fired += 1,
                State::Resolved => self.resolved += 1,
            }
            if self.json {
                serde_json::to_writer(&mut *self.out, &line_of(&transition))?;
                writeln!(self.out)?;
            } else {
                writeln!(self.out, "{}", text_of(&transition))?;
                self.tell(transition);
            }
        }
        Ok(())
    }

    /// Lets the desk hear the transition at its time, with receivers that take everything at once.
    fn tell(&mut self, transition: Transition) {
        let at = transition.at;
        self.settle_until(at);
        let outputs = self.desk.handle(at, DeskInput::Transition(Box::new(transition)));
        self.deliver(at, outputs);
    }

    fn settle_until(&mut self, to: Timestamp) {
        while let Some(due) = self.desk.next_deadline().filter(|due| *due <= to) {
            let outputs = self.desk.handle(due, DeskInput::Tick);
            self.deliver(due, outputs);
            if self.desk.next_deadline() == Some(due) {
                break;
            }
        }
    }

    fn deliver(&mut self, now: Timestamp, outputs: Vec<DeskOutput>) {
        let mut queue: std::collections::VecDeque<_> = outputs.into();
        while let Some(output) = queue.pop_front() {
            let DeskOutput::Send(delivery) = output else { continue };
            let key = (delivery.target.receiver.clone(), delivery.notification.reason.as_str().to_owned());
            *self.told.entry(key).or_default() += 1;
            let result = AttemptResult::Delivered { reference: None };
            queue.extend(self.desk.handle(now, DeskInput::AttemptDone { delivery: delivery.id, result }));
        }
    }

    fn summary(&mut self, accepted: u64, refused: u64, secs: f64) {
        self.settle_until(Timestamp::MAX.min(Timestamp(self.desk.next_deadline().map_or(0, |d| d.0) + 600_000)));
        let series = self.watch.series_count();
        let late: u64 = self.output.outcomes.iter().filter(|(o, _)| **o == crate::model::Outcome::Late).map(|(_, n)| n).sum();
        say(&format!("{accepted} lines, {refused} refused, {late} late, {series} series in {secs:.1} s"));
        say(&format!("{} fired, {} resolved", self.fired, self.resolved));
        for ((receiver, reason), count) in &self.told {
            say(&format!("would have told {receiver}: {count} x {reason}"));
        }
    }
}

fn line_of(transition: &Transition) -> Line<'_> {
    let finding = &transition.finding;
    Line {
        at: transition.at,
        alert: &transition.alert,
        state: transition.state.as_str(),
        group: &transition.group,
        slice: &transition.slice,
        severity: transition.severity.as_str(),
        value: finding.value,
        baseline: finding.baseline,
        ratio: finding.ratio,
        errors: finding.errors,
        views: finding.views,
        sessions: finding.sessions,
        began: transition.began,
        reason: &transition.reason,
    }
}

fn text_of(transition: &Transition) -> String {
    let slice = if transition.slice.is_empty() { String::new() } else { format!(" {}", transition.slice) };
    format!(
        "{}  {:8}  {}  {} {}{slice}  {}",
        transition.at,
        transition.state.as_str(),
        transition.severity,
        transition.alert,
        transition.group,
        transition.reason
    )
}

/// The configuration and the rules; `None` after their mistakes were said.
fn settings(args: &BacktestArgs) -> anyhow::Result<Option<Settings>> {
    let (config, mut found) = match &args.config {
        Some(path) => config::load(&DiskFiles, Some(path)),
        None => (Some(Config::default()), Vec::new()),
    };
    let mut files = Vec::new();
    for path in &args.rules {
        for file in rule_files(path)? {
            let text = DiskFiles.read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            files.push((file.display().to_string(), text));
        }
    }
    let tags = config.as_ref().map(Config::declared_tags).unwrap_or_default();
    let (rules, more) = config::load_rules_for(&DiskFiles, &files, &tags);
    found.extend(more);
    for diagnostic in &found {
        say(diagnostic.render(false).trim_end());
    }
    if found.iter().any(Diagnostic::is_error) {
        return Ok(None);
    }
    Ok(config.map(|config| Settings { config, rules }))
}

fn rule_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files = DiskFiles.glob(&path.join("*.yaml").display().to_string())?;
    if files.is_empty() {
        bail!("there is no rule file (*.yaml) in {}", path.display());
    }
    Ok(files)
}
