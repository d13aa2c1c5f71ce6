//! Events: one per transition of a condition and one per change that was carried out. Computing
//! them is pure; [`publish`] sends them.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder};
use taskqueue_api::{ConditionType, Reason, TaskQueueWorkerStatus, well_known};
use tracing::warn;

use crate::fleet_state::FormerTaskQueue;
use crate::owned::replicas_set_by;
use crate::plan::Prune;
use crate::report::facts::QueueFacts;

/// Length in bytes to which a note is cut. The API server rejects notes of more than 1024 bytes.
const LONGEST_NOTE: usize = 1000;

/// An Event to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// Whether its type is Warning: a person should look at it.
    pub warning: bool,
    /// The reason: a fixed word.
    pub reason: String,
    /// What was done: a fixed word.
    pub action: &'static str,
    /// What happened, in a sentence.
    pub note: String,
    /// The Deployment concerned, if it is one.
    pub deployment: Option<String>,
}

/// What an Event about a condition adds to the condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Replaces the message: with numbers as of that moment.
    pub note: Option<String>,
    /// The Deployment of the queue concerned, if it is one queue.
    pub deployment: Option<String>,
}

/// The Events between two statuses: for each condition that turned bad, changed its reason while
/// bad, or turned good again. Conditions that are part of every start and every stop cause none.
/// `details` adds to the Events, by condition type.
pub fn transitions(
    old: &TaskQueueWorkerStatus,
    new: &TaskQueueWorkerStatus,
    details: &BTreeMap<&'static str, Details>,
) -> Vec<EventDraft> {
    let reported = [
        ConditionType::Ready,
        ConditionType::ScalingActive,
        ConditionType::ScalingLimited,
        ConditionType::CertificateExpiring,
        ConditionType::Stalled,
    ];
    let mut events: Vec<EventDraft> = Vec::new();
    for mut event in reported
        .into_iter()
        .filter_map(|kind| transition(kind, old, new))
    {
        if let Some(details) = details.get(event.action) {
            if let Some(note) = &details.note {
                event.note.clone_from(note);
            }
            event.deployment.clone_from(&details.deployment);
        }
        // One cause often turns two conditions bad: it causes one Event.
        let known = events
            .iter()
            .any(|known| known.reason == event.reason && known.note == event.note);
        if !known {
            events.push(event);
        }
    }
    events
}

fn transition(
    kind: ConditionType,
    old: &TaskQueueWorkerStatus,
    new: &TaskQueueWorkerStatus,
) -> Option<EventDraft> {
    let find = |status: &TaskQueueWorkerStatus| {
        let mut conditions = status.conditions.iter();
        conditions
            .find(|condition| condition.type_ == kind.as_str())
            .cloned()
    };
    let new = find(new)?;
    let old = find(old);
    let weight = weight(kind, &new);
    let before = old
        .as_ref()
        .map_or(Weight::Everyday, |old| self::weight(kind, old));
    let same = old.is_some_and(|old| old.status == new.status && old.reason == new.reason);
    let news = match weight {
        Weight::Everyday => false,
        // A good condition is news only after a bad one.
        Weight::Good => before == Weight::Bad,
        Weight::Bad => !same,
    };
    news.then(|| EventDraft {
        warning: weight == Weight::Bad && kind != ConditionType::ScalingLimited,
        reason: new.reason,
        action: kind.as_str(),
        note: new.message,
        deployment: None,
    })
}

/// How much a condition matters for Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Good,
    Bad,
    Everyday,
}

fn weight(kind: ConditionType, condition: &Condition) -> Weight {
    let everyday = [
        Reason::WaitingForReplicas,
        Reason::Starting,
        Reason::Paused,
        Reason::DryRun,
    ];
    if everyday
        .iter()
        .any(|word| word.as_str() == condition.reason)
    {
        return Weight::Everyday;
    }
    match (kind, condition.status.as_str()) {
        // The end of a limit is part of every quiet minute. The end of a stall is reported by the
        // other conditions.
        (ConditionType::ScalingLimited | ConditionType::Stalled, "False")
        | (ConditionType::Progressing | ConditionType::Reconciling, _) => Weight::Everyday,
        (ConditionType::Ready | ConditionType::ScalingActive, "True")
        | (ConditionType::CertificateExpiring, "False") => Weight::Good,
        (
            ConditionType::ScalingLimited
            | ConditionType::Ready
            | ConditionType::ScalingActive
            | ConditionType::CertificateExpiring
            | ConditionType::Stalled,
            _,
        ) => Weight::Bad,
    }
}

/// The Events for what was carried out on a queue.
pub fn changes(facts: &QueueFacts<'_>) -> Vec<EventDraft> {
    let deployment = facts.queue.workload_name.clone();
    let queue = &facts.queue.name;
    if facts.plan.vanished && facts.done.created {
        let replicas = match facts.plan.initial_replicas {
            1 => "1 replica".to_owned(),
            many => format!("{many} replicas"),
        };
        return vec![EventDraft {
            warning: true,
            reason: Reason::DeploymentRecreated.as_str().to_owned(),
            action: "Create",
            note: format!(
                "queue {queue}: Deployment {deployment} was missing and was created again with \
                 {replicas}; to remove it permanently, remove the queue from the spec"
            ),
            deployment: Some(deployment),
        }];
    }
    let (Some(scaled), Some(decision)) = (&facts.done.scaled, &facts.plan.decision) else {
        return Vec::new();
    };
    if let Some(set) = facts.plan.changed_by_others.filter(|set| *set == scaled.to) {
        let existing = facts.seen.existing.as_deref();
        let who = existing.and_then(replicas_set_by).map_or_else(
            || "somebody".to_owned(),
            |manager| format!("the field manager {manager}"),
        );
        return vec![EventDraft {
            warning: true,
            reason: Reason::ReplicasReset.as_str().to_owned(),
            action: "Scale",
            note: format!(
                "queue {queue}: {who} scaled Deployment {deployment} from {set} to {}; the \
                 operator set it back to {}, because it decides the replicas; to decide them \
                 yourself, set scaling.mode to Paused",
                scaled.from, scaled.to
            ),
            deployment: Some(deployment),
        }];
    }
    let reason = if scaled.to > scaled.from {
        Reason::ScaledUp
    } else {
        Reason::ScaledDown
    };
    vec![EventDraft {
        warning: false,
        reason: reason.as_str().to_owned(),
        action: "Scale",
        note: format!("queue {queue}: {}", decision.sentence()),
        deployment: facts.queue.deployment().map(str::to_owned),
    }]
}

/// The Event for workers that move to another task queue.
pub fn task_queue_moved(facts: &QueueFacts<'_>) -> Vec<EventDraft> {
    let queue = &facts.queue.name;
    let polled = || {
        let annotations = facts
            .seen
            .existing
            .as_ref()?
            .metadata
            .annotations
            .as_ref()?;
        annotations.get(well_known::TASK_QUEUE_ANNOTATION).cloned()
    };
    let former = facts.state.former_task_queue.clone().or_else(|| {
        let task_queue = polled().filter(|polled| *polled != facts.queue.task_queue)?;
        // This process has never read it.
        Some(FormerTaskQueue {
            task_queue,
            backlog: None,
        })
    });
    let Some(former) = former.filter(|_| facts.done.written.is_some()) else {
        return Vec::new();
    };
    vec![EventDraft {
        warning: former.backlog.is_none_or(|backlog| backlog > 0),
        reason: Reason::QueueMoved.as_str().to_owned(),
        action: "Apply",
        note: format!(
            "queue {queue}: its workers move from task queue {} to {}; when the former was last \
             read, {}",
            former.task_queue,
            facts.queue.task_queue,
            waited(former.backlog)
        ),
        deployment: Some(facts.queue.workload_name.clone()),
    }]
}

/// Describes how many tasks are left behind.
fn waited(backlog: Option<u64>) -> String {
    match backlog {
        Some(0) => "no task waited in it".to_owned(),
        Some(1) => "1 task waited in it, and this fleet no longer works on it".to_owned(),
        Some(many) => format!("{many} tasks waited in it, and this fleet no longer works on them"),
        None => "the number of tasks that waited in it was unknown".to_owned(),
    }
}

/// The Event for a queue that left the spec.
pub fn removed(prune: &Prune) -> EventDraft {
    let backlog = waited(prune.backlog);
    EventDraft {
        warning: prune.backlog.is_none_or(|backlog| backlog > 0),
        reason: Reason::QueueRemoved.as_str().to_owned(),
        action: "Prune",
        note: format!(
            "queue {} was removed from the spec: Deployment {} was deleted and its pods are \
             draining; when the queue was last read, {backlog}",
            prune.queue, prune.deployment_name
        ),
        deployment: Some(prune.deployment_name.clone()),
    }
}

/// Sends Events. A failure is logged and does not fail the pass.
pub async fn publish(recorder: &Recorder, about: &ObjectReference, drafts: Vec<EventDraft>) {
    for draft in drafts {
        let event = event(about, draft);
        if let Err(error) = recorder.publish(&event, about).await {
            warn!(%error, reason = event.reason, "cannot publish an Event");
        }
    }
}

fn event(about: &ObjectReference, draft: EventDraft) -> Event {
    let mut note = draft.note;
    if note.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE)
            .rev()
            .find(|end| note.is_char_boundary(*end))
            .unwrap_or(0);
        note.truncate(end);
        note.push_str("...");
    }
    // The recorder aggregates Events with the same action and reason, and keeps the first note. The
    // hash keeps Events with different notes apart.
    let mut hasher = DefaultHasher::new();
    note.hash(&mut hasher);
    let hash = hasher.finish() & 0xffff_ffff;
    Event {
        type_: if draft.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: draft.reason,
        action: format!("{}-{hash:08x}", draft.action),
        note: Some(note),
        secondary: draft.deployment.map(|name| ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("Deployment".to_owned()),
            name: Some(name),
            namespace: about.namespace.clone(),
            ..ObjectReference::default()
        }),
    }
}

#[cfg(test)]
mod tests;
