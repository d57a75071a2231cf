//! (to come)
pub mod tail;
