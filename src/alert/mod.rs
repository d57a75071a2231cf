//! The life of an alert: [`state`] is Prometheus' inactive, pending and firing for one rule and group.

pub mod state;
