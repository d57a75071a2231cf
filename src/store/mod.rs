//! What is small and precious, in SQLite: incidents, groups, the outbox, silences. One save of the desk is one transaction.

mod backlog;
pub mod sqlite;

pub use backlog::Backlog;
pub use sqlite::{Store, StoreError};
