//! The operator's metrics. Holds numbers and renders them; reads `/proc`, no other I/O. Decides
//! nothing.

mod family;
mod fleets;
pub mod kubernetes;
mod process;
pub mod temporal;
pub mod work_queue;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use fleets::{
    CertificateNumbers, FleetNumbers, QueueNumbers, ReadAt, ReplicaNumbers, SlotNumbers,
    SourceNumbers, WorkerFaultNumbers,
};
use taskqueue_exposition::{Spec, table};
use taskqueue_temporal::OwnerKey;
use tracing::debug;

use crate::clock::Clock;
use crate::error::{Class, Error, ErrorReason};

use work_queue::WorkQueue;

/// Buckets for the duration of a pass, in seconds. Most passes end within a few milliseconds
/// because there is nothing to write.
const PASS_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Every metric of the operator except those of its calls to Temporal and to Kubernetes.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconcile: IntCounterVec,
    duration: Histogram,
    errors: IntCounterVec,
    watch_errors: IntCounterVec,
    writes: IntCounterVec,
    leader: IntGauge,
    caches_synced: IntGauge,
    namespace_watched: IntGaugeVec,
    work_queue: WorkQueue,
    fleets: Arc<Mutex<BTreeMap<OwnerKey, FleetNumbers>>>,
    read_at: Arc<OnceLock<Box<ReadAt>>>,
    clock: Clock,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// If the table of metrics contradicts itself.
    pub fn new(clock: Clock) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let metrics = Self {
            reconcile: IntCounterVec::new(opts(&table::RECONCILE), table::RECONCILE.labels)?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    table::RECONCILE_DURATION.name,
                    table::RECONCILE_DURATION.help,
                )
                .buckets(PASS_BUCKETS.to_vec()),
            )?,
            errors: IntCounterVec::new(
                opts(&table::RECONCILE_ERRORS),
                table::RECONCILE_ERRORS.labels,
            )?,
            watch_errors: IntCounterVec::new(
                opts(&table::WATCH_ERRORS),
                table::WATCH_ERRORS.labels,
            )?,
            writes: IntCounterVec::new(opts(&table::WRITES), table::WRITES.labels)?,
            leader: IntGauge::with_opts(opts(&table::LEADER))?,
            caches_synced: IntGauge::with_opts(opts(&table::CACHES_SYNCED))?,
            namespace_watched: IntGaugeVec::new(
                opts(&table::NAMESPACE_WATCHED),
                table::NAMESPACE_WATCHED.labels,
            )?,
            work_queue: WorkQueue::register(&registry)?,
            fleets: Arc::default(),
            read_at: Arc::default(),
            clock,
            registry,
        };
        metrics.register()?;
        metrics.preset();
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let build = IntGaugeVec::new(opts(&table::BUILD_INFO), table::BUILD_INFO.labels)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let collectors: [Box<dyn Collector>; 9] = [
            Box::new(build),
            Box::new(self.reconcile.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.watch_errors.clone()),
            Box::new(self.writes.clone()),
            Box::new(self.leader.clone()),
            Box::new(self.caches_synced.clone()),
            Box::new(self.namespace_watched.clone()),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| self.registry.register(collector))
    }

    /// Starts series with a closed set of label values at zero, so that a rate over them is correct
    /// from the first error on.
    fn preset(&self) {
        for result in ["ok", "error"] {
            self.reconcile.with_label_values(&[result]);
        }
        for class in Class::ALL {
            for reason in ErrorReason::of(class) {
                self.errors
                    .with_label_values(&[class.as_str(), reason.as_str()]);
            }
        }
    }

    /// The registry of all metrics but those of fleets.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The fleets that wait for a pass.
    pub fn work_queue(&self) -> &WorkQueue {
        &self.work_queue
    }

    /// Everything that `/metrics` exposes now, in Prometheus' text format.
    ///
    /// # Errors
    /// If a collector of the registry returns an invalid family.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        let unknown: &ReadAt = &|_, _| None;
        let read_at = self.read_at.get().map_or(unknown, |read_at| &**read_at);
        let now = self.clock.now().monotonic;
        process::write(&mut text);
        self.work_queue.write(now, &mut text);
        fleets::write(&self.fleets(), read_at, now, &mut text);
        Ok(text)
    }

    /// Counts a pass that ended.
    pub fn pass(&self, took: Duration, ok: bool) {
        self.duration.observe(took.as_secs_f64());
        self.reconcile
            .with_label_values(&[if ok { "ok" } else { "error" }])
            .inc();
    }

    /// Counts an error of a pass.
    pub fn error(&self, error: &Error) {
        self.errors
            .with_label_values(&[error.class().as_str(), error.reason().as_str()])
            .inc();
    }

    /// Counts a failure of a watch on `kind`.
    pub fn watch_error(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// Counts a write that was sent.
    pub fn write(&self, verb: &str, kind: &str) {
        self.writes.with_label_values(&[verb, kind]).inc();
    }

    /// Sets whether this process reconciles.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Sets the lookup for the time of the last backlog reading: not every reading leads to a pass.
    /// Only the first call has an effect.
    pub fn ask_read_at(&self, read_at: Box<ReadAt>) {
        if self.read_at.set(read_at).is_err() {
            debug!("it has been said already");
        }
    }

    /// Sets whether every watch cache has been filled.
    pub fn set_caches_synced(&self, synced: bool) {
        self.caches_synced.set(i64::from(synced));
    }

    /// Sets whether a configured namespace can be watched.
    pub fn set_namespace_watched(&self, namespace: &str, watched: bool) {
        self.namespace_watched
            .with_label_values(&[namespace])
            .set(i64::from(watched));
    }

    /// Replaces the numbers of a fleet; its counters continue from their old values.
    pub fn set_fleet(&self, fleet: OwnerKey, mut numbers: FleetNumbers) {
        let mut fleets = self.fleets();
        if let Some(old) = fleets.remove(&fleet) {
            for (queue, old) in old.queues {
                if let Some(new) = numbers.queues.get_mut(&queue) {
                    add(&mut new.decisions, old.decisions);
                    add(&mut new.changes, old.changes);
                }
            }
        }
        fleets.insert(fleet, numbers);
    }

    /// Drops all numbers of a fleet.
    pub fn forget(&self, fleet: &OwnerKey) {
        self.fleets().remove(fleet);
    }

    fn fleets(&self) -> MutexGuard<'_, BTreeMap<OwnerKey, FleetNumbers>> {
        self.fleets.lock()
    }
}

type Counts = BTreeMap<(&'static str, &'static str), u64>;

fn add(counts: &mut Counts, old: Counts) {
    for (key, count) in old {
        let sum = counts.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }
}

fn opts(spec: &Spec) -> Opts {
    Opts::new(spec.name, spec.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskqueue_scaling::{PerType, ServiceTime, TypeBacklog};
    use taskqueue_temporal::ServerNamespace;

    /// What is exposed, without the numbers of the process, which change by themselves.
    fn text(metrics: &Metrics) -> String {
        let text = metrics.text().unwrap();
        let lines = text.lines().filter(|line| !line.contains("process_"));
        lines.fold(String::new(), |text, line| text + line + "\n")
    }

    fn fleet() -> OwnerKey {
        OwnerKey {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
        }
    }

    fn numbers(decisions: u64) -> FleetNumbers {
        let queue = QueueNumbers {
            task_queue: "payments".to_owned(),
            replicas: Some(ReplicaNumbers {
                desired: 3,
                current: 2,
                ..ReplicaNumbers::default()
            }),
            backlog: PerType {
                activity: Some(TypeBacklog {
                    count: 7,
                    by_priority: [2, 0, 5, 0, 0],
                    ..TypeBacklog::default()
                }),
                ..PerType::default()
            },
            service_time: PerType {
                workflow: Some(ServiceTime::Assumed {
                    mean: Duration::from_secs(5),
                }),
                activity: Some(ServiceTime::Learned {
                    mean: Duration::from_millis(1500),
                }),
                nexus: None,
            },
            held_pods: vec![("payments-1".to_owned(), "LongestYet")],
            worker_faults: vec![WorkerFaultNumbers {
                fault: "SlotsNeverUsed",
                pod: "payments-1".to_owned(),
                since: 1_767_355_200,
            }],
            decisions: BTreeMap::from([(("up", "Drain"), decisions)]),
            ..QueueNumbers::default()
        };
        FleetNumbers {
            conditions: vec![("Ready".to_owned(), "True".to_owned(), "Ready".to_owned())],
            queues: BTreeMap::from([("payments".to_owned(), queue)]),
            server_namespace: Some(ServerNamespace {
                address: "temporal:7233".to_owned(),
                temporal_namespace: "default".to_owned(),
            }),
            certificates: vec![CertificateNumbers {
                certificate: "client",
                secret: "orders-tls".to_owned(),
                config_map: String::new(),
                expires: 1_893_456_000,
            }],
        }
    }

    #[test]
    fn series_vanish_with_their_fleet_and_counters_go_on_until_then() {
        let metrics = Metrics::new(Clock::start()).unwrap();
        let bare = text(&metrics);
        metrics.set_fleet(fleet(), numbers(1));
        metrics.set_fleet(fleet(), numbers(2));
        let full = text(&metrics);
        let labels = r#"namespace="shop",name="orders",queue="payments",task_queue="payments""#;
        for line in [
            format!("taskqueue_operator_desired_replicas{{{labels}}} 3"),
            format!("taskqueue_operator_backlog_tasks{{{labels},task_type=\"activity\"}} 7"),
            format!(
                "taskqueue_operator_backlog_tasks_by_priority{{{labels},task_type=\"activity\",priority=\"1\"}} 2"
            ),
            format!(
                "taskqueue_operator_service_time_seconds{{{labels},task_type=\"activity\"}} 1.5"
            ),
            format!(
                "taskqueue_operator_service_time_learned{{{labels},task_type=\"activity\"}} 1"
            ),
            format!(
                "taskqueue_operator_service_time_learned{{{labels},task_type=\"workflow\"}} 0"
            ),
            "taskqueue_operator_fleet_info{namespace=\"shop\",name=\"orders\",\
             temporal_address=\"temporal:7233\",temporal_namespace=\"default\"} 1"
                .to_owned(),
            format!(
                "taskqueue_operator_decisions_total{{{labels},direction=\"up\",reason=\"Drain\"}} 3"
            ),
            format!(
                "taskqueue_operator_held_pod{{{labels},pod=\"payments-1\",why=\"LongestYet\"}} 1"
            ),
            format!(
                "taskqueue_operator_worker_fault_since_timestamp_seconds{{{labels},fault=\"SlotsNeverUsed\",pod=\"payments-1\"}} 1767355200"
            ),
            "taskqueue_operator_certificate_expiry_timestamp_seconds{namespace=\"shop\",name=\"orders\",certificate=\"client\",secret=\"orders-tls\",config_map=\"\"} 1893456000".to_owned(),
            "taskqueue_operator_fleet_condition{namespace=\"shop\",name=\"orders\",type=\"Ready\",status=\"True\",reason=\"Ready\"} 1".to_owned(),
        ] {
            assert!(full.lines().any(|l| l == line), "{line} is missing in\n{full}");
        }
        assert!(
            !full.contains("task_type=\"nexus\""),
            "what is unknown is absent"
        );
        let mut released = numbers(0);
        let queue = released.queues.get_mut("payments").unwrap();
        queue.held_pods.clear();
        queue.backlog.activity.as_mut().unwrap().by_priority = [0, 0, 7, 0, 0];
        metrics.set_fleet(fleet(), released);
        let released = text(&metrics);
        assert!(!released.contains("taskqueue_operator_held_pod{"));
        assert!(
            !released.contains("taskqueue_operator_backlog_tasks_by_priority{"),
            "all have the default priority"
        );
        metrics.forget(&fleet());
        assert_eq!(text(&metrics), bare);
    }

    #[test]
    fn every_exposed_family_is_in_the_table() {
        let metrics = Metrics::new(Clock::start()).unwrap();
        metrics.set_fleet(fleet(), numbers(1));
        metrics.watch_error("Pod");
        metrics.write("apply", "Deployment");
        for line in metrics.text().unwrap().lines() {
            let Some(header) = line.strip_prefix("# HELP ") else {
                continue;
            };
            let (name, help) = header.split_once(' ').unwrap();
            let spec = table::ALL.iter().find(|spec| spec.name == name);
            assert_eq!(spec.map(|spec| spec.help), Some(help), "{name}");
        }
    }
}
