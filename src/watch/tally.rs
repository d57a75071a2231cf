//! What was weighed and not told, counted for operators: a rule that is never near its bar is blind, one that is often near it
//! is set too tight.

/// Evidence at this share of its bar counts as near.
const NEAR: f64 = 0.1;

/// Counts since the watch began. They decide nothing, and no checkpoint has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times that the evidence of a stream rose to a tenth of a rule's bar.
    pub near: u64,
    /// Times that it rose over the bar.
    pub over: u64,
    /// Episodes that came again at their time, no higher and no longer than before, and were held back to their end.
    pub held_back: u64,
}

impl Tally {
    /// Counts evidence that rose from `before` to `after`.
    pub(super) fn weigh(&mut self, before: f64, after: f64, bar: f64) {
        let rose_over = |level: f64| u64::from(before <= level && after > level);
        self.near += rose_over(NEAR * bar);
        self.over += rose_over(bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_counted_once_for_each_level_it_passes() {
        let mut tally = Tally::default();
        for (before, after) in [(0.0, 5.0), (5.0, 20.0), (20.0, 90.0), (90.0, 300.0), (300.0, 400.0), (400.0, 0.0), (0.0, 1e6)] {
            tally.weigh(before, after, 100.0);
        }
        assert_eq!(tally, Tally { near: 2, over: 2, held_back: 0 });
    }
}
