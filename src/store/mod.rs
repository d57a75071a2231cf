//! What is small and precious, in SQLite: incidents, groups, the outbox, silences. One save of the desk is one transaction.

pub mod sqlite;

pub use sqlite::{Store, StoreError};
