//! The vocabulary: plain data that every floor shares. No behaviour beyond parsing, printing and comparing.
//!
//! Nothing here reads a clock, a file or the network. Names are the field's own: series, labels, severity, transition,
//! notification, delivery.

pub mod batch;
pub mod delivery;
pub mod duration;
pub mod event;
pub mod finding;
pub mod keyed;
pub mod labels;
pub mod limits;
pub mod notification;
pub mod outcome;
pub mod secret;
pub mod series;
pub mod severity;
mod stored;
pub mod time;
pub mod transition;

pub use batch::{Batch, Text};
pub use delivery::{AttemptResult, Delivery};
pub use duration::{format_duration, parse_duration};
pub use event::{Dim, Event, Kind};
pub use finding::{Finding, Metric};
pub use keyed::{HashedMap, HashedSet};
pub use labels::Labels;
pub use notification::{AlertView, Notification, Reason};
pub use outcome::{Outcome, Refusal};
pub use secret::Secret;
pub use series::SeriesKey;
pub use severity::Severity;
pub use time::Timestamp;
pub use transition::{State, Transition, TransitionId};
