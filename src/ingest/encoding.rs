//! Request bodies by their `Content-Encoding`, unpacked under a cap: a few kilobytes that would become gigabytes are refused
//! as soon as the cap is passed, and never more than the cap is held.

use std::borrow::Cow;
use std::io::{self, Read};

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;
use thiserror::Error;

/// Encodings of one body; more than that is no honest client.
const LAYERS_MAX: usize = 3;

/// Largest window of a zstd frame (RFC 9659: 8 MB for content in HTTP). The decoder reserves it before it reads a byte.
const ZSTD_WINDOW_MAX: u64 = 8 << 20;

/// Why a body could not be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodingError {
    /// HTTP 415.
    #[error("content-encoding `{0}` is not known: send gzip, deflate, br, zstd or identity")]
    Unsupported(String),
    /// HTTP 413.
    #[error("the body is larger than {limit} bytes when unpacked: send smaller batches")]
    TooLarge {
        /// `limits.inflated_bytes`.
        limit: usize,
    },
    /// HTTP 400.
    #[error("the body is not sound {encoding}: it is cut off or damaged")]
    Bad {
        /// The encoding that it was read as.
        encoding: &'static str,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Unpacks `body` as the header's value says (empty, one name, or a list in the order of application), up to `inflated_max` bytes.
pub fn decode<'a>(body: &'a [u8], content_encoding: &str, inflated_max: usize) -> Result<Cow<'a, [u8]>, EncodingError> {
    let mut layers = Vec::new();
    for name in content_encoding.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match parse(name) {
            Some(Encoding::Identity) => {}
            Some(encoding) if layers.len() < LAYERS_MAX => layers.push(encoding),
            _ => return Err(EncodingError::Unsupported(name.chars().take(40).collect())),
        }
    }
    let mut decoded = Cow::Borrowed(body);
    for encoding in layers.into_iter().rev() {
        if !decoded.is_empty() {
            decoded = Cow::Owned(unpack(&decoded, encoding, inflated_max)?);
        }
    }
    if decoded.len() > inflated_max { Err(EncodingError::TooLarge { limit: inflated_max }) } else { Ok(decoded) }
}

fn parse(name: &str) -> Option<Encoding> {
    Some(match name.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Encoding::Gzip,
        "deflate" => Encoding::Deflate,
        "br" => Encoding::Brotli,
        "zstd" => Encoding::Zstd,
        "identity" => Encoding::Identity,
        _ => return None,
    })
}

fn unpack(body: &[u8], encoding: Encoding, limit: usize) -> Result<Vec<u8>, EncodingError> {
    match encoding {
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => read_capped(MultiGzDecoder::new(body), limit, "gzip"),
        // RFC 9110 means zlib; some clients send the bare stream. Two bytes tell them apart.
        Encoding::Deflate if is_zlib(body) => read_capped(ZlibDecoder::new(body), limit, "deflate"),
        Encoding::Deflate => read_capped(DeflateDecoder::new(body), limit, "deflate"),
        Encoding::Brotli => read_capped(Decompressor::new(body, 16 << 10), limit, "br"),
        Encoding::Zstd => unpack_zstd(body, limit),
    }
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31))
}

/// Reads to the end, but at most one byte over the limit.
fn read_capped(reader: impl Read, limit: usize, encoding: &'static str) -> Result<Vec<u8>, EncodingError> {
    let mut out = Vec::new();
    append_capped(reader, &mut out, limit).map_err(|_| EncodingError::Bad { encoding })?;
    if out.len() > limit { Err(EncodingError::TooLarge { limit }) } else { Ok(out) }
}

fn append_capped(reader: impl Read, out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    let room = (limit + 1).saturating_sub(out.len()) as u64;
    reader.take(room).read_to_end(out).map(drop)
}

/// All frames of a body, skippable ones skipped.
fn unpack_zstd(mut body: &[u8], limit: usize) -> Result<Vec<u8>, EncodingError> {
    let bad = EncodingError::Bad { encoding: "zstd" };
    let mut out = Vec::new();
    while !body.is_empty() {
        if let Some(skipped) = skippable(body) {
            body = body.get(skipped..).ok_or_else(|| bad.clone())?;
            continue;
        }
        if zstd_memory(body).ok_or_else(|| bad.clone())? > ZSTD_WINDOW_MAX.max(limit as u64) {
            return Err(EncodingError::TooLarge { limit });
        }
        let before = body.len();
        let mut decoder = StreamingDecoder::new(&mut body).map_err(|_| bad.clone())?;
        append_capped(&mut decoder, &mut out, limit).map_err(|_| bad.clone())?;
        if out.len() > limit {
            return Err(EncodingError::TooLarge { limit });
        }
        if !decoder.decoder.is_finished() || body.len() == before {
            return Err(bad);
        }
    }
    Ok(out)
}

/// Length of a skippable frame at the start, if there is one (RFC 8878, 3.1.2).
fn skippable(body: &[u8]) -> Option<usize> {
    let magic = u32::from_le_bytes(body.get(..4)?.try_into().ok()?);
    let length = u32::from_le_bytes(body.get(4..8)?.try_into().ok()?);
    (magic & 0xffff_fff0 == 0x184d_2a50).then_some(8 + length as usize)
}

/// Bytes that a frame's header makes the decoder reserve (RFC 8878, 3.1.1.1); `None` when it is no frame. A frame without a
/// window descriptor is one segment, as large as its content.
fn zstd_memory(body: &[u8]) -> Option<u64> {
    let header = body.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let descriptor = *header.first()?;
    if descriptor & 0x20 == 0 {
        let window = *header.get(1)?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let field = header.get(1 + dictionary_bytes..1 + dictionary_bytes + size_bytes)?;
    let value = field.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Some(if size_bytes == 2 { value + 256 } else { value })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"{\"type\":\"view\",\"page\":\"/cart\"}\n{\"type\":\"view\",\"page\":\"/cart\"}\n";

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// `TEXT` as node's `zlib.brotliCompressSync` packs it.
    const BROTLI: &[u8] = &[
        27, 61, 0, 64, 44, 14, 108, 71, 28, 211, 144, 32, 216, 179, 123, 245, 165, 136, 220, 94, 43, 188, 140, 209, 73, 29, 150,
        190, 10, 203, 107, 145, 50, 56, 58, 169, 137, 46, 69, 21, 38, 211, 61, 129, 145, 181, 128, 105, 102, 0,
    ];

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "reads better at the place of use")]
    fn check(body: &[u8], encoding: &str, expected: Result<&[u8], EncodingError>) {
        assert_eq!(decode(body, encoding, 1000).as_deref(), expected.as_ref().map(|x| *x));
    }

    #[test]
    fn every_encoding_comes_back_alone_and_in_lists() {
        check(TEXT, "", Ok(TEXT));
        check(TEXT, "identity", Ok(TEXT));
        check(&gzip(TEXT), "gzip", Ok(TEXT));
        check(&gzip(TEXT), "X-GZip", Ok(TEXT));
        check(&zlib(TEXT), "deflate", Ok(TEXT));
        check(&zlib(TEXT)[2..], "deflate", Ok(TEXT));
        check(BROTLI, "br", Ok(TEXT));
        check(&zstd(TEXT), "zstd", Ok(TEXT));
        check(&gzip(BROTLI), "br, gzip", Ok(TEXT));
        check(b"", "gzip", Ok(b""));
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_body() {
        let twice = [TEXT, TEXT].concat();
        check(&[gzip(TEXT), gzip(TEXT)].concat(), "gzip", Ok(&twice));
        let skippable = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        check(&[zstd(TEXT), skippable, zstd(TEXT)].concat(), "zstd", Ok(&twice));
    }

    #[test]
    fn unknown_encodings_are_refused_by_name() {
        check(TEXT, "compress", Err(EncodingError::Unsupported("compress".to_owned())));
        check(TEXT, "gzip,gzip,gzip,gzip", Err(EncodingError::Unsupported("gzip".to_owned())));
    }

    #[test]
    fn bombs_are_refused_at_the_cap() {
        let zeros = vec![0u8; 5_000_000];
        for (body, encoding) in
            [(gzip(&zeros), "gzip"), (zlib(&zeros), "deflate"), (zstd(&zeros), "zstd"), (gzip(&gzip(&zeros)), "gzip, gzip")]
        {
            assert_eq!(decode(&body, encoding, 100_000), Err(EncodingError::TooLarge { limit: 100_000 }), "{encoding}");
        }
        // A frame that asks for a window of 1 TiB.
        let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf0, 0, 0, 0];
        assert_eq!(decode(&greedy, "zstd", 100_000), Err(EncodingError::TooLarge { limit: 100_000 }));
        assert!(decode(TEXT, "", 10).is_err());
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_bad() {
        for (body, encoding) in [(gzip(TEXT), "gzip"), (zlib(TEXT), "deflate"), (BROTLI.to_vec(), "br"), (zstd(TEXT), "zstd")] {
            for cut in 1..body.len() {
                assert!(matches!(decode(&body[..cut], encoding, 1000), Err(EncodingError::Bad { .. })), "{encoding} {cut}");
            }
            assert!(matches!(decode(TEXT, encoding, 1000), Err(EncodingError::Bad { .. })), "{encoding}");
        }
    }
}
