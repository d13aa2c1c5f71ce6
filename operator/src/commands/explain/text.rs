//! Why one queue has the replicas that it has, as plain data and as text. Pure; the time is passed
//! in.

use std::fmt::Write as _;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;
use taskqueue_api::injected::MANAGER;
use taskqueue_api::status::{DecisionInputs, DecisionStatus};
use taskqueue_api::{Reason, TaskQueueWorker, validate};
use taskqueue_scaling as scaling;

use crate::commands::figures::{Figures, Scrape};
use crate::commands::view::{QueueView, age, holds_back, of_fleet, seconds};

/// A text wider than this is broken.
const WIDTH: usize = 100;

/// Everything that is known about one queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The fleet.
    pub fleet: String,
    /// The queue.
    pub queue: QueueView,
    /// The conditions that hold the fleet back; none if all is well.
    pub conditions: Vec<Condition>,
    /// The Events about the queue, and those about the whole fleet, the oldest first.
    pub events: Vec<EventLine>,
    /// What could not be read, and the way out.
    pub notes: Vec<String>,
}

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventLine {
    /// When it last happened.
    pub time: Timestamp,
    /// Whether a person should look.
    pub warning: bool,
    /// The reason in one word.
    pub reason: String,
    /// What happened.
    pub note: String,
    /// How often it happened.
    pub count: i32,
}

impl Explanation {
    /// Brings together what was read.
    ///
    /// # Errors
    /// If the fleet has no such queue, or several and none was named.
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
            notes.push("the operator's metrics do not hold this queue (yet)".to_owned());
        }
        let deployment = deployment_of(&queue, fleet);
        let mut lines: Vec<EventLine> = events
            .iter()
            .filter(|event| is_about(event, fleet, deployment.as_deref()))
            .filter_map(EventLine::of)
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

    /// The explanation for people.
    pub fn render(&self, now: Timestamp) -> String {
        let queue = &self.queue;
        let mut text = format!(
            "{}/{}, queue {} (task queue {}{})\n",
            self.namespace,
            self.fleet,
            queue.name,
            queue.task_queue,
            match queue.deployment.as_str() {
                "" => ", no Deployment yet".to_owned(),
                name => format!(", Deployment {name}"),
            }
        );
        section(&mut text, "NOW", &now_lines(queue));
        let change = queue.last_decision.as_ref().map_or_else(
            || vec!["none since the queue exists, or the status was lost".to_owned()],
            |last| change_lines(last, now),
        );
        section(&mut text, "LAST CHANGE", &change);
        let held: Vec<String> = self
            .conditions
            .iter()
            .flat_map(|held| held_lines(held, now))
            .collect();
        let nothing = vec!["nothing".to_owned()];
        section(
            &mut text,
            "WHAT HOLDS THE FLEET BACK",
            if held.is_empty() { &nothing } else { &held },
        );
        let events: Vec<String> = self
            .events
            .iter()
            .flat_map(|line| line.lines(now))
            .collect();
        let none = vec!["none that the cluster still has".to_owned()];
        section(
            &mut text,
            "EVENTS, the oldest first",
            if events.is_empty() { &none } else { &events },
        );
        for (index, note) in self.notes.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            _ = writeln!(text, "{gap}Note: {note}");
        }
        text
    }
}

/// Whether an Event is of this fleet (not of one of its name before it), by the operator, and about
/// this queue or no queue in particular: it names the Deployment of the queue that it is about.
fn is_about(event: &Event, fleet: &TaskQueueWorker, deployment: Option<&str>) -> bool {
    let regarding = event.regarding.clone().unwrap_or_default();
    let uid = fleet.uid().unwrap_or_default();
    let related = event.related.as_ref();
    let related = related.and_then(|related| related.name.as_deref());
    regarding.name == fleet.metadata.name
        && regarding.uid.is_none_or(|other| other == uid)
        && event.reporting_controller.as_deref() == Some(MANAGER)
        && related
            .zip(deployment)
            .is_none_or(|(related, own)| related == own)
}

/// The Deployment of a queue: as the status names it, or else as the spec will.
fn deployment_of(queue: &QueueView, fleet: &TaskQueueWorker) -> Option<String> {
    if !queue.deployment.is_empty() {
        return Some(queue.deployment.clone());
    }
    let queues = validate(fleet).ok()?.queues;
    let found = queues.into_iter().find(|other| other.name == queue.name);
    found.map(|found| found.deployment_name)
}

impl EventLine {
    fn of(event: &Event) -> Option<Self> {
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
            count: series.map_or(1, |series| series.count),
        })
    }

    fn lines(&self, now: Timestamp) -> Vec<String> {
        let times = if self.count > 1 {
            format!(", {} times", self.count)
        } else {
            String::new()
        };
        let warning = if self.warning { " (Warning)" } else { "" };
        let head = format!(
            "{} ({} ago{times}) {}{warning}",
            moment(self.time),
            age(self.time, now),
            self.reason
        );
        let mut lines = vec![head];
        lines.extend(broken(&self.note, "  "));
        lines
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    // Writing to a String does not fail.
    _ = writeln!(text, "\n{title}");
    for line in lines {
        _ = writeln!(text, "  {line}");
    }
}

/// What is true at this moment: the replicas from the status, the rest from the metrics.
fn now_lines(queue: &QueueView) -> Vec<String> {
    let mut lines = vec![fact(
        "replicas",
        &format!(
            "{} ready, {} desired, from {} to {} allowed",
            queue.ready, queue.desired, queue.min, queue.max
        ),
    )];
    if let Some(figures) = &queue.figures {
        lines.extend(figure_lines(queue, figures));
    }
    lines
}

fn figure_lines(queue: &QueueView, figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |what: &str, said: Option<String>| {
        lines.push(fact(what, &said.unwrap_or_else(|| "unknown".to_owned())));
    };
    let target = queue
        .wait_target_seconds
        .map_or_else(String::new, |target| {
            format!(" (may wait {})", seconds(target))
        });
    add(
        "backlog",
        figures
            .backlog_tasks
            .map(|tasks| match figures.oldest_wait_seconds {
                Some(wait) if tasks > 0.0 => {
                    format!(
                        "{tasks} tasks wait, the oldest for {}{target}",
                        seconds(wait)
                    )
                }
                _ => format!("{tasks} tasks wait{target}"),
            }),
    );
    let rates = figures
        .arrivals_per_second
        .zip(figures.dispatches_per_second);
    add(
        "rates",
        rates.map(|(arrive, leave)| {
            format!("{arrive:.2} tasks per second arrive, {leave:.2} are handed to workers")
        }),
    );
    add(
        "slots",
        figures.slots_used.map(|used| match figures.slots_free {
            Some(free) => format!("{used} of {} in use", used + free),
            None => format!("{used} in use"),
        }),
    );
    let takes = list(&figures.service_time_seconds, |kind, time| {
        format!("{kind} {}", seconds(*time))
    });
    add("a task takes", (!takes.is_empty()).then_some(takes));
    let demand = list(&figures.demand_replicas, |term, replicas| {
        format!("{} {replicas}", term.replace('_', " "))
    });
    add(
        "demand",
        (!demand.is_empty()).then(|| format!("{demand} (replicas; the largest counts)")),
    );
    let read = list(&figures.reading_age_seconds, |source, age| {
        format!("{source} {} ago", seconds(*age))
    });
    add("read", (!read.is_empty()).then_some(read));
    for (source, reason) in &figures.unknown {
        add("unknown", Some(format!("{source}: {reason}")));
    }
    for kind in &figures.rate_limited {
        add(
            "rate limited",
            Some(format!(
                "{kind} tasks, by Temporal: more workers would not help"
            )),
        );
    }
    for finding in &figures.findings {
        add("finding", Some(finding.clone()));
    }
    for held in held_pods(figures) {
        add("held", Some(held));
    }
    let mut decisions: Vec<(&String, &f64)> = figures.decisions.iter().collect();
    decisions.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let decisions: Vec<String> = decisions
        .into_iter()
        .take(5)
        .map(|(decision, count)| format!("{count} x {decision}"))
        .collect();
    if !decisions.is_empty() {
        add(
            "decided",
            Some(format!(
                "{} (since the operator started)",
                decisions.join(", ")
            )),
        );
    }
    lines
}

/// A line per pod that keeps the queue from shrinking.
fn held_pods(figures: &Figures) -> Vec<String> {
    const NAMED: usize = 10;
    let said = |(pod, why): (&String, &String)| {
        let hold = scaling::Hold::ALL.iter().find(|hold| hold.as_str() == why);
        match hold {
            Some(hold) => format!("pod {pod} {}", hold.describe()),
            None => format!("pod {pod} must stay ({why})"),
        }
    };
    let pods = figures.held_pods.iter();
    let mut lines: Vec<String> = pods.take(NAMED).map(said).collect();
    match figures.held_pods.len().saturating_sub(NAMED) {
        0 => {}
        1 => lines.push("1 more pod must stay".to_owned()),
        more => lines.push(format!("{more} more pods must stay")),
    }
    lines
}

fn list<V>(
    values: &std::collections::BTreeMap<String, V>,
    one: impl Fn(&str, &V) -> String,
) -> String {
    let all: Vec<String> = values.iter().map(|(key, value)| one(key, value)).collect();
    all.join(", ")
}

/// The decision as it was frozen.
fn change_lines(last: &DecisionStatus, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!(
        "{} ({} ago) from {} to {}: {}",
        moment(last.time.0),
        age(last.time.0, now),
        last.from,
        last.to,
        with_meaning(&last.reason)
    )];
    lines.extend(broken(&last.message, ""));
    lines.push(fact("it knew", &inputs(&last.inputs)));
    let terms = [
        ("in flight", last.terms.in_flight),
        ("drain", last.terms.drain),
        ("age", last.terms.age),
        ("backlog per replica", last.terms.backlog),
    ];
    let terms: Vec<String> = terms
        .into_iter()
        .filter_map(|(name, replicas)| Some(format!("{name} {}", replicas?)))
        .collect();
    if !terms.is_empty() {
        lines.push(fact(
            "demand",
            &format!("{} (replicas; the largest counts)", terms.join(", ")),
        ));
    }
    for limit in &last.limits {
        lines.push(fact(
            "limit",
            &format!(
                "from {} to {} by {}",
                limit.from,
                limit.to,
                with_meaning(&limit.name)
            ),
        ));
    }
    lines
}

fn inputs(inputs: &DecisionInputs) -> String {
    let mut parts = Vec::new();
    if let Some(backlog) = inputs.backlog {
        let oldest = inputs.backlog_age_milliseconds.filter(|_| backlog > 0);
        let oldest = oldest.map_or_else(String::new, |age| {
            format!(", the oldest for {}", milliseconds(age))
        });
        parts.push(format!("{backlog} tasks waited{oldest}"));
    } else {
        parts.push("the backlog was unknown".to_owned());
    }
    if let Some(added) = inputs.tasks_added_per_1000_seconds {
        parts.push(format!("{} per second arrived", per_second(added)));
    }
    parts.push(inputs.slots_used.map_or_else(
        || "the slots in use were unknown".to_owned(),
        |used| format!("{used} slots were in use"),
    ));
    if let Some(slots) = inputs.slots_per_replica {
        parts.push(format!("a replica had {slots}"));
    }
    if let Some(time) = inputs.service_time_milliseconds {
        parts.push(format!("a task took {}", milliseconds(time)));
    }
    parts.push(format!(
        "replicas: {} ready, {} starting, {} stopping",
        inputs.ready, inputs.starting, inputs.terminating
    ));
    parts.join("; ")
}

fn milliseconds(value: u64) -> String {
    seconds(std::time::Duration::from_millis(value).as_secs_f64())
}

/// Thousandths of a task per second, as tasks per second.
fn per_second(milli: u64) -> String {
    format!("{}.{:02}", milli / 1000, milli % 1000 / 10)
}

fn held_lines(condition: &Condition, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!(
        "{} is {} ({}) since {}",
        condition.type_,
        condition.status,
        condition.reason,
        age(condition.last_transition_time.0, now)
    )];
    lines.extend(broken(&condition.message, "  "));
    lines
}

fn fact(what: &str, said: &str) -> String {
    let mut lines = within(said, "", WIDTH - 16).into_iter();
    let mut text = format!("{what:<14}{}", lines.next().unwrap_or_default());
    for line in lines {
        // Writing to a String does not fail.
        _ = write!(text, "\n  {:<14}{line}", "");
    }
    text
}

/// A reason with what it means.
fn with_meaning(word: &str) -> String {
    let limits = scaling::Reason::ALL.into_iter();
    let meaning = limits
        .map(|reason| (reason.as_str(), reason.describe()))
        .chain(
            Reason::OWN
                .iter()
                .map(|reason| (reason.as_str(), reason.describe())),
        )
        .find(|(name, _)| *name == word);
    match meaning {
        Some((_, meaning)) => format!("{word} ({meaning})"),
        None => word.to_owned(),
    }
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Lines of at most [`WIDTH`] characters.
fn broken(text: &str, indent: &str) -> Vec<String> {
    within(text, indent, WIDTH)
}

/// Lines of at most `width` characters, broken between words.
fn within(text: &str, indent: &str, width: usize) -> Vec<String> {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > indent.len() && line + 1 + word.chars().count() > width {
            lines.push(indent.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            if line.len() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
