//! Pure mathematics of detection: no events, no time but seconds as `f64`, no state that is not a few numbers.
//!
//! Units: time in seconds, evidence in nats, budgets in false alarms per series-week. Each formula names its source. The
//! reading order is that of a decision: [`nb1`] (how likely is a count), [`shiryaev_roberts`] (evidence over time),
//! [`baseline`] (what is usual), [`dispersion`] (how noisy is usual), [`totals`] (both where lines are totals), [`gamma`] (how
//! uncertain is it), [`good_turing`] for errors never seen before, and [`concurrent`] for two streams side by side.

pub mod baseline;
pub mod concurrent;
pub mod dispersion;
pub mod gamma;
pub mod good_turing;
pub mod nb1;
pub mod shiryaev_roberts;
pub mod totals;

/// Seconds of a week: the unit in which budgets are given.
pub const WEEK_SECS: f64 = 604_800.0;

/// The factor by which a decayed sum shrinks over `elapsed` seconds.
pub fn decay(elapsed: f64, half_life: f64) -> f64 {
    (-std::f64::consts::LN_2 * elapsed / half_life).exp()
}
