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
//! - Every write names the uid it means, and a write that shrinks the version it was decided on.
//! - Queues do not wait for each other's failures, and a fleet that has to grow does not wait for its
//!   template or its budget to be accepted. Deletions come last.

mod budgets;
mod ownership;

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale as ScaleObject;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use taskqueue_api::FleetKey;

use crate::error::{Call, Class, Error};
use crate::memory::Written;
use crate::metrics::Metrics;
use crate::observe::asked;
use crate::observe::pods::DELETION_COST;
use crate::plan::{
    BudgetStep, CREATING, Cost, Plan, Prune, QueuePlan, Scale, Step, is_being_created,
};

use ownership::ours;

/// The field manager of everything but the replicas.
pub const MANAGER: &str = "taskqueue-operator";
/// The field manager of the replicas.
pub const REPLICAS_MANAGER: &str = "taskqueue-operator/scaling";

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Per queue of the spec.
    pub queues: BTreeMap<String, QueueApplied>,
    /// Deployments that were deleted.
    pub pruned: Vec<Prune>,
    /// Deployments that could not be deleted.
    pub prune_errors: Vec<Error>,
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
    /// What went wrong first; what came after it was not tried, but for replicas that go up.
    pub error: Option<Error>,
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
}

impl Writer {
    /// A writer that counts what it writes.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// Carries the plan out.
    pub async fn apply(&self, plan: &Plan) -> Applied {
        let mut applied = Applied::default();
        for queue in &plan.queues {
            let mut done = QueueApplied::default();
            if let Err(error) = self.apply_queue(&plan.fleet, queue, &mut done).await {
                done.error = Some(error);
            }
            applied.queues.insert(queue.queue.clone(), done);
        }
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
        applied
    }

    async fn apply_queue(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        let prepared = self.prepare(fleet, plan, done).await;
        let scaled = match &prepared {
            Err(error) if !grows_anyway(plan, error) => Ok(()),
            Ok(()) | Err(_) => self.resize(fleet, plan, done).await,
        };
        prepared.and(scaled)
    }

    /// Everything but the replicas of a Deployment that is there.
    async fn prepare(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        match &plan.budget {
            BudgetStep::Keep => {}
            BudgetStep::Apply(budget) => self.apply_budget(fleet, budget).await?,
            BudgetStep::Delete => self.delete_budget(fleet, &plan.deployment_name).await?,
        }
        match &plan.step {
            Step::Hold(_) | Step::Keep | Step::Refused(_) => {}
            Step::Create(object) => {
                self.create(fleet, object, plan.initial_replicas, done)
                    .await?;
            }
            Step::Apply {
                object,
                uid,
                finish_creation,
            } => {
                let mut held = self.apply_object(fleet, object, uid).await?;
                if let Some(replicas) = finish_creation {
                    held = self.finish(fleet, object, uid, *replicas).await?;
                }
                done.written = Some(Written::after_apply(&held, object));
            }
        }
        Ok(())
    }

    /// The replicas, after the ranks of the pods.
    async fn resize(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        if let Some(scale) = &plan.scale {
            for cost in &plan.costs {
                self.mark(fleet, cost).await?;
            }
            let version = self.scale(fleet, &plan.deployment_name, scale).await?;
            done.scaled = Some(Scaled {
                from: scale.from,
                to: scale.to,
                resource_version: Some(version),
            });
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
        let mut held = self.apply_object(fleet, object, &uid).await?;
        if is_being_created(&held) {
            held = self.finish(fleet, object, &uid, asked(&held)).await?;
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
        let call = || Call::new("get", "Deployment", &fleet.namespace, name);
        let found = self
            .deployments(fleet)
            .get_opt(name)
            .await
            .map_err(|error| Error::kube(call(), error))?;
        found.map(|found| ours(found, object, fleet)).transpose()
    }

    async fn apply_object(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
        uid: &str,
    ) -> Result<Deployment, Error> {
        let name = name_of(object)?;
        let mut body = value(object)?;
        body["metadata"]["uid"] = json!(uid);
        let params = PatchParams::apply(MANAGER).force();
        let call = Call::new("apply", "Deployment", &fleet.namespace, name);
        self.send(call, "apply", &params, &body).await
    }

    /// The manager of the replicas gives up everything but the replicas.
    async fn finish(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
        uid: &str,
        replicas: u32,
    ) -> Result<Deployment, Error> {
        let name = name_of(object)?;
        let body = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": fleet.namespace, "uid": uid},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        let call = Call::new("finish creating", "Deployment", &fleet.namespace, name);
        self.send(call, "apply", &params, &body).await
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

    async fn mark(&self, fleet: &FleetKey, cost: &Cost) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &fleet.namespace);
        let body = json!({"metadata": {"annotations": {DELETION_COST: cost.cost.to_string()}}});
        let params = PatchParams {
            field_manager: Some(REPLICAS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.metrics.write("annotate", "Pod");
        match pods
            .patch_metadata(&cost.pod, &params, &Patch::Merge(&body))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = Error::kube(
                    Call::new("annotate", "Pod", &fleet.namespace, &cost.pod),
                    error,
                );
                // A pod that is gone needs no rank.
                if error.is_not_found() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    async fn scale(&self, fleet: &FleetKey, name: &str, scale: &Scale) -> Result<String, Error> {
        let mut body = json!({"spec": {"replicas": scale.to}});
        if let Some(version) = &scale.resource_version {
            body["metadata"] = json!({"resourceVersion": version});
        }
        let params = PatchParams {
            field_manager: Some(REPLICAS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.metrics.write("scale", "Deployment");
        let answer: Result<ScaleObject, kube::Error> = self
            .deployments(fleet)
            .patch_scale(name, &params, &Patch::Merge(&body))
            .await;
        match answer {
            Ok(answer) => Ok(answer.metadata.resource_version.unwrap_or_default()),
            Err(error) => {
                let error = Error::kube(
                    Call::new("scale", "Deployment", &fleet.namespace, name),
                    error,
                );
                Err(if error.is_conflict() {
                    Error::Moved {
                        namespace: fleet.namespace.clone(),
                        name: name.to_owned(),
                    }
                } else {
                    error
                })
            }
        }
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

/// Whether the replicas may go up although what comes before them could not be written: tasks wait,
/// and what an admission rule or a quota objects to need not concern them. Not where the answer was that
/// the Deployment is another one now, and not while it is still being made.
fn grows_anyway(plan: &QueuePlan, error: &Error) -> bool {
    let grows = plan
        .scale
        .as_ref()
        .is_some_and(|scale| scale.to > scale.from);
    let whole = match &plan.step {
        Step::Keep | Step::Refused(_) => true,
        Step::Apply {
            finish_creation, ..
        } => finish_creation.is_none(),
        Step::Create(_) | Step::Hold(_) => false,
    };
    let another = error.is_not_found() || error.class() == Class::Conflict;
    grows && whole && !another
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
