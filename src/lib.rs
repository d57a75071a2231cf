//! spiked: hears page views and errors, notices when something has really changed, and tells the right people once.
pub mod model;
pub mod stats;

pub mod alert;
pub mod dispatch;
pub mod outbox;
pub mod rule;
pub mod window;

pub mod config;
pub mod desk;
pub mod ingest;
pub mod render;
pub mod watch;

pub mod notifier;
pub mod store;
pub mod telemetry;
pub mod wal;
pub mod web;

pub mod cli;
pub mod daemon;
