//! The part of the [`Writer`] that sets the replicas of Deployments and ranks their pods for
//! removal.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale as ScaleObject;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use taskqueue_api::FleetKey;

use super::writer::{SIDE_BY_SIDE, TRIES, Writer, stale};
use crate::applied::{QueueApplied, Scaled};
use crate::error::Error;
use crate::kube_error::Call;
use crate::owned::{DELETION_COST, REPLICAS_MANAGER, spec_replicas};
use crate::plan::{DeletionCost, QueuePlan, Scale};

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
        let version = self.scale(fleet, &plan.deployment_name, scale).await?;
        done.scaled = Some(Scaled {
            from: scale.from,
            to: scale.to,
            resource_version: Some(version),
        });
        Ok(())
    }

    async fn mark(&self, fleet: &FleetKey, cost: &DeletionCost) -> Result<(), Error> {
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

    /// Sets the replicas, if the Deployment is as it was decided on. While pods start, its status
    /// and thus its version keep changing, so for an increase only the number of replicas and the
    /// spec must be the same.
    async fn scale(&self, fleet: &FleetKey, name: &str, scale: &Scale) -> Result<String, Error> {
        let mut version = scale.decided_on.resource_version.clone();
        for _ in 0..TRIES {
            let sent = self.scale_once(fleet, name, scale, &version).await;
            if !sent.as_ref().is_err_and(Error::is_conflict) {
                return sent;
            }
            let found = if scale.grows() {
                self.look(fleet, name).await?
            } else {
                None
            };
            let Some(found) = found.filter(|found| is_as_decided_on(found, scale)) else {
                break;
            };
            version = found.metadata.resource_version.unwrap_or_default();
        }
        Err(stale(fleet, name))
    }

    async fn scale_once(
        &self,
        fleet: &FleetKey,
        name: &str,
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
        self.metrics.write("scale", "Deployment");
        let answer: Result<ScaleObject, kube::Error> = self
            .deployments(fleet)
            .patch_scale(name, &params, &Patch::Merge(&body))
            .await;
        let call = || Call::new("scale", "Deployment", &fleet.namespace, name);
        let answer = answer.map_err(|error| Error::kube(call(), error))?;
        Ok(answer.metadata.resource_version.unwrap_or_default())
    }
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
