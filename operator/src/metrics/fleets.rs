//! The metrics of fleets: plain numbers, kept per fleet and dropped with it, and their text.
//! No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use taskqueue_exposition::table;
use taskqueue_scaling::{PerType, ServiceTime, TaskType, Time, TypeBacklog, UnknownReason};
use taskqueue_temporal::{OwnerKey, ServerNamespace};

use super::family::{Family, Subject, number};

/// The numbers of one fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetNumbers {
    /// Type, status and reason of each condition.
    pub conditions: Vec<(String, String, String)>,
    /// The queues by their names in the fleet.
    pub queues: BTreeMap<String, QueueNumbers>,
    /// Where its task queues are, if its connection can be used.
    pub server_namespace: Option<ServerNamespace>,
    /// When the certificates of the connection expire.
    pub certificates: Vec<CertificateNumbers>,
}

/// The certificate of one use that expires first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNumbers {
    /// What it is for: `ca` or `client`.
    pub certificate: &'static str,
    /// The Secret it is in; empty if it is in a ConfigMap.
    pub secret: String,
    /// The ConfigMap it is in; empty if it is in a Secret.
    pub config_map: String,
    /// The last second at which it is valid, since 1970.
    pub expires: i64,
}

/// What the workers of a queue are seen to do wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerFaultNumbers {
    /// The fault, in one word.
    pub fault: &'static str,
    /// The pod that showed it first.
    pub pod: String,
    /// When it was first seen, in seconds since 1970.
    pub since: i64,
}

/// Slots summed over all workers that report them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotNumbers {
    /// In use.
    pub used: u64,
    /// Free, if every worker reports it.
    pub available: Option<u64>,
}

/// When a source was last read, and why it is unknown now, if it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceNumbers {
    /// Time of the last successful reading.
    pub taken_at: Option<Time>,
    /// Why there is no current reading.
    pub unknown: Option<UnknownReason>,
}

/// The replicas of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaNumbers {
    /// Those that the last decision requests.
    pub desired: u32,
    /// Those in the spec of its workload.
    pub current: u32,
    /// Ready pods.
    pub ready: u32,
    /// Terminating pods.
    pub terminating: u32,
}

/// The numbers of one queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueNumbers {
    /// The task queue's name in Temporal.
    pub task_queue: String,
    /// Its replicas; `None` while its target cannot be read.
    pub replicas: Option<ReplicaNumbers>,
    /// Terminating pods past the drain grace period.
    pub drain_overdue: u32,
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
    /// How long a task may wait.
    pub queue_wait_target: Duration,
    /// The backlog statistics, if known.
    pub backlog: PerType<Option<TypeBacklog>>,
    /// The slots, if known.
    pub slots: PerType<Option<SlotNumbers>>,
    /// Live pods that do not report their slots; `None` if no slots are known.
    pub blind_pods: Option<u32>,
    /// The pods that keep the queue from shrinking, and why.
    pub held_pods: Vec<(String, &'static str)>,
    /// Scrapes of the pods' own metrics so far, by result.
    pub scrapes: BTreeMap<&'static str, u64>,
    /// Mean service time per task type that is counted.
    pub service_time: PerType<Option<ServiceTime>>,
    /// Replicas per demand term.
    pub demand: Vec<(&'static str, u32)>,
    /// The source `backlog`.
    pub backlog_source: SourceNumbers,
    /// The source `slots`.
    pub slots_source: SourceNumbers,
    /// Which findings hold now.
    pub findings: Vec<(&'static str, bool)>,
    /// What its workers are seen to do wrong.
    pub worker_faults: Vec<WorkerFaultNumbers>,
    /// Decisions by direction and reason.
    pub decisions: BTreeMap<(&'static str, &'static str), u64>,
    /// Changes carried out, by direction and reason.
    pub changes: BTreeMap<(&'static str, &'static str), u64>,
}

/// The families of one scrape.
struct Families {
    condition: Family,
    fleet_info: Family,
    certificate: Family,
    replicas: [Family; 4],
    plain: [Family; 4],
    backlog: Family,
    backlog_by_priority: Family,
    backlog_age: Family,
    add_rate: Family,
    dispatch_rate: Family,
    rate_limited: Family,
    slots_used: Family,
    slots_available: Family,
    service_time: Family,
    service_time_learned: Family,
    blind_pods: Family,
    held_pod: Family,
    pod_scrapes: Family,
    demand: Family,
    reading_age: Family,
    reading_unknown: Family,
    finding: Family,
    worker_fault: Family,
    decisions: Family,
    changes: Family,
}

impl Families {
    fn new() -> Self {
        Self {
            condition: Family::new(table::CONDITION),
            fleet_info: Family::new(table::FLEET_INFO),
            certificate: Family::new(table::CERTIFICATE_EXPIRY),
            replicas: [
                Family::new(table::DESIRED),
                Family::new(table::CURRENT),
                Family::new(table::READY),
                Family::new(table::TERMINATING),
            ],
            plain: [
                Family::new(table::DRAIN_OVERDUE),
                Family::new(table::MIN),
                Family::new(table::MAX),
                Family::new(table::WAIT_TARGET),
            ],
            backlog: Family::new(table::BACKLOG),
            backlog_by_priority: Family::new(table::BACKLOG_BY_PRIORITY),
            backlog_age: Family::new(table::BACKLOG_AGE),
            add_rate: Family::new(table::ADD_RATE),
            dispatch_rate: Family::new(table::DISPATCH_RATE),
            rate_limited: Family::new(table::RATE_LIMITED),
            slots_used: Family::new(table::SLOTS_USED),
            slots_available: Family::new(table::SLOTS_AVAILABLE),
            service_time: Family::new(table::SERVICE_TIME),
            service_time_learned: Family::new(table::SERVICE_TIME_LEARNED),
            blind_pods: Family::new(table::BLIND_PODS),
            held_pod: Family::new(table::HELD_POD),
            pod_scrapes: Family::new(table::POD_SCRAPES),
            demand: Family::new(table::DEMAND),
            reading_age: Family::new(table::READING_AGE),
            reading_unknown: Family::new(table::READING_UNKNOWN),
            finding: Family::new(table::FINDING),
            worker_fault: Family::new(table::WORKER_FAULT),
            decisions: Family::new(table::DECISIONS),
            changes: Family::new(table::CHANGES),
        }
    }

    fn write(&self, text: &mut String) {
        let rest = [
            &self.condition,
            &self.fleet_info,
            &self.certificate,
            &self.backlog,
            &self.backlog_by_priority,
            &self.backlog_age,
            &self.add_rate,
            &self.dispatch_rate,
            &self.rate_limited,
            &self.slots_used,
            &self.slots_available,
            &self.service_time,
            &self.service_time_learned,
            &self.blind_pods,
            &self.held_pod,
            &self.pod_scrapes,
            &self.demand,
            &self.reading_age,
            &self.reading_unknown,
            &self.finding,
            &self.worker_fault,
            &self.decisions,
            &self.changes,
        ];
        for family in self.replicas.iter().chain(&self.plain).chain(rest) {
            family.write(text);
        }
    }
}

/// Looks up when a queue's backlog was last read. That may be later than the reading of the last
/// pass.
pub type ReadAt = dyn Fn(&OwnerKey, &str) -> Option<Time> + Send + Sync;

/// Appends all families of all fleets, as of `now`.
pub(super) fn write(
    fleets: &BTreeMap<OwnerKey, FleetNumbers>,
    read_at: &ReadAt,
    now: Time,
    text: &mut String,
) {
    let mut families = Families::new();
    for (fleet, numbers) in fleets {
        fleet_series(&mut families, fleet, numbers);
        for (queue, numbers) in &numbers.queues {
            let subject = Subject::new(&[
                ("namespace", &fleet.namespace),
                ("name", &fleet.name),
                ("queue", queue),
                ("task_queue", &numbers.task_queue),
            ]);
            let read_at = read_at(fleet, queue);
            queue_series(&mut families, &subject, numbers, read_at, now);
        }
    }
    families.write(text);
}

fn fleet_series(families: &mut Families, fleet: &OwnerKey, numbers: &FleetNumbers) {
    let subject = Subject::new(&[("namespace", &fleet.namespace), ("name", &fleet.name)]);
    for (kind, status, reason) in &numbers.conditions {
        families
            .condition
            .add(&subject, &[kind, status, reason], 1.0);
    }
    if let Some(place) = &numbers.server_namespace {
        let further = [place.address.as_str(), place.temporal_namespace.as_str()];
        families.fleet_info.add(&subject, &further, 1.0);
    }
    for certificate in &numbers.certificates {
        let further = [
            certificate.certificate,
            certificate.secret.as_str(),
            certificate.config_map.as_str(),
        ];
        let expires = u64::try_from(certificate.expires).unwrap_or(0);
        families
            .certificate
            .add(&subject, &further, number(expires));
    }
}

fn queue_series(
    families: &mut Families,
    subject: &Subject,
    queue: &QueueNumbers,
    read_at: Option<Time>,
    now: Time,
) {
    if let Some(replicas) = queue.replicas {
        let counts = [
            replicas.desired,
            replicas.current,
            replicas.ready,
            replicas.terminating,
        ];
        for (family, count) in families.replicas.iter_mut().zip(counts) {
            family.add(subject, &[], f64::from(count));
        }
    }
    let plain = [
        f64::from(queue.drain_overdue),
        f64::from(queue.min),
        f64::from(queue.max),
        queue.queue_wait_target.as_secs_f64(),
    ];
    for (family, value) in families.plain.iter_mut().zip(plain) {
        family.add(subject, &[], value);
    }
    for task_type in TaskType::ALL {
        type_series(families, subject, queue, task_type);
    }
    if let Some(blind) = queue.blind_pods {
        families.blind_pods.add(subject, &[], f64::from(blind));
    }
    for (pod, why) in &queue.held_pods {
        families.held_pod.add(subject, &[pod, why], 1.0);
    }
    for (result, count) in &queue.scrapes {
        families.pod_scrapes.add(subject, &[result], number(*count));
    }
    for (term, replicas) in &queue.demand {
        families.demand.add(subject, &[term], f64::from(*replicas));
    }
    for (finding, holds) in &queue.findings {
        let holds = f64::from(u8::from(*holds));
        families.finding.add(subject, &[finding], holds);
    }
    for found in &queue.worker_faults {
        let since = number(u64::try_from(found.since).unwrap_or(0));
        let further = [found.fault, found.pod.as_str()];
        families.worker_fault.add(subject, &further, since);
    }
    for (name, source, read_at) in [
        ("backlog", queue.backlog_source, read_at),
        ("slots", queue.slots_source, None),
    ] {
        if let Some(taken_at) = source.taken_at.max(read_at) {
            let age = now.since(taken_at).as_secs_f64();
            families.reading_age.add(subject, &[name], age);
        }
        if let Some(reason) = source.unknown {
            let further = [name, reason.as_str()];
            families.reading_unknown.add(subject, &further, 1.0);
        }
    }
    let counters = [
        (&mut families.decisions, &queue.decisions),
        (&mut families.changes, &queue.changes),
    ];
    for (family, counts) in counters {
        for ((direction, reason), count) in counts {
            family.add(subject, &[direction, reason], number(*count));
        }
    }
}

/// The waiting tasks by priority, unless all have the default one.
fn priority_series(
    family: &mut Family,
    subject: &Subject,
    task_type: TaskType,
    backlog: &TypeBacklog,
) {
    let counts = backlog.by_priority;
    let others = (1..)
        .zip(counts)
        .filter(|(key, _)| *key != DEFAULT_PRIORITY);
    if others.into_iter().any(|(_, count)| count > 0) {
        for (key, count) in (1_u32..).zip(counts) {
            let key = key.to_string();
            family.add(subject, &[task_type.as_str(), &key], number(count));
        }
    }
}

/// The priority key of a task that was started without one.
const DEFAULT_PRIORITY: u32 = 3;

fn type_series(
    families: &mut Families,
    subject: &Subject,
    queue: &QueueNumbers,
    task_type: TaskType,
) {
    let further = [task_type.as_str()];
    if let Some(backlog) = queue.backlog.get(task_type) {
        let add_rate = number(backlog.add_rate_milli) / 1000.0;
        let dispatch_rate = number(backlog.dispatch_rate_milli) / 1000.0;
        let rate_limited = f64::from(u8::from(backlog.rate_limited));
        let age = backlog.age.as_secs_f64();
        families
            .backlog
            .add(subject, &further, number(backlog.count));
        priority_series(
            &mut families.backlog_by_priority,
            subject,
            task_type,
            backlog,
        );
        families.backlog_age.add(subject, &further, age);
        families.add_rate.add(subject, &further, add_rate);
        families.dispatch_rate.add(subject, &further, dispatch_rate);
        families.rate_limited.add(subject, &further, rate_limited);
    }
    if let Some(slots) = queue.slots.get(task_type) {
        families
            .slots_used
            .add(subject, &further, number(slots.used));
        if let Some(available) = slots.available {
            families
                .slots_available
                .add(subject, &further, number(available));
        }
    }
    if let Some(time) = queue.service_time.get(task_type) {
        let mean = time.mean().as_secs_f64();
        let learned = f64::from(u8::from(time.is_learned()));
        families.service_time.add(subject, &further, mean);
        families
            .service_time_learned
            .add(subject, &further, learned);
    }
}
