//! HTTP: the doors for events, spiked's own API, and one page for people.
//!
//! Everything behind the doors is a [`Backend`], so that the whole room is tested without a daemon. Nothing here decides what
//! an event means: bytes go to [`Backend::decode`], batches to [`Backend::ingest`], which resolves once they are durable.

mod api;
pub mod auth;
pub mod backend;
mod body;
mod cors;
mod events;
mod guard;
pub mod overview;
mod router;
mod server;
mod ui;

pub use auth::{Access, Seen};
pub use backend::{Backend, Change, ChangeError, DecodeError, Decoded, Door, Incoming, IngestError, List, Rejected};
pub use backend::{SeriesQuery, SeriesRow};
pub use overview::Overview;
pub use router::Site;
pub use server::serve;
