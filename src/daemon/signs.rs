//! Signs of life: what is measured once a second, and the heartbeat to the outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::desk::Desk;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{LevelLabel, QueueLabel, ResultLabel};
use crate::watch::Tally;

use super::clock;
use super::shared::Shared;

/// How long the other side of a heartbeat may take: the next one must not wait for this one.
const BEAT_TIMEOUT: Duration = Duration::from_secs(10);

type PerTarget<T> = BTreeMap<(String, String), T>;

/// Measures the queues, and what the watch has weighed.
pub async fn gauges(shared: Arc<Shared>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut counted = Tally::default();
    loop {
        seconds.tick().await;
        let metrics = &shared.metrics;
        let set = |queue, length: usize| {
            metrics.queue_entries.get_or_create(&QueueLabel { queue }).set(length as i64);
        };
        set("wal", shared.committer.queue_len());
        let live = shared.live();
        metrics.rules.set(live.settings.rules.len() as i64);
        let plans = live.settings.desk().receivers.into_iter().flat_map(|receiver| receiver.targets);
        let known: PerTarget<u64> = plans.map(|plan| ((plan.target.receiver, plan.target.channel), 0)).collect();
        if let Some((waiting, stopped, oldest)) = shared.read_desk(move |desk, _| targets(desk, known)).await {
            set("outbox", waiting.values().sum::<u64>() as usize);
            metrics.targets(&waiting, &stopped, oldest);
        }
        if let Some(tally) = shared.read_watch(|watch, _| watch.tally()).await {
            count(metrics, &counted, &tally);
            counted = tally;
        }
    }
}

/// What waits for each target, which are stopped, and for how many seconds the oldest message has waited.
fn targets(desk: &Desk, mut waiting: PerTarget<u64>) -> (PerTarget<u64>, PerTarget<bool>, i64) {
    let now = clock::now();
    let mut oldest = 0;
    for queued in desk.deliveries() {
        let target = &queued.delivery.target;
        *waiting.entry((target.receiver.clone(), target.channel.clone())).or_default() += 1;
        oldest = oldest.max(now.since(queued.delivery.created).as_secs() as i64);
    }
    let mut stopped: PerTarget<bool> = waiting.keys().map(|target| (target.clone(), false)).collect();
    for state in desk.targets().filter(|state| state.stopped.is_some()) {
        if let Some(is_stopped) = stopped.get_mut(&(state.target.receiver.clone(), state.target.channel.clone())) {
            *is_stopped = true;
        }
    }
    (waiting, stopped, oldest)
}

fn count(metrics: &Metrics, old: &Tally, new: &Tally) {
    let level = |level, count| metrics.evidence.get_or_create(&LevelLabel { level }).inc_by(count);
    level("near", new.near.saturating_sub(old.near));
    level("over", new.over.saturating_sub(old.over));
    metrics.held_back.inc_by(new.held_back.saturating_sub(old.held_back));
}

/// Tells the outside that spiked is alive and takes events.
pub async fn heartbeat(shared: Arc<Shared>) {
    let http = crate::config::HttpConfig { timeout: Some(BEAT_TIMEOUT), ..crate::config::HttpConfig::default() };
    let client = match crate::notifier::http::client(&http) {
        Ok(client) => client,
        Err(error) => return tracing::error!(event = "heartbeat_failed", %error),
    };
    let mut failing = false;
    loop {
        let live = shared.live();
        let Some(beat) = live.settings.config.heartbeat.clone() else {
            tokio::time::sleep(Duration::from_secs(10)).await;
            continue;
        };
        if crate::web::Backend::ready(shared.as_ref()).is_ok() {
            let failed = match client.get(beat.url.expose()).send().await {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
                Err(error) => Some(error.without_url().to_string()),
            };
            let result = if failed.is_none() { "success" } else { "failure" };
            shared.metrics.heartbeats.get_or_create(&ResultLabel { result }).inc();
            // Said when it changes: it may fail each minute for days.
            match failed {
                Some(reason) if !failing => tracing::warn!(event = "heartbeat_failed", reason, "it is tried again each time"),
                None if failing => tracing::info!(event = "heartbeat_back"),
                _ => {}
            }
            failing = result == "failure";
        }
        tokio::time::sleep(beat.every).await;
    }
}
