//! Text to a checked configuration, with every mistake at once.
//!
//! Two layers: `raw` is what serde reads (unknown keys refused, every value with its place), `check` turns it into the types
//! below and into `rule::Rule`, `dispatch::Route`, … where nothing is optional that must be there. All mistakes are collected as
//! diagnostics with file, line, column, excerpt and hint. Files are read through a reader that is passed in.

pub mod budget;
pub mod check;
pub mod conditions;
pub mod diagnostic;
mod http;
mod intervals;
pub mod matchers;
pub mod raw;
mod receivers;
pub mod routes;
pub mod rule_set;
mod rules;
pub mod schema;
mod sites;
pub mod yaml;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use crate::dispatch::route::Route;
use crate::dispatch::time_interval::TimeInterval;
use crate::model::Secret;
use crate::model::limits::Limits;

pub use check::{load, parse_str, read_rule_files};
pub use diagnostic::{Diagnostic, Level};
pub use routes::schedule;
pub use rule_set::{Broken, RuleSet, Template, load_rules, load_rules_for, read_rules};

/// The name of the receiver that is there without being written: the terminal that spiked runs in.
pub const TERMINAL: &str = "terminal";

/// Where a configuration is looked for when none is named, in order.
pub const DEFAULT_PLACES: [&str; 2] = ["./spiked.yaml", "/etc/spiked/spiked.yaml"];

/// The defaults as a commented file, as `spiked init` may write it.
pub const DEFAULT_YAML: &str = include_str!("default.yaml");

/// The hands of the check: whoever calls it decides which files and variables it may see.
pub trait Reader {
    /// The text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// The files that a pattern with `*` in its last part names, sorted.
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>>;
    /// Whether the path is a folder.
    fn is_folder(&self, path: &Path) -> bool;
}

/// A world without files and variables.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Reader for Nothing {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn glob(&self, _: &str) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn is_folder(&self, _: &Path) -> bool {
        false
    }
}

/// A checked configuration: what `spiked.yaml` says, with all defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `listen:` address and port of HTTP. Default `127.0.0.1:7745`.
    pub listen: String,
    /// `data_dir:`. Default `./spiked-data`.
    pub data_dir: PathBuf,
    /// `rule_files:` globs. Default `./rules/*.yaml`.
    pub rule_files: Vec<String>,
    /// `external_url:` the base of links in messages. Default `http://` + `listen`.
    pub external_url: String,
    /// `admin_token` or `admin_token_file`.
    pub admin_token: Option<Secret>,
    /// `sites:` by name.
    pub sites: BTreeMap<String, Site>,
    /// What a site has that is not named: `pages`, `time_zone` and `value` at the top level.
    pub default_site: Site,
    /// `sources:`
    pub sources: Vec<Source>,
    /// `lateness:`. Default 5 m.
    pub lateness: Duration,
    /// `limits:`
    pub limits: Limits,
    /// `privacy.sample_messages`. Default true.
    pub sample_messages: bool,
    /// `heartbeat:` an outgoing sign of life.
    pub heartbeat: Option<Heartbeat>,
    /// `route:` the tree. Default: everything to the receiver `terminal`.
    pub route: Route,
    /// `receivers:`
    pub receivers: Vec<Receiver>,
    /// `inhibit_rules:`
    pub inhibit_rules: Vec<crate::dispatch::inhibit::InhibitRule>,
    /// `time_intervals:`
    pub time_intervals: Vec<TimeInterval>,
}

impl Default for Config {
    /// What holds with no file at all, as `default.yaml` says it.
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7745".to_owned(),
            data_dir: PathBuf::from("./spiked-data"),
            rule_files: vec!["./rules/*.yaml".to_owned()],
            external_url: "http://127.0.0.1:7745".to_owned(),
            admin_token: None,
            sites: BTreeMap::new(),
            default_site: sites::default_site(),
            sources: Vec::new(),
            lateness: crate::model::limits::LATENESS,
            limits: Limits::default(),
            sample_messages: true,
            heartbeat: None,
            route: routes::default_route(),
            receivers: vec![check::terminal()],
            inhibit_rules: Vec::new(),
            time_intervals: Vec::new(),
        }
    }
}

impl Config {
    /// The tags that any site declares, sorted.
    pub fn declared_tags(&self) -> Vec<String> {
        let tags: std::collections::BTreeSet<&String> = self.sites.values().flat_map(|site| &site.tags).collect();
        tags.into_iter().cloned().collect()
    }
}

/// One site.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// `keys:`
    pub keys: Vec<Key>,
    /// `time_zone:` for seasons and messages. Default UTC.
    pub time_zone: Tz,
    /// `pages.templates:` in order; the first that fits names the page.
    pub templates: Vec<String>,
    /// `pages.collapse:` auto (true) or off.
    pub collapse: bool,
    /// `funnels:` in order of their writing.
    pub funnels: Vec<Funnel>,
    /// `value:`
    pub value: Option<Value>,
    /// `owners:` the first that fits names the owner.
    pub owners: Vec<Owner>,
    /// `tags:` declared tag names.
    pub tags: Vec<String>,
}

/// An ingest key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key itself.
    pub key: Secret,
    /// What it may do.
    pub kind: KeyKind,
    /// Origins that may use it; empty: any (server keys).
    pub origins: Vec<String>,
    /// Events per second; `None`: no quota.
    pub quota: Option<f64>,
}

/// `kind:` of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Public: may only write, from listed origins.
    Browser,
    /// Kept by a backend.
    Server,
}

/// `funnels:` one funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funnel {
    /// Its name.
    pub name: String,
    /// In order.
    pub steps: Vec<FunnelStep>,
}

/// One step of a funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunnelStep {
    /// Its name.
    pub step: String,
    /// Page globs.
    pub pages: Vec<String>,
}

/// `value:` what an order is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `{event: purchase, currency: EUR}`: learned from the named event.
    Event {
        /// The event's name.
        event: String,
        /// ISO 4217 code.
        currency: String,
    },
    /// `{order: 84, currency: EUR}`: a fixed value.
    Order {
        /// Value of an order.
        order: f64,
        /// ISO 4217 code.
        currency: String,
    },
}

/// `owners:` one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Page globs.
    pub pages: Vec<String>,
    /// The owner's name.
    pub owner: String,
    /// Slack handle to mention, or empty.
    pub slack: String,
    /// Mail address, or empty.
    pub email: String,
}

/// `sources:` one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The access log's path.
    pub access_log: PathBuf,
    /// Its format.
    pub format: LogFormat,
    /// Site of its events.
    pub site: String,
    /// Environment of its events.
    pub env: String,
}

/// `format:` of an access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// nginx's and Apache's combined format.
    Combined,
    /// One JSON object a line.
    Json,
    /// An nginx `log_format` string.
    Custom(String),
}

/// `heartbeat:`
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Where to.
    pub url: Secret,
    /// How often.
    pub every: Duration,
}

impl Heartbeat {
    /// `every:` where it is not said.
    pub const EVERY: Duration = Duration::from_secs(60);
}

/// One receiver: a name and its integrations.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name, as routes say it.
    pub name: String,
    /// Whom it speaks to.
    pub view: View,
    /// The readers' clock; the site's zone where not said.
    pub time_zone: Option<Tz>,
    /// Who hears what this receiver could not be told; empty: nobody.
    pub fallback: String,
    /// Its integrations in order of writing.
    pub integrations: Vec<Integration>,
}

/// `view:` of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Engineers: step, release, error, rule.
    #[default]
    Technical,
    /// Marketers: plain words, no error class, no rule name.
    Business,
}

/// One entry of `slack_configs`, `email_configs`, `pagerduty_configs`, `webhook_configs`, or the terminal.
#[derive(Clone, Debug)]
pub enum Integration {
    /// Slack incoming webhook.
    Slack(Slack),
    /// SMTP.
    Email(Email),
    /// PagerDuty Events v2.
    PagerDuty(PagerDuty),
    /// Generic webhook.
    Webhook(Webhook),
    /// The terminal that spiked runs in (standard error).
    Terminal,
}

impl Integration {
    /// The channel's name, as in `Target::channel`.
    pub const fn channel(&self) -> &'static str {
        match self {
            Self::Slack(_) => "slack",
            Self::Email(_) => "email",
            Self::PagerDuty(_) => "pagerduty",
            Self::Webhook(_) => "webhook",
            Self::Terminal => "terminal",
        }
    }
}

/// One of `slack_configs`.
#[derive(Clone, Debug)]
pub struct Slack {
    /// `api_url`: an incoming webhook.
    pub api_url: Secret,
    /// `send_resolved`. Default true.
    pub send_resolved: bool,
    /// `http_config`
    pub http: HttpConfig,
}

/// One of `email_configs`, with what `global` says filled in.
#[derive(Clone, Debug)]
pub struct Email {
    /// Recipients.
    pub to: Vec<String>,
    /// Sender.
    pub from: String,
    /// `host:port`
    pub smarthost: String,
    /// What EHLO says; empty: the sender's domain.
    pub hello: String,
    /// User name; empty: no authentication.
    pub auth_username: String,
    /// Password.
    pub auth_password: Option<Secret>,
    /// `require_tls` and port: how the connection is protected.
    pub tls: MailTls,
    /// A PEM file of further certification authorities (`tls_config.ca_file`).
    pub ca_file: Option<PathBuf>,
    /// `send_resolved`. Default true.
    pub send_resolved: bool,
}

/// Protection of an SMTP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// STARTTLS or nothing is sent.
    Required,
    /// TLS from the first byte (port 465).
    Implicit,
    /// STARTTLS where offered.
    Opportunistic,
    /// Never (loopback).
    None,
}

/// One of `pagerduty_configs`.
#[derive(Clone, Debug)]
pub struct PagerDuty {
    /// `routing_key` (Events v2).
    pub routing_key: Secret,
    /// Endpoint. Default `https://events.pagerduty.com/v2/enqueue`.
    pub url: String,
    /// `send_resolved`. Default true.
    pub send_resolved: bool,
    /// `http_config`
    pub http: HttpConfig,
}

/// One of `webhook_configs`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to.
    pub url: Secret,
    /// Standard Webhooks signing key (`whsec_…`), ours.
    pub signing_secret: Option<Secret>,
    /// `max_alerts`; 0: all.
    pub max_alerts: usize,
    /// `send_resolved`. Default true.
    pub send_resolved: bool,
    /// `http_config`
    pub http: HttpConfig,
}

/// The part of `http_config` that is read: credentials, proxy, trust.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// `authorization.credentials` or `bearer_token`.
    pub bearer_token: Option<Secret>,
    /// `basic_auth`
    pub basic_auth: Option<(String, Secret)>,
    /// `proxy_url`
    pub proxy_url: Option<Secret>,
    /// `tls_config.ca_file`
    pub ca_file: Option<PathBuf>,
    /// Whole time for one attempt. Default 15 s.
    pub timeout: Option<Duration>,
}
