//! Tests across modules, against real files, real servers on loopback and the real binary; one module per topic.

mod config;
mod delivery;
mod fakes;
mod reference;
mod scenarios;
mod watch_properties;
