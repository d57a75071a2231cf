//! The synthetic shop of `spiked demo`: believable traffic that breaks now and then, and the configuration to watch it with.
//!
//! The generator is pure and seeded: the same seed, script and span give the same lines, however the span is cut. It is kept
//! small because it also documents what real traffic looks like to spiked: visits that walk a funnel, rates that follow the hour,
//! a background of errors that is never zero, retries that make errors come in clumps.

pub mod catalogue;
pub mod config;
pub mod line;
pub mod rng;
pub mod run;
pub mod script;
pub mod sender;
pub mod shop;

#[cfg(test)]
mod tests;
