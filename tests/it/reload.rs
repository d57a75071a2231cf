//! The configuration changes while the daemon runs: what is broken is told to people and changes nothing, what is good is taken
//! at once, and nobody who sends events notices either.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::daemon::{BURST, resolve, to_hook};
use crate::harness::{Daemon, Hook, Place, error, run, times, view, wait_for};

const BROKEN: &str = "SpikedConfigBroken";

fn rules_in_force(daemon: &Daemon) -> Vec<String> {
    let rules = daemon.json("/api/v1/rules")["rules"].as_array().unwrap().clone();
    rules.iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

fn firing(daemon: &Daemon, alert: &str) -> Vec<Value> {
    daemon.incidents("firing").into_iter().filter(|incident| incident["alert"] == alert).collect()
}

#[track_caller]
fn check_told(body: &Value, words: &[&str]) {
    let said = body.to_string();
    for word in words {
        assert!(said.contains(word), "`{word}` is not in {said}");
    }
}

#[test]
fn a_broken_rule_is_told_keeps_its_last_good_version_also_over_a_restart_and_is_resolved_when_mended() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    hook.wait("Burst", "firing");
    // By file watching alone.
    let more = "  - alert: Other\n    threshold: {of: errors, above: 1000, over: 5m}\n";
    place.write("rules/test.yaml", &format!("{}{more}", BURST.replace("more_than", "more_then")));
    let told = hook.wait(BROKEN, "firing");
    check_told(
        &told,
        &[
            "test.yaml:4:29",
            "unknown key 'more_then' in 'frequency' (did you mean 'more_than'?)",
            "In their last good version: Burst",
            "\"severity\":\"P2\"",
        ],
    );
    assert_eq!(rules_in_force(&daemon), ["Other", "Burst"], "the good rule is taken, the broken one stays");
    assert!(daemon.get("/metrics").text().contains("spiked_config_last_reload_successful 0"));

    daemon.kill();
    let daemon = place.start();
    assert_eq!(rules_in_force(&daemon), ["Other", "Burst"]);
    assert_eq!((firing(&daemon, "Burst").len(), firing(&daemon, BROKEN).len()), (1, 1));
    assert!(daemon.get("/metrics").text().contains("spiked_config_last_reload_successful 0"));

    place.write("rules/test.yaml", BURST);
    let mended = hook.wait(BROKEN, "resolved");
    assert_eq!(mended["data"]["incident"], told["data"]["incident"]);
    assert_eq!(rules_in_force(&daemon), ["Burst"], "what is taken out of a good file is gone");
    assert!(daemon.get("/metrics").text().contains("spiked_config_last_reload_successful 1"));
    resolve(&daemon, &hook, "Burst", "/pay");
    let of = |alert: &str, status: &str| hook.heard(alert).iter().filter(|body| body["status"] == status).count();
    assert_eq!((of("Burst", "resolved"), of(BROKEN, "resolved")), (1, 1));
}

#[test]
fn a_broken_configuration_or_template_is_told_and_changes_nothing() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    assert!(daemon.get("/metrics").text().contains("spiked_config_last_reload_successful 1"), "at the start");
    place.configure(&to_hook(&hook.url).replace("receiver: hook", "receiver: hok"));
    let told = hook.wait(BROKEN, "firing");
    check_told(&told, &["spiked.yaml:4:19", "'hok' is not defined", "did you mean 'hook'", "stays in force"]);
    place.configure(&to_hook(&hook.url));
    hook.wait(BROKEN, "resolved");

    let bad = BURST.replace("Errors in a row", "{{ lables.page }}").replace("more_than: 3", "more_than: 4");
    place.write("rules/test.yaml", &bad);
    let told = wait_for("the template to be told", || {
        hook.heard(BROKEN).pop().filter(|body| body["status"] == "firing" && body.to_string().contains("rules/test.yaml"))
    });
    check_told(&told, &["test.yaml:6:28", "annotation 'summary' of 'Burst'", "'lables' is unknown"]);
    assert_eq!(daemon.json("/api/v1/rules")["rules"][0]["annotations"]["summary"], "Errors in a row");
}

#[test]
fn rules_that_nobody_could_read_at_the_start_are_told() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), &BURST.replace("more_than", "more_then"));
    let daemon = place.start();
    let told = hook.wait(BROKEN, "firing");
    check_told(&told, &["test.yaml:4:29", "Rules without an earlier good version are not in force"]);
    assert_eq!(rules_in_force(&daemon), Vec::<String>::new());
    place.write("rules/test.yaml", BURST);
    hook.wait(BROKEN, "resolved");
    assert_eq!(rules_in_force(&daemon), ["Burst"]);
}

#[test]
fn reloads_under_load_refuse_no_event_lose_no_count_and_go_on_when_nobody_waits() {
    const SENDERS: usize = 3;
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    hook.wait("Burst", "firing");
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (daemon, stop, sent) = (&daemon, &stop, &sent);
            scope.spawn(move || {
                let lines = times(20, &view(&format!("/load{sender}")));
                // Bounded by the reloads below.
                while !stop.load(Ordering::Relaxed) {
                    daemon.send(&lines);
                    daemon.send(&[error("/pay")]);
                    sent.fetch_add(20, Ordering::Relaxed);
                }
            });
        }
        for round in 0..15 {
            place.write("rules/test.yaml", &BURST.replace("in a row", &format!("in a row, {round}")));
            if round % 3 == 0 {
                // Asks and goes away.
                let mut stream = TcpStream::connect(daemon.address).unwrap();
                let head = format!("POST /-/reload HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", daemon.address);
                stream.write_all(head.as_bytes()).unwrap();
                drop(stream);
            } else if round % 3 == 1 {
                daemon.signal("-HUP");
            } else {
                assert_eq!(daemon.ask("POST", "/-/reload", &[], b"").status, 200);
            }
        }
        wait_for("the last rules to be in force", || {
            let rules = daemon.json("/api/v1/rules");
            (rules["rules"][0]["annotations"]["summary"] == "Errors in a row, 14").then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });
    let rows = daemon.counts("window=1h", sent.load(Ordering::Relaxed));
    assert_eq!(rows.iter().filter(|row| row.0.starts_with("/load")).count(), SENDERS);
    assert_eq!(firing(&daemon, "Burst").len(), 1);
    assert_eq!(hook.heard("Burst").len(), 1, "an edit of words is no news");
}

#[test]
fn a_folder_that_is_swapped_as_a_whole_is_found() {
    let place = Place::new("", "rules: []\n");
    let old = place.path("v1");
    let new = place.path("v2");
    for (folder, text) in [(&old, "rules: []\n"), (&new, BURST)] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("swapped.yaml"), text).unwrap();
    }
    // As Kubernetes mounts a ConfigMap: the files are links into a link that is replaced.
    std::os::unix::fs::symlink(&old, place.path("current")).unwrap();
    std::os::unix::fs::symlink(place.path("current/swapped.yaml"), place.path("rules/swapped.yaml")).unwrap();
    let daemon = place.start();
    assert_eq!(rules_in_force(&daemon), Vec::<String>::new());
    std::os::unix::fs::symlink(&new, place.path("next")).unwrap();
    std::fs::rename(place.path("next"), place.path("current")).unwrap();
    wait_for("the swapped rules", || (rules_in_force(&daemon) == ["Burst"]).then_some(()));
}

#[test]
fn check_reads_the_templates_of_a_rule_that_has_another_mistake() {
    let place = Place::new("", &BURST.replace("more_than", "more_then").replace("Errors in a row", "{{ lables.page }}"));
    let out = run(place.folder(), &["check", "rules/test.yaml"], b"");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("more_then") && said.contains("test.yaml:6:28") && said.contains("`lables` is unknown"), "{said}");
    assert!(said.contains("1 file, 0 rules, 3 errors"), "{said}");
}

#[test]
fn secrets_come_from_credentials_and_an_empty_one_opens_no_door() {
    let place = Place::new("admin_token_file: \"${CREDENTIALS_DIRECTORY}/admin-token\"\n", "rules: []\n");
    let folder = place.path("credentials");
    std::fs::create_dir(&folder).unwrap();
    let check = || {
        let mut command = crate::harness::spiked();
        let out = command
            .args(["check", "spiked.yaml"])
            .current_dir(place.folder())
            .env("CREDENTIALS_DIRECTORY", &folder)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("spiked.yaml:4:19") && said.contains("cannot read"), "{said}");
    std::fs::write(folder.join("admin-token"), "\n").unwrap();
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("admin-token` is empty"), "{said}");
    std::fs::write(folder.join("admin-token"), "t0ken\n").unwrap();
    assert_eq!(check().0, Some(0));
}
