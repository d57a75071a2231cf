//! Disks that are full, read-only or damaged, formats of other versions, and rules that changed while nobody was looking.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use spiked::store::Store;
use spiked::wal::checkpoint;

use crate::daemon::{BURST, resolve, to_hook};
use crate::harness::{Daemon, Hook, Place, error, times, view, wait_for};

/// A small file system of its own; gone when it is dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None`, said aloud, where one may not mount.
    fn new(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &at);
        if !mounted {
            eprintln!("skipped: a file system for the test cannot be mounted (only root may)");
        }
        mounted.then_some(Self(at))
    }

    fn read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], &self.0));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a daemon that a failed test left behind may still hold files in it.
        let _stays = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str], at: &Path) -> bool {
    Command::new("mount").args(args).arg(at).output().is_ok_and(|output| output.status.success())
}

/// Fills a folder's disk to the last byte.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while file.write(&vec![0; size]).is_ok_and(|written| written > 0) {}
    }
}

/// One metric without labels.
fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
}

#[test]
fn on_a_full_disk_events_are_refused_alerts_go_on_and_nothing_is_corrupted() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let Some(_mount) = Mount::new(place.path("data"), "12m") else { return };
    let daemon = place.start();
    hook.refuse(true);
    daemon.send(&times(5, &error("/pay")));
    daemon.wait_log("event=\"attempt\"");
    fill(&place.path("data/ballast"));

    // What still fits behind the log's end is taken; the rest is refused, and says when to come back.
    let mut acknowledged = 0;
    let body = times(200, &view("/fill")).join("\n");
    let refused = wait_for("the disk to be full", || {
        let answer = daemon.ask("POST", "/v1/events", &[], body.as_bytes());
        acknowledged += if answer.status == 200 { 200 } else { 0 };
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{}", refused.head);
    wait_for("the refusal to be shown", || (daemon.get("/-/ready").status == 503).then_some(()));

    // Alerts go on, and whoever asks is answered.
    hook.refuse(false);
    hook.wait("Burst", "firing");
    daemon.wait_log("event=\"store_failed\"");
    assert_eq!(daemon.incidents("firing").len(), 1);
    for path in ["/api/v1/deliveries", "/api/v1/outcomes", "/api/v1/series", "/api/v1/rules"] {
        daemon.json(path);
    }
    assert_eq!((daemon.get("/").status, daemon.get("/-/ready").status), (200, 503));
    assert!(metric(&daemon, "spiked_store_failures_total") > 0.0);

    fs::remove_file(place.path("data/ballast")).unwrap();
    wait_for("events to be taken again", || (daemon.get("/-/ready").status == 200).then_some(()));
    daemon.wait_log("event=\"store_recovered\"");
    daemon.send(&times(100, &view("/fill")));
    daemon.counts("page=/fill", acknowledged + 100);
    daemon.kill();
    let daemon = place.start();
    daemon.counts("page=/fill", acknowledged + 100);
    resolve(&daemon, &hook, "Burst", "/pay");
    let told: Vec<String> = hook.told("Burst").iter().map(|body| body["status"].to_string()).collect();
    assert_eq!(told, [r#""firing""#, r#""resolved""#], "{}", daemon.log());
    assert!(daemon.stop().0.success());
    Store::open(&place.path("data/spiked.db")).unwrap().check().unwrap();
}

/// What a start says that must fail.
#[track_caller]
fn refused(place: &Place) -> String {
    let config = place.path("spiked.yaml").display().to_string();
    let output = crate::harness::run(place.folder(), &["run", "--config", &config], b"");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::new("", "rules: []\n");
    let Some(mount) = Mount::new(place.path("data"), "12m") else { return };
    drop(place.start());
    mount.read_only();
    let said = refused(&place);
    assert!(said.contains("/data") && said.contains("Read-only file system"), "{said}");
}

#[test]
fn state_of_another_version_is_refused_in_words() {
    for (version, words) in [(1, "cannot be migrated"), (99, "run the newer spiked again")] {
        let place = Place::new("", "rules: []\n");
        checkpoint::write(&place.path("data/checkpoints"), 7, version, b"state").unwrap();
        let said = refused(&place);
        assert!(said.contains(&format!("format {version}")) && said.contains(words), "{said}");
    }
    let place = Place::new("", "rules: []\n");
    place.start().kill();
    let log = place.path("data/wal/00000000000000000000.wal");
    let mut bytes = fs::read(&log).unwrap();
    bytes[8] = 99;
    let sum = crc32(&bytes[..20]).to_le_bytes();
    bytes[20..24].copy_from_slice(&sum);
    fs::write(&log, bytes).unwrap();
    let said = refused(&place);
    assert!(said.contains("log format 99") && said.contains("run the newer spiked again"), "{said}");
}

/// The checksum of gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn a_damaged_place_in_the_log_costs_what_was_in_it_and_is_counted() {
    let place = Place::new("", "rules: []\n");
    let daemon = place.start();
    for page in ["/one", "/two", "/three"] {
        daemon.send(&[view(page)]);
    }
    daemon.kill();
    let log = place.path("data/wal/00000000000000000000.wal");
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.windows(4).position(|text| text == b"/two").unwrap();
    bytes[at] ^= 1;
    // And a write that a crash cut off: that is no damage.
    bytes.extend_from_slice(&[7; 11]);
    fs::write(&log, bytes).unwrap();
    let daemon = place.start();
    let pages: Vec<String> = daemon.counts("window=5m", 2).into_iter().map(|row| row.0).collect();
    assert_eq!(pages, ["/one", "/three"]);
    assert_eq!(metric(&daemon, "spiked_wal_lost_entries_total"), 1.0);
    let log = daemon.log();
    assert_eq!((log.matches("event=\"wal_damaged\"").count(), log.matches("event=\"wal_torn_tail\"").count()), (1, 1), "{log}");
    daemon.kill();
    // The damage stays where it is until a checkpoint lets the segment go; the log goes on behind it.
    let daemon = place.start();
    daemon.send(&[view("/four")]);
    daemon.counts("window=5m", 3);
}

#[test]
fn rules_that_changed_while_spiked_was_away_hold_from_then_on() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    hook.wait("Burst", "firing");
    // So that the second is over: its end is in the log then.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    daemon.kill();
    // The replay judges by the rules of then: what they said is said once. Those of now begin with what comes now.
    place.write("rules/test.yaml", &BURST.replace("Burst", "Other").replace("5s", "1h"));
    let daemon = place.start();
    hook.wait("Burst", "resolved");
    assert_eq!(daemon.incidents("firing"), Vec::<serde_json::Value>::new());
    daemon.send(&times(5, &error("/pay")));
    hook.wait("Other", "firing");
    daemon.kill();
    let daemon = place.start();
    assert_eq!(daemon.incidents("firing").len(), 1);
    assert!(!daemon.log().contains("event=\"rules_unknown\""), "{}", daemon.log());
    assert!(daemon.stop().0.success());
    let told: Vec<_> = hook.letters().iter().map(|letter| letter.id.clone()).collect();
    let different: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(different.len(), 3, "fired, resolved, fired: {told:?}");
}

#[test]
fn where_the_rules_of_then_are_lost_what_fires_and_was_never_told_is_told() {
    let hook = Hook::start();
    let rule = |name: &str, page: &str| {
        format!("  - alert: {name}\n    where: {{page: {page}}}\n    frequency: {{of: errors, more_than: 3, within: 1h}}\n")
    };
    let old = format!("rules:\n{}", rule("Old", "/old"));
    let place = Place::new(&to_hook(&hook.url), &old);
    let daemon = place.start();
    daemon.send(&times(5, &error("/new")));
    daemon.send(&times(5, &error("/old")));
    hook.wait("Old", "firing");
    // So that the second is over: its end is in the log then.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    daemon.kill();
    place.write("rules/test.yaml", &format!("{old}{}", rule("New", "/new")));
    fs::remove_dir_all(place.path("data/rules")).unwrap();
    fs::remove_dir_all(place.path("data/checkpoints")).unwrap();
    // Told once, whatever the number of starts: by a crash before any checkpoint, and by an orderly stop.
    let daemon = place.start();
    hook.wait("New", "firing");
    wait_for("the answer to be stored", || {
        let all = daemon.json("/api/v1/deliveries")["deliveries"].as_array().unwrap().clone();
        all.iter().all(|row| row["state"] == "delivered").then_some(())
    });
    daemon.kill();
    let daemon = place.start();
    assert_eq!(daemon.incidents("firing").len(), 2);
    assert!(daemon.stop().0.success());
    // And gone is gone: the end is told, to those who heard of the begin.
    place.write("rules/test.yaml", &old);
    let daemon = place.start();
    hook.wait("New", "resolved");
    assert_eq!(hook.told("New").len(), 2);
    assert_eq!(daemon.incidents("firing").len(), 1);
    daemon.send(&[view("/old")]);
    assert!(hook.heard("Old").iter().all(|body| body["status"] == "firing"));
}

#[test]
fn a_change_of_the_rules_is_followed_by_a_checkpoint() {
    let place = Place::new("", "rules: []\n");
    let daemon = place.start();
    daemon.send(&[view("/pay")]);
    place.write("rules/test.yaml", BURST);
    let answer = daemon.ask("POST", "/-/reload", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_for("the checkpoint", || {
        let states = fs::read_dir(place.path("data/checkpoints")).ok()?;
        states.flatten().find(|state| state.path().extension().is_some_and(|e| e == "checkpoint"))
    });
    daemon.kill();
    let daemon = place.start();
    assert!(daemon.log().contains("event=\"checkpoint_read\""), "{}", daemon.log());
    daemon.counts("page=/pay", 1);
}
