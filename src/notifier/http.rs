//! One POST, and what its end means: the classification of every HTTP channel in one place.
//!
//! No redirect is followed (a body or a credential would go with it), answers are read up to a limit, and no reason that
//! leaves this file holds a URL or a credential.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};

use crate::config::{HttpConfig, Integration, Receiver};
use crate::model::{AttemptResult, Timestamp};

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for one attempt as a whole.
const WHOLE: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 4096;
/// The longest wait that a service may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of further certification authorities cannot be used.
    #[error("cannot use ca_file {path}; it must hold certificates in PEM")]
    CaFile {
        /// Its path.
        path: PathBuf,
        /// Why, where the file could not be read.
        source: Option<std::io::Error>,
    },
    /// The proxy's URL cannot be used.
    #[error("cannot use proxy_url; write for example http://proxy.example:3128")]
    Proxy,
    /// TLS could not be set up.
    #[error("cannot set up TLS for outgoing requests")]
    Tls,
}

/// What tells clients apart: proxy and trust.
type Key = (Option<String>, Option<PathBuf>);

/// HTTP clients, one for each proxy and trust that the receivers name; connections are kept and shared.
#[derive(Debug)]
pub struct Clients(BTreeMap<Key, Client>);

impl Clients {
    /// Builds the clients that these receivers need.
    pub fn new(receivers: &[Receiver]) -> Result<Self, ClientError> {
        // Whoever came first has installed the same provider; an error only says so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut clients = BTreeMap::from([((None, None), client(&HttpConfig::default())?)]);
        for integration in receivers.iter().flat_map(|receiver| &receiver.integrations) {
            let http = match integration {
                Integration::Slack(slack) => &slack.http,
                Integration::PagerDuty(pagerduty) => &pagerduty.http,
                Integration::Webhook(webhook) => &webhook.http,
                Integration::Email(_) | Integration::Terminal => continue,
            };
            if let std::collections::btree_map::Entry::Vacant(place) = clients.entry(key(http)) {
                place.insert(client(http)?);
            }
        }
        Ok(Self(clients))
    }

    /// The client for these settings; `None` when they were not among the receivers it was built for.
    fn get(&self, http: &HttpConfig) -> Option<&Client> {
        self.0.get(&key(http))
    }
}

fn key(http: &HttpConfig) -> Key {
    (http.proxy_url.as_ref().map(|url| url.expose().to_string()), http.ca_file.clone())
}

/// A client as `http_config` wants it.
pub fn client(http: &HttpConfig) -> Result<Client, ClientError> {
    let settings = || -> Result<reqwest::ClientBuilder, ClientError> {
        let mut builder = Client::builder()
            .user_agent(concat!("spiked/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(WHOLE);
        if let Some(url) = &http.proxy_url {
            builder = builder.proxy(reqwest::Proxy::all(url.expose()).map_err(|_| ClientError::Proxy)?);
        }
        if let Some(path) = &http.ca_file {
            let wrong = |source| ClientError::CaFile { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(|error| wrong(Some(error)))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| wrong(None))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(builder)
    };
    match settings()?.build() {
        Ok(client) => Ok(client),
        // A machine without a certificate store (a bare container): the built-in list of authorities stands in.
        Err(_) => settings()?.tls_backend_preconfigured(built_in_trust()?).build().map_err(|_| ClientError::Tls),
    }
}

fn built_in_trust() -> Result<rustls::ClientConfig, ClientError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|_| ClientError::Tls)?.with_root_certificates(roots).with_no_client_auth())
}

/// An answer of a service.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// The first kilobytes.
    pub(super) body: String,
}

/// Sends JSON and reads the answer. `Err` is a transport failure, already classified.
pub(super) async fn post(
    clients: &Clients,
    http: &HttpConfig,
    url: &str,
    headers: &[(&str, String)],
    body: Vec<u8>,
    now: Timestamp,
) -> Result<Answer, AttemptResult> {
    let Some(client) = clients.get(http) else {
        return Err(AttemptResult::Transient { reason: "no client for this receiver yet".into(), retry_after: None });
    };
    let mut request = client.post(url).header("content-type", "application/json").body(body);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    if let Some(token) = &http.bearer_token {
        request = request.bearer_auth(token.expose());
    } else if let Some((user, password)) = &http.basic_auth {
        request = request.basic_auth(user, Some(password.expose()));
    }
    if let Some(timeout) = http.timeout {
        request = request.timeout(timeout);
    }
    let mut response = request.send().await.map_err(|error| failure(&error))?;
    let retry_after = response.headers().get("retry-after").and_then(|value| retry_after(value.to_str().ok()?, now));
    let status = response.status();
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - bytes.len())]),
            Ok(None) => break,
            // The status has come, but whether the service took the message is not known.
            Err(error) => return Err(failure(&error)),
        }
    }
    Ok(Answer { status: status.as_u16(), retry_after, body: String::from_utf8_lossy(&bytes).into_owned() })
}

/// A transport failure. The error's own text holds the URL, so only its kind and its innermost cause are told.
fn failure(error: &reqwest::Error) -> AttemptResult {
    if error.is_builder() {
        return AttemptResult::BadTarget { reason: "the URL or a header cannot be used; check the receiver".into() };
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "the connection broke before the answer was complete"
    };
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(|error| format!(" ({})", error.kind()));
    AttemptResult::Transient { reason: format!("{what}{}", io.unwrap_or_default()), retry_after: None }
}

/// `Retry-After` as seconds or as an HTTP date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = match value.trim().parse::<f64>() {
        Ok(secs) if secs.is_finite() && secs >= 0.0 => Duration::from_secs_f64(secs.min(1e6)),
        Ok(_) => return None,
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
            Timestamp(at.timestamp_millis()).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// What an answer means that is no success. `detail` is the service's own word for it, where it has one.
pub(super) fn classify(answer: &Answer, detail: &str) -> AttemptResult {
    let name = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("unknown status");
    let colon = if detail.is_empty() { "" } else { ": " };
    let reason = format!("{} {name}{colon}{detail}", answer.status);
    match answer.status {
        // Something on the way answered, not the service.
        200..=299 => {
            AttemptResult::Transient { reason: format!("{reason}, which is not this service's answer"), retry_after: None }
        }
        301 | 308 => AttemptResult::BadTarget { reason: format!("{reason}; the address has moved, redirects are not followed") },
        300..=399 => AttemptResult::Transient { reason: format!("{reason}; redirects are not followed"), retry_after: None },
        401 | 402 | 403 | 404 | 405 | 407 | 410 => AttemptResult::BadTarget { reason },
        408 | 425 | 429 | 500.. => AttemptResult::Transient { reason, retry_after: answer.retry_after },
        _ => AttemptResult::BadMessage { reason },
    }
}

/// A service's error word (`invalid_blocks`), if that is what it is; anything else may hold secrets or markup.
pub(super) fn error_word(body: &str) -> &str {
    let word = body.trim();
    let plain = word.len() <= 60 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { word } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse_rfc3339("2026-11-21T07:00:00Z").unwrap();
        assert_eq!(retry_after("2", now), Some(Duration::from_secs(2)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 07:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 06:00:30 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("999999999", now), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn only_error_words_are_told() {
        assert_eq!(error_word("invalid_blocks\n"), "invalid_blocks");
        assert_eq!(error_word("<html>https://hooks/secret</html>"), "");
    }
}
