//! How spiked tells about itself: log lines and metrics. It measures nothing of its own; the rooms report to it.

pub mod log;
pub mod metrics;
mod process;

pub use metrics::Metrics;
