//! What browsers need to hear so that pages of other origins may send events, and see why they were refused.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};

/// Allowed where the browser does not say what it will send.
const HEADERS: &str = "content-type, content-encoding, authorization, x-spiked-key, x-api-key";

/// Marks an answer of an ingest path as readable by the page that asked. Nothing but the fate of its own events is in it. The
/// origin is echoed, as `*` is not enough for `sendBeacon`, which always sends credentials.
pub(super) fn allow(origin: Option<HeaderValue>, answer: &mut HeaderMap) {
    match origin {
        Some(origin) => {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        None => drop(answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))),
    }
    answer.append(VARY, HeaderValue::from_static("Origin"));
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, x-sentry-rate-limits, x-sentry-error"));
}

/// Answers a preflight, which never carries a key: whoever may send is decided when it sends.
pub(super) fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    allow(request.get(ORIGIN).cloned(), headers);
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(HeaderValue::from_static(HEADERS)));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    answer
}
