//! Configuration and rules: what is right is read, and each mistake is told where it is, all of them at once.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spiked::cli::check::{CheckArgs, Format, run};
use spiked::config::{
    Config, DEFAULT_YAML, Diagnostic, Integration, KeyKind, MailTls, Reader, load, load_rules, parse_str, schedule,
};
use spiked::model::Severity;
use spiked::rule::{Bound, BudgetPer, Condition, GroupBy, Rule, SeverityChoice};

/// Files and variables in memory.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, String>,
    env: BTreeMap<String, String>,
}

impl Memory {
    fn with(files: &[(&str, &str)]) -> Self {
        let mut memory = Self::default();
        for (name, text) in files {
            memory.files.insert(PathBuf::from(name), (*text).to_owned());
        }
        for (name, value) in [
            ("SMTP_PASSWORD", "pw"),
            ("SLACK_URL", "https://hooks.example/T/B/x"),
            ("PD_KEY", "r0"),
            ("HOOK_TOKEN", "t0"),
            ("SHOP_KEY", "k0"),
            ("SIGN", "whsec_AAAA"),
        ] {
            memory.env.insert(name.to_owned(), value.to_owned());
        }
        memory.files.insert("/etc/spiked/admin-token".into(), "admin-of-this-shop\n".into());
        memory.files.insert("/run/secrets/backend".into(), "backend\n".into());
        memory.files.insert("/etc/spiked/deadman".into(), "https://deadman.example/x\n".into());
        memory
    }
}

impl Reader for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(path).or_else(|| self.files.get(path.strip_prefix("./").unwrap_or(path)));
        text.cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let pattern = pattern.trim_start_matches("./");
        let found = self.files.keys().filter(|path| spiked::rule::matcher::glob_matches(pattern, &path.to_string_lossy()));
        Ok(found.cloned().collect())
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.files.keys().any(|file| file.parent() == Some(path))
    }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new("tests/config").join(name)).unwrap()
}

fn rules(text: &str) -> (Vec<Rule>, Vec<Diagnostic>) {
    load_rules(&Memory::with(&[]), &[("rules.yaml".to_owned(), text.to_owned())])
}

fn config(text: &str) -> (Option<Config>, Vec<Diagnostic>) {
    parse_str(&Memory::with(&[]), "spiked.yaml", text)
}

fn lines(found: &[Diagnostic]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn places(found: &[Diagnostic]) -> Vec<(usize, usize)> {
    found.iter().map(|d| (d.line, d.column)).collect()
}

#[test]
fn each_mistake_is_told_where_it_is() {
    let mut names: Vec<String> = std::fs::read_dir("tests/config")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("bad-"))
        .collect();
    names.sort();
    assert!(names.len() > 50);
    let mut all = String::new();
    for name in &names {
        let text = read(name);
        let is_config = !spiked::config::check::is_rule_file(&text) && name != "bad-empty.yaml";
        let files = [(name.clone(), text.clone())];
        let reader = Memory::with(&[]);
        let found = if is_config { parse_str(&reader, name, &text).1 } else { load_rules(&reader, &files).1 };
        assert!(!found.is_empty(), "{name} has a mistake that was not found");
        for diagnostic in &found {
            all.extend([&diagnostic.render(false), "\n\n"]);
        }
    }
    insta::with_settings!({ snapshot_path => "../config", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("bad", all);
    });
}

#[test]
fn all_mistakes_of_one_file_are_told_and_the_good_rules_are_kept() {
    let text = "\
rules:
  - alert: Good
    spike: {of: error_rate}
  - alert: A
    spikes: {of: error_rate}
    for: 5x
  - alert: B
    where: {page: *.html}
    spike: {of: error_rate}
  - alert: C
    spike: {of: eror_rate, min_ratio: 0.1, false_alarms: daily}
    drop: {of: views}
    severity: P9
  - alert: Good
    absent: {of: views, for: 15m}
  - alert: AlsoGood
    absent: {of: views, for: 15m}
";
    let (rules, found) = rules(text);
    let names: Vec<_> = rules.iter().map(|rule| rule.alert.as_str()).collect();
    assert_eq!(names, ["Good", "AlsoGood"]);
    let expected = [(5, 5), (6, 10), (8, 19), (11, 17), (11, 39), (11, 58), (12, 5), (13, 15), (14, 12)];
    assert_eq!(places(&found), expected, "{}", lines(&found));
}

#[test]
fn names_are_unique_over_all_files() {
    let rule = "rules:\n  - {alert: A, spike: }\n".to_owned();
    let files = [("a.yaml".to_owned(), rule.clone()), ("b.yaml".to_owned(), rule)];
    let (rules, found) = load_rules(&Memory::with(&[]), &files);
    assert_eq!(rules.len(), 1);
    assert_eq!(found[0].to_string(), "b.yaml:2:13: error: alert `A` is defined twice (hint: it is already in a.yaml:2)");
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let text = "\
listen: nowhere
lateness: soon
sites:
  shop: {time_zone: Mars, keys: [{kind: brow}]}
route:
  receiver: oncal
  routes:
    - matchers: [a=~\"(\"]
      receiver: nobody
      group_wait: x
receivers:
  - name: oncall
    webhook_configs: [{url: nope, urll: x}]
  - name: second
    slak_configs: []
";
    let (config, found) = config(text);
    assert!(config.is_none());
    let errors: Vec<_> = found.iter().filter(|d| d.is_error()).map(|d| (d.line, d.column)).collect();
    let expected = [(1, 9), (2, 11), (4, 21), (4, 34), (4, 41), (6, 13), (8, 18), (9, 17), (10, 19), (13, 29), (13, 35), (15, 5)];
    assert_eq!(errors, expected, "{}", lines(&found));
}

#[test]
fn good_rules_are_read_with_their_defaults() {
    let (rules, found) = rules(&read("good-rules.yaml"));
    assert_eq!(found, []);
    assert_eq!(rules.len(), 10);
    let full = &rules[0];
    assert!(full.select.series_passes("shop", "production", "/checkout/pay", "payment"));
    assert!(!full.select.series_passes("shop", "staging", "/checkout/pay", "payment"));
    assert!(!full.select.series_passes("shop", "production", "/shop/pay", "payment"));
    assert_eq!(full.by.len(), 4);
    assert_eq!(full.by[3], GroupBy::Tag("plan".into()));
    assert_eq!((full.hold, full.keep_firing), (Duration::ZERO, Duration::from_secs(300)));
    assert_eq!(full.severity, SeverityChoice::Fixed(Severity::P0));
    assert_eq!(full.labels.to_string(), r#"{team="payments", tier="007"}"#);
    assert_eq!(full.annotations.get("runbook_url"), "https://wiki.example/general");
    let Condition::Spike(spike) = &full.condition else { panic!() };
    assert_eq!((spike.min_ratio, spike.min_errors, spike.min_views), (2.0, 5, 10));
    assert_eq!((spike.false_alarms.count, spike.false_alarms.per), (0.001, BudgetPer::Series));
    let Condition::Spike(alone) = &rules[1].condition else { panic!() };
    assert_eq!((alone.min_ratio, alone.min_errors), (1.15, 3));
    assert_eq!(rules[1].by, [GroupBy::Page]);
    assert_eq!(rules[1].hold, Duration::from_secs(60));
    assert_eq!(rules[1].place.line, 24);
    let Condition::Threshold(high) = &rules[6].condition else { panic!() };
    assert_eq!(high.bound, Bound::Above(0.05));
    let Condition::Threshold(low) = &rules[7].condition else { panic!() };
    assert_eq!((low.bound, low.min_views), (Bound::Below(0.2), 1));
    assert_eq!(rules[8].by, []);
    let Condition::Release(worse) = &rules[9].condition else { panic!() };
    assert_eq!((worse.min_ratio, worse.min_errors, worse.within), (2.0, 3, Duration::from_secs(12 * 3600)));
}

#[test]
fn the_configuration_of_the_manual_is_read() {
    let (config, found) = config(&read("good-config.yaml"));
    assert_eq!(found, []);
    let config = config.unwrap();
    let shop = &config.sites["shop"];
    assert_eq!(config.admin_token.as_ref().unwrap().expose(), "admin-of-this-shop");
    assert_eq!(config.external_url, "https://spiked.shop.example");
    assert_eq!((shop.keys[0].key.expose(), shop.keys[0].kind, shop.keys[0].quota), ("k0", KeyKind::Browser, Some(5000.0)));
    assert_eq!((shop.keys[1].key.expose(), shop.keys[1].kind), ("backend", KeyKind::Server));
    assert!(shop.collapse && !config.sites["blog"].collapse);
    assert_eq!(shop.time_zone, chrono_tz::Europe::Berlin);
    assert_eq!(config.sites["blog"].time_zone, chrono_tz::Europe::Vienna);
    assert_eq!(config.sites["blog"].keys[1].key.expose(), "def");
    assert_eq!(shop.funnels[0].steps[1].step, "payment");
    let Integration::Email(mail) = &config.receivers[0].integrations[0] else { panic!() };
    assert_eq!((mail.tls, mail.send_resolved), (MailTls::None, false));
    insta::assert_snapshot!(schedule(&config.route).join("\n"), @r#"
    receiver marketing: first after 30s, changes at most every 5m, repeats every 4h
    receiver oncall (severity=~"P0|P1"): first at once, changes at most every 5m, repeats every 4h
    "#);
}

#[test]
fn an_alertmanager_configuration_pastes_in_unchanged() {
    let (config, found) = config(&read("alertmanager.yml"));
    assert!(found.iter().all(|d| !d.is_error()), "{found:#?}");
    insta::assert_snapshot!(lines(&found), @r#"
    spiked.yaml:2:3: note: `resolve_timeout` is not read: alerts resolve by their own statistics
    spiked.yaml:10:3: note: `opsgenie_api_key` of `global` is Alertmanager's and not read by spiked
    spiked.yaml:12:1: note: `templates` is Alertmanager's and not read by spiked
    spiked.yaml:27:15: warning: `severity="critical"` never matches: severities are P0, P1, P2 and P3 (hint: write severity="P0")
    spiked.yaml:77:9: note: `headers` of `email_configs` is Alertmanager's and not read by spiked
    spiked.yaml:83:9: note: `description` of `pagerduty_configs` is Alertmanager's and not read by spiked
    spiked.yaml:86:9: note: `channel` of `slack_configs` is Alertmanager's and not read by spiked
    spiked.yaml:88:9: note: `title` of `slack_configs` is Alertmanager's and not read by spiked
    spiked.yaml:91:11: note: `follow_redirects` of `http_config` is Alertmanager's and not read by spiked
    spiked.yaml:93:5: warning: `telegram_configs` is not supported yet: receiver `team-db-pager` will not use it
    "#);
    let config = config.unwrap();
    assert_eq!(config.route.routes.len(), 3);
    assert_eq!(config.route.routes[1].matchers.len(), 2);
    assert!(config.route.routes[1].go_on);
    assert_eq!(config.route.routes[0].routes[0].repeat_interval, Duration::from_secs(3 * 3600));
    assert_eq!(config.route.routes[0].routes[0].path, r#"{}/{service=~"foo1|foo2|baz"}/{severity="critical"}"#);
    assert_eq!(config.time_intervals[1].spans[1].days_of_month, [(1, 5), (-3, -1)]);
    assert_eq!(config.time_intervals[0].spans[0].times, [(480, 1080)]);
    assert_eq!(config.time_intervals[0].spans[0].weekdays, [(1, 5)]);
    let Integration::Email(mail) = &config.receivers[0].integrations[0] else { panic!() };
    assert_eq!(mail.to, ["team-shop+alerts@shop.example", "second@shop.example"]);
    assert_eq!((mail.auth_password.as_ref().unwrap().expose(), mail.tls), ("pw", MailTls::Required));
    let Integration::Slack(slack) = &config.receivers[2].integrations[0] else { panic!() };
    assert_eq!(slack.api_url.expose(), "https://hooks.example/T/B/x");
}

#[test]
fn the_commented_defaults_are_the_defaults() {
    let (config, found) = config(DEFAULT_YAML);
    assert_eq!(found, []);
    assert_eq!(format!("{:?}", config.unwrap()), format!("{:?}", Config::default()));
    let (config, found) = load(&Memory::default(), None);
    assert_eq!((config.unwrap().listen.as_str(), found.len()), ("127.0.0.1:7745", 0));
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let mut memory = Memory::with(&[
        ("/srv/spiked.yaml", "rule_files: [rules/*.yaml]\nadmin_token_file: token\n"),
        ("/srv/token", "x-long-enough-a-token"),
    ]);
    memory.files.insert("/srv/rules/a.yaml".into(), "rules: [{alert: A, spike: }]".into());
    let (config, found) = load(&memory, Some(Path::new("/srv/spiked.yaml")));
    assert_eq!(found, []);
    let (files, _) = spiked::config::read_rule_files(&memory, &config.unwrap());
    assert_eq!(files[0].0, "/srv/rules/a.yaml");
}

#[test]
fn the_shops_rules_are_in_order() {
    let mut files = Vec::new();
    for name in ["first-seen", "shop", "traffic"] {
        let path = format!("rules/{name}.yaml");
        files.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
    }
    let (rules, found) = load_rules(&Memory::default(), &files);
    assert_eq!(found, []);
    assert_eq!(rules.len(), 9);
}

#[track_caller]
fn spiked_check(files: &[(&str, &str)], named: &[&str], format: Format, code: u8) -> String {
    let args = CheckArgs { files: named.iter().map(PathBuf::from).collect(), format, color: false };
    let mut out = Vec::new();
    assert_eq!(run(&args, &Memory::with(files), &mut out), code);
    String::from_utf8(out).unwrap()
}

#[test]
fn check_tells_findings_schedule_and_sum() {
    let rule = "rules: [{alert: A, spike: }]";
    let files = [
        ("spiked.yaml", "rule_files: [rules/*.yaml]\n"),
        ("rules/a.yaml", rule),
        ("rules/b.yaml", "rules: [{alert: B, drip: }]"),
    ];
    insta::assert_snapshot!(spiked_check(&files, &[], Format::Text, 1), @r"
    error: unknown condition or key `drip`
     --> rules/b.yaml:1:20
      |
    1 | rules: [{alert: B, drip: }]
      |                    ^^^^
      |
      = hint: did you mean `drop`?

    ./spiked.yaml: who hears, and when
      receiver terminal: first after 30s, changes at most every 5m, repeats every 4h
    3 files, 1 rule, 1 error
    ");
    insta::assert_snapshot!(spiked_check(&files, &["rules/a.yaml"], Format::Text, 0), @"1 file, 1 rule, 0 errors");
    insta::assert_snapshot!(spiked_check(&files, &["rules/b.yaml"], Format::Json, 1), @r#"
    [
      {
        "file": "rules/b.yaml",
        "line": 1,
        "column": 20,
        "level": "error",
        "message": "unknown condition or key `drip`",
        "hint": "did you mean `drop`?"
      }
    ]
    "#);
    spiked_check(&files, &["rules"], Format::Text, 1);
    spiked_check(&files, &["missing.yaml"], Format::Text, 2);
}
