//! The thin shell around the cores: tasks, clock, files, signals.

pub mod files;
pub mod tail;
