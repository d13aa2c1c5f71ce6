//! Reads Prometheus' text format. Pure.

/// The sum of a metric over all its labels.
pub fn sum(metrics: &str, name: &str) -> f64 {
    metrics
        .lines()
        .filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_mixed_with_longer_names() {
        let text =
            "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3.5\na_total_more 7\n";
        assert!((sum(text, "a_total") - 5.5).abs() < f64::EPSILON);
        assert!((sum("a_total 4\n", "a_total") - 4.0).abs() < f64::EPSILON);
        assert!(sum("", "a_total").abs() < f64::EPSILON);
    }
}
