//! Which pods are protected against the removal of their node: those with long tasks. Pure.
//!
//! A pod is protected once a task on it has certainly run for `LONG`, and until it has held no
//! such task for `QUIET`. Short tasks therefore cause no write, however many there are, and a pod
//! that takes one long task after another is written once. At most `MOST` pods of a fleet are
//! written in a second: protections first, then removals, and the rest in the next passes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use taskqueue_scaling::{History, PodPhase, Time};

use crate::observe::pods::Pods;
use crate::plan::Protection;

/// A task that has run for longer makes its pod worth protecting.
const LONG: Duration = Duration::from_mins(1);
/// How long a pod stays protected after it has held a long task.
const QUIET: Duration = Duration::from_mins(5);
/// The most pods of a fleet that are written within [`SECOND`].
const MOST: usize = 5;
const SECOND: Duration = Duration::from_secs(1);

/// When each pod was last seen with a long task; a protected pod that was never seen with one
/// counts from when it was first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LongTasks(BTreeMap<String, Time>);

impl LongTasks {
    /// Takes in what is known of the pods of a queue now.
    pub fn observe(&mut self, pods: &Pods, history: &History, now: Time) {
        self.0
            .retain(|name, _| pods.live.iter().any(|pod| pod.name == *name));
        for pod in &pods.live {
            if is_long(history, &pod.name) {
                self.0.insert(pod.name.clone(), now);
            } else if pods.protected.contains(&pod.name) {
                self.0.entry(pod.name.clone()).or_insert(now);
            }
        }
    }

    /// What the pods of a queue need: protections first. `enabled`: whether the fleet wants them.
    pub fn changes(
        &self,
        pods: &Pods,
        history: &History,
        enabled: bool,
        now: Time,
    ) -> Vec<Protection> {
        let stays = pods
            .live
            .iter()
            .filter(|pod| pod.phase != PodPhase::Terminating);
        let mut changes: Vec<Protection> = stays
            .filter_map(|pod| {
                let protected = pods.protected.contains(&pod.name);
                let protect = if protected {
                    let last = self.0.get(&pod.name);
                    let quiet = last.is_some_and(|last| now.since(*last) >= QUIET);
                    (!enabled || quiet).then_some(false)
                } else {
                    let ours = !pods.spared_by_others.contains(&pod.name);
                    (enabled && ours && is_long(history, &pod.name)).then_some(true)
                };
                Some(Protection {
                    pod: pod.name.clone(),
                    protect: protect?,
                })
            })
            .collect();
        changes.sort_by_key(|change| !change.protect);
        changes
    }
}

/// Whether a task on the pod has certainly run for long. It stays so while the pod is silent.
fn is_long(history: &History, pod: &str) -> bool {
    history
        .running_on(pod)
        .is_some_and(|running| running >= LONG)
}

/// When pods of a fleet were written last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteTimes(VecDeque<Time>);

impl WriteTimes {
    /// How many pods may be written now.
    pub fn left(&self, now: Time) -> usize {
        let lately = self.0.iter().filter(|at| now.since(**at) < SECOND).count();
        MOST.saturating_sub(lately)
    }

    /// Records writes.
    pub fn record(&mut self, writes: usize, now: Time) {
        self.0.extend(std::iter::repeat_n(now, writes));
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }
}

/// When the next pass must run for the writes that had to wait.
pub const POSTPONED: Duration = SECOND;

#[cfg(test)]
mod tests;
