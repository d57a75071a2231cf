//! All paths, and what every answer has in common.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use axum::routing::{any, get, post};
use serde_json::json;
use tower::ServiceExt;

use super::auth::{Refused, Seen};
use super::body::Budget;
use super::{Backend, api, events, guard, ui};

const EVENTS: &str = "/v1/events";
const BEACON: &str = "/v1/beacon";

/// Headers that an answer has room for from the start.
const HEADERS: usize = 12;

/// The address of the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
struct Peer(IpAddr);

/// Bytes of all request bodies in memory together.
const BODIES_BYTES: usize = 256 * 1024 * 1024;

/// What the handlers share.
#[derive(Debug)]
pub(super) struct App<B> {
    pub(super) backend: Arc<B>,
    pub(super) budget: Budget,
    pub(super) pages: ui::Pages,
}

/// The whole of HTTP over one backend.
#[derive(Debug)]
pub struct Site<B> {
    app: Arc<App<B>>,
    /// Everything but the doors that are asked thousands of times a second.
    rest: Router,
}

impl<B: Backend> Site<B> {
    /// Over this backend.
    pub fn new(backend: Arc<B>) -> Self {
        let app = Arc::new(App { backend, budget: Budget::new(BODIES_BYTES), pages: ui::Pages::new() });
        let rest = Router::new()
            .route("/v1/deploy", any(events::deploy::<B>))
            .route("/v1/heartbeat/{job}", any(events::heartbeat::<B>))
            .route("/spiked.js", get(events::script))
            .route("/api/v1/series", get(api::series::<B>))
            .route("/api/v1/incidents", get(api::incidents::<B>))
            .route("/api/v1/incidents/{id}", get(api::incident::<B>))
            .route("/api/v1/incidents/{id}/ack", post(api::ack::<B>))
            .route("/api/v1/incidents/{id}/resolve", post(api::resolve::<B>))
            .route("/api/v1/rules", get(api::rules::<B>))
            .route("/api/v1/deliveries", get(api::deliveries::<B>))
            .route("/api/v1/outcomes", get(api::outcomes::<B>))
            .route("/api/openapi.json", get(api::openapi))
            .route("/metrics", get(api::metrics::<B>))
            .route("/-/healthy", get(api::healthy))
            .route("/-/ready", get(api::ready::<B>))
            .route("/-/reload", post(api::reload::<B>))
            .route("/", get(ui::page::<B>))
            .route("/login", post(ui::login::<B>))
            .route("/assets/{file}", get(ui::asset))
            .fallback(async || error(StatusCode::NOT_FOUND, "there is nothing at this path"))
            .method_not_allowed_fallback(async || error(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method"))
            .with_state(Arc::clone(&app));
        Self { app, rest }
    }

    /// Answers one request. Without the address of its other end nobody counts as local.
    pub async fn answer(&self, request: Request<Body>, peer: Option<IpAddr>) -> Response<Body> {
        let mut request = guard::tidy_path(request);
        match request.uri().path() {
            EVENTS => guard::guard(&self.app, EVENTS, events::native(&self.app, request, peer)).await,
            BEACON => guard::guard(&self.app, BEACON, events::beacon(&self.app, request, peer)).await,
            path => {
                let label = guard::label(path);
                if let Some(peer) = peer {
                    request.extensions_mut().insert(Peer(peer));
                }
                let rest = self.rest.clone();
                let answering = async {
                    let Ok(response) = rest.oneshot(request).await;
                    response
                };
                let mut response = guard::guard(&self.app, label, answering).await;
                guard::confine(&mut response);
                response
            }
        }
    }
}

/// What a request shows of its sender.
pub(super) fn seen(request: &Request<Body>) -> Seen<'_> {
    seen_from(request, peer_of(request))
}

/// The other end of the request's connection, where it is known.
pub(super) fn peer_of(request: &Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

/// As [`seen`], where the other end is known otherwise.
pub(super) fn seen_from(request: &Request<Body>, peer: Option<IpAddr>) -> Seen<'_> {
    Seen { peer, headers: request.headers(), uri: request.uri(), is_old: request.version() < Version::HTTP_11 }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"error": "…"}`
pub(super) fn error(status: StatusCode, text: &str) -> Response<Body> {
    json(status, &json!({ "error": text }))
}

/// As [`error`], with the time to try again.
pub(super) fn try_again(status: StatusCode, text: &str, after: Duration) -> Response<Body> {
    let mut response = error(status, text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    response
}

impl<B: Backend> App<B> {
    /// Refuses in JSON and counts it.
    pub(super) fn refuse(&self, refused: Refused) -> Response<Body> {
        self.backend.metrics().auth_failures.inc();
        let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::FORBIDDEN);
        let mut response = error(status, &refused.to_string());
        if refused == Refused::NoToken {
            response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// The answer to who may not read (or not change anything); `None` lets them pass.
    pub(super) fn refusal(&self, request: &Request<Body>, changes: bool) -> Option<Response<Body>> {
        let admitted = self.backend.access().admin(&seen(request), changes);
        admitted.err().map(|refused| self.refuse(refused))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::super::{
        Access, ChangeError, DecodeError, Decoded, Incoming, IngestError, List, Overview, Rejected, SeriesQuery, SeriesRow,
    };
    use super::super::{Change, events};
    use super::*;
    use crate::model::{Batch, Timestamp};
    use crate::telemetry::Metrics;

    /// A line with `bad` in it is refused; `full`, `broken`, `panic` in a body do what they say.
    #[derive(Default)]
    pub(in crate::web) struct Fake {
        metrics: Metrics,
        lines: Mutex<Vec<String>>,
    }

    impl Backend for Fake {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_763_708_400)
        }
        fn access(&self) -> Arc<Access> {
            Arc::new(Access::default())
        }
        fn body_bytes_max(&self) -> usize {
            200
        }
        fn is_behind_tls(&self) -> bool {
            false
        }
        fn metrics(&self) -> &Metrics {
            &self.metrics
        }
        fn decode(&self, incoming: Incoming<'_>) -> Result<Decoded, DecodeError> {
            let body = std::str::from_utf8(incoming.body).map_err(|_| DecodeError::Unreadable("not UTF-8".into()))?;
            assert!(!body.contains("panic"), "asked to");
            match incoming.encoding {
                "" | "gzip" => {}
                other => return Err(DecodeError::UnknownEncoding(format!("`{other}` is not known; use gzip"))),
            }
            let mut decoded = Decoded::default();
            for (number, line) in (1..).zip(body.lines()) {
                if line.contains("bad") {
                    decoded.rejected.push(Rejected { line: number, error: "no type".into() });
                } else {
                    decoded.accepted += 1;
                    self.lines.lock().unwrap().push(line.to_owned());
                }
            }
            Ok(decoded)
        }
        async fn ingest(&self, _: crate::web::backend::Door, _: Batch) -> Result<(), IngestError> {
            Ok(())
        }
        async fn series(&self, query: SeriesQuery) -> Vec<SeriesRow> {
            let site = query.site.unwrap_or_default();
            vec![SeriesRow {
                site,
                env: "production".into(),
                page: query.page,
                views: query.window.as_secs(),
                ..SeriesRow::default()
            }]
        }
        async fn list(&self, list: List) -> Vec<serde_json::Value> {
            vec![json!({ "id": list.as_str() })]
        }
        async fn incident(&self, id: &str) -> Option<serde_json::Value> {
            (id == "7").then(|| json!({ "id": "7" }))
        }
        async fn change(&self, id: &str, _: Change) -> Result<serde_json::Value, ChangeError> {
            if id == "7" { Ok(json!({ "id": "7" })) } else { Err(ChangeError::Unknown) }
        }
        fn ready(&self) -> Result<(), String> {
            Err("replaying the log".into())
        }
        async fn reload(self: Arc<Self>) -> Result<String, String> {
            Err("rules/shop.yaml:3:5: unknown key `spke`".into())
        }
        async fn overview(&self) -> Overview {
            Overview::default()
        }
    }

    struct Answer {
        status: u16,
        headers: axum::http::HeaderMap,
        body: String,
    }

    async fn ask(fake: &Arc<Fake>, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let site = Site::new(Arc::clone(fake));
        let response = site.answer(request.body(body.into()).unwrap(), Some([127, 0, 0, 1].into())).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    #[track_caller]
    fn check(method: &str, uri: &str, headers: &[(&str, &str)], body: &'static str, status: u16, answer: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(ask(&Arc::new(Fake::default()), method, uri, headers, body));
        assert_eq!((found.status, found.body.as_str()), (status, answer), "{method} {uri}");
    }

    #[test]
    fn a_batch_is_answered_line_by_line() {
        check("POST", "/v1/events", &[], "", 200, r#"{"accepted":0,"rejected":[]}"#);
        check("POST", "//v1/events/?x=1", &[("content-type", "text/plain")], "a\nb", 200, r#"{"accepted":2,"rejected":[]}"#);
        let one = r#"{"accepted":1,"rejected":[{"line":2,"error":"no type"}]}"#;
        check("POST", "/v1/events", &[], "a\nbad", 200, one);
        check("POST", "/v1/events", &[], "bad", 400, r#"{"accepted":0,"rejected":[{"line":1,"error":"no type"}]}"#);
        check("POST", "/v1/beacon", &[], "a", 204, "");
        check("GET", "/v1/events", &[], "", 405, r#"{"error":"send events with POST"}"#);
    }

    #[tokio::test]
    async fn refusals_have_their_status_and_can_be_read_across_origins() {
        let fake = Arc::new(Fake::default());
        let origin = ("origin", "https://shop.example");
        let long = ask(&fake, "POST", "/v1/events", &[origin], "x".repeat(201)).await;
        assert_eq!(long.status, 413, "{}", long.body);
        assert_eq!(long.headers["access-control-allow-origin"], "https://shop.example");
        let unknown = ask(&fake, "POST", "/v1/events", &[("content-encoding", "lzma")], "a").await;
        assert_eq!((unknown.status, unknown.body.contains("use gzip")), (415, true));
        let proxied = ask(&fake, "POST", "/v1/events", &[("x-forwarded-for", "127.0.0.1")], "a").await;
        assert_eq!(proxied.status, 401);
        let preflight = ask(&fake, "OPTIONS", "/v1/events/", &[origin, ("access-control-request-headers", "sentat")], "").await;
        assert_eq!(
            (preflight.status, &preflight.headers["access-control-allow-headers"]),
            (204, &HeaderValue::from_static("sentat"))
        );
        let panicked = ask(&fake, "POST", "/v1/events", &[], "panic").await;
        assert_eq!((panicked.status, fake.metrics.http_panics.get()), (500, 1));
        assert_eq!(panicked.headers["x-content-type-options"], "nosniff");
    }

    #[tokio::test]
    async fn jobs_and_releases_become_native_events() {
        let fake = Arc::new(Fake::default());
        assert_eq!(ask(&fake, "GET", "/v1/heartbeat/nightly?status=error&key=k", &[], "").await.status, 200);
        assert_eq!(ask(&fake, "POST", "/v1/heartbeat/nightly", &[], "").await.status, 200);
        assert_eq!(ask(&fake, "POST", "/v1/deploy", &[], r#"{"release":"web@2"}"#).await.status, 200);
        assert_eq!(ask(&fake, "POST", "/v1/deploy", &[], "{}").await.status, 400);
        let lines = fake.lines.lock().unwrap().clone();
        assert_eq!(
            lines,
            [
                r#"{"job":"nightly","status":"error","type":"heartbeat"}"#,
                r#"{"job":"nightly","status":"ok","type":"heartbeat"}"#,
                r#"{"release":"web@2","type":"deploy"}"#,
            ]
        );
    }

    #[test]
    fn the_api_has_its_fixed_shape() {
        check(
            "GET",
            "/api/v1/series?window=1h&site=shop&page=%2Fcart&step=",
            &[],
            "",
            200,
            r#"{"series":[{"site":"shop","env":"production","page":"/cart","step":null,"views":3600,"errors":0,"sessions":null,"affected_sessions":null,"error_rate":null,"usual_rate":null}]}"#,
        );
        check("GET", "/api/v1/series?window=25h", &[], "", 400, r#"{"error":"`window` must be from 5m to 24h"}"#);
        check("GET", "/api/v1/incidents", &[], "", 200, r#"{"incidents":[{"id":"incidents"}]}"#);
        check("GET", "/api/v1/incidents/7", &[], "", 200, r#"{"id":"7"}"#);
        check("GET", "/api/v1/incidents/8", &[], "", 404, r#"{"error":"no incident has this id; see /api/v1/incidents"}"#);
        check("POST", "/api/v1/incidents/7/ack", &[("accept", "text/html")], "", 303, "");
        let evil = ("origin", "https://evil.example");
        check("POST", "/api/v1/incidents/7/ack", &[evil], "", 403, r#"{"error":"a page of another site sent this"}"#);
        check("GET", "/-/healthy", &[], "", 200, "spiked is healthy\n");
        check("GET", "/-/ready", &[], "", 503, "spiked is not ready: replaying the log\n");
        check("POST", "/-/reload", &[], "", 500, "rules/shop.yaml:3:5: unknown key `spke`");
        check("GET", "/nothing", &[], "", 404, r#"{"error":"there is nothing at this path"}"#);
    }

    #[tokio::test]
    async fn readers_from_elsewhere_are_refused_and_the_page_stays_within_its_policy() {
        let fake = Arc::new(Fake::default());
        for path in ["/", "/metrics", "/api/v1/rules", "/api/v1/series"] {
            assert_eq!(ask(&fake, "GET", path, &[("host", "evil.example")], "").await.status, 403, "{path}");
        }
        let page = ask(&fake, "GET", "/", &[("host", "localhost:7745")], "").await;
        assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert!(page.body.contains("Waiting for the first event"));
        let metrics = ask(&fake, "GET", "/metrics", &[], "").await;
        assert!(metrics.body.contains(r#"spiked_http_requests_total{path="/",status="200"} 1"#), "{}", metrics.body);
    }

    #[tokio::test]
    async fn the_description_of_the_api_has_every_path_and_no_other() {
        let described: serde_json::Value = serde_json::from_str(api::OPENAPI).unwrap();
        assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
        let fake = Arc::new(Fake::default());
        let source = include_str!("router.rs");
        let routes = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).chain([EVENTS, BEACON]);
        // What is for people alone is not described.
        let is_for_programs = |path: &&str| path.starts_with("/v1/") || path.starts_with("/api/") || path.starts_with("/-/");
        let routes: Vec<&str> = routes.filter(|path| is_for_programs(path) || *path == "/metrics").collect();
        assert!(routes.len() > 15, "{routes:?}");
        for route in &routes {
            assert!(described["paths"].get(*route).is_some(), "{route} is not described");
        }
        for (path, methods) in described["paths"].as_object().unwrap() {
            assert!(routes.contains(&path.as_str()), "{path} is described and not there");
            for method in methods.as_object().unwrap().keys() {
                let uri = path.replace("{id}", "7").replace("{job}", "nightly");
                let answer = ask(&fake, &method.to_uppercase(), &uri, &[], "").await;
                assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
            }
        }
    }

    #[test]
    fn the_script_for_pages_fits_in_2_kb() {
        assert!(events::SCRIPT.len() <= 2048, "{} bytes", events::SCRIPT.len());
    }
}
