//! Tasks that wait although slots are free: what a replica finishes sizes the fleet.

use std::collections::VecDeque;
use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, outcome, policy, waiting};

/// A fleet of ten-slot pods whose tasks are short: one slot is in use in all. Tasks arrive at a
/// constant rate, and a pod takes a limited number per second.
struct Throttled {
    fleet: TestFleet,
    waiting: u64,
    /// The tasks dispatched between the last readings.
    dispatched: VecDeque<u64>,
    /// Tasks that arrive per second.
    arrivals: u64,
    /// Tasks per second that one pod takes, and all pods together.
    per_pod: u64,
    all: u64,
    rate_limited: bool,
    /// Tasks per second and pod that never pass the queue.
    besides: u64,
    /// Whether every slot is in use.
    full: bool,
    /// Whether other workers take the tasks, and these none.
    others: bool,
    /// When all waiting tasks arrived, if they did so at once.
    batch: Option<Time>,
    /// Slots that a new pod fills at once.
    fills: u64,
    pods: u64,
    /// What is different in an observation.
    change: fn(&mut Observation),
    readings: u64,
}

impl Throttled {
    fn new(arrivals: u64, per_pod: u64) -> Self {
        Self {
            fleet: TestFleet::settled(policy(), 1, Duration::from_millis(25)),
            waiting: 0,
            dispatched: VecDeque::new(),
            arrivals,
            per_pod,
            all: u64::MAX,
            rate_limited: false,
            besides: 0,
            full: false,
            others: false,
            batch: None,
            fills: 0,
            pods: 1,
            change: |_| {},
            readings: 0,
        }
    }

    /// The same with workers that never report.
    fn mute(arrivals: u64, per_pod: u64) -> Self {
        let policy = Policy {
            slots_per_replica: 1000,
            ..policy()
        };
        let mut load = Self::new(arrivals, per_pod);
        load.fleet = TestFleet::new(policy, 1);
        load.fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
        load
    }

    /// The next reading, 5 s later.
    fn next(&mut self) -> Decision {
        let pods = u64::from(self.fleet.requested);
        let arrived = 5 * self.arrivals;
        let rate = self.all.min(self.per_pod * pods);
        let filled = self.fills * pods.saturating_sub(self.pods);
        self.pods = pods;
        let done = (self.waiting + arrived).min(5 * rate + filled);
        self.waiting = self.waiting + arrived - done;
        let own = if self.others { 0 } else { done };
        self.fleet.processed += own / pods.max(1) + 5 * self.besides;
        self.fleet.used = if self.full {
            vec![10; usize::try_from(pods).unwrap()]
        } else {
            vec![u32::from(own > 0)]
        };
        // The server's rate is a mean over 30 s.
        self.dispatched.push_front(done);
        self.dispatched.truncate(6);
        let after = self.fleet.now.plus(Duration::from_secs(5));
        let age = self.waiting * 1000 / self.arrivals.max(1);
        let age = self
            .batch
            .map_or(Duration::from_millis(age), |batch| after.since(batch));
        let backlog = TypeBacklog {
            age,
            add_rate_milli: self.arrivals * 1000,
            dispatch_rate_milli: self.dispatched.iter().sum::<u64>() * 1000 / 30,
            rate_limited: self.rate_limited,
            ..waiting(self.waiting)
        };
        self.fleet.wait(5);
        self.readings += 1;
        let mut observation = self.fleet.observation(Reading::Known {
            value: activities(1_000 + self.readings, backlog),
            taken_at: self.fleet.now,
        });
        (self.change)(&mut observation);
        self.fleet.step(&observation)
    }

    /// The seconds from the start to each change, with the new number and the reason.
    fn changes(&mut self, readings: u32) -> Vec<(u64, u32, &'static str)> {
        let start = self.fleet.now;
        let mut seen = Vec::new();
        for _ in 0..readings {
            let decision = self.next();
            if decision.act {
                let (desired, reason) = outcome(&decision);
                seen.push((self.fleet.now.since(start).as_secs(), desired, reason));
            }
        }
        seen
    }

    /// The largest size over some readings.
    fn peak(&mut self, readings: u32) -> Option<u32> {
        (0..readings).map(|_| self.next().desired).max()
    }
}

/// Whether a flag of the activities' demand is set.
fn activity(decision: &Decision, flag: impl Fn(&TypeDemand) -> bool) -> bool {
    let demand = decision.demand.and_then(|demand| demand.types.activity);
    demand.as_ref().is_some_and(flag)
}

fn capacity(decision: &Decision) -> Option<u64> {
    decision.inputs.capacity_milli.activity
}

#[test]
fn a_fleet_with_free_slots_grows_to_what_its_replicas_take_and_stays_there() {
    let mut load = Throttled::new(40, 8);
    let changes = load.changes(80);
    let expected = vec![
        (35, 2, "ReplicaCapacity"),
        (70, 4, "ReplicaCapacity"),
        (105, 8, "ReplicaCapacity"),
        (140, 11, "ReplicaCapacity"),
        (200, 10, "ScaleDownStabilized"),
        (205, 9, "ScaleDownStabilized"),
        (215, 8, "ScaleDownStabilized"),
        (225, 7, "ReplicaCapacity"),
    ];
    assert_eq!(changes, expected);
    assert_eq!((load.waiting, load.changes(120)), (0, Vec::new()));
}

#[test]
fn the_sentence_says_what_a_replica_takes_and_what_follows() {
    let mut load = Throttled::new(40, 8);
    let grows = (0..10).map(|_| load.next()).find(|decision| decision.act);
    drop(load.changes(80));
    let sentences = [
        grows.map(|decision| decision.sentence()),
        Some(load.next().sentence()),
    ];
    let expected = [
        "scaled 1 to 2: 1120 activity tasks wait and 40/s arrive; a replica takes 8/s while tasks \
         wait; they wait too long, so the ready replicas are doubled to 2",
        "kept at 7: no activity task waits and 40/s arrive; a replica takes 8.4/s while tasks \
         wait; so 7 replicas at 75% are needed",
    ];
    assert_eq!(
        sentences,
        expected.map(|sentence| Some(sentence.to_owned()))
    );
}

#[test]
fn a_size_that_the_fleet_has_had_needs_no_second_proof() {
    let mut load = Throttled::new(40, 8);
    drop(load.changes(80));
    load.arrivals = 4;
    drop(load.changes(40));
    let small = load.fleet.requested;
    load.arrivals = 40;
    let growth = load.changes(10);
    let expected = [(5, 2), (10, 4), (20, 6), (30, 8)];
    let expected = expected.map(|(at, size)| (at, size, "ReplicaCapacity"));
    assert_eq!((small, growth), (1, expected.to_vec()));
}

#[test]
fn slots_in_use_size_the_fleet_where_slots_are_taken() {
    let mut load = Throttled::new(40, 8);
    load.full = true;
    drop(load.changes(20));
    assert_eq!(capacity(&load.next()), None);
}

#[test]
fn batches_that_are_gone_within_half_a_minute_add_no_replica() {
    let mut load = Throttled::new(60, 40);
    for _ in 0..10 {
        (load.arrivals, load.waiting) = (60, 600);
        assert_eq!(load.peak(5), Some(1));
        (load.arrivals, load.waiting) = (0, 0);
        assert_eq!(load.peak(3), Some(1));
    }
    assert_eq!(capacity(&load.next()), None);
}

#[test]
fn slots_that_were_free_before_the_tasks_came_measure_no_capacity() {
    let mut load = Throttled::new(40, 8);
    load.change = |observation| {
        if let Reading::Known { value, .. } = &mut observation.slots {
            for pod in &mut value.pods {
                pod.reported_after = Some(Time::from_secs(1_000));
            }
        }
    };
    drop(load.changes(20));
    assert_eq!(capacity(&load.next()), None);
}

#[test]
fn a_moment_in_which_nobody_knows_the_slots_ends_the_proof() {
    let mut load = Throttled::new(40, 8);
    for reading in 1..=60 {
        let unknown = reading % 5 == 0;
        load.fleet.slots_unknown = unknown.then_some(UnknownReason::PodsUnseen);
        assert_eq!(capacity(&load.next()), None);
    }
}

#[test]
fn a_new_pod_that_has_not_reported_yet_ends_the_proof() {
    let mut load = Throttled::new(40, 8);
    load.fleet = TestFleet::settled(policy(), 2, Duration::from_millis(25));
    load.change = |observation| {
        if let Reading::Known { value, .. } = &mut observation.slots
            && let Some(pod) = value.pods.last_mut()
        {
            *pod = PodSlots {
                pod: "new".to_owned(),
                fresh: false,
                reported_at: None,
                reported_after: None,
                types: PerType::default(),
                ..pod.clone()
            };
        }
    };
    let measured: Vec<_> = (0..20).map(|_| capacity(&load.next())).collect();
    assert_eq!(measured, [None; 20]);
}

#[test]
fn no_replica_is_added_while_one_is_starting() {
    let mut load = Throttled::new(40, 8);
    load.fleet = TestFleet::settled(policy(), 3, Duration::from_millis(25));
    load.change = |observation| {
        observation.replicas.ready -= 1;
        observation.replicas.starting = 1;
    };
    load.all = 16;
    assert_eq!(load.peak(20), Some(3));
    load.change = |_| {};
    load.all = u64::MAX;
    assert!(load.peak(10) >= Some(6));
}

#[test]
fn a_backlog_whose_head_does_not_move_adds_no_replica() {
    // These workers serve a stream of tasks, and 500 others wait for a version that has gone.
    let mut fleet = TestFleet::settled(policy(), 2, Duration::from_millis(25));
    fleet.used = vec![1; 2];
    for turn in 1..=60 {
        fleet.processed += 25;
        let decision = fleet.reads_next(TypeBacklog {
            age: Duration::from_secs(60 + 5 * turn),
            add_rate_milli: 10_000,
            dispatch_rate_milli: 10_000,
            ..waiting(500)
        });
        assert!(decision.desired <= 2, "{}", decision.sentence());
        assert_eq!(capacity(&decision), None);
    }
}

/// 4,000 tasks at once for two pods that take 8 each per second, of which a further one takes as
/// many.
fn batch() -> Throttled {
    let mut load = Throttled::new(0, 8);
    load.fleet = TestFleet::settled(policy(), 2, Duration::from_millis(25));
    load.batch = Some(load.fleet.now);
    load.waiting = 4_000;
    load
}

#[test]
fn a_batch_that_arrived_at_once_measures_the_capacity_and_adds_replicas() {
    let mut load = batch();
    let mut sizes = Vec::new();
    while load.waiting > 0 {
        let decision = load.next();
        assert!(!activity(&decision, |demand| demand.untaken));
        assert!(decision.desired >= 2, "{}", decision.sentence());
        sizes.push(decision.desired);
        assert!(sizes.len() < 40, "{sizes:?}");
    }
    // Two pods alone would take 250 s.
    assert_eq!((sizes.len() * 5, sizes.iter().max()), (105, Some(&6)));
}

#[test]
fn a_batch_is_taken_although_its_workers_report_once_a_minute() {
    // New pods report once, with every slot free, and not again for a minute.
    let mut load = batch();
    load.fleet.counts = false;
    load.fleet.reported_at = Some(load.fleet.now.plus(Duration::from_secs(5)));
    for _ in 0..12 {
        let decision = load.next();
        assert!(!activity(&decision, |demand| demand.untaken));
        assert!(decision.desired >= 2, "{}", decision.sentence());
    }
}

#[test]
fn a_backlog_that_other_workers_take_measures_no_capacity() {
    // The head moves, but these workers have nothing to do.
    let mut load = Throttled::new(40, 8);
    load.others = true;
    let capacities: Vec<_> = (0..60).map(|_| capacity(&load.next())).collect();
    assert_eq!(capacities, [None; 60]);
}

#[test]
fn a_rate_limited_queue_adds_no_replica() {
    let mut load = Throttled::new(40, 8);
    load.rate_limited = true;
    assert_eq!(load.peak(60), Some(1));
    assert_eq!(capacity(&load.next()), None);
}

#[test]
fn while_the_server_limits_a_known_capacity_adds_no_replica() {
    let mut load = Throttled::new(40, 8);
    drop(load.changes(80));
    load.arrivals = 4;
    drop(load.changes(40));
    (load.arrivals, load.rate_limited) = (40, true);
    assert_eq!(load.peak(40), Some(1));
}

#[test]
fn replicas_that_take_no_more_tasks_in_all_are_taken_back_and_tried_again_later() {
    let mut load = Throttled::new(40, 8);
    load.all = 8;
    let changes = load.changes(240);
    let expected = vec![
        (35, 2, "ReplicaCapacity"),
        (125, 1, "ThroughputLimited"),
        (725, 2, "ThroughputLimited"),
        (815, 1, "ThroughputLimited"),
    ];
    assert_eq!(changes, expected);
    let decision = load.next();
    assert!(activity(&decision, |demand| demand.in_vain));
    let sentence = decision.sentence();
    assert!(
        sentence.ends_with("; adding replicas did not raise the throughput"),
        "{sentence}"
    );
}

#[test]
fn what_new_replicas_take_into_their_slots_is_no_throughput_if_nobody_knows_the_slots() {
    let mut load = Throttled::mute(40, 8);
    (load.all, load.fills) = (8, 100);
    let changes = load.changes(240);
    let in_vain = |(_, _, reason): &(u64, u32, &str)| *reason == "ThroughputLimited";
    assert!(changes.iter().any(in_vain), "{changes:?}");
}

#[test]
fn replicas_that_were_in_vain_once_may_help_the_next_overload() {
    let mut load = Throttled::new(40, 8);
    load.all = 8;
    drop(load.changes(30));
    assert!(activity(&load.next(), |demand| demand.in_vain));
    (load.waiting, load.arrivals) = (0, 1);
    drop(load.changes(20));
    (load.all, load.arrivals) = (u64::MAX, 40);
    assert!(load.peak(40) >= Some(7));
}

#[test]
fn replicas_that_take_fewer_tasks_each_but_more_in_all_are_kept() {
    // A further replica adds half of what the first one takes.
    let mut load = Throttled::new(40, 8);
    for _ in 0..120 {
        load.all = 8 + 4 * (u64::from(load.fleet.requested) - 1);
        drop(load.next());
    }
    assert!(load.fleet.requested >= 9, "{}", load.fleet.requested);
}

#[test]
fn workers_without_heartbeats_keep_the_replicas_that_the_arrivals_need() {
    let mut load = Throttled::mute(40, 8);
    drop(load.changes(80));
    let changes = load.changes(240);
    assert_eq!((load.fleet.requested, changes), (7, Vec::new()));
}

#[test]
fn a_capacity_counts_only_the_tasks_of_the_queue() {
    // Sticky and eager tasks never pass the queue, and the arrivals do not count them.
    let mut load = Throttled::new(40, 8);
    load.besides = 8;
    drop(load.changes(60));
    let capacity = capacity(&load.next());
    assert!(
        capacity.is_some_and(|milli| (8_000..8_500).contains(&milli)),
        "{capacity:?}"
    );
}

#[test]
fn a_capacity_that_is_not_measured_again_fades_until_it_is_forgotten() {
    let mut load = Throttled::new(40, 8);
    drop(load.changes(60));
    load.arrivals = 1;
    let mut hourly = Vec::new();
    for _ in 0..5 {
        hourly.push(capacity(&load.next()));
        load.fleet.wait(3595);
    }
    let expected = [Some(8_282), Some(11_079), Some(16_728), Some(34_132), None];
    assert_eq!(hourly, expected);
}

#[test]
fn while_temporal_does_not_answer_no_capacity_is_measured() {
    // One read in six fails, and the server dispatches little.
    let mut load = Throttled::new(40, 8);
    let mut last = None;
    for _ in 0..20 {
        for _ in 0..5 {
            last = Some(load.next());
        }
        load.fleet.wait(5);
        drop(load.fleet.fails());
    }
    let decision = last.unwrap();
    assert!(load.waiting > 1_000, "{}", load.waiting);
    assert_eq!(capacity(&decision), None);
    // Then it answers every time.
    let decision = (0..8).map(|_| load.next()).last().unwrap();
    assert!(capacity(&decision).is_some(), "{}", decision.sentence());
}

#[test]
fn a_fleet_that_its_capacity_sizes_does_not_shrink_while_the_arrivals_are_unknown() {
    let mut load = Throttled::new(40, 8);
    drop(load.changes(80));
    let size = load.fleet.requested;
    // Temporal is down for half a minute. Its rates cover only the time since.
    for _ in 0..6 {
        load.fleet.wait(5);
        drop(load.fleet.fails());
    }
    let decisions: Vec<Decision> = (0..5).map(|_| load.next()).collect();
    for decision in decisions {
        assert!(!decision.inputs.rates_trusted);
        assert!(decision.desired >= size, "{}", decision.sentence());
    }
}
