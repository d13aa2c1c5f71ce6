//! The current metrics of each queue, from the text that the operator serves at /metrics. Pure.
//!
//! What the text does not contain stays absent: unknown is never shown as zero.

mod task_type;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use taskqueue_exposition::{Sample, table};

pub use task_type::TypeFigures;

/// Names a queue of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// Kubernetes namespace of the fleet.
    pub namespace: String,
    /// Name of the fleet.
    pub fleet: String,
    /// Name of the queue in the fleet.
    pub queue: String,
}

/// What the workers of a queue are seen to do wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenFault {
    /// The pod that showed it first.
    pub pod: String,
    /// When it was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// The current metrics of one queue. Unknown values are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Waiting tasks, over all task types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_tasks: Option<f64>,
    /// The same by priority key, 1 the highest; empty if all have the default one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backlog_tasks_by_priority: BTreeMap<String, f64>,
    /// How long the oldest of them has waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_wait_seconds: Option<f64>,
    /// Arriving tasks per second, over all task types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals_per_second: Option<f64>,
    /// Tasks handed to workers per second, over all task types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatches_per_second: Option<f64>,
    /// Draining pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining_replicas: Option<f64>,
    /// The metrics of each task type. Slots are only here: each type has its own, so a sum over the
    /// types says nothing about how full any of them is.
    pub task_types: BTreeMap<String, TypeFigures>,
    /// The task types that Temporal rate-limits now.
    pub rate_limited: BTreeSet<String>,
    /// Replicas that each term of the demand asks for.
    pub demand_replicas: BTreeMap<String, f64>,
    /// Seconds since the last successful reading, by source.
    pub reading_age_seconds: BTreeMap<String, f64>,
    /// Why a source is unknown now, by source.
    pub unknown: BTreeMap<String, String>,
    /// The pods that keep the queue from shrinking, each with the reason in one word.
    pub held_pods: BTreeMap<String, String>,
    /// What needs a person's attention.
    pub findings: BTreeSet<String>,
    /// What the workers are seen to do wrong, in one word each.
    pub worker_faults: BTreeMap<String, SeenFault>,
    /// Decisions since the operator started, by direction and reason, such as "hold: CoolingDown".
    pub decisions: BTreeMap<String, f64>,
}

impl Figures {
    /// The decision whose count has grown since `before`; of several, the one with the highest
    /// count. `None` if none has grown.
    pub fn decided_since(&self, before: &Self) -> Option<&str> {
        let grown = self.decisions.iter().filter(|(decision, count)| {
            let known = before.decisions.get(*decision);
            **count > known.copied().unwrap_or(0.0)
        });
        grown
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(decision, _)| decision.as_str())
    }
}

/// The metrics of one replica of the operator.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    /// Whether this replica leads. A standby replica knows nothing about the fleets.
    pub leads: bool,
    /// Its version, if the metrics name it.
    pub version: Option<String>,
    /// The metrics of each queue.
    pub queues: BTreeMap<QueueName, Figures>,
}

/// Why a text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A line is not a sample.
    #[error("line {line} is not a metric: {text:?}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Its first 80 characters.
        text: String,
    },
    /// The text is not from this operator.
    #[error(
        "these are not the metrics of a taskqueue-operator: taskqueue_operator_leader is missing"
    )]
    NotOurs,
}

/// Parses the text.
///
/// # Errors
/// If a line is not a sample, or the text is not the operator's.
pub fn parse(text: &str) -> Result<Scrape, Unreadable> {
    let mut scrape = Scrape::default();
    let mut ours = false;
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = Sample::parse(line).ok_or_else(|| Unreadable::Line {
            line: index + 1,
            text: line.chars().take(80).collect(),
        })?;
        if sample.name == table::LEADER.name {
            ours = true;
            scrape.leads = sample.value > 0.0;
        }
        if sample.name == table::BUILD_INFO.name {
            scrape.version = sample.label("version").map(str::to_owned);
        }
        if let Some(queue) = queue(&sample) {
            take(scrape.queues.entry(queue).or_default(), &sample);
        }
    }
    if ours {
        Ok(scrape)
    } else {
        Err(Unreadable::NotOurs)
    }
}

impl Figures {
    /// The task type whose slots are fullest, of those with slots or work. `None` if no slots are
    /// known, or no type has any.
    pub fn fullest(&self) -> Option<&TypeFigures> {
        task_type::fullest(&self.task_types)
    }
}

/// The queue that a sample is about, if any.
fn queue(sample: &Sample<'_>) -> Option<QueueName> {
    let label = |name: &str| sample.label(name).map(str::to_owned);
    Some(QueueName {
        namespace: label("namespace")?,
        fleet: label("name")?,
        queue: label("queue")?,
    })
}

/// Adds a sample to the metrics of its queue.
fn take(figures: &mut Figures, sample: &Sample<'_>) {
    let value = sample.value;
    let add = |sum: &mut Option<f64>| *sum = Some(sum.unwrap_or(0.0) + value);
    let name = sample.name;
    let label = |name: &str| sample.label(name).unwrap_or_default().to_owned();
    if let Some(task_type) = sample.label("task_type") {
        task_type::take(&mut figures.task_types, task_type, sample);
    }
    if name == table::BACKLOG.name {
        add(&mut figures.backlog_tasks);
    } else if name == table::BACKLOG_BY_PRIORITY.name {
        let tasks = figures.backlog_tasks_by_priority.entry(label("priority"));
        *tasks.or_default() += value;
    } else if name == table::BACKLOG_AGE.name {
        let oldest = figures.oldest_wait_seconds.unwrap_or(0.0);
        figures.oldest_wait_seconds = Some(oldest.max(value));
    } else if name == table::ADD_RATE.name {
        add(&mut figures.arrivals_per_second);
    } else if name == table::DISPATCH_RATE.name {
        add(&mut figures.dispatches_per_second);
    } else if name == table::TERMINATING.name {
        add(&mut figures.draining_replicas);
    } else if name == table::RATE_LIMITED.name && value > 0.0 {
        figures.rate_limited.insert(label("task_type"));
    } else if name == table::DEMAND.name {
        figures.demand_replicas.insert(label("term"), value);
    } else if name == table::READING_AGE.name {
        let source = label("source");
        figures.reading_age_seconds.insert(source, value);
    } else if name == table::READING_UNKNOWN.name {
        let reason = label("reason");
        figures.unknown.insert(label("source"), reason);
    } else if name == table::FINDING.name && value > 0.0 {
        figures.findings.insert(label("finding"));
    } else if name == table::HELD_POD.name && value > 0.0 {
        figures.held_pods.insert(label("pod"), label("why"));
    } else if name == table::WORKER_FAULT.name && value > 0.0 {
        let since = SignedDuration::try_from_secs_f64(value).ok();
        let seen = SeenFault {
            pod: label("pod"),
            since: since.and_then(|since| Timestamp::from_duration(since).ok()),
        };
        figures.worker_faults.insert(label("fault"), seen);
    } else if name == table::DECISIONS.name {
        let decision = format!("{}: {}", label("direction"), label("reason"));
        figures.decisions.insert(decision, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_of_a_task_type_are_not_added_to_those_of_another() {
        let labels = r#"namespace="shop",name="orders",queue="all",task_queue="all""#;
        let sample = |name: &str, task_type: &str, value: f64| {
            format!("taskqueue_operator_{name}{{{labels},task_type=\"{task_type}\"}} {value}\n")
        };
        let text = [
            "taskqueue_operator_leader 1\n".to_owned(),
            sample("slots_used", "activity", 40.0),
            sample("slots_available", "activity", 0.0),
            sample("slots_used", "workflow", 3.0),
            sample("slots_available", "workflow", 3_997.0),
            sample("backlog_tasks", "activity", 7.0),
            sample("backlog_tasks", "workflow", 2.0),
            sample("tasks_add_rate", "activity", 1.5),
            sample("tasks_dispatch_rate", "activity", 1.25),
            sample("service_time_seconds", "activity", 2.5),
            sample("service_time_learned", "activity", 1.0),
            sample("service_time_seconds", "nexus", 5.0),
            sample("service_time_learned", "nexus", 0.0),
        ];
        let queues = parse(&text.concat()).unwrap().queues;
        let figures = queues.into_values().next().unwrap();
        let activity = TypeFigures {
            backlog_tasks: Some(7.0),
            arrivals_per_second: Some(1.5),
            dispatches_per_second: Some(1.25),
            slots_used: Some(40.0),
            slots_free: Some(0.0),
            service_time_seconds: Some(2.5),
            service_time_assumed: Some(false),
        };
        let workflow = TypeFigures {
            backlog_tasks: Some(2.0),
            slots_used: Some(3.0),
            slots_free: Some(3_997.0),
            ..TypeFigures::default()
        };
        let nexus = TypeFigures {
            service_time_seconds: Some(5.0),
            service_time_assumed: Some(true),
            ..TypeFigures::default()
        };
        let expected = [
            ("activity".to_owned(), activity),
            ("nexus".to_owned(), nexus),
            ("workflow".to_owned(), workflow),
        ];
        assert_eq!(figures.task_types, expected.into());
        assert_eq!(figures.backlog_tasks, Some(9.0), "tasks can be added up");
        assert_eq!(figures.fullest(), Some(&activity));
    }
}
