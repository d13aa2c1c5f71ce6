//! From what was observed to what is to be written. Pure: no I/O, no clock, no choices left to the
//! writer. Compared whole in tests.

mod desired;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use taskqueue_api::{Fleet, FleetKey, Queue, injected, render};
use taskqueue_scaling::{
    self as scaling, Backlog, Decision, History, Mode, Observation, PodSlots, Replicas, Time,
    decide, initial_replicas, victims, when_to_look_again,
};

use crate::fleet_state::{FleetState, QueueKey, QueueState};
use crate::not_ready::NotReady;
use crate::observe::pods::Pods;
use crate::observe::{Observed, ObservedQueue};

pub use desired::{CREATING, Desired, is_being_created, prepare, wanted};

/// How soon a deferred decision is made again.
const DEFERRED: Duration = Duration::from_secs(1);
/// How soon a fleet at rest is looked at although nothing happens. Less than the 5 minutes without a reading after
/// which rates are not trusted, by the longest that a reading may be old.
const REST: Duration = Duration::from_mins(4);
/// The next reading is expected after a polling interval, and leads to a pass by itself: this much later one is made
/// all the same.
const LATE: Duration = Duration::from_secs(1);

/// What to do about one Deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is as it should be.
    Keep,
    /// It is not there.
    Create(Box<Deployment>),
    /// It differs, or this process has not seen it yet.
    Apply {
        /// What it should be, without replicas.
        object: Box<Deployment>,
        /// The uid of the one that is there: it, and no other, is meant.
        uid: String,
        /// What it was when this was decided.
        decided_on: ApplyPrecondition,
        /// Its creation was interrupted: it has this many replicas now, and the manager of the
        /// replicas still owns all of it.
        finish_creation: Option<u32>,
    },
    /// The API server refused just this a moment ago, or Temporal has not answered over the connection in it: it is
    /// not written yet. What runs is scaled.
    Refused(NotReady),
    /// Something was sent for it and is not answered yet, so that it may still change. What runs is scaled out.
    Pending,
    /// Nothing about this queue may be touched.
    Hold(NotReady),
}

/// A Deployment as it was when its template was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyPrecondition {
    /// Its version.
    pub resource_version: String,
    /// The hash of what concerns us in it: whether another version is the same in that. `None` if that is not known,
    /// because the watch is behind our own last write.
    pub live: Option<u64>,
}

/// A Deployment as it was when its replicas were decided on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScalePrecondition {
    /// Its uid.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// Its generation, which moves with its spec alone; `None` if that is not known, because the watch is behind.
    pub generation: Option<i64>,
}

/// Everything that is to be written in one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Whose it is.
    pub fleet: FleetKey,
    /// Per queue, in the order of the spec.
    pub queues: Vec<QueuePlan>,
    /// Deployments to delete, after all else.
    pub prunes: Vec<Prune>,
    /// When to look again even if nothing happens.
    pub requeue_after: Duration,
}

/// Everything that is to be written for one queue, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePlan {
    /// The queue.
    pub queue: String,
    /// Its Deployment.
    pub deployment_name: String,
    /// What to do about the Deployment. A new one is created with `replicas`.
    pub step: Step,
    /// The replicas of a Deployment that is created.
    pub initial_replicas: u32,
    /// The ranks of pods for removal, to be set before the replicas are lowered.
    pub costs: Vec<DeletionCost>,
    /// The change of the replicas of an existing Deployment.
    pub scale: Option<Scale>,
    /// What was decided; `None` where nothing may be touched.
    pub decision: Option<Decision>,
    /// What the decision was made from.
    pub observation: Observation,
    /// The replicas as we set them last, if somebody has changed them since.
    pub changed_by_others: Option<u32>,
    /// This process has made or seen the Deployment before, and now it is not there.
    pub vanished: bool,
    /// What to do about the PodDisruptionBudget, before the Deployment is written.
    pub budget: BudgetStep,
}

/// What to do about the PodDisruptionBudget of a queue. It goes with its Deployment, which carries what
/// it says as an annotation: where that has to be written, so has this.
#[derive(Debug, Clone, PartialEq)]
pub enum BudgetStep {
    /// It is as it should be, or is not wanted and not there.
    Keep,
    /// It is to be as given.
    Apply(Box<PodDisruptionBudget>),
    /// It is no longer wanted.
    Delete,
}

/// The rank of one pod for removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionCost {
    /// The pod.
    pub pod: String,
    /// The value of the annotation; lower goes first.
    pub cost: i32,
}

impl QueuePlan {
    /// Whether the plan does what was decided. If it does not, the decision is made again.
    pub fn carries_out(&self) -> bool {
        let acts = self.decision.as_ref().is_some_and(|decision| decision.act);
        !acts || self.scale.is_some() || matches!(self.step, Step::Create(_))
    }

    /// Whether nothing is to be done, and only news can change that: no replicas, none wanted, and no tasks as far as
    /// is known.
    fn is_at_rest(&self) -> bool {
        let zero = |decision: &Decision| !decision.act && decision.desired == 0;
        let idle = |backlog: &Backlog| {
            let mut types = backlog
                .types
                .iter()
                .filter_map(|(_, of_type)| of_type.as_ref());
            types.all(|of_type| of_type.count == 0 && of_type.add_rate_milli == 0)
        };
        self.step == Step::Keep
            && self.observation.replicas.is_zero()
            && self.decision.as_ref().is_some_and(zero)
            && self.observation.backlog.known().is_none_or(idle)
    }
}

/// A change of the replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// What is asked for now.
    pub from: u32,
    /// What is to be asked for.
    pub to: u32,
    /// The Deployment that was decided on: a change that was made on outdated knowledge is refused.
    pub decided_on: ScalePrecondition,
}

impl Scale {
    /// Whether replicas are added.
    pub fn grows(&self) -> bool {
        self.to > self.from
    }
}

/// A Deployment whose queue has left the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// Its name.
    pub deployment_name: String,
    /// Its uid: it, and no other, is deleted.
    pub uid: String,
    /// The queue that it served.
    pub queue: String,
    /// How many tasks waited in it when that was last known.
    pub backlog: Option<u64>,
    /// It has a PodDisruptionBudget, which goes as well.
    pub budget: bool,
}

/// Lets every queue's history take in what was observed. The same readings twice change nothing.
pub fn record(
    fleet: &Fleet,
    wanted: &BTreeMap<String, Desired>,
    state: &mut FleetState,
    now: Time,
) {
    for queue in &fleet.queues {
        let Some(wanted) = wanted.get(&queue.name) else {
            continue;
        };
        let state = state.queue(QueueKey::unversioned(&queue.name));
        state
            .history
            .observe(&queue.policy, &wanted.observation, now);
        state.reads(&queue.task_queue);
        state.note(&wanted.observation, now);
    }
}

/// Decides, and says everything that is to be written.
pub fn plan(
    fleet: &Fleet,
    observed: &Observed,
    wanted: BTreeMap<String, Desired>,
    state: &FleetState,
    now: Time,
) -> Plan {
    let nothing = QueueState::default();
    let mut wanted = wanted;
    let mut requeue_after = observed.secrets_due.unwrap_or(REST);
    let mut queues = Vec::new();
    for queue in &fleet.queues {
        let (Some(wanted), Some(seen)) =
            (wanted.remove(&queue.name), observed.queues.get(&queue.name))
        else {
            continue;
        };
        let key = QueueKey::unversioned(&queue.name);
        let state = state.queues.get(&key).unwrap_or(&nothing);
        let plan = QueuePlan {
            vanished: state.written.is_some() && matches!(wanted.step, Step::Create(_)),
            budget: budget(fleet, queue, &wanted.step, seen),
            ..plan_queue(queue, wanted, seen, &state.history, now)
        };
        requeue_after = requeue_after.min(pause(queue, &plan, state, now));
        queues.push(plan);
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

/// When a queue is to be looked at again even if nothing happens.
fn pause(queue: &Queue, plan: &QueuePlan, state: &QueueState, now: Time) -> Duration {
    if plan.is_at_rest() {
        return REST;
    }
    let policy = &queue.policy;
    let pause = when_to_look_again(policy, &plan.observation, &state.history, now);
    let intervals = [policy.polling_interval, policy.quiet_polling_interval];
    let pause = if intervals.contains(&pause) {
        pause.saturating_add(LATE)
    } else {
        pause
    };
    match (&plan.step, &state.refused) {
        (Step::Apply { .. }, _) if !plan.carries_out() => pause.min(DEFERRED),
        (Step::Refused(_), Some(refused)) => match refused.remains(now) {
            // Something else is waited for by now.
            Duration::ZERO => pause,
            remains => pause.min(remains),
        },
        _ => pause,
    }
}

fn plan_queue(
    queue: &Queue,
    wanted: Desired,
    seen: &ObservedQueue,
    history: &History,
    now: Time,
) -> QueuePlan {
    let Desired {
        step,
        observation,
        version,
        changed_by_others,
    } = wanted;
    let decision = match &step {
        Step::Hold(_) => None,
        Step::Keep | Step::Refused(_) | Step::Pending | Step::Create(_) | Step::Apply { .. } => {
            Some(decide(&queue.policy, &observation, history, now))
        }
    };
    let changes = matches!(step, Step::Apply { .. } | Step::Pending);
    let scale = decision.as_ref().filter(|decision| decision.act);
    let scale = scale.zip(version).and_then(|(decision, decided_on)| {
        let scale = Scale {
            from: decision.previous,
            to: decision.desired,
            decided_on,
        };
        // An apply moves the version on, and with it the proof that nobody else has written: what
        // shrinks waits for the next pass.
        (scale.grows() || !changes).then_some(scale)
    });
    let costs = scale.as_ref().map_or_else(Vec::new, |scale| {
        costs(scale, queue, &observation, history, &seen.pods, now)
    });
    QueuePlan {
        queue: queue.name.clone(),
        deployment_name: queue.deployment_name.clone(),
        initial_replicas: starting_replicas(queue, decision.as_ref()),
        step,
        costs,
        scale,
        decision,
        observation,
        changed_by_others,
        vanished: false,
        budget: BudgetStep::Keep,
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
        None if seen.held.as_deref().is_some_and(has_budget) => BudgetStep::Delete,
        None => BudgetStep::Keep,
    }
}

/// Whether a Deployment has a PodDisruptionBudget beside it.
fn has_budget(held: &Deployment) -> bool {
    let mut annotations = held.metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key == injected::BUDGET_ANNOTATION)
}

/// The replicas of a Deployment that is made anew: as decided, where decisions are carried out.
fn starting_replicas(queue: &Queue, decision: Option<&Decision>) -> u32 {
    match decision {
        Some(decision) if queue.policy.mode == Mode::Active => decision.desired,
        Some(_) | None => initial_replicas(&queue.policy),
    }
}

/// The annotations that must change so that the least loaded pods go. None if all pods go, or if
/// nothing is known about their load.
fn costs(
    scale: &Scale,
    queue: &Queue,
    observation: &Observation,
    history: &History,
    pods: &Pods,
    now: Time,
) -> Vec<DeletionCost> {
    if scale.to >= scale.from || scale.to == 0 {
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
    // A pod that was marked before and stays after all must not go first the next time.
    let unmarked = ranks.keep.into_iter().filter(|pod| present(pod) < 0);
    marked
        .chain(unmarked.map(|pod| DeletionCost { pod, cost: 0 }))
        .filter(|cost| present(&cost.pod) != cost.cost)
        .collect()
}

/// How many existing pods go: replicas that were asked for and never made go first, by themselves.
fn removed(replicas: &Replicas, pods: &[PodSlots], scale: &Scale) -> u32 {
    let live = pods
        .iter()
        .filter(|pod| pod.phase != scaling::PodPhase::Terminating)
        .count();
    let live = u32::try_from(live).unwrap_or(u32::MAX);
    live.min(replicas.asked).saturating_sub(scale.to)
}

fn prune(orphan: &Deployment, state: &FleetState) -> Option<Prune> {
    let labels = orphan.metadata.labels.as_ref();
    let queue = labels
        .and_then(|labels| labels.get(injected::QUEUE_LABEL))
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
