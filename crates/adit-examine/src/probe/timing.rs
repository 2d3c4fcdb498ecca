//! Whether two sets of times come from one distribution: the test of Kolmogorov and Smirnov. Not here: the times.

/// The probability that two samples of one distribution differ as much as these (asymptotic, two-sided).
pub(super) fn probability_of_one_source(one: &mut [u64], other: &mut [u64]) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 1.0;
    }
    one.sort_unstable();
    other.sort_unstable();
    let (n, m) = (one.len() as f64, other.len() as f64);
    let (mut i, mut j, mut widest) = (0, 0, 0.0_f64);
    while i < one.len() && j < other.len() {
        let at = one[i].min(other[j]);
        i += one[i..].partition_point(|time| *time <= at);
        j += other[j..].partition_point(|time| *time <= at);
        widest = widest.max((i as f64 / n - j as f64 / m).abs());
    }
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * widest;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// The middle one of sorted times.
pub(super) fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::dice::Dice;
    use super::*;

    fn times(seed: u64, shift: u64) -> Vec<u64> {
        let mut dice = Dice::new(seed, 0);
        (0..200).map(|_| dice.roll() % 1000 + shift).collect()
    }

    #[test]
    fn times_of_one_source_are_probable_and_shifted_ones_are_not() {
        let unlikely = (0..50)
            .filter(|seed| probability_of_one_source(&mut times(*seed, 0), &mut times(seed + 1000, 0)) < 0.01)
            .count();
        assert!(unlikely <= 3, "{unlikely} of 50 at one in a hundred");
        assert!(probability_of_one_source(&mut times(1, 0), &mut times(2, 300)) < 0.001);
    }

    #[test]
    fn the_same_times_are_as_probable_as_can_be() {
        assert!(probability_of_one_source(&mut [1, 2, 3], &mut [1, 2, 3]) > 0.99);
        assert!(probability_of_one_source(&mut [], &mut [1]) > 0.99);
        assert_eq!(median(&[1, 5, 9]), 5);
    }
}
