//! Which pods may be terminated, judged by their own heartbeats and by what is known of the queue's
//! tasks.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{activities, pod, policy, waiting};

const GRACE: Duration = Duration::from_mins(2);

#[expect(
    clippy::struct_field_names,
    reason = "the pods are what the fleet is about"
)]
/// A fleet whose pods send heartbeats of their own, 5 s apart.
struct Pods {
    policy: Policy,
    history: History,
    now: Time,
    sequence: u64,
    pods: Vec<PodSlots>,
    /// Slots per pod.
    slots: u32,
    by_ordinal: bool,
    /// Requested replicas without a pod.
    missing: u32,
    /// Pods whose workers are known to have finished their tasks.
    drained: Vec<String>,
}

impl Pods {
    /// `count` ready pods of 10 slots that were idle when the operator began to watch. Since then,
    /// for one grace period, each has finished 3 tasks in every 5 s: tasks of about a second.
    fn of_short_tasks(count: usize) -> Self {
        let mut fleet = Self::new(count);
        for _ in 0..(GRACE.as_secs() / 5) {
            fleet.beats(|_, slots| {
                slots.processed_total = slots.processed_total.map(|done| done + 3);
                slots.used = 1 - slots.used.min(1);
            });
        }
        fleet.beats(|_, slots| slots.used = 0);
        fleet
    }

    fn new(count: usize) -> Self {
        let now = Time::from_secs(1000);
        let pods = (0..count).map(|index| pod(&format!("p{index:02}"), 0, now));
        Self {
            policy: Policy {
                max: 40,
                drain_grace_period: GRACE,
                ..policy()
            },
            history: History::new(),
            now,
            sequence: 0,
            pods: pods.collect(),
            slots: 10,
            by_ordinal: false,
            missing: 0,
            drained: Vec::new(),
        }
    }

    /// Advances by five seconds; every pod sends a heartbeat.
    fn beat(&mut self, mut change: impl FnMut(usize, &mut TypeSlots)) -> Decision {
        self.now = self.now.plus(Duration::from_secs(5));
        for (index, pod) in self.pods.iter_mut().enumerate() {
            if pod.fresh {
                pod.reported_at = Some(self.now);
                pod.reported_after = Some(self.now.minus(Duration::from_secs(5)));
            }
            if let Some(slots) = &mut pod.types.activity {
                change(index, slots);
                slots.available = Some(self.slots.saturating_sub(slots.used));
            }
        }
        self.decide(0)
    }

    /// Like [`Self::beat`], without the decision.
    fn beats(&mut self, change: impl FnMut(usize, &mut TypeSlots)) {
        drop(self.beat(change));
    }

    fn observation(&self, count: u64) -> Observation {
        let of = |phase| self.pods.iter().filter(|pod| pod.phase == phase).count();
        let number = |pods: usize| u32::try_from(pods).unwrap();
        let terminating = number(of(PodPhase::Terminating));
        Observation {
            replicas: Replicas {
                requested: number(self.pods.len()) - terminating + self.missing,
                ready: number(of(PodPhase::Ready)),
                starting: number(of(PodPhase::Starting) + of(PodPhase::Unready)),
                terminating,
                by_ordinal: self.by_ordinal,
                ..Replicas::default()
            },
            backlog: Reading::Known {
                value: activities(self.sequence, waiting(count)),
                taken_at: self.now,
            },
            slots: Reading::Known {
                value: Slots {
                    pods: self.pods.clone(),
                    ..Slots::default()
                },
                taken_at: self.now,
            },
            drained: self.drained.clone(),
        }
    }

    fn decide(&mut self, waiting: u64) -> Decision {
        self.sequence += 1;
        let observation = self.observation(waiting);
        self.history.observe(&self.policy, &observation, self.now);
        decide(&self.policy, &observation, &self.history, self.now)
    }

    /// The pods that must stay, and why.
    fn held(&self) -> Vec<(String, Hold)> {
        let decision = decide(&self.policy, &self.observation(0), &self.history, self.now);
        let held = decision.inputs.held_pods.into_iter();
        let mut held: Vec<_> = held.map(|held| (held.pod, held.hold)).collect();
        held.sort();
        held
    }

    fn victims(&self, remove: u32) -> Victims {
        victims(
            &self.policy,
            &self.observation(0),
            &self.history,
            remove,
            self.now,
        )
    }

    fn order(&self, remove: u32) -> Vec<String> {
        let marked = self.victims(remove).remove.into_iter();
        marked.map(|victim| victim.pod).collect()
    }
}

fn all(count: usize, hold: Hold) -> Vec<(String, Hold)> {
    (0..count)
        .map(|index| (format!("p{index:02}"), hold))
        .collect()
}

#[test]
fn all_idle_pods_may_be_removed_at_once() {
    let fleet = Pods::of_short_tasks(10);
    assert_eq!(fleet.held(), []);
    assert_eq!(fleet.order(2), ["p00", "p01"]);
}

#[test]
fn the_first_long_tasks_of_a_queue_hold_only_their_own_pods() {
    // 12 tasks of 700 s arrive at ten pods that have only run short ones; two pods stay idle.
    let mut fleet = Pods::of_short_tasks(12);
    let long = |index: usize| u32::from(index < 10) + u32::from(index < 2);
    for _ in 0..6 {
        fleet.beats(|index, slots| slots.used = long(index));
    }
    assert_eq!(fleet.held(), all(10, Hold::LongestYet));
    for _ in 0..60 {
        let decision = fleet.beat(|index, slots| slots.used = long(index));
        assert!(decision.desired >= 10, "{}", decision.sentence());
    }
    // They have run longer than the grace period, so their duration is known now.
    assert_eq!(fleet.held(), all(10, Hold::Outlasts));
}

#[test]
fn a_long_task_that_ends_within_the_grace_period_holds_no_pod_afterwards() {
    let mut fleet = Pods::of_short_tasks(4);
    for _ in 0..20 {
        fleet.beats(|index, slots| slots.used = u32::from(index == 0));
    }
    assert_eq!(fleet.held(), all(1, Hold::LongestYet));
    fleet.beats(|_, slots| slots.used = 0);
    // The next task of this length is of a known kind, although the mean is still that of the short
    // tasks: only the missing proof holds its pod.
    for _ in 0..4 {
        fleet.beats(|index, slots| slots.used = u32::from(index == 0));
    }
    assert_eq!(fleet.held(), all(1, Hold::Unproven));
}

/// Ten pods with 12 to 18 tasks of two seconds each, so no pod is ever idle. One of them drains.
fn one_of_ten_drains() -> Pods {
    let mut fleet = Pods::of_short_tasks(10);
    fleet.slots = 100;
    for _ in 0..6 {
        flow(&mut fleet, 12);
        flow(&mut fleet, 18);
    }
    assert_eq!(unproven(&fleet), 9);
    fleet.pods[0].phase = PodPhase::Terminating;
    flow(&mut fleet, 18);
    assert_eq!(unproven(&fleet), 9, "no other pod drains with it");
    fleet
}

fn flow(fleet: &mut Pods, used: u32) {
    fleet.beats(|_, slots| {
        slots.used = used;
        slots.processed_total = slots.processed_total.map(|done| done + 40);
    });
}

/// How many pods stay, all of them for lack of proof.
fn unproven(fleet: &Pods) -> usize {
    let (held, why): (Vec<_>, Vec<_>) = fleet.held().into_iter().unzip();
    assert!(why.iter().all(|hold| *hold == Hold::Unproven), "{why:?}");
    held.len()
}

#[test]
fn busy_pods_are_removed_one_at_a_time_until_drains_prove_that_tasks_end() {
    let mut fleet = one_of_ten_drains();
    // It is gone within half of the grace period, and its worker has finished its 18 tasks.
    fleet.drained.push(fleet.pods.remove(0).pod);
    flow(&mut fleet, 18);
    // 18 tasks are proven, so 36 may drain: two pods.
    assert_eq!(unproven(&fleet), 7);
}

#[test]
fn a_draining_pod_that_vanishes_with_its_tasks_proves_nothing() {
    let mut fleet = one_of_ten_drains();
    // It was killed, or nobody knows how it ended.
    fleet.pods.remove(0);
    flow(&mut fleet, 18);
    // One pod may go again, as before.
    assert_eq!(unproven(&fleet), 8);
}

#[test]
fn a_draining_pod_without_tasks_at_its_last_heartbeat_proves_that_they_ended() {
    let mut fleet = one_of_ten_drains();
    fleet.beats(|index, slots| {
        slots.used = if index == 0 { 0 } else { 18 };
        slots.processed_total = slots.processed_total.map(|done| done + 40);
    });
    fleet.pods.remove(0);
    flow(&mut fleet, 18);
    assert_eq!(unproven(&fleet), 7);
}

#[test]
fn a_drain_proves_that_tasks_end_although_the_slots_are_unknown_when_the_pod_goes() {
    let mut fleet = one_of_ten_drains();
    let gone = fleet.pods.remove(0).pod;
    // How the worker ended is known once, while Temporal does not list the workers.
    let mut observation = fleet.observation(0);
    observation.drained = vec![gone];
    observation.slots = Reading::Unknown {
        reason: UnknownReason::TemporalUnavailable,
        since: fleet.now,
        failures: 1,
    };
    fleet
        .history
        .observe(&fleet.policy, &observation, fleet.now);
    flow(&mut fleet, 18);
    assert_eq!(unproven(&fleet), 7);
}

#[test]
fn no_other_drain_begins_while_one_takes_half_of_the_grace_period() {
    let mut fleet = Pods::of_short_tasks(10);
    let flow = |index: usize, slots: &mut TypeSlots| {
        if index > 0 {
            slots.used = 2;
            slots.processed_total = slots.processed_total.map(|done| done + 6);
        } else {
            slots.used = 1;
        }
    };
    fleet.beats(flow);
    fleet.pods[0].phase = PodPhase::Terminating;
    for _ in 0..13 {
        fleet.beats(flow);
    }
    let held = fleet.held();
    assert_eq!(held.len(), 9, "{held:?}");
    // The pod uses up its grace period: such tasks outlast it.
    for _ in 0..11 {
        fleet.beats(flow);
    }
    fleet.pods.remove(0);
    fleet.beats(|_, slots| slots.used = 1);
    let outlast: Vec<_> = fleet.held().into_iter().map(|(_, hold)| hold).collect();
    assert_eq!(outlast, vec![Hold::Outlasts; 9]);
}

#[test]
fn a_pod_without_a_fresh_heartbeat_stays() {
    let mut fleet = Pods::of_short_tasks(3);
    fleet.pods[1].fresh = false;
    fleet.beats(|_, slots| slots.used = 0);
    assert_eq!(fleet.held(), [("p01".to_owned(), Hold::NotHeard)]);
    assert_eq!(fleet.order(3), ["p00", "p02", "p01"]);
}

#[test]
fn a_busy_pod_that_is_not_ready_holds_all_pods_that_kubernetes_removes_after_it() {
    let mut fleet = Pods::of_short_tasks(4);
    for _ in 0..4 {
        fleet.beats(|index, slots| slots.used = u32::from(index == 0));
    }
    fleet.pods[0].phase = PodPhase::Unready;
    fleet.pods[1].phase = PodPhase::Pending;
    fleet.pods[1].listed = false;
    fleet.pods[1].fresh = false;
    fleet.pods[1].reported_at = None;
    fleet.pods[1].types.activity = None;
    let decision = fleet.beat(|index, slots| slots.used = u32::from(index == 0));
    let held = |index: usize, hold| (format!("p{index:02}"), hold);
    assert_eq!(
        fleet.held(),
        [
            held(0, Hold::LongestYet),
            held(2, Hold::Behind),
            held(3, Hold::Behind)
        ]
    );
    assert_eq!(decision.inputs.held_pods.len(), 3);
    // The pending pod goes first: neither is ready, and among such pods the cost decides.
    assert_eq!(fleet.order(1), ["p01"]);
}

#[test]
fn work_on_another_task_queue_makes_a_pod_busy() {
    let mut fleet = Pods::of_short_tasks(3);
    let works = Some(TypeSlots {
        used: 3,
        available: None,
        processed_total: Some(7),
    });
    fleet.pods[2].elsewhere = works;
    for _ in 0..20 {
        let decision = fleet.beat(|_, slots| slots.used = 0);
        assert!(decision.desired >= 1, "{}", decision.sentence());
    }
    assert_eq!(fleet.held(), [("p02".to_owned(), Hold::LongestYet)]);
    // The work adds no demand to this queue.
    let decision = fleet.beat(|_, _| {});
    assert_eq!(decision.demand.map(|demand| demand.milli), Some(0));
    // As the last pod of the fleet, it is not scaled to zero however long the queue is quiet.
    fleet.pods.drain(..2);
    for _ in 0..60 {
        let decision = fleet.beat(|_, _| {});
        assert_eq!(decision.desired, 1, "{}", decision.sentence());
    }
}

#[test]
fn task_durations_are_not_learned_until_pods_were_watched_for_a_grace_period() {
    let mut fleet = Pods::new(4);
    let flow = |fleet: &mut Pods| {
        fleet.beats(|_, slots| {
            slots.used = 2;
            slots.processed_total = slots.processed_total.map(|done| done + 10);
        });
    };
    for _ in 0..20 {
        flow(&mut fleet);
    }
    assert_eq!(fleet.held(), all(4, Hold::NotLearned));
    for _ in 0..10 {
        flow(&mut fleet);
    }
    assert_eq!(fleet.held(), all(4, Hold::Unproven));
}

#[test]
fn pods_that_are_not_ready_need_no_rank_when_all_of_them_are_removed() {
    let mut fleet = Pods::of_short_tasks(4);
    fleet.pods[3].phase = PodPhase::Starting;
    let cost = |number: i32, pod: &str| Victim {
        pod: pod.to_owned(),
        cost: FIRST_VICTIM_COST + number,
        used: Some(0),
    };
    let marked = fleet.victims(2);
    assert_eq!(marked.remove, [cost(0, "p00")]);
    assert_eq!(marked.keep, ["p01", "p02"]);
    fleet.pods[2].phase = PodPhase::Unready;
    assert_eq!(fleet.victims(1).remove, [cost(0, "p02")]);
}

#[test]
fn a_pod_that_awaits_removal_is_not_removed_twice() {
    let mut fleet = Pods::new(4);
    for _ in 0..20 {
        fleet.beats(|index, slots| slots.used = u32::from(index > 0));
    }
    assert_eq!(fleet.decide(0).desired, 3);
    // The replicas have been written, but the idle pod still exists at the next reading.
    fleet.sequence += 1;
    let mut observation = fleet.observation(0);
    observation.replicas.requested = 3;
    fleet
        .history
        .observe(&fleet.policy, &observation, fleet.now);
    let decision = decide(&fleet.policy, &observation, &fleet.history, fleet.now);
    assert_eq!(decision.desired, 3);
    let victims = victims(&fleet.policy, &observation, &fleet.history, 1, fleet.now);
    let marked: Vec<&str> = victims.remove.iter().map(|victim| &*victim.pod).collect();
    assert_eq!(marked, ["p00", "p01"]);
}

#[test]
fn the_pod_that_may_be_removed_is_the_marked_one() {
    // One pod is busy but was idle a moment ago; the others run many short tasks and are never
    // idle. Waiting for the first is not futile, so one of the others may go, and Kubernetes must
    // remove that one.
    let mut fleet = Pods::of_short_tasks(4);
    fleet.slots = 100;
    for turn in 0..14 {
        fleet.beats(|index, slots| {
            slots.used = if index == 0 {
                turn % 2
            } else {
                14 + 6 * (turn % 2)
            };
            slots.processed_total = slots.processed_total.map(|done| done + 60);
        });
    }
    let held: Vec<String> = fleet.held().into_iter().map(|(pod, _)| pod).collect();
    assert_eq!(
        held.len() + 1,
        fleet.pods.iter().filter(|pod| pod.used() > Some(0)).count()
    );
    let marked = fleet.order(1);
    assert!(!held.contains(&marked[0]), "{marked:?} of {held:?}");
}

#[test]
fn a_stateful_set_shrinks_only_by_the_idle_pods_with_the_highest_ordinals() {
    let mut fleet = Pods::of_short_tasks(12);
    fleet.by_ordinal = true;
    for (index, pod) in fleet.pods.iter_mut().enumerate() {
        pod.pod = format!("w-{index}");
    }
    // A name is not a number: w-9 comes before w-10.
    fleet.pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    let busy = |fleet: &mut Pods, pods: &[&str]| {
        let names: Vec<String> = fleet.pods.iter().map(|pod| pod.pod.clone()).collect();
        let works = |index: usize| pods.contains(&names[index].as_str());
        for _ in 0..20 {
            fleet.beats(|index, slots| slots.used = u32::from(works(index)));
        }
        fleet.beat(|_, _| {})
    };
    let decision = busy(&mut fleet, &["w-9", "w-0"]);
    assert_eq!(decision.desired, 10, "{}", decision.sentence());
    let sentence = decision.sentence();
    assert!(
        sentence.contains("pod w-9 is busy, and a StatefulSet removes it before"),
        "{sentence}"
    );
    let held = fleet.held();
    assert_eq!(held.len(), 10);
    assert!(held.contains(&("w-9".to_owned(), Hold::HighestBusy)));
    assert!(held.contains(&("w-8".to_owned(), Hold::Below)));
    // The pod on top is busy: nothing goes, although eleven pods are idle.
    let decision = busy(&mut fleet, &["w-11"]);
    assert_eq!(
        (decision.desired, decision.act),
        (12, false),
        "{}",
        decision.sentence()
    );
    // A pod that reports nothing counts as busy.
    let top = fleet.pods.iter_mut().find(|pod| pod.pod == "w-11").unwrap();
    top.fresh = false;
    let decision = busy(&mut fleet, &[]);
    assert_eq!(decision.desired, 12, "{}", decision.sentence());
    assert!(fleet.held().contains(&("w-11".to_owned(), Hold::NotHeard)));
}

#[test]
fn a_stateful_set_with_a_deleted_pod_keeps_the_busy_pods_above_it() {
    // Three requested replicas: which of them have a pod, which are busy, and how many stay.
    let table: [(&[u32], &[u32], u32); 5] = [
        (&[1, 2], &[2], 3),
        (&[0, 2], &[2], 3),
        (&[1, 2], &[1], 2),
        (&[0, 1], &[0], 1),
        (&[0], &[0], 1),
    ];
    for (present, busy, stay) in table {
        let mut fleet = Pods::of_short_tasks(3);
        fleet.by_ordinal = true;
        for (index, pod) in fleet.pods.iter_mut().enumerate() {
            pod.pod = format!("w-{index}");
        }
        let names = |ordinals: &[u32]| -> Vec<String> {
            ordinals
                .iter()
                .map(|ordinal| format!("w-{ordinal}"))
                .collect()
        };
        let (present, busy) = (names(present), names(busy));
        fleet.pods.retain(|pod| present.contains(&pod.pod));
        fleet.missing = 3 - u32::try_from(fleet.pods.len()).unwrap();
        let works: Vec<bool> = fleet
            .pods
            .iter()
            .map(|pod| busy.contains(&pod.pod))
            .collect();
        for _ in 0..20 {
            fleet.beats(|index, slots| slots.used = u32::from(works[index]));
        }
        let decision = fleet.beat(|_, _| {});
        assert_eq!(
            decision.desired,
            stay,
            "{present:?}, busy {busy:?}: {}",
            decision.sentence()
        );
    }
}

#[test]
fn a_stateful_set_removes_no_pod_twice_while_a_lower_one_is_missing() {
    let mut fleet = Pods::of_short_tasks(4);
    fleet.by_ordinal = true;
    for (index, pod) in fleet.pods.iter_mut().enumerate() {
        pod.pod = format!("w-{index}");
    }
    for _ in 0..20 {
        fleet.beats(|index, slots| slots.used = u32::from(index == 2));
    }
    assert_eq!(fleet.decide(0).desired, 3);
    // The replicas have been written. Before w-3 is gone, w-0 is evicted.
    fleet.pods.remove(0);
    let decision = fleet.beat(|_, _| {});
    assert_eq!(decision.previous, 3);
    assert_eq!(decision.desired, 3, "{}", decision.sentence());
    // Once w-0 is back and w-3 has gone, w-2 is the busy pod on top.
    fleet.pods[2].pod = "w-0".to_owned();
    let decision = fleet.beat(|_, _| {});
    assert_eq!(decision.desired, 3, "{}", decision.sentence());
}

#[test]
fn a_stateful_set_whose_ordinals_begin_later_shrinks_too() {
    let mut fleet = Pods::of_short_tasks(4);
    fleet.by_ordinal = true;
    for (index, pod) in fleet.pods.iter_mut().enumerate() {
        pod.pod = format!("w-{}", index + 7);
    }
    for _ in 0..20 {
        fleet.beats(|index, slots| slots.used = u32::from(index == 1));
    }
    assert_eq!(fleet.decide(0).desired, 2);
}
