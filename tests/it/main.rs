//! Tests across modules, against real files, real servers on loopback and the real binary; one module per topic.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::large_stack_arrays,
    unreachable_pub,
    reason = "tests fail by panicking, skip aloud, and share what they need"
)]

mod access_log;
mod cli;
mod config;
mod daemon;
mod delivery;
mod durability;
mod fakes;
mod false_alarms;
mod harness;
mod kill;
mod live_is_backtest;
mod metrics;
mod overload;
mod reference;
mod releases;
mod reload;
mod scenarios;
mod secrets;
#[path = "../sim/mod.rs"]
#[allow(dead_code, reason = "the bench needs more of it")]
mod sim;
mod sinks;
mod watch_properties;
mod world;
