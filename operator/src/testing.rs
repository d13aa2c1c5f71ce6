//! Shared by the tests of this crate: sample fleets and observations, and API servers that answer
//! like a real one. No network.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use serde_json::{Value, json};
use taskqueue_api::{Fleet, validate};
use taskqueue_scaling::{
    Backlog, PerType, Reading, Slots, Time, TypeBacklog, TypeSlots, UnknownReason,
};
use taskqueue_temporal::{
    ConnectionFields, QueueReading, ResolvedConnection, WorkerReport, WorkerStatus,
};
pub(crate) use taskqueue_testkit::api_server::{ApiRequest, Log, api, failure, slow_api};
pub(crate) use taskqueue_testkit::resource::{guarded, resource};

use crate::observe::connection::Usable;
use crate::observe::connection::parts::Namespaces;
use crate::observe::pods::Pods;
use crate::observe::{Observed, ObservedQueue};

/// A time late enough for every window to reach back.
pub(crate) const NOW: Time = Time::from_secs(100_000);

/// An API server that accepts every write and answers much like a real one: with the object, its
/// uid, its version and its replicas filled in. Every read finds nothing.
pub(crate) fn willing_api() -> (Client, Log) {
    api(|request| {
        if request.line.starts_with("GET") {
            return (404, failure(404, "NotFound", "not found"));
        }
        (200, accepted(request))
    })
}

/// The answer to an accepted write.
pub(crate) fn accepted(request: &ApiRequest) -> Value {
    let mut body = request.body.clone();
    if request.line.contains("/events") || request.line.starts_with("DELETE") {
        return body;
    }
    body["metadata"]["resourceVersion"] = json!("100");
    body["metadata"]["uid"] = json!("deployment-uid");
    if request.line.contains("/deployments/") {
        if body["spec"].get("selector").is_none() {
            body["spec"]["selector"] = json!({});
            body["spec"]["template"] = json!({});
        }
        if body["spec"].get("replicas").is_none() {
            body["spec"]["replicas"] = json!(3);
        }
    }
    body
}

/// A fleet with the given queues.
pub(crate) fn fleet(queues: &Value) -> Fleet {
    validate(&resource(queues)).unwrap()
}

/// A fleet with the queue `a`, of 1 to 5 replicas.
pub(crate) fn simple() -> Fleet {
    fleet(&json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]))
}

/// The namespaces of a connection whose objects are all in one.
pub(crate) fn in_one(namespace: &str) -> Namespaces {
    Namespaces {
        fleet: namespace.to_owned(),
        operator: namespace.to_owned(),
    }
}

/// The resolved connection of the fleets above.
pub(crate) fn usable(fleet: &Fleet) -> Usable {
    let taskqueue_api::ConnectionSource::Inline(spec) = fleet.connection.clone() else {
        panic!("the fleets of the tests have their connection inline")
    };
    let fields = ConnectionFields {
        address: spec.address.clone(),
        temporal_namespace: spec.temporal_namespace.clone(),
        ..ConnectionFields::default()
    };
    Usable {
        spec: *spec,
        namespaces: in_one("shop"),
        resolved: ResolvedConnection::new(fields).unwrap(),
    }
}

/// A queue without Deployment or pods, before its first reading.
pub(crate) fn unseen() -> ObservedQueue {
    fn not_yet<T>() -> Reading<T> {
        Reading::Unknown {
            reason: UnknownReason::NotReadYet,
            since: NOW,
            failures: 0,
        }
    }
    ObservedQueue {
        existing: None,
        gone: false,
        pods: Pods::default(),
        reading: QueueReading {
            backlog: not_yet(),
            workers: not_yet(),
            backlog_failure: None,
            workers_failure: None,
        },
        slots: Reading::Known {
            value: Slots::default(),
            taken_at: NOW,
        },
        scraped: None,
        rival: None,
        target: None,
        scaled_by: None,
    }
}

/// A backlog reading with `count` waiting activity tasks.
pub(crate) fn backlog(count: u64, taken_at: Time) -> Reading<Backlog> {
    let activity = Some(TypeBacklog {
        count,
        pollers: Some(1),
        ..TypeBacklog::default()
    });
    let types = PerType {
        activity,
        ..PerType::default()
    };
    Reading::Known {
        value: Backlog {
            sequence: taken_at.as_millis(),
            types,
        },
        taken_at,
    }
}

/// A heartbeat of a worker on the pod `p`, sent this many seconds after [`NOW`], with these slots
/// for activities.
pub(crate) fn heartbeat(sent: u64, task_queue: &str, slots: TypeSlots) -> WorkerReport {
    let at = NOW.plus(Duration::from_secs(sent));
    WorkerReport {
        instance_key: "key".to_owned(),
        identity: "1@p@".to_owned(),
        host_name: "p".to_owned(),
        process: None,
        task_queue: task_queue.to_owned(),
        status: WorkerStatus::Running,
        sdk: "temporal-go 1.37.0".to_owned(),
        heartbeat_changed_at: Some(at),
        heartbeat_sent_after: Some(at),
        heartbeat_interval: Some(Duration::from_secs(5)),
        sent_at: Some(i128::from(sent) * 1_000_000_000),
        started_at: Some(0),
        slots: PerType {
            activity: Some(slots),
            ..PerType::default()
        },
    }
}

/// An observation whose queue `a` is as given.
pub(crate) fn observed(fleet: &Fleet, a: ObservedQueue) -> Observed {
    Observed {
        connection: Ok(usable(fleet)),
        queues: BTreeMap::from([("a".to_owned(), a)]),
        orphans: Vec::new(),
        secrets_due: None,
    }
}

/// The Deployment of the first queue as a server would return it.
pub(crate) fn existing(fleet: &Fleet, replicas: i32, version: &str) -> Deployment {
    let mut object = taskqueue_api::render(fleet, &fleet.queues[0], &usable(fleet).spec);
    object.metadata.uid = Some("deployment-uid".to_owned());
    object.metadata.resource_version = Some(version.to_owned());
    let spec = object.spec.as_mut().unwrap();
    spec.replicas = Some(replicas);
    spec.revision_history_limit = Some(10);
    object
}
