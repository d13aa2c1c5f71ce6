//! What keeps the present generation of a fleet from being applied, and since when. Pure.

use std::time::Duration;

use taskqueue_api::Reason;
use taskqueue_scaling::Time;

use super::draft::Trouble;
use crate::applied::End;
use crate::error::Error;
use crate::fleet_state::{FleetState, Unapplied};
use crate::not_ready::NotReady;
use crate::plan::Step;
use crate::report::facts::QueueFacts;

/// How long an error that passes by itself leaves a condition as it was.
pub const KEPT: Duration = Duration::from_mins(1);

impl QueueFacts<'_> {
    /// What keeps the present generation from being applied, if something does.
    fn blocked(&self, now: Time) -> Option<Unapplied> {
        if let Step::Hold(why) = &self.plan.step {
            return Some(Unapplied {
                since: now,
                passes: false,
                why: why.clone(),
            });
        }
        let before = self.state.unapplied.as_ref();
        let since = before.map_or(now, |before| before.since);
        match (&self.plan.step, &self.done.error) {
            (_, Some(error)) => Some(Unapplied {
                since,
                passes: error.passes(),
                why: error.into(),
            }),
            // Nothing was tried: it is as it was.
            (Step::Refused(why), None) => Some(Unapplied {
                since,
                passes: match (why.reason, before) {
                    // A connection that is only just asked for needs a moment to be tried.
                    (Reason::ConnectionUntried, _) => true,
                    (_, Some(before)) => before.passes,
                    (reason, None) => passes(reason),
                },
                why: why.clone(),
            }),
            (Step::Pending, None) => Some(self.unanswered(now)),
            _ if self.done.end == End::Pending => Some(self.unanswered(now)),
            (Step::Keep | Step::Create(_) | Step::Apply { .. } | Step::Hold(_), None) => None,
        }
    }

    /// A write that is under way is not applied. What was wrong before it may still be.
    fn unanswered(&self, now: Time) -> Unapplied {
        let before = self.state.unapplied.clone();
        before.unwrap_or_else(|| {
            // Of a Deployment that is there the former condition stands for a while. One that is
            // being made has none yet, and a start is no fault.
            let reason = if self.exists() {
                Reason::ApiServerUnavailable
            } else {
                Reason::WaitingForReplicas
            };
            let deployment = &self.queue.deployment_name;
            let message =
                format!("what was sent for Deployment {deployment} has not been answered yet");
            Unapplied {
                since: now,
                passes: true,
                why: NotReady::new(reason, message),
            }
        })
    }

    /// What the conditions after the next pass need to know of this one.
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
            gone_over: self.done.written.is_some(),
        }
    }
}

/// Since when a queue is not as it should be.
pub struct QueueCarryOver {
    /// The queue.
    pub queue: String,
    /// Writes that fail.
    pub unapplied: Option<Unapplied>,
    /// When it was last meant to have no replicas.
    pub at_zero: Option<Time>,
    /// Its workers are on their way to the task queue that the spec names.
    pub gone_over: bool,
}

/// How long until an error that passes by itself, and has not passed, is told: a pass then must not
/// be missed.
pub fn until_reported(state: &FleetState, now: Time) -> Duration {
    let unapplied = state
        .queues
        .values()
        .filter_map(|queue| queue.unapplied.as_ref());
    let passing = unapplied.filter(|unapplied| unapplied.passes);
    passing
        .map(|unapplied| unapplied.since)
        .chain(state.unpruned)
        .map(|since| KEPT.saturating_sub(now.since(since)))
        .filter(|left| !left.is_zero())
        .min()
        .unwrap_or(Duration::MAX)
}

/// Deployments whose queue has left the spec and that could not be deleted.
pub struct Unpruned<'a> {
    /// Why.
    pub errors: &'a [Error],
    /// Since when.
    pub since: Option<Time>,
}

/// What keeps the present generation from being applied, over all queues.
pub(super) struct Blocked<'a> {
    /// What somebody must mend, or has been there for long.
    pub(super) lasting: Vec<Trouble<'a>>,
    /// What passes by itself and came up lately.
    pub(super) lately: Vec<Trouble<'a>>,
    /// What passes by itself, however long it has been there.
    pub(super) passing: Vec<Trouble<'a>>,
}

impl<'a> Blocked<'a> {
    pub(super) fn collect(queues: &[QueueFacts<'a>], unpruned: &Unpruned<'_>, now: Time) -> Self {
        let of_queues = queues
            .iter()
            .filter_map(|facts| Some((Some(facts.name()), facts.blocked(now)?)));
        let of_prunes = unpruned.errors.iter().map(|error| {
            let unapplied = Unapplied {
                since: unpruned.since.unwrap_or(now),
                passes: error.passes(),
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
            let trouble = (queue, unapplied.why);
            if unapplied.passes {
                blocked.passing.push(trouble.clone());
            }
            let list = if unapplied.passes && now.since(unapplied.since) < KEPT {
                &mut blocked.lately
            } else {
                &mut blocked.lasting
            };
            list.push(trouble);
        }
        blocked
    }

    /// Whether a queue is among those that are not applied.
    pub(super) fn has(&self, facts: &QueueFacts<'_>) -> bool {
        let mut all = self.lasting.iter().chain(&self.lately);
        all.any(|(queue, _)| *queue == Some(facts.name()))
    }
}

/// Whether what is told so may go by itself.
fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Throttled
            | Reason::WebhookUnavailable
            | Reason::ApiServerUnavailable
            | Reason::Conflict
    )
}
