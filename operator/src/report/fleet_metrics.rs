//! Converts the facts of a pass to metrics. Pure.

use std::collections::BTreeMap;

use taskqueue_api::TaskQueueWorkerStatus;
use taskqueue_scaling::{
    self as scaling, Decision, PerType, PodPhase, SampleId, Slots, Stuck, Term, UnknownReason,
};

use crate::clock::Moment;
use crate::metrics::{
    FleetNumbers, QueueNumbers, ReplicaNumbers, SlotNumbers, SourceNumbers, WorkerFaultNumbers,
};
use crate::report::drains;
use crate::report::facts::QueueFacts;
use crate::report::status::replicas_for;

/// The numbers of a fleet, without those of its connection.
pub fn numbers(
    queues: &[QueueFacts<'_>],
    status: &TaskQueueWorkerStatus,
    now: Moment,
) -> FleetNumbers {
    let of_queue = |facts: &QueueFacts<'_>| (facts.queue.name.clone(), queue(facts, now));
    FleetNumbers {
        conditions: conditions(status),
        queues: queues.iter().map(of_queue).collect(),
        server_namespace: None,
        certificates: Vec::new(),
    }
}

/// The conditions alone, for a fleet with an invalid spec.
pub fn conditions(status: &TaskQueueWorkerStatus) -> Vec<(String, String, String)> {
    let condition = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        (c.type_.clone(), c.status.clone(), c.reason.clone())
    };
    status.conditions.iter().map(condition).collect()
}

fn queue(facts: &QueueFacts<'_>, now: Moment) -> QueueNumbers {
    let replicas = &facts.plan.observation.replicas;
    let policy = &facts.queue.policy;
    let present = facts.plan.decision.as_ref();
    let slots = facts.seen.slots.known();
    let stuck = facts.state.history.findings(now.monotonic);
    QueueNumbers {
        task_queue: facts.queue.task_queue.clone(),
        replicas: (!facts.seen.is_unread()).then(|| ReplicaNumbers {
            desired: present.map_or(replicas.requested, |decision| decision.desired),
            current: facts.spec_replicas(),
            ready: replicas.ready,
            terminating: replicas.terminating,
        }),
        drain_overdue: drains::overdue(facts.seen, now.wall),
        min: policy.min,
        max: policy.max,
        queue_wait_target: policy.queue_wait_target,
        backlog: facts
            .seen
            .reading
            .backlog
            .known()
            .map_or_else(PerType::default, |backlog| backlog.types),
        slots: slots.map_or_else(PerType::default, slot_numbers),
        blind_pods: slots
            .and(present)
            .map(|decision| decision.inputs.blind_pods),
        held_pods: present.map_or_else(Vec::new, held_pods),
        scrapes: facts
            .seen
            .scraped
            .as_ref()
            .map_or_else(BTreeMap::new, |scraped| scraped.counts.clone()),
        service_time: PerType::from_fn(|kind| {
            let counts = facts.queue.task_types.contains(&kind);
            counts.then(|| facts.state.history.service_time(kind, policy))
        }),
        demand: facts.decision().map_or_else(Vec::new, demand),
        backlog_source: SourceNumbers {
            taken_at: facts.state.backlog_read_at,
            unknown: facts.seen.reading.backlog.unknown(),
        },
        slots_source: SourceNumbers {
            taken_at: facts.state.slots_read_at,
            unknown: if facts.state.history.pods_unseen() {
                Some(UnknownReason::PodsUnseen)
            } else {
                facts.seen.slots.unknown()
            },
        },
        findings: Stuck::ALL
            .into_iter()
            .map(|kind| {
                (
                    kind.as_str(),
                    stuck.iter().any(|finding| finding.kind == kind),
                )
            })
            .collect(),
        worker_faults: facts
            .state
            .worker_faults
            .found()
            .map(|(reason, fault)| WorkerFaultNumbers {
                fault: reason.as_str(),
                pod: fault.pod.clone(),
                since: fault.since.as_second(),
            })
            .collect(),
        decisions: decisions(facts),
        changes: changes(facts),
    }
}

/// The pods that keep the queue from shrinking, while they do.
fn held_pods(decision: &Decision) -> Vec<(String, &'static str)> {
    let mut limits = decision.limits.iter();
    let held = limits.any(|limit| limit.by == scaling::Reason::BusyPods);
    let pods = decision.inputs.held_pods.iter().filter(|_| held);
    pods.map(|held| (held.pod.clone(), held.hold.as_str()))
        .collect()
}

/// Counts a decision once per new reading of the backlog, and whenever it changes the number on a
/// new sample. The slots of a queue without pods become known again in every pass, which decides
/// nothing.
fn decisions(facts: &QueueFacts<'_>) -> BTreeMap<(&'static str, &'static str), u64> {
    let sequence = |sample: Option<SampleId>| sample.map(|sample| sample.sequence);
    let fresh = facts.plan.decision.as_ref().filter(|decision| {
        let known = facts.state.counted;
        let moves = decision.desired != decision.previous && decision.sample != known;
        decision.sample.is_some() && (moves || sequence(decision.sample) != sequence(known))
    });
    let counted = |decision: &Decision| {
        (
            (
                direction(decision.previous, decision.desired),
                decision.reason.as_str(),
            ),
            1,
        )
    };
    fresh.map(counted).into_iter().collect()
}

fn changes(facts: &QueueFacts<'_>) -> BTreeMap<(&'static str, &'static str), u64> {
    let done = facts.done.scaled.as_ref().zip(facts.plan.decision.as_ref());
    done.map(|(scaled, decision)| {
        (
            (direction(scaled.from, scaled.to), decision.reason.as_str()),
            1,
        )
    })
    .into_iter()
    .collect()
}

fn direction(from: u32, to: u32) -> &'static str {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => "up",
        std::cmp::Ordering::Less => "down",
        std::cmp::Ordering::Equal => "hold",
    }
}

fn demand(decision: &Decision) -> Vec<(&'static str, u32)> {
    let named = [
        ("in_flight", Term::InFlight),
        ("drain", Term::Drain),
        ("age", Term::Age),
        ("capacity", Term::Capacity),
        ("backlog_per_replica", Term::BacklogPerReplica),
    ];
    named
        .into_iter()
        .filter_map(|(name, term)| Some((name, replicas_for(decision, term)?)))
        .collect()
}

fn slot_numbers(slots: &Slots) -> PerType<Option<SlotNumbers>> {
    PerType::from_fn(|kind| {
        let live = slots
            .pods
            .iter()
            .filter(|pod| pod.phase != PodPhase::Terminating && pod.fresh);
        let reported = live.filter_map(|pod| *pod.types.get(kind));
        reported.fold(None, |sum: Option<SlotNumbers>, slots| {
            let sum = sum.unwrap_or(SlotNumbers {
                used: 0,
                available: Some(0),
            });
            let available = sum.available.zip(slots.available);
            Some(SlotNumbers {
                used: sum.used.saturating_add(slots.used.into()),
                available: available.map(|(sum, free)| sum.saturating_add(free.into())),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use taskqueue_scaling::{HeldPod, Hold, Limited, Reason};

    use crate::report::testing::{Passed, healthy};

    #[test]
    fn the_pods_that_hold_a_fleet_are_exposed_while_they_do() {
        let held = |by: Reason| {
            let mut passed = Passed::of(healthy());
            let decision = passed.plan.queues[0].decision.as_mut().unwrap();
            decision.limits = vec![Limited { by, from: 0, to: 1 }];
            decision.inputs.held_pods = vec![HeldPod {
                pod: "p".to_owned(),
                hold: Hold::LongestYet,
            }];
            passed.numbers().queues["a"].held_pods.clone()
        };
        assert_eq!(held(Reason::BusyPods), [("p".to_owned(), "LongestYet")]);
        assert_eq!(
            held(Reason::CoolingDown),
            [],
            "something else keeps the fleet"
        );
    }
}
