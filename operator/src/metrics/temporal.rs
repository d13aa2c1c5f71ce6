//! Metrics of the calls to Temporal. Holds numbers; makes no call.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use taskqueue_exposition::{Spec, table};
use taskqueue_temporal::{BudgetReading, Method, Observer, ServerNamespace, Source};
use tracing::debug;

use super::family::number;

/// Buckets for the duration of a call, in seconds: an answer from the server's cache takes a
/// millisecond, an uncached one ten.
const CALL_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// Counts and times calls.
pub struct TemporalNumbers {
    requests: IntCounterVec,
    duration: HistogramVec,
    /// The existing series, so that they can be dropped with their Temporal namespace.
    series: Mutex<BTreeSet<(ServerNamespace, Method, &'static str)>>,
}

impl TemporalNumbers {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = Opts::new(table::TEMPORAL_REQUESTS.name, table::TEMPORAL_REQUESTS.help);
        let duration =
            HistogramOpts::new(table::TEMPORAL_DURATION.name, table::TEMPORAL_DURATION.help)
                .buckets(CALL_BUCKETS.to_vec());
        let numbers = Self {
            requests: IntCounterVec::new(requests, table::TEMPORAL_REQUESTS.labels)?,
            duration: HistogramVec::new(duration, table::TEMPORAL_DURATION.labels)?,
            series: Mutex::default(),
        };
        registry.register(Box::new(numbers.requests.clone()))?;
        registry.register(Box::new(numbers.duration.clone()))?;
        Ok(numbers)
    }
}

impl TemporalNumbers {
    /// Drops the series of all Temporal namespaces that are no longer read.
    pub fn keep_only(&self, server_namespaces: &BTreeSet<ServerNamespace>) {
        let mut series = self.series.lock();
        series.retain(|(server_namespace, method, code)| {
            let kept = server_namespaces.contains(server_namespace);
            if !kept {
                let labels = [
                    &server_namespace.address,
                    &server_namespace.temporal_namespace,
                    method.as_str(),
                ];
                let request = [labels[0], labels[1], labels[2], code];
                let requests = self.requests.remove_label_values(&request);
                // One duration series covers all codes, so only the first code finds it.
                let durations = self.duration.remove_label_values(&labels);
                debug!(
                    place = %server_namespace, ?requests, ?durations,
                    "removed the metrics of a Temporal namespace"
                );
            }
            kept
        });
    }
}

impl Observer for TemporalNumbers {
    fn call(
        &self,
        server_namespace: &ServerNamespace,
        method: Method,
        code: &'static str,
        took: Duration,
    ) {
        self.series
            .lock()
            .insert((server_namespace.clone(), method, code));
        let (address, namespace) = (
            server_namespace.address.as_str(),
            server_namespace.temporal_namespace.as_str(),
        );
        self.requests
            .with_label_values(&[address, namespace, method.as_str(), code])
            .inc();
        self.duration
            .with_label_values(&[address, namespace, method.as_str()])
            .observe(took.as_secs_f64());
    }
}

/// Exposes the call budgets that `read` returns at the moment of the scrape.
///
/// # Errors
/// If they are registered already.
pub fn register_budgets(
    registry: &Registry,
    read: impl Fn() -> Vec<BudgetReading> + Send + Sync + 'static,
) -> prometheus::Result<()> {
    let gauge = |spec: Spec| GaugeVec::new(Opts::new(spec.name, spec.help), spec.labels);
    registry.register(Box::new(Budgets {
        read,
        limit: gauge(table::BUDGET_LIMIT)?,
        available: gauge(table::BUDGET_AVAILABLE)?,
        behind: gauge(table::BUDGET_BEHIND)?,
    }))
}

struct Budgets<F> {
    read: F,
    limit: GaugeVec,
    available: GaugeVec,
    behind: GaugeVec,
}

impl<F> Budgets<F> {
    fn gauges(&self) -> [&GaugeVec; 3] {
        [&self.limit, &self.available, &self.behind]
    }
}

impl<F: Fn() -> Vec<BudgetReading> + Send + Sync> Collector for Budgets<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges()
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for gauge in self.gauges() {
            gauge.reset();
        }
        for budget in (self.read)() {
            for source in Source::ALL {
                let labels = [
                    budget.server_namespace.address.as_str(),
                    budget.server_namespace.temporal_namespace.as_str(),
                    source.as_str(),
                ];
                let calls = budget.sources.get(source);
                let rate = number(calls.rate_milli) / 1000.0;
                self.limit.with_label_values(&labels).set(rate);
                let tokens = number(calls.tokens);
                self.available.with_label_values(&labels).set(tokens);
                let behind = calls.behind.as_secs_f64();
                self.behind.with_label_values(&labels).set(behind);
            }
        }
        let gauges = self.gauges().into_iter();
        gauges.flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_temporal::{PerSource, SourceReading};

    use super::*;

    #[test]
    fn each_source_has_its_own_budget() {
        let registry = Registry::new();
        let full = SourceReading {
            tokens: 20,
            rate_milli: 20_000,
            behind: Duration::ZERO,
        };
        let reading = BudgetReading {
            server_namespace: ServerNamespace {
                address: "t:7233".to_owned(),
                temporal_namespace: "shop".to_owned(),
            },
            full_rate_milli: 20_000,
            sources: PerSource {
                backlog: full,
                slots: SourceReading {
                    tokens: 0,
                    rate_milli: 2_500,
                    behind: Duration::from_secs(3),
                },
            },
            queues: 1,
            busy_queues: 1,
        };
        register_budgets(&registry, move || vec![reading.clone()]).unwrap();
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let of = |name: &str, source: &str, value: &str| {
            let labels = r#"temporal_address="t:7233",temporal_namespace="shop""#;
            format!(r#"taskqueue_operator_temporal_{name}{{source="{source}",{labels}}} {value}"#)
        };
        let expected = [
            of("budget_available_calls", "backlog", "20"),
            of("budget_available_calls", "slots", "0"),
            of("budget_calls_per_second", "backlog", "20"),
            of("budget_calls_per_second", "slots", "2.5"),
            of("reads_behind_seconds", "backlog", "0"),
            of("reads_behind_seconds", "slots", "3"),
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn series_are_removed_when_a_temporal_namespace_is_no_longer_read() {
        let registry = Registry::new();
        let numbers = TemporalNumbers::register(&registry).unwrap();
        let server_namespace = |name: &str| ServerNamespace {
            address: "temporal:7233".to_owned(),
            temporal_namespace: name.to_owned(),
        };
        for (name, code) in [("stays", "Ok"), ("goes", "Ok"), ("goes", "Unavailable")] {
            numbers.call(
                &server_namespace(name),
                Method::ListWorkers,
                code,
                Duration::from_millis(3),
            );
        }
        numbers.keep_only(&BTreeSet::from([server_namespace("stays")]));
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        assert!(text.contains("stays") && !text.contains("goes"), "{text}");
    }
}
