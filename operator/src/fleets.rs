//! The fleets that this process works on: their state and their failed passes. In memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::core::ObjectMeta;
use parking_lot::Mutex;
use taskqueue_api::FleetKey;
use taskqueue_scaling::Time;
use taskqueue_temporal::OwnerKey;
use tokio::sync::Mutex as AsyncMutex;

use crate::error::Class;
use crate::fleet_state::FleetState;

/// All fleets, by uid.
#[derive(Default)]
pub struct Fleets(Mutex<HashMap<String, Entry>>);

/// One fleet.
struct Entry {
    key: FleetKey,
    state: Arc<AsyncMutex<FleetState>>,
    failures: Failures,
}

/// The recent failures of a fleet.
#[derive(Default)]
struct Failures {
    /// Failed passes since the last successful one, by the class of the error.
    count: BTreeMap<Class, u32>,
    /// When the next pass is due, whatever the outcome of the last one.
    requeue_at: Option<Time>,
}

impl Fleets {
    /// The state of a fleet; empty at first.
    pub fn state(&self, metadata: &ObjectMeta) -> Arc<AsyncMutex<FleetState>> {
        let key = key_of(metadata);
        let uid = key.uid.clone();
        let fresh = || Entry {
            key,
            state: Arc::default(),
            failures: Failures::default(),
        };
        Arc::clone(&self.0.lock().entry(uid).or_insert_with(fresh).state)
    }

    /// The fleets that do not exist according to `exists`.
    pub fn gone(&self, exists: impl Fn(&FleetKey) -> bool) -> Vec<FleetKey> {
        let fleets = self.0.lock();
        let gone = fleets.values().filter(|fleet| !exists(&fleet.key));
        gone.map(|fleet| fleet.key.clone()).collect()
    }

    /// Drops a fleet. Runs `last` unless another fleet has its name, as one that was created again
    /// does. No fleet is added while `last` runs.
    pub fn remove(&self, key: &FleetKey, last: impl FnOnce()) {
        let mut fleets = self.0.lock();
        fleets.remove(&key.uid);
        let same_name =
            |fleet: &Entry| fleet.key.namespace == key.namespace && fleet.key.name == key.name;
        if !fleets.values().any(same_name) {
            last();
        }
    }

    /// Records a successful pass: clears the counts of failures, and keeps when the next pass is
    /// due.
    pub fn succeeded(&self, metadata: &ObjectMeta) {
        self.with(metadata, |fleet| fleet.failures.count.clear());
    }

    /// Counts a failed pass. Returns how many of its class came before it since the last successful
    /// one, and when the next pass is due in any case.
    pub fn failed(&self, metadata: &ObjectMeta, class: Class) -> (u32, Option<Time>) {
        let count = |fleet: &mut Entry| {
            let count = fleet.failures.count.entry(class).or_default();
            let before = *count;
            *count = before.saturating_add(1);
            (before, fleet.failures.requeue_at)
        };
        self.with(metadata, count).unwrap_or_default()
    }

    /// Sets when the next pass is due, whatever the outcome of this one.
    pub fn requeue_at(&self, metadata: &ObjectMeta, at: Time) {
        self.with(metadata, |fleet| fleet.failures.requeue_at = Some(at));
    }

    fn with<T>(&self, metadata: &ObjectMeta, with: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let uid = metadata.uid.as_deref().unwrap_or_default();
        self.0.lock().get_mut(uid).map(with)
    }
}

/// The key of a fleet's object.
pub fn key_of(metadata: &ObjectMeta) -> FleetKey {
    FleetKey {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    }
}

/// The key by which the readers of Temporal and the metrics know a fleet.
pub fn owner_of(metadata: &ObjectMeta) -> OwnerKey {
    OwnerKey {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
