//! The doors for native events: `/v1/events`, the beacon and its script, releases and heartbeats.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::auth::Writer;
use super::body::{self, BodyError};
use super::router::{App, error, json, peer_of, seen_from, try_again};
use super::{Backend, DecodeError, Decoded, Door, Incoming, IngestError, Rejected, cors};
use crate::model::{Outcome, Refusal};

/// The script that pages load.
pub(super) const SCRIPT: &str = include_str!("assets/spiked.js");
/// Refused lines that an answer lists; further ones are counted in `rejected_total`.
const REJECTED_LISTED: usize = 1000;

type Shared<B> = State<Arc<App<B>>>;

/// `POST /v1/events`
pub(super) async fn native<B: Backend>(app: &App<B>, request: Request, peer: Option<IpAddr>) -> Response<Body> {
    door(app, request, peer, Door::Events, None).await
}

/// `POST /v1/beacon`: as events, answered without a body.
pub(super) async fn beacon<B: Backend>(app: &App<B>, request: Request, peer: Option<IpAddr>) -> Response<Body> {
    let mut response = door(app, request, peer, Door::Beacon, None).await;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response
}

/// `POST /v1/deploy`: fields as a JSON object or in the query.
pub(super) async fn deploy<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    let peer = peer_of(&request);
    door(
        &app,
        request,
        peer,
        Door::Deploy,
        Some(&|query, body| {
            let mut event = fields(query, body)?;
            if event.get("release").and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err("`release` is missing; send {\"release\":\"web@1.2.3\"} or ?release=web@1.2.3".into());
            }
            event.insert("type".into(), json!("deploy"));
            Ok(Value::Object(event).to_string().into_bytes())
        }),
    )
    .await
}

/// `GET` or `POST /v1/heartbeat/{job}`: `status` (default ok) as a JSON object or in the query.
pub(super) async fn heartbeat<B: Backend>(State(app): Shared<B>, Path(job): Path<String>, request: Request) -> Response<Body> {
    let peer = peer_of(&request);
    door(
        &app,
        request,
        peer,
        Door::Heartbeat,
        Some(&move |query, body| {
            let mut event = fields(query, body)?;
            event.entry("status").or_insert(json!("ok"));
            event.insert("type".into(), json!("heartbeat"));
            event.insert("job".into(), json!(job));
            Ok(Value::Object(event).to_string().into_bytes())
        }),
    )
    .await
}

/// `GET /spiked.js`
pub(super) async fn script() -> Response<Body> {
    let mut response = Response::new(Body::from(SCRIPT));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    response
}

/// Query parameters and the members of a JSON object; the body's win.
fn fields(query: &[(String, String)], body: &[u8]) -> Result<Map<String, Value>, String> {
    let mut event: Map<String, Value> =
        query.iter().filter(|(name, _)| name != "key").map(|(name, value)| (name.clone(), json!(value))).collect();
    if !body.trim_ascii().is_empty() {
        match serde_json::from_slice(body) {
            Ok(Value::Object(said)) => event.extend(said),
            _ => return Err("the body is no JSON object; send one, or put the fields in the query".into()),
        }
    }
    Ok(event)
}

/// Makes one native line of a query and a body, which are small; other doors' bodies are native already.
type Shape = dyn Fn(&[(String, String)], &[u8]) -> Result<Vec<u8>, String> + Send + Sync;

/// One request at a door: preflight, key, body, decode, quota, log, answer. Every answer is readable across origins.
async fn door<B: Backend>(
    app: &App<B>,
    request: Request,
    peer: Option<IpAddr>,
    door: Door,
    shape: Option<&Shape>,
) -> Response<Body> {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers());
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if request.method() == Method::POST || (door == Door::Heartbeat && request.method() == Method::GET) {
        take(app, request, peer, door, shape).await
    } else {
        error(StatusCode::METHOD_NOT_ALLOWED, "send events with POST")
    };
    cors::allow(origin, response.headers_mut());
    response
        .headers_mut()
        .insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    response
}

async fn take<B: Backend>(
    app: &App<B>,
    request: Request,
    peer: Option<IpAddr>,
    door: Door,
    shape: Option<&Shape>,
) -> Response<Body> {
    let access = app.backend.access();
    let writer = match access.writer(&seen_from(&request, peer)) {
        Ok(writer) => writer,
        Err(refused) => {
            body::drain(request.into_body()).await;
            return app.refuse(refused);
        }
    };
    let (parts, body) = request.into_parts();
    let body = match body::read(&parts.headers, body, app.backend.body_bytes_max(), &app.budget).await {
        Ok(body) => body,
        Err(error) => {
            let outcome = match error {
                BodyError::TooLarge(_) => Outcome::Limited(Refusal::BodyBytes),
                BodyError::Budget => Outcome::Limited(Refusal::Overload),
                BodyError::Slow | BodyError::Cut => Outcome::Invalid(Refusal::Body),
            };
            app.backend.metrics().lines(door.as_str(), outcome, 1);
            return refuse_body(error);
        }
    };
    app.backend.metrics().ingest_bytes.inc_by(body.len() as u64);
    let decoded = match shape {
        None => decode(app, &parts.headers, door, &body, text(&parts.headers, CONTENT_ENCODING), writer),
        Some(shape) => {
            let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|query| query.0).unwrap_or_default();
            match shape(&query, &body) {
                Ok(line) => decode(app, &parts.headers, door, &line, "", writer),
                Err(reason) => Err(DecodeError::Unreadable(reason)),
            }
        }
    };
    drop(body);
    match decoded {
        Ok(decoded) => keep(app, door, writer, decoded).await,
        Err(error) => {
            let is_large = matches!(error, DecodeError::TooLarge(_));
            let outcome = if is_large { Outcome::Limited(Refusal::BodyBytes) } else { Outcome::Invalid(Refusal::Body) };
            app.backend.metrics().lines(door.as_str(), outcome, 1);
            refuse_whole(&error)
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
}

fn decode<B: Backend>(
    app: &App<B>,
    headers: &HeaderMap,
    door: Door,
    body: &[u8],
    encoding: &str,
    writer: Writer<'_>,
) -> Result<Decoded, DecodeError> {
    if body.is_empty() {
        return Ok(Decoded::default());
    }
    let user_agent = text(headers, USER_AGENT);
    app.backend.decode(Incoming { door, body, encoding, site: writer.site(), user_agent, now: app.backend.now() })
}

async fn keep<B: Backend>(app: &App<B>, door: Door, writer: Writer<'_>, decoded: Decoded) -> Response<Body> {
    let Decoded { batch, accepted, rejected } = decoded;
    // Lines that were left out or refused alone are counted already.
    let lines = batch.events.iter().filter(|event| !event.companion).count() as u64;
    let turned_away = |reason| app.backend.metrics().lines(door.as_str(), Outcome::Limited(reason), lines);
    // Bad lines cost as much work as good ones.
    if let Err(after) = writer.take(accepted + rejected.len() as u64, app.backend.now()) {
        turned_away(Refusal::Quota);
        return try_again(StatusCode::TOO_MANY_REQUESTS, "the quota of this key is used up; try again later", after);
    }
    if !batch.events.is_empty() {
        match app.backend.ingest(door, batch).await {
            Ok(()) => {}
            Err(why @ IngestError::Overloaded { retry_after }) => {
                turned_away(Refusal::Overload);
                return try_again(StatusCode::TOO_MANY_REQUESTS, &why.to_string(), retry_after);
            }
            Err(ref why @ IngestError::Unavailable { retry_after, .. }) => {
                turned_away(Refusal::Unavailable);
                return try_again(StatusCode::SERVICE_UNAVAILABLE, &why.to_string(), retry_after);
            }
        }
    }
    let status = if accepted == 0 && !rejected.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    json(status, &answer(accepted, &rejected))
}

/// The body of every answer of an ingest door.
#[derive(Serialize)]
struct Answer<'a> {
    accepted: u64,
    rejected: &'a [Rejected],
    /// How many there are, where not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_total: Option<usize>,
    /// Why the whole body was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

fn answer(accepted: u64, rejected: &[Rejected]) -> Answer<'_> {
    let listed = &rejected[..rejected.len().min(REJECTED_LISTED)];
    let rejected_total = (listed.len() < rejected.len()).then_some(rejected.len());
    Answer { accepted, rejected: listed, rejected_total, error: None }
}

fn refuse_whole(error: &DecodeError) -> Response<Body> {
    let status = match error {
        DecodeError::UnknownEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DecodeError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        DecodeError::Unreadable(_) => StatusCode::BAD_REQUEST,
    };
    refusal(status, error.to_string())
}

fn refuse_body(why: BodyError) -> Response<Body> {
    if why == BodyError::Budget {
        return try_again(why.status(), &why.to_string(), Duration::from_secs(5));
    }
    let mut response = refusal(why.status(), why.to_string());
    if matches!(why, BodyError::Slow | BodyError::Cut) {
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    }
    response
}

/// A refusal of the whole body, in the shape of [`answer`] with the reason beside.
fn refusal(status: StatusCode, error: String) -> Response<Body> {
    let rejected = [Rejected { line: 1, error }];
    json(status, &Answer { error: Some(&rejected[0].error), ..answer(0, &rejected) })
}
