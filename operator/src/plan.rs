//! From what was observed to what is to be written. Pure: no I/O, no clock, no choices left to the
//! writer. Compared whole in tests.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use taskqueue_api::{Fleet, FleetKey, Queue, Reason, injected, render};
use taskqueue_scaling::{
    self as scaling, Decision, History, Mode, Observation, PodSlots, Replicas, Time, decide,
    initial_replicas, victims, when_to_look_again,
};

use crate::apply::REPLICAS_MANAGER;
use crate::fingerprint;
use crate::memory::{FleetMemory, QueueKey, QueueMemory, Written};
use crate::observe::pods::{self, Pods};
use crate::observe::{Observed, ObservedQueue, asked, connection, replicas_set_by};
use crate::problem::Problem;
use crate::tried::{self, Tried};

/// An annotation that stands on a Deployment only while it is being created: it is owned by the
/// manager of the replicas alone, and goes when that manager gives up everything but the replicas.
/// Where it is found, a creation was interrupted and has to be finished.
pub const CREATING: &str = "taskqueue.dev/creating";

/// How long what the API server refused is not tried again; a little less than the wait after the
/// error itself.
const REFUSED_PAUSE: Duration = Duration::from_secs(55);
/// How soon a deferred decision is made again.
const DEFERRED: Duration = Duration::from_secs(1);

/// What the objects of a fleet should be, before anything is decided about replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What to do about the Deployment.
    pub step: Step,
    /// What a decision is to be made from.
    pub observation: Observation,
    /// The version of the Deployment that the observation is about.
    pub resource_version: Option<String>,
    /// The replicas of the Deployment as we set them last, if somebody has changed them since.
    pub changed_by_others: Option<u32>,
}

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
        /// Its creation was interrupted: it has this many replicas now, and the manager of the
        /// replicas still owns all of it.
        finish_creation: Option<u32>,
    },
    /// The API server refused just this a moment ago, or Temporal has not answered over the connection in it: it is
    /// not written yet. What runs is scaled.
    Refused(Problem),
    /// Nothing about this queue may be touched.
    Hold(Problem),
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
    pub look_again: Duration,
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
    pub costs: Vec<Cost>,
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
pub struct Cost {
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
}

/// A change of the replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// What is asked for now.
    pub from: u32,
    /// What is to be asked for.
    pub to: u32,
    /// The version of the Deployment that was decided on; set if the change shrinks, so that one
    /// that was made on outdated knowledge is refused.
    pub resource_version: Option<String>,
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

/// Renders what every queue should have, and compares.
pub fn wanted(
    fleet: &Fleet,
    observed: &Observed,
    memory: &FleetMemory,
    now: Time,
) -> BTreeMap<String, Wanted> {
    let nothing = QueueMemory::default();
    let tried = memory.tried.as_ref();
    let one = |queue: &Queue| {
        let seen = observed.queues.get(&queue.name)?;
        let memory = memory
            .queues
            .get(&QueueKey::unversioned(&queue.name))
            .unwrap_or(&nothing);
        Some((
            queue.name.clone(),
            wanted_queue(fleet, queue, observed, seen, (memory, tried), now),
        ))
    };
    fleet.queues.iter().filter_map(one).collect()
}

fn wanted_queue(
    fleet: &Fleet,
    queue: &Queue,
    observed: &Observed,
    seen: &ObservedQueue,
    (memory, tried): (&QueueMemory, Option<&Tried>),
    now: Time,
) -> Wanted {
    let held = seen.held.as_deref();
    let written = memory.written.as_ref();
    // What this process wrote and the watch has not shown yet.
    let ahead = held.and_then(|held| written.filter(|written| written.is_newer_than(held)));
    let replicas = ahead.map_or_else(|| held.map_or(0, asked), |written| written.replicas);
    let step = match (&observed.connection, &seen.rival) {
        (Err(problem), _) => Step::Hold(problem.clone()),
        (Ok(_), Some(rival)) => Step::Hold(rivalry(queue, rival)),
        (Ok(usable), None) => {
            let object = render(fleet, queue, &usable.spec);
            let untried = tried::untried(&object, seen, tried).map(Step::Refused);
            let put_off = untried.or_else(|| refused(&object, memory, now));
            put_off.unwrap_or_else(|| step(object, held, written))
        }
    };
    let applying = matches!(step, Step::Apply { .. });
    let ours = written.filter(|written| {
        ahead.is_none() && held.is_some_and(|held| held.metadata.uid.as_ref() == Some(&written.uid))
    });
    Wanted {
        step,
        observation: Observation {
            replicas: pods::replicas(replicas, held, &seen.pods, applying),
            backlog: seen.reading.backlog.clone(),
            slots: seen.slots.clone(),
        },
        resource_version: ahead.map_or_else(
            || held.and_then(|held| held.metadata.resource_version.clone()),
            |written| Some(written.resource_version.clone()),
        ),
        changed_by_others: ours
            .map(|written| written.replicas)
            // A write of ours whose answer was lost is nobody else's.
            .filter(|set| {
                *set != replicas && held.and_then(replicas_set_by) != Some(REPLICAS_MANAGER)
            }),
    }
}

/// What the API server refused is tried again when it changes, or after a while: what it objects to
/// may be somewhere else, in a quota or an admission rule.
fn refused(object: &Deployment, memory: &QueueMemory, now: Time) -> Option<Step> {
    let refused = memory.refused.as_ref()?;
    let lately = now.since(refused.at) < REFUSED_PAUSE;
    (lately && refused.rendered == fingerprint::rendered(object))
        .then(|| Step::Refused(refused.problem.clone()))
}

fn step(object: Deployment, held: Option<&Deployment>, written: Option<&Written>) -> Step {
    let Some(held) = held else {
        return Step::Create(Box::new(object));
    };
    if held.metadata.deletion_timestamp.is_some() {
        return Step::Keep;
    }
    let uid = held.metadata.uid.clone().unwrap_or_default();
    let creating = is_being_created(held);
    let unchanged = written.is_some_and(|written| {
        written.uid == uid
            && written.rendered == fingerprint::rendered(&object)
            && (written.is_newer_than(held)
                || (!creating && written.live == fingerprint::live(held, &object)))
    });
    if unchanged {
        return Step::Keep;
    }
    let finish_creation = creating.then(|| asked(held));
    Step::Apply {
        object: Box::new(object),
        uid,
        finish_creation,
    }
}

/// Whether the creation of a Deployment was begun and not finished.
pub fn is_being_created(held: &Deployment) -> bool {
    held.metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key == CREATING)
}

fn rivalry(queue: &Queue, rival: &FleetKey) -> Problem {
    Problem::new(
        Reason::QueueConflict,
        format!(
            "TaskQueueWorker {}/{} is older and serves task queue {} already; this fleet leaves the queue alone until one of the two gives it up",
            rival.namespace, rival.name, queue.task_queue
        ),
    )
}

/// Lets every queue's history take in what was observed. The same readings twice change nothing.
pub fn record(
    fleet: &Fleet,
    wanted: &BTreeMap<String, Wanted>,
    memory: &mut FleetMemory,
    now: Time,
) {
    for queue in &fleet.queues {
        let Some(wanted) = wanted.get(&queue.name) else {
            continue;
        };
        let memory = memory.queue(QueueKey::unversioned(&queue.name));
        memory
            .history
            .observe(&queue.policy, &wanted.observation, now);
        memory.reads(&queue.task_queue);
        memory.note(&wanted.observation, now);
    }
}

/// Decides, and says everything that is to be written.
pub fn plan(
    fleet: &Fleet,
    observed: &Observed,
    wanted: BTreeMap<String, Wanted>,
    memory: &FleetMemory,
    now: Time,
) -> Plan {
    let nothing = QueueMemory::default();
    let mut wanted = wanted;
    let mut look_again = connection::FRESH;
    let mut queues = Vec::new();
    for queue in &fleet.queues {
        let (Some(wanted), Some(seen)) =
            (wanted.remove(&queue.name), observed.queues.get(&queue.name))
        else {
            continue;
        };
        let key = QueueKey::unversioned(&queue.name);
        let memory = memory.queues.get(&key).unwrap_or(&nothing);
        let history = &memory.history;
        let pause = when_to_look_again(&queue.policy, &wanted.observation, history, now);
        look_again = look_again.min(pause);
        let plan = QueuePlan {
            vanished: memory.written.is_some() && matches!(wanted.step, Step::Create(_)),
            budget: budget(fleet, queue, &wanted.step, seen),
            ..plan_queue(queue, wanted, seen, history, now)
        };
        if matches!(plan.step, Step::Apply { .. }) && !plan.carries_out() {
            look_again = look_again.min(DEFERRED);
        }
        queues.push(plan);
    }
    let prunes = observed
        .orphans
        .iter()
        .filter_map(|orphan| prune(orphan, memory))
        .collect();
    Plan {
        fleet: fleet.key.clone(),
        queues,
        prunes,
        look_again,
    }
}

fn plan_queue(
    queue: &Queue,
    wanted: Wanted,
    seen: &ObservedQueue,
    history: &History,
    now: Time,
) -> QueuePlan {
    let Wanted {
        step,
        observation,
        resource_version,
        changed_by_others,
    } = wanted;
    let decision = match &step {
        Step::Hold(_) => None,
        Step::Keep | Step::Refused(_) | Step::Create(_) | Step::Apply { .. } => {
            Some(decide(&queue.policy, &observation, history, now))
        }
    };
    let changes = matches!(step, Step::Apply { .. });
    let scale = decision
        .as_ref()
        .filter(|decision| decision.act && seen.held.is_some());
    let scale = scale.and_then(|decision| {
        let shrinks = decision.desired < decision.previous;
        // An apply moves the version on, and with it the proof that nobody else has written: what
        // shrinks waits for the next pass.
        (!(shrinks && changes)).then(|| Scale {
            from: decision.previous,
            to: decision.desired,
            resource_version: resource_version.filter(|_| shrinks),
        })
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
        Step::Keep | Step::Refused(_) | Step::Hold(_) => return BudgetStep::Keep,
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
) -> Vec<Cost> {
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
    let marked = ranks.remove.into_iter().map(|victim| Cost {
        pod: victim.pod,
        cost: victim.cost,
    });
    // A pod that was marked before and stays after all must not go first the next time.
    let unmarked = ranks.keep.into_iter().filter(|pod| present(pod) < 0);
    marked
        .chain(unmarked.map(|pod| Cost { pod, cost: 0 }))
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

fn prune(orphan: &Deployment, memory: &FleetMemory) -> Option<Prune> {
    let labels = orphan.metadata.labels.as_ref();
    let queue = labels
        .and_then(|labels| labels.get(injected::QUEUE_LABEL))
        .cloned();
    let queue = queue.unwrap_or_default();
    let key = QueueKey::unversioned(&queue);
    Some(Prune {
        deployment_name: orphan.metadata.name.clone()?,
        uid: orphan.metadata.uid.clone()?,
        backlog: memory.queues.get(&key).and_then(|memory| memory.backlog),
        budget: has_budget(orphan),
        queue,
    })
}

#[cfg(test)]
mod tests;
