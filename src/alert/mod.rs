//! What an alert is over time: its incident, from the first firing to the end.

pub mod incident;

pub use incident::Incident;
