//! Percentiles, as the tables of the measurements show them. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// From one moment to another; zero if the other is earlier (Temporal's clock and ours are the same
/// machine's).
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// The value that `percent` of the values do not exceed: the nearest rank, always one of the
/// values.
pub(crate) fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Seconds with two digits, as the tables print them.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

/// The percentile in seconds as the cell of a table; a dash without values.
pub(crate) fn figure(values: &[Duration], percent: usize) -> String {
    percentile(values, percent).map_or_else(|| "-".to_owned(), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[u64]) -> Vec<Duration> {
        seconds.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values = of(&[5, 1, 4, 2, 3]);
        let asked = [0, 20, 50, 99, 100].map(|percent| percentile(&values, percent).unwrap());
        assert_eq!(asked.to_vec(), of(&[1, 1, 3, 5, 5]));
        assert_eq!(percentile(&[], 50), None);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&of(&hundred), 99), Some(Duration::from_secs(99)));
    }

    #[test]
    fn a_figure_has_two_digits_and_is_a_dash_without_values() {
        assert_eq!(figure(&of(&[1, 2, 12]), 50), "2.00");
        assert_eq!(figure(&[], 50), "-");
    }
}
