//! What is wrong, and since when.
//!
//! [`state`] is the life of one alert within the watch: inactive, pending, firing. [`incident`] is the life of what the desk
//! speaks of: one open incident for each alert and group, with its episodes. Neither decides who hears of it.

pub mod incident;
pub mod state;

pub use incident::{Ack, Incident};
