//! Sends the shop's traffic to a running daemon, second by second, as a shop's backend would.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;

use crate::model::Timestamp;

use super::script::Script;
use super::shop::Shop;

/// The ingest key of the demo's configuration.
const KEY: &str = "demo";
/// Tries of one body before the demo gives up.
const TRIES: u32 = 30;
/// A server may ask for a longer pause, but a demo is not worth it.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After a longer standstill (a laptop that slept) traffic goes on from here, not from where it stopped.
const GAP_MAX: Duration = Duration::from_secs(60);

/// A client for loopback: no proxy, and no certificates to look for.
pub fn client() -> anyhow::Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trust = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).tls_backend_preconfigured(trust);
    builder.build().context("no HTTP client can be made")
}

/// Posts lines to `/v1/events`. Waits and tries again while the daemon cannot be reached or asks for patience (429, 503); the
/// lines' ids make that safe.
pub async fn send(client: &reqwest::Client, base_url: &str, lines: &[String]) -> anyhow::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let url = format!("{}/v1/events", base_url.trim_end_matches('/'));
    let body = lines.join("\n");
    for _ in 0..TRIES {
        let sent =
            client.post(&url).bearer_auth(KEY).header("content-type", "application/x-ndjson").body(body.clone()).send().await;
        let pause = match sent {
            Ok(answer) if matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                let asked = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                asked.map_or(Duration::from_secs(1), Duration::from_secs)
            }
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                bail!("{url} answered {status}: {}", answer.text().await.unwrap_or_default())
            }
            Err(error) if error.is_connect() || error.is_timeout() => Duration::from_secs(1),
            Err(error) => return Err(error).with_context(|| format!("{url} does not take events")),
        };
        tokio::time::sleep(pause.min(PAUSE_MAX)).await;
    }
    bail!("{url} took no events in {TRIES} tries")
}

/// Sends what happens in the shop each second and says what its script does, until `stop` is ready. `now` is the clock; live
/// traffic goes on from its first answer.
pub async fn drive(
    base_url: &str,
    mut shop: Shop,
    mut script: Script,
    now: impl Fn() -> Timestamp,
    say: impl Fn(&str),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let client = client()?;
    let mut from = now();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = seconds.tick() => {}
        }
        let to = now();
        if to <= from {
            continue;
        }
        for line in script.announcements(to) {
            say(&line);
        }
        let lines = shop.live(&script, from.max(to - GAP_MAX), to);
        from = to;
        tokio::select! {
            () = &mut stop => return Ok(()),
            sent = send(&client, base_url, &lines) => sent?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use axum::http::HeaderMap;
    use axum::routing::post;

    #[tokio::test]
    async fn a_busy_daemon_is_asked_again_and_gets_every_second_once() {
        let tries = Arc::new(AtomicU32::new(0));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (count, keep) = (Arc::clone(&tries), Arc::clone(&bodies));
        let take = move |body: String| {
            let (count, keep) = (Arc::clone(&count), Arc::clone(&keep));
            async move {
                let mut headers = HeaderMap::new();
                headers.insert("retry-after", "0".parse().unwrap());
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => (StatusCode::TOO_MANY_REQUESTS, headers),
                    1 => (StatusCode::SERVICE_UNAVAILABLE, headers),
                    _ => {
                        keep.lock().unwrap().push(body);
                        (StatusCode::OK, headers)
                    }
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server =
            tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/v1/events", post(take))).await });
        let start = Timestamp::from_secs(1_795_000_000);
        let asked = AtomicU32::new(0);
        // Each look at the clock is a second later; the demo stops when it has seen three.
        let now = || start + Duration::from_secs(u64::from(asked.fetch_add(1, Ordering::SeqCst)));
        let stop = tokio::time::sleep(Duration::from_millis(2500));
        drive(&url, Shop::new(1), Script::new(start), now, |_| {}, stop).await.unwrap();
        server.abort();
        let sent = bodies.lock().unwrap().join("\n");
        let seconds = u64::from(asked.load(Ordering::SeqCst)) - 1;
        let expected = Shop::new(1).live(&Script::new(start), start, start + Duration::from_secs(seconds)).join("\n");
        assert!(seconds >= 2 && sent == expected, "{seconds} seconds");
        assert!(tries.load(Ordering::SeqCst) >= 4);
    }
}
