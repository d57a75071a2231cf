//! Reading the log again, in order, past whatever a crash or a bad disk left behind.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::segment::{self, Header, Item, SegmentReader};
use super::{Entry, WalError};

/// A place that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub segment: PathBuf,
    /// Bytes that are no record.
    pub bytes: usize,
    /// Offsets missing between the sound records around it; 0 at the end of the log, where nothing says how many there were.
    pub lost: u64,
}

/// The entries from an offset on. Never panics and never yields an entry whose checksum does not fit; what was skipped is
/// in [`damages`](Self::damages).
#[derive(Debug)]
pub struct Replay {
    disk: Arc<dyn Disk>,
    segments: VecDeque<(u64, PathBuf)>,
    open: Option<Open>,
    from: u64,
    expected: Option<u64>,
    damages: Vec<Damage>,
}

#[derive(Debug)]
struct Open {
    reader: SegmentReader,
    path: PathBuf,
    /// First offset of the next segment: records here at or past it were never acknowledged.
    end: u64,
}

impl Replay {
    /// Prepares to read the log in `dir` from `from` on. An absent folder is an empty log.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, from: u64) -> Result<Self, WalError> {
        let segments = match segment::list(disk.as_ref(), dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|error| WalError::Io(dir.to_owned(), error))?,
        };
        let skip = segments.iter().rposition(|(first, _)| *first <= from).unwrap_or(0);
        let expected = segments.get(skip).map(|(first, _)| *first);
        Ok(Self { disk, segments: segments.into_iter().skip(skip).collect(), open: None, from, expected, damages: Vec::new() })
    }

    /// What could not be read so far.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    fn step(&mut self) -> Result<Option<(u64, Entry)>, WalError> {
        loop {
            let Some(open) = self.open.as_mut() else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            match open.reader.next() {
                Item::Record(offset, _) if offset >= open.end => self.open = None,
                Item::Record(offset, entry) => {
                    self.account(offset);
                    self.expected = Some(offset + 1);
                    if offset >= self.from {
                        return Ok(Some((offset, entry)));
                    }
                }
                Item::Gap(bytes) => self.damages.push(Damage { segment: open.path.clone(), bytes, lost: 0 }),
                Item::Tail(bytes) => {
                    self.damages.push(Damage { segment: open.path.clone(), bytes, lost: 0 });
                    self.open = None;
                }
                Item::End => self.open = None,
            }
        }
    }

    /// Adds the offsets that are missing before `offset` to the damage that they belong to.
    fn account(&mut self, offset: u64) {
        let lost = offset.saturating_sub(self.expected.unwrap_or(offset));
        if lost == 0 {
            return;
        }
        if let Some(damage) = self.damages.last_mut().filter(|damage| damage.lost == 0) {
            damage.lost = lost;
        } else if let Some(open) = &self.open {
            self.damages.push(Damage { segment: open.path.clone(), bytes: 0, lost });
        }
    }

    fn open_next(&mut self) -> Result<bool, WalError> {
        let Some((first, path)) = self.segments.pop_front() else { return Ok(false) };
        let reader = SegmentReader::open(self.disk.as_ref(), &path, first).map_err(|error| WalError::Io(path.clone(), error))?;
        match reader.header {
            Header::Newer(version) => return Err(WalError::Newer { path, version }),
            Header::Older(version) => return Err(WalError::Older { path, version }),
            Header::Sound | Header::Damaged => {}
        }
        let end = self.segments.front().map_or(u64::MAX, |(next, _)| *next);
        self.open = Some(Open { reader, path, end });
        Ok(true)
    }
}

impl Iterator for Replay {
    type Item = Result<(u64, Entry), WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
