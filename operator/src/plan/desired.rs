//! What the Deployments of a fleet should be, compared with what they are. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::{Fleet, FleetKey, Queue, Reason};
use taskqueue_scaling::{Observation, Time};

use super::{ApplyPrecondition, ScalePrecondition, Step};
use crate::apply::REPLICAS_MANAGER;
use crate::connection_check::{self, Tried};
use crate::fleet_state::{FleetState, QueueKey, QueueState, Rendered, Written};
use crate::not_ready::NotReady;
use crate::observe::{Observed, ObservedQueue, pods, replicas_set_by, spec_replicas};

/// An annotation that stands on a Deployment only while it is being created: it is owned by the
/// manager of the replicas alone, and goes when that manager gives up everything but the replicas.
/// Where it is found, a creation was interrupted and has to be finished.
pub const CREATING: &str = "taskqueue.dev/creating";

/// What the objects of a fleet should be, before anything is decided about replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// What to do about the Deployment.
    pub step: Step,
    /// What a decision is to be made from.
    pub observation: Observation,
    /// The state of the Deployment that the observation is about.
    pub version: Option<ScalePrecondition>,
    /// The replicas of the Deployment as we set them last, if somebody has changed them since.
    pub changed_by_others: Option<u32>,
}

/// Renders what every queue should have, once per generation and connection, and hashes what the server holds, once
/// per version. [`wanted`] does without, for more work.
pub fn prepare(fleet: &Fleet, observed: &Observed, state: &mut FleetState) {
    let Ok(usable) = &observed.connection else {
        return;
    };
    for queue in &fleet.queues {
        let held = observed
            .queues
            .get(&queue.name)
            .and_then(|seen| seen.held.as_deref());
        let state = state.queue(QueueKey::unversioned(&queue.name));
        let kept = state.rendered.take();
        let kept = kept.filter(|rendered| rendered.is_of(fleet, &usable.spec));
        let mut rendered = kept.unwrap_or_else(|| Rendered::new(fleet, queue, &usable.spec));
        if let Some(held) = held {
            rendered.look_at(held);
        }
        state.rendered = Some(rendered);
    }
}

/// What every queue should have, compared with what it has.
pub fn wanted(
    fleet: &Fleet,
    observed: &Observed,
    state: &FleetState,
    now: Time,
) -> BTreeMap<String, Desired> {
    let nothing = QueueState::default();
    let tried = state.tried.as_ref();
    let one = |queue: &Queue| {
        let seen = observed.queues.get(&queue.name)?;
        let state = state
            .queues
            .get(&QueueKey::unversioned(&queue.name))
            .unwrap_or(&nothing);
        Some((
            queue.name.clone(),
            desired_queue(fleet, queue, observed, seen, (state, tried), now),
        ))
    };
    fleet.queues.iter().filter_map(one).collect()
}

fn desired_queue(
    fleet: &Fleet,
    queue: &Queue,
    observed: &Observed,
    seen: &ObservedQueue,
    (state, tried): (&QueueState, Option<&Tried>),
    now: Time,
) -> Desired {
    let held = seen.held.as_deref();
    let written = state.written.as_ref();
    // What this process wrote and the watch has not shown yet.
    let ahead = held.and_then(|held| written.filter(|written| written.is_newer_than(held)));
    // What is out of sight is not gone: it has the replicas that it was left with.
    let unseen = || {
        let written = written.filter(|_| !seen.gone);
        written.map_or(0, |written| written.replicas)
    };
    let replicas = ahead.map_or_else(
        || held.map_or_else(unseen, spec_replicas),
        |written| written.replicas,
    );
    let step = match (&observed.connection, &seen.rival) {
        (Err(problem), _) => Step::Hold(problem.clone()),
        (Ok(_), Some(rival)) => Step::Hold(rivalry(queue, rival)),
        (Ok(usable), None) => {
            let kept = state.rendered.as_ref();
            let kept = kept.filter(|rendered| rendered.is_of(fleet, &usable.spec));
            let made = kept
                .is_none()
                .then(|| Rendered::new(fleet, queue, &usable.spec));
            kept.or(made.as_ref()).map_or(Step::Keep, |rendered| {
                step(rendered, seen, (state, tried), now)
            })
        }
    };
    let applying = matches!(step, Step::Apply { .. } | Step::Pending);
    let ours = written.filter(|written| {
        ahead.is_none() && held.is_some_and(|held| held.metadata.uid.as_ref() == Some(&written.uid))
    });
    Desired {
        step,
        observation: Observation {
            replicas: pods::replicas(replicas, held, &seen.pods, applying),
            backlog: seen.reading.backlog.clone(),
            slots: seen.slots.clone(),
        },
        version: held.map(|held| version(held, ahead)),
        changed_by_others: ours
            .map(|written| written.replicas)
            // A write of ours whose answer was lost is nobody else's.
            .filter(|set| {
                *set != replicas && held.and_then(replicas_set_by) != Some(REPLICAS_MANAGER)
            }),
    }
}

fn version(held: &Deployment, ahead: Option<&Written>) -> ScalePrecondition {
    let metadata = &held.metadata;
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

/// What is to be done about a Deployment so that it is as rendered. What is under way is waited for, and so is an answer
/// over a new connection; what the API server refused is tried again when it changes, or after a while: what it objects
/// to may be somewhere else, in a quota or an admission rule.
fn step(
    rendered: &Rendered,
    seen: &ObservedQueue,
    (state, tried): (&QueueState, Option<&Tried>),
    now: Time,
) -> Step {
    if state.writing.is_some() {
        return Step::Pending;
    }
    if let Some(problem) = connection_check::untried(&rendered.object, seen, tried) {
        return Step::Refused(problem);
    }
    let refused = state.refused.as_ref();
    let refused = refused
        .filter(|refused| refused.rendered == rendered.hash && !refused.remains(now).is_zero());
    if let Some(refused) = refused {
        return Step::Refused(refused.problem.clone());
    }
    let object = || Box::new(Deployment::clone(&rendered.object));
    let Some(held) = seen.held.as_deref() else {
        return Step::Create(object());
    };
    if held.metadata.deletion_timestamp.is_some() {
        return Step::Keep;
    }
    let written = state.written.as_ref();
    let uid = held.metadata.uid.clone().unwrap_or_default();
    let creating = is_being_created(held);
    let live = rendered.live_of(held);
    let ours = written.filter(|written| written.uid == uid);
    let behind = ours.is_some_and(|written| written.is_newer_than(held));
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
                resource_version: held.metadata.resource_version.clone().unwrap_or_default(),
                live: Some(live),
            },
        },
        finish_creation: creating.then(|| spec_replicas(held)),
    }
}

/// Whether the creation of a Deployment was begun and not finished.
pub fn is_being_created(held: &Deployment) -> bool {
    held.metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key == CREATING)
}

fn rivalry(queue: &Queue, rival: &FleetKey) -> NotReady {
    NotReady::new(
        Reason::QueueConflict,
        format!(
            "TaskQueueWorker {}/{} is older and serves task queue {} already; this fleet leaves the queue alone until one of the two gives it up",
            rival.namespace, rival.name, queue.task_queue
        ),
    )
}
