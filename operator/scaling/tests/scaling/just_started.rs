//! A pod that has just started may have taken tasks that no heartbeat shows yet.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, outcome, policy, waiting};

/// What is known of the pod that was started last.
#[derive(Clone, Copy)]
enum Seen {
    /// Its worker does not run yet.
    Pending,
    /// Its worker runs, and is not listed.
    Running,
    /// It is ready, and its worker is not listed.
    Ready,
    /// The heartbeats sent so far, and the slots in use at the last one.
    Beats(u32, u32),
}

/// Four pods whose last one was started 5 s ago for tasks that are gone from the queue now.
struct Grown {
    fleet: TestFleet,
    by_ordinal: bool,
    /// When each heartbeat of the last pod was seen.
    beats: Vec<Time>,
    sequence: u64,
}

impl Grown {
    fn new(by_ordinal: bool) -> Self {
        let mut policy = Policy { max: 4, ..policy() };
        policy.behavior.scale_down.stabilization_window = Duration::from_secs(5);
        let mut fleet = TestFleet::settled(policy, 3, Duration::from_secs(1));
        fleet.used = vec![10; 3];
        let mut grown = Self {
            fleet,
            by_ordinal,
            beats: Vec::new(),
            sequence: 1000,
        };
        assert_eq!(grown.reads(waiting(140), None).desired, 4);
        grown.fleet.used = Vec::new();
        grown
    }

    /// Decides on a reading 5 s later. The last pod is as seen, or like any other.
    fn reads(&mut self, backlog: TypeBacklog, last: Option<Seen>) -> Decision {
        self.fleet.wait(5);
        self.sequence += 1;
        let mut observation = self.fleet.observation(Reading::Known {
            value: activities(self.sequence, backlog),
            taken_at: self.fleet.now,
        });
        observation.replicas.by_ordinal = self.by_ordinal;
        if let Some(seen) = last
            && let Reading::Known { value, .. } = &mut observation.slots
        {
            self.show(&mut value.pods[3], seen);
        }
        self.fleet.step(&observation)
    }

    fn show(&mut self, pod: &mut PodSlots, seen: Seen) {
        pod.phase = match seen {
            Seen::Pending => PodPhase::Pending,
            Seen::Running => PodPhase::Starting,
            Seen::Ready | Seen::Beats(..) => PodPhase::Ready,
        };
        if let Seen::Beats(beats, used) = seen {
            let now = self.fleet.now;
            while self.beats.len() < usize::try_from(beats).unwrap() {
                self.beats.push(now);
            }
            pod.reported_at = self.beats.last().copied();
            pod.reported_after = pod.reported_at.map(|at| at.minus(Duration::from_secs(5)));
            if let Some(slots) = &mut pod.types.activity {
                slots.used = used;
                slots.available = Some(10 - used);
            }
        } else {
            pod.listed = false;
            pod.fresh = false;
            pod.reported_at = None;
            pod.reported_after = None;
            pod.types = PerType::default();
        }
    }

    fn quiet(&mut self, last: Seen) -> Decision {
        self.reads(TypeBacklog::default(), Some(last))
    }
}

/// The pods that must stay, in the order of removal, and why.
fn held(decision: &Decision) -> Vec<(&str, Hold)> {
    let held = decision.inputs.held_pods.iter();
    held.map(|held| (&*held.pod, held.hold)).collect()
}

#[test]
fn a_pod_that_has_taken_the_last_tasks_stays_until_its_heartbeats_show_that_they_have_ended() {
    let mut set = Grown::new(true);
    // It takes ten tasks within a second of its start, right after its first heartbeat.
    for last in [
        Seen::Running,
        Seen::Ready,
        Seen::Beats(1, 0),
        Seen::Beats(1, 0),
        Seen::Beats(2, 10),
        Seen::Beats(3, 10),
    ] {
        let decision = set.quiet(last);
        assert_eq!(
            outcome(&decision),
            (4, "BusyPods"),
            "{}",
            decision.sentence()
        );
    }
    let decision = set.quiet(Seen::Beats(4, 0));
    assert_eq!(outcome(&decision), (1, "CoolingDown"));
}

#[test]
fn only_the_pods_that_are_removed_before_a_new_one_may_go() {
    let new = |hold| ("pod-03", hold);
    let below = |hold| [("pod-02", hold), ("pod-01", hold), ("pod-00", hold)];
    let behind = [
        ("pod-00", Hold::Behind),
        ("pod-01", Hold::Behind),
        ("pod-02", Hold::Behind),
    ];
    let all = |hold, others: [(&'static str, Hold); 3]| [&[new(hold)][..], &others].concat();
    // How many replicas stay of a StatefulSet and of a Deployment, and which pods must.
    let table = [
        (Seen::Pending, (1, Vec::new()), (1, Vec::new())),
        (
            Seen::Running,
            (4, all(Hold::JustStarted, below(Hold::Below))),
            (4, all(Hold::JustStarted, behind)),
        ),
        (
            Seen::Ready,
            (4, all(Hold::NotHeard, below(Hold::Below))),
            (1, vec![new(Hold::NotHeard)]),
        ),
        (
            Seen::Beats(1, 0),
            (4, all(Hold::JustStarted, below(Hold::Below))),
            (1, vec![new(Hold::JustStarted)]),
        ),
    ];
    for (seen, set, deployment) in table {
        for (by_ordinal, (stay, pods)) in [(true, set), (false, deployment)] {
            let mut grown = Grown::new(by_ordinal);
            let decision = grown.quiet(seen);
            assert_eq!((decision.desired, held(&decision)), (stay, pods));
        }
    }
}

#[test]
fn a_worker_that_runs_for_two_minutes_and_is_not_listed_does_not_hold_the_fleet() {
    for by_ordinal in [true, false] {
        let mut grown = Grown::new(by_ordinal);
        for _ in 0..24 {
            assert_eq!(grown.quiet(Seen::Running).desired, 4);
        }
        // The queue has been quiet for longer than the cooldown.
        assert_eq!(outcome(&grown.quiet(Seen::Running)), (0, "NoDemand"));
    }
}
