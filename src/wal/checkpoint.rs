//! A core's whole state on disk, so that a restart replays minutes of log rather than weeks.
//!
//! Written aside, synced, renamed: a checkpoint is whole or not there. The last two are kept, so that one bad sector
//! costs a longer replay and nothing else.
//!
//! ```text
//! "SPIKDCHK"  version u32  offset u64  length u64  xxh3 u64 (of the fields before and the bytes)  bytes
//! ```

use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::disk::{Disk, RealDisk};

const MAGIC: &[u8; 8] = b"SPIKDCHK";
const HEADER_BYTES: usize = 36;
/// What a file is called until it is whole.
const ASIDE: &str = "tmp";
/// Checkpoints kept.
const KEPT: usize = 2;

/// Why there is no state to start from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot use the checkpoints in {}; check that the disk has room and the folder may be written", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Written by a later version.
    #[error("{} has checkpoint format {version}, but this spiked knows up to {known}; run the newer spiked again", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
        /// The latest format that the caller knows.
        known: u32,
    },
}

/// A sound checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The state holds all entries before this offset: replay from here.
    pub offset: u64,
    /// Format of the state, as given to [`write()`].
    pub format_version: u32,
    /// Newer files that were damaged, and so passed over.
    pub damaged: Vec<PathBuf>,
    file: Vec<u8>,
}

impl Checkpoint {
    /// The state.
    pub fn state(&self) -> &[u8] {
        &self.file[HEADER_BYTES..]
    }
}

/// Writes the state up to `offset` durably and removes what is older than the last two.
pub fn write(dir: &Path, offset: u64, format_version: u32, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_on(&RealDisk, dir, offset, format_version, bytes)
}

pub(super) fn write_on(
    disk: &dyn Disk,
    dir: &Path,
    offset: u64,
    format_version: u32,
    bytes: &[u8],
) -> Result<(), CheckpointError> {
    let path = path_of(dir, offset);
    let aside = path.with_extension(ASIDE);
    let write = || -> io::Result<()> {
        disk.make_dir(dir)?;
        let mut file = disk.create(&aside)?;
        file.append(&header(offset, format_version, bytes))?;
        file.append(bytes)?;
        file.sync()?;
        disk.rename(&aside, &path)?;
        disk.sync_dir(dir)?;
        for old in list(disk, dir)?.into_iter().skip(KEPT) {
            disk.remove(&old)?;
        }
        Ok(())
    };
    write().map_err(|error| {
        // What a full disk took of it would keep the disk full. Where it is not there, nothing is lost.
        let _gone = disk.remove(&aside);
        CheckpointError::Io(dir.to_owned(), error)
    })
}

/// The newest sound checkpoint whose format is at most `known_version`; `None` when there is none.
///
/// # Errors
/// A newer format is refused rather than passed over: starting from older state would repeat what was told since.
pub fn load(dir: &Path, known_version: u32) -> Result<Option<Checkpoint>, CheckpointError> {
    load_on(&RealDisk, dir, known_version)
}

pub(super) fn load_on(disk: &dyn Disk, dir: &Path, known_version: u32) -> Result<Option<Checkpoint>, CheckpointError> {
    let io_error = |error| CheckpointError::Io(dir.to_owned(), error);
    let paths = match list(disk, dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error)?,
    };
    // A crash may have left the beginning of one: nobody will finish it. Where it cannot be removed, it only takes room.
    for path in disk.list(dir).map_err(io_error)?.iter().filter(|path| path.extension().is_some_and(|e| e == ASIDE)) {
        let _stays = disk.remove(path);
    }
    let mut damaged = Vec::new();
    for path in paths {
        let file = disk.read(&path).map_err(io_error)?;
        let Some((format_version, offset)) = sound(&file) else {
            damaged.push(path);
            continue;
        };
        if format_version > known_version {
            return Err(CheckpointError::Newer { path, version: format_version, known: known_version });
        }
        return Ok(Some(Checkpoint { offset, format_version, damaged, file }));
    }
    Ok(None)
}

/// The offset up to which log entries may be deleted: that of the oldest checkpoint kept, so that falling back to it works.
pub fn oldest_offset(dir: &Path) -> Option<u64> {
    oldest_offset_on(&RealDisk, dir)
}

pub(super) fn oldest_offset_on(disk: &dyn Disk, dir: &Path) -> Option<u64> {
    let paths = list(disk, dir).ok()?;
    paths.last()?.file_stem()?.to_str()?.parse().ok()
}

fn path_of(dir: &Path, offset: u64) -> PathBuf {
    dir.join(format!("{offset:020}.checkpoint"))
}

/// Newest first.
fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = disk.list(dir)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "checkpoint"));
    paths.sort_by(|a, b| b.cmp(a));
    Ok(paths)
}

fn header(offset: u64, format_version: u32, bytes: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&format_version.to_le_bytes());
    header[12..20].copy_from_slice(&offset.to_le_bytes());
    header[20..28].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let mut hash = Xxh3::new();
    hash.update(&header[..28]);
    hash.update(bytes);
    header[28..].copy_from_slice(&hash.digest().to_le_bytes());
    header
}

/// Version and offset of a sound file; `None` where it is damaged.
fn sound(file: &[u8]) -> Option<(u32, u64)> {
    let (head, state) = file.split_at_checked(HEADER_BYTES)?;
    let version = u32::from_le_bytes(head[8..12].try_into().expect("four bytes"));
    let offset = u64::from_le_bytes(head[12..20].try_into().expect("eight bytes"));
    (*head == header(offset, version, state)).then_some((version, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_loaded_and_the_last_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), 1).unwrap(), None);
        for offset in [5, 10, 200] {
            write(dir.path(), offset, 1, format!("state {offset}").as_bytes()).unwrap();
        }
        let found = load(dir.path(), 1).unwrap().unwrap();
        assert_eq!((found.offset, found.state(), found.damaged.len()), (200, &b"state 200"[..], 0));
        assert_eq!((list(&RealDisk, dir.path()).unwrap().len(), oldest_offset(dir.path())), (2, Some(10)));
    }

    #[test]
    fn any_damaged_byte_makes_it_fall_back_to_the_older() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, 1, b"old").unwrap();
        write(dir.path(), 2, 1, b"new").unwrap();
        let path = path_of(dir.path(), 2);
        let sound = std::fs::read(&path).unwrap();
        for at in 0..=sound.len() {
            let mut bytes = sound.clone();
            match bytes.get_mut(at) {
                Some(byte) => *byte ^= 1,
                None => bytes.truncate(at - 1),
            }
            std::fs::write(&path, bytes).unwrap();
            let found = load(dir.path(), 1).unwrap().unwrap();
            assert_eq!((found.offset, found.state(), found.damaged.len()), (1, &b"old"[..], 1), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, 3, b"later").unwrap();
        assert!(matches!(load(dir.path(), 2), Err(CheckpointError::Newer { version: 3, known: 2, .. })));
    }
}
