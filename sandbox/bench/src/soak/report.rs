//! Counts the results of the soak from histories and watches. Pure.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use jiff::Timestamp;
use sandbox_machine::{
    Column::{Numbers, Words},
    table,
};

use crate::{
    error::Error,
    history::{Activity, Workflow},
    kubectl_watch::Replicas,
    percentiles::{between, figure},
    soak::sleepers::{Cut, CutOff},
};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    lasted: Duration,
    workflows: usize,
    /// How long the activities of each type took, at their last attempts.
    kinds: BTreeMap<String, Vec<Duration>>,
    queues: BTreeMap<String, Changes>,
    /// Scale-ins of a queue during which activities were running in the fleet.
    downs_while_busy: usize,
    /// Activities that were running on a pod when it was terminated, and completed there.
    completed_on_stopped_pods: usize,
    attempts_beyond_first: usize,
    heartbeats_missed: usize,
    /// Tasks of other workers, and those of them that were cut off, by why.
    others: usize,
    cut: BTreeMap<Cut, Vec<String>>,
    /// Broken promises, with the workflow's id.
    broken: Vec<String>,
}

/// Changes of a queue's replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    up: usize,
    down: usize,
    most: u32,
}

impl Report {
    pub(super) fn new(
        workflows: &[Workflow],
        replicas: &[Replicas],
        terminating: &BTreeMap<String, Timestamp>,
        lasted: Duration,
    ) -> Self {
        let activities: Vec<(&Workflow, &Activity)> = workflows
            .iter()
            .flat_map(|workflow| workflow.activities.iter().map(move |one| (workflow, one)))
            .collect();
        let mut kinds = BTreeMap::<String, Vec<Duration>>::new();
        for (_, activity) in &activities {
            let took = between(activity.started, activity.ended);
            kinds.entry(activity.kind.clone()).or_default().push(took);
        }
        let (queues, downs) = changes(replicas);
        let running = |at: Timestamp| {
            activities
                .iter()
                .any(|(_, one)| one.started < at && at < one.ended)
        };
        let stopped_under = |activity: &Activity| {
            terminating.iter().any(|(pod, at)| {
                activity.worker.contains(pod) && activity.started < *at && *at < activity.ended
            })
        };
        let count = |holds: &dyn Fn(&Activity) -> bool| {
            activities.iter().filter(|(_, one)| holds(one)).count()
        };
        Self {
            lasted,
            workflows: workflows.len(),
            kinds,
            queues,
            downs_while_busy: downs.iter().filter(|at| running(**at)).count(),
            completed_on_stopped_pods: count(&|one| one.completed && stopped_under(one)),
            attempts_beyond_first: count(&|one| one.attempt > 1),
            heartbeats_missed: count(&|one| one.heartbeat_missed),
            others: 0,
            cut: BTreeMap::new(),
            broken: broken(workflows),
        }
    }

    /// Adds the tasks of other workers, and those of them that were cut off.
    pub(super) fn add(&mut self, workflows: &[Workflow], cuts: Vec<CutOff>) {
        self.others += workflows.len();
        for workflow in workflows.iter().filter(|workflow| !workflow.completed()) {
            let broken = format!("{} ended with {}", workflow.id, workflow.end);
            self.broken.push(broken);
        }
        for CutOff { why, what } in cuts {
            if why == Cut::Known {
                self.broken.push(what.clone());
            }
            self.cut.entry(why).or_default().push(what);
        }
    }

    /// An error that names the workflows if anything was interrupted, or if the fleet did not go up
    /// and down.
    pub fn verdict(&self) -> Result<(), Error> {
        let mut broken = self.broken.clone();
        let moved = |of: fn(&Changes) -> usize| self.queues.values().map(of).sum::<usize>();
        if moved(|changes| changes.up) == 0 || moved(|changes| changes.down) == 0 {
            broken.push("the fleet did not scale up and down, so the run proves nothing".into());
        }
        if broken.is_empty() {
            Ok(())
        } else {
            Err(Error::Violated(format!(
                "the soak found broken promises:\n  {}",
                broken.join("\n  ")
            )))
        }
    }
}

/// How often each queue went up and down, and when one went down.
fn changes(replicas: &[Replicas]) -> (BTreeMap<String, Changes>, Vec<Timestamp>) {
    let mut queues = BTreeMap::<String, Changes>::new();
    let mut before = BTreeMap::<&str, u32>::new();
    let mut downs = Vec::new();
    for now in replicas {
        let changes = queues.entry(now.queue.clone()).or_default();
        changes.most = changes.most.max(now.desired);
        match before.insert(&now.queue, now.desired) {
            Some(before) if before < now.desired => changes.up += 1,
            Some(before) if before > now.desired => {
                changes.down += 1;
                downs.push(now.at);
            }
            Some(_) | None => {}
        }
    }
    (queues, downs)
}

/// Every activity that was not completed at its first attempt, and every order that did not end
/// well.
fn broken(workflows: &[Workflow]) -> Vec<String> {
    let mut broken = Vec::new();
    for workflow in workflows {
        let id = &workflow.id;
        if !workflow.completed() {
            broken.push(format!("{id} ended with {}", workflow.end));
        }
        let bad = |one: &&Activity| one.attempt > 1 || !one.completed || one.trouble.is_some();
        for activity in workflow.activities.iter().filter(bad) {
            broken.push(format!(
                "{id}: {} at attempt {} on {}: {}",
                activity.kind,
                activity.attempt,
                activity.worker,
                activity.trouble.as_deref().unwrap_or("not completed")
            ));
        }
    }
    broken
}

impl Report {
    /// How long the activities of each kind took.
    fn activities(&self) -> String {
        let columns = [
            Words("ACTIVITY"),
            Numbers("COUNT"),
            Numbers("SHORTEST s"),
            Numbers("MEDIAN s"),
            Numbers("LONGEST s"),
        ];
        let rows = self.kinds.iter().map(|(kind, took)| {
            let [shortest, median, longest] = [0, 50, 100].map(|percent| figure(took, percent));
            [
                kind.clone(),
                took.len().to_string(),
                shortest,
                median,
                longest,
            ]
        });
        table(columns, rows)
    }

    /// How often the replicas of each queue changed.
    fn changes(&self) -> String {
        let columns = [
            Words("QUEUE"),
            Numbers("UP"),
            Numbers("DOWN"),
            Numbers("MOST"),
        ];
        let rows = self.queues.iter().map(|(queue, changes)| {
            let Changes { up, down, most } = changes;
            [
                queue.clone(),
                up.to_string(),
                down.to_string(),
                most.to_string(),
            ]
        });
        table(columns, rows)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} orders in {} s, until the fleet was back at zero.\n\n{}\n{}",
            self.workflows,
            self.lasted.as_secs(),
            self.activities(),
            self.changes()
        )?;
        writeln!(
            f,
            "{} scale-ins while activities ran; {} activities ran on a pod when it was asked to \
             stop, and completed there.",
            self.downs_while_busy, self.completed_on_stopped_pods
        )?;
        writeln!(
            f,
            "Attempts beyond the first: {}. Heartbeat timeouts: {}. (From the histories in \
             Temporal.)",
            self.attempts_beyond_first, self.heartbeats_missed
        )?;
        let count = |why| self.cut.get(&why).map_or(0, Vec::len);
        writeln!(
            f,
            "\n{} tasks of other workers. Cut off: known {}, first {}, raced {} \
             (docs/scaling/scale-in.md).",
            self.others,
            count(Cut::Known),
            count(Cut::First),
            count(Cut::Raced)
        )?;
        for (why, what) in &self.cut {
            for what in what {
                writeln!(f, "  {why:?}: {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn mailing(started: i64, ended: i64, pod: &str) -> Activity {
        Activity {
            kind: "send_notification".into(),
            started: second(started),
            ended: second(ended),
            attempt: 1,
            worker: format!("1@{pod}"),
            completed: true,
            trouble: None,
            heartbeat_missed: false,
            cut_off: None,
        }
    }

    fn order(id: &str, activity: Activity) -> Workflow {
        Workflow {
            id: id.into(),
            placed: second(0),
            first_taken: Some(second(1)),
            end: "WORKFLOW_EXECUTION_COMPLETED".into(),
            activities: vec![activity],
        }
    }

    fn replicas(steps: &[(i64, u32)]) -> Vec<Replicas> {
        steps
            .iter()
            .map(|(at, asked)| Replicas {
                at: second(*at),
                fleet: "soak".into(),
                queue: "mails".into(),
                desired: *asked,
                current: 0,
            })
            .collect()
    }

    #[test]
    fn a_cut_off_of_another_worker_is_printed_and_fails_the_soak_if_it_was_predictable() {
        let up_and_down = replicas(&[(0, 0), (1, 2), (5, 0)]);
        let report = |why| {
            let nothing = BTreeMap::new();
            let mut report = Report::new(&[], &up_and_down, &nothing, Duration::from_secs(20));
            let what = "t-1: Sleep at attempt 2".to_owned();
            report.add(
                &[order("t-1", mailing(2, 10, "pod-a"))],
                vec![CutOff { why, what }],
            );
            report
        };
        for (why, counts) in [
            (Cut::Known, "known 1, first 0, raced 0"),
            (Cut::First, "known 0, first 1, raced 0"),
            (Cut::Raced, "known 0, first 0, raced 1"),
        ] {
            let report = report(why);
            assert_eq!(report.verdict().is_err(), why == Cut::Known, "{why:?}");
            let printed = report.to_string();
            assert!(printed.contains(counts), "{printed}");
            assert!(
                printed.contains(&format!("{why:?}: t-1: Sleep")),
                "{printed}"
            );
        }
    }

    #[test]
    fn an_activity_that_completed_on_a_stopping_pod_at_its_first_attempt_is_fine() {
        let report = Report::new(
            &[
                order("a", mailing(2, 10, "pod-a")),
                order("b", mailing(2, 4, "pod-b")),
            ],
            &replicas(&[(0, 0), (1, 2), (5, 1), (20, 0)]),
            &BTreeMap::from([
                ("pod-a".to_owned(), second(5)),
                ("pod-b".to_owned(), second(20)),
            ]),
            Duration::from_secs(20),
        );
        assert_eq!(
            report,
            Report {
                lasted: Duration::from_secs(20),
                workflows: 2,
                kinds: BTreeMap::from([(
                    "send_notification".to_owned(),
                    vec![Duration::from_secs(8), Duration::from_secs(2)]
                )]),
                queues: BTreeMap::from([(
                    "mails".to_owned(),
                    Changes {
                        up: 1,
                        down: 2,
                        most: 2
                    }
                )]),
                downs_while_busy: 1,
                completed_on_stopped_pods: 1,
                attempts_beyond_first: 0,
                heartbeats_missed: 0,
                others: 0,
                cut: BTreeMap::new(),
                broken: Vec::new(),
            }
        );
        assert!(report.verdict().is_ok());
    }

    #[test]
    fn an_interruption_is_reported_with_its_workflow_and_a_run_without_scaling_fails() {
        let again = Activity {
            attempt: 2,
            trouble: Some("activity Heartbeat timeout".into()),
            heartbeat_missed: true,
            ..mailing(2, 10, "pod-a")
        };
        let report = Report::new(
            &[order("a", again)],
            &replicas(&[(0, 1)]),
            &BTreeMap::new(),
            Duration::ZERO,
        );
        assert_eq!(
            (report.attempts_beyond_first, report.heartbeats_missed),
            (1, 1)
        );
        assert_eq!(
            report.verdict().unwrap_err().to_string(),
            "the soak found broken promises:\n  a: send_notification at attempt 2 on 1@pod-a: \
             activity Heartbeat timeout\n  the fleet did not scale up and down, so the run proves \
             nothing"
        );
    }
}
