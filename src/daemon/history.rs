//! Learning from past events: files of native events, plain or compressed, in event time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::ingest::{ArrivalClock, Door, Report, Scratch, native};
use crate::model::Batch;

/// Lines handed over at once.
const LINES: usize = 4096;

/// Opens a file, or standard input for `-`; `.gz` and `.zst` are unpacked.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(1 << 20, io::stdin())));
    }
    let file = File::open(path)?;
    let reader: Box<dyn Read> = match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(ruzstd::decoding::StreamingDecoder::new(file).map_err(io::Error::other)?),
        _ => Box::new(file),
    };
    Ok(Box::new(BufReader::with_capacity(1 << 20, reader)))
}

/// Reads native events in event time (arrival is the greatest time so far) and hands them over in batches. Returns the report of
/// what was read and refused.
pub fn read(
    reader: &mut dyn BufRead,
    door: &Door,
    line_bytes: usize,
    clock: &mut ArrivalClock,
    mut hand_over: impl FnMut(&Batch),
) -> io::Result<Report> {
    let native = native::Reader { door, key_site: None, line_bytes };
    let (mut batch, mut scratch, mut report) = (Batch::new(), Scratch::new(), Report::default());
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read > 0 {
            number += 1;
            native.read_line(&line, number, clock, &mut batch, &mut scratch, &mut report);
        }
        if batch.events.len() >= LINES || (read == 0 && !batch.events.is_empty()) {
            hand_over(&batch);
            batch.clear();
        }
        if read == 0 {
            return Ok(report);
        }
    }
}
