//! Scenarios: what the watch says of a sequence of events, written down as people read it (`tests/scenarios/*.md`).
//!
//! A scenario is a title, a few words, and fenced blocks: `yaml rules`, `yaml config` (optional), `ndjson events` and
//! `text expected`. An event line is `TIME [stamped TIME] [every DURATION for DURATION] {event without ts}`. A time is
//! `HH:MM:SS` or `Nd+HH:MM:SS` after the base; `stamped` gives an event a time other than its turn; `{n}` in an event is the
//! number of the repetition. Lines are taken in order of time (of one time, in the order of the file). `# …` is a remark.
//! Everything goes through the rule files' and the events' own readers, as a backtest does it.
//!
//! `SCENARIOS=write` in the environment writes what is said into the files, for review.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spiked::config::{Config, Site};
use spiked::config::{load_rules_for, parse_str};
use spiked::ingest::native::{Reader, Report};
use spiked::ingest::{ArrivalClock, Door, Salts, Scratch};
use spiked::model::{Batch, State, Timestamp, Transition, parse_duration};
use spiked::watch::{Input, Output, SitePlan, Watch, WatchConfig};

/// 2026-03-02T00:00:00Z, a Monday.
pub const BASE: i64 = 1_772_409_600;

/// A file in parts.
pub struct Scenario {
    rules: String,
    config: String,
    events: String,
    expected: String,
}

/// Events are given in batches of so many, as a body would hold them.
const BATCH: usize = 500;

pub(crate) struct NoFiles;

impl spiked::config::Reader for NoFiles {
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

impl Scenario {
    pub fn parse(text: &str) -> Self {
        let block = |info: &str| -> Option<String> {
            let (_, rest) = text.split_once(&format!("```{info}\n"))?;
            Some(rest.split_once("```").map_or(rest, |(body, _)| body).to_owned())
        };
        let need = |info: &str| block(info).unwrap_or_else(|| panic!("a block ```{info} is missing"));
        Self {
            rules: need("yaml rules"),
            config: block("yaml config").unwrap_or_default(),
            events: need("ndjson events"),
            expected: need("text expected"),
        }
    }

    /// The watch's configuration, and the door that events come through.
    pub fn build(&self) -> (Arc<WatchConfig>, Door) {
        let config = if self.config.trim().is_empty() {
            Config::default()
        } else {
            let (config, found) = parse_str(&NoFiles, "spiked.yaml", &self.config);
            config.unwrap_or_else(|| panic!("{}", found.iter().map(|d| d.render(false)).collect::<String>()))
        };
        let files = [("rules.yaml".to_owned(), self.rules.clone())];
        let (rules, found) = load_rules_for(&NoFiles, &files, &config.declared_tags());
        assert!(found.iter().all(|d| !d.is_error()), "{}", found.iter().map(|d| d.render(false)).collect::<String>());
        let watch = WatchConfig {
            rules,
            sites: config.sites.iter().map(|(name, site)| (name.clone(), site_plan(site))).collect(),
            default_site: site_plan(&config.default_site),
            lateness: config.lateness,
            series_per_site: config.limits.series_per_site,
        };
        (Arc::new(watch), Door::new(&config, Salts::fixed(&[7; 32])))
    }

    /// Native events in order of time, with their times of arrival.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<(i64, String)> = Vec::new();
        for line in self.events.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (head, event) = line.split_at(line.find('{').unwrap_or_else(|| panic!("no event in `{line}`")));
            let words: Vec<&str> = head.split_whitespace().collect();
            let after = |word: &str| words.iter().position(|found| *found == word).map(|place| words[place + 1]);
            let turn = offset(words[0]);
            let stamp = after("stamped").map_or(turn, offset);
            let every = after("every").map_or(1000, millis);
            let times = after("for").map_or(1, |span| millis(span) / every);
            for n in 0..times {
                let ts = Timestamp(BASE * 1000 + stamp + n * every);
                let event = event.replace("{n}", &n.to_string());
                lines.push((turn + n * every, format!("{{\"ts\":\"{ts}\",{}", &event[1..])));
            }
        }
        lines.sort_by_key(|(turn, _)| *turn);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// What is said, a line each.
    fn run(&self) -> String {
        let (config, door) = self.build();
        let batches = read_batches(&door, &self.lines(), BATCH);
        let (mut watch, mut out) = (Watch::new(0, config), Output::default());
        for (offset, batch) in batches.iter().enumerate() {
            watch.handle(offset as u64, Input::Events(batch), &mut out);
        }
        watch.handle(batches.len() as u64, Input::End, &mut out);
        let mut said = String::new();
        for transition in &out.transitions {
            let _ = writeln!(said, "{}", say(transition));
        }
        for notice in &out.notices {
            let _ = writeln!(said, "notice {notice:?}");
        }
        let ends: Vec<String> = out.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        let _ = writeln!(said, "lines: {}", ends.join(", "));
        said
    }
}

fn site_plan(site: &Site) -> SitePlan {
    let steps = |funnel: &spiked::config::Funnel| funnel.steps.iter().map(|step| step.step.clone()).collect();
    SitePlan {
        time_zone: site.time_zone,
        funnels: site.funnels.iter().map(|funnel| (funnel.name.clone(), steps(funnel))).collect(),
        owners: site.owners.iter().map(|owner| (owner.pages.clone(), owner.owner.clone())).collect(),
    }
}

/// Reads lines as a file is read: arrival is the greatest time so far. The sizes of the batches change nothing.
pub fn read_batches(door: &Door, lines: &[String], size: usize) -> Vec<Batch> {
    let reader = Reader { door, key_site: None, line_bytes: 1 << 16 };
    let mut clock = ArrivalClock::Running(None);
    let (mut scratch, mut report) = (Scratch::default(), Report::default());
    let mut batches = Vec::new();
    for chunk in lines.chunks(size) {
        let mut batch = Batch::new();
        for (number, line) in chunk.iter().enumerate() {
            reader.read_line(line.as_bytes(), number as u64 + 1, &mut clock, &mut batch, &mut scratch, &mut report);
        }
        batches.push(batch);
    }
    assert_eq!(report.rejected, [], "a scenario's events are good");
    batches
}

/// `2d+00:05:00` in milliseconds.
fn offset(text: &str) -> i64 {
    let (days, clock) = text.split_once("d+").map_or((0, text), |(days, clock)| (days.parse().unwrap(), clock));
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap_or_else(|_| panic!("`{text}` is no time"))).collect();
    let [hours, minutes, seconds] = parts[..] else { panic!("`{text}` is no time") };
    days * 86_400_000 + (hours * 3_600_000.0 + minutes * 60_000.0 + seconds * 1000.0).round() as i64
}

fn millis(text: &str) -> i64 {
    parse_duration(text).unwrap_or_else(|_| panic!("`{text}` is no duration")).as_millis() as i64
}

/// `00:12:05 firing CheckoutErrorSpike site=… page=/pay`
pub fn say(transition: &Transition) -> String {
    let secs = transition.at.secs() - BASE;
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    let day = if days > 0 { format!("{days}d+") } else { String::new() };
    let state = if transition.state == State::Firing { "firing" } else { "resolved" };
    let group: Vec<String> = transition.group.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{day}{clock} {state} {} {}", transition.alert, group.join(" "))
}

#[test]
fn every_scenario_says_what_it_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "md"));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario = Scenario::parse(&text);
        let said = scenario.run();
        if said == scenario.expected {
            continue;
        }
        if std::env::var("SCENARIOS").is_ok_and(|mode| mode == "write") {
            let head = text.split_once("```text expected\n").unwrap().0;
            std::fs::write(&path, format!("{head}```text expected\n{said}```\n")).unwrap();
        }
        let _ = writeln!(wrong, "{}:\nexpected\n{}said\n{said}", path.display(), scenario.expected);
    }
    assert!(wrong.is_empty(), "{wrong}");
}
