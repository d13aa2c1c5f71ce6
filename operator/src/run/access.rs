//! Checks whether a scope can be watched: the CRDs are installed and the operator has the
//! permissions. Reads only.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use taskqueue_api::{GuardedConnection, GuardedFleet, well_known};
use taskqueue_kubernetes::kube_error;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::caches::{Scope, WatchAccess};
use crate::controller::Context;

/// How often to check again whether a scope can be watched.
const RETRY: Duration = Duration::from_secs(2);

/// Waits until the CRDs are installed and everything may be watched. Returns false if stopped
/// first.
pub(super) async fn granted(
    client: &Client,
    scope: &Scope,
    context: &Context,
    stop: &CancellationToken,
) -> bool {
    let mut logged = None;
    loop {
        let access = check_access(client, scope).await;
        if let Scope::Namespace(name) = scope {
            let watched = access == WatchAccess::Granted;
            context.shared.metrics.set_namespace_watched(name, watched);
        }
        context.caches.set_access(&access);
        let (WatchAccess::Denied(why) | WatchAccess::Unknown(why)) = &access else {
            return true;
        };
        if logged.as_ref() != Some(&access) {
            warn!(reason = why, "cannot watch yet; waiting");
            logged = Some(access);
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Whether everything that the caches of a scope hold can be listed.
async fn check_access(client: &Client, scope: &Scope) -> WatchAccess {
    let all = ListParams::default().limit(1);
    let ours = all.clone().labels(well_known::WORKER_LABEL);
    let answers = [
        listed::<GuardedFleet>(client, scope, &all, "taskqueueworkers").await,
        listed::<GuardedConnection>(client, scope, &all, "temporalconnections").await,
        listed::<Deployment>(client, scope, &ours, "deployments").await,
        listed::<Pod>(client, scope, &ours, "pods").await,
    ];
    let mut others = answers
        .into_iter()
        .filter(|access| *access != WatchAccess::Granted);
    others.next().unwrap_or(WatchAccess::Granted)
}

async fn listed<K>(
    client: &Client,
    scope: &Scope,
    params: &ListParams,
    resource: &str,
) -> WatchAccess
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    match scope.api::<K>(client).list(params).await {
        Ok(_) => WatchAccess::Granted,
        Err(error) => explain(error, resource, scope),
    }
}

fn explain(error: kube::Error, resource: &str, scope: &Scope) -> WatchAccess {
    let place = match scope {
        Scope::Cluster => "in all namespaces".to_owned(),
        Scope::Namespace(name) => format!("in namespace {name}"),
    };
    match error {
        kube::Error::Api(status) if status.code == 404 => WatchAccess::Denied(format!(
            "the CustomResourceDefinition {resource}.taskqueue.dev is not installed; install the \
             chart with crds.install=true, or apply the folder crds/ with kubectl"
        )),
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            WatchAccess::Denied(format!(
                "the operator may not list {resource} {place}: {}; install the chart's roles, or \
                 create the namespace",
                status.message
            ))
        }
        error @ kube::Error::Api(_) => WatchAccess::Unknown(format!(
            "the API server answered with an error: {}",
            kube_error::describe(&error)
        )),
        error => WatchAccess::Unknown(format!(
            "the API server cannot be reached: {}",
            kube_error::describe(&error)
        )),
    }
}
