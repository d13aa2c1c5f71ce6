//! What prevents the current generation of a fleet from being applied, and since when. Pure.

use std::time::Duration;

use taskqueue_api::Reason;
use taskqueue_scaling::Time;

use super::draft::Cause;
use crate::applied::End;
use crate::error::Error;
use crate::fleet_state::{FleetState, Unapplied};
use crate::not_ready::NotReady;
use crate::plan::Step;
use crate::report::facts::QueueFacts;

/// How long a transient error leaves a condition unchanged.
pub const KEPT: Duration = Duration::from_mins(1);

impl QueueFacts<'_> {
    /// What prevents the current generation from being applied, if anything does.
    fn blocked(&self, now: Time) -> Option<Unapplied> {
        if let Step::Hold(why) = &self.plan.step {
            return Some(Unapplied {
                since: now,
                transient: false,
                why: why.clone(),
            });
        }
        let before = self.state.unapplied.as_ref();
        let since = before.map_or(now, |before| before.since);
        match (&self.plan.step, &self.done.error) {
            (_, Some(error)) => Some(Unapplied {
                since,
                transient: error.is_transient(),
                why: error.into(),
            }),
            // Nothing was attempted, so nothing has changed.
            (Step::Refused(why), None) => Some(Unapplied {
                since,
                transient: match (why.reason, before) {
                    // A newly configured connection needs a moment to be tried.
                    (Reason::ConnectionUntried, _) => true,
                    (_, Some(before)) => before.transient,
                    (reason, None) => is_transient(reason),
                },
                why: why.clone(),
            }),
            (Step::Pending, None) => Some(self.unanswered(now)),
            _ if self.done.end == End::Pending => Some(self.unanswered(now)),
            (Step::Keep | Step::Create(_) | Step::Apply { .. } | Step::Hold(_), None) => None,
        }
    }

    /// A write in flight is not applied yet. Earlier trouble may still exist.
    fn unanswered(&self, now: Time) -> Unapplied {
        let before = self.state.unapplied.clone();
        before.unwrap_or_else(|| {
            // With an existing Deployment, the earlier condition is kept for a while. A new one has
            // no earlier condition, and its start is not an error.
            let reason = if self.exists() {
                Reason::ApiServerUnavailable
            } else {
                Reason::WaitingForReplicas
            };
            let deployment = &self.queue.workload_name;
            let message =
                format!("the API server has not answered the write of Deployment {deployment} yet");
            Unapplied {
                since: now,
                transient: true,
                why: NotReady::new(reason, message),
            }
        })
    }

    /// What the conditions of the next pass need to know about this one.
    pub fn carry_over(&self, now: Time) -> QueueCarryOver {
        let held = matches!(self.plan.step, Step::Hold(_));
        let at_zero = if self.exists() && self.spec_replicas() == 0 {
            Some(now)
        } else {
            let none_ready = self.plan.observation.replicas.ready == 0;
            self.state.at_zero.filter(|_| none_ready)
        };
        QueueCarryOver {
            queue: self.queue.name.clone(),
            unapplied: self.blocked(now).filter(|_| !held),
            at_zero,
            task_queue_moved: self.done.written.is_some(),
        }
    }
}

/// State of a queue that the conditions of the next pass need.
pub struct QueueCarryOver {
    /// The queue.
    pub queue: String,
    /// The write that fails or has not been answered, if there is one.
    pub unapplied: Option<Unapplied>,
    /// When it was last meant to have no replicas, unless a pod has been ready since.
    pub at_zero: Option<Time>,
    /// Whether its Deployment was written, so that its workers move to the task queue in the spec.
    pub task_queue_moved: bool,
}

/// Time until the next transient error has lasted long enough to be reported; a pass must run then.
/// [`Duration::MAX`] if there is none.
pub fn until_reported(state: &FleetState, now: Time) -> Duration {
    let unapplied = state
        .queues
        .values()
        .filter_map(|queue| queue.unapplied.as_ref());
    let passing = unapplied.filter(|unapplied| unapplied.transient);
    passing
        .map(|unapplied| unapplied.since)
        .chain(state.unpruned)
        .map(|since| KEPT.saturating_sub(now.since(since)))
        .filter(|left| !left.is_zero())
        .min()
        .unwrap_or(Duration::MAX)
}

/// Failed deletions of Deployments whose queue has left the spec.
pub struct Unpruned<'a> {
    /// The errors.
    pub errors: &'a [Error],
    /// Since when deletions have failed.
    pub since: Option<Time>,
}

/// Everything that prevents the current generation from being applied, over all queues.
pub(super) struct Blocked<'a> {
    /// Errors that somebody must fix, and transient ones that have lasted for [`KEPT`].
    pub(super) lasting: Vec<Cause<'a>>,
    /// Transient errors that have not lasted as long.
    pub(super) lately: Vec<Cause<'a>>,
    /// All transient errors, however long they have lasted.
    pub(super) passing: Vec<Cause<'a>>,
}

impl<'a> Blocked<'a> {
    pub(super) fn collect(queues: &[QueueFacts<'a>], unpruned: &Unpruned<'_>, now: Time) -> Self {
        let of_queues = queues
            .iter()
            .filter_map(|facts| Some((Some(facts.name()), facts.blocked(now)?)));
        let of_prunes = unpruned.errors.iter().map(|error| {
            let unapplied = Unapplied {
                since: unpruned.since.unwrap_or(now),
                transient: error.is_transient(),
                why: error.into(),
            };
            (None, unapplied)
        });
        let mut blocked = Self {
            lasting: Vec::new(),
            lately: Vec::new(),
            passing: Vec::new(),
        };
        for (queue, unapplied) in of_queues.chain(of_prunes) {
            let why = unapplied.why;
            let cause = Cause { queue, why };
            if unapplied.transient {
                blocked.passing.push(cause.clone());
            }
            let list = if unapplied.transient && now.since(unapplied.since) < KEPT {
                &mut blocked.lately
            } else {
                &mut blocked.lasting
            };
            list.push(cause);
        }
        blocked
    }

    /// Whether the current generation of a queue has not been applied.
    pub(super) fn has(&self, facts: &QueueFacts<'_>) -> bool {
        let mut all = self.lasting.iter().chain(&self.lately);
        all.any(|cause| cause.queue == Some(facts.name()))
    }
}

/// Whether an error with this reason is transient.
fn is_transient(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Throttled
            | Reason::WebhookUnavailable
            | Reason::ApiServerUnavailable
            | Reason::Conflict
    )
}
