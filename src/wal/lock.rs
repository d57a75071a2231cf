//! One daemon for each `data_dir`: two would write over each other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Why the folder could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by another spiked; stop that one first, or give this one its own data_dir", .0.display())]
    Held(PathBuf),
    /// The lock file could not be made or locked.
    #[error("cannot lock {}; check that the folder may be written", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Holds `data_dir/LOCK` until it is dropped. The system releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl DirLock {
    /// Takes the folder, which is made if it is not there.
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let io_error = |error| LockError::Io(data_dir.to_owned(), error);
        std::fs::create_dir_all(data_dir).map_err(io_error)?;
        let path = data_dir.join("LOCK");
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(path).map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(data_dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(io_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("in use by another spiked"), "{refused}");
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
