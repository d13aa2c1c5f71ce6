//! Everything that is known about a queue after a pass, for what is reported. Pure.

use std::collections::BTreeMap;

use taskqueue_api::{Fleet, Queue};
use taskqueue_scaling::{Decision, PodPhase};

use crate::applied::{Applied, QueueApplied};
use crate::fleet_state::{FleetState, QueueKey, QueueState};
use crate::not_ready::NotReady;
use crate::observe::{Observed, ObservedQueue, deployment};
use crate::plan::{Plan, QueuePlan};

/// Everything that is known about one queue after a pass.
pub struct QueueFacts<'a> {
    /// The queue.
    pub queue: &'a Queue,
    /// What was seen.
    pub seen: &'a ObservedQueue,
    /// What was planned.
    pub plan: &'a QueuePlan,
    /// What came of the plan.
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
        match (&self.done.scaled, &self.done.written, &self.seen.existing) {
            (Some(scaled), _, _) => scaled.to,
            // It was there, and the watch has not shown it yet.
            (None, Some(written), None) => written.replicas,
            (None, _, _) => self.plan.observation.replicas.asked,
        }
    }

    /// Its name in the fleet.
    pub fn name(&self) -> &'a str {
        &self.queue.name
    }

    /// The replicas that there should be: of a Deployment that is not there, those that it is made
    /// with.
    pub fn wanted(&self) -> u32 {
        if self.exists() {
            self.spec_replicas()
        } else {
            self.plan.initial_replicas
        }
    }

    /// Whether its Deployment is there.
    pub fn exists(&self) -> bool {
        self.seen.existing.is_some() || self.done.written.is_some()
    }
}

/// Why pods do not start or cannot be made.
pub fn pod_trouble(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>]) -> Option<NotReady> {
    let of_pods = facts.seen.pods.trouble.clone();
    of_pods.or_else(|| {
        let existing = facts.seen.existing.as_deref()?;
        deployment::trouble(existing, any_draining(queues))
    })
}

/// Whether pods of the fleet are on their way out.
pub fn any_draining(queues: &[QueueFacts<'_>]) -> bool {
    let mut pods = queues.iter().flat_map(|facts| &facts.seen.pods.live);
    pods.any(|pod| pod.phase == PodPhase::Terminating)
}
