//! The log in front of the Watch: what was acknowledged is in here, in the order in which it is judged.
//!
//! Entries get consecutive offsets from 0. They are written to segments, synced by group commit ([`commit`]), read again
//! after a crash ([`Replay`]) and deleted once a [`checkpoint`] covers them. A cluster can put another log with offsets in this
//! place, so nothing here knows what the entries mean. It deliberately does not compress, index or share a file.

pub mod checkpoint;
pub mod commit;
mod disk;
mod entry;
mod lock;
mod log;
#[cfg(test)]
mod memory_disk;
#[cfg(test)]
mod model_tests;
mod replay;
mod segment;

pub use commit::{CommitError, CommitOptions, Committer, Group};
pub use entry::Entry;
pub use lock::{DirLock, LockError};
pub use log::{Opened, Wal, WalError, WalOptions};
pub use replay::{Damage, Replay};

/// Version of the segment format; newer ones are refused, and so is 1, which builds before 0.1.0 wrote.
pub const FORMAT_VERSION: u32 = 2;
