//! Who hears, and when: the route tree, groups and their timers, silences, inhibition, time intervals.
//!
//! The words and their meaning are Alertmanager's. Pure: time is an argument, nothing is sent here.

pub mod group;
pub mod inhibit;
pub mod matcher;
pub mod route;
pub mod silence;
pub mod time_interval;

pub use group::Group;
pub use matcher::Matcher;
pub use route::Route;
pub use silence::Silence;
