//! What came of a plan, as plain data.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::drift;
use crate::error::Error;
use crate::owned::spec_replicas;
use crate::plan::Prune;

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Per queue of the spec.
    pub queues: BTreeMap<String, QueueApplied>,
    /// Deployments that were deleted.
    pub pruned: Vec<Prune>,
    /// Deployments that could not be deleted.
    pub prune_errors: Vec<Error>,
    /// What is not answered yet, by queue.
    pub writing: BTreeMap<String, Writing>,
}

/// What came of the plan for one queue.
#[derive(Debug, Default)]
pub struct QueueApplied {
    /// The Deployment as it is after an apply, if there was one.
    pub written: Option<Written>,
    /// The change of the replicas that was carried out.
    pub scaled: Option<Scaled>,
    /// The Deployment was made anew.
    pub created: bool,
    /// How the write of the Deployment or its budget ended, if there was one.
    pub end: End,
    /// What went wrong: with the Deployment or its budget, or else with the replicas.
    pub error: Option<Error>,
}

/// How a write of a Deployment or its budget ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// It was carried out, or the object has become another one, or there was none.
    #[default]
    Settled,
    /// It is not answered yet.
    Pending,
    /// It could not be carried out.
    Refused,
    /// It was broken off, because this process does not lead any more: it was carried out or not.
    BrokenOff,
}

impl QueueApplied {
    /// The result of a task. One that panicked is an error of its queue alone.
    pub fn of_task(result: Result<Self, JoinError>) -> Self {
        result.unwrap_or_else(|error| Self {
            end: End::Refused,
            error: Some(Error::Bug(format!("a write broke off: {error}"))),
            ..Self::default()
        })
    }

    /// Adds what came of another write for the same queue. What this one says counts more.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            written: self.written.or(other.written),
            scaled: self.scaled.or(other.scaled),
            created: self.created || other.created,
            end: if self.end == End::Settled {
                other.end
            } else {
                self.end
            },
            error: self.error.or(other.error),
        }
    }
}

/// A change of the replicas that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// Before.
    pub from: u32,
    /// After.
    pub to: u32,
    /// The version of the Deployment after it; `None` if it was made in this pass.
    pub resource_version: Option<String>,
}

impl Applied {
    /// Adds what has come of writes of earlier passes.
    pub fn add(&mut self, late: &mut BTreeMap<String, QueueApplied>) {
        for (queue, done) in &mut self.queues {
            if let Some(late) = late.remove(queue) {
                *done = std::mem::take(done).and(late);
            }
        }
    }

    /// Every error, for the metrics and the log.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.queues
            .values()
            .filter_map(|queue| queue.error.as_ref())
            .chain(&self.prune_errors)
    }

    /// The errors themselves.
    pub fn into_errors(self) -> Vec<Error> {
        let of_queues = self.queues.into_values().filter_map(|queue| queue.error);
        of_queues.chain(self.prune_errors).collect()
    }
}

/// A write that outlasted the pass that began it. It is broken off when this is dropped.
#[derive(Debug)]
pub struct Writing {
    /// The hash of what we rendered.
    pub rendered: u64,
    /// The write, and what comes of it.
    pub task: AbortOnDropHandle<QueueApplied>,
}

/// The Deployment as it was after our last write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its uid.
    pub uid: String,
    /// Its version then.
    pub resource_version: String,
    /// Its generation then: the Deployment controller works on the template once it has observed
    /// this one.
    pub generation: Option<i64>,
    /// Its replicas then.
    pub replicas: u32,
    /// The hash of what we rendered.
    pub rendered: u64,
    /// The hash of what the server held.
    pub live: u64,
}

impl Written {
    /// Notes what the server holds after an apply of `rendered`.
    pub fn after_apply(existing: &Deployment, rendered: &Deployment) -> Self {
        Self {
            uid: existing.metadata.uid.clone().unwrap_or_default(),
            resource_version: existing
                .metadata
                .resource_version
                .clone()
                .unwrap_or_default(),
            generation: existing.metadata.generation,
            replicas: spec_replicas(existing),
            rendered: drift::rendered(rendered),
            live: drift::live(existing, rendered),
        }
    }

    /// This write, of two to the same Deployment that were answered in whichever order: the
    /// replicas and the version are those of the later one.
    #[must_use]
    pub fn beside(self, other: Option<&Self>) -> Self {
        let later = other.filter(|other| {
            other.uid == self.uid && is_newer(&other.resource_version, &self.resource_version)
        });
        match later {
            Some(later) => Self {
                replicas: later.replicas,
                resource_version: later.resource_version.clone(),
                ..self
            },
            None => self,
        }
    }

    /// Notes that the replicas were changed, which led to this version.
    pub fn scaled(&mut self, replicas: u32, resource_version: &str) {
        if !is_newer(&self.resource_version, resource_version) {
            self.replicas = replicas;
            resource_version.clone_into(&mut self.resource_version);
        }
    }

    /// Whether `cached` is from before this write: the watch has not caught up yet.
    pub fn is_newer_than(&self, cached: &Deployment) -> bool {
        let theirs = cached.metadata.resource_version.as_deref();
        cached.metadata.uid.as_deref() == Some(self.uid.as_str())
            && theirs.is_some_and(|theirs| is_newer(&self.resource_version, theirs))
    }
}

/// Whether one version of an object came after another. Kubernetes promises since 1.35 that they
/// can be compared as numbers, and every earlier server kept to it.
fn is_newer(version: &str, than: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    number(version)
        .zip(number(than))
        .is_some_and(|(version, than)| version > than)
}
