//! Builds metric families from plain numbers at each scrape, so that they always show exactly the
//! current state: a series disappears together with its subject. Pure.

use prometheus::core::Desc;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::table::{Kind, Spec};

/// A metric family under construction.
pub(super) struct Family {
    spec: Spec,
    series: Vec<Metric>,
}

impl Family {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            series: Vec::new(),
        }
    }

    /// Adds one series; the label values are in the order of the table.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), self.spec.labels.len(), "{}", self.spec.name);
        let pairs = self.spec.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        match self.spec.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.series.push(metric);
    }

    pub(super) fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.spec.name.to_owned());
        family.set_help(self.spec.help.to_owned());
        family.set_field_type(match self.spec.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(self.series);
        family
    }
}

/// The descriptor of a metric, for registration.
pub(super) fn desc(spec: &Spec) -> prometheus::Result<Desc> {
    let labels = spec
        .labels
        .iter()
        .map(|label| (*label).to_owned())
        .collect();
    Desc::new(
        spec.name.to_owned(),
        spec.help.to_owned(),
        labels,
        std::collections::HashMap::new(),
    )
}

/// Converts a whole number to a Prometheus value. Precision is lost above 2^53, which no count here
/// reaches.
#[expect(clippy::cast_precision_loss, reason = "metrics are floats by format")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}
