//! All paths, and what every answer has in common.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::routing::{any, get, post};
use serde_json::json;
use tower::ServiceExt;

use super::auth::{Refused, Seen};
use super::body::Budget;
use super::server::Peer;
use super::{Backend, api, events, guard, ui};

/// Bytes of all request bodies in memory together.
const BODIES_BYTES: usize = 256 * 1024 * 1024;

/// What the handlers share.
#[derive(Debug)]
pub(super) struct App<B> {
    pub(super) backend: Arc<B>,
    pub(super) budget: Budget,
    pub(super) pages: ui::Pages,
}

/// The whole of HTTP over one backend. Serve it with [`serve`](super::serve), which tells it the peer's address; without one
/// nobody counts as local.
pub fn router<B: Backend>(backend: Arc<B>) -> Router {
    let app = Arc::new(App { backend, budget: Budget::new(BODIES_BYTES), pages: ui::Pages::new() });
    let routes = Router::new()
        .route("/v1/events", any(events::native::<B>))
        .route("/v1/beacon", any(events::beacon::<B>))
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
        .route("/metrics", get(api::metrics::<B>))
        .route("/-/healthy", get(api::healthy))
        .route("/-/ready", get(api::ready::<B>))
        .route("/-/reload", post(api::reload::<B>))
        .route("/", get(ui::page::<B>))
        .route("/login", post(ui::login::<B>))
        .route("/assets/{file}", get(ui::asset))
        .fallback(async || error(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || error(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method"))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::guard::<B>))
        .with_state(app);
    // The path is tidied before it is routed, so outside of the router.
    Router::new().fallback_service(routes.map_request(|request: Request<Body>| guard::tidy_path(request)))
}

/// What a request shows of its sender.
pub(super) fn seen(request: &Request<Body>) -> Seen<'_> {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    Seen { peer, headers: request.headers(), uri: request.uri() }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
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

    /// Lets readers (or those who change something) pass.
    pub(super) fn admit(&self, request: &Request<Body>, changes: bool) -> Result<(), Response<Body>> {
        let access = self.backend.access();
        access.admin(&seen(request), changes).map_err(|refused| self.refuse(refused))
    }
}
