//! The daemon is killed again and again, at any moment, under load and with alerts that fire; what was acknowledged is counted
//! once, each transition is told, and only what was on its way is told twice.
//!
//! `SPIKED_KILLS=1000 SPIKED_SEED=7 cargo test --test it kill::` is the nightly run. The seed chooses the moments; what the machine
//! does in them differs from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use spiked::outbox::target::IN_FLIGHT_MAX;

use crate::daemon::to_hook;
use crate::harness::{Daemon, Hook, Letter, Place, error, request, view, wait_for};
use crate::sim::chance::Chance;

/// Fires with a writer's first batch, and is over two seconds later when there is traffic.
const RULES: &str = "rules: [{alert: Burst, frequency: {of: errors, more_than: 3, within: 2s}, severity: P1}]\n";
const WRITERS: usize = 3;
const ERRORS: u64 = 8;
const VIEWS: u64 = 10;
/// Sites that the pages are spread over.
const SITES: u64 = 997;

/// A number from the environment, for long runs.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What a page must show: what was acknowledged, and what may be there because nobody heard of it.
#[derive(Debug, Default)]
struct Page {
    views: u64,
    errors: u64,
    maybe: Option<(u64, u64)>,
}

/// A batch, and whether it was acknowledged.
struct Sent {
    body: String,
    views: u64,
    errors: u64,
    acknowledged: bool,
}

/// Sends batches until the daemon is gone: first one with errors, then views.
fn write(address: SocketAddr, page: &str, with_ids: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    loop {
        let errors = if all.is_empty() { ERRORS } else { 0 };
        let lines = (0..errors).map(|_| of_site(&error(page), page)).chain((0..VIEWS).map(|_| of_site(&view(page), page)));
        let named = |(n, line): (usize, String)| {
            if with_ids { line.replacen('{', &format!("{{\"id\":\"{page}-{}-{n}\",", all.len()), 1) } else { line }
        };
        let body = lines.enumerate().map(named).collect::<Vec<_>>().join("\n");
        let answer = request(address, "POST", "/v1/events", &[], body.as_bytes());
        let acknowledged = answer.is_ok_and(|answer| answer.status == 200);
        all.push(Sent { body, views: VIEWS, errors, acknowledged });
        if !acknowledged {
            return all;
        }
    }
}

/// The line in one of many sites: alerts of one site at a time are told together, and here each is to be told alone.
fn of_site(line: &str, page: &str) -> String {
    let number: u64 = page.bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % SITES);
    line.replacen("\"shop\"", &format!("\"s{number}\""), 1)
}

struct Campaign {
    place: Place,
    hook: Hook,
    chance: Chance,
    pages: BTreeMap<String, Page>,
    /// Batches that a writer sends again, by their ids the same, and what their page must show then.
    again: Vec<(String, String, (u64, u64))>,
}

impl Campaign {
    /// Compares the series with what was acknowledged; what was in doubt is known then.
    #[track_caller]
    fn compare(&mut self, daemon: &Daemon) {
        let rows = daemon.json("/api/v1/series?window=24h");
        let mut shown: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for row in rows["series"].as_array().unwrap() {
            shown.insert(row["page"].as_str().unwrap(), (row["views"].as_u64().unwrap(), row["errors"].as_u64().unwrap()));
        }
        for (name, page) in &mut self.pages {
            let found = shown.get(name.as_str()).copied().unwrap_or_default();
            let (sure, maybe) = ((page.views, page.errors), page.maybe.take().unwrap_or_default());
            assert!(
                found == sure || found == (sure.0 + maybe.0, sure.1 + maybe.1),
                "{name}: {found:?} shown, {sure:?} acknowledged, {maybe:?} in doubt\n{}",
                daemon.log()
            );
            (page.views, page.errors) = found;
        }
    }

    /// A view for every page that fires, so that its alert may end.
    fn sweep(&mut self, daemon: &Daemon) -> usize {
        let ended: BTreeSet<String> =
            self.hook.letters().iter().filter(|l| l.body["status"] == "resolved").map(page_of).collect();
        let open: Vec<String> =
            self.pages.iter().filter(|(name, page)| page.errors > 0 && !ended.contains(*name)).map(|(n, _)| n.clone()).collect();
        if !open.is_empty() {
            daemon.send(&open.iter().map(|page| of_site(&view(page), page)).collect::<Vec<_>>());
        }
        for page in &open {
            self.pages.get_mut(page).unwrap().views += 1;
        }
        open.len()
    }

    /// One life of the daemon.
    fn round(&mut self, round: u64) {
        let mut daemon = self.place.spawn(&[]);
        if self.chance.happens(0.15) {
            // Also while it starts: what one start leaves behind, the next must bear.
            self.pause(0.1);
            daemon.kill();
            return self.hook.settle();
        }
        daemon.wait_started();
        self.compare(&daemon);
        for (page, body, shown) in std::mem::take(&mut self.again) {
            let answer = daemon.ask("POST", "/v1/events", &[], body.as_bytes());
            assert_eq!(answer.status, 200, "{}", answer.text());
            let known = self.pages.get_mut(&page).unwrap();
            (known.views, known.errors) = shown;
        }
        self.sweep(&daemon);
        let address = daemon.address;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let page = format!("/r{round}w{writer}");
                std::thread::spawn(move || (write(address, &page, writer == 0), page))
            })
            .collect();
        let reload = self.chance.happens(0.3);
        self.pause(0.15);
        if reload {
            let _killed = std::thread::spawn(move || drop(request(address, "POST", "/-/reload", &[], b"")));
        }
        self.pause(0.15);
        if self.chance.happens(0.05) {
            assert!(daemon.stop().0.success());
        } else {
            daemon.kill();
        }
        for writer in writers {
            let (sent, page) = writer.join().unwrap();
            self.note(page, sent);
        }
        self.hook.settle();
    }

    fn note(&mut self, page: String, mut sent: Vec<Sent>) {
        let known = self.pages.entry(page.clone()).or_default();
        for batch in sent.iter().filter(|batch| batch.acknowledged) {
            known.views += batch.views;
            known.errors += batch.errors;
        }
        let last = sent.pop().unwrap();
        known.maybe = Some((last.views, last.errors));
        if last.body.contains("\"id\"") {
            self.again.push((page, last.body, (known.views + last.views, known.errors + last.errors)));
        }
    }

    fn pause(&mut self, most: f64) {
        std::thread::sleep(Duration::from_secs_f64(self.chance.between(0.0, most)));
    }
}

fn page_of(letter: &Letter) -> String {
    letter.body["commonLabels"]["page"].as_str().unwrap().to_owned()
}

/// What the receiver heard, page by page: fired, then resolved, nothing lost, and twice only what was on its way.
fn judge(letters: &[Letter], pages: &BTreeMap<String, Page>) {
    let mut lives: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for letter in letters {
        let seen = lives.entry(&letter.id).or_default();
        assert!(!seen.contains(&letter.life), "told twice in one life: {letter:?}");
        seen.push(letter.life);
        if seen.len() == 1 {
            told.entry(page_of(letter)).or_default().push(letter.body["status"].as_str().unwrap());
        } else {
            let status = letter.body["status"].as_str().unwrap();
            assert_eq!(told[&page_of(letter)].last(), Some(&status), "out of order: {letter:?}");
        }
    }
    let expected: BTreeSet<&String> = pages.iter().filter(|(_, page)| page.errors > 0).map(|(name, _)| name).collect();
    assert_eq!(told.keys().collect::<BTreeSet<_>>(), expected);
    for (name, statuses) in &told {
        // Killed before it was told and over by then: one message that says both.
        let is_whole = matches!(statuses[..], ["firing", "resolved"] | ["resolved"]);
        assert!(is_whole, "{name}: {statuses:?}");
    }
    let mut repeated: BTreeMap<u32, usize> = BTreeMap::new();
    for seen in lives.values() {
        for life in &seen[..seen.len() - 1] {
            *repeated.entry(*life).or_default() += 1;
        }
    }
    assert!(repeated.values().all(|count| *count <= IN_FLIGHT_MAX), "repeated by life: {repeated:?}");
}

/// Campaigns side by side, each with a daemon of its own: most of a life is waiting.
const CAMPAIGNS: u64 = 2;

#[test]
fn a_kill_at_any_moment_loses_nothing_and_tells_nothing_twice_but_what_was_on_its_way() {
    let (kills, seed) = (setting("SPIKED_KILLS", 100), setting("SPIKED_SEED", 1));
    eprintln!("{kills} kills with SPIKED_SEED={seed}");
    std::thread::scope(|scope| {
        for number in 0..CAMPAIGNS {
            scope.spawn(move || campaign(kills.div_ceil(CAMPAIGNS), Chance::new(seed, number, 0)));
        }
    });
}

fn campaign(kills: u64, chance: Chance) {
    let hook = Hook::start();
    let place = Place::new(&format!("{}pages: {{collapse: off}}\n", to_hook(&hook.url)), RULES);
    let mut campaign = Campaign { place, hook, chance, pages: BTreeMap::new(), again: Vec::new() };
    for round in 0..kills {
        campaign.round(round);
    }
    let daemon = campaign.place.start();
    campaign.compare(&daemon);
    wait_for("all alerts to end", || (campaign.sweep(&daemon) == 0).then_some(()));
    campaign.compare(&daemon);
    let fired = campaign.pages.values().filter(|page| page.errors > 0).count();
    assert!(fired as u64 > kills, "{fired} alerts are too few to learn from");
    judge(&campaign.hook.letters(), &campaign.pages);
    assert!(daemon.incidents("firing").is_empty());
    assert!(daemon.stop().0.success());
}
