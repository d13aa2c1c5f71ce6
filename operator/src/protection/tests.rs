use taskqueue_scaling::{
    Observation, PerType, PodSlots, Policy, Reading, Replicas, Slots, TypeSlots, UnknownReason,
};
use taskqueue_temporal::LivePod;

use super::*;
use crate::testing::NOW;

/// A fleet whose pods send a heartbeat every five seconds, with the annotations that the operator
/// has written.
struct TestFleet {
    now: Time,
    history: History,
    tasks: LongTasks,
    times: WriteTimes,
    pods: Pods,
    /// Slots in use and tasks processed, by pod.
    counts: Vec<(u32, u64)>,
    /// The number of writes in each pass.
    writes: Vec<usize>,
}

impl TestFleet {
    fn new(pods: usize) -> Self {
        let live = (0..pods).map(|index| LivePod {
            name: format!("p{index:03}"),
            phase: PodPhase::Ready,
        });
        Self {
            now: NOW,
            history: History::new(),
            tasks: LongTasks::default(),
            times: WriteTimes::default(),
            pods: Pods {
                live: live.collect(),
                ..Pods::default()
            },
            counts: vec![(0, 0); pods],
            writes: Vec::new(),
        }
    }

    /// Five seconds later: `works` gives each pod its slots in use and the tasks processed since.
    fn beat(&mut self, enabled: bool, works: impl Fn(usize) -> (u32, u64)) -> Vec<Protection> {
        self.now = self.now.plus(Duration::from_secs(5));
        for (index, (used, processed)) in self.counts.iter_mut().enumerate() {
            let (now_used, done) = works(index);
            (*used, *processed) = (now_used, *processed + done);
        }
        let slots = self
            .pods
            .live
            .iter()
            .zip(&self.counts)
            .map(|(pod, counts)| PodSlots {
                pod: pod.name.clone(),
                phase: pod.phase,
                listed: true,
                fresh: true,
                reported_at: Some(self.now),
                reported_after: Some(self.now),
                types: PerType {
                    activity: Some(TypeSlots {
                        used: counts.0,
                        available: Some(10),
                        processed_total: Some(counts.1),
                    }),
                    ..PerType::default()
                },
                elsewhere: None,
            });
        let number = u32::try_from(self.pods.live.len()).unwrap();
        let observation = Observation {
            replicas: Replicas {
                requested: number,
                ready: number,
                ..Replicas::default()
            },
            backlog: Reading::Unknown {
                reason: UnknownReason::NotReadYet,
                since: NOW,
                failures: 0,
            },
            slots: Reading::Known {
                value: Slots {
                    pods: slots.collect(),
                    ..Slots::default()
                },
                taken_at: self.now,
            },
            drained: Vec::new(),
        };
        self.history
            .observe(&Policy::default(), &observation, self.now);
        self.pass(enabled)
    }

    /// A pass, which writes as much as it may.
    fn pass(&mut self, enabled: bool) -> Vec<Protection> {
        self.tasks.observe(&self.pods, &self.history, self.now);
        let mut changes = self
            .tasks
            .changes(&self.pods, &self.history, enabled, self.now);
        changes.truncate(self.times.left(self.now));
        self.times.record(changes.len(), self.now);
        for change in &changes {
            if change.protect {
                self.pods.protected.insert(change.pod.clone());
            } else {
                self.pods.protected.remove(&change.pod);
            }
        }
        self.writes.push(changes.len());
        changes
    }

    fn total(&self) -> usize {
        self.writes.iter().sum()
    }
}

/// A pod that works on one long task.
const LONG_TASK: (u32, u64) = (1, 0);
/// A pod that has finished about as many tasks of a second as its slots allow in five seconds.
const SHORT_TASKS: (u32, u64) = (9, 45);
const IDLE: (u32, u64) = (0, 0);

#[test]
fn five_hundred_pods_with_tasks_of_a_second_cause_no_write_in_an_hour() {
    let mut fleet = TestFleet::new(500);
    for _ in 0..720 {
        fleet.beat(true, |_| SHORT_TASKS);
    }
    assert_eq!(fleet.total(), 0);
}

#[test]
fn five_hundred_pods_with_long_tasks_are_written_once_and_at_most_five_in_a_second() {
    let mut fleet = TestFleet::new(500);
    for _ in 0..720 {
        fleet.beat(true, |_| LONG_TASK);
        for _ in 0..4 {
            fleet.now = fleet.now.plus(Duration::from_secs(1));
            fleet.pass(true);
        }
        fleet.now = fleet.now.minus(Duration::from_secs(4));
    }
    assert_eq!(fleet.total(), 500);
    assert_eq!(fleet.writes.iter().max(), Some(&5));
}

#[test]
fn a_pod_is_protected_after_a_minute_and_until_five_minutes_after_its_last_long_task() {
    let mut fleet = TestFleet::new(1);
    fleet.beat(true, |_| IDLE);
    let change = |protect| {
        vec![Protection {
            pod: "p000".to_owned(),
            protect,
        }]
    };
    // The task is first seen with the first of these heartbeats.
    let at = (1..=20).find(|_| !fleet.beat(true, |_| LONG_TASK).is_empty());
    assert_eq!(at, Some(13), "60 s after it was first seen");
    assert!(fleet.pods.protected.contains("p000"));
    // It ends, and short tasks follow.
    fleet.beat(true, |_| (1, 1));
    let at = (1..=100).find(|_| fleet.beat(true, |_| SHORT_TASKS) == change(false));
    assert_eq!(at, Some(59), "300 s after the long task was seen last");
    // Another long task soon after the first costs no write.
    let mut fleet = TestFleet::new(1);
    for task in 0..10 {
        fleet.beat(true, |_| (1, u64::from(task > 0)));
        for _ in 0..40 {
            fleet.beat(true, |_| LONG_TASK);
        }
    }
    assert_eq!(fleet.total(), 1);
}

#[test]
fn annotations_of_others_are_left_alone_and_ours_go_when_it_is_switched_off() {
    let mut fleet = TestFleet::new(3);
    fleet.pods.spared_by_others.insert("p001".to_owned());
    for _ in 0..20 {
        fleet.beat(true, |_| LONG_TASK);
    }
    assert_eq!(fleet.pods.protected.len(), 2);
    let gone = fleet.beat(false, |_| LONG_TASK);
    assert_eq!(gone.len(), 2);
    assert!(fleet.pods.protected.is_empty());
    assert_eq!(fleet.beat(false, |_| LONG_TASK), []);
}

#[test]
fn a_protected_pod_of_an_earlier_process_is_kept_for_five_minutes() {
    let mut fleet = TestFleet::new(1);
    fleet.pods.protected.insert("p000".to_owned());
    let at = (0..100).find(|_| !fleet.beat(true, |_| IDLE).is_empty());
    assert_eq!(at, Some(60));
}
