//! The part of the soak with workers other than the order workers: tasks that are short and then
//! long, workers with a task queue for their host alone, and workers that do not report how many
//! slots they have. Which tasks run when, and why one was cut off. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::history::Workflow;

/// How many tasks one pod works on, in fleets that set it.
const SLOTS: &str = "4";
/// The most replicas of each queue.
pub(super) const MOST: u32 = 5;
/// A task that started this shortly before its pod was terminated may be unknown to the operator:
/// the worker sends a heartbeat every 5 s, and the operator reads them every 5 s.
const UNHEARD: SignedDuration = SignedDuration::from_secs(10);

/// A fleet of sleepers, with one queue of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fleet {
    /// Short tasks, and then long ones.
    Mixed,
    /// Tasks on the queues of the hosts.
    Hosts,
    /// Slots by the use of the processor.
    Tuned,
}

impl Fleet {
    pub(super) const ALL: [Self; 3] = [Self::Mixed, Self::Hosts, Self::Tuned];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Hosts => "hosts",
            Self::Tuned => "tuned",
        }
    }

    /// The variables of its workers.
    pub(super) const fn env(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Mixed => &[("SLEEPER_SLOTS", SLOTS)],
            Self::Hosts => &[("SLEEPER_SLOTS", SLOTS), ("SLEEPER_HOST_QUEUE", "true")],
            Self::Tuned => &[("SLEEPER_TUNER", "true")],
        }
    }

    /// What its resource says beside the template.
    pub(super) fn spec(self, task_queue: &str, grace: Duration) -> Value {
        json!({
            "queues": [{
                "name": self.name(), "taskQueue": task_queue, "replicas": {"min": 0, "max": MOST},
            }],
            "scaling": {
                "cooldownPeriod": "5s",
                "slotsPerReplica": 4,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
            },
            "drain": {"gracePeriod": format!("{}s", grace.as_secs())},
        })
    }
}

/// Tasks that are started at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) fleet: Fleet,
    /// Distinguishes it from the other batches of its wave.
    pub(super) name: &'static str,
    pub(super) count: usize,
    pub(super) takes: Duration,
}

/// How long the workers have to finish: half of the longest task, so that some tasks fit in and
/// some do not.
pub(super) fn grace(longest: Duration) -> Duration {
    Duration::from_secs((longest.as_secs() / 2).max(10))
}

/// What a wave brings. The short tasks of one wave leave a large fleet behind, to which the next
/// one brings a few long ones and nothing else.
pub(super) fn batches(wave: usize, longest: Duration) -> Vec<Batch> {
    let batch = |fleet, name, count, takes| Batch {
        fleet,
        name,
        count,
        takes,
    };
    let within = grace(longest) / 2;
    let mut batches = vec![
        batch(Fleet::Hosts, "host", 3, longest / 2),
        batch(Fleet::Tuned, "tuned", 12, Duration::from_secs(6)),
    ];
    if wave.is_multiple_of(2) {
        batches.push(batch(
            Fleet::Mixed,
            "short",
            120,
            Duration::from_millis(500),
        ));
    } else {
        batches.push(batch(Fleet::Mixed, "within", 4, within));
        batches.push(batch(Fleet::Mixed, "beyond", 4, longest));
    }
    batches
}

/// Why a task was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// A bug: the operator had evidence that such tasks outlast the grace period, or no basis to
    /// assume otherwise.
    Known,
    /// It took longer than the grace period, and none like it had been seen on its queue.
    First,
    /// It was started between the last heartbeat and the SIGTERM.
    Raced,
}

/// A task that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CutOff {
    pub(super) why: Cut,
    /// The workflow, and what is known of the task.
    pub(super) what: String,
}

/// The tasks of one queue that were attempted again, and why they had to be. `terminated` has the
/// time at which each pod was terminated. The failure of an attempt that was cut off says where it
/// ran, and since when.
pub(super) fn cuts(
    workflows: &[Workflow],
    terminated: &BTreeMap<String, Timestamp>,
    grace: Duration,
) -> Vec<CutOff> {
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    // The operator can know that tasks of this queue outlast the grace period as soon as one has
    // run that long.
    let known_from = workflows
        .iter()
        .flat_map(|workflow| &workflow.activities)
        .filter(|activity| activity.ended.duration_since(activity.started) > grace)
        .filter_map(|activity| activity.started.checked_add(grace).ok())
        .min();
    let mut cuts = Vec::new();
    for workflow in workflows {
        for activity in workflow.activities.iter().filter(|one| one.attempt > 1) {
            let trouble = activity.trouble.as_deref().unwrap_or_default();
            let stopped = activity
                .cut_off
                .as_ref()
                .and_then(|attempt| Some((attempt.since, *terminated.get(&attempt.pod)?)));
            let why = match stopped {
                Some((since, terminated)) if terminated.duration_since(since) < UNHEARD => {
                    Cut::Raced
                }
                Some((_, terminated)) if known_from.is_none_or(|known| terminated < known) => {
                    Cut::First
                }
                Some(_) | None => Cut::Known,
            };
            let what = format!(
                "{}: {} at attempt {}: {trouble}",
                workflow.id, activity.kind, activity.attempt
            );
            cuts.push(CutOff { why, what });
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Activity, Attempt};

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn task(id: &str, started: i64, ended: i64, trouble: Option<&str>) -> Workflow {
        let activity = Activity {
            kind: "sleep".into(),
            started: second(started),
            ended: second(ended),
            attempt: if trouble.is_some() { 2 } else { 1 },
            worker: "1@pod-z".into(),
            completed: true,
            trouble: trouble.map(str::to_owned),
            heartbeat_missed: false,
            cut_off: None,
        };
        Workflow {
            id: id.into(),
            placed: second(started),
            first_taken: None,
            end: "WORKFLOW_EXECUTION_COMPLETED".into(),
            activities: vec![activity],
        }
    }

    #[test]
    fn a_cut_off_is_excused_only_if_it_was_not_predictable() {
        let terminated = BTreeMap::from([("pod-a".to_owned(), second(100))]);
        let since = |second: i64| {
            Some(Attempt {
                pod: "pod-a".to_owned(),
                since: self::second(second),
            })
        };
        let whys = |others: &[Workflow], cut_off: Option<Attempt>| {
            let mut cut = task("t", 200, 260, Some("it failed"));
            cut.activities[0].cut_off = cut_off;
            let all: Vec<Workflow> = others.iter().cloned().chain([cut]).collect();
            let cuts = cuts(&all, &terminated, Duration::from_secs(20));
            cuts.into_iter().map(|cut| cut.why).collect::<Vec<_>>()
        };
        let short = task("short", 0, 5, None);
        let long_before = task("before", 10, 60, None);
        let long_since = task("since", 79, 140, None);
        let long_too_late = task("late", 81, 140, None);
        assert_eq!(whys(std::slice::from_ref(&short), since(60)), [Cut::First]);
        assert_eq!(
            whys(std::slice::from_ref(&long_before), since(60)),
            [Cut::Known]
        );
        assert_eq!(whys(&[long_since], since(60)), [Cut::Known]);
        assert_eq!(whys(&[long_too_late], since(60)), [Cut::First]);
        assert_eq!(whys(&[long_before], since(91)), [Cut::Raced]);
        assert_eq!(whys(&[short], None), [Cut::Known], "nothing excuses it");
        assert_eq!(
            cuts(
                &[task("well", 0, 60, None)],
                &terminated,
                Duration::from_secs(20)
            ),
            []
        );
    }

    #[test]
    fn waves_alternate_between_short_and_long_within_and_beyond_the_grace_period() {
        let longest = Duration::from_secs(30);
        let mixed = |wave| -> Vec<(&str, u64)> {
            let batches = batches(wave, longest).into_iter();
            let mixed = batches.filter(|batch| batch.fleet == Fleet::Mixed);
            mixed
                .map(|batch| (batch.name, batch.takes.as_secs()))
                .collect()
        };
        assert_eq!(grace(longest).as_secs(), 15);
        assert_eq!(mixed(0), [("short", 0)]);
        assert_eq!(mixed(1), [("within", 7), ("beyond", 30)]);
        assert_eq!(mixed(2), mixed(0));
    }
}
