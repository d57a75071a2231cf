//! Two made-up stories, payment errors on iPhones after a release and a canary that is worse: for previews of messages and for tests of every channel.

use crate::model::finding::{ChartPoint, Deploy, Facet, FunnelPlace, TopError};
use crate::model::{AlertView, Finding, Labels, Notification, Reason, Severity, State, Timestamp, Transition, TransitionId};
use std::time::Duration;

/// 2026-11-21 at that time, UTC.
pub fn at(clock: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("2026-11-21T{clock}:00Z")).unwrap_or_default()
}

fn chart() -> Vec<ChartPoint> {
    let begin = at("05:10");
    (0..24u64)
        .map(|i| {
            let views = 180 + (i * 37) % 41;
            let share = if i >= 23 { 0.13 } else { 0.008 + 0.004 * ((i * 7) % 5) as f64 / 4.0 };
            ChartPoint {
                at: begin + Duration::from_secs(i * 300),
                views,
                errors: (views as f64 * share).round() as u64,
                usual: Some(0.010 + 0.0002 * i as f64),
            }
        })
        .collect()
}

fn finding() -> Finding {
    let facet = |dim: &str, value: &str, errors: f64, views: f64| Facet {
        dim: dim.into(),
        value: value.into(),
        share_of_errors: errors,
        share_of_views: views,
    };
    Finding {
        value: Some(0.1203),
        baseline: Some(0.011),
        baseline_range: Some((0.008, 0.015)),
        ratio: Some(10.9),
        errors: 124,
        views: 1031,
        sessions: Some(118),
        evidence: Some((31.0, 14.2)),
        facets: vec![facet("browser", "Mobile Safari", 0.91, 0.34), facet("source", "paid_social", 0.44, 0.3)],
        deploy: Some(Deploy { release: "web@4.2.1".into(), at: at("07:02") }),
        chart: chart(),
        top_errors: vec![TopError {
            fingerprint: "f1".into(),
            class: "PaymentError".into(),
            message: "authorization failed".into(),
            frame: "pay (checkout.js)".into(),
            count: 117,
        }],
        funnel: Some(FunnelPlace { funnel: "checkout".into(), step: 3, of: 4 }),
        ..Finding::default()
    }
}

/// The alert as it fired.
pub fn transition() -> Transition {
    let group: Labels =
        [("site", "shop"), ("env", "production"), ("page", "/checkout/payment"), ("step", "payment")].into_iter().collect();
    let mut labels = group.clone().with("alertname", "CheckoutErrorSpike").with("severity", "P1");
    labels.set("owner", "web-payments");
    Transition {
        id: TransitionId { shard: 0, offset: 99, number: 0 },
        at: at("07:09"),
        alert: "CheckoutErrorSpike".into(),
        state: State::Firing,
        group,
        slice: Labels::new().with("browser", "Mobile Safari"),
        labels,
        annotations: Labels::new().with("runbook_url", "https://wiki.shop.example/payment"),
        severity: Severity::P1,
        owner: "web-payments".into(),
        began: at("07:05"),
        finding: finding(),
        reason: "error rate 12 % against 1.1 % usual".into(),
        condition: "spike".into(),
    }
}

/// It is new.
pub fn fire() -> Notification {
    Notification {
        id: "SPK-1432.1".into(),
        incident: "SPK-1432".into(),
        dedup_key: "shop:CheckoutErrorSpike:8f2a".into(),
        sequence: 1,
        reason: Reason::Fire,
        at: at("07:09"),
        opened: at("07:09"),
        receiver: "web-team".into(),
        group_key: "{}:{site=\"shop\"}".into(),
        group_labels: Labels::new().with("site", "shop"),
        severity: Severity::P1,
        alerts: vec![AlertView { incident: "SPK-1432".into(), firing: transition(), resolved: None }],
        truncated: 0,
        late_since: None,
        next_by: Some(at("11:09")),
    }
}

/// A second alert joined.
pub fn update() -> Notification {
    let mut second = transition();
    second.group.set("step", "address");
    second.group.set("page", "/checkout/address");
    second.finding.value = Some(0.062);
    Notification {
        id: "SPK-1432.2".into(),
        sequence: 2,
        reason: Reason::Update,
        at: at("07:14"),
        alerts: vec![
            AlertView { incident: "SPK-1432".into(), firing: transition(), resolved: None },
            AlertView { incident: "SPK-1433".into(), firing: second, resolved: None },
        ],
        ..fire()
    }
}

/// A storm that eases: `firing` alerts go on, `over` have ended.
pub fn easing(firing: usize, over: usize) -> Notification {
    let alert = |number: usize| {
        let mut transition = transition();
        for labels in [&mut transition.group, &mut transition.labels] {
            labels.set("step", "");
            labels.set("page", format!("/page-{number}"));
        }
        let mut end = transition.clone();
        (end.state, end.at) = (State::Resolved, at("07:20"));
        AlertView { incident: format!("SPK-{}", 1431 + number), firing: transition, resolved: (number > firing).then_some(end) }
    };
    Notification { alerts: (1..=firing + over).map(alert).collect(), ..update() }
}

/// It is over.
pub fn resolve() -> Notification {
    let mut end = transition();
    end.state = State::Resolved;
    end.at = at("07:31");
    end.finding.errors = 1502;
    end.finding.views = 8120;
    end.finding.sessions = Some(1468);
    Notification {
        id: "SPK-1432.3".into(),
        sequence: 3,
        reason: Reason::Resolve,
        at: at("07:31"),
        alerts: vec![AlertView { incident: "SPK-1432".into(), firing: transition(), resolved: Some(end) }],
        next_by: None,
        ..fire()
    }
}

/// A canary that fails more often than the release beside it.
pub fn worse() -> Notification {
    let mut notification = fire();
    let alert = &mut notification.alerts[0].firing;
    (alert.alert, alert.condition) = ("ReleaseIsWorse".into(), "release".into());
    alert.labels.set("alertname", "ReleaseIsWorse");
    alert.slice = Labels::new().with("release", "web@4.3.0");
    alert.reason = "web@4.3.0 fails at 3.10 % of views, the other releases in the same minutes at 0.40 %".into();
    let finding = &mut alert.finding;
    (finding.value, finding.baseline, finding.ratio) = (Some(0.031), Some(0.004), Some(7.75));
    (finding.errors, finding.views, finding.sessions) = (62, 2000, Some(58));
    finding.baseline_range = None;
    finding.facets = vec![Facet { dim: "release".into(), value: "web@4.3.0".into(), share_of_errors: 0.46, share_of_views: 0.1 }];
    finding.deploy = Some(Deploy { release: "web@4.3.0".into(), at: at("07:02") });
    finding.top_errors[0].count = 58;
    notification
}
