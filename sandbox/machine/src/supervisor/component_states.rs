//! The desired and observed state of each component: shared by the threads of the init process, and
//! written to the status file at every change.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    components::{Component, Stop},
    error::Result,
    files,
    status::{ComponentStatus, Phase, Status},
};

/// The components: whether each is wanted, and how it is.
#[derive(Debug)]
pub(super) struct ComponentStates {
    file: PathBuf,
    began: Instant,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    status: Status,
    wanted: BTreeMap<String, bool>,
    arguments: BTreeMap<String, Vec<String>>,
    stops: BTreeMap<String, Stop>,
    keep_data: Vec<&'static str>,
}

impl ComponentStates {
    /// The states at the start: every component is wanted and none has started.
    pub(super) fn new(file: PathBuf, components: &[Component]) -> Result<Self> {
        let status = Status {
            started: jiff::Timestamp::now(),
            ending: false,
            components: components
                .iter()
                .map(|c| (c.name.to_owned(), waiting(c)))
                .collect(),
        };
        files::write_json(&file, &status)?;
        let wanted = components
            .iter()
            .map(|c| (c.name.to_owned(), true))
            .collect();
        let stops = components
            .iter()
            .map(|c| (c.name.to_owned(), c.stop))
            .collect();
        let keep_data = components
            .iter()
            .filter(|c| c.keeps_data)
            .map(|c| c.name)
            .collect();
        Ok(Self {
            file,
            began: Instant::now(),
            inner: Mutex::new(Inner {
                status,
                wanted,
                arguments: BTreeMap::new(),
                stops,
                keep_data,
            }),
            changed: Condvar::new(),
        })
    }

    /// Changes one component's status.
    pub(super) fn set(&self, name: &str, change: impl FnOnce(&mut ComponentStatus)) {
        let mut inner = self.inner.lock();
        let Some(component) = inner.status.components.get_mut(name) else {
            return;
        };
        let before = component.clone();
        change(component);
        if *component != before {
            self.publish(&inner);
        }
    }

    fn publish(&self, inner: &Inner) {
        // A full disk must not end the sandbox; what is wrong shows in the components' own logs.
        drop(files::write_json(&self.file, &inner.status));
        self.changed.notify_all();
    }

    /// Records the first time that a component answered.
    pub(super) fn ready(&self, name: &str) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.set(name, |component| {
            component.phase = Phase::Ready;
            component.message.clear();
            component.ready_after_ms.get_or_insert(elapsed);
        });
    }

    /// The status of a component; `None` if no component has this name.
    pub(super) fn component(&self, name: &str) -> Option<ComponentStatus> {
        self.inner.lock().status.components.get(name).cloned()
    }

    /// The names of all components.
    pub(super) fn names(&self) -> Vec<String> {
        self.inner
            .lock()
            .status
            .components
            .keys()
            .cloned()
            .collect()
    }

    /// Sets whether a component should run.
    pub(super) fn want(&self, name: &str, wanted: bool) {
        let mut inner = self.inner.lock();
        inner.wanted.insert(name.to_owned(), wanted);
        self.publish(&inner);
    }

    /// Sets the extra arguments of a component, used from its next start.
    pub(super) fn set_arguments(&self, name: &str, arguments: Vec<String>) {
        self.inner
            .lock()
            .arguments
            .insert(name.to_owned(), arguments);
    }

    /// The extra arguments of a component.
    pub(super) fn arguments(&self, name: &str) -> Vec<String> {
        self.inner
            .lock()
            .arguments
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// Whether a component should run.
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        let inner = self.inner.lock();
        !inner.status.ending && inner.wanted.get(name) == Some(&true)
    }

    /// The signal that ends a component.
    pub(super) fn stop_of(&self, name: &str) -> Stop {
        self.inner
            .lock()
            .stops
            .get(name)
            .copied()
            .unwrap_or(Stop::Terminate)
    }

    /// Waits until the component is wanted and everything that it needs is ready.
    pub(super) fn wait_for_turn(&self, name: &str, after: &[&str]) {
        let mut inner = self.inner.lock();
        loop {
            let wanted = !inner.status.ending && inner.wanted.get(name) == Some(&true);
            let is_ready = |needed: &&&str| {
                inner
                    .status
                    .components
                    .get(**needed)
                    .is_none_or(|c| c.phase == Phase::Ready)
            };
            let missing: Vec<&str> = after
                .iter()
                .filter(|needed| !is_ready(needed))
                .copied()
                .collect();
            if wanted && missing.is_empty() {
                return;
            }
            let (phase, message) = if wanted {
                (Phase::Waiting, format!("waits for {}", missing.join(", ")))
            } else {
                (Phase::Stopped, String::new())
            };
            if let Some(component) = inner.status.components.get_mut(name)
                && (component.phase != phase || component.message != message)
            {
                component.phase = phase;
                component.message = message;
                self.publish(&inner);
            }
            self.changed.wait(&mut inner);
        }
    }

    /// Waits for any change, at most this long.
    pub(super) fn wait_for_change(&self, timeout: Duration) {
        self.changed.wait_for(&mut self.inner.lock(), timeout);
    }

    /// Waits until `done` or the deadline; returns the status of the component.
    pub(super) fn wait_until(
        &self,
        name: &str,
        deadline: Instant,
        done: impl Fn(&ComponentStatus) -> bool,
    ) -> Option<ComponentStatus> {
        let mut inner = self.inner.lock();
        loop {
            let component = inner.status.components.get(name)?.clone();
            let left = deadline.saturating_duration_since(Instant::now());
            if done(&component) || left.is_zero() {
                return Some(component);
            }
            self.changed.wait_for(&mut inner, left);
        }
    }

    /// Prevents further starts. Returns the process of every component, with the signal that ends
    /// it if it keeps data.
    pub(super) fn end(&self) -> Vec<(i32, Option<Stop>)> {
        let mut inner = self.inner.lock();
        inner.status.ending = true;
        self.publish(&inner);
        let stop = |name: &str| {
            let keeps_data = inner.keep_data.contains(&name);
            keeps_data.then(|| inner.stops.get(name).copied().unwrap_or(Stop::Terminate))
        };
        let components = inner.status.components.iter();
        components
            .filter_map(|(name, component)| Some((component.pid?, stop(name))))
            .collect()
    }

    /// Waits until every component that keeps data has ended.
    pub(super) fn wait_until_stopped(&self, deadline: Instant) {
        let mut inner = self.inner.lock();
        loop {
            let has_process = |name: &&str| {
                inner
                    .status
                    .components
                    .get(*name)
                    .is_some_and(|component| component.pid.is_some())
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !inner.keep_data.iter().any(has_process) {
                return;
            }
            self.changed.wait_for(&mut inner, left);
        }
    }
}

fn waiting(component: &Component) -> ComponentStatus {
    ComponentStatus {
        phase: Phase::Waiting,
        pid: None,
        restarts: 0,
        ready_after_ms: None,
        message: String::new(),
        address: component.address.clone(),
    }
}
