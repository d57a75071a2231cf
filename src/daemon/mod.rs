//! The thin shell around the cores: threads, tasks, the clock, files, signals.
//!
//! ```text
//! web, access logs ──► wal thread (durable, in order) ──► watch thread ──► desk thread (store) ──► deliveries (tokio)
//!                                                          │ checkpoint thread
//! ```
//! Every arrow is a queue. The log is the one order of inputs: the watch hears nothing that is not in it, ticks included.

mod archive;
pub mod clock;
pub mod data_dir;
pub mod desk_task;
pub mod file_watch;
pub mod files;
pub mod history;
pub mod last_good;
pub mod reload;
mod restore;
pub mod run;
pub mod settings;
pub mod shared;
pub mod signs;
pub mod source_task;
mod spare;
pub mod tail;
pub mod trouble;
pub mod view;
pub mod watch_task;

pub use run::{Daemon, Options, StartError};
pub use settings::{Found, Origin, Settings};
