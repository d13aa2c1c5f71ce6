//! Carries a plan out. The only writer of Deployments, replicas and pod annotations; decides nothing.
//!
//! - The template of a Deployment belongs to the field manager [`MANAGER`], its replicas to
//!   [`REPLICAS_MANAGER`]. The first never owns the replicas, because dropping an owned field would
//!   reset it to its default of 1.
//! - So a Deployment is made in three steps, each of which may be the last one before a crash: the
//!   whole object with its replicas by the second manager (no pod is started that is not wanted, and
//!   admission rules see the real template); the whole object without replicas by the first; the
//!   replicas alone by the second, which gives up all the rest. Until then an annotation says that
//!   the creation is not finished.
//! - Every write names the object that was decided on, by its uid and, where that is known, its version: whatever was
//!   decided on outdated knowledge is refused. Versions move with the status too; where nothing else has, the same is
//!   sent again at once.
//! - Replicas that are added come first, before budgets and templates. The queues of a fleet are written side by side,
//!   and a pass does not wait long for a template: what is not answered by then goes on beside it, and its end leads to
//!   another pass. Deletions come last.

mod budgets;
mod ownership;
mod replicas;
mod side;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use taskqueue_api::FleetKey;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::drift;
use crate::error::{Call, Class, Error};
use crate::fleet_state::{Writing, Written};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::observe::spec_replicas;
use crate::plan::{
    ApplyPrecondition, BudgetStep, CREATING, Plan, Prune, QueuePlan, Step, is_being_created,
};

use ownership::ours;
use side::Side;
pub(crate) use side::outcome;

/// The field manager of everything but the replicas.
pub const MANAGER: &str = "taskqueue-operator";
/// The field manager of the replicas.
pub const REPLICAS_MANAGER: &str = "taskqueue-operator/scaling";

/// The writes of a fleet that are under way at once.
const SIDE_BY_SIDE: usize = 8;
/// How often a write is sent while nothing but the status of its object has changed since it was decided on.
const TRIES: usize = 5;

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Per queue of the spec.
    pub queues: BTreeMap<String, QueueApplied>,
    /// Deployments that were deleted.
    pub pruned: Vec<Prune>,
    /// Deployments that could not be deleted.
    pub prune_errors: Vec<Error>,
    /// What is not answered yet, by queue.
    pub writing: BTreeMap<String, Writing>,
}

/// What became of one queue.
#[derive(Debug, Default)]
pub struct QueueApplied {
    /// The Deployment as it is after an apply, if there was one.
    pub written: Option<Written>,
    /// The change of the replicas that was carried out.
    pub scaled: Option<Scaled>,
    /// The Deployment was made anew.
    pub created: bool,
    /// How the write of the Deployment or its budget ended, if there was one.
    pub end: End,
    /// What went wrong: with the Deployment or its budget, or else with the replicas.
    pub error: Option<Error>,
}

/// How a write of a Deployment or its budget ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// It was carried out, or the object has become another one, or there was none.
    #[default]
    Settled,
    /// It is not answered yet.
    Pending,
    /// It could not be carried out.
    Refused,
    /// It was broken off, because this process does not lead any more: it was carried out or not.
    BrokenOff,
}

impl QueueApplied {
    /// Adds what came of another write for the same queue. What this one says counts more.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            written: self.written.or(other.written),
            scaled: self.scaled.or(other.scaled),
            created: self.created || other.created,
            end: if self.end == End::Settled {
                other.end
            } else {
                self.end
            },
            error: self.error.or(other.error),
        }
    }
}

/// A change of the replicas that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// Before.
    pub from: u32,
    /// After.
    pub to: u32,
    /// The version of the Deployment after it; `None` if it was made in this pass.
    pub resource_version: Option<String>,
}

impl Applied {
    /// Adds what has come of writes of earlier passes.
    pub fn add(&mut self, late: &mut BTreeMap<String, QueueApplied>) {
        for (queue, done) in &mut self.queues {
            if let Some(late) = late.remove(queue) {
                *done = std::mem::take(done).and(late);
            }
        }
    }

    /// Every error, for the metrics and the log.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.queues
            .values()
            .filter_map(|queue| queue.error.as_ref())
            .chain(&self.prune_errors)
    }

    /// The errors themselves.
    pub fn into_errors(self) -> Vec<Error> {
        let of_queues = self.queues.into_values().filter_map(|queue| queue.error);
        of_queues.chain(self.prune_errors).collect()
    }
}

/// Writes Deployments and what hangs on them.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    metrics: Metrics,
    /// What is under way beside the passes.
    beside: TaskTracker,
    leading: Leading,
}

impl Writer {
    /// A writer that counts what it writes, and breaks off what is under way when this process no longer leads.
    pub fn new(client: Client, metrics: Metrics, leading: Leading) -> Self {
        Self {
            client,
            metrics,
            beside: TaskTracker::new(),
            leading,
        }
    }

    /// Carries the plan out. What is not answered within `patience` goes on; `told` is called when it ends.
    pub async fn apply(
        &self,
        plan: &Plan,
        patience: Duration,
        told: impl Fn() + Clone + Send + 'static,
    ) -> Applied {
        let queues = plan.queues.iter();
        let resizing: Vec<_> = queues
            .map(|queue| self.resized(&plan.fleet, queue))
            .collect();
        let resized = stream::iter(resizing).buffered(SIDE_BY_SIDE);
        let resized: Vec<QueueApplied> = resized.collect().await;
        let mut applied = Applied::default();
        let mut begun = Vec::new();
        let permits = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        for (queue, done) in plan.queues.iter().zip(resized) {
            let moved = done.error.as_ref().is_some_and(is_another);
            if queue.is_prepared() && !moved {
                let side = Side {
                    writer: self.clone(),
                    fleet: plan.fleet.clone(),
                    plan: queue.clone(),
                    version: done
                        .scaled
                        .as_ref()
                        .and_then(|s| s.resource_version.clone()),
                };
                begun.push((queue, side.begin(Arc::clone(&permits), told.clone())));
            }
            applied.queues.insert(queue.queue.clone(), done);
        }
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        for (queue, begun) in begun {
            let Some(done) = applied.queues.remove(&queue.queue) else {
                continue;
            };
            let prepared = match begun.ended_before(deadline.as_mut()).await {
                Ok(prepared) => prepared,
                Err(task) => {
                    let rendered = queue.rendered();
                    let writing = Writing { rendered, task };
                    applied.writing.insert(queue.queue.clone(), writing);
                    QueueApplied {
                        end: End::Pending,
                        ..QueueApplied::default()
                    }
                }
            };
            applied
                .queues
                .insert(queue.queue.clone(), prepared.and(done));
        }
        self.prune_all(plan, &mut applied).await;
        applied
    }

    /// Waits until nothing is under way beside the passes.
    pub async fn ended(&self) {
        self.beside.close();
        self.beside.wait().await;
        self.beside.reopen();
    }

    async fn prune_all(&self, plan: &Plan, applied: &mut Applied) {
        for prune in &plan.prunes {
            let removed = async {
                if prune.budget {
                    self.delete_budget(&plan.fleet, &prune.deployment_name)
                        .await?;
                }
                self.prune(&plan.fleet, prune).await
            };
            match removed.await {
                Ok(()) => applied.pruned.push(prune.clone()),
                Err(error) => applied.prune_errors.push(error),
            }
        }
    }

    /// Everything but the replicas of a Deployment that is there.
    async fn prepare(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        version: Option<&str>,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        match &plan.budget {
            BudgetStep::Keep => {}
            BudgetStep::Apply(budget) => self.apply_budget(fleet, budget).await?,
            BudgetStep::Delete => self.delete_budget(fleet, &plan.deployment_name).await?,
        }
        match &plan.step {
            Step::Hold(_) | Step::Keep | Step::Refused(_) | Step::Pending => {}
            Step::Create(object) => {
                self.create(fleet, object, plan.initial_replicas, done)
                    .await?;
            }
            Step::Apply {
                object,
                uid,
                decided_on,
                finish_creation: _,
            } => {
                let mut seen = decided_on.clone();
                if let Some(version) = version {
                    version.clone_into(&mut seen.resource_version);
                }
                let mut held = self.apply_object(fleet, object, uid, Some(seen)).await?;
                if is_being_created(&held) {
                    held = self.finish(fleet, held).await?;
                }
                done.written = Some(Written::after_apply(&held, object));
            }
        }
        Ok(())
    }

    /// Makes a Deployment; see the top of this module.
    async fn create(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
        replicas: u32,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        let (made, fresh) = match self.present(fleet, object).await? {
            // The cache has not shown it yet, or a fleet that was deleted has left it behind.
            Some(ours) => (ours, false),
            None => (self.make(fleet, object, replicas).await?, true),
        };
        let uid = made.metadata.uid.clone().unwrap_or_default();
        // Of one that was just made nobody else has an opinion yet.
        let seen = (!fresh).then(|| ApplyPrecondition {
            resource_version: made.metadata.resource_version.clone().unwrap_or_default(),
            live: Some(drift::live(&made, object)),
        });
        let mut held = self.apply_object(fleet, object, &uid, seen).await?;
        if is_being_created(&held) {
            held = self.finish(fleet, held).await?;
        }
        done.written = Some(Written::after_apply(&held, object));
        done.created = fresh;
        done.scaled = (fresh && replicas > 0).then_some(Scaled {
            from: 0,
            to: replicas,
            resource_version: None,
        });
        Ok(())
    }

    /// The whole object with its replicas, owned by the manager of the replicas for now.
    async fn make(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
        replicas: u32,
    ) -> Result<Deployment, Error> {
        let name = name_of(object)?;
        let mut whole = value(object)?;
        whole["metadata"]["annotations"][CREATING] = json!("true");
        whole["spec"]["replicas"] = json!(replicas);
        // Without force: should somebody else have made one of that name just now, the selectors
        // differ, and this is refused.
        let params = PatchParams::apply(REPLICAS_MANAGER);
        let call = Call::new("create", "Deployment", &fleet.namespace, name);
        self.send(call, "create", &params, &whole).await
    }

    /// The Deployment of that name, if there is one and it is ours or can become ours. The cache
    /// holds only objects with our label, so this must be asked.
    async fn present(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
    ) -> Result<Option<Deployment>, Error> {
        let name = name_of(object)?;
        let found = self.look(fleet, name).await?;
        found.map(|found| ours(found, object, fleet)).transpose()
    }

    /// The Deployment of that name as it is now, whosever it is.
    pub async fn look(&self, fleet: &FleetKey, name: &str) -> Result<Option<Deployment>, Error> {
        let found = self.deployments(fleet).get_opt(name).await;
        let call = || Call::new("get", "Deployment", &fleet.namespace, name);
        found.map_err(|error| Error::kube(call(), error))
    }

    /// Applies the whole object over the Deployment of that uid, if it is as it was seen.
    async fn apply_object(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
        uid: &str,
        mut seen: Option<ApplyPrecondition>,
    ) -> Result<Deployment, Error> {
        let name = name_of(object)?;
        let mut body = value(object)?;
        body["metadata"]["uid"] = json!(uid);
        let params = PatchParams::apply(MANAGER).force();
        for _ in 0..TRIES {
            if let Some(seen) = &seen {
                body["metadata"]["resourceVersion"] = json!(seen.resource_version);
            }
            let call = Call::new("apply", "Deployment", &fleet.namespace, name);
            let sent = self.send(call, "apply", &params, &body).await;
            let (Err(error), Some(before)) = (&sent, &mut seen) else {
                return sent;
            };
            if !error.is_conflict() {
                return sent;
            }
            let found = self.look(fleet, name).await?.filter(|found| {
                let same = found.metadata.uid.as_deref() == Some(uid);
                same && before.live == Some(drift::live(found, object))
            });
            let Some(found) = found else { break };
            before.resource_version = found.metadata.resource_version.unwrap_or_default();
        }
        Err(stale(fleet, name))
    }

    /// The manager of the replicas gives up everything but the replicas, as they are.
    async fn finish(&self, fleet: &FleetKey, held: Deployment) -> Result<Deployment, Error> {
        let mut held = held;
        let name = name_of(&held)?.to_owned();
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        for _ in 0..TRIES {
            let mut body = json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": fleet.namespace, "uid": held.metadata.uid},
                "spec": {"replicas": spec_replicas(&held)},
            });
            if let Some(version) = &held.metadata.resource_version {
                body["metadata"]["resourceVersion"] = json!(version);
            }
            let call = Call::new("finish creating", "Deployment", &fleet.namespace, &name);
            let sent = self.send(call, "apply", &params, &body).await;
            if !sent.as_ref().is_err_and(Error::is_conflict) {
                return sent;
            }
            let found = self.look(fleet, &name).await?;
            let found = found.filter(|found| found.metadata.uid == held.metadata.uid);
            let Some(found) = found.filter(is_being_created) else {
                break;
            };
            held = found;
        }
        Err(stale(fleet, &name))
    }

    /// Applies the Deployment that a call names, whole or in part; `counted` is the write as the
    /// metrics call it.
    async fn send(
        &self,
        call: Call,
        counted: &'static str,
        params: &PatchParams,
        body: &Value,
    ) -> Result<Deployment, Error> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &call.namespace);
        self.metrics.write(counted, call.kind);
        deployments
            .patch(&call.name, params, &Patch::Apply(body))
            .await
            .map_err(|error| Error::kube(call, error))
    }

    /// Deletes a Deployment; its pods drain within their grace period.
    async fn prune(&self, fleet: &FleetKey, prune: &Prune) -> Result<(), Error> {
        let call = Call::new(
            "delete",
            "Deployment",
            &fleet.namespace,
            &prune.deployment_name,
        );
        let deployments = self.deployments(fleet);
        let params = DeleteParams::background();
        self.delete(&deployments, call, Some(prune.uid.clone()), params)
            .await
    }

    /// Deletes the object that a call names, if it still is the one of that uid. Gone already, or
    /// another one of that name: either way ours is not there.
    async fn delete<K>(
        &self,
        api: &Api<K>,
        call: Call,
        uid: Option<String>,
        params: DeleteParams,
    ) -> Result<(), Error>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid,
                resource_version: None,
            }),
            ..params
        };
        self.metrics.write(call.verb, call.kind);
        match api.delete(&call.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = Error::kube(call, error);
                if error.is_not_found() || error.is_conflict() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    fn deployments(&self, fleet: &FleetKey) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &fleet.namespace)
    }
}

impl QueuePlan {
    /// Whether the Deployment is there and not still being made, so that its replicas can be changed at once.
    fn is_whole(&self) -> bool {
        match &self.step {
            Step::Keep | Step::Refused(_) | Step::Pending => true,
            Step::Apply {
                finish_creation, ..
            } => finish_creation.is_none(),
            Step::Create(_) | Step::Hold(_) => false,
        }
    }

    /// Whether anything but replicas is to be written.
    fn is_prepared(&self) -> bool {
        self.budget != BudgetStep::Keep || matches!(self.step, Step::Create(_) | Step::Apply { .. })
    }

    /// The hash of the Deployment that is to be written.
    pub fn rendered(&self) -> u64 {
        match &self.step {
            Step::Create(object) | Step::Apply { object, .. } => drift::rendered(object),
            Step::Keep | Step::Refused(_) | Step::Pending | Step::Hold(_) => 0,
        }
    }
}

/// Whether an error says that the object is another one than was decided on, or gone.
pub fn is_another(error: &Error) -> bool {
    error.is_not_found() || error.class() == Class::Conflict
}

fn stale(fleet: &FleetKey, name: &str) -> Error {
    Error::Stale {
        namespace: fleet.namespace.clone(),
        name: name.to_owned(),
    }
}

fn name_of(object: &Deployment) -> Result<&str, Error> {
    object
        .metadata
        .name
        .as_deref()
        .ok_or_else(|| Error::Bug("a rendered Deployment has a name".to_owned()))
}

fn value(object: &Deployment) -> Result<Value, Error> {
    serde_json::to_value(object)
        .map_err(|error| Error::Bug(format!("a rendered Deployment can be serialised: {error}")))
}

#[cfg(test)]
mod tests;
