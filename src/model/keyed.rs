//! Maps whose keys are hashes already: one multiplication finds the place, where the standard hasher would hash again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

/// A map by 64-bit hashes.
pub type HashedMap<V> = HashMap<u64, V, BuildFolded>;

/// A set of 64-bit hashes.
pub type HashedSet = HashSet<u64, BuildFolded>;

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers that fold keys over a secret. Page names are a client's choice and their hash is no secret, so without one
/// somebody could send names that all meet in one place of a map. The secret is the one that every standard map draws; no answer
/// depends on it.
#[derive(Clone, Copy, Debug)]
pub struct BuildFolded(u64);

impl Default for BuildFolded {
    fn default() -> Self {
        Self(HashSet::<u64>::new().hasher().hash_one(0u64))
    }
}

impl BuildHasher for BuildFolded {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// See [`BuildFolded`].
#[derive(Clone, Copy, Debug)]
pub struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(u128::from(GOLDEN));
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.fold(word);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_in_a_few_bits_are_spread() {
        let build = BuildFolded::default();
        for step in [1u64, 1 << 7, 1 << 20, 1 << 43, 1 << 57] {
            let places: HashSet<u64> = (0..64u64).map(|n| build.hash_one(n.wrapping_mul(step)) & 1023).collect();
            assert!(places.len() > 48, "{} places of 1024 for 64 keys {step} apart", places.len());
        }
    }
}
