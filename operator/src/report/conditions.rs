//! The conditions of a fleet. Pure. No number that moves by itself stands in a message, so that an
//! unchanged fleet has unchanged conditions.
//!
//! Nothing good is said of a generation that was not applied. Errors that pass by themselves keep what was
//! said before for [`KEPT`], about the generation of then.

mod blocked;
mod rollout;
mod scaling;

use std::collections::BTreeMap;
use std::time::Duration;

use taskqueue_api::{ConditionType, Fleet, Queue, Reason};
use taskqueue_scaling::{Decision, PodPhase, Time};

use crate::apply::{Applied, QueueApplied};
use crate::fleet_state::{FleetState, QueueKey, QueueState};
use crate::not_ready::NotReady;
use crate::observe::{Observed, ObservedQueue, pods};
use crate::plan::{Plan, QueuePlan};
use crate::report::Thresholds;

use blocked::Blocked;
pub use blocked::{KEPT, Standing, Unpruned, problem, until_reported};

/// So many queues are named in a message; the others are counted.
const NAMED: usize = 5;
/// How long a queue that wakes from zero is not missed: longer than a pod takes whose image is there, or comes
/// from near by.
const WAKES: Duration = Duration::from_mins(5);

/// One condition, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionDraft {
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
    /// Which generation of the spec it is about.
    pub about: About,
}

/// Which generation of the spec a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The present one.
    Present,
    /// The present one, unless what was said of it before still stands.
    PresentIfNew,
    /// The one before, as it was said then. If nothing was said, the present one.
    Former,
    /// The last one whose rollout has ended: that of the present one goes on.
    RolledOut,
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
pub fn invalid(message: &str) -> Vec<ConditionDraft> {
    let draft = |kind, status| ConditionDraft {
        kind,
        status,
        reason: Reason::InvalidSpec,
        message: message.to_owned(),
        note: None,
        about: About::Present,
    };
    vec![
        draft(ConditionType::Ready, Status::False),
        draft(ConditionType::ScalingActive, Status::False),
        draft(ConditionType::Reconciling, Status::False),
        draft(ConditionType::Stalled, Status::True),
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
    pub state: &'a QueueState,
}

impl<'a> QueueFacts<'a> {
    /// Brings together what belongs together.
    pub fn collect(
        fleet: &'a Fleet,
        observed: &'a Observed,
        plan: &'a Plan,
        applied: &'a Applied,
        state: &'a FleetState,
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
                state: state.queues.get(&QueueKey::unversioned(&queue.name))?,
            })
        };
        fleet.queues.iter().filter_map(facts).collect()
    }

    /// The last decision on a reading of its own, or else the present one.
    pub fn decision(&self) -> Option<&'a Decision> {
        self.state.decided.as_ref().or(self.plan.decision.as_ref())
    }

    /// The replicas that the Deployment asks for after this pass.
    pub fn spec_replicas(&self) -> u32 {
        match (&self.done.scaled, &self.done.written, &self.seen.held) {
            (Some(scaled), _, _) => scaled.to,
            // It was there, and the watch has not shown it yet.
            (None, Some(written), None) => written.replicas,
            (None, _, _) => self.plan.observation.replicas.asked,
        }
    }

    /// The replicas that there should be: of a Deployment that is not there, those that it is made with.
    fn wanted(&self) -> u32 {
        if self.exists() {
            self.spec_replicas()
        } else {
            self.plan.initial_replicas
        }
    }

    fn exists(&self) -> bool {
        self.seen.held.is_some() || self.done.written.is_some()
    }
}

/// What the queues say about one condition.
struct ConditionBuilder {
    status: Status,
    reason: Reason,
    message: String,
    note: Option<String>,
    about: About,
}

impl ConditionBuilder {
    fn new(status: Status, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            note: None,
            about: About::Present,
        }
    }

    fn about(self, about: About) -> Self {
        Self { about, ..self }
    }
}

/// Something that is wrong, and the queue that it is wrong with, if it is one queue.
type Trouble<'a> = (Option<&'a str>, NotReady);

/// The conditions of a fleet that was worked on.
pub fn conditions(
    queues: &[QueueFacts<'_>],
    unpruned: &Unpruned<'_>,
    thresholds: &Thresholds,
    now: Time,
) -> Vec<ConditionDraft> {
    let blocked = Blocked::collect(queues, unpruned, now);
    let ready = ready(queues, &blocked, now);
    let progressing = rollout::progressing(queues, &blocked);
    let stalled = rollout::stalled(queues, &ready, &progressing);
    let all = [
        (
            ConditionType::ScalingActive,
            scaling::active(queues, thresholds, now),
        ),
        (ConditionType::ScalingLimited, scaling::limited(queues)),
        (
            ConditionType::Reconciling,
            rollout::reconciling(queues, &blocked, &stalled),
        ),
        (ConditionType::Stalled, stalled),
    ];
    let first = [
        (ConditionType::Ready, ready),
        (ConditionType::Progressing, progressing),
    ];
    let draft = |(kind, say): (ConditionType, ConditionBuilder)| ConditionDraft {
        kind,
        status: say.status,
        about: match say.reason {
            // Right after a restart of the operator nothing has been read yet. What was known about this
            // generation a moment ago is worth more than that.
            Reason::Starting => About::PresentIfNew,
            _ => say.about,
        },
        reason: say.reason,
        message: say.message,
        note: say.note,
    };
    first.into_iter().chain(all).map(draft).collect()
}

fn ready<'a>(queues: &[QueueFacts<'a>], blocked: &Blocked<'a>, now: Time) -> ConditionBuilder {
    let applied = queues.iter().filter(|facts| !blocked.has(facts));
    let waiting =
        applied.filter_map(|facts| Some((Some(name(facts)), no_worker(facts, queues, now)?)));
    let problems: Vec<Trouble<'_>> = blocked.lasting.iter().cloned().chain(waiting).collect();
    if let Some(say) = worst(Status::False, &problems, ready_rank) {
        return say;
    }
    if let Some(say) = worst(Status::False, &blocked.lately, ready_rank) {
        return say.about(About::Former);
    }
    let about = if queues.iter().any(rollout::replaces) {
        About::RolledOut
    } else {
        About::Present
    };
    ConditionBuilder::new(
        Status::True,
        Reason::Available,
        "everything is applied, and a replica is available wherever one is desired",
    )
    .about(about)
}

/// Why a queue that should have a worker has none.
fn no_worker(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>], now: Time) -> Option<NotReady> {
    let ready = facts.plan.observation.replicas.ready;
    let stays = ready > facts.seen.pods.relapsing;
    if facts.wanted() == 0 || (facts.exists() && stays) {
        return None;
    }
    if let Some(trouble) = trouble(facts, queues) {
        return Some(trouble);
    }
    let wakes = facts.state.at_zero.is_some_and(|at| now.since(at) < WAKES);
    (!wakes).then(|| {
        NotReady::new(
            Reason::WaitingForReplicas,
            format!(
                "no replica of Deployment {} is available yet",
                facts.queue.deployment_name
            ),
        )
    })
}

/// Why pods do not start or cannot be made.
fn trouble(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>]) -> Option<NotReady> {
    let of_pods = facts.seen.pods.trouble.clone();
    of_pods.or_else(|| {
        let held = facts.seen.held.as_deref()?;
        pods::deployment_trouble(held, drains(queues))
    })
}

/// Whether pods of the fleet are on their way out.
fn drains(queues: &[QueueFacts<'_>]) -> bool {
    let mut pods = queues.iter().flat_map(|facts| &facts.seen.pods.live);
    pods.any(|pod| pod.phase == PodPhase::Terminating)
}

/// What comes first where several things are wrong: what a person must mend first.
fn ready_rank(reason: Reason) -> u8 {
    match reason {
        Reason::InternalError => 0,
        Reason::Forbidden => 1,
        Reason::ConnectionNotFound
        | Reason::ConnectionInvalid
        | Reason::InvalidSpec
        | Reason::ConnectionUntried
        | Reason::SecretNotFound
        | Reason::SecretUnavailable
        | Reason::SecretInvalid => 2,
        Reason::ApplyFailed | Reason::NameConflict => 3,
        Reason::QueueConflict => 4,
        Reason::WebhookUnavailable => 5,
        Reason::ApiServerUnavailable | Reason::Throttled | Reason::Conflict => 6,
        Reason::WaitingForReplicas => 8,
        _ => 7,
    }
}

fn name<'a>(facts: &QueueFacts<'a>) -> &'a str {
    &facts.queue.name
}

/// The most important reason, and a message that names the queues which have it.
fn worst(
    status: Status,
    problems: &[Trouble<'_>],
    rank: impl Fn(Reason) -> u8,
) -> Option<ConditionBuilder> {
    let (_, first) = problems
        .iter()
        .min_by_key(|(_, problem)| rank(problem.reason))?;
    let same: Vec<&Trouble<'_>> = problems
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
    Some(ConditionBuilder::new(status, first.reason, message))
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
