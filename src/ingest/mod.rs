//! (to come)
pub mod access_log;
pub mod agent;
