//! Upper quantiles of a gamma distribution with mean 1: how far a rate may lie above its estimate.

/// The Wilson–Hilferty approximation (PNAS 17, 1931, 684–688) of the quantile at standard-normal deviate `z` of a gamma
/// distribution with mean 1 and the given shape; never below 1. Shape is the effective number of counts behind an estimate.
pub fn upper_factor(shape: f64, z: f64) -> f64 {
    (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt())).powi(3).max(1.0)
}

/// The same without the floor, for intervals that people read.
pub fn quantile_factor(shape: f64, z: f64) -> f64 {
    (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt())).max(0.0).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::{ContinuousCDF, Gamma};

    #[test]
    fn is_close_to_the_exact_quantile() {
        // z = 0.8 and 1.25 are the 78.8 % and 89.4 % quantiles of the normal distribution.
        for (z, p) in [(0.8, 0.788_144_601), (1.25, 0.894_350_226)] {
            for shape in [1.0, 3.0, 10.0, 100.0] {
                let exact = Gamma::new(shape, shape).unwrap().inverse_cdf(p);
                let got = quantile_factor(shape, z);
                assert!((got / exact - 1.0).abs() < 0.02, "shape {shape}, z {z}: {got} against {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn quantiles_rise_with_their_probability(shape in 0.01f64..1e6, z in -4.0f64..4.0, more in 0.001f64..4.0) {
            prop_assert!(quantile_factor(shape, z) <= quantile_factor(shape, z + more));
            prop_assert!(quantile_factor(shape, z) >= 0.0);
        }

        #[test]
        fn an_interval_narrows_with_data(shape in 0.3f64..1e6, z in 0.3f64..3.0, more in 1.01f64..100.0) {
            let width = |shape: f64| quantile_factor(shape, z) - quantile_factor(shape, -z);
            prop_assert!(width(shape * more) <= width(shape) * 1.0001);
        }

        #[test]
        fn more_data_and_less_caution_bring_it_down(shape in 0.5f64..1e4, z in 0.5f64..3.0) {
            prop_assert!(upper_factor(shape, z) <= upper_factor(shape, z + 0.1));
            prop_assert!(upper_factor(shape * 2.0, z) <= upper_factor(shape, z) + 0.06);
            prop_assert!(upper_factor(shape, z) >= 1.0);
        }
    }
}
