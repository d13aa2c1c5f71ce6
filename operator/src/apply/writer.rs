//! Single calls to the API server on behalf of a plan. Counts every write.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde::de::DeserializeOwned;
use serde_json::Value;
use taskqueue_api::FleetKey;
use taskqueue_kubernetes::kube_error::Call;
use tokio_util::task::TaskTracker;

use crate::error::{Class, Error};
use crate::leading::Leading;
use crate::metrics::Metrics;

/// Concurrency limit, for each of: the queues that are scaled, the pods of a queue that are ranked,
/// and the background writes of a pass.
pub(super) const SIDE_BY_SIDE: usize = 8;
/// Attempts per write, as long as only the status of its object has changed since the decision.
pub(super) const TRIES: usize = 5;

/// Writes Deployments, their PodDisruptionBudgets and the annotations of their pods.
#[derive(Clone)]
pub struct Writer {
    pub(super) client: Client,
    pub(super) metrics: Metrics,
    /// Writes that passes do not wait for.
    pub(super) background: TaskTracker,
    pub(super) leading: Leading,
}

impl Writer {
    /// A writer that counts its writes, and cancels its background writes once this process no
    /// longer leads.
    pub fn new(client: Client, metrics: Metrics, leading: Leading) -> Self {
        Self {
            client,
            metrics,
            background: TaskTracker::new(),
            leading,
        }
    }

    /// The Deployment of that name in the API server, whoever owns it.
    pub async fn look(&self, fleet: &FleetKey, name: &str) -> Result<Option<Deployment>, Error> {
        let found = self.deployments(fleet).get_opt(name).await;
        let call = || Call::new("get", "Deployment", &fleet.namespace, name);
        found.map_err(|error| Error::kube(call(), error))
    }

    /// Applies the Deployment that `call` names, whole or in part. `counted` is the name of the
    /// write in the metrics.
    pub(super) async fn send(
        &self,
        call: Call,
        counted: &'static str,
        params: &PatchParams,
        body: &Value,
    ) -> Result<Deployment, Error> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &call.namespace);
        self.metrics.write(counted, &call.kind);
        deployments
            .patch(&call.name, params, &Patch::Apply(body))
            .await
            .map_err(|error| Error::kube(call, error))
    }

    /// Deletes the object that `call` names, if it still has that uid. Succeeds if it is gone or
    /// its name belongs to another object: either way ours no longer exists.
    pub(super) async fn delete<K>(
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
        self.metrics.write(call.verb, &call.kind);
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

    pub(super) fn deployments(&self, fleet: &FleetKey) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &fleet.namespace)
    }
}

/// Whether an error means that the object has changed since the decision, or is gone.
pub(super) fn is_another(error: &Error) -> bool {
    error.is_not_found() || error.class() == Class::Conflict
}

/// The object has changed since the decision was made.
pub(super) fn stale(fleet: &FleetKey, name: &str) -> Error {
    Error::Stale {
        namespace: fleet.namespace.clone(),
        name: name.to_owned(),
    }
}
