//! Over which sections the load is spread, and how unevenly.

/// A choice of places with weights: the place of rank `k`, counted from 1, is picked with a weight of
/// `1 / k^s` (Zipf). With `s` = 0 all are alike; with 1 the first of 10,000 gets a tenth of all.
#[derive(Clone, Debug)]
pub struct Ranks {
    /// Sums of the weights up to each place; the last is 1.
    sums: Vec<f64>,
}

impl Ranks {
    /// `count` places.
    pub fn new(count: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count.max(1)).map(|rank| (rank as f64).powf(-s));
        let up_to = weights.map(|weight| {
            sum += weight;
            sum
        });
        let sums: Vec<f64> = up_to.collect();
        Self { sums: sums.into_iter().map(|up_to| up_to / sum).collect() }
    }

    /// The place at a share of the whole weight, 0 to 1.
    pub fn at(&self, share: f64) -> usize {
        self.sums.partition_point(|up_to| *up_to <= share).min(self.sums.len() - 1)
    }

    /// A random place.
    pub fn pick(&self) -> usize {
        if self.sums.len() == 1 { 0 } else { self.at(crate::random::random()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_slope_all_places_are_alike() {
        let ranks = Ranks::new(4, 0.0);
        let at: Vec<usize> =
            [0.0, 0.24, 0.26, 0.49, 0.51, 0.76, 0.999, 1.0].map(|share| ranks.at(share)).into();
        assert_eq!(at, [0, 0, 1, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn the_first_of_ten_thousand_gets_a_tenth() {
        let ranks = Ranks::new(10_000, 1.0);
        let mut picks = vec![0_u32; 10_000];
        let draws = 200_000;
        for draw in 0..draws {
            picks[ranks.at(f64::from(draw) / f64::from(draws))] += 1;
        }
        let share = |rank: usize| f64::from(picks[rank - 1]) / f64::from(draws);
        // The sum of 1/k up to 10,000 is 9.79.
        assert!((share(1) - 1.0 / 9.79).abs() < 0.001, "{}", share(1));
        assert!((share(10) - 0.1 / 9.79).abs() < 0.001, "{}", share(10));
        assert!(picks[5_000..].iter().sum::<u32>() > 0, "the last ones have some");
        assert_eq!(Ranks::new(0, 1.0).pick(), 0);
    }
}
