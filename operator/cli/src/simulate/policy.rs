//! The policy of `simulate`: a whole resource, or the relevant part of one. Pure.

use anyhow::{Context as _, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskqueue_api::scaling::ScalingSpec;
use taskqueue_api::worker::{DrainSpec, QueueSpec, ReplicasSpec};
use taskqueue_api::{
    ConnectionKind, ConnectionReference, Invalid, Queue, TaskQueueWorker, TaskQueueWorkerSpec,
    validate,
};

/// The name of the only queue of a policy file that is not a whole resource.
const ONLY: &str = "queue";
/// The most replicas that the schema of the resource allows.
const MAX_REPLICAS: u32 = 1000;

/// The content of a policy file that is not a whole resource.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bare {
    replicas: ReplicasSpec,
    #[serde(default)]
    scaling: ScalingSpec,
    #[serde(default)]
    drain: DrainSpec,
}

/// Whose policy is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// That of the only queue.
    Only,
    /// That of this queue.
    Named(&'a str),
    /// That of this queue, which was recorded. A file with only a policy names none.
    Recorded(&'a str),
}

impl<'a> Choice<'a> {
    /// What `--queue` says.
    pub(super) const fn new(name: Option<&'a str>, recorded: bool) -> Self {
        match (name, recorded) {
            (None, _) => Self::Only,
            (Some(name), false) => Self::Named(name),
            (Some(name), true) => Self::Recorded(name),
        }
    }

    const fn name(self) -> Option<&'a str> {
        match self {
            Self::Only => None,
            Self::Named(name) | Self::Recorded(name) => Some(name),
        }
    }
}

/// The queue with the policy to simulate, validated as the operator does it.
pub(super) fn read_policy(text: &str, choice: Choice<'_>) -> anyhow::Result<Queue> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| anyhow!("is not YAML: {error}; --help shows what a policy looks like"))?;
    let documents: Vec<Value> = documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect();
    let alone = documents.len() == 1;
    let workers: Vec<&Value> = documents
        .iter()
        .filter(|document| document["kind"] == "TaskQueueWorker")
        .collect();
    match (workers.as_slice(), documents.as_slice()) {
        ([worker], _) => {
            let parsed = typed::<TaskQueueWorker>(worker, alone.then_some(text))?;
            refuse_unknown(
                "spec",
                &worker["spec"],
                &serde_json::to_value(&parsed.spec)?,
            )?;
            choose(parsed, choice.name(), false)
        }
        ([], [document]) if document.get("kind").is_none() => {
            let bare = typed::<Bare>(document, Some(text)).context(
                "a policy is a TaskQueueWorker, or `replicas: {min: …, max: …}` with optional \
                 `scaling:` and `drain:`",
            )?;
            refuse_unknown("", document, &serde_json::to_value(&bare)?)?;
            ensure!(
                !matches!(choice, Choice::Named(_)),
                "contains one policy and no queues: omit --queue"
            );
            choose(whole(bare), None, true)
        }
        ([], []) => bail!("is empty; --help shows what a policy looks like"),
        ([], _) => bail!(
            "contains no TaskQueueWorker; name a file that contains one, or only `replicas:` and \
             `scaling:`"
        ),
        (several, _) => bail!(
            "contains {} TaskQueueWorkers; name a file with one",
            several.len()
        ),
    }
}

/// Parses the text again where there is one, because then the error names the line.
fn typed<T: serde::de::DeserializeOwned>(value: &Value, text: Option<&str>) -> anyhow::Result<T> {
    match text {
        Some(text) => serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}")),
        None => T::deserialize(value).map_err(|error| anyhow!("the TaskQueueWorker: {error}")),
    }
}

/// Refuses unknown fields, as the API server would: a policy with a typo would be another policy.
fn refuse_unknown(path: &str, read: &Value, known: &Value) -> anyhow::Result<()> {
    match (read, known) {
        (Value::Object(read), Value::Object(known)) => {
            for (field, value) in read {
                let path = format!("{path}.{field}");
                let path = path.trim_start_matches('.');
                match known.get(field) {
                    Some(known) => refuse_unknown(path, value, known)?,
                    None if is_empty(value) => {}
                    None => {
                        bail!("{path}: unknown field; see kubectl explain taskqueueworker.spec")
                    }
                }
            }
            Ok(())
        }
        (Value::Array(read), Value::Array(known)) => read
            .iter()
            .zip(known)
            .enumerate()
            .try_for_each(|(index, (read, known))| {
                refuse_unknown(&format!("{path}[{index}]"), read, known)
            }),
        _ => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Wraps a bare policy in a whole resource, so that the same rules check both.
fn whole(bare: Bare) -> TaskQueueWorker {
    let worker = Container {
        name: "worker".to_owned(),
        image: Some("worker".to_owned()),
        ..Container::default()
    };
    let queue = QueueSpec {
        name: ONLY.to_owned(),
        task_queue: None,
        replicas: bare.replicas,
        task_types: None,
        scale_target_ref: None,
        template: None,
        deployment: None,
        resources: None,
        env: Vec::new(),
        node_selector: std::collections::BTreeMap::new(),
        tolerations: Vec::new(),
        priority_class_name: None,
        scaling: None,
    };
    let spec = TaskQueueWorkerSpec {
        connection: None,
        connection_ref: Some(ConnectionReference {
            kind: ConnectionKind::default(),
            name: "none".to_owned(),
        }),
        template: Some(PodTemplateSpec {
            metadata: None,
            spec: Some(PodSpec {
                containers: vec![worker],
                ..PodSpec::default()
            }),
        }),
        queues: vec![queue],
        scaling: bare.scaling,
        deployment: None,
        disruption_budget: None,
        drain: bare.drain,
    };
    TaskQueueWorker::new("simulated", spec)
}

/// The queue of this name, or the only one. Errors of a `bare` policy name the paths in its file.
fn choose(mut worker: TaskQueueWorker, name: Option<&str>, bare: bool) -> anyhow::Result<Queue> {
    // The API server fills these in; a file need not have them.
    worker.metadata.uid.get_or_insert_with(|| "none".to_owned());
    worker
        .metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    let place = format!("spec.queues[{ONLY}].");
    let fleet = validate(&worker).map_err(|invalid| {
        let lines = invalid.iter().map(|Invalid { path, message }| {
            let inside = path
                .strip_prefix(&place)
                .or_else(|| path.strip_prefix("spec."));
            let path = inside.filter(|_| bare).unwrap_or(path);
            format!("{path}: {message}")
        });
        anyhow!("{}", lines.collect::<Vec<_>>().join("\n"))
    })?;
    let names: Vec<&str> = fleet
        .queues
        .iter()
        .map(|queue| queue.name.as_str())
        .collect();
    let names = names.join(", ");
    let found = match (name, fleet.queues.len()) {
        (None, 1) => fleet.queues.into_iter().next(),
        (None, _) => bail!("contains several queues: choose one of {names} with --queue"),
        (Some(name), _) => fleet.queues.into_iter().find(|queue| queue.name == name),
    };
    let queue = found.ok_or_else(|| {
        anyhow!(
            "has no queue {:?}: choose one of {names} with --queue",
            name.unwrap_or_default()
        )
    })?;
    let max = queue.policy.max;
    ensure!(
        (1..=MAX_REPLICAS).contains(&max),
        "replicas.max: is {max}; a simulation needs 1 to {MAX_REPLICAS}"
    );
    Ok(queue)
}
