//! What is known about the fleets as plain data. Pure; the time is passed in. [`table`] makes the
//! table for people, [`held`] says what holds a fleet back.

pub mod held;
pub mod table;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;
use taskqueue_api::status::{DecisionStatus, QueueStatus};
use taskqueue_api::worker::ScaleTargetReference;
use taskqueue_api::{ConditionType, GuardedFleet, Reason, TaskQueueWorker, validate};
use taskqueue_scaling::{Mode, Policy};

use crate::figures::{Figures, QueueName, Scrape};

/// The fleets at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// The fleets, by namespace and name.
    pub fleets: Vec<FleetView>,
    /// What could not be read, and the remedy.
    pub notes: Vec<String>,
}

/// One fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FleetView {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The conditions of its status.
    pub conditions: Vec<Condition>,
    /// Its queues, in the order of the spec.
    pub queues: Vec<QueueView>,
}

/// One queue of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    /// Its name in the fleet.
    pub name: String,
    /// Its name in Temporal.
    pub task_queue: String,
    /// Its Deployment; empty before there is one, and if it has a target.
    pub deployment: String,
    /// The workload that somebody else deploys for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ScaleTargetReference>,
    /// The fewest replicas.
    pub min: u32,
    /// The most replicas.
    pub max: u32,
    /// Active, DryRun or Paused, with what the fleet, its annotation and the defaults set. Absent
    /// if the spec is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// How long a task may wait, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_target_seconds: Option<f64>,
    /// The share of the slots that should be in use, in percent, if the spec sets it. Without it,
    /// the wait target decides how many slots stay free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_utilization_percent: Option<u32>,
    /// Replicas that should run, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    /// Replicas that are ready, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// The operator's last decision as of this snapshot, such as "hold: CoolingDown". Known from
    /// the second snapshot on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deciding: Option<String>,
    /// The last decision that changed the replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<DecisionStatus>,
    /// The current metrics, if the operator's metrics could be read and contain the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// Combines what the API server and the metrics say.
pub fn snapshot(fleets: &[GuardedFleet], scrape: Option<&Scrape>, notes: Vec<String>) -> Snapshot {
    let mut views: Vec<FleetView> = fleets
        .iter()
        .map(|fleet| match &fleet.0 {
            Ok(fleet) => of_fleet(fleet, scrape),
            Err(invalid) => FleetView {
                namespace: invalid.metadata.namespace.clone().unwrap_or_default(),
                name: invalid.metadata.name.clone().unwrap_or_default(),
                ..FleetView::default()
            },
        })
        .collect();
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let unreadable = fleets.iter().filter_map(|fleet| {
        let invalid = fleet.0.as_ref().err()?;
        let name = invalid.metadata.name.as_deref().unwrap_or_default();
        Some(format!(
            "the fleet {name} cannot be read: {}",
            invalid.error
        ))
    });
    Snapshot {
        fleets: views,
        notes: unreadable.chain(notes).collect(),
    }
}

/// One fleet with its metrics.
pub fn of_fleet(fleet: &TaskQueueWorker, scrape: Option<&Scrape>) -> FleetView {
    let namespace = fleet.namespace().unwrap_or_default();
    let name = fleet.name_any();
    let status = fleet.status.clone().unwrap_or_default();
    // The policies include what the fleet and the defaults set. A refused spec has none.
    let policies: BTreeMap<String, Policy> = validate(fleet).map_or_else(
        |_| BTreeMap::new(),
        |accepted| {
            let queues = accepted.queues.into_iter();
            queues.map(|queue| (queue.name, queue.policy)).collect()
        },
    );
    let known: BTreeMap<&str, &QueueStatus> = status
        .queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue))
        .collect();
    let queues = fleet.spec.queues.iter().map(|spec| {
        let known = known.get(spec.name.as_str());
        let policy = policies.get(&spec.name);
        let of_queue = QueueName {
            namespace: namespace.clone(),
            fleet: name.clone(),
            queue: spec.name.clone(),
        };
        QueueView {
            name: spec.name.clone(),
            task_queue: spec.task_queue.clone().unwrap_or_else(|| spec.name.clone()),
            deployment: known
                .filter(|_| spec.scale_target_ref.is_none())
                .map_or_else(String::new, |known| known.deployment_name.clone()),
            target: spec.scale_target_ref.clone(),
            min: spec.replicas.min,
            max: spec.replicas.max,
            mode: policy.map(|policy| word(policy.mode)),
            wait_target_seconds: policy.map(|policy| policy.queue_wait_target.as_secs_f64()),
            target_utilization_percent: policy.and_then(|policy| policy.target_utilization),
            desired: known.and_then(|known| known.desired),
            ready: known.and_then(|known| known.ready),
            deciding: None,
            last_decision: known.and_then(|known| known.last_decision.clone()),
            figures: scrape.and_then(|scrape| scrape.queues.get(&of_queue).cloned()),
        }
    });
    FleetView {
        queues: queues.collect(),
        conditions: status.conditions,
        namespace,
        name,
    }
}

/// The mode as the spec spells it.
const fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Active => "Active",
        Mode::DryRun => DRY_RUN,
        Mode::Paused => PAUSED,
    }
}

/// The mode in which decisions are reported but not carried out.
pub const DRY_RUN: &str = "DryRun";
/// The mode in which nothing is decided.
pub const PAUSED: &str = "Paused";

/// Whether a decision of the status was only reported, because the mode was DryRun when it was
/// made. The mode may have become another since.
pub fn only_reported(decision: &DecisionStatus) -> bool {
    decision.message.starts_with("would ")
}

/// Sets what was decided since the snapshot `before`. Where nothing was, the earlier decision
/// stays.
pub fn compare(snapshot: &mut Snapshot, before: &Snapshot) {
    for fleet in &mut snapshot.fleets {
        let old = before
            .fleets
            .iter()
            .find(|old| (&old.namespace, &old.name) == (&fleet.namespace, &fleet.name));
        let Some(old) = old else { continue };
        for queue in &mut fleet.queues {
            let Some(old) = old.queues.iter().find(|old| old.name == queue.name) else {
                continue;
            };
            queue.compare(old);
        }
    }
}

impl QueueView {
    /// Sets what was decided since `before`. If nothing was, the earlier decision stays.
    pub fn compare(&mut self, before: &Self) {
        let (now, then) = (self.figures.as_ref(), before.figures.as_ref());
        let decided = now
            .zip(then)
            .and_then(|(now, then)| now.decided_since(then));
        let decided = decided.map(str::to_owned);
        self.deciding = decided.or_else(|| before.deciding.clone());
    }
}

/// Whether a condition reports a problem, or a limit that holds a fleet back.
pub fn holds_back(condition: &Condition) -> bool {
    let reason = |reason: Reason| condition.reason == reason.as_str();
    let kind = ConditionType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == condition.type_);
    match kind {
        Some(ConditionType::Ready) => condition.status != "True",
        Some(ConditionType::Progressing) => !reason(Reason::RolledOut),
        Some(ConditionType::ScalingActive) => !reason(Reason::Active),
        Some(ConditionType::ScalingLimited | ConditionType::CertificateExpiring) => {
            condition.status == "True"
        }
        // They say for programs what Ready and Progressing say for people.
        Some(ConditionType::Reconciling | ConditionType::Stalled) | None => false,
    }
}

/// Formats a time span in the shortest unit that says enough: 6.1s, 42s, 17m, 5h, 3d.
pub fn seconds(value: f64) -> String {
    let whole = |seconds_per_unit: f64, unit: &str| {
        format!("{:.0}{unit}", (value / seconds_per_unit).floor())
    };
    match value {
        value if value < 9.95 && value.fract() >= 0.05 => format!("{value:.1}s"),
        value if value < 120.0 => whole(1.0, "s"),
        value if value < 7200.0 => whole(60.0, "m"),
        value if value < 172_800.0 => whole(3600.0, "h"),
        _ => whole(86_400.0, "d"),
    }
}

/// Formats how long ago `then` was.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let ago = now.as_second().saturating_sub(then.as_second());
    // The age must not be negative if this clock is behind the operator's.
    seconds(f64::from(u32::try_from(ago.max(0)).unwrap_or(u32::MAX)))
}
