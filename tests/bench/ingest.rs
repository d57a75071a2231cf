//! Measures the way from bytes to events, without network and disk: native lines by the short way and by the plain one, the log's
//! encoding, lines of an access log, and a whole backtest of a file.
//!
//! ```sh
//! cargo bench --bench ingest
//! ```
//!
//! Times are of processor time, medians of five runs. Beside the access log stands `mawk`, which counts status by URL, where it is
//! installed: a plain program's work on the same lines.
#![allow(clippy::print_stdout, reason = "a bench prints its tables")]

#[path = "../sim/chance.rs"]
#[allow(dead_code, reason = "traffic needs more kinds of chance than a bench")]
mod chance;
#[path = "daemon/load.rs"]
#[allow(dead_code, reason = "each bench uses its part")]
mod load;
#[allow(dead_code, reason = "each bench uses its part")]
mod measure;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use measure::{median, timed};
use spiked::config::{LogFormat, Site, Source};
use spiked::daemon::source_task::Reader as LogReader;
use spiked::ingest::access_log::LogParser;
use spiked::ingest::agent::Agents;
use spiked::ingest::native::Reader;
use spiked::ingest::{ArrivalClock, Door, Report, Salts, Scratch};
use spiked::model::{Batch, Timestamp};
use spiked::wal::Entry;

const RUNS: usize = 5;
/// 2026-03-02T00:00:00Z in milliseconds.
const NOW: Timestamp = Timestamp(1_772_409_600_000);
const LOG_LINES: usize = 300_000;
const BACKTEST_LINES: usize = 500_000;

fn door() -> Door {
    Door::for_sites([], &Site::default(), Salts::fixed(&[7; 32]), true)
}

fn main() {
    native();
    access_log();
    backtest();
}

fn rate(label: &str, lines: usize, run: impl FnMut() -> f64) -> f64 {
    let nanoseconds = median(std::iter::repeat_with(run).take(RUNS).collect()) / lines as f64;
    println!("| {label} | {nanoseconds:.0} | {:.0} |", 1e9 / nanoseconds);
    nanoseconds
}

fn native() {
    let requests = load::zipf_bodies(1000, 1000, 200);
    let bodies: Vec<&[u8]> = requests.iter().map(|request| body_of(request)).collect();
    // One unknown key is enough for the plain reader.
    let unusual: Vec<Vec<u8>> =
        bodies.iter().map(|body| String::from_utf8_lossy(body).replace("{\"type\"", "{\"x\":1,\"type\"").into_bytes()).collect();
    let unusual: Vec<&[u8]> = unusual.iter().map(Vec::as_slice).collect();
    let (lines, bytes) = (bodies.len() * 1000, bodies.iter().map(|body| body.len()).sum::<usize>());
    println!("native lines of {} bytes, a thousand in a body\n", bytes / lines);
    println!("| work | ns a line | lines for each CPU second |\n| --- | ---: | ---: |");
    let door = door();
    let mut scratch = Scratch::new();
    let mut parse = |bodies: &[&[u8]]| {
        timed(|| {
            for body in bodies {
                let (mut batch, mut report) = (Batch::new(), Report::default());
                let reader = Reader { door: &door, key_site: None, line_bytes: 64_000 };
                reader.read(body, &mut ArrivalClock::Fixed(NOW), &mut batch, &mut scratch, &mut report);
                assert_eq!(report.accepted, 1000);
            }
        })
    };
    rate("read, the short way", lines, || parse(&bodies));
    rate("read, the plain way", lines, || parse(&unusual));
    let batches: Vec<Batch> = bodies.iter().map(|body| batch_of(&door, body)).collect();
    let entries: Vec<Entry> =
        batches.into_iter().map(|batch| Entry::Batch { source: "native".to_owned(), batch, positions: Vec::new() }).collect();
    let mut size = 0;
    rate("encode for the log", lines, || {
        size = 0;
        timed(|| size += entries.iter().map(|entry| postcard::to_stdvec(entry).expect("plain data").len()).sum::<usize>())
    });
    println!("\n{} bytes of log a line\n", size / lines);
}

fn body_of(request: &[u8]) -> &[u8] {
    let head = request.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a request has a head");
    &request[head + 4..]
}

fn batch_of(door: &Door, body: &[u8]) -> Batch {
    let (mut batch, mut report) = (Batch::new(), Report::default());
    let reader = Reader { door, key_site: None, line_bytes: 64_000 };
    reader.read(body, &mut ArrivalClock::Fixed(NOW), &mut batch, &mut Scratch::new(), &mut report);
    batch
}

fn access_log() {
    let mut text = String::new();
    for n in 0..LOG_LINES {
        let page = n * 7919 % 1000;
        let status = if n % 50 == 0 { 500 } else { 200 };
        let _ = writeln!(
            text,
            "203.0.113.{} - - [21/Nov/2026:07:{:02}:{:02} +0000] \"GET /c/shoes/p/{page}?s={n} HTTP/1.1\" {status} {} \
             \"https://shop.example/direct\" \"Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
             Gecko) Version/19.1 Mobile/15E148 Safari/604.1\"",
            n % 254,
            n / 60_000 % 60,
            n / 1000 % 60,
            200 + n % 40_000,
        );
    }
    println!("combined lines of {} bytes\n", text.len() / LOG_LINES);
    println!("| work | ns a line | lines for each CPU second |\n| --- | ---: | ---: |");
    let source = Source {
        access_log: "access.log".into(),
        format: LogFormat::Combined,
        site: "shop".to_owned(),
        env: "production".to_owned(),
    };
    let (parser, door) = (LogParser::new(&source.format).expect("a known format"), door());
    let mut reader =
        LogReader { source: &source, parser: &parser, agents: Agents::default(), scratch: Scratch::new(), generation: 0 };
    let ours = rate("spiked: lines to events", LOG_LINES, || {
        timed(|| {
            let mut batch = Batch::new();
            for line in text.lines() {
                let taken = reader.line(line.as_bytes(), &door, &mut ArrivalClock::Fixed(NOW), &mut batch);
                assert_eq!(taken, Ok(()));
                if batch.events.len() > 4000 {
                    batch.clear();
                }
            }
        })
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("access.log");
    fs::write(&file, &text).expect("it can be written");
    let program = "{u=$7; sub(/\\?.*/,\"\",u); c[u\" \"$9]++} END{for(k in c)print c[k],k}";
    match children(|| Command::new("mawk").arg(program).arg(&file).stdout(Stdio::null()).status().is_ok()) {
        Some(_) => {
            let theirs = rate("mawk: status by URL", LOG_LINES, || {
                children(|| Command::new("mawk").arg(program).arg(&file).stdout(Stdio::null()).status().is_ok())
                    .unwrap_or(f64::NAN)
            });
            println!("\n{:.2} times mawk\n", theirs / ours);
        }
        None => println!("\nmawk is not installed\n"),
    }
}

/// Nanoseconds of processor time of a program and its end; `None` where it cannot be run.
fn children(run: impl FnOnce() -> bool) -> Option<f64> {
    let spent = || -> Option<f64> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        // cutime and cstime, in ticks of 10 ms (proc(5)).
        Some((fields.get(13)?.parse::<f64>().ok()? + fields.get(14)?.parse::<f64>().ok()?) * 1e7)
    };
    let before = spent()?;
    if !run() {
        return None;
    }
    Some(spent()? - before)
}

fn backtest() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.ndjson");
    let requests = load::zipf_bodies(1000, 1000, BACKTEST_LINES / 1000);
    let mut text = String::new();
    let mut number = 0i64;
    for line in requests.iter().flat_map(|request| body_of(request).split(|byte| *byte == b'\n')).filter(|line| !line.is_empty())
    {
        number += 1;
        // Two hours.
        let at = Timestamp(NOW.millis() + number * 7_200_000 / BACKTEST_LINES as i64);
        let _ = writeln!(text, "{{\"ts\":\"{at}\",{}", String::from_utf8_lossy(&line[1..]));
    }
    fs::write(&file, text).expect("it can be written");
    let rules = folder.path().join("rules.yaml");
    fs::write(&rules, "rules:\n  - alert: Spike\n    spike: {of: error_rate}\n").expect("it can be written");
    let spent = |rules: &Path| {
        children(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_spiked"));
            command.args(["backtest", "--rules"]).arg(rules).arg("--events").arg(&file);
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        })
        .unwrap_or(f64::NAN)
    };
    println!("backtest of {BACKTEST_LINES} lines over two hours, 5,000 series, one spike rule\n");
    println!("| work | ns a line | lines for each CPU second |\n| --- | ---: | ---: |");
    rate("read, count, judge", BACKTEST_LINES, || spent(&rules));
}
