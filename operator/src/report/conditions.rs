//! The conditions of a fleet. Pure. No number that moves by itself stands in a message, so that an
//! unchanged fleet has unchanged conditions.

mod scaling;

use std::collections::BTreeMap;

use taskqueue_api::{ConditionType, Fleet, Queue, Reason};
use taskqueue_scaling::{Decision, Time};

use crate::apply::{Applied, QueueApplied};
use crate::error::{Class, Error};
use crate::memory::{FleetMemory, QueueKey, QueueMemory};
use crate::observe::{Observed, ObservedQueue, pods};
use crate::plan::{Plan, QueuePlan, Step};
use crate::problem::Problem;
use crate::report::Thresholds;

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
    /// What an Event about it says, where it can say more: numbers as they were at that moment.
    pub note: Option<String>,
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
        note: None,
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
    note: Option<String>,
}

/// The conditions of a fleet that was worked on.
pub fn conditions(
    queues: &[QueueFacts<'_>],
    pruning: &[Error],
    thresholds: &Thresholds,
    now: Time,
) -> Vec<Verdict> {
    let all = [
        (ConditionType::Ready, ready(queues, pruning)),
        (ConditionType::Progressing, progressing(queues)),
        (
            ConditionType::ScalingActive,
            scaling::active(queues, thresholds, now),
        ),
        (ConditionType::ScalingLimited, scaling::limited(queues)),
    ];
    let verdict = |(kind, say): (ConditionType, Say)| Verdict {
        kind,
        status: say.status,
        reason: say.reason,
        message: say.message,
        note: say.note,
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
        note: None,
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
        | Reason::InvalidSpec
        | Reason::SecretNotFound
        | Reason::SecretUnavailable
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
            // While old pods serve, the new ones' trouble is the rollout's; the message says which.
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
        note: None,
    })
}

/// Whether pods are really being replaced: an apply alone may have changed nothing.
fn rolls(facts: &QueueFacts<'_>) -> bool {
    let held = facts.seen.held.as_deref();
    pods::replicas(0, held, &facts.seen.pods, false).rollout_in_progress
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
        note: None,
    })
}

fn list(names: &[&str]) -> String {
    match names {
        [one] => format!("queue {one}"),
        many if many.len() <= NAMED => format!("queues {}", many.join(", ")),
        many => {
            let (first, rest) = many.split_at(NAMED);
            format!("queues {} and {} more", first.join(", "), rest.len())
        }
    }
}

#[cfg(test)]
mod tests;
