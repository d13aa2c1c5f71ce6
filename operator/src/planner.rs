//! Turns what was observed into what to write. Pure: no I/O, no clock, no choices left to the
//! writer.

pub mod desired;
pub mod growth;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::{Fleet, Queue, render, well_known};
use taskqueue_scaling::{
    self as scaling, Decision, History, Mode, Observation, PodSlots, Replicas, Time, decide,
    initial_replicas, requeue_after, victims,
};

use crate::fleet_state::{FleetState, QueueKey, QueueState};
use crate::observe::pods::Pods;
use crate::observe::{Observed, ObservedQueue};
use crate::owned::has_budget;
use crate::plan::{
    BudgetStep, DeletionCost, Plan, Protection, Prune, QueuePlan, Remember, Scale, Step,
};
use crate::protection;
use crate::recurring::Due;

use desired::{Desired, desired};

/// How soon a deferred decision is made again.
const DEFERRED: Duration = Duration::from_secs(1);
/// How soon a fleet at rest gets another pass although nothing happens. Rates are not trusted after
/// 5 minutes without a reading; this is shorter by the maximum age of a reading.
const IDLE_REQUEUE: Duration = Duration::from_mins(4);
/// The same for a fleet with a target, of which nothing reports a change.
const TARGET_REQUEUE: Duration = Duration::from_secs(30);
/// A reading is expected after each polling interval and triggers a pass itself. If it does not
/// come, a pass runs this much later.
const READING_GRACE: Duration = Duration::from_secs(1);

/// Decides, and returns everything to write. `state` already includes the new readings.
pub fn plan(fleet: &Fleet, observed: &Observed, state: &FleetState, now: Time) -> Plan {
    let nothing = QueueState::default();
    let mut requeue_after = observed.secrets_due.unwrap_or(IDLE_REQUEUE);
    let mut allowance = Allowance {
        left: state.protected_at.left(now),
        used_up: false,
    };
    let mut queues = Vec::new();
    for queue in &fleet.queues {
        let desired = desired(fleet, queue, observed, state, now);
        let seen = observed.queues.get(&queue.name);
        let Some((desired, seen)) = desired.zip(seen) else {
            continue;
        };
        let known = state.queues.get(&QueueKey::unversioned(&queue.name));
        let beside = Beside {
            budget: budget(fleet, queue, &desired.step, seen),
            protections: known.map_or_else(Vec::new, |known| {
                allowance.take(protections(fleet, queue, seen, known, now))
            }),
        };
        let known = known.unwrap_or(&nothing);
        let plan = plan_queue(queue, desired, beside, seen, known, now);
        let rise = known.recurring.next_rise().unwrap_or(Duration::MAX);
        requeue_after = requeue_after.min(pause(queue, &plan, known, now)).min(rise);
        queues.push(plan);
    }
    if allowance.used_up {
        requeue_after = requeue_after.min(protection::POSTPONED);
    }
    let prunes = observed
        .orphans
        .iter()
        .filter_map(|orphan| prune(orphan, state))
        .collect();
    Plan {
        fleet: fleet.key.clone(),
        queues,
        prunes,
        requeue_after,
    }
}

/// How many protections of pods may be written now, over all queues of a fleet.
struct Allowance {
    left: usize,
    /// Whether some must wait.
    used_up: bool,
}

impl Allowance {
    /// Those of `wanted` that may be written now.
    fn take(&mut self, mut wanted: Vec<Protection>) -> Vec<Protection> {
        self.used_up |= wanted.len() > self.left;
        wanted.truncate(self.left);
        self.left = self.left.saturating_sub(wanted.len());
        wanted
    }
}

/// The protections that the pods of a queue need, and those to remove.
fn protections(
    fleet: &Fleet,
    queue: &Queue,
    seen: &ObservedQueue,
    known: &QueueState,
    now: Time,
) -> Vec<Protection> {
    // Of a target, nothing is written but its replicas and the deletion costs of its pods.
    if queue.target.is_some() || queue.policy.mode != Mode::Active {
        return Vec::new();
    }
    let enabled = fleet.protect_busy_pods;
    known
        .long_tasks
        .changes(&seen.pods, &known.history, enabled, now)
}

/// What is written beside a queue's Deployment and its size.
struct Beside {
    budget: BudgetStep,
    protections: Vec<Protection>,
}

/// When a queue needs another pass even if nothing happens.
fn pause(queue: &Queue, plan: &QueuePlan, state: &QueueState, now: Time) -> Duration {
    if plan.is_at_rest() {
        return if queue.target.is_some() {
            TARGET_REQUEUE
        } else {
            IDLE_REQUEUE
        };
    }
    let policy = &queue.policy;
    let pause = requeue_after(policy, &plan.observation, &state.history, now);
    let intervals = [policy.polling_interval, policy.quiet_polling_interval];
    let pause = if intervals.contains(&pause) {
        pause.saturating_add(READING_GRACE)
    } else {
        pause
    };
    match (&plan.step, &state.refused) {
        (Step::Apply { .. }, _) if !plan.carries_out() => pause.min(DEFERRED),
        (Step::Refused(_), Some(refused)) => match refused.remains(now) {
            // The pause is over: the queue now waits for something else.
            Duration::ZERO => pause,
            remains => pause.min(remains),
        },
        _ => pause,
    }
}

fn plan_queue(
    queue: &Queue,
    desired: Desired,
    beside: Beside,
    seen: &ObservedQueue,
    state: &QueueState,
    now: Time,
) -> QueuePlan {
    let Desired {
        step,
        observation,
        precondition,
        changed_by_others,
    } = desired;
    let history = &state.history;
    let decision = match &step {
        Step::Hold(_) => None,
        Step::Keep | Step::Refused(_) | Step::Pending | Step::Create(_) | Step::Apply { .. } => {
            Some(decide(&queue.policy, &observation, history, now))
        }
    };
    let changes = matches!(step, Step::Apply { .. } | Step::Pending);
    let scale = decision.as_ref().filter(|decision| decision.act);
    let scale = scale.zip(precondition).and_then(|(decision, decided_on)| {
        let scale = Scale {
            from: decision.previous,
            to: decision.desired,
            decided_on,
        };
        // An apply changes the resource version and so removes the proof that nobody else has
        // written. Scaling in waits for the next pass.
        (scale.grows() || !changes).then_some(scale)
    });
    let costs = scale.as_ref().map_or_else(Vec::new, |scale| {
        costs(scale, queue, &observation, history, &seen.pods, now)
    });
    let remember = (step == Step::Keep && scale.is_none())
        .then(|| remember(queue, seen, state))
        .flatten();
    QueuePlan {
        queue: queue.name.clone(),
        workload_name: queue.workload_name.clone(),
        target: seen.target().map(|target| target.resource.clone()),
        initial_replicas: starting_replicas(queue, decision.as_ref()),
        vanished: state.written.is_some() && matches!(step, Step::Create(_)),
        step,
        costs,
        protections: beside.protections,
        remember,
        scale,
        decision,
        observation,
        changed_by_others,
        budget: beside.budget,
    }
}

fn budget(fleet: &Fleet, queue: &Queue, step: &Step, seen: &ObservedQueue) -> BudgetStep {
    match step {
        Step::Keep | Step::Refused(_) | Step::Pending | Step::Hold(_) => {
            return BudgetStep::Keep;
        }
        Step::Create(_) | Step::Apply { .. } => {}
    }
    match render::disruption_budget(fleet, queue) {
        Some(budget) => BudgetStep::Apply(Box::new(budget)),
        None if seen.existing.as_deref().is_some_and(has_budget) => BudgetStep::Delete,
        None => BudgetStep::Keep,
    }
}

/// What the Deployment of a queue should keep of its recurring load. A target is not annotated, and
/// nothing is written while nothing is carried out.
fn remember(queue: &Queue, seen: &ObservedQueue, state: &QueueState) -> Option<Remember> {
    let existing = seen.existing.as_deref()?;
    let metadata = &existing.metadata;
    let written = state.written.as_ref();
    let behind = written.is_some_and(|written| written.is_newer_than(existing));
    let active = queue.policy.mode == Mode::Active && queue.target.is_none();
    if !active || behind || metadata.deletion_timestamp.is_some() {
        return None;
    }
    let text = match state.recurring.due() {
        Due::Nothing => return None,
        Due::Value(text) => Some(text.clone()),
        Due::Removal => None,
    };
    Some(Remember {
        decided_on: desired::precondition(existing, None),
        text,
    })
}

/// The replicas of a new Deployment: as decided, if decisions are carried out.
fn starting_replicas(queue: &Queue, decision: Option<&Decision>) -> u32 {
    match decision {
        Some(decision) if queue.policy.mode == Mode::Active => decision.desired,
        Some(_) | None => initial_replicas(&queue.policy),
    }
}

/// The annotations to change so that the least loaded pods are removed. Empty if none or all pods
/// are removed, if their load is unknown, or if no annotation changes the order.
fn costs(
    scale: &Scale,
    queue: &Queue,
    observation: &Observation,
    history: &History,
    pods: &Pods,
    now: Time,
) -> Vec<DeletionCost> {
    let unranked = observation.replicas.by_ordinal;
    if scale.to >= scale.from || scale.to == 0 || unranked {
        return Vec::new();
    }
    let Some(slots) = observation.slots.known() else {
        return Vec::new();
    };
    let remove = removed(&observation.replicas, &slots.pods, scale);
    let ranks = victims(&queue.policy, observation, history, remove, now);
    let present = |pod: &str| {
        let cost = pods
            .costs
            .iter()
            .find(|(name, _)| name == pod)
            .map(|(_, cost)| cost.as_str());
        cost.and_then(|cost| cost.parse::<i32>().ok()).unwrap_or(0)
    };
    let marked = ranks.remove.into_iter().map(|victim| DeletionCost {
        pod: victim.pod,
        cost: victim.cost,
    });
    // A pod that was marked before but stays now must not be removed first next time.
    let unmarked = ranks.keep.into_iter().filter(|pod| present(pod) < 0);
    marked
        .chain(unmarked.map(|pod| DeletionCost { pod, cost: 0 }))
        .filter(|cost| present(&cost.pod) != cost.cost)
        .collect()
}

/// How many existing pods will be removed. Requested replicas without a pod go first, by
/// themselves.
fn removed(replicas: &Replicas, pods: &[PodSlots], scale: &Scale) -> u32 {
    let live = pods
        .iter()
        .filter(|pod| pod.phase != scaling::PodPhase::Terminating)
        .count();
    let live = u32::try_from(live).unwrap_or(u32::MAX);
    live.min(replicas.requested).saturating_sub(scale.to)
}

fn prune(orphan: &Deployment, state: &FleetState) -> Option<Prune> {
    let labels = orphan.metadata.labels.as_ref();
    let queue = labels
        .and_then(|labels| labels.get(well_known::QUEUE_LABEL))
        .cloned();
    let queue = queue.unwrap_or_default();
    let key = QueueKey::unversioned(&queue);
    Some(Prune {
        deployment_name: orphan.metadata.name.clone()?,
        uid: orphan.metadata.uid.clone()?,
        backlog: state.queues.get(&key).and_then(|state| state.backlog),
        budget: has_budget(orphan),
        queue,
    })
}

#[cfg(test)]
mod tests;
