//! The writer: appends to the newest segment, syncs, rolls, and mends the end after a crash or a full disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk, DiskFile};
use super::segment::{self, HEADER_BYTES, Header, Item, SegmentReader};
use super::{Damage, Entry, Replay};

/// Why the log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused.
    #[error("cannot use the log at {}; check that the disk has room and the folder may be written", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Written by a later version.
    #[error("{} has log format {version}, but this spiked knows up to {}; run the newer spiked again", .path.display(), super::FORMAT_VERSION)]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Written before the first release, in a format that is not read any more.
    #[error("{} has log format {version}, of a build before 0.1.0; move the data folder away to begin anew", .path.display())]
    Older {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// How the log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// Bytes after which a new segment begins. Default 64 MiB.
    pub segment_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024 }
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The oldest offset there is.
    pub first_offset: u64,
    /// The offset that the next entry gets.
    pub next_offset: u64,
    /// Bytes at the end that were no whole record, and were cut: what a crash left of unacknowledged entries.
    pub torn_bytes: usize,
    /// Places before the end of the newest segment that could not be read.
    pub damages: Vec<Damage>,
}

/// The log, open for appending. One process and one thread own it (see [`DirLock`](super::DirLock)).
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    file: Box<dyn DiskFile>,
    /// Bytes of the newest segment that are synced.
    synced_bytes: u64,
    /// The offset after the last synced entry.
    synced_offset: u64,
    next_offset: u64,
    buffer: Vec<u8>,
    failed: bool,
}

impl Wal {
    /// Opens the log in `dir` (made if absent), cuts a torn tail, and says what it found.
    pub fn open(dir: &Path, options: WalOptions) -> Result<(Self, Opened), WalError> {
        Self::open_from(dir, options, 0)
    }

    /// As [`open`](Self::open); the next offset is at least `least`: a checkpoint may know of entries whose segments are gone.
    pub fn open_from(dir: &Path, options: WalOptions, least: u64) -> Result<(Self, Opened), WalError> {
        Self::open_on(disk::real(), dir, options, least)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: WalOptions, least: u64) -> Result<(Self, Opened), WalError> {
        let io_error = |error| WalError::Io(dir.to_owned(), error);
        disk.make_dir(dir).map_err(io_error)?;
        let segments = segment::list(disk.as_ref(), dir).map_err(io_error)?;
        let mut opened = Opened { first_offset: segments.first().map_or(least, |(first, _)| *first), ..Opened::default() };
        let newest = match segments.last() {
            Some((first, path)) => mend(disk.as_ref(), *first, path, &mut opened)?,
            None => None,
        };
        let (file, synced_bytes, next) = match newest {
            Some((file, length)) if opened.next_offset >= least => (file, length, opened.next_offset),
            _ => {
                let first = opened.next_offset.max(least);
                let (file, synced_bytes) = create(disk.as_ref(), dir, first).map_err(io_error)?;
                (file, synced_bytes, first)
            }
        };
        opened.next_offset = next;
        let dir = dir.to_owned();
        let (synced_offset, next_offset, buffer, failed) = (next, next, Vec::new(), false);
        Ok((Self { disk, dir, options, file, synced_bytes, synced_offset, next_offset, buffer, failed }, opened))
    }

    /// Puts an entry behind the others and returns its offset. In memory only until [`sync`](Self::sync).
    pub fn append(&mut self, entry: &Entry) -> io::Result<u64> {
        segment::write_record(&mut self.buffer, self.next_offset, entry).map_err(io::Error::other)?;
        self.next_offset += 1;
        Ok(self.next_offset - 1)
    }

    /// Makes all appended entries durable. After an error none of the entries since the last sync is in the log, their offsets
    /// are given again, and nothing can be synced until [`recover`](Self::recover) succeeds.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.failed {
            self.give_up();
            return Err(io::Error::other("the log has failed and was not mended yet"));
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.append(&self.buffer).and_then(|()| self.file.sync()) {
            self.give_up();
            return Err(error);
        }
        self.synced_bytes += self.buffer.len() as u64;
        self.synced_offset = self.next_offset;
        self.buffer.clear();
        self.buffer.shrink_to(1 << 20);
        if self.synced_bytes >= self.options.segment_bytes {
            // The entries are durable whatever becomes of the new segment: a failure here must not be answered as theirs.
            self.failed = self.roll().is_err();
        }
        Ok(())
    }

    fn give_up(&mut self) {
        self.failed = true;
        self.buffer.clear();
        self.next_offset = self.synced_offset;
        // Their senders are told that these were not kept: a crash before `recover` must not bring them back.
        let _tried_again_by_recover = self.file.cut(self.synced_bytes);
    }

    /// Whether the last write failed and [`recover`](Self::recover) has not succeeded since.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Cuts what a failed write left and goes on in a new segment. The old file is not written again: after a failed sync
    /// nothing is known about its unsynced pages.
    pub fn recover(&mut self) -> io::Result<()> {
        if !self.failed {
            return Ok(());
        }
        self.give_up();
        self.file.cut(self.synced_bytes)?;
        self.file.sync()?;
        self.roll()?;
        self.failed = false;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let (file, synced_bytes) = create(self.disk.as_ref(), &self.dir, self.next_offset)?;
        self.file = file;
        self.synced_bytes = synced_bytes;
        Ok(())
    }

    /// Deletes the segments that hold nothing from `offset` on; the newest always stays. Returns how many went.
    pub fn delete_before(&mut self, offset: u64) -> io::Result<usize> {
        let segments = segment::list(self.disk.as_ref(), &self.dir)?;
        let old = segments.windows(2).take_while(|pair| pair[1].0 <= offset);
        let mut deleted = 0;
        for pair in old {
            self.disk.remove(&pair[0].1)?;
            deleted += 1;
        }
        if deleted > 0 {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(deleted)
    }

    /// The entries from `from` on that are on disk.
    pub fn replay(dir: &Path, from: u64) -> Result<Replay, WalError> {
        Replay::open(disk::real(), dir, from)
    }

    /// The offset that the next entry gets.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Bytes appended since the last [`sync`](Self::sync).
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }
}

/// A segment that may be written on, and its length.
type Appendable = (Box<dyn DiskFile>, u64);

/// Reads the newest segment through, cuts what is torn and opens it for appending at its length. `None`: its header is lost, so a
/// new segment must follow it (at `opened.next_offset`).
fn mend(disk: &dyn Disk, first: u64, path: &Path, opened: &mut Opened) -> Result<Option<Appendable>, WalError> {
    let io_error = |error| WalError::Io(path.to_owned(), error);
    let mut reader = SegmentReader::open(disk, path, first).map_err(io_error)?;
    match reader.header {
        Header::Newer(version) => return Err(WalError::Newer { path: path.to_owned(), version }),
        Header::Older(version) => return Err(WalError::Older { path: path.to_owned(), version }),
        Header::Sound | Header::Damaged => {}
    }
    loop {
        let expected = reader.next_offset();
        match reader.next() {
            Item::Record(..) => {}
            Item::Gap(bytes) => {
                let lost = reader.next_offset() - expected;
                opened.damages.push(Damage { segment: path.to_owned(), bytes, lost });
            }
            Item::Tail(bytes) => {
                opened.torn_bytes = bytes;
                break;
            }
            Item::End => break,
        }
    }
    opened.next_offset = reader.next_offset();
    if reader.header == Header::Damaged {
        if reader.next_offset() == first {
            return Ok(None); // nothing in it: it is made anew under the same name
        }
        opened.damages.push(Damage { segment: path.to_owned(), bytes: HEADER_BYTES, lost: 0 });
        return Ok(None);
    }
    let length = reader.position() as u64;
    let file = disk.reopen(path, length).map_err(io_error)?;
    Ok(Some((file, length)))
}

/// Makes a new, synced segment; one of that name can only be an empty one, and is overwritten.
fn create(disk: &dyn Disk, dir: &Path, first: u64) -> io::Result<Appendable> {
    let mut file = disk.create(&segment::path_of(dir, first))?;
    file.append(&segment::header(first))?;
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok((file, HEADER_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Batch, Timestamp};

    fn tiny() -> WalOptions {
        WalOptions { segment_bytes: 200 }
    }

    fn entry(number: i64) -> Entry {
        if number % 3 == 0 {
            let mut batch = Batch::new();
            batch.add_text(&format!("text {number}"));
            return Entry::Batch {
                source: "access_log".into(),
                batch,
                positions: vec![("access.log".into(), number.to_le_bytes().to_vec())],
            };
        }
        Entry::Tick(Timestamp(number))
    }

    fn read(dir: &Path) -> (BTreeMap<u64, Vec<u8>>, Vec<Damage>) {
        let mut replay = Wal::replay(dir, 0).unwrap();
        let mut found = BTreeMap::new();
        for item in replay.by_ref() {
            let (offset, entry) = item.unwrap();
            assert!(found.insert(offset, postcard::to_stdvec(&entry).unwrap()).is_none(), "offset {offset} came twice");
        }
        (found, replay.damages().to_vec())
    }

    fn filled(dir: &Path, count: i64) -> BTreeMap<u64, Vec<u8>> {
        let (mut wal, opened) = Wal::open(dir, tiny()).unwrap();
        let mut written = BTreeMap::new();
        for number in 0..count {
            let entry = entry(number);
            assert_eq!(wal.append(&entry).unwrap(), opened.next_offset + number as u64);
            written.insert(opened.next_offset + number as u64, postcard::to_stdvec(&entry).unwrap());
            if number % 4 == 3 {
                wal.sync().unwrap();
            }
        }
        wal.sync().unwrap();
        written
    }

    #[test]
    fn what_was_synced_comes_back_over_segments_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = filled(dir.path(), 40);
        written.extend(filled(dir.path(), 3));
        assert_eq!(read(dir.path()), (written, vec![]));
        assert!(segment::list(&disk::RealDisk, dir.path()).unwrap().len() > 3);
        let from: Vec<u64> = Wal::replay(dir.path(), 41).unwrap().map(|item| item.unwrap().0).collect();
        assert_eq!(from, [41, 42]);
    }

    #[test]
    fn segments_that_a_checkpoint_covers_are_deleted_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 40);
        let (mut wal, _) = Wal::open(dir.path(), tiny()).unwrap();
        assert!(wal.delete_before(20).unwrap() > 0);
        let (left, damages) = read(dir.path());
        assert!(*left.keys().next().unwrap() <= 20 && *left.keys().next().unwrap() > 0);
        assert_eq!((left.keys().last(), damages), (Some(&39), vec![]));
        wal.delete_before(u64::MAX).unwrap();
        drop(wal);
        assert_eq!(Wal::open(dir.path(), tiny()).unwrap().1.next_offset, 40);
    }

    #[test]
    fn a_checkpoint_ahead_of_the_log_sets_the_next_offset() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Wal::open_from(dir.path(), tiny(), 70).unwrap().1.next_offset, 70);
        assert_eq!(Wal::open_from(dir.path(), tiny(), 7).unwrap().1.next_offset, 70);
    }

    #[test]
    fn a_newer_format_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 1);
        let (_, path) = segment::list(&disk::RealDisk, dir.path()).unwrap().pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] += 1;
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let refused = Wal::open(dir.path(), tiny()).unwrap_err().to_string();
        assert!(refused.contains("has log format 3") && refused.contains("newer spiked"), "{refused}");
        assert!(Wal::replay(dir.path(), 0).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn recovery_gives_the_offsets_of_the_failed_entries_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, _) = Wal::open(dir.path(), WalOptions::default()).unwrap();
        wal.append(&entry(1)).unwrap();
        wal.sync().unwrap();
        wal.append(&entry(2)).unwrap();
        wal.failed = true;
        assert!(wal.sync().is_err());
        wal.recover().unwrap();
        assert_eq!(wal.append(&entry(5)).unwrap(), 1);
        wal.sync().unwrap();
        let kept: Vec<_> = [entry(1), entry(5)].iter().map(|e| postcard::to_stdvec(e).unwrap()).collect();
        assert_eq!(read(dir.path()).0.into_values().collect::<Vec<_>>(), kept);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Rounds of: append some, sync, append more, crash with any part of the unsynced bytes on disk, whole or garbled.
        #[test]
        fn whatever_a_crash_leaves_what_was_synced_comes_back_exactly(
            rounds in proptest::collection::vec((0i64..20, 0i64..8, 0.0f64..1.0, proptest::option::of(any::<u8>())), 1..6),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut synced = BTreeMap::new();
            for (durable, lost, part, garble) in rounds {
                let (mut wal, _) = Wal::open(dir.path(), tiny()).unwrap();
                for number in 0..durable {
                    synced.insert(wal.append(&entry(number)).unwrap(), postcard::to_stdvec(&entry(number)).unwrap());
                }
                wal.sync().unwrap();
                let begun = wal.next_offset();
                for number in 0..lost {
                    wal.append(&entry(100 + number)).unwrap();
                }
                let mut left = wal.buffer[..(wal.buffer.len() as f64 * part) as usize].to_vec();
                if let (Some(byte), Some(last)) = (garble, left.last_mut()) {
                    *last ^= byte;
                }
                wal.file.append(&left).unwrap();
                drop(wal);
                // Unsynced entries that reached the disk whole are kept: they were never refused either.
                for (offset, bytes) in read(dir.path()).0 {
                    if offset >= begun {
                        prop_assert_eq!(&bytes, &postcard::to_stdvec(&entry(100 + (offset - begun) as i64)).unwrap());
                        synced.insert(offset, bytes);
                    }
                }
                let (_, opened) = Wal::open(dir.path(), tiny()).unwrap();
                prop_assert_eq!(opened.next_offset, synced.len() as u64);
                prop_assert_eq!(&opened.damages, &vec![]);
                prop_assert_eq!(&read(dir.path()), &(synced.clone(), vec![]));
            }
        }

        #[test]
        fn a_flipped_byte_never_panics_and_never_makes_an_entry(place in any::<prop::sample::Index>(), flip in 1u8..) {
            let dir = tempfile::tempdir().unwrap();
            let written = filled(dir.path(), 30);
            let segments = segment::list(&disk::RealDisk, dir.path()).unwrap();
            let (_, path) = &segments[place.index(segments.len())];
            let mut bytes = std::fs::read(path).unwrap();
            let at = place.index(bytes.len());
            bytes[at] ^= flip;
            std::fs::write(path, bytes).unwrap();
            let (left, _) = read(dir.path());
            prop_assert!(left.iter().all(|(offset, bytes)| written.get(offset) == Some(bytes)));
            prop_assert!(left.len() + 1 >= written.len(), "one record may be lost, not {}", written.len() - left.len());
            let (mut wal, opened) = Wal::open(dir.path(), tiny()).unwrap();
            prop_assert!(opened.next_offset >= 29);
            wal.append(&entry(1)).unwrap();
            wal.sync().unwrap();
            prop_assert!(read(dir.path()).0.len() > left.len());
        }
    }
}
