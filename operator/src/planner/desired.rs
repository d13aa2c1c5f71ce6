//! Compares the desired Deployment of a queue with the existing one. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::{Fleet, FleetKey, Queue, Reason};
use taskqueue_scaling::{Mode, Observation, Time};

use crate::applied::Written;
use crate::connection_check::ConnectionCheck;
use crate::fleet_state::{FleetState, QueueKey, QueueState, Rendered};
use crate::not_ready::NotReady;
use crate::observe::connection::Usable;
use crate::observe::deployment;
use crate::observe::targets::ReadTarget;
use crate::observe::{Observed, ObservedQueue};
use crate::owned::{REPLICAS_MANAGER, is_being_created, replicas_set_by, spec_replicas};
use crate::plan::{ApplyPrecondition, ScalePrecondition, Step};

/// The desired Deployment of a queue, before its replicas are decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// What to do about the Deployment.
    pub step: Step,
    /// The observation that a decision is based on.
    pub observation: Observation,
    /// The Deployment that the observation is about.
    pub precondition: Option<ScalePrecondition>,
    /// The replicas that we set last, if somebody has changed them since.
    pub changed_by_others: Option<u32>,
}

/// Compares what one queue should have with what it has; `None` if it was not observed.
pub fn desired(
    fleet: &Fleet,
    queue: &Queue,
    observed: &Observed,
    state: &FleetState,
    now: Time,
) -> Option<Desired> {
    let key = QueueKey::unversioned(&queue.name);
    let nothing = QueueState::default();
    let inputs = Inputs {
        fleet,
        queue,
        connection: &observed.connection,
        seen: observed.queues.get(&queue.name)?,
        state: state.queues.get(&key).unwrap_or(&nothing),
        check: state.connection_check.as_ref(),
    };
    Some(inputs.desired(now))
}

/// Everything known about one queue.
struct Inputs<'a> {
    fleet: &'a Fleet,
    queue: &'a Queue,
    connection: &'a Result<Usable, NotReady>,
    seen: &'a ObservedQueue,
    state: &'a QueueState,
    check: Option<&'a ConnectionCheck>,
}

impl Inputs<'_> {
    fn desired(&self, now: Time) -> Desired {
        if let Some(target) = &self.seen.target {
            return self.of_target(target);
        }
        let existing = self.seen.existing.as_deref();
        let written = self.state.written.as_ref();
        // Our last write, if the watch has not shown it yet.
        let ahead =
            existing.and_then(|existing| written.filter(|written| written.is_newer_than(existing)));
        // A Deployment that is not in the cache is not necessarily deleted: it has the replicas of
        // our last write.
        let unseen = || {
            let written = written.filter(|_| !self.seen.gone);
            written.map_or(0, |written| written.replicas)
        };
        let replicas = ahead.map_or_else(
            || existing.map_or_else(unseen, spec_replicas),
            |written| written.replicas,
        );
        let step = self.step(now);
        let applying = matches!(step, Step::Apply { .. } | Step::Pending);
        let ours = written.filter(|written| {
            ahead.is_none()
                && existing
                    .is_some_and(|existing| existing.metadata.uid.as_ref() == Some(&written.uid))
        });
        Desired {
            step,
            observation: Observation {
                replicas: deployment::replicas(replicas, existing, &self.seen.pods, applying),
                backlog: self.seen.reading.backlog.clone(),
                slots: self.seen.slots.clone(),
                drained: self.seen.pods.drained(),
            },
            precondition: existing.map(|existing| precondition(existing, ahead)),
            changed_by_others: ours
                .map(|written| written.replicas)
                // A write of ours whose answer was lost is not a change by others.
                .filter(|set| {
                    *set != replicas && existing.and_then(replicas_set_by) != Some(REPLICAS_MANAGER)
                }),
        }
    }

    /// A queue whose workload somebody else deploys: of it only the replicas, and the
    /// deletion costs of its pods, are written.
    fn of_target(&self, target: &ReadTarget) -> Desired {
        let step = match (self.connection, target, &self.seen.rival) {
            (Err(why), _, _) | (Ok(_), Err(why), _) => Step::Hold(why.clone()),
            (Ok(_), Ok(_), Some(rival)) => Step::Hold(rivalry(self.queue, rival)),
            (Ok(_), Ok(_), None) => self.conflict().map_or(Step::Keep, Step::Hold),
        };
        let target = target.as_ref().ok();
        let pods = &self.seen.pods;
        Desired {
            step,
            observation: Observation {
                replicas: target
                    .map(|target| deployment::target_replicas(target, pods))
                    .unwrap_or_default(),
                backlog: self.seen.reading.backlog.clone(),
                slots: self.seen.slots.clone(),
                drained: self.seen.pods.drained(),
            },
            precondition: target.map(|target| ScalePrecondition {
                uid: target.uid.clone(),
                resource_version: target.resource_version.clone(),
                generation: None,
            }),
            changed_by_others: None,
        }
    }

    /// Why the replicas of a target are left to somebody else. While nothing is carried out, there
    /// is no conflict.
    fn conflict(&self) -> Option<NotReady> {
        let other = self.seen.scaled_by.as_ref()?;
        let acts = self.queue.policy.mode == Mode::Active;
        acts.then(|| {
            NotReady::new(
                Reason::ScalerConflict,
                format!(
                    "{other} also scales {}, so this fleet leaves the replicas alone; remove one \
                     of the two, or set scaling.mode to DryRun to compare their decisions",
                    self.queue.workload()
                ),
            )
        })
    }

    /// What to do about the Deployment.
    fn step(&self, now: Time) -> Step {
        match (self.connection, &self.seen.rival) {
            (Err(why), _) => Step::Hold(why.clone()),
            (Ok(_), Some(rival)) => Step::Hold(rivalry(self.queue, rival)),
            (Ok(usable), None) => {
                let rendered = self.state.rendered.as_ref();
                let kept = rendered.filter(|rendered| rendered.is_of(self.fleet, &usable.spec));
                if let Some(kept) = kept {
                    return self.step_towards(kept, now);
                }
                let rendered = Rendered::new(self.fleet, self.queue, &usable.spec);
                self.step_towards(&rendered, now)
            }
        }
    }

    /// What to do about the Deployment so that it matches `rendered`. Waits for a write in flight,
    /// and for an answer over a new connection. Retries an object that the API server refused when
    /// the object changes, or after a while: the cause may lie elsewhere, in a quota or an
    /// admission rule.
    fn step_towards(&self, rendered: &Rendered, now: Time) -> Step {
        if self.state.writing.is_some() {
            return Step::Pending;
        }
        if let Some(check) = self.check
            && let Some(why) = check.forbids(&rendered.object, self.seen)
        {
            return Step::Refused(why);
        }
        let refused = self.state.refused.as_ref();
        let refused = refused
            .filter(|refused| refused.rendered == rendered.hash && !refused.remains(now).is_zero());
        if let Some(refused) = refused {
            return Step::Refused(refused.why.clone());
        }
        let object = || Box::new(Deployment::clone(&rendered.object));
        let Some(existing) = self.seen.existing.as_deref() else {
            return Step::Create(object());
        };
        if existing.metadata.deletion_timestamp.is_some() {
            return Step::Keep;
        }
        let uid = existing.metadata.uid.clone().unwrap_or_default();
        let creating = is_being_created(existing);
        let live = rendered.live_of(existing);
        let ours = self.state.written.as_ref();
        let ours = ours.filter(|written| written.uid == uid);
        let behind = ours.is_some_and(|written| written.is_newer_than(existing));
        let unchanged = ours.is_some_and(|written| {
            written.rendered == rendered.hash && (behind || (!creating && written.live == live))
        });
        if unchanged {
            return Step::Keep;
        }
        Step::Apply {
            object: object(),
            uid,
            decided_on: match ours.filter(|_| behind) {
                Some(written) => ApplyPrecondition {
                    resource_version: written.resource_version.clone(),
                    live: None,
                },
                None => ApplyPrecondition {
                    resource_version: existing
                        .metadata
                        .resource_version
                        .clone()
                        .unwrap_or_default(),
                    live: Some(live),
                },
            },
            finish_creation: creating.then(|| spec_replicas(existing)),
        }
    }
}

/// An existing Deployment as a write may find it. `ahead`: our last write, if the watch is behind
/// it.
pub fn precondition(existing: &Deployment, ahead: Option<&Written>) -> ScalePrecondition {
    let metadata = &existing.metadata;
    match ahead {
        Some(written) => ScalePrecondition {
            uid: written.uid.clone(),
            resource_version: written.resource_version.clone(),
            generation: None,
        },
        None => ScalePrecondition {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            generation: metadata.generation,
        },
    }
}

fn rivalry(queue: &Queue, rival: &FleetKey) -> NotReady {
    NotReady::new(
        Reason::QueueConflict,
        format!(
            "TaskQueueWorker {}/{} is older and already serves task queue {}, so this fleet \
             leaves the queue alone; remove the task queue from one of the two",
            rival.namespace, rival.name, queue.task_queue
        ),
    )
}
