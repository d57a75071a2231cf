//! spiked's own API, and what Prometheus and a service manager ask for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::router::{App, error, json};
use super::{Backend, Change, ChangeError, List, SeriesQuery, SeriesRow};
use crate::model::parse_duration;
use crate::telemetry::Metrics;

type Shared<B> = State<Arc<App<B>>>;

const WINDOW: Duration = Duration::from_secs(5 * 60);
const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Serialize)]
struct Series {
    series: Vec<SeriesRow>,
}

/// `GET /api/v1/series`
pub(super) async fn series<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    if let Some(refused) = app.refusal(&request, false) {
        return refused;
    }
    let query = match read_query(&request) {
        Ok(query) => query,
        Err(reason) => return error(StatusCode::BAD_REQUEST, &reason),
    };
    let series = app.backend.series(query).await;
    fresh(json(StatusCode::OK, &Series { series }))
}

fn read_query(request: &Request) -> Result<SeriesQuery, String> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map_err(|_| "the query cannot be read".to_owned())?.0;
    let mut query = SeriesQuery { window: WINDOW, site: None, env: None, page: None, step: None };
    for (name, value) in pairs {
        // An empty filter is one left out, as in the path's own description.
        let filter = Some(value.clone()).filter(|value| !value.is_empty());
        match name.as_str() {
            "window" => query.window = parse_duration(&value)?,
            "site" => query.site = filter,
            "env" => query.env = filter,
            "page" => query.page = filter,
            "step" => query.step = filter,
            _ => {}
        }
    }
    if !(WINDOW..=WINDOW_MAX).contains(&query.window) {
        return Err("`window` must be from 5m to 24h".into());
    }
    Ok(query)
}

async fn list<B: Backend>(app: &App<B>, request: Request, list: List) -> Response<Body> {
    if let Some(refused) = app.refusal(&request, false) {
        return refused;
    }
    fresh(json(StatusCode::OK, &json!({ list.as_str(): app.backend.list(list).await })))
}

/// `GET /api/v1/incidents`
pub(super) async fn incidents<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    list(&app, request, List::Incidents).await
}

/// `GET /api/v1/rules`
pub(super) async fn rules<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    list(&app, request, List::Rules).await
}

/// `GET /api/v1/deliveries`
pub(super) async fn deliveries<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    list(&app, request, List::Deliveries).await
}

/// `GET /api/v1/outcomes`
pub(super) async fn outcomes<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    list(&app, request, List::Outcomes).await
}

/// `GET /api/v1/incidents/{id}`
pub(super) async fn incident<B: Backend>(State(app): Shared<B>, Path(id): Path<String>, request: Request) -> Response<Body> {
    if let Some(refused) = app.refusal(&request, false) {
        return refused;
    }
    match app.backend.incident(&id).await {
        Some(found) => fresh(json(StatusCode::OK, &found)),
        None => error(StatusCode::NOT_FOUND, &ChangeError::Unknown.to_string()),
    }
}

/// `POST /api/v1/incidents/{id}/ack`
pub(super) async fn ack<B: Backend>(State(app): Shared<B>, Path(id): Path<String>, request: Request) -> Response<Body> {
    change(&app, &id, request, Change::Ack).await
}

/// `POST /api/v1/incidents/{id}/resolve`
pub(super) async fn resolve<B: Backend>(State(app): Shared<B>, Path(id): Path<String>, request: Request) -> Response<Body> {
    change(&app, &id, request, Change::Resolve).await
}

async fn change<B: Backend>(app: &App<B>, id: &str, request: Request, change: Change) -> Response<Body> {
    if let Some(refused) = app.refusal(&request, true) {
        return refused;
    }
    let by_page = wants_html(request.headers());
    match app.backend.change(id, change).await {
        // The page's buttons are plain forms: back to the page.
        Ok(_) if by_page => see_home(),
        Ok(incident) => json(StatusCode::OK, &incident),
        Err(why @ ChangeError::Unknown) => error(StatusCode::NOT_FOUND, &why.to_string()),
        Err(why @ ChangeError::Conflict(_)) => error(StatusCode::CONFLICT, &why.to_string()),
    }
}

/// Whether a browser shows the answer to a person.
fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

/// 303 to the page.
pub(super) fn see_home() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    response
}

/// `GET /metrics`
pub(super) async fn metrics<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    if let Some(refused) = app.refusal(&request, false) {
        return refused;
    }
    let mut response = Response::new(Body::from(app.backend.metrics().encode()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Metrics::CONTENT_TYPE));
    response
}

/// What describes this API to programs.
pub(super) const OPENAPI: &str = include_str!("assets/openapi.json");

/// `GET /api/openapi.json`: the same for everybody, so it needs no token.
pub(super) async fn openapi() -> Response<Body> {
    let mut response = Response::new(Body::from(OPENAPI));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `GET /-/healthy`: the process answers.
pub(super) async fn healthy() -> Response<Body> {
    plain(StatusCode::OK, "spiked is healthy\n".to_owned())
}

/// `GET /-/ready`: events are taken.
pub(super) async fn ready<B: Backend>(State(app): Shared<B>) -> Response<Body> {
    match app.backend.ready() {
        Ok(()) => plain(StatusCode::OK, "spiked is ready\n".to_owned()),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("spiked is not ready: {reason}\n")),
    }
}

/// `POST /-/reload`
pub(super) async fn reload<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    if let Some(refused) = app.refusal(&request, true) {
        return refused;
    }
    match Arc::clone(&app.backend).reload().await {
        Ok(said) => plain(StatusCode::OK, said),
        // As Prometheus answers.
        Err(diagnostics) => plain(StatusCode::INTERNAL_SERVER_ERROR, diagnostics),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fresh(response)
}

/// Numbers of now are kept by no cache.
fn fresh(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
