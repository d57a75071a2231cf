//! Every metric, declared in one place: its HELP text, its unit, its labels and what bounds them.
//!
//! No label takes a value from outside the process but `receiver`, which the configuration bounds. Pages, sites, users and
//! keys never are labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::process;
use crate::model::Outcome;

/// Labels of [`Metrics::ingest_lines`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LineLabels {
    /// The format it came in: a closed set (`native`, `sentry`, …).
    pub source: &'static str,
    /// One of the six outcomes.
    pub outcome: &'static str,
    /// The reason, from a closed set; empty for accepted, duplicate and late.
    pub reason: &'static str,
}

/// Labels of the request metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern, never the path as sent.
    pub path: &'static str,
    /// The status code that was answered.
    pub status: u16,
}

/// Labels of [`Metrics::transitions`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// `firing` or `resolved`.
    pub state: &'static str,
}

/// Labels of [`Metrics::deliveries`]; bounded by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// The receiver's name.
    pub receiver: String,
    /// `slack`, `email`, …
    pub channel: String,
    /// Why it was sent: `fire`, `update`, `repeat` or `resolve`.
    pub reason: &'static str,
    /// How it ended: `delivered`, `superseded`, `folded`, `rerouted`, `given_up` or `undeliverable`.
    pub result: &'static str,
}

/// Labels of [`Metrics::delivery_attempts`]; bounded by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// The receiver's name.
    pub receiver: String,
    /// `slack`, `email`, …
    pub channel: String,
    /// `delivered`, `transient`, `partial`, `bad_message` or `bad_target`.
    pub result: &'static str,
}

/// Labels of [`Metrics::targets_stopped`] and [`Metrics::delivery_waiting`]; bounded by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TargetLabels {
    /// The receiver's name.
    pub receiver: String,
    /// `slack`, `email`, …
    pub channel: String,
}

/// Labels of [`Metrics::evidence`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LevelLabel {
    /// `near` (a tenth of the bar) or `over` (the bar).
    pub level: &'static str,
}

/// Labels of [`Metrics::delivery_seconds`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChannelLabel {
    /// `slack`, `email`, …
    pub channel: String,
}

/// Labels of [`Metrics::queue_entries`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabel {
    /// `wal` (appends that wait to become durable) or `outbox` (messages that are not settled).
    pub queue: &'static str,
}

/// Labels of [`Metrics::config_reloads`] and [`Metrics::checkpoints`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// `success` or `failure`.
    pub result: &'static str,
}

/// The metrics of one process. Fields may be changed from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    declared: Vec<Declared>,
    /// The same as `ingest_lines`, for those who list it.
    outcomes: Mutex<BTreeMap<(&'static str, Outcome), u64>>,
    /// Targets that [`targets`](Self::targets) was last told of.
    known_targets: Mutex<BTreeSet<(String, String)>>,
    /// Lines by source format, outcome and reason; they add up to what came in.
    pub ingest_lines: Family<LineLabels, Counter>,
    /// Bytes of request bodies as sent.
    pub ingest_bytes: Counter,
    /// HTTP requests by route and status.
    pub http_requests: Family<RequestLabels, Counter>,
    /// Panics of request handlers, each answered with 500.
    pub http_panics: Counter,
    /// Requests refused for want of a sound key or token.
    pub auth_failures: Counter,
    /// Events handed to the watch.
    pub watch_events: Counter,
    /// Series held now.
    pub watch_series: Gauge,
    /// Alert transitions by state.
    pub transitions: Family<StateLabel, Counter>,
    /// Time to judge one input.
    pub watch_evaluation_seconds: Histogram,
    /// Bytes written to the log.
    pub wal_written_bytes: Counter,
    /// Time of one sync of the log.
    pub wal_sync_seconds: Histogram,
    /// Writes or syncs of the log that failed.
    pub wal_failures: Counter,
    /// Entries of the log that could not be read at the start.
    pub wal_lost_entries: Counter,
    /// The offset that the next entry of the log gets.
    pub wal_next_offset: Gauge,
    /// Checkpoints written, by result.
    pub checkpoints: Family<ResultLabel, Counter>,
    /// The offset of the last checkpoint.
    pub checkpoint_offset: Gauge,
    /// Writes of the database that failed.
    pub store_failures: Counter,
    /// Incidents open now.
    pub desk_incidents: Gauge,
    /// Messages that left the queue, by receiver, channel, reason and how they ended.
    pub deliveries: Family<DeliveryLabels, Counter>,
    /// Tries to deliver by receiver, channel and the service's answer.
    pub delivery_attempts: Family<AttemptLabels, Counter>,
    /// Messages that wait, by receiver and channel.
    pub delivery_waiting: Family<TargetLabels, Gauge>,
    /// How long the oldest waiting message has waited.
    pub delivery_oldest_seconds: Gauge,
    /// Targets that take nothing until someone repairs them (1).
    pub targets_stopped: Family<TargetLabels, Gauge>,
    /// Outgoing signs of life by result.
    pub heartbeats: Family<ResultLabel, Counter>,
    /// Times that the evidence behind a spike rule rose to a level.
    pub evidence: Family<LevelLabel, Counter>,
    /// Episodes that came again at their time and were held back.
    pub held_back: Counter,
    /// Rules in force.
    pub rules: Gauge,
    /// Mistakes in the configuration and its rules as they are written now.
    pub config_mistakes: Gauge,
    /// From the decision to the service's answer, by channel.
    pub delivery_seconds: Family<ChannelLabel, Histogram, fn() -> Histogram>,
    /// Entries that wait, by queue.
    pub queue_entries: Family<QueueLabel, Gauge>,
    /// Reloads of the configuration by result.
    pub config_reloads: Family<ResultLabel, Counter>,
    /// Whether the last reload was taken (1) or refused (0).
    pub config_last_reload_successful: Gauge,
    /// When the configuration was last taken, in Unix seconds.
    pub config_last_reload_success_seconds: Gauge,
}

/// 10 µs to 10 s.
const SECONDS: [f64; 13] = [1e-5, 5e-5, 2e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 2.5, 10.0];
/// 5 ms to 10 min: a message that waited for its receiver is late, not lost.
const LATENCY: [f64; 13] = [5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

fn delivery_histogram() -> Histogram {
    Histogram::new(LATENCY)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What there is to know of a metric before it counts anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// As samples are named, without `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its HELP text.
    pub help: String,
}

/// Registers what it is given and hands it back, so that declaration and field stand on one line.
struct Declare(Registry, Vec<Declared>);

impl Declare {
    fn note(&mut self, name: &str, help: &str, metric: &impl Metric) {
        let kind = match metric.metric_type() {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        let name = format!("spiked_{name}{}", if kind == "counter" { "_total" } else { "" });
        self.1.push(Declared { name, kind, help: help.to_owned() });
    }

    fn plain<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.note(name, help, &metric);
        self.0.register(name, help, metric.clone());
        metric
    }

    fn unit<M: Metric + Clone>(&mut self, name: &str, help: &str, unit: Unit, metric: M) -> M {
        self.note(&format!("{name}_{}", unit.as_str()), help, &metric);
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let mut d = Declare(Registry::with_prefix("spiked"), Vec::new());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        d.0.register("build", "What is running", version);
        Self {
            ingest_lines: d.plain("ingest_lines", "Lines by source format, outcome and reason", Family::default()),
            ingest_bytes: d.unit("ingest_body", "Request bodies as sent", Unit::Bytes, Counter::default()),
            http_requests: d.plain("http_requests", "HTTP requests by route and status", Family::default()),
            http_panics: d.plain("http_panics", "Panics of request handlers, each answered with 500", Counter::default()),
            auth_failures: d.plain("auth_failures", "Requests without a sound key or token", Counter::default()),
            watch_events: d.plain("watch_events", "Events handed to the watch", Counter::default()),
            watch_series: d.plain("watch_series", "Series held now", Gauge::default()),
            transitions: d.plain("alert_transitions", "Alert transitions by state", Family::default()),
            watch_evaluation_seconds: d.unit(
                "watch_evaluation",
                "Time to judge one input",
                Unit::Seconds,
                Histogram::new(SECONDS),
            ),
            wal_written_bytes: d.unit("wal_written", "Written to the log", Unit::Bytes, Counter::default()),
            wal_sync_seconds: d.unit("wal_sync", "Time of one sync of the log", Unit::Seconds, Histogram::new(SECONDS)),
            wal_failures: d.plain("wal_failures", "Writes or syncs of the log that failed", Counter::default()),
            wal_lost_entries: d.plain("wal_lost_entries", "Entries of the log lost to damage", Counter::default()),
            wal_next_offset: d.plain("wal_next_offset", "The offset that the next entry of the log gets", Gauge::default()),
            checkpoints: d.plain("checkpoints", "Checkpoints by result", Family::default()),
            checkpoint_offset: d.plain("checkpoint_offset", "The log offset of the last checkpoint", Gauge::default()),
            store_failures: d.plain("store_failures", "Writes of the database that failed", Counter::default()),
            desk_incidents: d.plain("incidents_open", "Incidents open now", Gauge::default()),
            deliveries: d.plain("deliveries", "Messages that left the queue, by reason and how they ended", Family::default()),
            delivery_attempts: d.plain("delivery_attempts", "Tries to deliver, by the service's answer", Family::default()),
            delivery_waiting: d.plain("delivery_waiting", "Messages that wait to be delivered", Family::default()),
            delivery_oldest_seconds: d.unit(
                "delivery_oldest",
                "Wait of the oldest waiting message",
                Unit::Seconds,
                Gauge::default(),
            ),
            targets_stopped: d.plain("target_stopped", "Whether a target takes nothing until it is repaired", Family::default()),
            heartbeats: d.plain("heartbeats", "Outgoing signs of life by result", Family::default()),
            evidence: d.plain("evidence_rises", "Rises of a spike rule's evidence near or over its bar", Family::default()),
            held_back: d.plain("recurrences_held_back", "Episodes that came again and were not told again", Counter::default()),
            rules: d.plain("rules", "Rules in force", Gauge::default()),
            config_mistakes: d.plain("config_mistakes", "Mistakes in the configuration as it is written now", Gauge::default()),
            delivery_seconds: d.unit(
                "delivery_latency",
                "From the decision to the service's answer",
                Unit::Seconds,
                Family::new_with_constructor(delivery_histogram as fn() -> Histogram),
            ),
            queue_entries: d.plain("queue_entries", "Entries that wait, by queue", Family::default()),
            config_reloads: d.plain("config_reloads", "Reloads of the configuration by result", Family::default()),
            config_last_reload_successful: d.plain(
                "config_last_reload_successful",
                "Whether the last reload was taken (1) or refused (0)",
                Gauge::default(),
            ),
            config_last_reload_success_seconds: d.unit(
                "config_last_reload_success_timestamp",
                "When the configuration was last taken (Unix)",
                Unit::Seconds,
                Gauge::default(),
            ),
            registry: d.0,
            declared: d.1,
            outcomes: Mutex::default(),
            known_targets: Mutex::default(),
        }
    }

    /// Counts lines of one source that ended in one outcome.
    pub fn lines(&self, source: &'static str, outcome: Outcome, count: u64) {
        if count == 0 {
            return;
        }
        *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry((source, outcome)).or_default() += count;
        let labels = LineLabels { source, outcome: outcome.as_str(), reason: outcome.reason() };
        self.ingest_lines.get_or_create(&labels).inc_by(count);
    }

    /// Lines by source and outcome, in that order.
    pub fn outcomes(&self) -> Vec<(&'static str, Outcome, u64)> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.iter().map(|((source, outcome), count)| (*source, *outcome, *count)).collect()
    }

    /// Counts one answered request.
    pub fn request(&self, path: &'static str, status: u16) {
        self.http_requests.get_or_create(&RequestLabels { path, status }).inc();
    }

    /// Counts one reload at `now` (Unix seconds). `mistakes` are those that were found; one that failed for another reason has
    /// at least one.
    pub fn reload(&self, mistakes: usize, now: i64) {
        let result = if mistakes == 0 { "success" } else { "failure" };
        self.config_reloads.get_or_create(&ResultLabel { result }).inc();
        self.configured(mistakes, now);
    }

    /// Says whether the configuration is in force as it is written.
    pub fn configured(&self, mistakes: usize, now: i64) {
        self.config_mistakes.set(mistakes as i64);
        self.config_last_reload_successful.set(i64::from(mistakes == 0));
        if mistakes == 0 {
            self.config_last_reload_success_seconds.set(now);
        }
    }

    /// Counts one message that left the queue.
    pub fn delivery(&self, receiver: &str, channel: &str, reason: &'static str, result: &'static str) {
        let labels = DeliveryLabels { receiver: receiver.to_owned(), channel: channel.to_owned(), reason, result };
        self.deliveries.get_or_create(&labels).inc();
    }

    /// Counts one try to deliver.
    pub fn attempt(&self, receiver: &str, channel: &str, result: &'static str) {
        let labels = AttemptLabels { receiver: receiver.to_owned(), channel: channel.to_owned(), result };
        self.delivery_attempts.get_or_create(&labels).inc();
    }

    /// Says what waits and which targets are stopped; targets that are not named any more are forgotten.
    pub fn targets(
        &self,
        waiting: &BTreeMap<(String, String), u64>,
        stopped: &BTreeMap<(String, String), bool>,
        oldest_secs: i64,
    ) {
        let labels =
            |(receiver, channel): &(String, String)| TargetLabels { receiver: receiver.clone(), channel: channel.clone() };
        for (target, count) in waiting {
            self.delivery_waiting.get_or_create(&labels(target)).set(*count as i64);
        }
        for (target, is_stopped) in stopped {
            self.targets_stopped.get_or_create(&labels(target)).set(i64::from(*is_stopped));
        }
        let mut known = self.known_targets.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.iter().filter(|target| !waiting.contains_key(*target)) {
            self.delivery_waiting.remove(&labels(gone));
            self.targets_stopped.remove(&labels(gone));
        }
        *known = waiting.keys().cloned().collect();
        drop(known);
        self.delivery_oldest_seconds.set(oldest_secs);
    }

    /// Name, kind and HELP of every metric, in order of declaration.
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.registry).expect("writing to a string does not fail");
        out.push_str(&process::encode());
        text::encode_eof(&mut out).expect("writing to a string does not fail");
        out
    }

    /// The content type of [`encode`](Self::encode).
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Shared, as everything that reports holds it.
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Refusal;

    #[test]
    fn every_metric_has_help_a_prefix_and_its_unit() {
        let metrics = Metrics::new();
        metrics.lines("native", Outcome::Invalid(Refusal::Syntax), 2);
        metrics.request("/v1/events", 200);
        metrics.reload(0, 1_763_700_000);
        metrics.delivery("web-team", "slack", "fire", "delivered");
        metrics.wal_sync_seconds.observe(0.001);
        let out = metrics.encode();
        for line in [
            r#"spiked_ingest_lines_total{source="native",outcome="invalid",reason="syntax"} 2"#,
            r#"spiked_http_requests_total{path="/v1/events",status="200"} 1"#,
            "spiked_config_last_reload_success_timestamp_seconds 1763700000",
            "# UNIT spiked_wal_sync_seconds seconds",
            "spiked_wal_sync_seconds_count 1",
            concat!("spiked_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            r#"spiked_deliveries_total{receiver="web-team",channel="slack",reason="fire",result="delivered"} 1"#,
            "# EOF",
        ] {
            assert!(out.lines().any(|found| found == line), "{line} is missing in\n{out}");
        }
        for help in out.lines().filter(|line| line.starts_with("# HELP")) {
            // Those of the process have the names that every Prometheus client gives them.
            let named = help.strip_prefix("# HELP spiked_").or_else(|| help.strip_prefix("# HELP process_"));
            let text = named.and_then(|rest| rest.split_once(' ')).map_or("", |(_, text)| text);
            assert!(text.len() > 10, "{help}");
        }
    }
}
