//! The bytes of a segment: a header, then records. Written at the end only; read from the front.
//!
//! ```text
//! header  "SPIKDWAL"  version u32  first offset u64  crc32 of these u32          (24 bytes, little endian)
//! record  length u32  crc32 u32  offset u64  payload (postcard)                  (crc over length, offset, payload)
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::{Entry, FORMAT_VERSION};

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 24;
const RECORD_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"SPIKDWAL";
/// Largest gap of offsets that is believed when reading goes on behind a damaged place.
const GAP_MAX: u64 = 1 << 20;

/// The file's name for a segment that begins with this offset; names sort as offsets do.
pub(super) fn path_of(dir: &Path, first_offset: u64) -> PathBuf {
    dir.join(format!("{first_offset:020}.wal"))
}

/// The segments of a folder by first offset, oldest first.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in disk.list(dir)? {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        let named = path.extension().is_some_and(|extension| extension == "wal") && stem.len() == 20;
        if let Some(first) = stem.parse().ok().filter(|_| named) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// A segment's header.
pub(super) fn header(first_offset: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&first_offset.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the first bytes of a segment say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Ours.
    Sound,
    /// Written by a later version of spiked.
    Newer(u32),
    /// Written before the first release.
    Older(u32),
    /// Cut short or overwritten.
    Damaged,
}

fn read_header(bytes: &[u8], first_offset: u64) -> Header {
    let Some(bytes) = bytes.get(..HEADER_BYTES) else { return Header::Damaged };
    if bytes[..8] != *MAGIC || crc32fast::hash(&bytes[..20]) != u32_at(bytes, 20) {
        return Header::Damaged;
    }
    match u32_at(bytes, 8) {
        version if version > FORMAT_VERSION => Header::Newer(version),
        version if version < FORMAT_VERSION => Header::Older(version),
        _ if u64_at(bytes, 12) == first_offset => Header::Sound,
        _ => Header::Damaged,
    }
}

/// Appends one record to `out`; on an error `out` is as before.
pub(super) fn write_record(out: &mut Vec<u8>, offset: u64, entry: &Entry) -> Result<(), postcard::Error> {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&offset.to_le_bytes());
    if let Err(error) = postcard::to_io(entry, &mut *out) {
        out.truncate(start);
        return Err(error);
    }
    let length = (out.len() - start - RECORD_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(length, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn checksum(length: u32, offset_and_payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    crc.update(offset_and_payload);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A segment in memory, read record by record.
#[derive(Debug)]
pub(super) struct SegmentReader {
    bytes: Vec<u8>,
    at: usize,
    next_offset: u64,
    /// Whether the header was sound; where it was not, records are looked for behind it.
    pub(super) header: Header,
}

/// What the next bytes of a segment are.
#[derive(Debug)]
pub(super) enum Item {
    /// A sound record.
    Record(u64, Entry),
    /// So many bytes that are no record, with sound ones behind them.
    Gap(usize),
    /// So many bytes that are no record, up to the end.
    Tail(usize),
    /// The end, cleanly.
    End,
}

impl SegmentReader {
    /// Reads a segment whole: 64 MiB and what one group adds.
    pub(super) fn open(disk: &dyn Disk, path: &Path, first_offset: u64) -> io::Result<Self> {
        let bytes = disk.read(path)?;
        let header = read_header(&bytes, first_offset);
        Ok(Self { at: HEADER_BYTES.min(bytes.len()), bytes, next_offset: first_offset, header })
    }

    /// The offset that the next record must have at least.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Bytes read so far: where a writer may go on when nothing sound follows.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn next(&mut self) -> Item {
        if self.at == self.bytes.len() {
            return Item::End;
        }
        if let Some((end, offset, entry)) = self.record_at(self.at, 0) {
            self.at = end;
            self.next_offset = offset + 1;
            return Item::Record(offset, entry);
        }
        let from = self.at;
        let sound = (from + 1..self.bytes.len()).find(|&at| self.record_at(at, GAP_MAX).is_some());
        match sound {
            Some(at) => {
                self.at = at;
                self.next_offset = u64_at(&self.bytes, at + 8);
                Item::Gap(at - from)
            }
            None => Item::Tail(self.bytes.len() - from),
        }
    }

    /// The record that starts at `at`, if one does, with an offset at most `gap` beyond the next one.
    fn record_at(&self, at: usize, gap: u64) -> Option<(usize, u64, Entry)> {
        let head = self.bytes.get(at..at + RECORD_BYTES)?;
        let offset = u64_at(head, 8);
        if offset < self.next_offset || offset - self.next_offset > gap {
            return None;
        }
        let length = u32_at(head, 0);
        let end = at + RECORD_BYTES + length as usize;
        let body = self.bytes.get(at + 8..end)?;
        if checksum(length, body) != u32_at(head, 4) {
            return None;
        }
        let entry: Entry = postcard::from_bytes(&body[8..]).ok()?;
        entry.is_sound().then_some((end, offset, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_whose_it_is() {
        let mut bytes = header(7);
        assert_eq!(read_header(&bytes, 7), Header::Sound);
        assert_eq!(read_header(&bytes, 8), Header::Damaged);
        assert_eq!(read_header(&bytes[..10], 7), Header::Damaged);
        bytes[8] = 9;
        assert_eq!(read_header(&bytes, 7), Header::Damaged);
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_header(&bytes, 7), Header::Newer(9));
        bytes[8] = 1;
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_header(&bytes, 7), Header::Older(1));
    }
}
