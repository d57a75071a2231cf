//! Around every request: a panic becomes a 500, the answer gets its security headers, and it is counted.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};

use super::Backend;
use super::router::{App, error};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Answers as `answering` does; a panic in it costs its own request alone.
pub(super) async fn guard<B: Backend>(
    app: &App<B>,
    label: &'static str,
    answering: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    let mut response = caught(answering).await.unwrap_or_else(|| {
        app.backend.metrics().http_panics.inc();
        tracing::error!(event = "http_panic", path = label, "a handler panicked; its request was answered with 500");
        error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    });
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    app.backend.metrics().request(label, response.status().as_u16());
    response
}

/// What an answer that a browser may show says about itself. Answers to events are for programs and go without.
pub(super) fn confine(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.entry(policy).or_insert(HeaderValue::from_static("same-origin"));
}

/// Runs a future to its end; `None` if it panics.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    // A future that panicked is not polled again, so what it left half-done is not seen.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// The route's pattern: never the path itself, which anybody can make up.
pub(super) fn label(path: &str) -> &'static str {
    const EXACT: [&str; 19] = [
        "/",
        "/login",
        "/metrics",
        "/spiked.js",
        "/-/healthy",
        "/-/ready",
        "/-/reload",
        "/v1/events",
        "/v1/beacon",
        "/v1/deploy",
        "/v1/logs",
        "/v1/traces",
        "/v1/batch",
        "/api/v1/series",
        "/api/v1/incidents",
        "/api/v1/rules",
        "/api/v1/deliveries",
        "/api/v1/outcomes",
        "/api/openapi.json",
    ];
    const FOLDERS: [(&str, &str); 6] = [
        ("/v1/heartbeat/", "/v1/heartbeat/{job}"),
        ("/api/v1/incidents/", "/api/v1/incidents/{id}"),
        ("/assets/", "/assets/{file}"),
        ("/api/v2/", "/api/v2/{path}"),
        ("/v1/", "/v1/{path}"),
        ("/api/", "/api/{path}"),
    ];
    let exact = EXACT.iter().find(|known| **known == path);
    exact.or_else(|| FOLDERS.iter().find(|(start, _)| path.starts_with(start)).map(|(_, name)| name)).copied().unwrap_or("other")
}

/// Joins doubled slashes and takes off the last one: never a redirect, which loses bodies and preflights.
pub(super) fn tidy_path<T>(mut request: axum::http::Request<T>) -> axum::http::Request<T> {
    let path = request.uri().path();
    if !path.contains("//") && (path.len() == 1 || !path.ends_with('/')) {
        return request;
    }
    let mut tidy = String::with_capacity(path.len() + 1);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        tidy.push('/');
        tidy.push_str(part);
    }
    if tidy.is_empty() {
        tidy.push('/');
    }
    if let Some(query) = request.uri().query() {
        tidy.push('?');
        tidy.push_str(query);
    }
    if let Ok(uri) = tidy.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}
