//! The outcome of applying a plan, as plain data.

use std::any::Any;
use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::drift;
use crate::error::Error;
use crate::owned::spec_replicas;
use crate::plan::Prune;

/// The outcome of applying a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Outcome per queue of the spec.
    pub queues: BTreeMap<String, QueueApplied>,
    /// Deployments that were deleted.
    pub pruned: Vec<Prune>,
    /// Deployments that could not be deleted.
    pub prune_errors: Vec<Error>,
    /// Writes that the API server has not answered yet, by queue.
    pub writing: BTreeMap<String, Writing>,
}

/// The outcome of the plan for one queue.
#[derive(Debug, Default)]
pub struct QueueApplied {
    /// The Deployment after an apply, if there was one.
    pub written: Option<Written>,
    /// The change of the replicas, if one was carried out.
    pub scaled: Option<Scaled>,
    /// Whether this write created the Deployment.
    pub created: bool,
    /// The outcome of keeping the recurring load, if that was tried: the version of the Deployment
    /// after it. An error of it fails nothing else.
    pub remembered: Option<Result<String, Error>>,
    /// How the write of the Deployment or its budget ended, if there was one.
    pub end: End,
    /// The first error: of the Deployment or its budget, or else of the replicas.
    pub error: Option<Error>,
}

/// How a write of a Deployment or its budget ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// The write succeeded, its object had changed or gone meanwhile, or there was nothing to
    /// write.
    #[default]
    Settled,
    /// The API server has not answered yet.
    Pending,
    /// The write failed.
    Refused,
    /// Cancelled because this process no longer leads. Whether it took effect is unknown.
    BrokenOff,
}

impl QueueApplied {
    /// The outcome of a task.
    pub fn of_task(result: Result<Self, JoinError>) -> Self {
        result.unwrap_or_else(|error| {
            Self::failed(Error::Bug(format!("a write did not complete: {error}")))
        })
    }

    /// The outcome of a write that panicked: an error of its queue alone.
    pub fn panicked(panic: &(dyn Any + Send)) -> Self {
        Self::failed(Error::panicked("a write", panic))
    }

    fn failed(error: Error) -> Self {
        Self {
            end: End::Refused,
            error: Some(error),
            ..Self::default()
        }
    }

    /// Merges the outcome of another write for the same queue. The values of `self` take
    /// precedence.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            written: self.written.or(other.written),
            scaled: self.scaled.or(other.scaled),
            created: self.created || other.created,
            remembered: self.remembered.or(other.remembered),
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
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// Version of the Deployment after the change; `None` if this pass created it.
    pub resource_version: Option<String>,
}

impl Applied {
    /// Merges the outcomes of writes that earlier passes started.
    pub fn add(&mut self, late: &mut BTreeMap<String, QueueApplied>) {
        for (queue, done) in &mut self.queues {
            if let Some(late) = late.remove(queue) {
                *done = std::mem::take(done).and(late);
            }
        }
    }

    /// The errors of keeping recurring loads, which fail nothing. A Deployment that has changed
    /// since the decision is no error: the next pass decides again.
    pub fn forgotten(&self) -> impl Iterator<Item = &Error> {
        let outcomes = self.queues.values();
        outcomes
            .filter_map(|queue| queue.remembered.as_ref()?.as_ref().err())
            .filter(|error| !error.is_conflict() && !error.is_not_found())
    }

    /// Every error, for the metrics and the log.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.queues
            .values()
            .filter_map(|queue| queue.error.as_ref())
            .chain(&self.prune_errors)
    }

    /// Every error, by value.
    pub fn into_errors(self) -> Vec<Error> {
        let of_queues = self.queues.into_values().filter_map(|queue| queue.error);
        of_queues.chain(self.prune_errors).collect()
    }
}

/// A write that outlasts the pass that started it. Dropping this cancels the write.
#[derive(Debug)]
pub struct Writing {
    /// The hash of what we rendered.
    pub rendered: u64,
    /// The running write; it returns the outcome.
    pub task: AbortOnDropHandle<QueueApplied>,
}

/// The Deployment after our last write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its uid.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// Its generation. Once the Deployment controller has observed this generation, it works on our
    /// template.
    pub generation: Option<i64>,
    /// Its replicas.
    pub replicas: u32,
    /// The hash of what we rendered.
    pub rendered: u64,
    /// The hash of what the server held.
    pub live: u64,
}

impl Written {
    /// Records what the server holds after an apply of `rendered`.
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

    /// Combines this write with another to the same Deployment; their answers may arrive in either
    /// order. Replicas and version come from the later write.
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

    /// Records a change of the replicas and the version that it led to, unless a later one is
    /// known.
    pub fn scaled(&mut self, replicas: u32, resource_version: &str) {
        if !is_newer(&self.resource_version, resource_version) {
            self.replicas = replicas;
            resource_version.clone_into(&mut self.resource_version);
        }
    }

    /// Records another version that a write of ours led to, unless a later one is known.
    pub fn moved_to(&mut self, resource_version: &str) {
        self.scaled(self.replicas, resource_version);
    }

    /// Whether `cached` predates this write, because the watch has not caught up yet.
    pub fn is_newer_than(&self, cached: &Deployment) -> bool {
        let theirs = cached.metadata.resource_version.as_deref();
        cached.metadata.uid.as_deref() == Some(self.uid.as_str())
            && theirs.is_some_and(|theirs| is_newer(&self.resource_version, theirs))
    }
}

/// Whether one version of an object is newer than another. Kubernetes guarantees since 1.35 that
/// versions can be compared as numbers, and every earlier server complied.
fn is_newer(version: &str, than: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    number(version)
        .zip(number(than))
        .is_some_and(|(version, than)| version > than)
}
