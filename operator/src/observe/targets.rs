//! Workloads that somebody else deploys, read by name through their scale subresource, and their
//! pods, listed by the selector that it reports. Reads only.
//!
//! Nothing is watched, so any kind with a scale subresource will do, with no right but to that.
//! Each workload is read once per `FRESH` and again after each write to it, and the passes in
//! between share the result. Anything that cannot be read is returned as a not-ready reason.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use parking_lot::Mutex;
use taskqueue_api::{Fleet, Reason, ScaleTarget, well_known};
use taskqueue_kubernetes::kube_error::{self, Call};
use taskqueue_scaling::Time;

use crate::caches::prune_pod;
use crate::error::Error;
use crate::not_ready::NotReady;
use crate::observe::shared_reads::SharedReads;

/// How long a workload is used before it is read again.
const FRESH: Duration = Duration::from_secs(2);
/// How long a workload is used that cannot be read again because the API server does not answer. A
/// write of what was decided on it is refused if it has changed.
const OUTDATED: Duration = Duration::from_mins(1);
/// How many workloads of a fleet are read at the same time.
const SIDE_BY_SIDE: usize = 8;
/// The part of a pod's termination grace period that is left to the end of its processes: the
/// operator adds as much to the grace period of its own pods.
const MARGIN: Duration = Duration::from_secs(well_known::TERMINATION_MARGIN_SECONDS as u64);

/// A workload that somebody else deploys.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its resource in the API.
    pub resource: ApiResource,
    /// Its uid.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// The replicas that it asks for.
    pub replicas: u32,
    /// The replicas that its status counts.
    pub current: u32,
    /// Whether it removes its pods from the highest ordinal down, as a StatefulSet does.
    pub by_ordinal: bool,
    /// Its pods, pruned as in the caches.
    pub pods: Vec<Arc<Pod>>,
}

impl Target {
    /// What the answers of the API server say about a workload.
    fn new(resource: ApiResource, scale: Scale, pods: Vec<Pod>) -> Self {
        let count = |number: i32| u32::try_from(number).unwrap_or(0);
        // The API server leaves out a zero.
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        let status = scale.status.map_or(0, |status| status.replicas);
        let pods: Vec<Arc<Pod>> = pods
            .into_iter()
            .map(|mut pod| {
                prune_pod(&mut pod);
                Arc::new(pod)
            })
            .collect();
        Self {
            by_ordinal: resource.kind == STATEFUL_SET || pods.iter().any(|pod| is_ordinal(pod)),
            resource,
            uid: scale.metadata.uid.unwrap_or_default(),
            resource_version: scale.metadata.resource_version.unwrap_or_default(),
            replicas: count(replicas),
            current: count(status),
            pods,
        }
    }

    /// How long a pod has to finish its tasks: the shortest termination grace period of the pods,
    /// less a margin, at least a second. `None` without pods.
    pub fn grace(&self) -> Option<Duration> {
        let graces = self.pods.iter().filter_map(|pod| {
            let seconds = pod.spec.as_ref()?.termination_grace_period_seconds?;
            Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
        });
        let least = Duration::from_secs(1);
        graces
            .min()
            .map(|grace| grace.saturating_sub(MARGIN).max(least))
    }

    /// The name of the container that runs the worker: `worker`, or else the first.
    pub fn worker_container(&self) -> &str {
        let statuses = self.pods.iter().filter_map(|pod| {
            let status = pod.status.as_ref()?;
            status.container_statuses.as_ref()
        });
        let mut names = statuses.flatten().map(|container| container.name.as_str());
        let first = names.next();
        let worker = names
            .chain(first)
            .find(|name| *name == well_known::WORKER_CONTAINER);
        worker.or(first).unwrap_or(well_known::WORKER_CONTAINER)
    }
}

const STATEFUL_SET: &str = "StatefulSet";

/// Whether a StatefulSet, of Kubernetes or of another API, controls the pod.
fn is_ordinal(pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.kind == STATEFUL_SET)
}

/// What was read of a target.
pub type ReadTarget = Result<Arc<Target>, NotReady>;

/// A workload as last read.
struct Kept {
    read: ReadTarget,
    /// When it was read, or could not be read again.
    at: Time,
    /// When it was read.
    taken_at: Time,
}

/// Reads workloads by name and keeps them for a moment.
pub struct Targets {
    client: Client,
    /// The resources of the kinds read so far.
    resources: Mutex<HashMap<GroupVersionKind, ApiResource>>,
    /// By namespace and workload.
    kept: SharedReads<(String, ScaleTarget), Kept>,
}

impl Targets {
    /// Creates an empty cache.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            resources: Mutex::default(),
            kept: SharedReads::default(),
        }
    }

    /// Reads the targets of a fleet, by queue.
    pub async fn read(&self, fleet: &Fleet, now: Time) -> BTreeMap<String, ReadTarget> {
        let reads: Vec<_> = fleet
            .queues
            .iter()
            .filter_map(|queue| {
                let target = queue.target.as_ref()?;
                let read = self.read_one(&fleet.key.namespace, target, now);
                Some(read.map(|read| (queue.name.clone(), read)))
            })
            .collect();
        stream::iter(reads).buffered(SIDE_BY_SIDE).collect().await
    }

    /// Forgets a workload that was written.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.kept
            .forget(|(within, target)| within == namespace && target.name == name);
    }

    /// Forgets the workloads that no fleet has read lately.
    pub fn prune_unused(&self, now: Time) {
        const UNUSED: Duration = Duration::from_mins(10);
        self.kept.prune(|kept| now.since(kept.at) < UNUSED);
    }

    async fn read_one(&self, namespace: &str, target: &ScaleTarget, now: Time) -> ReadTarget {
        let mut slot = self.kept.lock((namespace.to_owned(), target.clone())).await;
        if let Some(kept) = slot.as_ref()
            && now.since(kept.at) < FRESH
        {
            return kept.read.clone();
        }
        let read = self.fetch(namespace, target).await.map(Arc::new);
        let passes = read.as_ref().is_err_and(|why| {
            matches!(why.reason, Reason::ApiServerUnavailable | Reason::Throttled)
        });
        let before = slot.take().filter(|before| {
            passes && before.read.is_ok() && now.since(before.taken_at) < OUTDATED
        });
        let kept = slot.insert(match before {
            Some(before) => Kept { at: now, ..before },
            None => Kept {
                read,
                at: now,
                taken_at: now,
            },
        });
        kept.read.clone()
    }

    async fn fetch(&self, namespace: &str, target: &ScaleTarget) -> Result<Target, NotReady> {
        let resource = self.resource(target).await?;
        let workloads: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let scale = workloads.get_scale(&target.name).await;
        let scale = scale.map_err(|error| unreadable(namespace, target, error))?;
        let selector = scale
            .status
            .as_ref()
            .and_then(|status| status.selector.clone());
        let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
            return Err(NotReady::new(
                Reason::TargetNotFound,
                format!(
                    "the scale subresource of {target} reports no selector, so its pods cannot be \
                     found; a CustomResourceDefinition names it in \
                     subresources.scale.labelSelectorPath"
                ),
            ));
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = pods.list(&ListParams::default().labels(&selector)).await;
        let pods = pods.map_err(|error| {
            let call = Call::new("list", "the pods of", namespace, &target.name);
            NotReady::from(&Error::kube(call, error))
        })?;
        Ok(Target::new(resource, scale, pods.items))
    }

    /// The resource of a kind. It never changes its name, so it is looked up once.
    async fn resource(&self, target: &ScaleTarget) -> Result<ApiResource, NotReady> {
        let kind = GroupVersionKind::gvk(&target.group, &target.version, &target.kind);
        if let Some(known) = self.resources.lock().get(&kind) {
            return Ok(known.clone());
        }
        let found = kube::discovery::pinned_kind(&self.client, &kind).await;
        let (resource, _) = found.map_err(|error| match error {
            kube::Error::Api(status) if status.code != 404 => {
                let call = Call::new("look up", "the kind", &target.group, &target.kind);
                NotReady::from(&Error::kube(call, kube::Error::Api(status)))
            }
            kube::Error::Api(_) | kube::Error::Discovery(_) => NotReady::new(
                Reason::TargetNotFound,
                format!(
                    "this cluster has no kind {} in the API {}; correct scaleTargetRef, or \
                     install its CustomResourceDefinition",
                    target.kind,
                    api_version(target)
                ),
            ),
            error => {
                let call = Call::new("look up", "the kind", &target.group, &target.kind);
                NotReady::from(&Error::kube(call, error))
            }
        })?;
        self.resources.lock().insert(kind, resource.clone());
        Ok(resource)
    }
}

fn api_version(target: &ScaleTarget) -> String {
    if target.group.is_empty() {
        return target.version.clone();
    }
    format!("{}/{}", target.group, target.version)
}

/// Why a workload cannot be read, and what to do.
fn unreadable(namespace: &str, target: &ScaleTarget, error: kube::Error) -> NotReady {
    match &error {
        kube::Error::Api(status) if status.code == 404 => NotReady::new(
            Reason::TargetNotFound,
            format!(
                "there is no {target} with a scale subresource in namespace {namespace}; create \
                 it, or correct scaleTargetRef"
            ),
        ),
        kube::Error::Api(status) if status.code == 403 => NotReady::new(
            Reason::Forbidden,
            format!(
                "{}; add the resource to the chart's value scaleTargets",
                kube_error::describe(&error)
            ),
        ),
        _ => {
            let call = Call::new(
                "read the scale of",
                target.kind.clone(),
                namespace,
                &target.name,
            );
            NotReady::from(&Error::kube(call, error))
        }
    }
}

#[cfg(test)]
mod tests;
