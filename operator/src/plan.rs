//! Everything to write in one pass, as plain data. Tests compare it whole.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ApiResource;
use taskqueue_api::FleetKey;
use taskqueue_scaling::{Backlog, Decision, Observation};

use crate::drift;
use crate::not_ready::NotReady;

/// What to do about one Deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing to write: it is in its desired state, or is being deleted.
    Keep,
    /// It does not exist.
    Create(Box<Deployment>),
    /// It differs from its desired state, or this process has not written it yet.
    Apply {
        /// Its desired state, without replicas.
        object: Box<Deployment>,
        /// The uid of the existing one; no other may be written.
        uid: String,
        /// Its state when this was decided.
        decided_on: ApplyPrecondition,
        /// Its current replicas, if its creation was interrupted and the replicas manager still
        /// owns all of it.
        finish_creation: Option<u32>,
    },
    /// The API server refused this same object a moment ago, or Temporal has not yet answered over
    /// the connection in it: it is not written yet. The existing Deployment is still scaled.
    Refused(NotReady),
    /// A write of it has not been answered yet, so it may still change. The existing Deployment is
    /// only scaled out.
    Pending,
    /// Nothing about this queue may be touched.
    Hold(NotReady),
}

/// A Deployment as it was when its template was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyPrecondition {
    /// Its resource version.
    pub resource_version: String,
    /// The hash of the fields that concern us: another version with the same hash is as good.
    /// `None` if unknown, because the watch is behind our own last write.
    pub live: Option<u64>,
}

/// A Deployment as it was when its replicas were decided on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScalePrecondition {
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// Its generation, which changes only with its spec; `None` if unknown, because the watch is
    /// behind our own last write.
    pub generation: Option<i64>,
}

/// Everything to write in one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The fleet that owns the objects.
    pub fleet: FleetKey,
    /// One plan per queue, in the order of the spec.
    pub queues: Vec<QueuePlan>,
    /// Deployments to delete, after everything else is written.
    pub prunes: Vec<Prune>,
    /// When to run the next pass even if nothing happens.
    pub requeue_after: Duration,
}

/// Everything to write for one queue; `apply` decides the order.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePlan {
    /// The queue.
    pub queue: String,
    /// The name of its Deployment, or of its target.
    pub workload_name: String,
    /// The resource of its target; `None` if it has a Deployment of ours, or if its target could
    /// not be read. Of a target only the replicas and the ranks of its pods are written.
    pub target: Option<ApiResource>,
    /// What to do about the Deployment. A new one is created with `initial_replicas`.
    pub step: Step,
    /// The replicas with which a Deployment is created.
    pub initial_replicas: u32,
    /// The ranks of pods for removal, to be written before the replicas are lowered.
    pub costs: Vec<DeletionCost>,
    /// The pods whose nodes are spared from now on, or no longer.
    pub protections: Vec<Protection>,
    /// The bursts to keep on the Deployment for the next process.
    pub remember: Option<Remember>,
    /// The change of the replicas of an existing Deployment.
    pub scale: Option<Scale>,
    /// The decision; `None` if nothing may be touched.
    pub decision: Option<Decision>,
    /// The observation that the decision is based on.
    pub observation: Observation,
    /// The replicas that we set last, if somebody has changed them since.
    pub changed_by_others: Option<u32>,
    /// Whether this process has written the Deployment before, and it is missing now.
    pub vanished: bool,
    /// What to do about the PodDisruptionBudget, before the Deployment is written.
    pub budget: BudgetStep,
}

/// What to do about the PodDisruptionBudget of a queue. The Deployment carries its content as an
/// annotation, so both are written together.
#[derive(Debug, Clone, PartialEq)]
pub enum BudgetStep {
    /// Nothing to write: it is in its desired state, it is neither wanted nor there, or its
    /// Deployment is not written either.
    Keep,
    /// It must be as given.
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

/// A change of the annotation with the bursts that recur in the load of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remember {
    /// The Deployment as it was when this was decided.
    pub decided_on: ScalePrecondition,
    /// The new value; `None` removes the annotation.
    pub text: Option<String>,
}

/// A change of the annotations by which a pod's node is spared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The pod.
    pub pod: String,
    /// Whether it gets them, or loses them.
    pub protect: bool,
}

impl QueuePlan {
    /// Whether the plan carries out the decision. If not, the decision is made again.
    pub fn carries_out(&self) -> bool {
        let acts = self.decision.as_ref().is_some_and(|decision| decision.act);
        !acts || self.scale.is_some() || matches!(self.step, Step::Create(_))
    }

    /// Whether the Deployment exists and its creation is finished, so that its replicas can be
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

    /// Whether anything besides replicas is to be written.
    pub fn is_prepared(&self) -> bool {
        self.budget != BudgetStep::Keep || matches!(self.step, Step::Create(_) | Step::Apply { .. })
    }

    /// The hash of the Deployment to write; 0 if none is written.
    pub fn rendered(&self) -> u64 {
        match &self.step {
            Step::Create(object) | Step::Apply { object, .. } => drift::rendered(object),
            Step::Keep | Step::Refused(_) | Step::Pending | Step::Hold(_) => 0,
        }
    }

    /// Whether there is nothing to do until something changes: no replicas, none wanted, and no
    /// tasks as far as is known.
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
    /// The current replicas.
    pub from: u32,
    /// The new replicas.
    pub to: u32,
    /// The Deployment that was decided on: a change based on an outdated version is refused.
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
    /// Its uid; no other may be deleted.
    pub uid: String,
    /// The queue that it served.
    pub queue: String,
    /// The number of waiting tasks, when last known.
    pub backlog: Option<u64>,
    /// Whether it has a PodDisruptionBudget, which is deleted too.
    pub budget: bool,
}
