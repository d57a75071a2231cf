//! `conversion` as a flow: how many sessions should come to the next step in a minute, as sessions of this step came before.
//!
//! People need time for a step. So what a minute may expect is not that minute's arrivals but a fading mean of them, ten minutes
//! long: after a burst the expectation comes as slowly as the people do. A fall of conversion is a fall of the next step alone.
//! Where this step falls silent too, what is expected falls with it at once: the fading mean counts for no more than what has come
//! lately, in a memory of about three sessions, so that an outage of the whole site is no evidence here.

use serde::{Deserialize, Serialize};

use super::lateness::OPEN;

/// How long people need for a step, in minutes: the mean of the fading memory.
pub const STEP_MINUTES: f64 = 10.0;
/// Sessions after which this step is taken to be silent.
const SILENT_AFTER: f64 = 3.0;
/// Sessions a minute below which nothing is expected any more.
const IDLE: f64 = 1e-3;

/// Sessions that arrive at this step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// What has come for the open minutes, oldest first.
    open: [f64; OPEN],
    pace: Pace,
}

/// Sessions a minute, in two memories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pace {
    slow: f64,
    lately: f64,
}

impl Pace {
    /// Takes a minute; says how many of this step's sessions may now be on their way to the next.
    fn next(&mut self, came: f64) -> f64 {
        let keep = (-1.0 / STEP_MINUTES).exp();
        self.slow = self.slow * keep + came * (1.0 - keep);
        let keep = SILENT_AFTER / (SILENT_AFTER + self.slow);
        self.lately = self.lately * keep + came * (1.0 - keep);
        self.slow.min(self.lately)
    }
}

impl Flow {
    /// Sessions came to this step in the open minute at `place`.
    pub fn add(&mut self, place: usize, sessions: f64) {
        self.open[place] += sessions;
    }

    /// The oldest open minute is complete: sessions that may go on in it.
    pub fn close(&mut self) -> f64 {
        let came = self.open[0];
        self.open.rotate_left(1);
        self.open[OPEN - 1] = 0.0;
        self.pace.next(came)
    }

    /// The same for the open minutes, as far as they are known.
    pub fn ahead(&self) -> [f64; OPEN] {
        let mut pace = self.pace;
        self.open.map(|came| pace.next(came))
    }

    /// Forgets the open minutes.
    pub fn skip(&mut self) {
        self.open = [0.0; OPEN];
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.pace.slow.min(self.pace.lately) < IDLE && self.open.iter().sum::<f64>() <= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_slowly_and_ends_at_once() {
        for rate in [0.2, 5.0, 400.0] {
            let mut pace = Pace::default();
            let first = pace.next(rate);
            assert!(first < 0.2 * rate, "people need time: {first} of {rate}");
            (0..600).for_each(|_| _ = pace.next(rate));
            assert!((pace.next(rate) / rate - 1.0).abs() < 0.01);
            let rest: f64 = (0..600).map(|_| pace.next(0.0)).sum();
            assert!(rest <= 1.5 * SILENT_AFTER, "rate {rate}: {rest} sessions are still expected after silence began");
        }
    }
}
