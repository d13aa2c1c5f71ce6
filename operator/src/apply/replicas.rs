//! The part of the [`Writer`] that sets the replicas of workloads, ranks their pods for removal and
//! protects those with long tasks.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale as ScaleObject;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};
use taskqueue_api::{FleetKey, well_known};
use taskqueue_kubernetes::kube_error::Call;

use super::writer::{SIDE_BY_SIDE, TRIES, Writer, stale};
use crate::applied::{QueueApplied, Scaled};
use crate::error::Error;
use crate::owned::{DELETION_COST, REPLICAS_MANAGER, spec_replicas};
use crate::plan::{DeletionCost, Protection, QueuePlan, Scale};

impl Writer {
    /// Changes the replicas of a Deployment that exists and is completely created.
    pub(super) async fn resized(&self, fleet: &FleetKey, plan: &QueuePlan) -> QueueApplied {
        let mut done = QueueApplied::default();
        // Never remove replicas together with another write, which would change the version that
        // the decision was made on.
        let now = |scale: &&Scale| plan.is_whole() && (scale.grows() || !plan.is_prepared());
        if let Some(scale) = plan.scale.as_ref().filter(now)
            && let Err(error) = self.resize(fleet, plan, scale, &mut done).await
        {
            done.error = Some(error);
        }
        done
    }

    /// Ranks the pods, then sets the replicas.
    async fn resize(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        scale: &Scale,
        done: &mut QueueApplied,
    ) -> Result<(), Error> {
        let marks: Vec<_> = plan
            .costs
            .iter()
            .map(|cost| self.mark(fleet, cost))
            .collect();
        let marked = stream::iter(marks).buffered(SIDE_BY_SIDE);
        marked.try_collect::<()>().await?;
        let version = self.scale(fleet, plan, scale).await?;
        done.scaled = Some(Scaled {
            from: scale.from,
            to: scale.to,
            resource_version: Some(version),
        });
        Ok(())
    }

    async fn mark(&self, fleet: &FleetKey, cost: &DeletionCost) -> Result<(), Error> {
        let annotations = json!({DELETION_COST: cost.cost.to_string()});
        self.annotate(fleet, &cost.pod, &annotations).await
    }

    /// Sets or removes the annotations by which the node of a pod is spared.
    pub(super) async fn protect(
        &self,
        fleet: &FleetKey,
        protection: &Protection,
    ) -> Result<(), Error> {
        let value = |value: &str| {
            if protection.protect {
                Value::from(value)
            } else {
                Value::Null
            }
        };
        let spare = well_known::SPARE_ANNOTATIONS;
        let mut annotations: Map<String, Value> = spare
            .into_iter()
            .map(|(key, spares)| (key.to_owned(), value(spares)))
            .collect();
        let ours = well_known::PROTECTED_ANNOTATION.to_owned();
        annotations.insert(ours, value("true"));
        self.annotate(fleet, &protection.pod, &annotations.into())
            .await
    }

    async fn annotate(
        &self,
        fleet: &FleetKey,
        pod: &str,
        annotations: &Value,
    ) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &fleet.namespace);
        let body = json!({"metadata": {"annotations": annotations}});
        let params = PatchParams {
            field_manager: Some(REPLICAS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.metrics.write("annotate", "Pod");
        let answer = pods
            .patch_metadata(pod, &params, &Patch::Merge(&body))
            .await;
        let call = || Call::new("annotate", "Pod", &fleet.namespace, pod);
        match answer.map_err(|error| Error::kube(call(), error)) {
            Ok(_) => Ok(()),
            // A pod that is gone needs no annotation.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets the replicas, if the workload is as it was decided on. While pods start, its status and
    /// thus its version keep changing, so for an increase only the number of replicas and the spec
    /// must be the same.
    async fn scale(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        scale: &Scale,
    ) -> Result<String, Error> {
        let mut version = scale.decided_on.resource_version.clone();
        for _ in 0..TRIES {
            let sent = self.scale_once(fleet, plan, scale, &version).await;
            if !sent.as_ref().is_err_and(Error::is_conflict) {
                return sent;
            }
            let unchanged = if scale.grows() {
                self.version_as_decided_on(fleet, plan, scale).await?
            } else {
                None
            };
            let Some(unchanged) = unchanged else {
                break;
            };
            version = unchanged;
        }
        Err(stale(fleet, &plan.workload_name))
    }

    async fn scale_once(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        scale: &Scale,
        version: &str,
    ) -> Result<String, Error> {
        let body = json!({
            "metadata": {"uid": scale.decided_on.uid, "resourceVersion": version},
            "spec": {"replicas": scale.to},
        });
        let params = PatchParams {
            field_manager: Some(REPLICAS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&body);
        let name = &plan.workload_name;
        let kind = kind(plan);
        self.metrics.write("scale", &kind);
        let answer = match &plan.target {
            Some(resource) => {
                let workloads = self.workloads(fleet, resource);
                workloads.patch_scale(name, &params, &patch).await
            }
            None => {
                self.deployments(fleet)
                    .patch_scale(name, &params, &patch)
                    .await
            }
        };
        let call = || Call::new("scale", kind.clone(), &fleet.namespace, name);
        let answer: ScaleObject = answer.map_err(|error| Error::kube(call(), error))?;
        Ok(answer.metadata.resource_version.unwrap_or_default())
    }

    /// The version of the workload if everything in it that matters for its replicas is as it was
    /// when they were decided on.
    async fn version_as_decided_on(
        &self,
        fleet: &FleetKey,
        plan: &QueuePlan,
        scale: &Scale,
    ) -> Result<Option<String>, Error> {
        let name = &plan.workload_name;
        let Some(resource) = &plan.target else {
            let found = self.look(fleet, name).await?;
            let found = found.filter(|found| is_as_decided_on(found, scale));
            return Ok(found.and_then(|found| found.metadata.resource_version));
        };
        let found = self.workloads(fleet, resource).get_scale(name).await;
        let call = || Call::new("read the scale of", kind(plan), &fleet.namespace, name);
        let found = found.map_err(|error| Error::kube(call(), error))?;
        let replicas = found.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        let same = found.metadata.uid.as_deref() == Some(scale.decided_on.uid.as_str())
            && u32::try_from(replicas) == Ok(scale.from);
        Ok(found.metadata.resource_version.filter(|_| same))
    }

    fn workloads(&self, fleet: &FleetKey, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &fleet.namespace, resource)
    }
}

/// The kind of the workload.
fn kind(plan: &QueuePlan) -> String {
    let target = plan.target.as_ref();
    target.map_or_else(|| "Deployment".to_owned(), |resource| resource.kind.clone())
}

/// Whether everything in a Deployment that matters for its replicas is as it was when they were
/// decided on.
fn is_as_decided_on(found: &Deployment, scale: &Scale) -> bool {
    let decided_on = &scale.decided_on;
    found.metadata.uid.as_deref() == Some(decided_on.uid.as_str())
        && found.metadata.deletion_timestamp.is_none()
        && spec_replicas(found) == scale.from
        && decided_on
            .generation
            .is_none_or(|generation| found.metadata.generation == Some(generation))
}
