//! The two conditions about scaling: whether the demand is known and acted on, and whether a limit
//! keeps a queue below it. Pure.

use std::time::Duration;

use taskqueue_api::Reason;
use taskqueue_scaling::{
    self as scaling, Decision, Mode, Policy, Reading, Stuck, Time, UnknownReason,
};
use taskqueue_temporal::{CallErrorKind, Fault};

use super::draft::{Cause, ConditionBuilder, Status, worst};
use super::rank;
use crate::not_ready::NotReady;
use crate::plan::Step;
use crate::report::facts::QueueFacts;
use crate::report::thresholds::Thresholds;
use crate::scrape::Failure;

/// How long slots must have been unknown before that is reported: a pod that has just become ready
/// reports them a little later.
const SLOTS_UNKNOWN_AFTER: Duration = Duration::from_mins(2);

pub(super) fn active(
    queues: &[QueueFacts<'_>],
    thresholds: &Thresholds,
    now: Time,
) -> ConditionBuilder {
    let mut found: Vec<(Status, Cause<'_>)> = queues
        .iter()
        .filter_map(|facts| {
            let (status, why) = not_scaling(facts, thresholds, now)?;
            Some((status, Cause::of_queue(facts.name(), why)))
        })
        .collect();
    found.sort_by_key(|(status, cause)| (rank::scaling(cause.why.reason), *status));
    let Some((status, _)) = found.first() else {
        let message = "the demand of every queue is known and acted on";
        return ConditionBuilder::new(Status::True, Reason::Active, message);
    };
    let status = *status;
    let causes: Vec<Cause<'_>> = found.into_iter().map(|(_, cause)| cause).collect();
    worst(status, &causes, rank::scaling).unwrap_or_else(|| {
        let message = "a condition without a reason";
        ConditionBuilder::new(status, Reason::InternalError, message)
    })
}

fn not_scaling(
    facts: &QueueFacts<'_>,
    thresholds: &Thresholds,
    now: Time,
) -> Option<(Status, NotReady)> {
    let policy = &facts.queue.policy;
    if let Step::Hold(why) = &facts.plan.step {
        return Some((Status::False, why.clone()));
    }
    if let Reading::Unknown { reason, .. } = &facts.seen.reading.backlog {
        return Some(unread(facts, *reason));
    }
    match policy.mode {
        Mode::Paused => {
            let message = if facts.fleet.paused {
                "the annotation taskqueue.dev/paused pauses the fleet: the operator decides \
                 nothing, and you set the replicas; remove the annotation to resume"
            } else {
                "mode is Paused: the operator decides nothing, and you set the replicas"
            };
            return Some((Status::False, NotReady::new(Reason::Paused, message)));
        }
        Mode::DryRun => {
            let message = "mode is DryRun: decisions are reported but not carried out";
            return Some((Status::False, NotReady::new(Reason::DryRun, message)));
        }
        Mode::Active => {}
    }
    if let Some(other) = &facts.seen.scaled_by {
        let message = format!(
            "{other} also scales {}, so each undoes what the other does; delete it, or set \
             scaling.mode to Paused to leave the replicas to it",
            facts.queue.workload()
        );
        return Some((
            Status::False,
            NotReady::new(Reason::ScalerConflict, message),
        ));
    }
    let stuck = facts
        .state
        .history
        .findings(now)
        .into_iter()
        .map(|finding| NotReady::new(stuck(finding.kind), finding.sentence))
        .min_by_key(|why| rank::scaling(why.reason));
    if let Some(why) = stuck {
        return Some((Status::False, why));
    }
    if facts.state.history.pods_unseen() {
        let message = "the Deployment counts more pods than the watch on pods shows, so the queue \
                       does not shrink; check that the operator may list and watch pods, and see \
                       its log";
        return Some((Status::True, NotReady::new(Reason::SlotsUnknown, message)));
    }
    if slots_unknown(facts, now) {
        let message = no_slots(facts);
        return Some((Status::True, NotReady::new(Reason::SlotsUnknown, message)));
    }
    // The server's cache alone can hide new work for this long.
    let short =
        policy.min == 0 && policy.max > 0 && policy.queue_wait_target < thresholds.statistics_cache;
    short.then(|| {
        let message = "queueWaitTarget is shorter than a start from zero replicas takes, so tasks \
                       that wake the queue wait longer; set replicas.min to at least 1, or raise \
                       queueWaitTarget";
        (
            Status::True,
            NotReady::new(Reason::WaitTargetTooShort, message),
        )
    })
}

fn unread(facts: &QueueFacts<'_>, reason: UnknownReason) -> (Status, NotReady) {
    let Some(failure) = &facts.seen.reading.backlog_failure else {
        return match reason {
            UnknownReason::NotReadYet => {
                let message = "the first readings have not arrived yet";
                (Status::Unknown, NotReady::new(Reason::Starting, message))
            }
            UnknownReason::Stale => {
                let message = "the last reading of the backlog is too old to act on; the replicas \
                               stay as they are; if the alert TaskQueueBudgetExhausted fires as \
                               well, the call budget is too small for the queues";
                (
                    Status::Unknown,
                    NotReady::new(Reason::BacklogUnknown, message),
                )
            }
            other => {
                let message = format!(
                    "the backlog cannot be read: {}; the replicas stay as they are",
                    other.sentence()
                );
                (
                    Status::Unknown,
                    NotReady::new(Reason::BacklogUnknown, message),
                )
            }
        };
    };
    let (status, reason, remedy) = match failure.kind {
        CallErrorKind::NamespaceNotFound => (
            Status::False,
            Reason::TemporalNamespaceNotFound,
            "create the namespace in Temporal or correct temporalNamespace",
        ),
        CallErrorKind::Denied => (
            Status::False,
            Reason::TemporalAccessDenied,
            "correct the API key or the client certificate of the connection",
        ),
        CallErrorKind::Unavailable | CallErrorKind::Timeout => (
            Status::Unknown,
            Reason::TemporalUnavailable,
            "check the address of the connection and the Temporal server",
        ),
        CallErrorKind::Throttled => (
            Status::Unknown,
            Reason::BacklogUnknown,
            "Temporal limits the reads; the operator reads more slowly",
        ),
        CallErrorKind::Unsupported | CallErrorKind::Failed => (
            Status::Unknown,
            Reason::BacklogUnknown,
            "see the log of the Temporal server",
        ),
    };
    let remedy = failure.fault.map_or(remedy, Fault::remedy);
    let message = format!(
        "{}; the replicas stay as they are; {remedy}",
        failure.message
    );
    (status, NotReady::new(reason, message))
}

fn slots_unknown(facts: &QueueFacts<'_>, now: Time) -> bool {
    let Some(reason) = facts.seen.slots.unknown() else {
        return false;
    };
    reason.is_silence()
        && facts
            .state
            .slots_unknown_since
            .is_some_and(|since| now.since(since) >= SLOTS_UNKNOWN_AFTER)
}

/// Why the slots are unknown and what to do. Without names of pods, which come and go.
fn no_slots(facts: &QueueFacts<'_>) -> String {
    let so = "so scale-in is slower and never reaches zero";
    match &facts.seen.scraped {
        Some(scraped) => format!(
            "the workers send no heartbeats, and no pod's metrics can be read at metricsPort {}, \
             {so}: {}",
            scraped.port,
            scraped
                .failure
                .map_or("no pod has answered yet", Failure::sentence)
        ),
        None => format!(
            "the workers do not report task slots, {so}; use an SDK with worker heartbeats and a \
             Temporal server of version 1.30 or later, or name the port of the SDK's metrics in \
             scaling.metricsPort"
        ),
    }
}

/// The reason for a finding.
fn stuck(kind: Stuck) -> Reason {
    match kind {
        Stuck::ReadyButNotPolling => Reason::NotPolling,
        Stuck::QueueNotPolled => Reason::QueueNotPolled,
        Stuck::VersionNotCurrent => Reason::VersionNotCurrent,
        Stuck::BacklogGrowsWithFreeSlots => Reason::BacklogGrowsWithFreeSlots,
    }
}

pub(super) fn limited(queues: &[QueueFacts<'_>]) -> ConditionBuilder {
    let (limited, noted): (Vec<Cause<'_>>, Vec<Cause<'_>>) = queues
        .iter()
        .filter_map(|facts| {
            let decision = facts.decision()?;
            let reason = limit(decision)?;
            let message = limit_message(reason, &facts.queue.policy);
            let note = limit_note(decision, &message);
            let cause = |text| Cause::of_queue(facts.name(), NotReady::new(reason.into(), text));
            Some((cause(message), cause(note)))
        })
        .unzip();
    let note = worst(Status::True, &noted, |_| 0).map(|condition| condition.message);
    let condition = worst(Status::True, &limited, |_| 0).map(|condition| condition.note(note));
    condition.unwrap_or_else(|| {
        let message = "every queue has the replicas that its demand asks for";
        ConditionBuilder::new(Status::False, Reason::NotLimited, message)
    })
}

/// The message with the current numbers: the replicas wanted, the replicas set, and why.
fn limit_note(decision: &Decision, message: &str) -> String {
    let wanted = decision
        .demand
        .as_ref()
        .map_or(0, taskqueue_scaling::Demand::replicas);
    let why = &decision.why;
    if wanted > decision.desired {
        let are = if decision.desired == 1 { "is" } else { "are" };
        format!(
            "{wanted} replicas are wanted and {} {are} set: {why}; {message}",
            decision.desired
        )
    } else {
        let set = match decision.desired {
            1 => "1 replica is".to_owned(),
            many => format!("{many} replicas are"),
        };
        format!("{message}; {set} set: {why}")
    }
}

/// The limit that gives a queue fewer replicas than its demand asks for, if one does. Limits that
/// only delay scaling in occur in every quiet minute and are not reported.
fn limit(decision: &Decision) -> Option<scaling::Reason> {
    let wanted = decision.demand.as_ref()?.replicas();
    let upwards = |reason: &scaling::Reason| {
        matches!(
            reason,
            scaling::Reason::MaxReplicas
                | scaling::Reason::ScaleUpPolicy
                | scaling::Reason::ScaleUpDisabled
                | scaling::Reason::ScaleUpStabilized
        )
    };
    let demand = decision.demand.as_ref();
    let rate_limited = demand.is_some_and(|demand| demand.rate_limited);
    let in_vain = demand.is_some_and(|demand| demand.in_vain);
    let bound = decision
        .limits
        .iter()
        .rev()
        .map(|limited| limited.by)
        .find(upwards);
    bound
        .filter(|_| decision.desired < wanted)
        .or(rate_limited.then_some(scaling::Reason::RateLimited))
        .or(in_vain.then_some(scaling::Reason::ThroughputLimited))
}

/// Describes the limit and how to lift it.
fn limit_message(reason: scaling::Reason, policy: &Policy) -> String {
    let what = match reason {
        scaling::Reason::MaxReplicas => {
            return format!(
                "the demand exceeds replicas.max, which is {}; raise it if the cluster and the \
                 services that the workers call can take more load, or send tasks more slowly",
                policy.max
            );
        }
        scaling::Reason::ScaleUpPolicy => "a policy of behavior.scaleUp allows no larger step now",
        scaling::Reason::ScaleUpDisabled => "behavior.scaleUp.selectPolicy is Disabled",
        scaling::Reason::ScaleUpStabilized => {
            "the stabilization window of behavior.scaleUp has not passed"
        }
        scaling::Reason::RateLimited => {
            "Temporal limits how fast it dispatches tasks of this queue; more replicas would not \
             help"
        }
        scaling::Reason::ThroughputLimited => {
            "adding replicas did not raise the throughput: look at what the tasks wait for, such \
             as a database, a service or a rate limit that the workers share"
        }
        other => other.describe(),
    };
    format!("the demand asks for more replicas, but {what}")
}

#[cfg(test)]
mod tests {
    use taskqueue_testkit::test_fleet::{TestFleet, policy, waiting};

    use super::*;

    #[test]
    fn replicas_in_vain_are_a_limit() {
        let mut fleet = TestFleet::new(policy(), 1);
        let mut decision = fleet.reads(waiting(3));
        assert_eq!(limit(&decision), None);
        decision.demand.as_mut().unwrap().in_vain = true;
        let reason = limit(&decision).unwrap();
        assert_eq!(reason, scaling::Reason::ThroughputLimited);
        let message = limit_message(reason, &fleet.policy);
        assert!(message.contains("a service"), "{message}");
    }
}
