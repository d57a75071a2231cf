//! Sessions are hashed with a key that changes daily, so that "affected sessions" works within a day and the hash is no
//! identifier after it: once the salt of a day is deleted, nobody can tell whether two hashes were one person.
//!
//! The hash is SipHash-2-4, a keyed function made for short inputs: without the key, neither can sessions be guessed from hashes
//! nor hashes from sessions. The day of the **arrival** chooses the key, so a session that crosses midnight (UTC) counts as two.
//! Making, keeping and deleting salts is the daemon's work; here they are plain data.

use crate::model::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// A 128-bit SipHash key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(u64, u64);

/// The salts in force. `Debug` shows days, never salts.
#[derive(Clone, PartialEq, Eq)]
pub struct Salts {
    /// Day number since the epoch and key of the newest salt.
    newest: (i64, Key),
    /// The day before's, for arrivals that a replay brings back.
    before: Option<Key>,
}

impl Salts {
    /// One salt for all days: for backtests and tests.
    pub fn fixed(salt: &[u8; 32]) -> Self {
        Self { newest: (i64::MIN, key_of(salt)), before: None }
    }

    /// Today's salt, and yesterday's where it still exists. Later arrivals use today's until the daemon brings a new one.
    pub fn daily(today: Timestamp, salt: &[u8; 32], yesterday: Option<&[u8; 32]>) -> Self {
        Self { newest: (day_of(today), key_of(salt)), before: yesterday.map(key_of) }
    }

    /// The hash of a site's session at an arrival; never 0, which stands for an unknown session.
    pub fn hash_session(&self, arrival: Timestamp, site_hash: u64, session: &str) -> u64 {
        let (day, newest) = self.newest;
        let key = if day_of(arrival) < day { self.before.unwrap_or(newest) } else { newest };
        sip24(Key(key.0 ^ site_hash, key.1), session.as_bytes()).max(1)
    }
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salts").field("day", &self.newest.0).field("salt", &"<secret>").finish_non_exhaustive()
    }
}

fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MS)
}

/// Folds a 256-bit salt into a key; all of its bits have a say.
fn key_of(salt: &[u8; 32]) -> Key {
    let word = |i: usize| u64::from_le_bytes(salt[i * 8..i * 8 + 8].try_into().expect("a slice of eight bytes"));
    let outer = Key(word(0), word(1));
    Key(sip24(outer, &salt[16..]), sip24(Key(word(2), word(3)), &salt[..16]))
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012), 64-bit result.
fn sip24(key: Key, data: &[u8]) -> u64 {
    let mut v = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let mut blocks = data.chunks_exact(8);
    for block in &mut blocks {
        let m = u64::from_le_bytes(block.try_into().expect("a block of eight bytes"));
        v[3] ^= m;
        round(&mut v);
        round(&mut v);
        v[0] ^= m;
    }
    let mut last = [0u8; 8];
    last[..blocks.remainder().len()].copy_from_slice(blocks.remainder());
    last[7] = data.len() as u8;
    let m = u64::from_le_bytes(last);
    v[3] ^= m;
    round(&mut v);
    round(&mut v);
    v[0] ^= m;
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_gives_the_published_vectors() {
        let key = Key(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let data: Vec<u8> = (0..15).collect();
        assert_eq!(sip24(key, &data), 0xa129_ca61_49be_45e5);
        assert_eq!(sip24(key, &[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn a_session_keeps_its_hash_within_a_day_and_loses_it_at_midnight() {
        let noon = Timestamp(20_000 * DAY_MS + DAY_MS / 2);
        let salts = Salts::daily(noon, &[1; 32], Some(&[2; 32]));
        let at = |ms: i64| salts.hash_session(Timestamp(noon.0 + ms), 7, "s-8f3a");
        assert_eq!(at(0), at(DAY_MS / 2 - 1));
        assert_ne!(at(0), at(-DAY_MS / 2 - 1));
        assert_eq!(at(-DAY_MS / 2 - 1), Salts::fixed(&[2; 32]).hash_session(noon, 7, "s-8f3a"), "yesterday's salt");
    }

    #[test]
    fn sites_and_sessions_are_kept_apart_and_the_salt_is_not_printed() {
        let salts = Salts::fixed(&[9; 32]);
        let hash = |site, session| salts.hash_session(Timestamp(0), site, session);
        assert_ne!(hash(1, "a"), hash(2, "a"));
        assert_ne!(hash(1, "a"), hash(1, "b"));
        assert!(format!("{salts:?}").contains("<secret>"));
    }
}
