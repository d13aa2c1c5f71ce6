//! Everything known about a queue after a pass, as input of the reports. Pure.

use std::collections::BTreeMap;

use taskqueue_api::{Fleet, Queue};
use taskqueue_scaling::Decision;

use crate::applied::{Applied, QueueApplied};
use crate::fleet_state::{FleetState, QueueKey, QueueState};
use crate::not_ready::NotReady;
use crate::observe::{Observed, ObservedQueue, deployment};
use crate::plan::{Plan, QueuePlan};

/// Everything known about one queue after a pass.
pub struct QueueFacts<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// The queue.
    pub queue: &'a Queue,
    /// What was observed.
    pub seen: &'a ObservedQueue,
    /// What was planned.
    pub plan: &'a QueuePlan,
    /// The outcome of the plan.
    pub done: &'a QueueApplied,
    /// What is kept between passes.
    pub state: &'a QueueState,
}

impl<'a> QueueFacts<'a> {
    /// Joins the facts of each queue. Leaves out queues for which one is missing.
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
                fleet,
                queue,
                seen: observed.queues.get(&queue.name)?,
                plan: plans.get(queue.name.as_str())?,
                done: applied.queues.get(&queue.name)?,
                state: state.queues.get(&QueueKey::unversioned(&queue.name))?,
            })
        };
        fleet.queues.iter().filter_map(facts).collect()
    }

    /// The last decision based on a reading that had not been acted on before, or else the one of
    /// this pass.
    pub fn decision(&self) -> Option<&'a Decision> {
        self.state.decided.as_ref().or(self.plan.decision.as_ref())
    }

    /// The replicas in the spec of the Deployment after this pass.
    pub fn spec_replicas(&self) -> u32 {
        match (&self.done.scaled, &self.done.written, &self.seen.existing) {
            (Some(scaled), _, _) => scaled.to,
            // It exists, but the watch has not shown it yet.
            (None, Some(written), None) => written.replicas,
            (None, _, _) => self.plan.observation.replicas.requested,
        }
    }

    /// The queue's name in the fleet.
    pub fn name(&self) -> &'a str {
        &self.queue.name
    }

    /// The replicas that should exist. If the Deployment does not exist, those that it is created
    /// with.
    pub fn wanted(&self) -> u32 {
        if self.exists() {
            self.spec_replicas()
        } else {
            self.plan.initial_replicas
        }
    }

    /// Whether its workload exists.
    pub fn exists(&self) -> bool {
        let target = self.seen.target().is_some();
        target || self.seen.existing.is_some() || self.done.written.is_some()
    }
}

/// Why pods do not start or cannot be created.
pub fn pod_trouble(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>]) -> Option<NotReady> {
    let of_pods = facts.seen.pods.trouble.clone();
    of_pods.or_else(|| {
        let existing = facts.seen.existing.as_deref()?;
        deployment::trouble(existing, any_draining(queues))
    })
}

/// Whether pods of the fleet are draining.
pub fn any_draining(queues: &[QueueFacts<'_>]) -> bool {
    queues.iter().any(|facts| facts.seen.pods.drains())
}
