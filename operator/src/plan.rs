//! Everything that is to be written in one pass, as plain data. Compared whole in tests.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use taskqueue_api::FleetKey;
use taskqueue_scaling::{Backlog, Decision, Observation};

use crate::drift;
use crate::not_ready::NotReady;

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
    /// The API server refused just this a moment ago, or Temporal has not answered over the
    /// connection in it: it is not written yet. What runs is scaled.
    Refused(NotReady),
    /// Something was sent for it and is not answered yet, so that it may still change. What runs is
    /// scaled out.
    Pending,
    /// Nothing about this queue may be touched.
    Hold(NotReady),
}

/// A Deployment as it was when its template was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyPrecondition {
    /// Its version.
    pub resource_version: String,
    /// The hash of what concerns us in it: whether another version is the same in that. `None` if
    /// that is not known, because the watch is behind our own last write.
    pub live: Option<u64>,
}

/// A Deployment as it was when its replicas were decided on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScalePrecondition {
    /// Its uid.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// Its generation, which moves with its spec alone; `None` if that is not known, because the
    /// watch is behind.
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

/// What to do about the PodDisruptionBudget of a queue. It goes with its Deployment, which carries
/// what it says as an annotation: where that has to be written, so has this.
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

    /// Whether the Deployment is there and not still being made, so that its replicas can be
    /// changed at once.
    pub fn is_whole(&self) -> bool {
        match &self.step {
            Step::Keep | Step::Refused(_) | Step::Pending => true,
            Step::Apply {
                finish_creation, ..
            } => finish_creation.is_none(),
            Step::Create(_) | Step::Hold(_) => false,
        }
    }

    /// Whether anything but replicas is to be written.
    pub fn is_prepared(&self) -> bool {
        self.budget != BudgetStep::Keep || matches!(self.step, Step::Create(_) | Step::Apply { .. })
    }

    /// The hash of the Deployment that is to be written.
    pub fn rendered(&self) -> u64 {
        match &self.step {
            Step::Create(object) | Step::Apply { object, .. } => drift::rendered(object),
            Step::Keep | Step::Refused(_) | Step::Pending | Step::Hold(_) => 0,
        }
    }

    /// Whether nothing is to be done, and only news can change that: no replicas, none wanted, and
    /// no tasks as far as is known.
    pub fn is_at_rest(&self) -> bool {
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
