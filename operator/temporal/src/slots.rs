//! Joins the workers' reports with the living pods. Pure.

use taskqueue_scaling::{
    PerType, PodPhase, PodSlots, Reading, SlotSource, Slots, TaskType, Time, TypeSlots,
    UnknownReason,
};

use crate::call::WorkerStatus;
use crate::subscription::WorkerReport;

/// A pod of the queue's Deployment that exists in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePod {
    /// The pod's name, which is also its host name.
    pub name: String,
    /// Where it is in its life cycle.
    pub phase: PodPhase,
}

/// The slots of the pods, as their workers of `task_queue` report them.
///
/// - Without pods nothing is in flight, whatever the worker list says.
/// - A pod's workers are those with its name as host name and this task queue. Several are summed.
///   Only fresh heartbeats count: a container that was restarted in its pod leaves an entry with
///   the same host name behind, whose slots nobody uses.
/// - A pod without any fresh heartbeat is in the result with `fresh: false`.
/// - Workers of pods that are gone are left out.
/// - If any pod is past its start and no worker of any pod is listed, the slots are unknown: old
///   SDKs send no heartbeats, and a restarted server has none for up to one heartbeat interval.
pub fn slots(
    workers: &Reading<Vec<WorkerReport>>,
    pods: &[LivePod],
    task_queue: &str,
    now: Time,
) -> Reading<Slots> {
    if pods.is_empty() {
        return Reading::Known {
            value: Slots::default(),
            taken_at: now,
        };
    }
    let (reports, taken_at) = match workers {
        Reading::Known { value, taken_at } => (value, *taken_at),
        Reading::Unknown {
            reason,
            since,
            failures,
        } => {
            return Reading::Unknown {
                reason: *reason,
                since: *since,
                failures: *failures,
            };
        }
    };
    let joined: Vec<PodSlots> = pods
        .iter()
        .map(|pod| pod_slots(reports, pod, task_queue, taken_at))
        .collect();
    let heard_of = |report: &WorkerReport| {
        report.task_queue == task_queue && pods.iter().any(|pod| pod.name == report.host_name)
    };
    let past_their_start = pods.iter().any(|pod| !pod.phase.is_starting());
    if past_their_start && !reports.iter().any(heard_of) {
        return Reading::Unknown {
            reason: UnknownReason::NoHeartbeats,
            since: taken_at,
            failures: 0,
        };
    }
    Reading::Known {
        value: Slots {
            pods: joined,
            source: SlotSource::Heartbeats,
        },
        taken_at,
    }
}

fn pod_slots(
    reports: &[WorkerReport],
    pod: &LivePod,
    task_queue: &str,
    looked_at: Time,
) -> PodSlots {
    let on_pod = |report: &&WorkerReport| {
        report.host_name == pod.name && report.status != WorkerStatus::Shutdown
    };
    let (mine, others): (Vec<_>, Vec<_>) = reports
        .iter()
        .filter(on_pod)
        .partition(|report| report.task_queue == task_queue);
    let mut joined = PodSlots {
        pod: pod.name.clone(),
        phase: pod.phase,
        listed: !mine.is_empty(),
        fresh: false,
        reported_at: None,
        reported_after: None,
        types: PerType::default(),
        elsewhere: None,
    };
    let (mut draining, mut replaced) = (Vec::new(), Vec::new());
    for report in &mine {
        joined.reported_at = joined.reported_at.max(report.heartbeat_changed_at);
        match standing(report, &mine, looked_at) {
            Standing::Gone => continue,
            Standing::Drains => draining.push(*report),
            Standing::Replaced => replaced.push(*report),
            Standing::Polls => sum_up(&mut joined.types, report, |sum, slots| {
                sum.map_or(slots, |sum| add(sum, slots))
            }),
        }
        joined.fresh = true;
        joined.reported_after = oldest(joined.reported_after, report.heartbeat_sent_after);
    }
    for report in draining {
        sum_up(&mut joined.types, report, |sum, slots| {
            let slots = without_room(slots);
            sum.map_or(slots, |sum| TypeSlots {
                available: sum.available,
                ..add(sum, slots)
            })
        });
    }
    for report in replaced {
        // Its count stays in the sum: if it disappeared and came back, old tasks would look new.
        sum_up(&mut joined.types, report, |sum, slots| {
            let sum = sum.unwrap_or(TypeSlots {
                processed_total: Some(0),
                ..TypeSlots::default()
            });
            TypeSlots {
                processed_total: add(sum, slots).processed_total,
                ..sum
            }
        });
        for slots in report.slots.iter().filter_map(|(_, slots)| *slots) {
            if slots.used > 0 {
                let slots = TypeSlots {
                    processed_total: None,
                    ..without_room(slots)
                };
                joined.elsewhere = Some(joined.elsewhere.map_or(slots, |sum| add(sum, slots)));
            }
        }
    }
    for report in &others {
        if standing(report, &others, looked_at) == Standing::Gone {
            continue;
        }
        joined.reported_after = oldest(joined.reported_after, report.heartbeat_sent_after);
        for slots in report.slots.iter().filter_map(|(_, slots)| *slots) {
            let slots = without_room(slots);
            joined.elsewhere = Some(joined.elsewhere.map_or(slots, |sum| add(sum, slots)));
        }
    }
    joined
}

/// How a worker counts towards its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It polls: its used and its free slots count.
    Polls,
    /// It takes no new tasks: its used slots count, its free slots do not.
    Drains,
    /// It may be dead: its used slots keep the pod, and count for nothing else.
    Replaced,
    /// Nothing of it counts.
    Gone,
}

/// A container that restarts in its pod leaves the entry of its previous worker behind, which looks
/// alive until it misses heartbeats. Such an entry was sent before a newer worker of another
/// process started; it counts as gone once it has missed one heartbeat since. All these times are
/// from the clock of one host.
fn standing(report: &WorkerReport, workers: &[&WorkerReport], looked_at: Time) -> Standing {
    if !report.is_fresh(looked_at) {
        return Standing::Gone;
    }
    let newer = |other: &&&WorkerReport| {
        let same_process = other.process.is_some() && other.process == report.process;
        !same_process
            && other.task_queue == report.task_queue
            && other
                .started_at
                .zip(report.sent_at)
                .is_some_and(|(started_at, sent_at)| started_at > sent_at)
    };
    let latest = workers
        .iter()
        .filter(newer)
        .filter_map(|other| other.sent_at)
        .max();
    let overdue = report.heartbeat_interval.zip(report.sent_at);
    let overdue = overdue.and_then(|(interval, sent_at)| {
        let interval = i128::try_from(interval.as_nanos()).ok()?;
        sent_at.checked_add(interval.saturating_mul(3) / 2)
    });
    match (latest, overdue) {
        (Some(latest), Some(overdue)) if latest > overdue => Standing::Gone,
        (_, _) if report.status == WorkerStatus::ShuttingDown => Standing::Drains,
        (Some(_), _) => Standing::Replaced,
        (None, _) => Standing::Polls,
    }
}

fn oldest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    a.into_iter().chain(b).min()
}

fn sum_up(
    sums: &mut PerType<Option<TypeSlots>>,
    report: &WorkerReport,
    add: impl Fn(Option<TypeSlots>, TypeSlots) -> TypeSlots,
) {
    for task_type in TaskType::ALL {
        if let Some(slots) = report.slots.get(task_type) {
            let sum = sums.get_mut(task_type);
            *sum = Some(add(*sum, *slots));
        }
    }
}

/// Adds two workers' slots. A number that one of them does not know is unknown in the sum.
fn add(a: TypeSlots, b: TypeSlots) -> TypeSlots {
    TypeSlots {
        used: a.used.saturating_add(b.used),
        available: a
            .available
            .zip(b.available)
            .map(|(a, b)| a.saturating_add(b)),
        processed_total: a
            .processed_total
            .zip(b.processed_total)
            .map(|(a, b)| a.saturating_add(b)),
    }
}

/// The slots of a worker whose free slots do not count.
const fn without_room(slots: TypeSlots) -> TypeSlots {
    TypeSlots {
        available: None,
        ..slots
    }
}

#[cfg(test)]
mod tests;
