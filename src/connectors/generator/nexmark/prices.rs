//! Prices, as likely to be between 1 and 10 as between 10 and 100: powers of ten with a uniformly distributed exponent.
//!
//! The powers come from a table, computed by products and square roots, which every platform rounds alike; its own
//! powers might differ in the last bit. Between two entries a price is interpolated, at most 0.02 % from the power.

use super::super::random::Random;

/// Prices are from 1 to a million, in hundredths.
const LEAST: f64 = 100.0;
const DECADES: usize = 6;
/// Entries per decade: a square root taken six times.
const STEPS: usize = 1 << HALVINGS;
const HALVINGS: usize = 6;

#[derive(Debug)]
pub(super) struct Prices {
    powers: Vec<f64>,
}

impl Prices {
    pub fn new() -> Self {
        let step = (0..HALVINGS).fold(10.0, |root: f64, _| root.sqrt());
        let mut powers = Vec::with_capacity(DECADES * STEPS + 1);
        let mut decade = LEAST;
        for _ in 0..DECADES {
            let mut power = decade;
            for _ in 0..STEPS {
                powers.push(power);
                power *= step;
            }
            decade *= 10.0;
        }
        powers.push(decade);
        Prices { powers }
    }

    /// A price in hundredths.
    #[inline]
    pub fn next(&self, random: &mut Random) -> u64 {
        let exponent = random.fraction() * (DECADES * STEPS) as f64;
        let below = (exponent as usize).min(DECADES * STEPS - 1);
        let (low, high) = (self.powers[below], self.powers[below + 1]);
        // Rounded: prices are positive.
        (low + (high - low) * (exponent - below as f64) + 0.5) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::random::RandomPurpose;
    use super::*;

    #[test]
    fn the_table_holds_powers_of_ten() {
        let prices = Prices::new();
        assert_eq!((prices.powers.len(), prices.powers[0], prices.powers[STEPS]), (385, 100.0, 1000.0));
        for (i, power) in prices.powers.iter().enumerate() {
            let expected = LEAST * 10f64.powf(i as f64 / STEPS as f64);
            assert!((power / expected - 1.0).abs() < 1e-12, "{i}: {power} and not {expected}");
        }
    }

    #[test]
    fn every_decade_is_as_likely() {
        let (prices, mut random) = (Prices::new(), Random::new(1, RandomPurpose::NexmarkEvent, 0, 0));
        let mut counts = [0; DECADES];
        for _ in 0..60_000 {
            let price = prices.next(&mut random);
            assert!((100..=100_000_000).contains(&price), "{price}");
            counts[((price.ilog10() - 2) as usize).min(DECADES - 1)] += 1;
        }
        assert!(counts.iter().all(|n| (9_500..10_500).contains(n)), "{counts:?}");
    }
}
