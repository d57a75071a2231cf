//! Bytes to events: what clients send becomes resolved, scrubbed events in a [`Batch`](crate::model::Batch).
//!
//! Every format reads its own words into a [`RawEvent`], borrowed from the body; one [`Door`] resolves all of them alike: page
//! template, funnel step, session hash, error fingerprint, scrubbing. What does not pass is refused alone, with a reason. No
//! clock, no I/O: arrival times and salts are arguments.

pub mod access_log;
pub mod agent;
pub mod door;
pub mod encoding;
pub mod fingerprint;
mod frames;
pub mod native;
mod native_fields;
mod native_scan;
pub mod page;
pub mod raw;
pub mod salt;
pub mod scratch;
pub mod scrub;

pub use door::{ArrivalClock, Door, Refused};
pub use native::{Rejected, Report};
pub use raw::{RawError, RawEvent, RawKind};
pub use salt::Salts;
pub use scratch::Scratch;
