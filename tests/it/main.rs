//! Tests across modules, against real files, real servers on loopback and the real binary; one module per topic.

mod access_log;
mod cli;
mod config;
mod daemon;
mod delivery;
mod fakes;
mod harness;
mod live_is_backtest;
mod reference;
mod scenarios;
mod sinks;
mod watch_properties;
