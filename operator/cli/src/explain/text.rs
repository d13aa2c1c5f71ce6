//! The explanation as text for people. Pure; the time is passed in.

use std::fmt::Write as _;

use jiff::Timestamp;
use taskqueue_api::status::{DecisionInputs, DecisionStatus};

use super::explanation::{EventLine, Explanation};
use super::now::now_lines;
use super::words::{broken, fact, moment, with_meaning};
use crate::color::{Ink, Tone};
use crate::view::held::{Held, facts};
use crate::view::{age, only_reported, seconds};

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
        let held: Vec<String> = facts(&self.conditions)
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

/// The last decision, as the status holds it.
fn change_lines(last: &DecisionStatus, now: Timestamp) -> Vec<String> {
    let done = if only_reported(last) {
        ", not carried out (mode DryRun)"
    } else {
        ""
    };
    let mut lines = vec![format!(
        "{} ({} ago) from {} to {}{done}: {}",
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
            0 => "no slot was in use".to_owned(),
            1 => "1 slot was in use".to_owned(),
            _ => format!("{used} slots of all task types were in use"),
        },
    ));
    // These two are of the task type that asked for the most replicas.
    let of_type = [
        inputs
            .slots_per_replica
            .map(|slots| format!("a replica had {slots} slots")),
        inputs
            .service_time_milliseconds
            .map(|time| format!("a task took {}", milliseconds(time))),
    ];
    let of_type: Vec<String> = of_type.into_iter().flatten().collect();
    if !of_type.is_empty() {
        let of_type = of_type.join(" and ");
        parts.push(format!("of the type with the largest demand, {of_type}"));
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

fn held_lines(held: &Held<'_>, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("{} ({})", held.reason, held.standing(now))];
    lines.extend(broken(held.message, "  "));
    lines
}
