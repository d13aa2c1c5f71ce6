//! Metrics of the calls to the Kubernetes API. Holds numbers; makes no call.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use taskqueue_exposition::table;
use taskqueue_kubernetes::client::{Observer, Operation};

/// Buckets for the duration of a call, in seconds: an object from the API server's cache takes a
/// few milliseconds, a write through admission webhooks up to 10 s each.
const CALL_BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// Counts and times calls.
pub struct KubernetesNumbers {
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl KubernetesNumbers {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let (counted, timed) = (&table::KUBERNETES_REQUESTS, &table::KUBERNETES_DURATION);
        let requests = IntCounterVec::new(Opts::new(counted.name, counted.help), counted.labels)?;
        let duration = HistogramOpts::new(timed.name, timed.help).buckets(CALL_BUCKETS.to_vec());
        let duration = HistogramVec::new(duration, timed.labels)?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { requests, duration })
    }
}

impl Observer for KubernetesNumbers {
    fn call(&self, operation: Operation, code: &str, took: Duration) {
        let Operation {
            verb,
            group,
            resource,
        } = operation;
        self.requests
            .with_label_values(&[verb, group, resource, code])
            .inc();
        self.duration
            .with_label_values(&[verb, group, resource])
            .observe(took.as_secs_f64());
    }
}
