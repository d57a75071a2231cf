//! What the API and the page show, as plain data from the two cores.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::alert::Incident;
use crate::config::View;
use crate::desk::Desk;
use crate::model::{Notification, Reason, Timestamp};
use crate::render::{Audience, tell};
use crate::rule::Rule;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::watch::{SeriesQuery, SeriesRow, Watch};
use crate::web;
use crate::web::overview::{IncidentRow, PageRow, SiteTable};

/// Incidents and deliveries listed.
const LISTED: u32 = 200;
/// Pages shown for one site.
const PAGES_SHOWN: usize = 60;
/// What the table's counts cover.
const TABLE_SECS: i64 = 3600;
/// The small chart: steps of two minutes.
const SPARK: (i64, usize) = (120, 30);

/// Rows of `GET /api/v1/series`.
pub fn series(watch: &Watch, query: &web::SeriesQuery, now: Timestamp) -> Vec<web::SeriesRow> {
    let query = SeriesQuery {
        window_secs: query.window.as_secs() as i64,
        site: query.site.clone(),
        env: query.env.clone(),
        page: query.page.clone(),
        step: query.step.clone(),
    };
    let named = |text: String| (!text.is_empty()).then_some(text);
    let row = |row: SeriesRow| web::SeriesRow {
        site: row.site,
        env: row.env,
        page: named(row.page),
        step: named(row.step),
        views: row.views,
        errors: row.errors,
        sessions: row.sessions,
        affected_sessions: row.affected_sessions,
        error_rate: row.error_rate,
        usual_rate: row.usual_rate,
    };
    watch.series(&query, now).into_iter().map(row).collect()
}

/// All incidents that are kept, newest first.
pub fn incidents(desk: &Desk, store: &Store) -> Vec<Value> {
    newest(desk, store).iter().map(incident_json).collect()
}

/// One incident.
pub fn incident(desk: &Desk, store: &Store, number: u64) -> Option<Value> {
    let open = desk.incidents().find(|incident| incident.number == number).cloned();
    open.or_else(|| store.incident(number).ok().flatten()).map(|incident| incident_json(&incident))
}

/// From the store, but what the desk knows better: the store may be behind while it cannot be written.
fn newest(desk: &Desk, store: &Store) -> Vec<Incident> {
    let stored = store.incidents(LISTED).unwrap_or_else(|error| {
        tracing::warn!(event = "store_unreadable", %error);
        Vec::new()
    });
    let mut all: BTreeMap<u64, Incident> = stored.into_iter().map(|incident| (incident.number, incident)).collect();
    all.extend(desk.incidents().map(|incident| (incident.number, incident.clone())));
    all.into_values().rev().take(LISTED as usize).collect()
}

fn incident_json(incident: &Incident) -> Value {
    let firing = &incident.firing;
    let (headline, detail) = words(incident);
    json!({
        "id": incident.name(),
        "state": if incident.is_firing() { "firing" } else { "resolved" },
        "alert": firing.alert,
        "group": firing.group,
        "slice": firing.slice,
        "labels": firing.labels,
        "annotations": firing.annotations,
        "severity": incident.worst.as_str(),
        "owner": firing.owner,
        "headline": headline,
        "detail": detail,
        "episode": incident.episode,
        "began": firing.began,
        "opened": incident.opened,
        "resolved": incident.resolved.as_ref().map(|resolved| resolved.at),
        "acknowledged_by": incident.acked.as_ref().map(|ack| ack.by.clone()),
        "acknowledged_at": incident.acked.as_ref().map(|ack| ack.at),
        "dedup_key": incident.dedup_key(),
        "reason": firing.reason,
        "finding": firing.finding,
    })
}

/// Headline and detail of an incident in the words of its messages.
fn words(incident: &Incident) -> (String, String) {
    let notification = Notification {
        id: String::new(),
        incident: incident.name(),
        dedup_key: String::new(),
        sequence: 1,
        reason: if incident.is_firing() { Reason::Fire } else { Reason::Resolve },
        at: incident.resolved.as_ref().map_or(incident.firing.at, |resolved| resolved.at),
        opened: incident.opened,
        receiver: String::new(),
        group_key: String::new(),
        group_labels: crate::model::Labels::default(),
        severity: incident.worst,
        alerts: vec![incident.view()],
        truncated: 0,
        late_since: None,
        next_by: None,
    };
    let story = tell(&notification, &Audience { view: View::Technical, time_zone: chrono_tz::UTC, external_url: "" });
    let who = story.who.as_ref().map(|who| format!(" {}", who.text())).unwrap_or_default();
    (story.title, format!("{}{who}", story.fact.text()))
}

/// Incidents as the page shows them: what fires first, the worst first; then the latest.
pub fn incident_rows(desk: &Desk, store: &Store) -> Vec<IncidentRow> {
    let mut incidents = newest(desk, store);
    incidents.sort_by_key(|incident| (!incident.is_firing(), std::cmp::Reverse((incident.worst, incident.opened))));
    let over: Vec<_> = incidents.iter().filter(|incident| !incident.is_firing()).map(|i| i.number).take(20).collect();
    let row = |incident: &Incident| {
        let (headline, detail) = words(incident);
        IncidentRow {
            id: incident.name(),
            severity: incident.worst,
            headline,
            detail,
            site: incident.site().to_owned(),
            env: incident.firing.group.get("env").to_owned(),
            owner: incident.firing.owner.clone(),
            began: incident.firing.began,
            ended: incident.resolved.as_ref().map(|resolved| resolved.at),
            acked: incident.acked.is_some(),
        }
    };
    incidents.iter().filter(|i| i.is_firing() || over.contains(&i.number)).map(row).collect()
}

/// Site, env, page and step of what fires.
pub fn firing_pages(desk: &Desk) -> BTreeSet<[String; 4]> {
    let key = |incident: &Incident| ["site", "env", "page", "step"].map(|name| incident.firing.group.get(name).to_owned());
    desk.incidents().filter(|incident| incident.is_firing()).map(key).collect()
}

/// The pages of each site, those that fire first, then the busiest.
pub fn tables(watch: &Watch, now: Timestamp, firing: &BTreeSet<[String; 4]>) -> Vec<SiteTable> {
    let query = SeriesQuery { window_secs: TABLE_SECS, ..SeriesQuery::default() };
    let mut tables: Vec<SiteTable> = Vec::new();
    let mut rows = watch.series(&query, now);
    let fires = |row: &SeriesRow| firing.contains(&[row.site.clone(), row.env.clone(), row.page.clone(), row.step.clone()]);
    rows.sort_by_key(|row| (row.site.clone(), row.env.clone(), !fires(row), std::cmp::Reverse(row.views)));
    for row in rows {
        if tables.last().is_none_or(|table| (&table.site, &table.env) != (&row.site, &row.env)) {
            let (site, env) = (row.site.clone(), row.env.clone());
            tables.push(SiteTable { site, env, window: "last hour".to_owned(), ..SiteTable::default() });
        }
        let Some(table) = tables.last_mut() else { continue };
        if table.rows.len() >= PAGES_SHOWN {
            table.more += 1;
            continue;
        }
        let spark = watch.steps(&row, now, SPARK.0, SPARK.1).into_iter().map(|(_, t)| (t.views, t.errors)).collect();
        table.rows.push(PageRow {
            firing: fires(&row),
            views: row.views,
            errors: row.errors,
            rate: row.error_rate,
            usual: row.usual_rate,
            spark,
            page: row.page,
            step: row.step,
        });
    }
    tables
}

/// The newest messages.
pub fn deliveries(_: &Desk, store: &Store) -> Vec<Value> {
    let listed = store.deliveries(LISTED).unwrap_or_else(|error| {
        tracing::warn!(event = "store_unreadable", %error);
        Vec::new()
    });
    let row = |(delivery, state, detail): (crate::model::Delivery, String, String)| {
        json!({
            "id": delivery.id,
            "state": state,
            "receiver": delivery.target.receiver,
            "channel": delivery.target.channel,
            "incident": delivery.notification.incident,
            "reason": delivery.notification.reason.as_str(),
            "attempts": delivery.attempts,
            "created": delivery.created,
            "due": delivery.due,
            "detail": detail,
        })
    };
    listed.into_iter().map(row).collect()
}

/// The rules in force.
pub fn rules(rules: &[Rule]) -> Vec<Value> {
    let row = |rule: &Rule| {
        json!({
            "id": rule.alert,
            "alert": rule.alert,
            "condition": rule.condition.name(),
            "by": rule.by.iter().map(crate::rule::GroupBy::as_str).collect::<Vec<_>>(),
            "owner": rule.owner,
            "labels": rule.labels,
            "annotations": rule.annotations,
            "for": crate::model::format_duration(rule.hold),
            "keep_firing_for": crate::model::format_duration(rule.keep_firing),
            "file": rule.place.file,
            "line": rule.place.line,
        })
    };
    rules.iter().map(row).collect()
}

/// How lines ended, by source.
pub fn outcomes(metrics: &Metrics) -> Vec<Value> {
    let row = |(source, outcome, lines): (&str, crate::model::Outcome, u64)| {
        json!({
            "id": format!("{source}/{outcome}"),
            "source": source,
            "outcome": outcome.as_str(),
            "reason": outcome.reason(),
            "lines": lines,
        })
    };
    metrics.outcomes().into_iter().map(row).collect()
}
