//! What the native reader promises, on bodies as clients send them.

use super::*;
use crate::config::{Funnel, FunnelStep, Site};
use crate::ingest::raw::RawKind;
use crate::ingest::salt::Salts;
use crate::model::{Kind, Timestamp};

const NOW: Timestamp = Timestamp(1_795_244_743_000);

pub(super) fn door() -> Door {
    let step = FunnelStep { step: "payment".to_owned(), pages: vec!["/checkout/payment".to_owned()] };
    let site = Site {
        collapse: true,
        funnels: vec![Funnel { name: "checkout".to_owned(), steps: vec![step] }],
        tags: vec!["plan".to_owned()],
        ..Site::default()
    };
    Door::for_sites([("shop".to_owned(), &site)], &site, Salts::fixed(&[7; 32]), true)
}

fn read_at(body: &[u8], key_site: Option<&str>, mut clock: ArrivalClock) -> (Batch, Report) {
    let (mut batch, mut report) = (Batch::new(), Report::default());
    let door = door();
    Reader { door: &door, key_site, line_bytes: 2000 }.read(body, &mut clock, &mut batch, &mut Scratch::new(), &mut report);
    assert!(batch.is_sound());
    (batch, report)
}

fn read(body: &str) -> (Batch, Report) {
    read_at(body.as_bytes(), None, ArrivalClock::Fixed(NOW))
}

const VIEW: &str = r#"{"type":"view","page":"/cart"}"#;

/// Reads a body: so many events, and refusals as `line: error`.
#[track_caller]
fn check(body: &str, events: usize, refusals: &[&str]) {
    let (batch, report) = read(body);
    let told: Vec<String> = report.rejected.iter().map(|r| format!("{}: {}", r.line, r.error)).collect();
    assert_eq!(told, refusals, "{body}");
    assert_eq!(batch.events.len(), events, "{body}");
    assert_eq!(report.outcomes.values().sum::<u64>() + events as u64, report.accepted + report.rejected_count);
}

#[track_caller]
fn check_bad(fields: &str, error: &str) {
    check(&format!("{VIEW}\n{{{fields}}}\n{VIEW}"), 2, &[&format!("2: {error}")]);
}

#[test]
fn every_way_to_space_events_is_read() {
    let pretty = "{\n  \"type\": \"view\",\n  \"error\": {\n \"type\": \"X\"\n },\n  \"page\": \"/cart\"\n}";
    check("", 0, &[]);
    check(include_str!("../../tests/fixtures/native/payment-error.ndjson"), 2, &[]);
    check("\u{feff}\r\n\n", 0, &[]);
    check(&format!("\u{feff}{VIEW}\r\n\r\n{VIEW}\r\n"), 2, &[]);
    check(&format!("{VIEW}{VIEW} {VIEW}\n{VIEW}"), 4, &[]);
    check(&format!("[{VIEW},{VIEW}]"), 2, &[]);
    check(&format!("[\n  {pretty},\n  {VIEW}\n]\n"), 2, &[]);
    check("[]", 0, &[]);
    check(&format!("[{VIEW}]\n[{VIEW},{VIEW}]"), 3, &[]);
    check(&format!("{pretty}\n{VIEW}\n{pretty}"), 3, &[]);
    check(
        &format!("{pretty}\nx\n{pretty}y\n"),
        2,
        &["8: not JSON: unexpected character at column 1", "15: not JSON: unexpected character at column 1"],
    );
}

#[test]
fn a_bad_line_is_refused_alone() {
    check(
        &format!("{VIEW}\n{{\"type\":\"view\",\"pa\n{VIEW}\nnope\n{VIEW}"),
        3,
        &["2: not JSON: the line ends too early, at column 18", "4: not JSON: unexpected character at column 2"],
    );
    check(&format!("{{\"type\":\n{VIEW}"), 1, &["1: not JSON: the line ends too early, at column 8"]);
    check(
        &format!("[{VIEW},{{\"type\":\"view\"}},3,{VIEW}]"),
        2,
        &["2: field `page` is missing: a view needs a page or a step", "3: expected an event as a JSON object"],
    );
    check(&format!("[1,2\n{VIEW}"), 1, &["1: expected an event as a JSON object"]);
    let long = format!("{{\"type\":\"view\",\"page\":\"/{}\"}}", "x".repeat(3000));
    check(
        &format!("{long}\n{VIEW}"),
        1,
        &["1: the line is longer than 2000 bytes: shorten its stack or raise limits.line_bytes"],
    );
    let (batch, report) =
        read_at(b"{\"type\":\"view\",\"page\":\"/\xff\"}\n{\"type\":\"view\",\"page\":\"/\"}", None, ArrivalClock::Fixed(NOW));
    assert_eq!((batch.events.len(), &*report.rejected[0].error), (1, "not UTF-8"));
    let deep = format!("{{\"type\":\"view\",\"page\":\"/\",\"x\":{}", "[".repeat(900));
    check(&format!("{deep}\n{VIEW}"), 1, &["1: not JSON: the line ends too early, at column 930"]);
}

#[test]
fn errors_name_the_field() {
    check_bad(r#""page":"/""#, "field `type` is missing: one of view, error, track, request, deploy, heartbeat");
    check_bad(
        r#""type":"pageview","page":"/""#,
        "field `type`: `pageview` is not one of view, error, track, request, deploy, heartbeat",
    );
    check_bad(r#""type":"view","page":7"#, "field `page`: expected a string, found a number");
    check_bad(r#""type":"view","page":"/","count":"2""#, "field `count`: expected a positive whole number, found a string");
    check_bad(r#""type":"view","page":"/","count":0"#, "field `count`: expected a whole number from 1 to 1000000000, found 0");
    check_bad(
        r#""type":"view","page":"/","count":-1.5"#,
        "field `count`: expected a whole number from 1 to 1000000000, found -1.5",
    );
    check_bad(
        r#""type":"view","page":"/","count":1e10"#,
        "field `count`: expected a whole number from 1 to 1000000000, found 10000000000",
    );
    check_bad(r#""type":"error","page":"/","error":"boom""#, "field `error`: expected an object, found a string");
    check_bad(
        r#""type":"error","page":"/","error":{"handled":1}"#,
        "field `error.handled`: expected true or false, found a number",
    );
    check_bad(r#""type":"view","page":"/","tags":[1]"#, "field `tags`: expected an object, found an array");
    check_bad(
        r#""type":"request","page":"/""#,
        "field `status` is missing: a request needs the HTTP status it was answered with",
    );
    check_bad(r#""type":"heartbeat","job":"x","status":"fine""#, "field `status`: a heartbeat's is in_progress, ok or error");
    check_bad(r#""type":"deploy""#, "field `release` is missing: a deploy needs its release");
    check_bad(
        r#""type":"view","page":"/","ts":1795244743000"#,
        "field `ts`: lies after 2100: numbers are Unix seconds, not milliseconds",
    );
    check_bad(r#""type":"view","page":"/","ts":0"#, "field `ts`: lies before 2000: a broken clock, or no Unix seconds");
    check_bad(
        r#""type":"view","page":"/","ts":"soon""#,
        "field `ts`: expected RFC 3339 (2026-11-21T07:05:43Z) or Unix seconds as a number, found `soon`",
    );
}

#[test]
fn null_is_absent_and_unknown_fields_are_skipped() {
    let (batch, report) = read(
        r#"{"type":"view","page":"/a","page":"/b","site":null,"count":null,"ts":null,"session":null,"x":{"y":[1]},"browser":null}"#,
    );
    assert_eq!(report.accepted, 1);
    let event = &batch.events[0];
    assert_eq!((batch.str(event.page), batch.str(event.site), batch.str(event.env)), ("/b", "default", "production"));
    assert_eq!((event.count, event.session, event.id, event.at), (1, 0, 0, NOW));
}

#[test]
fn an_event_is_resolved_whole() {
    let (batch, _) = read_at(
        br#"{"ts":"2026-11-21T07:05:43.123Z","type":"error","site":"mine","page":"https://a.b/checkout/payment/?card=1","session":"s","id":"i","count":3,"release":"web@4.2.1","source":"bob@example.com","tags":{"plan":"pro","other":"x"},"error":{"type":"PaymentError","message":"no 4111 1111 1111 1111","handled":false,"level":"fatal","status":502}}"#,
        Some("shop"),
        ArrivalClock::Running(None),
    );
    let event = &batch.events[0];
    let part = batch.error(event);
    assert_eq!((batch.str(event.site), batch.str(event.page), batch.str(event.step)), ("shop", "/checkout/payment", "payment"));
    assert_eq!((batch.str(event.dims[0]), batch.str(event.dims[5])), ("web@4.2.1", "[email]"));
    assert_eq!(
        (batch.str(part.class), batch.str(part.message), part.handled, part.status),
        ("PaymentError", "no [card]", Some(false), 502)
    );
    assert_eq!(event.series, crate::model::SeriesKey::hash_of("shop", "production", "/checkout/payment", "payment"));
    assert_eq!((event.count, event.at.millis() % 1000, event.arrival), (3, 123, event.at));
    assert!(event.session != 0 && event.id != 0);
    assert_eq!(batch.tags.len(), 1);
}

#[test]
fn a_failed_request_is_a_view_and_an_error() {
    let (batch, report) =
        read(r#"{"type":"request","page":"/a","status":502,"id":"r1"}{"type":"request","page":"/a","status":404}"#);
    let kinds: Vec<(Kind, bool)> = batch.events.iter().map(|e| (e.kind, e.companion)).collect();
    assert_eq!(kinds, [(Kind::View, false), (Kind::Error, true), (Kind::View, false)]);
    assert_eq!((batch.events[0].id, report.accepted), (batch.events[1].id, 2));
    assert_eq!(batch.str(batch.errors[0].class), "HTTP 502");
}

#[test]
fn arrival_is_now_or_the_greatest_time_so_far() {
    let body = b"{\"type\":\"view\",\"page\":\"/\",\"ts\":1795244743}\n{\"type\":\"view\",\"page\":\"/\",\"ts\":1795244700.5}\n{\"type\":\"view\",\"page\":\"/\"}\n{\"type\":\"view\",\"page\":\"/\",\"ts\":1795250000}";
    let times = |clock| -> Vec<(i64, i64)> {
        read_at(body, None, clock).0.events.iter().map(|e| (e.at.0 - NOW.0, e.arrival.0 - NOW.0)).collect()
    };
    assert_eq!(times(ArrivalClock::Running(None)), [(0, 0), (-42_500, 0), (0, 0), (5_257_000, 5_257_000)]);
    assert_eq!(times(ArrivalClock::Fixed(NOW)), [(0, 0), (-42_500, 0), (0, 0), (0, 0)]);
}

#[test]
fn a_filtered_line_counts_as_accepted_and_makes_no_event() {
    let (batch, report) = read(r#"{"type":"error","page":"/","error":{"stack":"E\n    at a (chrome-extension://x/y.js:1:1)"}}"#);
    assert_eq!((batch.events.len(), report.accepted, report.rejected_count), (0, 1, 0));
    assert_eq!(report.outcomes[&Outcome::Filtered(Refusal::Extension)], 1);
}

#[test]
fn a_scratch_changes_no_result() {
    let door = door();
    let mut scratch = Scratch::new();
    let mut clock = ArrivalClock::Fixed(NOW);
    for round in 0..3 {
        for i in 0..9000 {
            let mut batch = Batch::new();
            let raw = RawEvent { page: format!("/name-{}x/{i}", i % 5000).into(), kind: RawKind::View, ..RawEvent::default() };
            door.push(&raw, &mut clock, &mut batch, &mut scratch).unwrap();
            assert_eq!(batch.str(batch.events[0].page), format!("/name-{}x/:id", i % 5000), "{round}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_stop_the_reader(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), lines in "[\\[\\]{}\",:\\\\\n a1]{0,200}") {
        read_at(&body, None, ArrivalClock::Fixed(NOW));
        let (_, report) = read(&lines);
        proptest::prop_assert_eq!(report.accepted, 0);
    }
}
