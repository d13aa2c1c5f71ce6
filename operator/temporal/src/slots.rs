//! Joins what workers say with the pods that live. Pure.

use taskqueue_scaling::{
    PerType, PodPhase, PodSlots, Reading, SlotSource, Slots, TaskType, Time, TypeSlots,
    UnknownReason,
};

use crate::reading::{WorkerReport, WorkerStatus};

/// A pod of the queue's Deployment that exists in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePod {
    /// The pod's name, which is its host name.
    pub name: String,
    /// Where it is in its life.
    pub phase: PodPhase,
}

/// What the pods have in use, as their workers of `task_queue` report it.
///
/// - Without pods nothing is in flight, whatever the worker list says or does not say.
/// - A pod's workers are those with its name as host name and this task queue. Several are
///   summed. Only fresh heartbeats count: a container that was restarted in its pod leaves an
///   entry of the same host name behind, with slots that nobody uses.
/// - A pod without any fresh heartbeat is in the result with `fresh: false`.
/// - Workers of pods that are gone are left out.
/// - If pods are past their start and no pod was ever heard of, the slots are unknown: old SDKs
///   send no heartbeats, and a restarted server has none for up to one heartbeat interval.
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
    let past_their_start = pods.iter().any(|pod| pod.phase != PodPhase::Starting);
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
    let mine = reports.iter().filter(|report| {
        report.host_name == pod.name
            && report.task_queue == task_queue
            && report.status != WorkerStatus::Shutdown
    });
    let mut joined = PodSlots {
        pod: pod.name.clone(),
        phase: pod.phase,
        fresh: false,
        reported_at: None,
        reported_after: None,
        types: PerType::default(),
    };
    for report in mine {
        joined.reported_at = joined.reported_at.max(report.heartbeat_changed_at);
        if !report.is_fresh(looked_at) {
            continue;
        }
        joined.fresh = true;
        // The sum is as old as the oldest of its parts.
        let parts = joined.reported_after.into_iter();
        joined.reported_after = parts.chain(report.heartbeat_sent_after).min();
        for task_type in TaskType::ALL {
            if let Some(slots) = report.slots.get(task_type) {
                let sum = joined.types.get_mut(task_type);
                *sum = Some(sum.map_or(*slots, |sum| add(sum, *slots)));
            }
        }
    }
    joined
}

/// One worker that does not know its bound leaves the pod's bound unknown.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Time = Time::from_secs(1_000);

    fn worker(host: &str, used: u32, available: Option<u32>) -> WorkerReport {
        WorkerReport {
            instance_key: format!("{host}-{used}"),
            identity: host.to_owned(),
            host_name: host.to_owned(),
            task_queue: "orders".to_owned(),
            status: WorkerStatus::Running,
            sdk: "temporal-rust 1".to_owned(),
            heartbeat_changed_at: Some(NOW.minus(Duration::from_secs(3))),
            heartbeat_sent_after: Some(NOW.minus(Duration::from_secs(8))),
            heartbeat_interval: Some(Duration::from_secs(5)),
            slots: PerType {
                activity: Some(TypeSlots {
                    used,
                    available,
                    processed_total: Some(10),
                }),
                ..PerType::default()
            },
        }
    }

    fn pod(name: &str) -> LivePod {
        LivePod {
            name: name.to_owned(),
            phase: PodPhase::Ready,
        }
    }

    fn join(workers: Vec<WorkerReport>, pods: &[LivePod]) -> Reading<Slots> {
        let workers = Reading::Known {
            value: workers,
            taken_at: NOW,
        };
        slots(&workers, pods, "orders", NOW)
    }

    fn joined(name: &str, fresh: bool, activity: Option<TypeSlots>) -> PodSlots {
        PodSlots {
            pod: name.to_owned(),
            phase: PodPhase::Ready,
            fresh,
            reported_at: Some(NOW.minus(Duration::from_secs(3))),
            reported_after: fresh.then(|| NOW.minus(Duration::from_secs(8))),
            types: PerType {
                activity,
                ..PerType::default()
            },
        }
    }

    fn known(pods: Vec<PodSlots>) -> Reading<Slots> {
        Reading::Known {
            value: Slots {
                pods,
                ..Slots::default()
            },
            taken_at: NOW,
        }
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "as it stands in the slots of a pod"
    )]
    fn activity(used: u32, available: Option<u32>, processed_total: u64) -> Option<TypeSlots> {
        Some(TypeSlots {
            used,
            available,
            processed_total: Some(processed_total),
        })
    }

    #[test]
    fn a_pod_gets_the_slots_of_its_own_worker_and_no_other() {
        let mut elsewhere = worker("a", 50, Some(50));
        elsewhere.task_queue = "payments".to_owned();
        let dead = worker("gone", 7, Some(0));
        assert_eq!(
            join(
                vec![
                    worker("a", 3, Some(97)),
                    elsewhere,
                    dead,
                    worker("b", 0, Some(100))
                ],
                &[pod("a"), pod("b")]
            ),
            known(vec![
                joined("a", true, activity(3, Some(97), 10)),
                joined("b", true, activity(0, Some(100), 10))
            ])
        );
    }

    #[test]
    fn several_workers_of_a_pod_are_summed_and_an_unknown_bound_stays_unknown() {
        assert_eq!(
            join(
                vec![worker("a", 3, Some(97)), worker("a", 5, Some(95))],
                &[pod("a")]
            ),
            known(vec![joined("a", true, activity(8, Some(192), 20))])
        );
        assert_eq!(
            join(
                vec![worker("a", 3, Some(97)), worker("a", 5, None)],
                &[pod("a")]
            ),
            known(vec![joined("a", true, activity(8, None, 20))])
        );
    }

    #[test]
    fn a_sum_is_as_old_as_the_oldest_heartbeat_in_it() {
        let at = |seconds| Some(NOW.minus(Duration::from_secs(seconds)));
        let sent_after = |seconds, used| WorkerReport {
            heartbeat_sent_after: at(seconds),
            ..worker("a", used, Some(1))
        };
        let workers = vec![sent_after(4, 1), sent_after(9, 2), sent_after(5, 3)];
        let joined = join(workers, &[pod("a")]);
        let after = joined.known().map(|slots| slots.pods[0].reported_after);
        assert_eq!(after, Some(at(9)));
    }

    #[test]
    fn a_heartbeat_does_not_grow_old_between_two_looks() {
        // The list is read every 40 s, for want of calls or because it is long.
        let mut beats = worker("a", 3, Some(97));
        beats.heartbeat_changed_at = Some(NOW);
        let list = Reading::Known {
            value: vec![beats],
            taken_at: NOW,
        };
        let later = NOW.plus(Duration::from_secs(39));
        let joined = slots(&list, &[pod("a")], "orders", later);
        assert_eq!(joined.known().map(|slots| slots.pods[0].fresh), Some(true));
    }

    #[test]
    fn a_stale_heartbeat_is_no_heartbeat() {
        let at = NOW.minus(Duration::from_mins(1));
        let stale = WorkerReport {
            heartbeat_changed_at: Some(at),
            ..worker("a", 9, Some(1))
        };
        let never = WorkerReport {
            heartbeat_changed_at: None,
            ..worker("b", 9, Some(1))
        };
        assert_eq!(
            join(vec![stale.clone(), never], &[pod("a"), pod("b"), pod("c")]),
            known(vec![
                PodSlots {
                    reported_at: Some(at),
                    ..joined("a", false, None)
                },
                PodSlots {
                    reported_at: None,
                    ..joined("b", false, None)
                },
                PodSlots {
                    reported_at: None,
                    ..joined("c", false, None)
                },
            ])
        );
        // The container was restarted: the entry that it left behind does not count.
        assert_eq!(
            join(vec![stale, worker("a", 2, Some(98))], &[pod("a")]),
            known(vec![joined("a", true, activity(2, Some(98), 10))])
        );
    }

    #[test]
    fn a_worker_that_has_not_shown_its_interval_is_given_the_longest() {
        let at = NOW.minus(Duration::from_secs(140));
        let slow = WorkerReport {
            heartbeat_changed_at: Some(at),
            heartbeat_interval: None,
            ..worker("a", 1, None)
        };
        assert!(slow.is_fresh(NOW));
        assert!(!slow.is_fresh(NOW.plus(Duration::from_secs(20))));
    }

    #[test]
    fn without_pods_nothing_is_in_flight_even_if_the_list_is_unknown() {
        let unknown = Reading::Unknown {
            reason: UnknownReason::TemporalUnavailable,
            since: NOW,
            failures: 3,
        };
        assert_eq!(slots(&unknown, &[], "orders", NOW), known(Vec::new()));
        assert_eq!(
            slots(&unknown, &[pod("a")], "orders", NOW),
            Reading::Unknown {
                reason: UnknownReason::TemporalUnavailable,
                since: NOW,
                failures: 3
            }
        );
    }

    #[test]
    fn pods_of_which_nothing_was_ever_heard_are_unknown_and_not_idle() {
        let nothing = Reading::Unknown {
            reason: UnknownReason::NoHeartbeats,
            since: NOW,
            failures: 0,
        };
        assert_eq!(join(Vec::new(), &[pod("a")]), nothing);
        assert_eq!(join(vec![worker("other", 1, None)], &[pod("a")]), nothing);
    }

    #[test]
    fn a_pod_that_was_ready_and_was_never_heard_of_is_not_idle() {
        let unready = LivePod {
            phase: PodPhase::Unready,
            ..pod("a")
        };
        let joined = join(vec![worker("other", 1, None)], &[unready]);
        assert_eq!(joined.unknown(), Some(UnknownReason::NoHeartbeats));
    }

    #[test]
    fn pods_that_only_start_are_not_heard_of_yet_and_that_is_known() {
        let starting = LivePod {
            phase: PodPhase::Starting,
            ..pod("a")
        };
        assert_eq!(
            join(vec![worker("other", 1, None)], &[starting]),
            known(vec![PodSlots {
                phase: PodPhase::Starting,
                reported_at: None,
                ..joined("a", false, None)
            }])
        );
    }

    #[test]
    fn a_worker_that_has_ended_does_not_keep_its_pod_fresh() {
        let ended = WorkerReport {
            status: WorkerStatus::Shutdown,
            ..worker("a", 0, Some(9))
        };
        let draining = WorkerReport {
            status: WorkerStatus::ShuttingDown,
            ..worker("b", 4, Some(96))
        };
        assert_eq!(
            join(vec![ended, draining], &[pod("a"), pod("b")]),
            known(vec![
                PodSlots {
                    reported_at: None,
                    ..joined("a", false, None)
                },
                joined("b", true, activity(4, Some(96), 10))
            ])
        );
    }
}
