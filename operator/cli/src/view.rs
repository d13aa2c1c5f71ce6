//! What is known about the fleets as plain data, and the table for people. Pure; the time is passed
//! in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::ValueEnum;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;
use taskqueue_api::status::{DecisionStatus, QueueStatus};
use taskqueue_api::worker::ScaleTargetReference;
use taskqueue_api::{ConditionType, GuardedFleet, Reason, TaskQueueWorker, validate};

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
    /// How long a task may wait, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_target_seconds: Option<f64>,
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

/// The order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By namespace and name of the fleet; its queues as in its spec.
    #[default]
    Name,
    /// The largest backlog first.
    Backlog,
    /// The longest wait first, relative to the queue's target.
    Wait,
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
    // The targets include what the fleet and the defaults set. A refused spec has none.
    let targets: BTreeMap<String, f64> = validate(fleet).map_or_else(
        |_| BTreeMap::new(),
        |accepted| {
            let queues = accepted.queues.into_iter();
            queues
                .map(|queue| (queue.name, queue.policy.queue_wait_target.as_secs_f64()))
                .collect()
        },
    );
    let known: BTreeMap<&str, &QueueStatus> = status
        .queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue))
        .collect();
    let queues = fleet.spec.queues.iter().map(|spec| {
        let known = known.get(spec.name.as_str());
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
            wait_target_seconds: targets.get(&spec.name).copied(),
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

/// The table, what holds the fleets back, and the notes.
pub fn table(snapshot: &Snapshot, namespaces: bool, sort: Sort, now: Timestamp) -> String {
    let mut rows: Vec<(&FleetView, &QueueView)> = snapshot
        .fleets
        .iter()
        .flat_map(|fleet| fleet.queues.iter().map(move |queue| (fleet, queue)))
        .collect();
    if sort != Sort::Name {
        rows.sort_by(|(_, a), (_, b)| urgency(b, sort).total_cmp(&urgency(a, sort)));
    }
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    lines.extend(
        rows.into_iter()
            .map(|(fleet, queue)| row(fleet, queue, now)),
    );
    if !namespaces {
        for line in &mut lines {
            line.remove(0);
        }
    }
    let mut text = aligned(&lines);
    let held = snapshot.fleets.iter().flat_map(|fleet| {
        let held = fleet.conditions.iter().filter(|held| holds_back(held));
        held.map(move |held| (fleet, held))
    });
    for (index, (fleet, condition)) in held.enumerate() {
        if index == 0 {
            text.push('\n');
        }
        let place = if namespaces {
            format!("{}/{}", fleet.namespace, fleet.name)
        } else {
            fleet.name.clone()
        };
        // Writing to a String does not fail.
        _ = writeln!(
            text,
            "{place}: {} is {} ({}) since {}: {}",
            condition.type_,
            condition.status,
            condition.reason,
            age(condition.last_transition_time.0, now),
            condition.message
        );
    }
    for (index, note) in snapshot.notes.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        _ = writeln!(text, "{gap}Note: {note}");
    }
    text
}

const HEAD: [&str; 12] = [
    "NAMESPACE",
    "FLEET",
    "QUEUE",
    "BACKLOG",
    "WAIT",
    "TARGET",
    "SLOTS",
    "READY",
    "DRAIN",
    "MIN",
    "MAX",
    "LAST CHANGE",
];
/// The columns that hold numbers, by name.
const NUMBERS: [&str; 8] = [
    "BACKLOG", "WAIT", "TARGET", "SLOTS", "READY", "DRAIN", "MIN", "MAX",
];

fn row(fleet: &FleetView, queue: &QueueView, now: Timestamp) -> Vec<String> {
    let unknown = || "-".to_owned();
    let figures = queue.figures.as_ref();
    let number = |of: fn(&Figures) -> Option<f64>| {
        let value = figures.and_then(of);
        value.map_or_else(unknown, |value| format!("{value}"))
    };
    let wait = figures.and_then(|figures| {
        // If no task waits, there is no wait to show.
        figures
            .oldest_wait_seconds
            .filter(|_| figures.backlog_tasks != Some(0.0))
    });
    let slots = figures.and_then(|figures| {
        let used = figures.slots_used?;
        Some(match figures.slots_free {
            Some(free) => format!("{used}/{}", used + free),
            None => format!("{used}"),
        })
    });
    let replicas = queue.ready.zip(queue.desired);
    let replicas = replicas.map(|(ready, desired)| format!("{ready}/{desired}"));
    vec![
        fleet.namespace.clone(),
        fleet.name.clone(),
        queue.name.clone(),
        number(|figures| figures.backlog_tasks),
        wait.map_or_else(unknown, seconds),
        queue.wait_target_seconds.map_or_else(unknown, seconds),
        slots.unwrap_or_else(unknown),
        replicas.unwrap_or_else(unknown),
        number(|figures| figures.draining_replicas),
        queue.min.to_string(),
        queue.max.to_string(),
        last(queue, now),
    ]
}

/// The last change with its reason, and the current decision if it is known.
fn last(queue: &QueueView, now: Timestamp) -> String {
    let change = queue.last_decision.as_ref().map_or_else(
        || "none".to_owned(),
        |last| {
            let when = age(last.time.0, now);
            format!("{when} ago {} to {}: {}", last.from, last.to, last.reason)
        },
    );
    match &queue.deciding {
        Some(deciding) => format!("{change}; now {deciding}"),
        None => change,
    }
}

/// The sort key: the higher, the more urgent. Unknown values come last.
fn urgency(queue: &QueueView, sort: Sort) -> f64 {
    let figures = queue.figures.as_ref();
    let value = match sort {
        Sort::Name => None,
        Sort::Backlog => figures.and_then(|figures| figures.backlog_tasks),
        Sort::Wait => figures
            .and_then(|figures| figures.oldest_wait_seconds)
            .zip(queue.wait_target_seconds)
            .map(|(wait, target)| wait / target),
    };
    value.unwrap_or(-1.0)
}

/// Aligns the cells as kubectl does: two blanks between the columns, and numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.add_rows(lines);
    let titles = lines.first().into_iter().flatten();
    for (column, title) in table.column_iter_mut().zip(titles) {
        column.set_padding((0, 2));
        if NUMBERS.contains(&title.as_str()) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
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

/// Cuts the text to the lines that a terminal shows; the last one says how many are left out.
pub fn fit(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= rows || rows < 2 {
        return lines.join("\n");
    }
    let shown = &lines[..rows - 1];
    let left = lines.len() - shown.len();
    format!(
        "{}\n... {left} more lines: use a larger terminal, -n NAMESPACE, --sort wait, or --once",
        shown.join("\n")
    )
}
