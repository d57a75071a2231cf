//! Timelines in, deliveries out. One line an input (`30 fire a P1`); each try to send prints a line. Time runs from deadline to
//! deadline in between, and all records go through a `Restored`, as they would through the store.

use std::collections::BTreeMap;

use super::*;
use crate::dispatch::matcher::{Matcher, Op};
use crate::dispatch::route::GroupLabels;
use crate::dispatch::time_interval::Span;
use crate::model::{Finding, Labels, Severity};
use crate::outbox::TargetPlan;

pub(super) struct World {
    pub(super) desk: Desk,
    pub(super) config: DeskConfig,
    pub(super) stored: Restored,
    pub(super) log: Vec<String>,
    /// How a channel answers, and whether the answer was lost on the way.
    answers: BTreeMap<String, AttemptResult>,
    offset: u64,
    now: Timestamp,
}

fn target(receiver: &str, channel: &str) -> Target {
    Target { receiver: receiver.into(), channel: channel.into(), index: 0 }
}

pub(super) fn plan(name: &str, channels: &[&str], fallback: &str) -> ReceiverPlan {
    let targets = channels.iter().map(|c| TargetPlan { target: target(name, c), send_resolved: *c != "email" }).collect();
    ReceiverPlan { name: name.into(), fallback: fallback.into(), targets }
}

/// One receiver `web` with a Slack channel; wait 30 s, interval 300 s, repeat 1000 s.
pub(super) fn config() -> DeskConfig {
    let secs = Duration::from_secs;
    let route = Route {
        path: "{}".into(),
        matchers: vec![],
        receiver: "web".into(),
        group_by: GroupLabels::These(vec![]),
        group_wait: secs(30),
        group_interval: secs(300),
        repeat_interval: secs(1000),
        go_on: false,
        mute_time_intervals: vec![],
        active_time_intervals: vec![],
        routes: vec![],
    };
    let receivers = vec![plan("web", &["slack"], "")];
    DeskConfig { route, receivers, inhibit_rules: vec![], time_intervals: vec![], external_url: String::new() }
}

pub(super) fn by_page(wait: u64) -> DeskConfig {
    let mut config = config();
    config.route.group_by = GroupLabels::These(vec!["page".into()]);
    config.route.group_wait = Duration::from_secs(wait);
    config.route.group_interval = Duration::from_secs(1);
    config
}

pub(super) fn receivers(mut config: DeskConfig, receivers: Vec<ReceiverPlan>) -> DeskConfig {
    config.receivers = receivers;
    config
}

impl World {
    pub(super) fn new(config: DeskConfig) -> Self {
        let desk = Desk::new(config.clone(), Restored::default(), 7);
        Self { desk, config, stored: Restored::default(), log: vec![], answers: BTreeMap::new(), offset: 0, now: Timestamp(0) }
    }

    fn transition(&mut self, secs: i64, page: &str, state: State, severity: Severity) -> Box<Transition> {
        self.offset += 1;
        let group = Labels::new().with("site", "shop").with("page", page);
        let labels = group.clone().with("severity", severity.as_str());
        let (annotations, finding) = (Labels::new(), Finding::default());
        let (at, alert) = (Timestamp::from_secs(secs), "A".to_owned());
        let id = TransitionId { shard: 0, offset: self.offset, number: 0 };
        let (slice, owner, reason, condition) = (Labels::new(), String::new(), String::new(), "spike".to_owned());
        Box::new(Transition {
            id,
            at,
            alert,
            state,
            group,
            slice,
            labels,
            annotations,
            severity,
            owner,
            began: at,
            finding,
            reason,
            condition,
        })
    }

    pub(super) fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = now;
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.desk.handle(now, input) {
                match output {
                    Output::Save(records) => records.iter().for_each(|r| self.stored.apply(r)),
                    Output::Send(delivery) => {
                        let channel = &delivery.target.channel;
                        self.log.push(line(now, &delivery));
                        let taken = AttemptResult::Delivered { reference: Some(format!("ts{}", delivery.id)) };
                        let lost = self.answers.contains_key("lost");
                        let result = self.answers.get(channel).cloned().unwrap_or(taken);
                        if !lost {
                            inputs.insert(0, Input::AttemptDone { delivery: delivery.id, result });
                        }
                    }
                    Output::Count(Count::Settled { end, target, .. }) if end != End::Delivered => {
                        self.log.push(format!("{} {} {}", now.secs(), target.channel, end.as_str()));
                    }
                    Output::Count(_) => {}
                }
            }
        }
    }

    pub(super) fn run_until(&mut self, until: i64) {
        for turn in 0.. {
            let Some(next) = self.desk.next_deadline().filter(|next| *next < Timestamp::from_secs(until)) else { return };
            assert!(turn < 20_000, "the desk spins at {next}");
            self.handle(next.max(self.now), Input::Tick);
        }
    }

    pub(super) fn crash(&mut self) {
        self.desk = Desk::new(self.config.clone(), self.stored.clone(), 7);
    }

    pub(super) fn step(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let secs: i64 = words[0].parse().unwrap();
        let now = Timestamp::from_secs(secs);
        self.run_until(secs);
        let arg = words.get(2).copied().unwrap_or_default();
        let severity = words.get(3).and_then(|s| Severity::parse(s)).unwrap_or(Severity::P2);
        let (reason, long) = (String::new(), words.get(3).and_then(|s| s.parse().ok()));
        let input = match words[1] {
            "fire" => Input::Transition(self.transition(secs, arg, State::Firing, severity)),
            "resolve" => Input::Transition(self.transition(secs, arg, State::Resolved, severity)),
            "silence" => Input::Silence(Silence {
                id: arg.into(),
                matchers: vec![Matcher::new("page", Op::Equal, arg).unwrap()],
                starts_at: now,
                ends_at: now + Duration::from_secs(long.unwrap()),
                created_by: String::new(),
                comment: String::new(),
                updated_at: now,
            }),
            "ack" => Input::Ack { incident: arg.parse().unwrap(), by: "kim".into() },
            "close" => Input::ResolveIncident { incident: arg.parse().unwrap(), by: "kim".into() },
            "to" => {
                self.config = receivers(self.config.clone(), vec![plan(arg, &["webhook"], "")]);
                self.config.route.receiver = arg.into();
                Input::SetConfig(Box::new(self.config.clone()))
            }
            other => {
                let retry_after = long.map(Duration::from_secs);
                let answer = match other {
                    "down" | "lost" => Some(AttemptResult::Transient { reason, retry_after }),
                    "gone" => Some(AttemptResult::BadTarget { reason }),
                    "refuse" => Some(AttemptResult::BadMessage { reason }),
                    _ => None,
                };
                match answer {
                    Some(answer) => drop(self.answers.insert(arg.into(), answer)),
                    None => drop(self.answers.remove(arg)),
                }
                if other == "crash" {
                    self.crash();
                }
                Input::Tick
            }
        };
        self.handle(now, input);
    }
}

fn line(now: Timestamp, delivery: &Delivery) -> String {
    let note = &delivery.notification;
    let alerts: Vec<String> = note
        .alerts
        .iter()
        .map(|a| format!("{}{}", if a.resolved.is_some() { "-" } else { "+" }, a.firing.group.get("page")))
        .collect();
    let late = note.late_since.map(|since| format!(" late since {}", since.secs())).unwrap_or_default();
    let plain = if delivery.plain { " plain" } else { "" };
    let reference = delivery.reference.as_deref().map(|r| format!(" re {r}")).unwrap_or_default();
    let (channel, reason) = (&delivery.target.channel, note.reason.as_str());
    format!("{} {channel} {reason} {} {}{late}{plain}{reference}", now.secs(), note.id, alerts.join(" "))
}

#[track_caller]
fn check(config: DeskConfig, timeline: &str, expected: &str) {
    let mut world = World::new(config);
    timeline.split(';').map(str::trim).for_each(|step| world.step(step));
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(world.log, expected, "\n{}", world.log.join("\n"));
}

#[test]
fn a_group_waits_joins_repeats_exactly_and_ends() {
    check(
        config(),
        "0 fire a; 10 fire b; 100 fire c P0; 400 resolve a; 2000 resolve b; 2010 resolve c; 3000 end",
        "30 slack fire SPK-1.1 +a +b
         330 slack update SPK-1.2 +c +a +b re ts1
         630 slack update SPK-1.3 +c +b -a re ts1
         1630 slack repeat SPK-1.4 +c +b re ts1
         2000 slack update SPK-1.5 +c -b re ts1
         2300 slack resolve SPK-1.6 -c -a -b re ts1",
    );
}

#[test]
fn what_ends_before_the_wait_is_never_told_and_no_wait_tells_at_once() {
    check(config(), "0 fire a; 29 resolve a; 5000 end", "");
    check(
        by_page(0),
        "0 fire a; 60 resolve a; 70 fire a; 80 end",
        "0 slack fire SPK-1.1 +a\n60 slack resolve SPK-1.2 -a re ts1\n70 slack fire SPK-1.3 +a",
    );
}

#[test]
fn a_silence_holds_the_news_but_never_the_end_of_what_was_told() {
    check(
        by_page(0),
        "0 fire a; 5 silence a 500; 10 resolve a; 20 silence b 100; 30 fire b; 40 silence c 50; 50 fire c; 60 resolve c; 300 end",
        "0 slack fire SPK-1.1 +a
         10 slack resolve SPK-1.2 -a re ts1
         120 slack fire SPK-2.1 +b",
    );
}

#[test]
fn a_mute_holds_the_news_until_it_ends() {
    let mut config = by_page(0);
    let location = chrono_tz::UTC;
    let span = Span { times: vec![(0, 10)], weekdays: vec![], days_of_month: vec![], months: vec![], years: vec![], location };
    config.time_intervals = vec![TimeInterval { name: "night".into(), spans: vec![span] }];
    config.route.mute_time_intervals = vec!["night".into()];
    check(config, "5 fire a; 6 fire b; 300 resolve b; 700 end", "600 slack fire SPK-1.1 +a");
}

#[test]
fn a_worse_alert_inhibits_the_lesser_while_it_fires() {
    let mut config = by_page(0);
    let matcher = |op, value: &str| vec![Matcher::new("severity", op, value).unwrap()];
    let (source_matchers, target_matchers) = (matcher(Op::Equal, "P0"), matcher(Op::NotEqual, "P0"));
    config.inhibit_rules = vec![InhibitRule { source_matchers, target_matchers, equal: vec!["site".into()] }];
    check(
        config,
        "0 fire a P0; 10 fire b; 60 resolve a P0; 90 end",
        "0 slack fire SPK-1.1 +a\n60 slack resolve SPK-1.2 -a re ts1\n60 slack fire SPK-2.1 +b",
    );
}

#[test]
fn whoever_was_told_hears_the_end_after_a_change_of_routes() {
    let both = vec![plan("web", &["slack"], ""), plan("new", &["webhook"], "")];
    let mut world = World::new(receivers(by_page(0), both.clone()));
    world.step("0 fire a");
    world.config.route.receiver = "new".into();
    world.handle(Timestamp::from_secs(10), Input::SetConfig(Box::new(world.config.clone())));
    world.step("60 resolve a");
    let told = ["0 slack fire SPK-1.1 +a", "10 webhook fire SPK-1.1 +a", "60 webhook resolve SPK-1.2 -a re ts2"];
    assert_eq!(world.log, [&told[..], &["60 slack resolve SPK-1.2 -a re ts1"]].concat());
    check(
        by_page(0),
        "0 fire a; 10 to new; 60 resolve a; 90 end",
        "0 slack fire SPK-1.1 +a\n10 webhook fire SPK-1.1 +a\n60 webhook resolve SPK-1.2 -a re ts2\n60 slack undeliverable",
    );
}

#[test]
fn after_an_outage_there_is_one_late_message() {
    check(
        by_page(0),
        "0 down slack 600; 1 fire a; 2 fire a P0; 100 resolve a; 700 up slack; 2000 end",
        "1 slack fire SPK-1.1 +a
         2 slack superseded
         100 slack folded
         601 slack resolve SPK-1.3 -a late since 1
         1201 slack resolve SPK-1.3 -a late since 1",
    );
}

#[test]
fn pagerduty_hears_no_end_of_what_it_never_was_told() {
    let pd = || receivers(by_page(0), vec![plan("web", &["pagerduty"], "")]);
    check(
        pd(),
        "0 down pagerduty 300; 1 fire a; 2 fire b; 100 resolve b; 110 resolve a; 299 up pagerduty; 900 end",
        "1 pagerduty fire SPK-1.1 +a
         100 pagerduty folded
         100 pagerduty folded
         110 pagerduty folded
         301 pagerduty resolve SPK-1.2 -a late since 1",
    );
}

#[test]
fn a_refused_message_is_sent_plain_once_and_then_given_up() {
    check(
        by_page(0),
        "0 refuse slack; 1 fire a; 900 end",
        "1 slack fire SPK-1.1 +a\n1 slack fire SPK-1.1 +a plain\n1 slack given_up",
    );
}

#[test]
fn a_broken_target_hands_over_to_the_fallback() {
    let plans = vec![plan("web", &["slack"], "ops"), plan("ops", &["webhook"], "")];
    check(
        receivers(by_page(0), plans),
        "0 gone slack; 1 fire a; 10 fire b; 60 resolve a; 3700 up slack; 3800 fire c; 3900 end",
        "1 slack fire SPK-1.1 +a
         1 webhook fire SPK-1.1 +a
         1 slack rerouted
         10 webhook fire SPK-2.1 +b
         10 slack rerouted
         60 webhook resolve SPK-1.2 -a re ts2
         1010 webhook repeat SPK-2.2 +b
         1010 slack rerouted
         2010 webhook repeat SPK-2.3 +b
         2010 slack rerouted
         3010 webhook repeat SPK-2.4 +b
         3010 slack rerouted
         3800 slack fire SPK-3.1 +c",
    );
}

#[test]
fn a_storm_is_rolled_up_into_one_message() {
    let fires: Vec<String> = (0..40).map(|n| format!("{} fire p{n}", n / 8)).collect();
    let mut world = World::new(by_page(30));
    for step in &fires {
        world.step(step);
    }
    world.step("100 end");
    assert_eq!(world.log.len(), 1, "{:?}", world.log);
    assert_eq!(world.log[0].matches('+').count(), 40);
}

#[test]
fn an_ack_stops_repeats_and_not_what_is_worse() {
    check(
        config(),
        "0 fire a; 40 ack 1; 2000 fire a P0; 3500 close 1; 4000 end",
        "30 slack fire SPK-1.1 +a\n2000 slack update SPK-1.2 +a re ts1\n3500 slack resolve SPK-1.3 -a re ts1",
    );
}

#[test]
fn what_changes_at_once_is_told_at_once() {
    let mut world = World::new(config());
    world.step("0 fire a");
    world.run_until(500);
    let both = ["b", "c"].map(|page| *world.transition(500, page, State::Firing, Severity::P1));
    world.handle(Timestamp::from_secs(500), Input::Transitions(both.to_vec()));
    assert_eq!(world.log[1..], ["500 slack update SPK-1.2 +b +c +a re ts1"]);
}

#[test]
fn mail_without_resolves_and_a_transition_said_twice() {
    let mut world = World::new(receivers(by_page(0), vec![plan("web", &["email"], "")]));
    world.step("0 fire a");
    world.offset = 0;
    world.step("5 fire a P0");
    world.step("60 resolve a");
    world.step("90 end");
    assert_eq!(world.log, ["0 email fire SPK-1.1 +a"]);
}
