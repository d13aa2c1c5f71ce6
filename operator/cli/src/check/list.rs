//! What is wrong with a fleet and its workers: as plain data, and as text for people. Pure; the
//! time is passed in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;
use taskqueue_api::{ConditionType, Reason, TaskQueueWorker, worker_fault};
use taskqueue_scaling::Stuck;

use crate::explain::explanation::Explanation;
use crate::figures::{Scrape, SeenFault};
use crate::output::{WIDTH, wrapped};
use crate::view::held::{Held, Standing, facts, standing};
use crate::view::{age, holds_back};

/// The message about a word that a newer operator reports.
const UNKNOWN: &str = "see the documentation of the operator's version";

/// What is wrong with one fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The fleet.
    pub fleet: String,
    /// What is wrong: of the whole fleet first, causes before what follows from them; then by
    /// queue.
    pub issues: Vec<Issue>,
    /// What holds the fleet back because somebody has set it so: a mode. Nothing is wrong with it.
    pub as_set: Vec<String>,
    /// What could not be read, and the remedy.
    pub notes: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// The queue; absent if it is about the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The reason, in one word.
    pub reason: String,
    /// When it was first seen, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The conditions that report it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Reported>,
    /// The pod that showed it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The last Event about it, with what was seen and what to do, as long as the cluster keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What to do, unless the message says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A condition that reports an issue. Its times are those of the status: an earlier reason may have
/// given it the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// The type of the condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// When the status last became that.
    pub since: Timestamp,
}

impl List {
    /// Combines what was read.
    ///
    /// # Errors
    /// Never for the queues of the fleet's own spec.
    pub fn of(
        fleet: &TaskQueueWorker,
        events: &[Event],
        scrape: Option<&Scrape>,
        mut notes: Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut of_queues = Vec::new();
        // The queues with their findings, by the reason of the condition about the finding.
        let mut found: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        let known = fleet
            .spec
            .queues
            .iter()
            .map(|spec| Explanation::of(fleet, Some(&spec.name), events, scrape, Vec::new()))
            .collect::<anyhow::Result<Vec<Explanation>>>()?;
        for known in &known {
            let queue = known.queue.name.as_str();
            let about = |note: &String| format!("queue {queue}: {note}");
            notes.extend(known.notes.iter().map(about));
            let Some(figures) = &known.queue.figures else {
                continue;
            };
            for finding in &figures.findings {
                let queues = found.entry(reason_of(finding)).or_default();
                queues.push((queue, finding));
            }
            let faults = figures.worker_faults.iter();
            of_queues.extend(faults.map(|(fault, seen)| of_fault(known, fault, seen)));
        }
        let status = fleet.status.clone().unwrap_or_default();
        let mut issues = Vec::new();
        let (set, wrong): (Vec<&Condition>, Vec<&Condition>) = status
            .conditions
            .iter()
            .filter(|condition| is_told(condition))
            .partition(|condition| is_set(condition));
        for held in facts(wrong) {
            let issue = of_fact(&held);
            // A condition about a finding is listed with the queues that have it. Its message is
            // about one queue only if no other queue has the finding.
            match found.remove(held.reason).as_deref() {
                Some([(queue, _)]) => {
                    let queue = Some((*queue).to_owned());
                    of_queues.push(Issue { queue, ..issue });
                }
                Some(queues) => of_queues.extend(queues.iter().map(|(queue, finding)| Issue {
                    conditions: issue.conditions.clone(),
                    ..of_finding(queue, finding)
                })),
                None => issues.push(issue),
            }
        }
        for (queue, finding) in found.values().flatten() {
            of_queues.push(of_finding(queue, finding));
        }
        for spec in &fleet.spec.queues {
            let (own, others) = of_queues
                .into_iter()
                .partition(|issue| issue.queue.as_ref() == Some(&spec.name));
            issues.extend::<Vec<Issue>>(own);
            of_queues = others;
        }
        Ok(Self {
            namespace: fleet.namespace().unwrap_or_default(),
            fleet: fleet.name_any(),
            issues,
            as_set: set.iter().map(|held| held.message.clone()).collect(),
            notes,
        })
    }

    /// The list as text for people.
    pub fn render(&self, now: Timestamp) -> String {
        let count = match self.issues.len() {
            0 => "nothing is seen to be wrong".to_owned(),
            1 => "1 issue".to_owned(),
            many => format!("{many} issues"),
        };
        let mut text = format!("{}/{}: {count}\n", self.namespace, self.fleet);
        let mut shown = None;
        for issue in &self.issues {
            let queue = issue.queue.as_deref();
            if shown != Some(queue) {
                let title =
                    queue.map_or_else(|| "the fleet".to_owned(), |of| format!("queue {of}"));
                // Writing to a String does not fail.
                _ = writeln!(text, "\n{title}");
                shown = Some(queue);
            }
            for line in issue.lines(now) {
                _ = writeln!(text, "{line}");
            }
        }
        for (index, set) in self.as_set.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            _ = writeln!(text, "{gap}As set: {set}");
        }
        for (index, note) in self.notes.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            _ = writeln!(text, "{gap}Note: {note}");
        }
        text
    }
}

impl Issue {
    fn lines(&self, now: Timestamp) -> Vec<String> {
        let standing = (!self.conditions.is_empty()).then(|| {
            let conditions = self.conditions.iter().map(|reported| Standing {
                kind: &reported.kind,
                status: &reported.status,
                since: reported.since,
            });
            standing(conditions, now)
        });
        let seen = self
            .since
            .map(|since| format!("first seen {} ago", age(since, now)));
        let known = standing.or(seen).map(|known| format!(" ({known})"));
        let mut lines = vec![format!("  {}{}", self.reason, known.unwrap_or_default())];
        if let Some(event) = &self.event {
            lines.extend(wrapped(event, "    ", WIDTH));
            return lines;
        }
        lines.extend(wrapped(&self.message, "    ", WIDTH));
        if let Some(remedy) = &self.remedy {
            lines.extend(wrapped(&format!("Remedy: {remedy}"), "    ", WIDTH));
        }
        lines
    }
}

/// Whether a condition reports an issue, or what somebody has set. A limit that binds and a rollout
/// under way do not count.
fn is_told(condition: &Condition) -> bool {
    holds_back(condition)
        && condition.type_ != ConditionType::ScalingLimited.as_str()
        && condition.reason != Reason::RollingOut.as_str()
}

/// Whether a condition reports a mode that somebody has set, which does what they want.
fn is_set(condition: &Condition) -> bool {
    [Reason::DryRun, Reason::Paused]
        .iter()
        .any(|mode| mode.as_str() == condition.reason)
}

fn of_fact(held: &Held<'_>) -> Issue {
    let reported = held.conditions.iter().map(|condition| Reported {
        kind: condition.type_.clone(),
        status: condition.status.clone(),
        since: condition.last_transition_time.0,
    });
    Issue {
        queue: None,
        reason: held.reason.to_owned(),
        since: None,
        conditions: reported.collect(),
        pod: None,
        message: held.message.to_owned(),
        event: None,
        remedy: None,
    }
}

/// The reason of the condition about a finding.
fn reason_of(finding: &str) -> &str {
    if finding == Stuck::ReadyButNotPolling.as_str() {
        Reason::NotPolling.as_str()
    } else {
        finding
    }
}

/// A finding about a queue. A newer operator may report one that this program does not know.
fn of_finding(queue: &str, finding: &str) -> Issue {
    let known = Stuck::ALL.into_iter().find(|way| way.as_str() == finding);
    Issue {
        queue: Some(queue.to_owned()),
        reason: reason_of(finding).to_owned(),
        since: None,
        conditions: Vec::new(),
        pod: None,
        message: known.map_or(UNKNOWN, Stuck::describe).to_owned(),
        event: None,
        remedy: None,
    }
}

/// What a worker does wrong.
fn of_fault(known: &Explanation, fault: &str, seen: &SeenFault) -> Issue {
    let queue = &known.queue.name;
    let mut newest_first = known.events.iter().rev();
    let event =
        newest_first.find(|event| event.reason == fault && event.queue.as_ref() == Some(queue));
    let mut faults = worker_fault::ALL.into_iter();
    let reason = faults.find(|reason| reason.as_str() == fault);
    // A newer operator may report one that this program does not know.
    let meaning = reason.and_then(worker_fault::describe).unwrap_or(UNKNOWN);
    Issue {
        queue: Some(queue.clone()),
        reason: fault.to_owned(),
        since: seen.since,
        conditions: Vec::new(),
        pod: Some(seen.pod.clone()),
        message: format!("pod {}: {meaning}", seen.pod),
        event: event.map(|event| event.note.clone()),
        remedy: reason.and_then(worker_fault::remedy).map(str::to_owned),
    }
}
