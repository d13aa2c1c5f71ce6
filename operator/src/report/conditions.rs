//! The conditions of a fleet. Pure. No number that moves by itself stands in a message, so that an
//! unchanged fleet has unchanged conditions.

use std::collections::BTreeMap;
use std::time::Duration;

use taskqueue_api::{ConditionType, Fleet, Queue, Reason};
use taskqueue_scaling::{
    self as scaling, Decision, Mode, Policy, Reading, Time, UnknownReason, findings,
};
use taskqueue_temporal::CallErrorKind;

use crate::apply::{Applied, QueueApplied};
use crate::error::{Class, Error};
use crate::memory::{FleetMemory, QueueKey, QueueMemory};
use crate::observe::{Observed, ObservedQueue, pods};
use crate::plan::{Plan, QueuePlan, Step};
use crate::problem::Problem;

/// How long slots must have been unknown before it is said: a pod that just became ready is heard
/// of a little later.
const SLOTS_UNKNOWN_AFTER: Duration = Duration::from_secs(120);
/// The floor that polling sets: the server's cache alone may hide new work for this long, so that
/// shorter wait targets cannot be kept when a queue starts from zero replicas.
const START_FROM_ZERO: Duration = Duration::from_secs(5);
/// So many queues are named in a message; the others are counted.
const NAMED: usize = 5;

/// One condition, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which condition.
    pub kind: ConditionType,
    /// True, False or Unknown.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// What to do about it, or that all is well.
    pub message: String,
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

impl Status {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The conditions of a fleet whose spec cannot be accepted: nothing was touched.
pub fn invalid(message: &str) -> Vec<Verdict> {
    let verdict = |kind, status| Verdict {
        kind,
        status,
        reason: Reason::InvalidSpec,
        message: message.to_owned(),
    };
    vec![
        verdict(ConditionType::Ready, Status::False),
        verdict(ConditionType::ScalingActive, Status::False),
    ]
}

/// Everything that is known about one queue after a pass.
pub struct QueueFacts<'a> {
    /// The queue.
    pub queue: &'a Queue,
    /// What was seen.
    pub seen: &'a ObservedQueue,
    /// What was planned.
    pub plan: &'a QueuePlan,
    /// What became of it.
    pub done: &'a QueueApplied,
    /// What is remembered.
    pub memory: &'a QueueMemory,
}

impl<'a> QueueFacts<'a> {
    /// Brings together what belongs together.
    pub fn collect(
        fleet: &'a Fleet,
        observed: &'a Observed,
        plan: &'a Plan,
        applied: &'a Applied,
        memory: &'a FleetMemory,
    ) -> Vec<Self> {
        let plans: BTreeMap<&str, &QueuePlan> = plan
            .queues
            .iter()
            .map(|queue| (queue.queue.as_str(), queue))
            .collect();
        let facts = |queue: &'a Queue| {
            Some(Self {
                queue,
                seen: observed.queues.get(&queue.name)?,
                plan: plans.get(queue.name.as_str())?,
                done: applied.queues.get(&queue.name)?,
                memory: memory.queues.get(&QueueKey::unversioned(&queue.name))?,
            })
        };
        fleet.queues.iter().filter_map(facts).collect()
    }

    /// The last decision on a reading of its own, or else the present one.
    pub fn decision(&self) -> Option<&'a Decision> {
        self.memory.decided.as_ref().or(self.plan.decision.as_ref())
    }

    /// The replicas that the Deployment asks for after this pass.
    pub fn asked(&self) -> u32 {
        let before = self.plan.observation.replicas.asked;
        self.done.scaled.as_ref().map_or(before, |scaled| scaled.to)
    }
}

/// What the queues say about one condition.
struct Say {
    status: Status,
    reason: Reason,
    message: String,
}

/// The conditions of a fleet that was worked on.
pub fn conditions(queues: &[QueueFacts<'_>], pruning: &[Error], now: Time) -> Vec<Verdict> {
    let all = [
        (ConditionType::Ready, ready(queues, pruning)),
        (ConditionType::Progressing, progressing(queues)),
        (ConditionType::ScalingActive, scaling_active(queues, now)),
        (ConditionType::ScalingLimited, scaling_limited(queues)),
    ];
    let verdict = |(kind, say): (ConditionType, Say)| Verdict {
        kind,
        status: say.status,
        reason: say.reason,
        message: say.message,
    };
    all.into_iter().map(verdict).collect()
}

fn ready(queues: &[QueueFacts<'_>], pruning: &[Error]) -> Say {
    let mut problems: Vec<(Option<&str>, Problem)> = queues
        .iter()
        .filter_map(|facts| Some((Some(name(facts)), not_ready(facts)?)))
        .collect();
    problems.extend(
        pruning
            .iter()
            .filter_map(|error| Some((None, lasting(error)?))),
    );
    worst(Status::False, &problems, ready_rank).unwrap_or_else(|| Say {
        status: Status::True,
        reason: Reason::Available,
        message: "everything is applied, and a replica is available wherever one is desired"
            .to_owned(),
    })
}

fn not_ready(facts: &QueueFacts<'_>) -> Option<Problem> {
    if let Step::Hold(problem) | Step::Refused(problem) = &facts.plan.step {
        return Some(problem.clone());
    }
    if let Some(problem) = facts.done.error.as_ref().and_then(lasting) {
        return Some(problem);
    }
    if facts.asked() == 0 || facts.plan.observation.replicas.ready > 0 {
        return None;
    }
    Some(trouble(facts).unwrap_or_else(|| {
        Problem::new(
            Reason::WaitingForReplicas,
            format!(
                "no replica of Deployment {} is available yet",
                facts.queue.deployment_name
            ),
        )
    }))
}

/// Why pods do not start or cannot be made.
fn trouble(facts: &QueueFacts<'_>) -> Option<Problem> {
    let of_pods = facts.seen.pods.trouble.clone();
    of_pods.or_else(|| {
        facts
            .seen
            .held
            .as_deref()
            .and_then(pods::deployment_trouble)
    })
}

/// An error that stays until somebody does something. The others pass by themselves, and a
/// condition that flickers with them would say nothing.
pub fn lasting(error: &Error) -> Option<Problem> {
    let reason = match error.class() {
        Class::Invalid => Reason::ApplyFailed,
        Class::Denied => match error.reason() {
            "QuotaExceeded" | "AdmissionDenied" => Reason::ApplyFailed,
            _ => Reason::Forbidden,
        },
        Class::Bug => Reason::InternalError,
        Class::Dependency if error.reason() == "NameConflict" => Reason::NameConflict,
        Class::Dependency | Class::Throttled | Class::Unavailable | Class::Conflict => return None,
    };
    Some(Problem::new(reason, error.to_string()))
}

/// What comes first where several things are wrong: what a person must mend first.
fn ready_rank(reason: Reason) -> u8 {
    match reason {
        Reason::InternalError => 0,
        Reason::Forbidden => 1,
        Reason::ConnectionNotFound
        | Reason::ConnectionInvalid
        | Reason::SecretNotFound
        | Reason::SecretInvalid => 2,
        Reason::ApplyFailed | Reason::NameConflict => 3,
        Reason::QueueConflict => 4,
        Reason::WaitingForReplicas => 6,
        _ => 5,
    }
}

fn progressing(queues: &[QueueFacts<'_>]) -> Say {
    let stuck: Vec<(Option<&str>, Problem)> = queues
        .iter()
        .filter_map(|facts| {
            let trouble = trouble(facts)?;
            let reason = if rolls(facts) {
                Reason::RolloutStalled
            } else {
                trouble.reason
            };
            Some((Some(name(facts)), Problem { reason, ..trouble }))
        })
        .collect();
    if let Some(say) = worst(Status::False, &stuck, |_| 0) {
        return say;
    }
    let rolling: Vec<(Option<&str>, Problem)> = queues
        .iter()
        .filter(|facts| rolls(facts))
        .map(|facts| {
            let message = format!(
                "Deployment {} replaces its pods",
                facts.queue.deployment_name
            );
            (Some(name(facts)), Problem::new(Reason::RollingOut, message))
        })
        .collect();
    worst(Status::True, &rolling, |_| 0).unwrap_or_else(|| Say {
        status: Status::False,
        reason: Reason::RolledOut,
        message: "no rollout is under way".to_owned(),
    })
}

/// Whether pods are really being replaced: an apply alone may have changed nothing.
fn rolls(facts: &QueueFacts<'_>) -> bool {
    let held = facts.seen.held.as_deref();
    pods::replicas(0, held, &facts.seen.pods, false).rollout_in_progress
}

fn scaling_active(queues: &[QueueFacts<'_>], now: Time) -> Say {
    let mut said: Vec<(Status, Option<&str>, Problem)> = queues
        .iter()
        .filter_map(|facts| {
            let (status, problem) = not_scaling(facts, now)?;
            Some((status, Some(name(facts)), problem))
        })
        .collect();
    said.sort_by_key(|(status, _, problem)| (scaling_rank(problem.reason), *status));
    let Some((status, _, _)) = said.first() else {
        return Say {
            status: Status::True,
            reason: Reason::Active,
            message: "the demand of every queue is known and acted on".to_owned(),
        };
    };
    let status = *status;
    let problems: Vec<(Option<&str>, Problem)> = said
        .into_iter()
        .map(|(_, queue, problem)| (queue, problem))
        .collect();
    worst(status, &problems, scaling_rank).unwrap_or_else(|| Say {
        status,
        reason: Reason::InternalError,
        message: "a condition without a reason".to_owned(),
    })
}

fn not_scaling(facts: &QueueFacts<'_>, now: Time) -> Option<(Status, Problem)> {
    let policy = &facts.queue.policy;
    if let Step::Hold(problem) = &facts.plan.step {
        return Some((Status::False, problem.clone()));
    }
    if let Reading::Unknown { reason, .. } = &facts.seen.reading.backlog {
        return Some(unread(facts, *reason));
    }
    match policy.mode {
        Mode::Paused => {
            let message = "mode is Paused: nothing is decided, the replicas are yours";
            return Some((Status::False, Problem::new(Reason::Paused, message)));
        }
        Mode::DryRun => {
            let message = "mode is DryRun: decisions are reported and not carried out";
            return Some((Status::False, Problem::new(Reason::DryRun, message)));
        }
        Mode::Active => {}
    }
    if let Some(finding) = findings(&facts.memory.history, now).into_iter().next() {
        return Some((
            Status::False,
            Problem::new(Reason::NotPolling, finding.sentence),
        ));
    }
    if slots_unknown(facts, now) {
        let message = "the workers do not report task slots, so scale-in is slower and never to zero; use an SDK with worker heartbeats and a Temporal server of version 1.30 or later";
        return Some((Status::True, Problem::new(Reason::SlotsUnknown, message)));
    }
    let short = policy.min == 0 && policy.max > 0 && policy.queue_wait_target < START_FROM_ZERO;
    short.then(|| {
        let message = "queueWaitTarget is shorter than a start from zero replicas takes; tasks that wake the queue wait longer, unless replicas.min is at least 1";
        (Status::True, Problem::new(Reason::WaitTargetTooShort, message))
    })
}

fn unread(facts: &QueueFacts<'_>, reason: UnknownReason) -> (Status, Problem) {
    let Some(problem) = &facts.seen.reading.backlog_problem else {
        return match reason {
            UnknownReason::NotReadYet => {
                let message = "the first readings are not there yet";
                (Status::Unknown, Problem::new(Reason::Starting, message))
            }
            other => {
                let message = format!("the backlog cannot be read: {}", other.sentence());
                (
                    Status::Unknown,
                    Problem::new(Reason::BacklogUnknown, message),
                )
            }
        };
    };
    let (status, reason, way_out) = match problem.kind {
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
            "Temporal limits the reads; they go on more slowly",
        ),
        CallErrorKind::Unsupported | CallErrorKind::Failed => (
            Status::Unknown,
            Reason::BacklogUnknown,
            "see the log of the Temporal server",
        ),
    };
    let message = format!(
        "{}; the replicas stay as they are; {way_out}",
        problem.message
    );
    (status, Problem::new(reason, message))
}

fn slots_unknown(facts: &QueueFacts<'_>, now: Time) -> bool {
    let Some(reason) = facts.seen.slots.unknown() else {
        return false;
    };
    match reason {
        UnknownReason::NotSupported => true,
        UnknownReason::NoHeartbeats => facts
            .memory
            .slots_unknown_since
            .is_some_and(|since| now.since(since) >= SLOTS_UNKNOWN_AFTER),
        UnknownReason::NotReadYet
        | UnknownReason::TemporalUnavailable
        | UnknownReason::TemporalAccessDenied
        | UnknownReason::Throttled
        | UnknownReason::Stale
        | UnknownReason::Malformed => false,
    }
}

fn scaling_rank(reason: Reason) -> u8 {
    match reason {
        Reason::TemporalAccessDenied | Reason::TemporalNamespaceNotFound => 2,
        Reason::TemporalUnavailable => 3,
        Reason::BacklogUnknown => 4,
        Reason::NotPolling => 5,
        Reason::Starting => 6,
        Reason::Paused => 7,
        Reason::DryRun => 8,
        Reason::SlotsUnknown => 9,
        Reason::WaitTargetTooShort => 10,
        // What holds the whole queue back.
        _ => 1,
    }
}

fn scaling_limited(queues: &[QueueFacts<'_>]) -> Say {
    let limited: Vec<(Option<&str>, Problem)> = queues
        .iter()
        .filter_map(|facts| {
            let reason = limit(facts.decision()?)?;
            Some((
                Some(name(facts)),
                Problem::new(reason.into(), limit_message(reason, &facts.queue.policy)),
            ))
        })
        .collect();
    worst(Status::True, &limited, |_| 0).unwrap_or_else(|| Say {
        status: Status::False,
        reason: Reason::NotLimited,
        message: "every queue has the replicas that its demand asks for".to_owned(),
    })
}

/// The limit that gives a queue fewer replicas than its demand asks for, if one does. What only
/// delays a scale-in is part of every quiet minute and says nothing here.
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
    let rate_limited = decision
        .demand
        .as_ref()
        .is_some_and(|demand| demand.rate_limited);
    let bound = decision
        .limits
        .iter()
        .rev()
        .map(|limited| limited.by)
        .find(upwards);
    bound
        .filter(|_| decision.desired < wanted)
        .or(rate_limited.then_some(scaling::Reason::RateLimited))
}

/// What the limit is and how to lift it.
fn limit_message(reason: scaling::Reason, policy: &Policy) -> String {
    let what = match reason {
        scaling::Reason::MaxReplicas => {
            return format!(
                "the demand asks for more than replicas.max, which is {}; raise it if the cluster can carry more",
                policy.max
            );
        }
        scaling::Reason::ScaleUpPolicy => "a policy of behavior.scaleUp allows no larger step now",
        scaling::Reason::ScaleUpDisabled => "behavior.scaleUp.selectPolicy is Disabled",
        scaling::Reason::ScaleUpStabilized => "the stabilization window of behavior.scaleUp holds",
        scaling::Reason::RateLimited => {
            "Temporal limits how fast tasks of this queue are handed out; more replicas would not help"
        }
        other => other.describe(),
    };
    format!("the demand asks for more replicas, but {what}")
}

fn name<'a>(facts: &QueueFacts<'a>) -> &'a str {
    &facts.queue.name
}

/// The most important reason, and a message that names the queues which have it.
fn worst(
    status: Status,
    problems: &[(Option<&str>, Problem)],
    rank: impl Fn(Reason) -> u8,
) -> Option<Say> {
    let (_, first) = problems
        .iter()
        .min_by_key(|(_, problem)| rank(problem.reason))?;
    let same: Vec<&(Option<&str>, Problem)> = problems
        .iter()
        .filter(|(_, problem)| problem.reason == first.reason)
        .collect();
    let one_message = same
        .iter()
        .all(|(_, problem)| problem.message == first.message);
    let message = if one_message {
        let names: Vec<&str> = same.iter().filter_map(|(queue, _)| *queue).collect();
        if names.is_empty() || names.len() == problems.len() && names.len() > NAMED {
            first.message.clone()
        } else {
            format!("{}: {}", list(&names), first.message)
        }
    } else {
        let parts = same.iter().take(NAMED).map(|(queue, problem)| match queue {
            Some(queue) => format!("queue {queue}: {}", problem.message),
            None => problem.message.clone(),
        });
        let more = same.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more queues"));
        parts.chain(more).collect::<Vec<_>>().join("; ")
    };
    Some(Say {
        status,
        reason: first.reason,
        message,
    })
}

fn list(names: &[&str]) -> String {
    match names {
        [one] => format!("queue {one}"),
        many if many.len() <= NAMED => format!("queues {}", many.join(", ")),
        many => {
            let (named, rest) = many.split_at(NAMED);
            format!("queues {} and {} more", named.join(", "), rest.len())
        }
    }
}
