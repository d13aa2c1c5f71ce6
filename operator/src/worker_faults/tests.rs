//! Each rule with workers that break it and workers that only look like it. The longest rules have
//! files of their own.

use taskqueue_scaling::{PerType, SlotSource, TypeBacklog, TypeSlots};

use super::*;
use crate::observe::drains::{Draining, Killed, WorkerEnd};
use crate::testing::{NOW, heartbeat};

mod early_ends;
mod slot_use;

fn moment(second: u64) -> Moment {
    Moment {
        monotonic: NOW.plus(Duration::from_secs(second)),
        wall: wall(second),
    }
}

fn wall(second: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
}

fn pods(names: &[&str]) -> Pods {
    let live = |name: &&str| LivePod {
        name: (*name).to_owned(),
        phase: PodPhase::Ready,
    };
    Pods {
        live: names.iter().map(live).collect(),
        template: Some("1".to_owned()),
        ..Pods::default()
    }
}

fn activity(used: u32, total: u32, processed: u64) -> TypeSlots {
    TypeSlots {
        used,
        available: Some(total - used),
        processed_total: Some(processed),
    }
}

/// The heartbeat that a worker on the pod `p` of the task queue `a` sends at this second.
fn report(sent: u64, interval: u64, slots: TypeSlots) -> WorkerReport {
    WorkerReport {
        heartbeat_interval: Some(Duration::from_secs(interval)),
        ..heartbeat(sent, "a", slots)
    }
}

/// A queue, as one pass after the other sees it.
struct Queue {
    faults: WorkerFaults,
    pods: Pods,
    workers: Vec<WorkerReport>,
    waiting: TypeBacklog,
    task_time: Option<Duration>,
    left: Option<&'static str>,
    polling: Option<&'static str>,
}

impl Queue {
    fn new(names: &[&str]) -> Self {
        Self {
            faults: WorkerFaults::default(),
            pods: pods(names),
            workers: Vec::new(),
            waiting: TypeBacklog::default(),
            task_time: None,
            left: None,
            polling: None,
        }
    }

    /// A pass with a new worker list at this second; returns the words of what was found so far.
    fn pass(&mut self, second: u64) -> Vec<&'static str> {
        let now = moment(second);
        let workers = Reading::Known {
            value: self.workers.clone(),
            taken_at: now.monotonic,
        };
        let slots = taskqueue_temporal::slots(&workers, &self.pods.live, "a", now.monotonic);
        self.observe(&workers, &slots, now)
    }

    fn observe(
        &mut self,
        workers: &Reading<Vec<WorkerReport>>,
        slots: &Reading<Slots>,
        now: Moment,
    ) -> Vec<&'static str> {
        let backlog = Reading::Known {
            value: Backlog {
                sequence: now.monotonic.as_millis(),
                types: PerType {
                    activity: Some(self.waiting),
                    ..PerType::default()
                },
            },
            taken_at: now.monotonic,
        };
        let facts = Facts {
            task_queue: "a",
            former_task_queue: self.left,
            pods: &self.pods,
            workers,
            slots,
            backlog: &backlog,
            task_time: self.task_time,
            polling: self.polling,
        };
        self.faults.observe(&facts, now);
        let found = self.faults.found();
        found.map(|(reason, _)| reason.as_str()).collect()
    }

    fn evidence(&self) -> Vec<&str> {
        let found = self.faults.found();
        found.map(|(_, fault)| fault.evidence.as_str()).collect()
    }
}

#[test]
fn two_rare_heartbeats_in_a_row_are_a_fault_and_two_frequent_ones_end_it() {
    let rare = vec!["HeartbeatsTooRare"];
    let table = [
        ("the default of the SDKs", vec![60, 60, 60], rare.clone()),
        ("just too rare", vec![30, 30], rare.clone()),
        ("one alone", vec![60], vec![]),
        ("often enough", vec![5, 5, 5, 5], vec![]),
        (
            "late, because Temporal was down",
            vec![5, 70, 5, 70, 5],
            vec![],
        ),
        ("early at the start", vec![0, 60, 60], rare),
        ("repaired", vec![60, 60, 5, 5], vec![]),
    ];
    for (what, intervals, expected) in table {
        let mut queue = Queue::new(&["p"]);
        let mut found = Vec::new();
        let mut second = 0;
        for interval in intervals {
            second += interval;
            queue.workers = vec![report(second, interval, activity(0, 10, 0))];
            queue.pass(second + 1);
            // The same heartbeat again is nothing new.
            found = queue.pass(second + 2);
        }
        assert_eq!(found, expected, "{what}");
    }
}

/// What sets a queue apart from one whose worker is judged.
type Change = fn(&mut Queue);

#[test]
fn only_running_workers_of_the_newest_template_are_judged_by_their_heartbeats() {
    let of = |change: Change| {
        let mut queue = Queue::new(&["p"]);
        let mut found = Vec::new();
        for second in [60, 120, 180] {
            queue.workers = vec![report(second, 60, activity(0, 10, 0))];
            change(&mut queue);
            found = queue.pass(second);
        }
        found
    };
    assert_eq!(of(|_| {}), ["HeartbeatsTooRare"]);
    let innocent: [(&str, Change); 4] = [
        ("replaced", |queue| {
            queue.pods.replaced = ["p".to_owned()].into();
        }),
        ("draining", |queue| {
            queue.pods.live[0].phase = PodPhase::Terminating;
        }),
        ("stopping", |queue| {
            queue.workers[0].status = WorkerStatus::ShuttingDown;
        }),
        ("of another host", |queue| {
            queue.workers[0].host_name = "q".to_owned();
        }),
    ];
    for (what, change) in innocent {
        assert_eq!(of(change), Vec::<&str>::new(), "{what}");
    }
}

#[test]
fn heartbeats_that_no_reading_saw_are_not_missing() {
    // Seconds from one heartbeat to the next that was seen, and between two readings of the list.
    let table = [
        (60, 30, true),
        (45, 30, false),
        (35, 30, false),
        (90, 80, false),
    ];
    for (interval, between_readings, expected) in table {
        let mut queue = Queue::new(&["p"]);
        for number in 1..=3 {
            let second = number * interval;
            let mut seen = report(second, interval, activity(0, 10, 0));
            let sent_after = moment(second).monotonic;
            seen.heartbeat_changed_at =
                Some(sent_after.plus(Duration::from_secs(between_readings)));
            queue.workers = vec![seen];
            queue.pass(second);
        }
        let found = !queue.evidence().is_empty();
        assert_eq!(found, expected, "{interval} {between_readings}");
    }
}

#[test]
fn only_work_on_a_task_queue_that_the_workers_are_not_leaving_is_work_elsewhere() {
    let elsewhere = vec!["WorksOnOtherQueues"];
    let table = [
        ("runs a task", "b", 1, 0, None, elsewhere.clone()),
        ("has run one", "b", 0, 1, None, elsewhere.clone()),
        ("of its host", "p", 1, 5, None, elsewhere),
        ("never had a task", "b", 0, 0, None, vec![]),
        ("its own", "a", 1, 5, None, vec![]),
        ("the one that it leaves", "b", 1, 5, Some("b"), vec![]),
    ];
    for (what, task_queue, used, processed, left, expected) in table {
        let mut queue = Queue::new(&["p"]);
        queue.left = left;
        let mut other = report(5, 5, activity(used, 10, processed));
        task_queue.clone_into(&mut other.task_queue);
        queue.workers = vec![other];
        assert_eq!(queue.pass(5), expected, "{what}");
    }
}

#[test]
fn a_fault_is_forgotten_with_another_template_or_after_a_day() {
    let polling = || {
        let mut queue = Queue::new(&["p"]);
        queue.polling = Some("q");
        assert_eq!(queue.pass(1), ["PollsAfterStop"]);
        queue.polling = None;
        queue
    };
    let day = 24 * 60 * 60;
    let mut queue = polling();
    assert_eq!(queue.pass(day), ["PollsAfterStop"]);
    assert_eq!(queue.pass(day + 1), Vec::<&str>::new());
    let mut queue = polling();
    queue.pods = Pods::default();
    assert_eq!(queue.pass(2), ["PollsAfterStop"], "no pods say nothing");
    queue.pods = pods(&["p"]);
    queue.pods.template = Some("2".to_owned());
    assert_eq!(queue.pass(3), Vec::<&str>::new());
}

#[test]
fn the_first_sight_of_a_fault_stays() {
    let mut queue = Queue::new(&["p"]);
    for (second, pod) in [(1, "q"), (9, "r")] {
        queue.polling = Some(pod);
        queue.pass(second);
    }
    let (_, fault) = queue.faults.found().next().unwrap();
    assert_eq!((fault.pod.as_str(), fault.since), ("q", wall(1)));
}

/// The heartbeat of a worker of the Go SDK with its defaults: every 60 s, with 1,000 slots of each
/// type.
fn go(sent: u64, used: u32, processed: u64) -> WorkerReport {
    let mut report = report(sent, 60, activity(used, 1000, processed));
    report.heartbeat_interval = Some(Duration::from_millis(60_002));
    report.slots.workflow = Some(activity(0, 1000, processed));
    report
}

#[test]
fn a_go_worker_with_the_defaults_of_its_sdk_is_told_what_to_set() {
    let mut queue = Queue::new(&["p"]);
    let minute = 60;
    for number in 1..=100 {
        queue.workers = vec![go(number * minute, 0, 0)];
        queue.pass(number * minute + 2);
    }
    let rare = "the worker of pod p sends a heartbeat only every 1m, so the operator learns late \
                that its slots are free or that it has died";
    assert_eq!(queue.evidence(), [rare], "an idle one");
    for number in 1..=13 {
        queue.workers = vec![go((100 + number) * minute, 6, number * 100)];
        queue.pass((100 + number) * minute + 2);
    }
    assert_eq!(
        queue.evidence(),
        [
            rare,
            "no pod has been seen with more than 6 of its 1000 activity slots in use, although \
             the pods have processed more tasks than that"
        ]
    );
    for (reason, _) in queue.faults.found() {
        let remedy = remedy(reason).unwrap();
        assert!(
            remedy.contains("Go ") && remedy.contains("TypeScript "),
            "{remedy}"
        );
    }
}
