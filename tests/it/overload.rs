//! More than can be taken, and worse than was meant: everything refused says so and is counted, memory stays bounded, nothing
//! acknowledged is lost, and alerts are told meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::daemon::{BURST, to_hook};
use crate::harness::{Answer, Daemon, Hook, Place, SOON, error, request, times, view, wait_for};

/// Resident memory of the daemon, in MB.
fn resident_mb(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Lines by outcome and reason, of all sources.
fn outcome(daemon: &Daemon, name: &str, reason: &str) -> u64 {
    let rows = daemon.json("/api/v1/outcomes")["outcomes"].as_array().unwrap().clone();
    let fits = |row: &&serde_json::Value| row["outcome"] == name && row["reason"] == reason;
    rows.iter().filter(fits).map(|row| row["lines"].as_u64().unwrap()).sum()
}

fn all_lines(daemon: &Daemon) -> u64 {
    let rows = daemon.json("/api/v1/outcomes")["outcomes"].as_array().unwrap().clone();
    rows.iter().map(|row| row["lines"].as_u64().unwrap()).sum()
}

#[track_caller]
fn check_refusal(answer: &Answer) {
    assert!([429, 503].contains(&answer.status), "{}", answer.text());
    assert!(answer.head.to_lowercase().contains("retry-after: "), "{}", answer.head);
}

const LINES: usize = 50;
const FLOODERS: usize = 32;

#[test]
fn a_flood_is_turned_away_in_words_and_nothing_that_was_taken_is_lost() {
    let hook = Hook::start();
    let limits = "limits: {queue_entries: 2, queue_bytes: 1MB}\n";
    let place = Place::new(&format!("{}{limits}", to_hook(&hook.url)), BURST);
    let daemon = place.start();
    let (stop, taken, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let before = resident_mb(&daemon);
    let address = daemon.address;
    std::thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| {
                let body = times(LINES, &view("/flood")).join("\n");
                while !stop.load(Ordering::Relaxed) {
                    let answer = request(address, "POST", "/v1/events", &[], body.as_bytes()).unwrap();
                    if answer.status == 200 {
                        taken.fetch_add(1, Ordering::Relaxed);
                    } else {
                        check_refusal(&answer);
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Much is refused; and in the midst of it an alert gets through, from its events to its receiver.
        wait_for("a flood", || (refused.load(Ordering::Relaxed) > 200 && taken.load(Ordering::Relaxed) > 20).then_some(()));
        let burst = times(5, &error("/pay")).join("\n");
        wait_for("the errors to be taken", || {
            let answer = request(address, "POST", "/v1/events", &[], burst.as_bytes()).unwrap();
            (answer.status == 200).then_some(())
        });
        hook.wait("Burst", "firing");
        assert_eq!((daemon.get("/-/ready").status, daemon.get("/metrics").status), (200, 200));
        stop.store(true, Ordering::Relaxed);
    });
    let grown = resident_mb(&daemon).saturating_sub(before);
    assert!(grown < 100, "{grown} MB more than before");
    let (taken, refused) = (taken.into_inner(), refused.into_inner());
    daemon.counts("page=/flood", taken * LINES as u64);
    assert!(outcome(&daemon, "limited", "overload") >= refused * LINES as u64, "all that was refused is counted");
    let errors = outcome(&daemon, "limited", "overload") - refused * LINES as u64;
    let in_all = (taken + refused) * LINES as u64 + errors + 5;
    assert_eq!(all_lines(&daemon), in_all, "the outcomes add up");
    // It is over, and all is as before.
    daemon.send(&[view("/after")]);
    daemon.kill();
    let daemon = place.start();
    daemon.counts("page=/flood", taken * LINES as u64);
    daemon.counts("page=/after", 1);
}

#[test]
fn slow_and_endless_senders_hold_up_nobody() {
    let place = Place::new("limits: {body_bytes: 100KB, inflated_bytes: 1MB}\n", "rules: []\n");
    let daemon = place.start();
    let before = resident_mb(&daemon);
    let say = |text: &str| {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    // Heads that never end, and bodies that never come.
    let heads: Vec<TcpStream> = (0..200).map(|_| say("POST /v1/events HTTP/1.1\r\nhost: a\r\nx-slow: ")).collect();
    let post = format!("POST /v1/events HTTP/1.1\r\nhost: {}\r\n", daemon.address);
    let mut bodies: Vec<TcpStream> = (0..50).map(|_| say(&format!("{post}content-length: 1000\r\n\r\n{{"))).collect();
    daemon.send(&times(10, &view("/quick")));
    daemon.counts("page=/quick", 10);

    // A body of a gigabyte that is said, and one of which nobody says how long it is.
    let mut large = say(&format!("{post}connection: close\r\ncontent-length: 1000000000\r\n\r\n"));
    assert!(trickle(&mut large, b"").starts_with("HTTP/1.1 413"));
    let piece = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    let mut endless = say(&format!("{post}connection: close\r\ntransfer-encoding: chunked\r\n\r\n"));
    assert!(trickle(&mut endless, piece.as_bytes()).starts_with("HTTP/1.1 413"));
    // A small body that unpacks to a hundred megabytes.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..100 {
        packed.write_all(&vec![b' '; 1_000_000]).unwrap();
    }
    let bomb = packed.finish().unwrap();
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(daemon.ask("POST", "/v1/events", &gzip, &bomb[..90_000]).status, 413);
    assert_eq!(daemon.ask("POST", "/v1/events", &gzip, &bomb[..100]).status, 400);

    // Who stops in the middle of a body is told, in the end.
    let mut answer = String::new();
    bodies[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let grown = resident_mb(&daemon).saturating_sub(before);
    assert!(grown < 100, "{grown} MB more than before");
    wait_for("the slow bodies to be counted", || (outcome(&daemon, "invalid", "body") == 50 + 1).then_some(()));
    assert_eq!(outcome(&daemon, "limited", "body_bytes"), 3);
    assert_eq!(all_lines(&daemon), 10 + 51 + 3);
    drop(heads);
    daemon.send(&[view("/quick")]);
    assert!(daemon.stop().0.success());
}

/// Sends pieces for as long as they are taken, and gives the answer.
fn trickle(stream: &mut TcpStream, piece: &[u8]) -> String {
    for _ in 0..if piece.is_empty() { 0 } else { 2000 } {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _all_is_said = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    // A refused sender may be cut off behind the answer.
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn names_without_end_are_pooled_and_counted() {
    let place = Place::new("limits: {series_per_site: 100}\npages: {collapse: off}\n", RULES);
    let daemon = place.start();
    let mut sent = 0;
    let mut send = |address: SocketAddr, lines: Vec<String>| {
        sent += lines.len() as u64;
        for part in lines.chunks(1000) {
            let answer = request(address, "POST", "/v1/events", &[], part.join("\n").as_bytes()).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    let page = |n: usize| format!("/page-{}", letters(n));
    send(daemon.address, (0..5000).map(|n| view(&page(n))).collect());
    daemon.counts("window=5m", 5000);
    let before = resident_mb(&daemon);
    // Errors of no end of kinds, sessions, releases and sites.
    let failure = |n: usize| {
        format!(
            r#"{{"type":"error","site":"shop","page":"/page-a","session":"s{n}","release":"r{n}","error":{{"type":"E{n}","message":"m","fingerprint":"f{n}"}}}}"#
        )
    };
    send(daemon.address, (0..20_000).map(failure).collect());
    send(daemon.address, (0..3000).map(|n| view("/a").replace("\"shop\"", &format!("\"site{n}\""))).collect());
    wait_for("all lines to be counted", || (all_lines(&daemon) == sent).then_some(()));
    let rows = daemon.json("/api/v1/series?site=shop")["series"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 101, "100 pages and `other`");
    let views: u64 = rows.iter().map(|row| row["views"].as_u64().unwrap()).sum();
    let errors: u64 = rows.iter().map(|row| row["errors"].as_u64().unwrap()).sum();
    assert_eq!((views, errors), (5000, 20_000), "what is pooled is counted");
    assert!(outcome(&daemon, "limited", "sites") > 1900, "a thousand sites are enough");
    let grown = resident_mb(&daemon).saturating_sub(before);
    assert!(grown < 150, "{grown} MB for names without end");
}

const RULES: &str = "
rules:
  - alert: Spike
    spike: {of: error_rate, false_alarms: 0.001 per series per week}
  - alert: New
    first_seen: {of: error, false_alarms: 1 per page per week}
";

/// A number in letters: such a page is never taken for an identifier.
fn letters(mut n: usize) -> String {
    let mut text = String::new();
    loop {
        text.push((b'a' + (n % 26) as u8) as char);
        n /= 26;
        if n == 0 {
            return text;
        }
    }
}
