//! When to try again: exponential backoff with jitter. The randomness is a hash of what is passed in, so that a restart and a
//! replay come to the same times.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The shortest delay.
pub const DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest delay of our own.
pub const DELAY_MAX: Duration = Duration::from_secs(5 * 60);
/// The longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The delay after the try number `attempts` (from 1): anywhere between [`DELAY_MIN`] and 2, 4, 8, … seconds, at most
/// [`DELAY_MAX`].
pub fn backoff(seed: u64, delivery: u64, attempts: u32) -> Duration {
    let ceiling = (1u64 << attempts.clamp(1, 20)) * 1000;
    let ceiling = ceiling.min(DELAY_MAX.as_millis() as u64);
    let floor = DELAY_MIN.as_millis() as u64;
    let mut name = [0; 12];
    name[..8].copy_from_slice(&delivery.to_le_bytes());
    name[8..].copy_from_slice(&attempts.to_le_bytes());
    Duration::from_millis(floor + xxh3_64_with_seed(&name, seed) % (ceiling - floor + 1))
}

/// What a service asked for, within bounds.
pub fn clamp_retry_after(asked: Duration) -> Duration {
    asked.clamp(DELAY_MIN, RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_in_bounds_and_are_the_same_again(seed: u64, delivery: u64, attempts: u32) {
            let delay = backoff(seed, delivery, attempts);
            prop_assert!((DELAY_MIN..=DELAY_MAX).contains(&delay));
            prop_assert!(attempts > 8 || delay <= Duration::from_secs(1 << attempts.max(1)));
            prop_assert_eq!(delay, backoff(seed, delivery, attempts));
        }
    }

    #[test]
    fn delays_of_many_deliveries_are_spread() {
        let early = (0..1000).filter(|id| backoff(7, *id, 10) < DELAY_MAX / 2).count();
        assert!((400..600).contains(&early), "{early}");
    }
}
