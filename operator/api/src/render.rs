//! Renders the objects of a fleet. Pure and infallible: validation has refused everything invalid.
//!
//! An upgrade of the operator never changes a rendered pod template, or it would roll every fleet;
//! the golden tests ensure that. `replicas` is left out: the scale subresource owns it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMapProjection, Container, EnvVar, EnvVarSource, KeyToPath, PodTemplateSpec,
            ProjectedVolumeSource, SecretKeySelector, SecretProjection, SecretVolumeSource, Volume,
            VolumeMount, VolumeProjection,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use kube::Resource;

use crate::fleet::{
    ClientCertificate, Connection, DisruptionBudget, Fleet, FleetKey, ObjectKind, PASSWORD_KEY,
    Queue, Strategy, TLS_CERTIFICATE_KEY, TLS_PRIVATE_KEY_KEY, USERNAME_KEY, is_zero,
};
use crate::well_known;
use crate::worker::TaskQueueWorker;

/// The CA certificates in the volume of the certificates.
const CA_FILE: &str = "ca.crt";
/// The API key in its volume.
const API_KEY_FILE: &str = "api-key";

/// The type of a strategy that ends all old pods before new ones start.
const RECREATE: &str = "Recreate";

/// The Deployment of one queue, for server-side apply, without `replicas`.
pub fn render(fleet: &Fleet, queue: &Queue, connection: &Connection) -> Deployment {
    let selector = selector(fleet, queue);
    let settings = &queue.deployment;
    Deployment {
        metadata: ObjectMeta {
            name: Some(queue.workload_name.clone()),
            namespace: Some(fleet.key.namespace.clone()),
            labels: Some(labels(fleet, queue, settings.labels.clone())),
            annotations: Some(annotations(fleet, queue)),
            owner_references: Some(vec![owner_reference(&fleet.key)]),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            selector: LabelSelector {
                match_labels: Some(selector),
                match_expressions: None,
            },
            strategy: Some(strategy(&settings.strategy)),
            min_ready_seconds: settings.min_ready_seconds,
            progress_deadline_seconds: settings.progress_deadline_seconds,
            revision_history_limit: settings.revision_history_limit,
            template: pod_template(fleet, queue, connection),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn annotations(fleet: &Fleet, queue: &Queue) -> BTreeMap<String, String> {
    let mut annotations = queue.deployment.annotations.clone();
    annotations.insert(
        well_known::TASK_QUEUE_ANNOTATION.to_owned(),
        queue.task_queue.clone(),
    );
    let display = |kind: &str, value: &IntOrString| match value {
        IntOrString::Int(count) => format!("{kind}={count}"),
        IntOrString::String(percent) => format!("{kind}={percent}"),
    };
    let budget = match &fleet.disruption_budget {
        None => return annotations,
        Some(DisruptionBudget::MaxUnavailable(value)) => display("maxUnavailable", value),
        Some(DisruptionBudget::MinAvailable(value)) => display("minAvailable", value),
    };
    annotations.insert(well_known::BUDGET_ANNOTATION.to_owned(), budget);
    annotations
}

/// The PodDisruptionBudget of one queue, for server-side apply, if the fleet wants one. It has the
/// same name as the queue's Deployment.
pub fn disruption_budget(fleet: &Fleet, queue: &Queue) -> Option<PodDisruptionBudget> {
    let (max_unavailable, min_available) = match fleet.disruption_budget.clone()? {
        DisruptionBudget::MaxUnavailable(value) => (Some(value), None),
        DisruptionBudget::MinAvailable(value) => (None, Some(value)),
    };
    Some(PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(queue.workload_name.clone()),
            namespace: Some(fleet.key.namespace.clone()),
            labels: Some(labels(fleet, queue, BTreeMap::new())),
            owner_references: Some(vec![owner_reference(&fleet.key)]),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable,
            min_available,
            selector: Some(LabelSelector {
                match_labels: Some(selector(fleet, queue)),
                match_expressions: None,
            }),
            // A worker that is not ready must not block the drain of its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        }),
        status: None,
    })
}

/// The owner reference that ties an object to its fleet: it is deleted with the fleet.
pub fn owner_reference(key: &FleetKey) -> OwnerReference {
    OwnerReference {
        api_version: TaskQueueWorker::api_version(&()).into_owned(),
        kind: TaskQueueWorker::kind(&()).into_owned(),
        name: key.name.clone(),
        uid: key.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The labels by which a Deployment finds its pods. They never change: the field is immutable.
pub fn selector(fleet: &Fleet, queue: &Queue) -> BTreeMap<String, String> {
    BTreeMap::from([
        (well_known::WORKER_LABEL.to_owned(), fleet.key.name.clone()),
        (well_known::QUEUE_LABEL.to_owned(), queue.name.clone()),
    ])
}

/// The user's labels, then the recommended ones that the user has not set, then our own.
fn labels(
    fleet: &Fleet,
    queue: &Queue,
    users: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (
            "app.kubernetes.io/name".to_owned(),
            "temporal-worker".to_owned(),
        ),
        (
            "app.kubernetes.io/instance".to_owned(),
            fleet.key.name.clone(),
        ),
        ("app.kubernetes.io/component".to_owned(), queue.name.clone()),
        (
            "app.kubernetes.io/managed-by".to_owned(),
            well_known::MANAGER.to_owned(),
        ),
    ]);
    labels.extend(users);
    labels.extend(selector(fleet, queue));
    labels
}

fn strategy(strategy: &Strategy) -> DeploymentStrategy {
    match strategy {
        Strategy::RollingUpdate {
            max_surge,
            max_unavailable,
        } => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(max_surge.clone()),
                max_unavailable: Some(max_unavailable.clone()),
            }),
        },
        Strategy::Recreate => DeploymentStrategy {
            type_: Some(RECREATE.to_owned()),
            rolling_update: None,
        },
    }
}

/// Whether a strategy of an existing Deployment starts new pods before old ones end.
pub fn surges(strategy: &DeploymentStrategy) -> bool {
    let update = strategy.rolling_update.as_ref();
    let surge = update.and_then(|update| update.max_surge.as_ref());
    strategy.type_.as_deref() != Some(RECREATE) && !surge.is_some_and(is_zero)
}

fn pod_template(fleet: &Fleet, queue: &Queue, connection: &Connection) -> PodTemplateSpec {
    let pods = &queue.pods;
    let files = files(connection);
    let mut pod = pods.pod.clone();
    let position = pods.position.min(pod.containers.len());
    pod.containers
        .insert(position, worker(fleet, queue, connection, &files));
    append(
        &mut pod.volumes,
        files.into_iter().map(|(_, volume)| volume),
    );
    let seconds = i64::from(fleet.drain_grace_seconds);
    pod.termination_grace_period_seconds =
        Some(seconds.saturating_add(well_known::TERMINATION_MARGIN_SECONDS.into()));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(fleet, queue, pods.labels.clone())),
            annotations: Some(pods.annotations.clone())
                .filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    }
}

fn worker(
    fleet: &Fleet,
    queue: &Queue,
    connection: &Connection,
    files: &[(&str, Volume)],
) -> Container {
    let mut worker = queue.pods.worker.clone();
    let users = worker.env.take().unwrap_or_default();
    let mut env = injected_env(fleet, queue, connection);
    env.retain(|ours| users.iter().all(|variable| variable.name != ours.name));
    env.extend(users);
    worker.env = Some(env);
    append(
        &mut worker.volume_mounts,
        files.iter().map(|(folder, volume)| VolumeMount {
            name: volume.name.clone(),
            mount_path: folder_path(folder),
            read_only: Some(true),
            ..VolumeMount::default()
        }),
    );
    worker
}

/// Adds to an optional list, and leaves it `None` if there is nothing to add.
fn append<T>(list: &mut Option<Vec<T>>, items: impl Iterator<Item = T>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        list.get_or_insert_with(Vec::new).extend(items);
    }
}

const TLS_FOLDER: &str = "tls";
const API_KEY_FOLDER: &str = "api-key";

fn folder_path(folder: &str) -> String {
    format!("{}/{folder}", well_known::SECRETS_FOLDER)
}

fn tls_file(name: &str) -> String {
    format!("{}/{name}", folder_path(TLS_FOLDER))
}

/// The worker's environment variables. They come first in its list, so that the user's own
/// variables can refer to them. Those that are not reserved give way to the user's.
fn injected_env(fleet: &Fleet, queue: &Queue, connection: &Connection) -> Vec<EnvVar> {
    let mut env = vec![
        variable(well_known::ADDRESS, &connection.address),
        variable(
            well_known::TEMPORAL_NAMESPACE,
            &connection.temporal_namespace,
        ),
        variable(well_known::TASK_QUEUE, &queue.task_queue),
        variable(
            well_known::DRAIN_GRACE_PERIOD_SECONDS,
            &fleet.drain_grace_seconds.to_string(),
        ),
    ];
    if let Some(tls) = &connection.tls {
        env.push(variable(well_known::TLS, "true"));
        if let Some(name) = &tls.server_name {
            env.push(variable(well_known::TLS_SERVER_NAME, name));
        }
        if tls.ca.is_some() {
            env.push(variable(
                well_known::TLS_SERVER_CA_CERT_PATH,
                &tls_file(CA_FILE),
            ));
        }
        if let Some(client) = &tls.client_certificate {
            let (certificate, private_key) = match client {
                ClientCertificate::Secret(_) => {
                    (tls_file(TLS_CERTIFICATE_KEY), tls_file(TLS_PRIVATE_KEY_KEY))
                }
                ClientCertificate::Files {
                    certificate,
                    private_key,
                } => (certificate.clone(), private_key.clone()),
            };
            env.push(variable(well_known::TLS_CLIENT_CERT_PATH, &certificate));
            env.push(variable(well_known::TLS_CLIENT_KEY_PATH, &private_key));
        }
    }
    if let Some(api_key) = &connection.api_key {
        env.push(variable(
            well_known::API_KEY_FILE,
            &format!("{}/{API_KEY_FILE}", folder_path(API_KEY_FOLDER)),
        ));
        env.push(secret_variable(
            well_known::API_KEY,
            &api_key.secret,
            &api_key.key,
        ));
    }
    if let Some(proxy) = &connection.proxy {
        env.push(variable(well_known::PROXY_ADDRESS, &proxy.address));
        if let Some(secret) = &proxy.credentials {
            env.push(secret_variable(
                well_known::PROXY_USERNAME,
                secret,
                USERNAME_KEY,
            ));
            env.push(secret_variable(
                well_known::PROXY_PASSWORD,
                secret,
                PASSWORD_KEY,
            ));
        }
    }
    env
}

/// A variable with the value of a key of a Secret.
fn secret_variable(name: &str, secret: &str, key: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// A variable with exactly this value. Kubernetes expands `$(NAME)` in values, and `$$` stands for
/// a plain dollar sign.
fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.replace('$', "$$")),
        value_from: None,
    }
}

/// The volumes with credentials, each with the folder where it is mounted.
fn files(connection: &Connection) -> Vec<(&'static str, Volume)> {
    let mut files = Vec::new();
    let mut certificates = Vec::new();
    if let Some(tls) = &connection.tls {
        if let Some(ca) = &tls.ca {
            certificates.push(projection(ca.kind, &ca.name, &[(&ca.key, CA_FILE)]));
        }
        if let Some(ClientCertificate::Secret(secret)) = &tls.client_certificate {
            let keys = [TLS_CERTIFICATE_KEY, TLS_PRIVATE_KEY_KEY];
            let files = keys.map(|key| (key, key));
            certificates.push(projection(ObjectKind::Secret, secret, &files));
        }
    }
    if !certificates.is_empty() {
        files.push((
            TLS_FOLDER,
            Volume {
                name: well_known::TLS_VOLUME.to_owned(),
                projected: Some(ProjectedVolumeSource {
                    default_mode: None,
                    sources: Some(certificates),
                }),
                ..Volume::default()
            },
        ));
    }
    if let Some(api_key) = &connection.api_key {
        files.push((
            API_KEY_FOLDER,
            Volume {
                name: well_known::API_KEY_VOLUME.to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(api_key.secret.clone()),
                    items: Some(vec![path(&api_key.key, API_KEY_FILE)]),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ));
    }
    files
}

fn projection(kind: ObjectKind, name: &str, keys: &[(&str, &str)]) -> VolumeProjection {
    let name = name.to_owned();
    let items = Some(keys.iter().map(|(key, file)| path(key, file)).collect());
    let optional = None;
    match kind {
        ObjectKind::Secret => VolumeProjection {
            secret: Some(SecretProjection {
                name,
                items,
                optional,
            }),
            ..VolumeProjection::default()
        },
        ObjectKind::ConfigMap => VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name,
                items,
                optional,
            }),
            ..VolumeProjection::default()
        },
    }
}

fn path(key: &str, file: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: file.to_owned(),
        mode: None,
    }
}

#[cfg(test)]
mod tests;
