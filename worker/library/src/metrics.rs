//! The metrics of the process: the library's own, `taskqueue_worker_*`; the SDK's, `temporal_*`;
//! and those of the program. Reads the SDK's exporter on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Encoder, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use crate::loopback;

/// Time limit for the SDK's exporter.
const EXPORTER_TIMEOUT: Duration = Duration::from_secs(5);

/// The library's own metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// `taskqueue_worker_activities_total{activity,outcome}`: attempts that ended in this process:
    /// `completed`, `cancelled`, `failed`, or `invalid` because of their input.
    pub(crate) activities: IntCounterVec,
    /// `taskqueue_worker_recycles_total`: SDK workers replaced in this process.
    pub(crate) recycles: IntCounter,
}

impl Metrics {
    /// Registers all metrics in a new registry.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let activities = IntCounterVec::new(
            Opts::new(
                "taskqueue_worker_activities_total",
                "Activity attempts that ended in this process.",
            ),
            &["activity", "outcome"],
        )?;
        registry.register(Box::new(activities.clone()))?;
        let recycles = IntCounter::new(
            "taskqueue_worker_recycles_total",
            "SDK workers that were replaced in this process to keep its memory flat.",
        )?;
        registry.register(Box::new(recycles.clone()))?;
        let build = IntCounterVec::new(
            Opts::new(
                "taskqueue_worker_build_info",
                "Always 1; the version of the library taskqueue-worker as a label.",
            ),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        Ok(Self {
            registry,
            activities,
            recycles,
        })
    }

    fn text(&self) -> Result<String, prometheus::Error> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }
}

/// Returns metrics of the program in Prometheus's text format.
pub(crate) type ProgramMetrics = Arc<dyn Fn() -> anyhow::Result<String> + Send + Sync>;

/// Everything that `/metrics` serves. Clones share the content.
#[derive(Clone)]
pub(crate) struct Sources {
    library: Metrics,
    exporter: SocketAddr,
    program: Arc<Mutex<Vec<ProgramMetrics>>>,
}

impl Sources {
    /// The library's metrics and those of the SDK's exporter at `exporter`.
    pub(crate) fn new(library: Metrics, exporter: SocketAddr) -> Self {
        Self {
            library,
            exporter,
            program: Arc::default(),
        }
    }

    /// Adds metrics of the program.
    pub(crate) fn add(&self, metrics: impl IntoIterator<Item = ProgramMetrics>) {
        self.program.lock().extend(metrics);
    }

    /// All metrics in Prometheus's text format.
    pub(crate) async fn text(&self) -> anyhow::Result<String> {
        let mut text = self.library.text()?;
        let program = self.program.lock().clone();
        for metrics in program {
            text.push_str(&metrics()?);
        }
        // The other metrics are useful even when the exporter does not answer.
        let sdk =
            tokio::time::timeout(EXPORTER_TIMEOUT, loopback::get(self.exporter, "/metrics")).await;
        match sdk {
            Ok(Ok((_, sdk))) => text.push_str(&sdk),
            Ok(Err(error)) => tracing::warn!("the SDK's metrics cannot be read: {error:#}"),
            Err(_) => tracing::warn!("the SDK's metrics cannot be read: no answer in time"),
        }
        Ok(text)
    }
}
