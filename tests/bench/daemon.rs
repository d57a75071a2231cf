//! Measures the daemon as a whole, with its log on disk: events for each second of its processor time, from an error to the message
//! about it, memory for each series, time to be back after a kill, and what it costs while nothing happens.
//!
//! ```sh
//! cargo bench --bench daemon                # 100,000 series
//! cargo bench --bench daemon -- --large     # a million: some GB
//! ```
//!
//! Five rules (spike, drop, frequency, first_seen, absent), six dimensions, sessions. Eight connections send as fast as they are
//! answered, sixteen where each request has one event. Rates are of the daemon's own processor time, all threads together, so what
//! else runs on the machine matters less; times by the clock want an idle machine.
#![allow(clippy::print_stdout, reason = "a bench prints its tables")]
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

#[path = "daemon/load.rs"]
mod load;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::{Hook, burst, send_all, send_for, series_bodies, zipf_bodies};

const RULES: &str = "rules:\n  - alert: Spike\n    spike: {of: error_rate}\n  - alert: Drop\n    drop: {of: views}\n  \
     - alert: Often\n    frequency: {of: errors, more_than: 1000000, within: 5m}\n  \
     - alert: New\n    first_seen: {of: error}\n  - alert: Silent\n    by: []\n    absent: {of: views, for: 15m}\n";

/// Seconds of one measurement of a rate, and measurements.
const SECS: f64 = 3.0;
const ROUNDS: usize = 3;
/// Pages of the Zipf traffic, with five steps each.
const PAGES: usize = 1000;
/// Bursts of errors, and how long the pages are quiet before.
const BURSTS: usize = 12;
const QUIET: Duration = Duration::from_secs(20);
/// Seconds over which idleness is measured, after the windows have emptied.
const IDLE: Duration = Duration::from_secs(20);

struct Daemon {
    child: Child,
    address: SocketAddr,
    /// From the start of the process until events are taken.
    ready: Duration,
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_spiked"))
            .args(["run", "--config", "spiked.yaml"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let address = loop {
            let line = lines.next().expect("the daemon ended early").expect("its log is text");
            if let Some(address) = line.split_whitespace().find_map(|word| word.strip_prefix("listen=")) {
                break address.parse().expect("an address");
            }
        };
        let ready = began.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, ready }
    }

    /// Seconds of processor time so far, all threads.
    fn busy(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux");
        let nanoseconds = |path: &Path| -> Option<f64> { fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok() };
        tasks.flatten().filter_map(|task| nanoseconds(&task.path().join("schedstat"))).sum::<f64>() / 1e9
    }

    fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() * 1024.0
    }

    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let head = "listen: 127.0.0.1:0\ndata_dir: data\nrule_files: [rules.yaml]\npages: {collapse: off}\nlimits: {series_per_site: 2000000}\n";
    fs::write(folder.path().join("spiked.yaml"), format!("{head}{config}")).expect("it can be written");
    fs::write(folder.path().join("rules.yaml"), RULES).expect("it can be written");
    folder
}

fn main() {
    rates();
    delay();
    size(if std::env::args().any(|word| word == "--large") { 1_000_000 } else { 100_000 });
}

fn rates() {
    let place = folder("");
    let daemon = Daemon::start(place.path());
    println!("| events in a request | events for each CPU second | events a second |\n| ---: | ---: | ---: |");
    for (batch, connections) in [(1000, 8), (100, 8), (1, 16)] {
        let bodies = zipf_bodies(PAGES, batch, 20_000usize.div_ceil(batch).min(2000));
        send_for(daemon.address, &bodies, connections, Duration::from_secs(1));
        let mut found: Vec<(f64, f64)> = (0..ROUNDS)
            .map(|_| {
                let (before, began) = (daemon.busy(), Instant::now());
                let events = (send_for(daemon.address, &bodies, connections, Duration::from_secs_f64(SECS)) * batch) as f64;
                (events / (daemon.busy() - before), events / began.elapsed().as_secs_f64())
            })
            .collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        println!("| {batch} | {:.0} | {:.0} |", found[ROUNDS / 2].0, found[ROUNDS / 2].1);
    }
    daemon.kill();
}

fn delay() {
    let hook = Hook::start();
    let config = format!(
        "route: {{receiver: hook, group_wait: 0s}}\nreceivers:\n  - name: hook\n    webhook_configs: [{{url: \"{}\"}}]\n",
        hook.url
    );
    let place = folder(&config);
    let daemon = Daemon::start(place.path());
    let pages: Vec<String> = (0..BURSTS).map(|n| format!("/trial/{n}")).collect();
    let (end, mut delays) = (Instant::now() + QUIET, Vec::new());
    while Instant::now() < end {
        send_all(daemon.address, &[load::views(&pages)], 1);
        std::thread::sleep(Duration::from_millis(100));
    }
    for page in &pages {
        let began = Instant::now();
        burst(daemon.address, page);
        delays.extend(hook.wait_for(page, Duration::from_secs(10)).map(|at| (at - began).as_secs_f64() * 1000.0));
        // Not at the same place of every second.
        std::thread::sleep(Duration::from_millis(1130));
    }
    delays.sort_by(f64::total_cmp);
    let told = delays.len();
    let at = |share: f64| delays.get(((told as f64 * share) as usize).min(told.saturating_sub(1))).copied().unwrap_or(f64::NAN);
    println!(
        "\nfrom a burst of errors to its message: {told} of {BURSTS} told, median {:.0} ms, most {:.0} ms",
        at(0.5),
        at(1.0)
    );
    daemon.kill();
}

fn size(series: usize) {
    let place = folder("");
    let daemon = Daemon::start(place.path());
    let empty = daemon.resident();
    let bodies = series_bodies(series, 1000);
    let before = daemon.busy();
    send_all(daemon.address, &bodies, 4);
    let first = daemon.busy() - before;
    // Then the traffic of a usual day: a few pages have most of it.
    let zipf = zipf_bodies(series / 5, 1000, 200);
    send_all(daemon.address, &zipf, 4);
    std::thread::sleep(Duration::from_secs(3));
    let bytes = (daemon.resident() - empty) / series as f64;
    println!(
        "\n{series} series: {bytes:.0} resident bytes each, {:.1} µs of CPU for a series' first event",
        first / series as f64 * 1e6
    );
    // A checkpoint goes out once a minute.
    std::thread::sleep(Duration::from_secs(70));
    daemon.kill();
    let daemon = Daemon::start(place.path());
    println!("back after a kill: {:.2} s, {:.2} s of CPU", daemon.ready.as_secs_f64(), daemon.busy());
    // Five minutes of windows have to pass before nothing slides any more.
    std::thread::sleep(Duration::from_secs(310));
    let before = daemon.busy();
    std::thread::sleep(IDLE);
    println!("idle: {:.2} % of a core", (daemon.busy() - before) / IDLE.as_secs_f64() * 100.0);
    daemon.kill();
}
