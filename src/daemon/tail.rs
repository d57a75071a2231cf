//! Follows a growing log file: every whole line once and in order, through rotation, truncation and restarts.
//!
//! A [`Position`] comes with every chunk of lines. The caller keeps it together with what it made of those lines, in one write, so
//! that after a crash both are there or neither is. Nothing of the file is kept between two calls but the open handle: a line that
//! has no end yet is read again. There is no thread and no clock here; the caller asks in a rhythm that suits it.
//!
//! Told apart by device, inode and a hash of the first bytes (inodes are used again, and a truncated file keeps its own):
//! - rotation by rename: the old file is read to its end, and for a few more asks, because writers change over late;
//! - rotation by copy and truncate: the copy is found by its first bytes and read to its end;
//! - both while nobody was asking, also several times: rotated files beside the log are read in their order.

mod siblings;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use memchr::{memchr, memrchr};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::model::limits::Limits;

/// Bytes at the start of a file that tell it from others.
const HEAD_BYTES: u64 = 256;

/// Asks without news from a renamed file before its successor is begun.
const QUIET_POLLS: u32 = 4;

/// Where to begin with a file that was never read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With its first line.
    Beginning,
    /// With the first line written from now on.
    End,
}

/// How far a log was read. Small and plain: made to be stored with the events of the lines before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's device.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// Bytes read.
    pub offset: u64,
    /// Hash of the first `min(offset, 256)` bytes: tells the file from a later one with the same inode.
    pub head_hash: u64,
    /// When the file was written last, as of this reading; milliseconds since the epoch.
    pub modified_ms: i64,
    /// Whether `offset` lies inside a line that is too long, the rest of which is to be skipped.
    pub in_long_line: bool,
}

/// Lines, and where they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whole lines, each with its line feed. Empty where only lines over the limit were read.
    pub data: Vec<u8>,
    /// How far the log is read once these lines are kept.
    pub position: Position,
    /// Lines left out because they were longer than the limit.
    pub long_lines: u64,
}

/// A log that is followed.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    line_bytes: usize,
    start: Start,
    current: Option<Follow>,
    /// Where to go on after a restart, until the file is found.
    resume: Option<Position>,
    quiet: u32,
    gaps: u64,
}

/// An open file and how far it is read.
#[derive(Debug)]
struct Follow {
    file: File,
    position: Position,
}

impl Tail {
    /// Follows the file at `path`, which need not be there yet, from the stored position or, without one, from `start`. A file that
    /// comes into being later is read from its beginning. No error is possible here: [`poll`](Self::poll) tells of them.
    pub fn open(path: &Path, from: Option<Position>, start: Start) -> Self {
        let start = if path.exists() { start } else { Start::Beginning };
        let line_bytes = Limits::default().line_bytes;
        Self { path: path.to_owned(), line_bytes, start, current: None, resume: from, quiet: 0, gaps: 0 }
    }

    /// Sets the longest line in bytes, without its line feed (`limits.line_bytes`).
    #[must_use]
    pub fn with_line_bytes(mut self, line_bytes: usize) -> Self {
        self.line_bytes = line_bytes;
        self
    }

    /// How far the log is read: that of the last chunk, or where reading begins. To be stored when following starts, so that what
    /// comes while nobody asks is not missed.
    pub fn position(&self) -> Option<&Position> {
        self.current.as_ref().map(|follow| &follow.position).or(self.resume.as_ref())
    }

    /// How often the file of the position could not be found again, so that lines may be lost (rotated and compressed while
    /// nobody was asking).
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Reads the next whole lines, about `max` bytes of them at most (a single line may be longer). `None`: nothing new; ask again
    /// later. After an error too: nothing is lost by it.
    pub fn poll(&mut self, max: usize) -> io::Result<Option<Chunk>> {
        let max = max.max(self.line_bytes + 1);
        if self.current.is_none() && !self.begin()? {
            return Ok(None);
        }
        let Some(current) = &mut self.current else { return Ok(None) };
        if current.was_cut()? && !self.recover()? {
            return Ok(None);
        }
        let Some(current) = &mut self.current else { return Ok(None) };
        if let Some(chunk) = current.read(max, self.line_bytes, false)? {
            self.quiet = 0;
            return Ok(Some(chunk));
        }
        self.go_on(max)
    }

    /// Opens the file to begin with; `false`: there is none yet.
    fn begin(&mut self) -> io::Result<bool> {
        if let Some(position) = &self.resume {
            if let Some(follow) = siblings::find(&self.path, position)? {
                self.current = Some(follow);
                self.resume = None;
                return Ok(true);
            }
            // What was read last is gone. Files that were written since are read whole, oldest first.
            let Some(next) = siblings::written_after(&self.path, position.modified_ms)? else { return Ok(false) };
            self.gaps += 1;
            self.current = Some(next);
            self.resume = None;
            return Ok(true);
        }
        let Some(mut follow) = Follow::open(&self.path)? else { return Ok(false) };
        if self.start == Start::End {
            follow.skip_to_end(self.line_bytes)?;
        }
        self.current = Some(follow);
        Ok(true)
    }

    /// The file was truncated: goes on in the copy of what it held or, where there is none, at its new beginning. Waits while the
    /// file is empty, so that the old position stays good as long as possible.
    fn recover(&mut self) -> io::Result<bool> {
        let Some(current) = &self.current else { return Ok(false) };
        if let Some(copy) = siblings::find_copy(&self.path, &current.position)? {
            self.current = Some(copy);
            return Ok(true);
        }
        let here = std::fs::metadata(&self.path).is_ok_and(|live| live.ino() == current.position.inode);
        if here && current.file.metadata()?.len() == 0 {
            return Ok(false);
        }
        self.current = Some(Follow { file: current.file.try_clone()?, position: Position::start_of(&current.file)? });
        Ok(true)
    }

    /// Nothing new in the current file: looks for the one that came after it.
    fn go_on(&mut self, max: usize) -> io::Result<Option<Chunk>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let live = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if (live.dev(), live.ino()) == (current.position.device, current.position.inode) {
            return Ok(None);
        }
        let between = siblings::after(&self.path, current)?;
        if between.is_empty() {
            if live.len() == 0 {
                return Ok(None);
            }
            self.quiet += 1;
            if self.quiet < QUIET_POLLS {
                return Ok(None);
            }
        }
        // A last line without its end will get none any more: it is given out as it is.
        if let Some(chunk) = current.read(max, self.line_bytes, true)? {
            return Ok(Some(chunk));
        }
        for path in between.iter().chain([&self.path]) {
            let Some(mut next) = Follow::open(path)? else { continue };
            let last = *path != self.path;
            if let Some(chunk) = next.read(max, self.line_bytes, last)? {
                self.current = Some(next);
                self.quiet = 0;
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}

impl Position {
    /// Of the first byte of a file.
    fn start_of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let (device, inode, modified_ms) = (meta.dev(), meta.ino(), modified_ms(&meta));
        Ok(Self { device, inode, offset: 0, head_hash: xxh3_64(b""), modified_ms, in_long_line: false })
    }
}

fn modified_ms(meta: &std::fs::Metadata) -> i64 {
    meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000
}

/// The hash of a file's first bytes, as many as [`Position::head_hash`] is of; `None`: the file is shorter.
fn head_hash(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD_BYTES as usize];
    let head = &mut head[..offset.min(HEAD_BYTES) as usize];
    Ok(if read_at(file, head, 0)? == head.len() { Some(xxh3_64(head)) } else { None })
}

/// Reads as much as is there.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Follow {
    /// Opens a file at its beginning; `None`: it is not there. Anything but a plain file is refused: reading a pipe would block.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let opened = std::fs::metadata(path).and_then(|meta| if meta.is_file() { File::open(path) } else { Err(not_a_file()) });
        match opened {
            Ok(file) => {
                let position = Position::start_of(&file)?;
                Ok(Some(Self { file, position }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves behind the last whole line; inside a line that is longer than the limit, to its end so far.
    fn skip_to_end(&mut self, line_bytes: usize) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let from = size.saturating_sub(line_bytes as u64 + 1);
        let mut end = vec![0; (size - from) as usize];
        let filled = read_at(&self.file, &mut end, from)?;
        let (offset, in_long_line) = match memrchr(b'\n', &end[..filled]) {
            Some(at) => (from + at as u64 + 1, false),
            None if from == 0 => (0, false),
            None => (size, true),
        };
        let head_hash = head_hash(&self.file, offset)?.unwrap_or(self.position.head_hash);
        self.position = Position { offset, head_hash, in_long_line, ..self.position };
        Ok(())
    }

    /// Whether the file no longer starts with what was read from it.
    fn was_cut(&self) -> io::Result<bool> {
        let Position { offset, head_hash: known, .. } = self.position;
        Ok(self.file.metadata()?.len() < offset || head_hash(&self.file, offset)? != Some(known))
    }

    /// Reads whole lines and moves on; `None`: there is none. `last`: nothing will be written any more, so a line may lack its end.
    fn read(&mut self, max: usize, line_bytes: usize, last: bool) -> io::Result<Option<Chunk>> {
        let meta = self.file.metadata()?;
        let fresh = meta.len().saturating_sub(self.position.offset);
        if fresh == 0 {
            return Ok(None);
        }
        let mut data = vec![0; fresh.min(max as u64) as usize];
        let filled = read_at(&self.file, &mut data, self.position.offset)?;
        data.truncate(filled);
        let at_end = filled as u64 == fresh;
        let (read, in_long_line) = match memrchr(b'\n', &data) {
            Some(at) => (at + 1, false),
            None if self.position.in_long_line || filled > line_bytes => (filled, true),
            None if last && at_end => (filled, false),
            None => return Ok(None),
        };
        if read == 0 {
            return Ok(None);
        }
        data.truncate(read);
        let skip_first = self.position.in_long_line;
        // The first bytes may grow with what was just read.
        let offset = self.position.offset + read as u64;
        if self.position.offset < HEAD_BYTES {
            let Some(head) = head_hash(&self.file, offset)? else { return Ok(None) };
            self.position.head_hash = head;
        }
        self.position = Position { offset, in_long_line, modified_ms: modified_ms(&meta), ..self.position };
        let long_lines = drop_long_lines(&mut data, line_bytes, skip_first, in_long_line);
        if data.last().is_some_and(|byte| *byte != b'\n') {
            data.push(b'\n');
        }
        Ok(Some(Chunk { data, position: self.position.clone(), long_lines }))
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the log is not a plain file; name a file that the server writes")
}

/// Takes the lines over the limit out of `data` and says how many there were. A line is counted where it begins; `skip_first`: the
/// first one began earlier; `open`: `data` is one piece of a line that is too long.
fn drop_long_lines(data: &mut Vec<u8>, line_bytes: usize, skip_first: bool, open: bool) -> u64 {
    if open {
        data.clear();
        return u64::from(!skip_first);
    }
    let mut from = 0;
    if skip_first {
        let end = memchr(b'\n', data).map_or(data.len(), |at| at + 1);
        data.drain(..end);
    }
    let mut long_lines = 0;
    while from < data.len() {
        let end = memchr(b'\n', &data[from..]).map_or(data.len(), |at| from + at + 1);
        if end - from > line_bytes + 1 {
            data.drain(from..end);
            long_lines += 1;
        } else {
            from = end;
        }
    }
    long_lines
}

#[cfg(test)]
mod tests;
