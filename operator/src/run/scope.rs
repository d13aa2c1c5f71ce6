//! One scope: when it can be watched, and its controller. Scopes do not wait for each other longer than they must. I/O
//! only; decides nothing about fleets.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, future, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::controller::{Config, Controller, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use taskqueue_api::well_known;
use taskqueue_temporal::OwnerKey;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::caches::{self, Caches, Gone, GuardedConnection, GuardedFleet, Scope, Sight, Watches};
use crate::controller::{Context, Shared, error_policy, reconcile};
use crate::error::{Class, Error};
use crate::kubeconfig;
use crate::observe::connection;
use crate::report::Subject;

/// How often it is asked whether what cannot be watched can be by now.
const RETRY: Duration = Duration::from_secs(2);

/// The caches of one scope; what is gone from them is forgotten.
pub(super) fn watch(client: &Client, scope: &Scope, shared: &Arc<Shared>) -> (Caches, Watches) {
    let forget = Arc::clone(shared);
    let covered = scope.clone();
    caches::watch(client, scope, &shared.metrics, move |gone| match gone {
        Gone::Deleted(fleet) => forget.forget(Subject::of(fleet).metadata),
        Gone::AllBut(store) => forget.forget_all_but(|key| {
            let reference = ObjectRef::new(&key.name).within(&key.namespace);
            let there = store.get(&reference);
            !covered.covers(&key.namespace)
                || there.is_some_and(|fleet| fleet.meta().uid.as_deref() == Some(&key.uid))
        }),
    })
}

/// Waits until the scope can be watched, and then works on it until told to stop.
pub(super) async fn run(
    client: Client,
    scope: Scope,
    context: Arc<Context>,
    watches: Watches,
    news: mpsc::UnboundedReceiver<OwnerKey>,
    concurrency: u16,
    stop: CancellationToken,
) {
    if visible(&client, &scope, &context, &stop).await {
        controller(context, watches, news, concurrency, &stop).await;
    }
}

/// Waits until the resources are installed and everything may be watched. False if told to stop first.
async fn visible(
    client: &Client,
    scope: &Scope,
    context: &Context,
    stop: &CancellationToken,
) -> bool {
    let mut said = None;
    loop {
        let sight = sight(client, scope).await;
        if let Scope::Namespace(name) = scope {
            let watched = sight == Sight::Clear;
            context.shared.metrics.set_namespace_watched(name, watched);
        }
        context.caches.see(&sight);
        let (Sight::Denied(why) | Sight::Unknown(why)) = &sight else {
            return true;
        };
        if said.as_ref() != Some(&sight) {
            warn!(reason = why, "waiting");
            said = Some(sight);
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Whether everything that the caches of a scope hold can be listed.
async fn sight(client: &Client, scope: &Scope) -> Sight {
    let all = ListParams::default().limit(1);
    let ours = all.clone().labels(well_known::WORKER_LABEL);
    let looks = [
        listed::<GuardedFleet>(client, scope, &all, "taskqueueworkers").await,
        listed::<GuardedConnection>(client, scope, &all, "temporalconnections").await,
        listed::<Deployment>(client, scope, &ours, "deployments").await,
        listed::<Pod>(client, scope, &ours, "pods").await,
    ];
    let mut unclear = looks.into_iter().filter(|look| *look != Sight::Clear);
    unclear.next().unwrap_or(Sight::Clear)
}

async fn listed<K>(client: &Client, scope: &Scope, params: &ListParams, resource: &str) -> Sight
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    match scope.api::<K>(client).list(params).await {
        Ok(_) => Sight::Clear,
        Err(error) => explain(error, resource, scope),
    }
}

fn explain(error: kube::Error, resource: &str, scope: &Scope) -> Sight {
    let place = match scope {
        Scope::Cluster => "in all namespaces".to_owned(),
        Scope::Namespace(name) => format!("in namespace {name}"),
    };
    match error {
        kube::Error::Api(status) if status.code == 404 => Sight::Denied(format!(
            "the CustomResourceDefinition {resource}.taskqueue.dev is not installed; install the chart with crds.install=true, or apply the folder crds/ with kubectl"
        )),
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => Sight::Denied(format!(
            "the operator may not list {resource} {place}: {}; install the chart's roles, or create the namespace",
            status.message
        )),
        kube::Error::Api(status) => Sight::Unknown(format!(
            "the API server answers: {} (HTTP {})",
            status.message, status.code
        )),
        error => Sight::Unknown(format!(
            "the API server cannot be reached: {}",
            kubeconfig::said(&error)
        )),
    }
}

/// The controller of one scope, ready to be run.
fn controller(
    context: Arc<Context>,
    watches: Watches,
    news: mpsc::UnboundedReceiver<OwnerKey>,
    concurrency: u16,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let Watches {
        fleets,
        connections,
        deployments,
        pods,
    } = watches;
    let news = stream::unfold(news, |mut news| async move {
        let owner = news.recv().await?;
        Some((ObjectRef::new(&owner.name).within(&owner.namespace), news))
    });
    let referring = context.caches.clone();
    let controller = Controller::for_stream(fleets, context.caches.fleets.clone())
        .with_config(Config::default().concurrency(concurrency))
        .owns_stream(deployments)
        .watches_stream(pods, |pod| caches::fleet_of_pod(&pod))
        .watches_stream(connections, move |connection| {
            let name = connection::name_of(&connection);
            name.map(|(namespace, name)| referring.fleets_with_connection(namespace, name))
                .unwrap_or_default()
        })
        .reconcile_on(news)
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    controller
        .run(reconcile, error_policy, context)
        .for_each(|result| {
            ended(result);
            future::ready(())
        })
}

/// Logs the end of a pass, once, by the class of the error.
fn ended(
    result: Result<
        (ObjectRef<GuardedFleet>, kube::runtime::controller::Action),
        ControllerError<Error, watcher::Error>,
    >,
) {
    match result {
        Ok((fleet, action)) => debug!(%fleet, ?action, "reconciled"),
        Err(ControllerError::ReconcilerFailed(error, fleet)) => {
            let (class, reason) = (error.class().as_str(), error.reason());
            match error.class() {
                Class::Conflict => debug!(%fleet, class, reason, %error, "again"),
                Class::Throttled => info!(%fleet, class, reason, %error, "again, later"),
                Class::Invalid | Class::Dependency | Class::Unavailable => {
                    warn!(%fleet, class, reason, %error, "a pass failed");
                }
                Class::Denied | Class::Bug => {
                    error!(%fleet, class, reason, %error, "a pass failed");
                }
            }
        }
        Err(ControllerError::ObjectNotFound(fleet)) => debug!(%fleet, "gone"),
        Err(other) => warn!(error = %other, "the controller"),
    }
}
