//! The part of the [`Writer`] that creates, applies and deletes Deployments.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use taskqueue_api::FleetKey;
use taskqueue_api::well_known::{MANAGER, RECURRING_LOAD_ANNOTATION};
use taskqueue_kubernetes::kube_error::Call;

use super::ownership::ours;
use super::writer::{TRIES, Writer, stale};
use crate::applied::{QueueApplied, Scaled, Written};
use crate::drift;
use crate::error::Error;
use crate::owned::{CREATING, REPLICAS_MANAGER, is_being_created, spec_replicas};
use crate::plan::{ApplyPrecondition, BudgetStep, Prune, QueuePlan, Remember, Step};

impl Writer {
    /// Writes the budget and the Deployment of a queue. An existing Deployment keeps its replicas.
    pub(super) async fn prepare(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        version: Option<&str>,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        match &plan.budget {
            BudgetStep::Keep => {}
            BudgetStep::Apply(budget) => self.apply_budget(fleet, budget).await?,
            BudgetStep::Delete => self.delete_budget(fleet, &plan.workload_name).await?,
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
                let mut existing = self.apply_object(fleet, object, uid, Some(seen)).await?;
                if is_being_created(&existing) {
                    existing = self.finish(fleet, existing).await?;
                }
                done.written = Some(Written::after_apply(&existing, object));
            }
        }
        Ok(())
    }

    /// Creates a Deployment in the three steps that [`apply`](super) explains.
    async fn create(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
        replicas: u32,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        let (made, fresh) = match self.present(fleet, object).await? {
            // The cache has not shown it yet, or a deleted fleet has left it behind.
            Some(ours) => (ours, false),
            None => (self.make(fleet, object, replicas).await?, true),
        };
        let uid = made.metadata.uid.clone().unwrap_or_default();
        // A Deployment that was created just now needs no precondition: nobody else can have
        // changed it.
        let seen = (!fresh).then(|| ApplyPrecondition {
            resource_version: made.metadata.resource_version.clone().unwrap_or_default(),
            live: Some(drift::live(&made, object)),
        });
        let mut existing = self.apply_object(fleet, object, &uid, seen).await?;
        if is_being_created(&existing) {
            existing = self.finish(fleet, existing).await?;
        }
        done.written = Some(Written::after_apply(&existing, object));
        done.created = fresh;
        done.scaled = (fresh && replicas > 0).then_some(Scaled {
            from: 0,
            to: replicas,
            resource_version: None,
        });
        Ok(())
    }

    /// Creates the whole object with its replicas. The manager of the replicas owns all of it for
    /// now.
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
        // Without force: if somebody else has just created a Deployment of that name, its selector
        // differs and the server refuses ours.
        let params = PatchParams::apply(REPLICAS_MANAGER);
        let call = Call::new("create", "Deployment", &fleet.namespace, name);
        self.send(call, "create", &params, &whole).await
    }

    /// The Deployment of that name, if it exists and is ours or can become ours. Asks the API
    /// server, because the cache holds only objects with our label.
    async fn present(
        &self,
        fleet: &FleetKey,
        object: &Deployment,
    ) -> Result<Option<Deployment>, Error> {
        let name = name_of(object)?;
        let found = self.look(fleet, name).await?;
        found.map(|found| ours(found, object, fleet)).transpose()
    }

    /// Applies the whole object to the Deployment of that uid, if it is still as it was seen.
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

    /// Makes the manager of the replicas give up everything but the replicas, which keep their
    /// number.
    async fn finish(&self, fleet: &FleetKey, existing: Deployment) -> Result<Deployment, Error> {
        let mut existing = existing;
        let name = name_of(&existing)?.to_owned();
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        for _ in 0..TRIES {
            let mut body = json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": name, "namespace": fleet.namespace, "uid": existing.metadata.uid,
                },
                "spec": {"replicas": spec_replicas(&existing)},
            });
            if let Some(version) = &existing.metadata.resource_version {
                body["metadata"]["resourceVersion"] = json!(version);
            }
            let call = Call::new("finish creating", "Deployment", &fleet.namespace, &name);
            let sent = self.send(call, "apply", &params, &body).await;
            if !sent.as_ref().is_err_and(Error::is_conflict) {
                return sent;
            }
            let found = self.look(fleet, &name).await?;
            let found = found.filter(|found| found.metadata.uid == existing.metadata.uid);
            let Some(found) = found.filter(is_being_created) else {
                break;
            };
            existing = found;
        }
        Err(stale(fleet, &name))
    }

    /// Sets or removes the annotation with the recurring load, if the Deployment is as it was
    /// decided on. The manager of the template does not own it, so that an apply keeps it. Returns
    /// the version of the Deployment.
    pub(super) async fn remember(
        &self,
        fleet: &FleetKey,
        name: &str,
        remember: &Remember,
    ) -> Result<String, Error> {
        let decided_on = &remember.decided_on;
        let body = json!({"metadata": {
            "uid": decided_on.uid,
            "resourceVersion": decided_on.resource_version,
            "annotations": {RECURRING_LOAD_ANNOTATION: remember.text},
        }});
        let params = PatchParams {
            field_manager: Some(REPLICAS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.metrics.write("annotate", "Deployment");
        let deployments = self.deployments(fleet);
        let answer = deployments
            .patch_metadata(name, &params, &Patch::Merge(&body))
            .await;
        let call = || Call::new("annotate", "Deployment", &fleet.namespace, name);
        let answer = answer.map_err(|error| Error::kube(call(), error))?;
        Ok(answer.metadata.resource_version.unwrap_or_default())
    }

    /// Deletes a Deployment; its pods drain within their grace period.
    pub(super) async fn prune(&self, fleet: &FleetKey, prune: &Prune) -> Result<(), Error> {
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
}

fn name_of(object: &Deployment) -> Result<&str, Error> {
    object
        .metadata
        .name
        .as_deref()
        .ok_or_else(|| Error::Bug("a rendered Deployment has no name".to_owned()))
}

fn value(object: &Deployment) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|error| {
        Error::Bug(format!(
            "a rendered Deployment cannot be serialised: {error}"
        ))
    })
}
