//! Which fleet owns which task queue. Two fleets on the same task queue would each see the whole
//! backlog and both scale for it, so the older one owns it and the newer one leaves it alone. In
//! memory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use parking_lot::{Mutex, MutexGuard};
use taskqueue_api::connection::host_port;
use taskqueue_api::{Connection, Fleet, FleetKey, well_known};
use taskqueue_scaling::TaskType;

/// One task queue and type in one Temporal namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct TaskQueueKey {
    address: String,
    temporal_namespace: String,
    task_queue: String,
    task_type: &'static str,
}

/// The fleets on one task queue, the owner first: the oldest, and of equally old ones the first by
/// name.
type Owners = BTreeSet<(Timestamp, FleetKey)>;

#[derive(Debug, Default)]
struct Index {
    owners: BTreeMap<TaskQueueKey, Owners>,
    fleets: BTreeMap<FleetKey, (Timestamp, BTreeSet<TaskQueueKey>)>,
}

/// The task queues of all fleets.
#[derive(Debug, Default)]
pub struct TaskQueueOwners(Mutex<Index>);

impl TaskQueueOwners {
    /// Registers the current task queues of a fleet. For each of its queues whose task queue an
    /// older fleet owns, returns that fleet.
    pub fn register(
        &self,
        fleet: &Fleet,
        created: Timestamp,
        connection: &Connection,
    ) -> BTreeMap<String, FleetKey> {
        let mut index = self.index();
        let wanted: BTreeSet<TaskQueueKey> = fleet
            .queues
            .iter()
            .flat_map(|queue| {
                queue
                    .task_types
                    .iter()
                    .map(|kind| key_of(connection, &queue.task_queue, *kind))
            })
            .collect();
        index.replace(&fleet.key, created, wanted);
        let older = |queue: &taskqueue_api::Queue| {
            queue.task_types.iter().find_map(|kind| {
                let key = key_of(connection, &queue.task_queue, *kind);
                let oldest = index.owners.get(&key)?.first()?;
                (oldest.1 != fleet.key).then(|| oldest.1.clone())
            })
        };
        fleet
            .queues
            .iter()
            .filter_map(|queue| Some((queue.name.clone(), older(queue)?)))
            .collect()
    }

    /// Registers the task queues of a fleet whose spec cannot be used, unless it has registered
    /// some before: the task queues that its Deployments were created for. Deployments do not
    /// record task types, so all types are registered.
    pub fn register_as_made<'a>(
        &self,
        fleet: &FleetKey,
        created: Timestamp,
        made: impl Iterator<Item = &'a Deployment>,
    ) {
        let mut index = self.index();
        if index.fleets.contains_key(fleet) {
            return;
        }
        let wanted: BTreeSet<TaskQueueKey> = made.flat_map(as_made).collect();
        if !wanted.is_empty() {
            index.replace(fleet, created, wanted);
        }
    }

    /// Drops a deleted fleet.
    pub fn forget(&self, fleet: &FleetKey) {
        let mut index = self.index();
        index.remove(fleet);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.lock()
    }
}

impl Index {
    fn replace(&mut self, fleet: &FleetKey, created: Timestamp, wanted: BTreeSet<TaskQueueKey>) {
        let unchanged = self
            .fleets
            .get(fleet)
            .is_some_and(|(at, keys)| *at == created && *keys == wanted);
        if unchanged {
            return;
        }
        self.remove(fleet);
        for key in &wanted {
            self.owners
                .entry(key.clone())
                .or_default()
                .insert((created, fleet.clone()));
        }
        self.fleets.insert(fleet.clone(), (created, wanted));
    }

    fn remove(&mut self, fleet: &FleetKey) {
        let Some((created, keys)) = self.fleets.remove(fleet) else {
            return;
        };
        for key in keys {
            if let Some(owners) = self.owners.get_mut(&key) {
                owners.remove(&(created, fleet.clone()));
                if owners.is_empty() {
                    self.owners.remove(&key);
                }
            }
        }
    }
}

/// The task queues that a Deployment was created for, from its annotation and the environment
/// variables of its pods.
fn as_made(deployment: &Deployment) -> Vec<TaskQueueKey> {
    let annotations = deployment.metadata.annotations.as_ref();
    let task_queue = annotations.and_then(|all| all.get(well_known::TASK_QUEUE_ANNOTATION));
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let variables = || {
        let containers = pod.into_iter().flat_map(|pod| &pod.containers);
        containers.flat_map(|container| container.env.iter().flatten())
    };
    // In an environment variable, a dollar sign is escaped by doubling it.
    let variable = |name: &str| {
        let value = variables()
            .find(|variable| variable.name == name)?
            .value
            .as_ref();
        value.map(|value| value.replace("$$", "$"))
    };
    let server = variable(well_known::ADDRESS).zip(variable(well_known::TEMPORAL_NAMESPACE));
    let Some(((address, temporal_namespace), task_queue)) = server.zip(task_queue) else {
        return Vec::new();
    };
    let of_type = |task_type: TaskType| TaskQueueKey {
        address: normalized(&address),
        temporal_namespace: temporal_namespace.clone(),
        task_queue: task_queue.clone(),
        task_type: task_type.as_str(),
    };
    TaskType::ALL.into_iter().map(of_type).collect()
}

fn key_of(connection: &Connection, task_queue: &str, task_type: TaskType) -> TaskQueueKey {
    TaskQueueKey {
        address: normalized(&connection.address),
        temporal_namespace: connection.temporal_namespace.clone(),
        task_queue: task_queue.to_owned(),
        task_type: task_type.as_str(),
    }
}

/// An address in the form in which addresses of one server are the same. Host names are
/// case-insensitive, and a dot at their end is left out as a rule.
fn normalized(address: &str) -> String {
    host_port(address).replace(".:", ":").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{fleet, usable};

    fn named(uid: &str, queue: &str, types: &[&str]) -> Fleet {
        let mut fleet = fleet(&json!([
            {"name": queue, "taskQueue": "shared", "taskTypes": types, "replicas": {"max": 1}}
        ]));
        fleet.key.uid = uid.to_owned();
        fleet
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_older_fleet_owns_the_task_queue_and_the_newer_one_waits() {
        let owners = TaskQueueOwners::default();
        let old = named("old", "a", &["Activity"]);
        let new = named("new", "b", &["Workflow", "Activity"]);
        let other = named("other", "c", &["Nexus"]);
        let connection = usable(&old).spec;
        let register = |fleet: &Fleet, second| owners.register(fleet, at(second), &connection);
        // The order of registration does not matter.
        assert_eq!(register(&new, 20), BTreeMap::new());
        assert_eq!(register(&old, 10), BTreeMap::new());
        assert_eq!(
            register(&new, 20),
            BTreeMap::from([("b".to_owned(), old.key.clone())])
        );
        assert_eq!(
            register(&other, 30),
            BTreeMap::new(),
            "another task type is another task queue"
        );
        owners.forget(&old.key);
        assert_eq!(register(&new, 20), BTreeMap::new());
    }

    #[test]
    fn a_fleet_with_an_invalid_spec_owns_the_task_queues_of_its_workers() {
        let owners = TaskQueueOwners::default();
        let (old, new) = (
            named("old", "a", &["Activity"]),
            named("new", "b", &["Nexus"]),
        );
        let connection = usable(&old).spec;
        let made = taskqueue_api::render(&old, &old.queues[0], &connection);
        owners.register_as_made(&old.key, at(1), std::iter::once(&made));
        let rival = BTreeMap::from([("b".to_owned(), old.key.clone())]);
        assert_eq!(owners.register(&new, at(2), &connection), rival);
        // What it registers itself takes precedence.
        assert_eq!(owners.register(&old, at(1), &connection), BTreeMap::new());
        owners.register_as_made(&old.key, at(1), std::iter::once(&made));
        assert_eq!(owners.register(&new, at(2), &connection), BTreeMap::new());
    }

    #[test]
    fn the_same_name_elsewhere_is_another_queue() {
        let owners = TaskQueueOwners::default();
        let (old, new) = (
            named("old", "a", &["Activity"]),
            named("new", "b", &["Activity"]),
        );
        let here = usable(&old).spec;
        let there = Connection {
            temporal_namespace: "other".to_owned(),
            ..here.clone()
        };
        let at_address = |address: String| Connection {
            address,
            ..here.clone()
        };
        let (host, port) = here.address.split_once(':').unwrap();
        let same = [
            here.address.to_uppercase(),
            format!("dns:///{}", here.address),
            format!("{host}.:{port}"),
        ];
        assert_eq!(owners.register(&old, at(1), &here), BTreeMap::new());
        assert_eq!(owners.register(&new, at(2), &there), BTreeMap::new());
        for address in same {
            assert_eq!(
                owners.register(&new, at(2), &at_address(address.clone())),
                BTreeMap::from([("b".to_owned(), old.key.clone())]),
                "{address} is the same server"
            );
        }
    }
}
