//! (to come)
pub mod check;
pub mod demo;
pub mod schema;
