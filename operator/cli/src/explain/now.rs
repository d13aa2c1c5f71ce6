//! The current state of a queue as text for people. Pure.

use taskqueue_scaling as scaling;

use super::words::{fact, with_meaning};
use crate::figures::{Figures, TypeFigures};
use crate::view::{DRY_RUN, PAUSED, QueueView, seconds};

/// The current state: replicas from the spec and the status, the rest from the metrics.
pub(super) fn now_lines(queue: &QueueView) -> Vec<String> {
    let known = queue.ready.zip(queue.desired).map_or_else(
        || "unknown".to_owned(),
        |(ready, desired)| format!("{ready} ready, {desired} desired"),
    );
    let mut lines = vec![fact(
        "replicas",
        &format!("{known}, from {} to {} allowed", queue.min, queue.max),
    )];
    match queue.mode {
        Some(DRY_RUN) => lines.push(fact(
            "mode",
            "DryRun: the operator reports what it decides, and does not carry it out",
        )),
        Some(PAUSED) => lines.push(fact("mode", "Paused: the operator decides nothing")),
        _ => {}
    }
    if let Some(target) = queue.wait_target_seconds {
        lines.push(fact("sized by", &rule(target, queue)));
    }
    if let Some(deciding) = &queue.deciding {
        lines.push(fact("deciding", &decided(deciding)));
    }
    if let Some(figures) = &queue.figures {
        lines.extend(figure_lines(queue, figures));
    }
    lines
}

/// What decides the size, and how many slots stay free.
fn rule(target: f64, queue: &QueueView) -> String {
    let target = seconds(target);
    queue.target_utilization_percent.map_or_else(
        || format!("queueWaitTarget {target}, which also decides how many slots stay free"),
        |percent| {
            format!(
                "queueWaitTarget {target}, and targetUtilization {percent}%, which decides how \
                 many slots stay free"
            )
        },
    )
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
    add("slots", slots(figures));
    add("a task takes", service_times(figures));
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
        .map(|(decision, count)| format!("{count} x {}", decided(decision)))
        .collect();
    if !decisions.is_empty() {
        let decisions = decisions.join(", ");
        let decisions = format!("since the operator started: {decisions}");
        add("decided", Some(decisions));
    }
    lines
}

/// A decision, such as "hold: CoolingDown", with the meaning of its reason.
fn decided(decision: &str) -> String {
    match decision.split_once(": ") {
        Some((direction, reason)) => format!("{direction}: {}", with_meaning(reason)),
        None => decision.to_owned(),
    }
}

/// The slots of each task type that has slots or work; `None` if none are known.
fn slots(figures: &Figures) -> Option<String> {
    let known: Vec<(&String, &TypeFigures)> = figures
        .task_types
        .iter()
        .filter(|(_, figures)| figures.slots_used.is_some())
        .collect();
    if known.is_empty() {
        return None;
    }
    let shown = known.into_iter().filter_map(|(kind, figures)| {
        let (used, all) = figures.slots()?;
        let all = all.map_or_else(String::new, |all| format!(" of {all}"));
        let shown = figures.has_slots_or_work();
        shown.then(|| format!("{kind} {used}{all}"))
    });
    let shown: Vec<String> = shown.collect();
    Some(if shown.is_empty() {
        "none".to_owned()
    } else {
        format!("{} in use", shown.join(", "))
    })
}

/// How long a task takes, for each type that has slots or work, or that the workers have shown;
/// `None` if nothing is known.
fn service_times(figures: &Figures) -> Option<String> {
    let known: Vec<(&String, &TypeFigures, f64)> = figures
        .task_types
        .iter()
        .filter_map(|(kind, figures)| Some((kind, figures, figures.service_time_seconds?)))
        .collect();
    if known.is_empty() {
        return None;
    }
    let shown = known.into_iter().filter_map(|(kind, figures, time)| {
        let learned = figures.service_time_assumed == Some(false);
        let assumed = if figures.service_time_assumed == Some(true) {
            " (assumed)"
        } else {
            ""
        };
        let shown = learned || figures.has_slots_or_work();
        shown.then(|| format!("{kind} {}{assumed}", seconds(time)))
    });
    let shown: Vec<String> = shown.collect();
    Some(if shown.is_empty() {
        "not learned yet".to_owned()
    } else {
        shown.join(", ")
    })
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
