//! Delivery policy: order, retries, collapse after an outage, fallbacks. Pure: it says what to send and hears how it went.

pub mod queue;
pub mod retry;
pub mod target;

pub use queue::{End, Outbox, Queued, Settled};
pub use target::{ReceiverPlan, TargetPlan, TargetState};
