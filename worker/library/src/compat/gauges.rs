//! The gauges of several SDK workers in one process. The SDK's workers write the same series, so
//! that each would show the worker that wrote last: a replaced worker with one long activity would
//! hide the load of the worker that took its place. Here each series is the sum over the workers,
//! and the free slots of a worker that takes no more tasks do not count.
//!
//! Upstream: the labels of `Instruments` (sdk-core/src/telemetry/metrics.rs) do not tell workers
//! apart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use temporalio_common::telemetry::metrics::{
    CoreMeter, Counter, Gauge, GaugeBase, GaugeF64, Histogram, HistogramDuration, HistogramF64,
    MetricAttributable, MetricAttributes, MetricParameters, NewAttributes, UpDownCounter,
};

/// The gauge of the free slots. It may have a prefix.
const AVAILABLE: &str = "worker_task_slots_available";
/// The other gauges that add up.
const SUMMED: [&str; 3] = ["worker_task_slots_used", "num_pollers", "sticky_cache_size"];

/// The gauges of a process. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Gauges(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    workers: u64,
    /// By name and labels.
    series: HashMap<(String, String), Series>,
}

struct Series {
    gauge: Gauge,
    is_available: bool,
    /// The last value of each worker.
    values: BTreeMap<u64, u64>,
}

impl Series {
    fn publish(&self) {
        self.gauge.records(self.values.values().sum());
    }
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauges")
    }
}

impl Gauges {
    /// A meter for one more worker, which records in `meter`.
    pub(super) fn worker(&self, meter: Arc<dyn CoreMeter>) -> WorkerMeter {
        let mut table = self.0.lock();
        table.workers += 1;
        WorkerMeter {
            meter,
            gauges: self.clone(),
            worker: table.workers,
            retired: Arc::default(),
        }
    }
}

/// The meter of one SDK worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerMeter {
    meter: Arc<dyn CoreMeter>,
    gauges: Gauges,
    worker: u64,
    retired: Arc<Mutex<Retired>>,
}

/// What of a worker no longer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Retired {
    #[default]
    Nothing,
    FreeSlots,
    Everything,
}

impl WorkerMeter {
    /// The worker takes no more tasks: its free slots no longer count.
    pub(super) fn retire(&self) {
        self.drop_values(Retired::FreeSlots);
    }

    /// The worker has ended: nothing of it counts.
    pub(super) fn end(&self) {
        self.drop_values(Retired::Everything);
    }

    fn drop_values(&self, what: Retired) {
        let mut table = self.gauges.0.lock();
        *self.retired.lock() = what;
        for series in table.series.values_mut() {
            let dropped = what == Retired::Everything || series.is_available;
            if dropped && series.values.remove(&self.worker).is_some() {
                series.publish();
            }
        }
    }
}

impl CoreMeter for WorkerMeter {
    fn new_attributes(&self, attributes: NewAttributes) -> MetricAttributes {
        self.meter.new_attributes(attributes)
    }

    fn extend_attributes(
        &self,
        existing: MetricAttributes,
        attributes: NewAttributes,
    ) -> MetricAttributes {
        self.meter.extend_attributes(existing, attributes)
    }

    fn counter(&self, parameters: MetricParameters) -> Counter {
        self.meter.counter(parameters)
    }

    fn histogram(&self, parameters: MetricParameters) -> Histogram {
        self.meter.histogram(parameters)
    }

    fn histogram_f64(&self, parameters: MetricParameters) -> HistogramF64 {
        self.meter.histogram_f64(parameters)
    }

    fn histogram_duration(&self, parameters: MetricParameters) -> HistogramDuration {
        self.meter.histogram_duration(parameters)
    }

    fn gauge(&self, parameters: MetricParameters) -> Gauge {
        let name = parameters.name.to_string();
        let gauge = self.meter.gauge(parameters);
        let is_available = name.ends_with(AVAILABLE);
        if !is_available && !SUMMED.iter().any(|summed| name.ends_with(summed)) {
            return gauge;
        }
        Gauge::new(Arc::new(SummedGauge {
            name,
            gauge,
            is_available,
            meter: self.clone(),
        }))
    }

    fn gauge_f64(&self, parameters: MetricParameters) -> GaugeF64 {
        self.meter.gauge_f64(parameters)
    }

    fn up_down_counter(&self, parameters: MetricParameters) -> UpDownCounter {
        self.meter.up_down_counter(parameters)
    }
}

/// One gauge as one worker sees it, before its labels are known.
struct SummedGauge {
    name: String,
    gauge: Gauge,
    is_available: bool,
    meter: WorkerMeter,
}

impl MetricAttributable<Box<dyn GaugeBase>> for SummedGauge {
    fn with_attributes(
        &self,
        attributes: &MetricAttributes,
    ) -> Result<Box<dyn GaugeBase>, Box<dyn std::error::Error>> {
        let key = (self.name.clone(), format!("{attributes:?}"));
        let gauge = self.gauge.with_attributes(attributes)?;
        let mut table = self.meter.gauges.0.lock();
        table.series.entry(key.clone()).or_insert_with(|| Series {
            gauge,
            is_available: self.is_available,
            values: BTreeMap::new(),
        });
        Ok(Box::new(BoundGauge {
            key,
            is_available: self.is_available,
            meter: self.meter.clone(),
        }))
    }
}

/// One series as one worker sees it.
struct BoundGauge {
    key: (String, String),
    is_available: bool,
    meter: WorkerMeter,
}

impl GaugeBase for BoundGauge {
    fn records(&self, value: u64) {
        let mut table = self.meter.gauges.0.lock();
        let counts = match *self.meter.retired.lock() {
            Retired::Nothing => true,
            Retired::FreeSlots => !self.is_available,
            Retired::Everything => false,
        };
        if counts && let Some(series) = table.series.get_mut(&self.key) {
            series.values.insert(self.meter.worker, value);
            series.publish();
        }
    }
}
