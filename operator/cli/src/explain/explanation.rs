//! Why a queue has the replicas that it has, as plain data. Pure.

use anyhow::{bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;
use taskqueue_api::well_known::MANAGER;
use taskqueue_api::{TaskQueueWorker, validate};

use crate::figures::Scrape;
use crate::view::{QueueView, holds_back, of_fleet};

/// Everything known about one queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The fleet.
    pub fleet: String,
    /// The queue.
    pub queue: QueueView,
    /// The conditions that hold the fleet back; empty if all is well.
    pub conditions: Vec<Condition>,
    /// The Events about the queue or the whole fleet, oldest first.
    pub events: Vec<EventLine>,
    /// What could not be read, and the remedy.
    pub notes: Vec<String>,
}

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventLine {
    /// When it last happened.
    pub time: Timestamp,
    /// Whether a person should look at it.
    pub warning: bool,
    /// The reason, in one word.
    pub reason: String,
    /// What happened.
    pub note: String,
    /// The queue that it is about; absent if it is about the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How often it happened.
    pub count: i32,
}

impl Explanation {
    /// Combines what was read.
    ///
    /// # Errors
    /// If the fleet has no such queue, or has several and none was named.
    pub fn of(
        fleet: &TaskQueueWorker,
        queue: Option<&str>,
        events: &[Event],
        scrape: Option<&Scrape>,
        mut notes: Vec<String>,
    ) -> anyhow::Result<Self> {
        let view = of_fleet(fleet, scrape);
        let names: Vec<String> = view.queues.iter().map(|queue| queue.name.clone()).collect();
        let names = names.join(", ");
        let queue = match queue {
            None => {
                ensure!(
                    view.queues.len() == 1,
                    "the fleet {} has several queues: name one of {names}",
                    view.name
                );
                view.queues.into_iter().next()
            }
            Some(name) => view.queues.into_iter().find(|queue| queue.name == name),
        };
        let Some(queue) = queue else {
            bail!(
                "the fleet {} has no such queue: name one of {names}",
                view.name
            )
        };
        if scrape.is_some() && queue.figures.is_none() {
            notes.push("the operator's metrics do not contain this queue yet".to_owned());
        }
        let workload = workload_of(&queue, fleet);
        let mut lines: Vec<EventLine> = events
            .iter()
            .filter(|event| is_about(event, fleet, workload.as_deref()))
            .filter_map(|event| {
                let of_queue = workload.is_some() && related(event).is_some();
                EventLine::of(event, of_queue.then(|| queue.name.clone()))
            })
            .collect();
        lines.sort_by_key(|line| line.time);
        Ok(Self {
            namespace: view.namespace,
            fleet: view.name,
            conditions: view.conditions.into_iter().filter(holds_back).collect(),
            queue,
            events: lines,
            notes,
        })
    }

    /// Whether another decision, or another problem, is explained than `before`. Metrics, times and
    /// Events alone are no news, and neither is that something becomes known.
    pub fn is_news(&self, before: &Self) -> bool {
        let deciding = |this: &Self| this.queue.deciding.clone();
        let problems = |this: &Self| -> Vec<[String; 4]> {
            let conditions = this.conditions.iter().cloned();
            conditions
                .map(|held| [held.type_, held.status, held.reason, held.message])
                .collect()
        };
        let other_decision = deciding(self)
            .zip(deciding(before))
            .is_some_and(|(now, then)| now != then);
        other_decision
            || self.queue.last_decision != before.queue.last_decision
            || problems(self) != problems(before)
    }
}

/// Whether the operator wrote an Event about this fleet (not an earlier one of its name), and about
/// this queue or none in particular. An Event about a queue names its workload as `related`.
fn is_about(event: &Event, fleet: &TaskQueueWorker, workload: Option<&str>) -> bool {
    let regarding = event.regarding.clone().unwrap_or_default();
    let uid = fleet.uid().unwrap_or_default();
    regarding.name == fleet.metadata.name
        && regarding.uid.is_none_or(|other| other == uid)
        && event.reporting_controller.as_deref() == Some(MANAGER)
        && related(event)
            .zip(workload)
            .is_none_or(|(related, own)| related == own)
}

/// The workload that an Event names.
fn related(event: &Event) -> Option<&str> {
    event.related.as_ref()?.name.as_deref()
}

/// The name of a queue's workload: of its Deployment from the status, or else from the spec.
fn workload_of(queue: &QueueView, fleet: &TaskQueueWorker) -> Option<String> {
    if !queue.deployment.is_empty() {
        return Some(queue.deployment.clone());
    }
    let queues = validate(fleet).ok()?.queues;
    let found = queues.into_iter().find(|other| other.name == queue.name);
    found.map(|found| found.workload_name)
}

impl EventLine {
    fn of(event: &Event, queue: Option<String>) -> Option<Self> {
        let series = event.series.as_ref();
        let last = series.map(|series| series.last_observed_time.0);
        let first = event.event_time.as_ref().map(|time| time.0);
        let made = event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        Some(Self {
            time: last.or(first).or(made)?,
            warning: event.type_.as_deref() == Some("Warning"),
            reason: event.reason.clone().unwrap_or_default(),
            note: event.note.clone().unwrap_or_default(),
            queue,
            count: series.map_or(1, |series| series.count),
        })
    }
}
