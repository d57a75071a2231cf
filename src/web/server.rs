//! Connections: how many, and for how long a slow one is waited for.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Backend, Site};

/// Connections at once; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 4096;
/// The longest time for the head of a request, and between two requests of a connection.
const HEAD: Duration = Duration::from_secs(30);
/// How long requests may take to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// Serves until `stop` resolves, then takes nothing new and lets what runs end, for 5 s at most.
pub async fn serve<B: Backend>(listener: TcpListener, site: Arc<Site<B>>, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let Ok((stream, address)) = accepted else {
            // Out of file handles, most likely: connections that end make room.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Answers are small: waiting to fill a packet would only delay them. Where it cannot be set, nothing is lost.
        let _unset = stream.set_nodelay(true);
        let peer = address.ip().to_canonical();
        let pace = Arc::new(Pace::new());
        let (site, watched) = (Arc::clone(&site), Arc::clone(&pace));
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (site, pace) = (Arc::clone(&site), Arc::clone(&watched));
            async move {
                let _answering = pace.begin();
                Ok::<_, Infallible>(site.answer(request.map(Body::new), Some(peer)).await)
            }
        });
        let connection = http1::Builder::new().max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(event = "connection_failed", %error, "a connection ended early");
                    }
                }
                () = pace.too_slow() => tracing::debug!(event = "connection_slow", "a connection was waited for long enough"),
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!(event = "connections_cut", "some requests did not end in time and were cut off");
    }
}

/// Since when a connection waits for the head of a request. One clock for the whole connection: winding one up for each request
/// would cost a twentieth of it.
struct Pace {
    born: Instant,
    /// Milliseconds since then.
    waits_since: AtomicU64,
    answering: AtomicBool,
}

impl Pace {
    fn new() -> Self {
        Self { born: Instant::now(), waits_since: AtomicU64::new(0), answering: AtomicBool::new(false) }
    }

    /// A request has begun; it ends with what this returns.
    fn begin(&self) -> Answering<'_> {
        self.answering.store(true, Ordering::Relaxed);
        Answering(self)
    }

    /// Resolves when a head has not come in time.
    async fn too_slow(&self) {
        let mut last = self.born;
        loop {
            tokio::time::sleep_until(last + HEAD).await;
            last = if self.answering.load(Ordering::Relaxed) {
                Instant::now()
            } else {
                self.born + Duration::from_millis(self.waits_since.load(Ordering::Relaxed))
            };
            if last.elapsed() >= HEAD {
                return;
            }
        }
    }
}

struct Answering<'a>(&'a Pace);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.waits_since.store(self.0.born.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::super::router::tests::Fake;
    use super::*;

    #[tokio::test]
    async fn requests_carry_their_peer_and_a_stop_lets_them_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::new(Site::new(Arc::new(Fake::default())));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, site, async move { stopped.await.unwrap_or_default() }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Only a request from this machine is answered.
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        stop.send(()).unwrap();
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    }
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_waited_for_between_requests_and_never_during_one() {
        let pace = Pace::new();
        pace.too_slow().await;
        assert_eq!(pace.born.elapsed().as_secs(), 30, "nothing came");

        let pace = Pace::new();
        let answering = async {
            let _answering = pace.begin();
            tokio::time::sleep(Duration::from_secs(100)).await;
        };
        tokio::join!(answering, pace.too_slow());
        assert_eq!(pace.born.elapsed().as_secs(), 130, "a long answer, and nothing after it");
    }
}
