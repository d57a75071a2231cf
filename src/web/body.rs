//! Bodies, read piece by piece: never more than the limit in memory, never more in all than the budget, never for ever.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use tokio::time::timeout;

/// The longest pause between two pieces.
const PIECE: Duration = Duration::from_secs(10);
/// The longest time for a whole body.
const WHOLE: Duration = Duration::from_secs(60);
/// Bytes of refused bodies that are read and thrown away, so that the client gets to read the answer.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// 413.
    #[error("the body is over {0} bytes (limits.body_bytes); send smaller batches")]
    TooLarge(usize),
    /// 408.
    #[error("the body came too slowly")]
    Slow,
    /// 400.
    #[error("the body was cut off")]
    Cut,
    /// 503.
    #[error("too many bodies at once; try again later")]
    Budget,
}

impl BodyError {
    /// The status to answer.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Budget => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Bytes of all bodies in memory together.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(super) const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    fn add(&self, bytes: usize) -> bool {
        let fits = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.max;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// A body that gives its bytes back to the budget when it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    /// The first piece as it came: mostly the whole.
    piece: Bytes,
    /// All pieces, where there are several.
    joined: Vec<u8>,
    counted: usize,
    budget: &'a Budget,
}

impl Held<'_> {
    fn add(&mut self, piece: Bytes, said: usize, max: usize) -> Result<(), BodyError> {
        if self.len() + piece.len() > max {
            return Err(BodyError::TooLarge(max));
        }
        if !self.budget.add(piece.len()) {
            return Err(BodyError::Budget);
        }
        self.counted += piece.len();
        if self.is_empty() {
            self.piece = piece;
            return Ok(());
        }
        if self.joined.is_empty() {
            self.joined.reserve(said.min(1 << 20));
            self.joined.extend_from_slice(&std::mem::take(&mut self.piece));
        }
        self.joined.extend_from_slice(&piece);
        Ok(())
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        if self.joined.is_empty() { &self.piece } else { &self.joined }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Reads a body of at most `max` bytes. Of a longer one the rest is read away, so that the client hears the refusal.
pub(super) async fn read<'a>(headers: &HeaderMap, mut body: Body, max: usize, budget: &'a Budget) -> Result<Held<'a>, BodyError> {
    let said: Option<usize> = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if said.is_some_and(|bytes| bytes > max) {
        drain(body).await;
        return Err(BodyError::TooLarge(max));
    }
    let mut held = Held { piece: Bytes::new(), joined: Vec::new(), counted: 0, budget };
    let first = at_once(&mut body).await;
    let reading = async {
        let mut piece = match first {
            Some(piece) => piece?,
            None => next(&mut body).await?,
        };
        while let Some(bytes) = piece {
            held.add(bytes, said.unwrap_or(0), max)?;
            piece = if body.is_end_stream() { None } else { next(&mut body).await? };
        }
        Ok(())
    };
    let result = timeout(WHOLE, reading).await.unwrap_or(Err(BodyError::Slow));
    match result {
        Ok(()) => Ok(held),
        Err(error) => {
            drop(held);
            if matches!(error, BodyError::TooLarge(_) | BodyError::Budget) {
                drain(body).await;
            }
            Err(error)
        }
    }
}

/// Reads a body away without keeping it.
pub(super) async fn drain(mut body: Body) {
    let away = async {
        let mut bytes = 0;
        while let Ok(Some(piece)) = next(&mut body).await {
            bytes += piece.len();
            if bytes > DRAIN_BYTES {
                break;
            }
        }
    };
    // Whether it ended or not: the answer goes out now.
    let _late = timeout(PIECE, away).await;
}

/// The next piece, if it has come already: nearly every body is short and comes with its head, and needs no clock wound up for it.
/// The connection hands a body over after it was asked for it once, so it is asked twice.
async fn at_once(body: &mut Body) -> Option<Result<Option<Bytes>, BodyError>> {
    let mut asked = false;
    let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    match frame.await? {
        None => Some(Ok(None)),
        Some(Err(_)) => Some(Err(BodyError::Cut)),
        // Trailers say nothing to us: what follows them is the end.
        Some(Ok(frame)) => frame.into_data().ok().map(|piece| Ok(Some(piece))),
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = timeout(PIECE, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await.map_err(|_| BodyError::Slow)?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(BodyError::Cut),
            // Trailers say nothing to us.
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}
