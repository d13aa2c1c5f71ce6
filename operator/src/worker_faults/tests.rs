//! Each rule with workers that break it and workers that only look like it.

use taskqueue_scaling::{PerType, SlotSource, TypeBacklog, TypeSlots};

use super::*;
use crate::observe::drains::{Draining, Killed, WorkerEnd};
use crate::testing::{NOW, heartbeat};

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

/// What 20 heartbeats of a worker say about its slots, if each has these slots, and `processed`
/// more tasks have ended since the one before.
fn slots_of(slots: TypeSlots, processed: u64, waiting: TypeBacklog) -> Vec<String> {
    let mut queue = Queue::new(&["p"]);
    queue.waiting = waiting;
    for number in 1..=20 {
        let slots = TypeSlots {
            processed_total: slots.processed_total.map(|_| number * processed),
            ..slots
        };
        queue.workers = vec![report(number * 5, 5, slots)];
        queue.pass(number * 5);
    }
    queue.evidence().into_iter().map(str::to_owned).collect()
}

#[test]
fn slots_are_never_used_only_after_there_was_reason_to_use_them() {
    let nothing = TypeBacklog::default();
    let waiting = |count| TypeBacklog {
        count,
        ..TypeBacklog::default()
    };
    let never = |peak: u32, why: &str| {
        vec![format!(
            "no pod has been seen with more than {peak} of its 1000 activity slots in use, {why}"
        )]
    };
    let waited = never(3, "although tasks waited");
    let processed = never(7, "although the pods have processed more tasks than that");
    let unlimited = TypeSlots {
        available: None,
        ..activity(3, 1000, 0)
    };
    let uncounted = TypeSlots {
        processed_total: None,
        ..activity(3, 1000, 0)
    };
    let limited = TypeBacklog {
        rate_limited: true,
        ..waiting(500)
    };
    let table = [
        ("idle", activity(0, 1000, 0), 0, nothing, vec![]),
        ("little to do", activity(1, 1000, 0), 3, nothing, vec![]),
        ("much done", activity(7, 1000, 0), 100, nothing, processed),
        ("tasks wait", activity(3, 1000, 0), 1, waiting(101), waited),
        ("few wait", activity(3, 1000, 0), 1, waiting(100), vec![]),
        (
            "nobody may take them",
            activity(0, 1000, 0),
            0,
            waiting(500),
            vec![],
        ),
        (
            "Temporal limits them",
            activity(3, 1000, 0),
            1,
            limited,
            vec![],
        ),
        ("used", activity(101, 1000, 0), 100, waiting(500), vec![]),
        ("not many", activity(3, 249, 0), 100, waiting(500), vec![]),
        ("no fixed number", unlimited, 100, waiting(500), vec![]),
        ("without counts", uncounted, 100, waiting(500), vec![]),
    ];
    for (what, slots, processed, waiting, expected) in table {
        assert_eq!(slots_of(slots, processed, waiting), expected, "{what}");
    }
}

#[test]
fn a_burst_of_short_tasks_between_few_heartbeats_is_no_proof() {
    let mut queue = Queue::new(&["p"]);
    for (second, processed) in [(60, 0), (120, 40_000), (180, 90_000)] {
        queue.workers = vec![report(second, 5, activity(0, 1000, processed))];
        assert_eq!(queue.pass(second), Vec::<&str>::new(), "{second}");
    }
}

#[test]
fn slots_that_are_used_after_all_are_no_fault_any_more() {
    let mut queue = Queue::new(&["p"]);
    for number in 1..=20 {
        let slots = activity(7, 1000, number * 100);
        queue.workers = vec![report(number * 5, 5, slots)];
        queue.pass(number * 5);
    }
    assert_eq!(queue.evidence().len(), 1);
    queue.workers = vec![report(105, 5, activity(300, 1000, 2100))];
    assert_eq!(queue.pass(105), Vec::<&str>::new());
}

/// Ends of pods that are all alike.
#[derive(Clone, Copy)]
struct Ends {
    /// The number of the first pod.
    first: u64,
    pods: u64,
    /// Seconds between two ends.
    apart: u64,
    task_time: Option<u64>,
    /// Slots in use in the last heartbeat.
    used: u32,
    /// Seconds from the last heartbeat to the end.
    took: u64,
    /// Seconds of the grace period, of 60, that were left at the end.
    left: u64,
    killed: Option<Killed>,
    workers: usize,
}

/// Workers that drop their tasks, which take a minute.
const DROPPING: Ends = Ends {
    first: 1,
    pods: 3,
    apart: 70,
    task_time: Some(60),
    used: 2,
    took: 1,
    left: 58,
    killed: None,
    workers: 1,
};

fn ended(queue: &mut Queue, ends: &Ends) -> Vec<&'static str> {
    queue.task_time = ends.task_time.map(Duration::from_secs);
    let mut found = Vec::new();
    for number in ends.first..ends.first + ends.pods {
        let name = format!("p{number}");
        let sent = 1000 + number * ends.apart;
        let last = WorkerReport {
            host_name: name.clone(),
            ..report(sent, 5, activity(ends.used, 10, 0))
        };
        queue.workers = vec![last; ends.workers];
        let at = sent + ends.took;
        queue.pods.gone = vec![Draining {
            pod: name,
            grace: Duration::from_mins(1),
            ends: wall(at + ends.left),
            shortened_to: None,
            hooked: false,
            end: Some(WorkerEnd {
                at: Some(wall(at)),
                killed: ends.killed,
            }),
        }];
        queue.pass(at);
        queue.pods.gone.clear();
        // The next list has the same last heartbeat.
        found = queue.pass(at + 1);
    }
    found
}

#[test]
fn workers_that_end_before_their_tasks_are_reported_when_luck_is_unlikely() {
    let guilty = vec!["EndsBeforeItsTasks"];
    let table = [
        ("drop tasks", DROPPING, guilty),
        (
            "once",
            Ends {
                pods: 1,
                ..DROPPING
            },
            vec![],
        ),
        (
            "twice",
            Ends {
                pods: 2,
                ..DROPPING
            },
            vec![],
        ),
        (
            "all at once, as tasks of one batch may end",
            Ends {
                pods: 30,
                apart: 1,
                ..DROPPING
            },
            vec![],
        ),
        (
            "short tasks",
            Ends {
                pods: 30,
                task_time: Some(1),
                ..DROPPING
            },
            vec![],
        ),
        (
            "tasks of unknown length",
            Ends {
                pods: 30,
                task_time: None,
                ..DROPPING
            },
            vec![],
        ),
        (
            "idle",
            Ends {
                pods: 30,
                used: 0,
                ..DROPPING
            },
            vec![],
        ),
        (
            "a heartbeat that is a third of a task old",
            Ends {
                pods: 30,
                took: 20,
                ..DROPPING
            },
            vec![],
        ),
        (
            "used most of their grace period",
            Ends {
                pods: 30,
                left: 29,
                ..DROPPING
            },
            vec![],
        ),
        (
            "killed",
            Ends {
                pods: 30,
                killed: Some(Killed::Other),
                ..DROPPING
            },
            vec![],
        ),
        (
            "several workers in a pod",
            Ends {
                pods: 30,
                workers: 2,
                ..DROPPING
            },
            vec![],
        ),
    ];
    for (what, ends, expected) in table {
        let mut queue = Queue::new(&[]);
        assert_eq!(ended(&mut queue, &ends), expected, "{what}");
    }
}

#[test]
fn the_evidence_of_early_ends_says_how_sure_it_is_and_a_pod_that_waits_ends_the_row() {
    let mut queue = Queue::new(&[]);
    ended(&mut queue, &DROPPING);
    assert_eq!(
        queue.evidence(),
        [
            "3 pods in a row, p3 the last, exited by themselves right after a heartbeat with \
             running tasks, with more than half of their drain grace period left, although a task \
             takes about 1m: fewer than 1 in 10000 workers that wait for their tasks would end \
             like that"
        ]
    );
    let mut queue = Queue::new(&[]);
    let two = Ends {
        pods: 2,
        ..DROPPING
    };
    let waits = Ends {
        pods: 1,
        took: 62,
        ..DROPPING
    };
    for (first, ends) in [(10, two), (20, waits), (30, two)] {
        assert_eq!(
            ended(&mut queue, &Ends { first, ..ends }),
            Vec::<&str>::new()
        );
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

#[test]
fn scraped_slots_are_judged_while_tasks_wait_only_if_the_tasks_are_counted() {
    let mut queue = Queue::new(&["p"]);
    queue.waiting.count = 500;
    let workers = Reading::Known {
        value: Vec::new(),
        taken_at: NOW,
    };
    for number in 1..=30 {
        let now = moment(number * 5);
        let pod = PodSlots {
            pod: "p".to_owned(),
            phase: PodPhase::Ready,
            listed: true,
            fresh: true,
            reported_at: Some(now.monotonic),
            reported_after: Some(now.monotonic),
            types: PerType {
                activity: Some(TypeSlots {
                    processed_total: None,
                    ..activity(3, 1000, 0)
                }),
                ..PerType::default()
            },
            elsewhere: None,
        };
        let slots = Reading::Known {
            value: Slots {
                pods: vec![pod],
                source: SlotSource::Scraped,
            },
            taken_at: now.monotonic,
        };
        assert_eq!(queue.observe(&workers, &slots, now), Vec::<&str>::new());
    }
}

#[test]
fn every_fault_has_a_remedy_and_fits_into_an_event() {
    let others = Reason::OWN.iter().filter(|reason| !ALL.contains(reason));
    assert_eq!(others.filter_map(|reason| remedy(*reason)).count(), 0);
    for reason in ALL {
        let remedy = remedy(reason).unwrap();
        // A note has 1000 bytes, and the evidence names a pod and perhaps a task queue.
        assert!(remedy.len() < 450, "{reason}: {}", remedy.len());
    }
}
