//! The rotated files beside a log: which are there, in which order, and which of them a position means.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};

use super::{Follow, Position, head_hash, modified_ms};

/// Sorts rotated files from the oldest: dates ascending, then numbers descending (`.2` is older than `.1`).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Date(String),
    Number(Reverse<u32>),
}

/// The rotated, uncompressed files of a log, oldest first: `access.log.1`, `access.log-20261121`, `access-20261121.log`.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name();
        let Some(age) = other.to_str().and_then(|other| age(name, other)) else { continue };
        if entry.file_type()?.is_file() {
            found.push((age, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What the name of a rotated file says about its age; `None`: it is no rotated file of this log.
fn age(name: &str, other: &str) -> Option<Age> {
    let behind = other.strip_prefix(name);
    let inside = || {
        let (stem, ending) = name.rsplit_once('.')?;
        other.strip_prefix(stem)?.strip_suffix(ending)?.strip_suffix('.')
    };
    let mark = behind.or_else(inside)?.strip_prefix(['.', '-', '_'])?;
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'T' | b'Z');
    if !mark.starts_with(|c: char| c.is_ascii_digit()) || !mark.bytes().all(plain) {
        return None;
    }
    let number = if mark.len() <= 4 { mark.parse().ok() } else { None };
    Some(number.map_or_else(|| Age::Date(mark.to_owned()), |number| Age::Number(Reverse(number))))
}

/// The file that a position means, opened there: the same inode under any name or, failing that, a copy of it.
pub(super) fn find(path: &Path, position: &Position) -> io::Result<Option<Follow>> {
    let mut files = rotated(path)?;
    files.push(path.to_owned());
    for file in files.iter().rev() {
        let same = |follow: &Follow| (follow.position.device, follow.position.inode) == (position.device, position.inode);
        if let Some(follow) = open_at(file, position)?.filter(same) {
            return Ok(Some(follow));
        }
    }
    find_copy(path, position)
}

/// A rotated file that starts with what was read at `position`: the copy made before a truncation.
pub(super) fn find_copy(path: &Path, position: &Position) -> io::Result<Option<Follow>> {
    if position.offset == 0 {
        return Ok(None);
    }
    for file in rotated(path)?.iter().rev() {
        if let Some(follow) = open_at(file, position)? {
            return Ok(Some(follow));
        }
    }
    Ok(None)
}

/// Opens a file behind what was read of it; `None`: it does not start with that.
fn open_at(path: &Path, position: &Position) -> io::Result<Option<Follow>> {
    let Some(mut follow) = Follow::open(path)? else { return Ok(None) };
    let long_enough = follow.file.metadata()?.len() >= position.offset;
    if !long_enough || head_hash(&follow.file, position.offset)? != Some(position.head_hash) {
        return Ok(None);
    }
    let Position { offset, head_hash, in_long_line, .. } = *position;
    follow.position = Position { offset, head_hash, in_long_line, ..follow.position };
    Ok(Some(follow))
}

/// The oldest file, rotated or not, that was written after a time.
pub(super) fn written_after(path: &Path, time_ms: i64) -> io::Result<Option<Follow>> {
    for file in rotated(path)? {
        if let Some(follow) = Follow::open(&file)?.filter(|follow| follow.position.modified_ms > time_ms) {
            return Ok(Some(follow));
        }
    }
    Follow::open(path)
}

/// The rotated files that came between `current` and the log itself, oldest first.
pub(super) fn after(path: &Path, current: &Follow) -> io::Result<Vec<PathBuf>> {
    let mut files = rotated(path)?;
    let mut here = None;
    for (index, file) in files.iter().enumerate() {
        let same =
            |other: &Follow| (other.position.device, other.position.inode) == (current.position.device, current.position.inode);
        if Follow::open(file)?.as_ref().is_some_and(same) {
            here = Some(index);
        }
    }
    if let Some(index) = here {
        return Ok(files.split_off(index + 1));
    }
    // Deleted or compressed, but still open: what was written later came after it.
    let modified = modified_ms(&current.file.metadata()?);
    let mut later = Vec::new();
    for file in files {
        if Follow::open(&file)?.is_some_and(|other| other.position.modified_ms > modified) {
            later.push(file);
        }
    }
    Ok(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_told_from_others_and_sorted_by_age() {
        let check = |other: &str, rotated: bool| assert_eq!(age("access.log", other).is_some(), rotated, "{other}");
        for name in ["access.log.1", "access.log-20261121", "access.log.2026-11-21_00", "access-20261121.log", "access.1.log"] {
            check(name, true);
        }
        for name in ["access.log", "access.log.1.gz", "access.log.old", "error.log.1", "access.log-20261121.zst", "access.logs.1"]
        {
            check(name, false);
        }
        assert!(age("a", "a.2") < age("a", "a.1"));
        assert!(age("a", "a-20261120") < age("a", "a-20261121"));
    }
}
