//! Tests across modules, against real servers on loopback; one module per topic.

mod delivery;
mod fakes;
