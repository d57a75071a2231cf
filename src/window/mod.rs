//! Rolling counts: what came in the last minutes, hours and days, per series and per slice.
//!
//! [`Ring`] holds views and errors in cells of event time, fine for the newest minutes and coarser with age; [`Sessions`] holds
//! who came, so that distinct sessions of any window can be told; [`Starts`] knows when each visit began; [`Recent`] remembers ids
//! for a while. Counts do not depend on the order of arrival. Nothing here knows rules.

pub mod recent;
pub mod ring;
pub mod sessions;
pub mod starts;

pub use recent::Recent;
pub use ring::{Ring, Tally};
pub use sessions::Sessions;
pub use starts::{Starts, Visited};
