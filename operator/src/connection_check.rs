//! Whether Temporal has answered over the connection of a fleet. Until then, running pods do not
//! get that connection. Pure.
//!
//! Otherwise a typo in an address would replace every worker by one that cannot work: without a
//! readiness probe a new pod counts as available as soon as it has started.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{KeyToPath, PodTemplateSpec};
use kube::core::ObjectMeta;
use taskqueue_api::{Connection, Reason, well_known};
use taskqueue_scaling::Time;

use crate::not_ready::NotReady;
use crate::observe::{Observed, ObservedQueue};
use crate::owned::{is_being_created, spec_replicas};

/// The annotation of a `TaskQueueWorker` that skips the check of its connection.
pub const SKIP_CHECK: &str = "taskqueue.dev/skip-connection-check";

/// Whether Temporal has answered over the connection in the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCheck {
    connection: Connection,
    /// Since when Temporal has been read over it.
    since: Time,
    /// Whether Temporal has answered over it since.
    answered: bool,
    /// Whether the user wants it written without an answer.
    skipped: bool,
}

impl ConnectionCheck {
    /// The check of a connection over which Temporal is read from now on.
    fn new(connection: &Connection, now: Time) -> Self {
        Self {
            connection: connection.clone(),
            since: now,
            answered: false,
            skipped: false,
        }
    }

    /// Updates the check with the readings; `now` is a moment after the readers were given the
    /// connection. A reading counts only if it was taken after they first were: an earlier one may
    /// have come with another credential. Without a usable connection the check does not change.
    pub fn after(known: Option<Self>, observed: &Observed, skip: bool, now: Time) -> Option<Self> {
        let Ok(usable) = &observed.connection else {
            return known;
        };
        let mut check = known
            .filter(|check| check.connection == usable.spec)
            .unwrap_or_else(|| Self::new(&usable.spec, now));
        let mut taken = observed
            .queues
            .values()
            .map(|seen| seen.reading.backlog.taken_at());
        check.answered |= taken.any(|taken| taken.is_some_and(|taken| taken > check.since));
        check.skipped = skip;
        Some(check)
    }

    /// Why `object` must not replace the existing Deployment: running pods would get a connection
    /// over which Temporal has not answered. `None` if it may.
    pub fn forbids(&self, object: &Deployment, seen: &ObservedQueue) -> Option<NotReady> {
        if self.answered || self.skipped {
            return None;
        }
        let existing = seen.existing.as_deref()?;
        let runs = spec_replicas(existing) > 0 || !seen.pods.live.is_empty();
        if !runs || is_being_created(existing) || connection_of(existing) == connection_of(object) {
            return None;
        }
        let Connection {
            address,
            temporal_namespace,
            ..
        } = &self.connection;
        Some(NotReady::new(
            Reason::ConnectionUntried,
            format!(
                "Temporal has not answered over the new connection ({address}, Temporal namespace \
                 {temporal_namespace}), so the workers keep their current one; correct the new \
                 connection, or set the annotation {SKIP_CHECK}=true on the TaskQueueWorker to \
                 apply it without this check"
            ),
        ))
    }
}

/// Whether the user wants the connection written without a check.
pub fn is_skipped(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(SKIP_CHECK))
        .is_some_and(|value| value == "true")
}

/// The connection of a Deployment's worker: its variables and volumes by name, without what the API
/// server fills in.
fn connection_of(deployment: &Deployment) -> BTreeMap<String, String> {
    let Some(spec) = &deployment.spec else {
        return BTreeMap::new();
    };
    variables(&spec.template)
        .chain(volumes(&spec.template))
        .collect()
}

fn variables(template: &PodTemplateSpec) -> impl Iterator<Item = (String, String)> {
    // These two are about the queue and draining, not the connection.
    let others = [
        well_known::TASK_QUEUE,
        well_known::DRAIN_GRACE_PERIOD_SECONDS,
    ];
    let containers = template.spec.iter().flat_map(|pod| &pod.containers);
    let worker = containers.filter(|container| container.name == well_known::WORKER_CONTAINER);
    let variables = worker.flat_map(|worker| worker.env.iter().flatten());
    let ours = variables.filter(move |variable| {
        let name = variable.name.as_str();
        let of_connection = well_known::RESERVED_VARIABLES.contains(&name)
            || well_known::PROXY_VARIABLES.contains(&name);
        of_connection && !others.contains(&name)
    });
    ours.map(|variable| {
        let from = variable.value_from.as_ref();
        let secret = from.and_then(|from| from.secret_key_ref.as_ref());
        let secret = secret.map(|secret| format!("{}/{}", secret.name, secret.key));
        let value = secret.or_else(|| variable.value.clone());
        (variable.name.clone(), value.unwrap_or_default())
    })
}

fn volumes(template: &PodTemplateSpec) -> impl Iterator<Item = (String, String)> {
    let volumes = template
        .spec
        .iter()
        .flat_map(|pod| pod.volumes.iter().flatten());
    let ours = volumes.filter(|v| well_known::RESERVED_VOLUMES.contains(&v.name.as_str()));
    ours.map(|volume| {
        let projected = volume
            .projected
            .iter()
            .flat_map(|p| p.sources.iter().flatten());
        let projected = projected.filter_map(|source| {
            let secret = source.secret.as_ref();
            let secret = secret.map(|secret| (secret.name.clone(), secret.items.as_ref()));
            let map = source.config_map.as_ref();
            let map = map.map(|map| (format!("ConfigMap {}", map.name), map.items.as_ref()));
            secret.or(map)
        });
        let whole = volume.secret.iter();
        let whole = whole.map(|s| (s.secret_name.clone().unwrap_or_default(), s.items.as_ref()));
        let files: Vec<String> = projected
            .chain(whole)
            .map(|(secret, items)| format!("{secret}: {}", files(items)))
            .collect();
        (volume.name.clone(), files.join("; "))
    })
}

fn files(items: Option<&Vec<KeyToPath>>) -> String {
    let items = items.into_iter().flatten();
    let items = items.map(|item| format!("{} as {}", item.key, item.path));
    items.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
