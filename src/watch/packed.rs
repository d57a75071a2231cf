//! Plain data in few bytes: as postcard writes it, with runs of zeros as a zero and their length. What is known of a page that
//! had a few views is mostly zeros.

use memchr::memchr;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Packs a value. `room` is memory to work in.
pub(super) fn pack<T: Serialize>(value: &T, room: &mut Vec<u8>) -> Box<[u8]> {
    room.clear();
    let plain = postcard::to_extend(value, std::mem::take(room)).expect("plain data serialises into memory");
    let mut packed = Vec::with_capacity(plain.len());
    let mut rest = plain.as_slice();
    while let Some(zero) = memchr(0, rest) {
        let run = rest[zero..].iter().take(usize::from(u8::MAX)).take_while(|byte| **byte == 0).count();
        packed.extend_from_slice(&rest[..=zero]);
        packed.push(run as u8);
        rest = &rest[zero + run..];
    }
    packed.extend_from_slice(rest);
    *room = plain;
    packed.into_boxed_slice()
}

/// The value that was packed; `None` where the bytes are of none.
pub(super) fn unpack<T: DeserializeOwned>(mut packed: &[u8], room: &mut Vec<u8>) -> Option<T> {
    room.clear();
    while let Some(zero) = memchr(0, packed) {
        room.extend_from_slice(&packed[..zero]);
        room.resize(room.len() + usize::from(*packed.get(zero + 1)?), 0);
        packed = &packed[zero + 2..];
    }
    room.extend_from_slice(packed);
    postcard::from_bytes(room).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_come_back_as_they_were(value in any::<(Vec<f64>, Vec<u8>, String, [u64; 3], Option<i64>)>(), zeros in 0usize..700) {
            let value = (value, vec![0u8; zeros]);
            let mut room = vec![7];
            let packed = pack(&value, &mut room);
            let again = unpack(&packed, &mut room);
            prop_assert!(again.is_some());
            let before = format!("{value:?}");
            prop_assert_eq!(before, format!("{:?}", again.unwrap_or(value)));
        }

        #[test]
        fn no_bytes_are_worse_than_no_value(bytes in prop::collection::vec(0u8..4, 0..40)) {
            let _any: Option<(Vec<f64>, String)> = unpack(&bytes, &mut Vec::new());
        }
    }
}
