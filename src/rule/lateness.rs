//! How late the lines of a stream come, and how little a minute says that may still be under way.
//!
//! A drop is silence, and so is delay. A stream of which a good part once came after its minute gets a memory of how much of a
//! minute had come at each age, learned when the minute is complete, in two parts: how often a minute was *hollow* at that age
//! (next to nothing had come of what came in the end), apart for minutes that follow a hollow one, since delays come in runs
//! where a collector bundles; and which share of the others had come. A minute that looks empty then counts as evidence only by
//! what separates it from a hollow one: the null is contaminated (Huber, *Annals of Mathematical Statistics* 36, 1965), so the
//! likelihood ratio is bounded by the odds of a delay.

use serde::{Deserialize, Serialize};

use crate::stats::decay;

/// Minutes that are open at once: the five of the lateness that is allowed by default, and the one that runs.
pub const OPEN: usize = 6;
/// Ages at which a minute that is over may still be open.
const AGES: usize = OPEN - 1;
/// A minute is hollow while no more than this share of it has come.
pub const HOLLOW: f64 = 0.1;
/// How often a minute is taken to be hollow before anything is known, and with the weight of how many minutes; then after a
/// hollow one, on top of what is known in general.
const PRIOR: (f64, f64) = (0.02, 10.0);
const PRIOR_RUN: (f64, f64) = (0.02, 2.0);
/// However often it was so, a minute that is not hollow stays possible.
const HOLLOW_MAX: f64 = 0.99;
/// Half-life of what is learned, in minutes.
const HALF: f64 = 10_080.0;

/// What is known of a stream's lateness. Ages are in minutes, 0 when the minute is just over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// For each open minute, oldest first: what had come at each age.
    seen: [[f32; AGES]; OPEN],
    /// Whether the minute closed last was hollow, by age.
    before: [bool; AGES],
    /// Minutes, and hollow ones among them, by age; then the same of minutes after one that was hollow at that time.
    hollow: [[(f32, f32); AGES]; 2],
    /// What had come and what came in the end, by age, of minutes that were not hollow.
    come: [(f32, f32); AGES],
}

impl Lateness {
    /// A stream of which a good part came so many minutes late.
    pub fn new(minutes: i64) -> Self {
        let mut hollow = [[(0.0, 0.0); AGES]; 2];
        for known in hollow[0].iter_mut().take(minutes.max(0) as usize) {
            *known = (1.0, 1.0);
        }
        Self { seen: [[0.0; AGES]; OPEN], before: [false; AGES], hollow, come: [(1.0, 1.0); AGES] }
    }

    /// Notes what has come of the open minute at `place`, which has this age.
    pub fn note(&mut self, place: usize, age: usize, count: f64) {
        self.seen[place][age] = count as f32;
    }

    /// The oldest open minute is complete: learns from it, unless it tells nothing of what is usual.
    pub fn close(&mut self, count: f64, learns: bool) {
        let seen = self.seen[0];
        self.seen.rotate_left(1);
        self.seen[OPEN - 1] = [0.0; AGES];
        let was = self.before;
        self.before = [false; AGES];
        if count <= 0.0 || !learns {
            return;
        }
        let keep = decay(1.0, HALF) as f32;
        for (age, seen) in seen.into_iter().enumerate() {
            let hollow = f64::from(seen) <= HOLLOW * count;
            self.before[age] = hollow;
            // When this minute had this age, the one before was a minute older.
            let after = was.get(age + 1).copied().unwrap_or(false);
            let known = &mut self.hollow[usize::from(after)][age];
            *known = (known.0 * keep + 1.0, known.1 * keep + f32::from(u8::from(hollow)));
            if !hollow {
                let come = &mut self.come[age];
                *come = (come.0 * keep + seen, come.1 * keep + count as f32);
            }
        }
    }

    /// Forgets the open minutes: nobody was there to see them.
    pub fn skip(&mut self) {
        (self.seen, self.before) = ([[0.0; AGES]; OPEN], [false; AGES]);
    }

    /// How likely a minute of this age is hollow, after one that seems so or after another.
    pub fn hollow(&self, age: usize, after_hollow: bool) -> f64 {
        let of = |known: (f32, f32), mean: f64, weight: f64| (f64::from(known.1) + mean * weight) / (f64::from(known.0) + weight);
        let usual = of(self.hollow[0][age], PRIOR.0, PRIOR.1);
        let likely = if after_hollow { of(self.hollow[1][age], usual + PRIOR_RUN.0, PRIOR_RUN.1) } else { usual };
        likely.min(HOLLOW_MAX)
    }

    /// Which share of a minute has come at this age, where it is not hollow.
    pub fn share(&self, age: usize) -> f64 {
        f64::from(self.come[age].0 / self.come[age].1)
    }
}

/// A log likelihood ratio when an observation under the null is hollow with probability `hollow`, and then is what the alternative
/// expects: never more than ln(1/hollow).
pub fn temper(llr: f64, hollow: f64) -> f64 {
    -((1.0 - hollow) * (-llr).exp() + hollow).ln()
}
