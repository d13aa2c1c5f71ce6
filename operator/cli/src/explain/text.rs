//! The explanation as text for people. Pure; the time is passed in.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use taskqueue_api::Reason;
use taskqueue_api::status::{DecisionInputs, DecisionStatus};
use taskqueue_scaling as scaling;

use super::explanation::{EventLine, Explanation};
use crate::color::{Ink, Tone};
use crate::figures::Figures;
use crate::output::{WIDTH, wrapped};
use crate::view::{QueueView, age, seconds};

impl Explanation {
    /// The explanation as text for people.
    pub fn render(&self, now: Timestamp, ink: Ink) -> String {
        let queue = &self.queue;
        let mut text = format!(
            "{}/{}, queue {} (task queue {}{})\n",
            self.namespace,
            self.fleet,
            queue.name,
            queue.task_queue,
            match (&queue.target, queue.deployment.as_str()) {
                (Some(target), _) => format!(", {} {}", target.kind, target.name),
                (None, "") => ", no Deployment yet".to_owned(),
                (None, name) => format!(", Deployment {name}"),
            }
        );
        let title = |title: &str| ink.mark(Tone::Head, title);
        section(&mut text, &title("NOW"), &now_lines(queue));
        let change = queue.last_decision.as_ref().map_or_else(
            || vec!["none since the queue was created, or the status was lost".to_owned()],
            |last| change_lines(last, now),
        );
        section(&mut text, &title("LAST CHANGE"), &change);
        let held: Vec<String> = self
            .conditions
            .iter()
            .flat_map(|held| held_lines(held, now))
            .collect();
        let holds = "WHAT HOLDS THE FLEET BACK";
        if held.is_empty() {
            section(&mut text, &title(holds), &["nothing".to_owned()]);
        } else {
            section(&mut text, &ink.mark(Tone::Held, holds), &held);
        }
        let events: Vec<String> = self
            .events
            .iter()
            .flat_map(|line| line.lines(now))
            .collect();
        let none = vec!["none left in the cluster".to_owned()];
        section(
            &mut text,
            &title("EVENTS, oldest first"),
            if events.is_empty() { &none } else { &events },
        );
        for (index, note) in self.notes.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            _ = writeln!(text, "{gap}Note: {note}");
        }
        text
    }
}

impl EventLine {
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

/// The current state: replicas from the spec and the status, the rest from the metrics.
fn now_lines(queue: &QueueView) -> Vec<String> {
    let known = queue.ready.zip(queue.desired).map_or_else(
        || "unknown".to_owned(),
        |(ready, desired)| format!("{ready} ready, {desired} desired"),
    );
    let mut lines = vec![fact(
        "replicas",
        &format!("{known}, from {} to {} allowed", queue.min, queue.max),
    )];
    if let Some(deciding) = &queue.deciding {
        lines.push(fact("deciding", deciding));
    }
    if let Some(figures) = &queue.figures {
        lines.extend(figure_lines(queue, figures));
    }
    lines
}

fn figure_lines(queue: &QueueView, figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |label: &str, value: Option<String>| {
        lines.push(fact(label, &value.unwrap_or_else(|| "unknown".to_owned())));
    };
    let target = queue
        .wait_target_seconds
        .map_or_else(String::new, |target| {
            format!(" (target {})", seconds(target))
        });
    add(
        "backlog",
        figures
            .backlog_tasks
            .map(|tasks| backlog(tasks, figures.oldest_wait_seconds, &target)),
    );
    if let Some(waiting) = waiting_by_priority(figures) {
        add("of these", Some(waiting));
    }
    let rates = figures
        .arrivals_per_second
        .zip(figures.dispatches_per_second);
    add(
        "rates",
        rates.map(|(arrive, leave)| {
            format!("{arrive:.2} tasks per second arrive, {leave:.2} are dispatched")
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
                "Temporal limits {kind} tasks: more workers would not help"
            )),
        );
    }
    for finding in &figures.findings {
        add("finding", Some(finding.clone()));
    }
    for (fault, seen) in &figures.worker_faults {
        add(
            "worker fault",
            Some(format!(
                "{fault}, on pod {}: see the command check",
                seen.pod
            )),
        );
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

/// How many tasks of each priority wait; `None` if the server tells no priority.
fn waiting_by_priority(figures: &Figures) -> Option<String> {
    let waiting = figures.backlog_tasks_by_priority.iter();
    let waiting: Vec<String> = waiting
        .filter(|(_, tasks)| **tasks > 0.0)
        .map(|(key, tasks)| format!("{tasks} of priority {key}"))
        .collect();
    let waiting = (!waiting.is_empty()).then(|| waiting.join(", "))?;
    Some(format!("{waiting} (1 is the highest); all count alike"))
}

/// How many tasks wait, and since when the oldest has.
fn backlog(tasks: f64, oldest_seconds: Option<f64>, target: &str) -> String {
    // A number of tasks is whole.
    let wait = if (tasks - 1.0).abs() < 0.5 {
        "task waits"
    } else {
        "tasks wait"
    };
    match oldest_seconds {
        Some(age) if tasks > 0.0 => {
            format!("{tasks} {wait}, the oldest for {}{target}", seconds(age))
        }
        _ => format!("{tasks} {wait}{target}"),
    }
}

/// One line per pod that keeps the queue from shrinking; beyond ten the pods are only counted.
fn held_pods(figures: &Figures) -> Vec<String> {
    const NAMED: usize = 10;
    let describe = |(pod, why): (&String, &String)| {
        let hold = scaling::Hold::ALL.iter().find(|hold| hold.as_str() == why);
        match hold {
            Some(hold) => format!("pod {pod} {}", hold.describe()),
            None => format!("pod {pod} must stay ({why})"),
        }
    };
    let pods = figures.held_pods.iter();
    let mut lines: Vec<String> = pods.take(NAMED).map(describe).collect();
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

/// The last decision, as the status holds it.
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
    lines.push(fact("inputs", &inputs(&last.inputs)));
    let terms = [
        ("in flight", last.terms.in_flight),
        ("drain", last.terms.drain),
        ("age", last.terms.age),
        ("capacity", last.terms.capacity),
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
        let tasks = if backlog == 1 { "task" } else { "tasks" };
        parts.push(format!("{backlog} {tasks} waited{oldest}"));
    } else {
        parts.push("the backlog was unknown".to_owned());
    }
    if let Some(added) = inputs.tasks_added_per_1000_seconds {
        parts.push(format!("{} per second arrived", per_second(added)));
    }
    parts.push(inputs.slots_used.map_or_else(
        || "the slots in use were unknown".to_owned(),
        |used| match used {
            1 => "1 slot was in use".to_owned(),
            _ => format!("{used} slots were in use"),
        },
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

/// Formats thousandths of a task per second as tasks per second.
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

fn fact(label: &str, value: &str) -> String {
    let mut lines = wrapped(value, "", WIDTH - 16).into_iter();
    let mut text = format!("{label:<14}{}", lines.next().unwrap_or_default());
    for line in lines {
        // Writing to a String does not fail.
        _ = write!(text, "\n  {:<14}{line}", "");
    }
    text
}

/// A reason, with its meaning if it is known.
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

/// Breaks a text into lines of at most [`WIDTH`] characters.
fn broken(text: &str, indent: &str) -> Vec<String> {
    wrapped(text, indent, WIDTH)
}
