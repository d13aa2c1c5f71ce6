//! Properties that hold for every policy and every sequence of events.

use std::time::Duration;

use proptest::prelude::*;
use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{activities, pod};

fn rules() -> impl Strategy<Value = ScalingRules> {
    let kind = prop_oneof![Just(StepKind::Pods), Just(StepKind::Percent)];
    let step = (kind, 0..30_u32, 1..120_u64).prop_map(|(kind, value, period)| StepPolicy {
        kind,
        value,
        period: Duration::from_secs(period),
    });
    let select = prop_oneof![
        4 => Just(SelectPolicy::Max),
        2 => Just(SelectPolicy::Min),
        1 => Just(SelectPolicy::Disabled)
    ];
    (
        0..120_u64,
        prop::collection::vec(step, 0..3),
        select,
        0..30_u32,
    )
        .prop_map(
            |(window, policies, select, tolerance_percent)| ScalingRules {
                stabilization_window: Duration::from_secs(window),
                policies,
                select,
                tolerance_percent,
            },
        )
}

prop_compose! {
    fn policies()(
        (low, high, scheduled_min) in (0..8_u32, 0..30_u32, 0..10_u32),
        (target, utilization, slots) in (1..60_u64, prop::option::of(1..101_u32), 1..50_u32),
        backlog_per_replica in prop::option::of(1..50_u32),
        forecast in prop::option::weighted(0.3, 1..40_u32),
        (cooldown, grace) in (1..120_u64, 1..600_u64),
        (scale_up, scale_down) in (rules(), rules()),
        fallback in prop::option::of((1..5_u32, 0..20_u32)),
        mode in prop_oneof![8 => Just(Mode::Active), 1 => Just(Mode::DryRun)],
    ) -> Policy {
        Policy {
            min: low.min(high),
            max: high,
            scheduled_min,
            forecast: forecast.map(|replicas| Forecast { replicas, pattern: Pattern::Daily }),
            queue_wait_target: Duration::from_secs(target),
            target_utilization: utilization,
            slots_per_replica: slots,
            backlog_per_replica,
            cooldown_period: Duration::from_secs(cooldown),
            drain_grace_period: Duration::from_secs(grace),
            behavior: Behavior { scale_up, scale_down },
            fallback: fallback.map(|(failure_threshold, replicas)| Fallback {
                failure_threshold,
                replicas,
            }),
            mode,
            ..Policy::default()
        }
    }
}

/// The next event of a story.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    seconds: u64,
    /// `None` = the reading fails.
    backlog: Option<TypeBacklog>,
    slots_fail: bool,
    rollout: bool,
    by_ordinal: bool,
    used: Vec<u32>,
    done: u64,
    blind: u32,
    lagging: u32,
    unseen: u32,
}

prop_compose! {
    fn events()(
        seconds in prop_oneof![8 => 1..31_u64, 1 => 60..400_u64],
        fails in prop::bool::weighted(0.1),
        quiet in prop::bool::weighted(0.5),
        (count, age, rate) in (0..2000_u64, 0..300_u64, 0..100_000_u64),
        rate_limited in prop::bool::weighted(0.1),
        limit in prop::option::weighted(0.2, 0..50_000_u64),
        slots_fail in prop::bool::weighted(0.1),
        (rollout, by_ordinal) in (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        used in prop::collection::vec(0..11_u32, 0..20),
        done in 0..50_u64,
        (blind, lagging) in prop_oneof![4 => Just((0, 0)), 1 => (0..3_u32, 0..5_u32)],
        unseen in prop_oneof![9 => Just(0), 1 => 1..3_u32],
    ) -> Event {
        let busy = TypeBacklog {
            count,
            age: Duration::from_secs(age),
            add_rate_milli: rate,
            rate_limited,
            effective_limit_milli: limit,
            ..TypeBacklog::default()
        };
        let backlog = if quiet { TypeBacklog::default() } else { busy };
        Event {
            seconds,
            backlog: (!fails).then_some(backlog),
            slots_fail,
            rollout,
            by_ordinal,
            used: if quiet { Vec::new() } else { used },
            done: if quiet { 0 } else { done },
            blind,
            lagging,
            unseen,
        }
    }
}

/// A sequence of events as it unfolds.
pub(crate) struct Story {
    pub(crate) now: Time,
    sequence: u64,
    failures: u32,
    requested: u32,
    processed: u64,
    pub(crate) history: History,
}

impl Story {
    pub(crate) fn new(requested: u32) -> Self {
        let (now, history) = (Time::from_secs(500), History::new());
        Self {
            now,
            sequence: 0,
            failures: 0,
            requested,
            processed: 0,
            history,
        }
    }

    pub(crate) fn observation(&mut self, event: &Event) -> Observation {
        self.now = self.now.plus(Duration::from_secs(event.seconds));
        self.processed += event.done;
        let backlog = if let Some(backlog) = event.backlog {
            self.failures = 0;
            self.sequence += 1;
            Reading::Known {
                value: activities(self.sequence, backlog),
                taken_at: self.now,
            }
        } else {
            self.failures += 1;
            let reason = UnknownReason::TemporalUnavailable;
            Reading::Unknown {
                reason,
                since: self.now,
                failures: self.failures,
            }
        };
        let lagging = event.lagging.min(self.requested);
        let replicas = Replicas {
            requested: self.requested,
            ready: self.requested - lagging,
            starting: lagging,
            terminating: 0,
            unseen: event.unseen,
            rollout_in_progress: event.rollout,
            by_ordinal: event.by_ordinal,
            start_up: (event.seconds > 20).then(|| Duration::from_secs(event.done)),
        };
        Observation {
            replicas,
            backlog,
            slots: self.slots(event),
            drained: Vec::new(),
        }
    }

    fn slots(&self, event: &Event) -> Reading<Slots> {
        if event.slots_fail {
            let reason = UnknownReason::Throttled;
            return Reading::Unknown {
                reason,
                since: self.now,
                failures: 1,
            };
        }
        let pods = (0..self.requested).map(|index| {
            let used = event
                .used
                .get(usize::try_from(index).unwrap())
                .copied()
                .unwrap_or(0);
            let mut pod = pod(&format!("pod-{index:02}"), used, self.now);
            if let Some(slots) = &mut pod.types.activity {
                slots.processed_total = Some(self.processed);
            }
            if index < event.blind {
                pod.fresh = false;
            } else if index + event.lagging >= self.requested {
                pod = PodSlots {
                    phase: PodPhase::Starting,
                    listed: false,
                    fresh: false,
                    reported_at: None,
                    types: PerType::default(),
                    ..pod
                };
            }
            pod
        });
        Reading::Known {
            value: Slots {
                pods: pods.collect(),
                ..Slots::default()
            },
            taken_at: self.now,
        }
    }

    pub(crate) fn decide(&mut self, policy: &Policy, observation: &Observation) -> Decision {
        self.history.observe(policy, observation, self.now);
        decide(policy, observation, &self.history, self.now)
    }

    fn carry_out(&mut self, decision: &Decision) {
        self.history.carried_out(decision, self.now);
        if decision.act {
            self.requested = decision.desired;
        }
    }

    pub(crate) fn tell(&mut self, policy: &Policy, events: &[Event]) {
        for event in events {
            let observation = self.observation(event);
            let decision = self.decide(policy, &observation);
            self.carry_out(&decision);
        }
    }
}

pub(crate) fn stories() -> impl Strategy<Value = (Policy, u32, Vec<Event>)> {
    (
        policies(),
        0..25_u32,
        prop::collection::vec(events(), 1..40),
    )
}

fn known(observation: &mut Observation) -> Option<&mut TypeBacklog> {
    match &mut observation.backlog {
        Reading::Known { value, .. } => value.types.activity.as_mut(),
        Reading::Unknown { .. } => None,
    }
}

/// Decides on two different observations with the same history.
fn both(
    policy: &Policy,
    story: &Story,
    less: &Observation,
    more: &Observation,
) -> (Decision, Decision) {
    let decide_on = |observation: &Observation| {
        let mut history = story.history.clone();
        history.observe(policy, observation, story.now);
        decide(policy, observation, &history, story.now)
    };
    (decide_on(less), decide_on(more))
}

fn untaken(decision: &Decision) -> bool {
    let demand = decision.demand.and_then(|demand| demand.types.activity);
    demand.is_some_and(|demand| demand.untaken)
}

fn asks_for(decision: &Decision) -> Option<u64> {
    decision.demand.map(|demand| demand.milli)
}

proptest! {
    // Set PROPTEST_CASES for more cases; the default is 256.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn every_decision_keeps_all_promises((policy, requested, events) in stories()) {
        let mut story = Story::new(requested);
        for event in &events {
            let observation = story.observation(event);
            let decision = story.decide(&policy, &observation);
            let broken =
                check::violations(&policy, &observation, &story.history, &decision, story.now);
            prop_assert_eq!(broken, Vec::new(), "{:#?}", decision);
            prop_assert!(decision.desired >= policy.min && decision.desired <= policy.max);
            story.carry_out(&decision);
        }
    }

    #[test]
    fn unknown_readings_never_shrink_a_fleet_within_its_bounds(
        (policy, requested, events) in stories(),
    ) {
        let mut story = Story::new(requested);
        for event in &events {
            let observation = story.observation(event);
            let decision = story.decide(&policy, &observation);
            if event.backlog.is_none() || (event.slots_fail && story.requested > 0) {
                prop_assert!(decision.desired >= decision.previous.min(policy.max));
            }
            story.carry_out(&decision);
        }
    }

    #[test]
    fn the_same_reading_twice_changes_nothing(
        (policy, requested, events) in stories(),
        later in 0..4000_u64,
    ) {
        let mut story = Story::new(requested);
        story.tell(&policy, &events[1..]);
        let mut observation = story.observation(&events[0]);
        let first = story.decide(&policy, &observation);
        story.carry_out(&first);
        if policy.mode == Mode::Active {
            observation.replicas.requested = first.desired;
        }
        let fallback = policy.fallback.is_some();
        story.now = story.now.plus(Duration::from_secs(later));
        let again = story.decide(&policy, &observation);
        prop_assert_eq!(again.desired, first.desired);
        prop_assert!(fallback || again.desired == first.desired);
    }

    #[test]
    fn no_step_is_larger_than_the_policies_allow(
        (policy, requested, events) in stories(),
        pods in 1..5_u32,
    ) {
        let step = StepPolicy { kind: StepKind::Pods, value: pods, period: Duration::from_secs(1) };
        let mut policy = Policy {
            min: 0, scheduled_min: 0, forecast: None, max: 30, fallback: None, ..policy
        };
        for rules in [&mut policy.behavior.scale_up, &mut policy.behavior.scale_down] {
            rules.policies = vec![step];
        }
        let mut story = Story::new(requested);
        for event in &events {
            let observation = story.observation(event);
            let decision = story.decide(&policy, &observation);
            prop_assert!(decision.desired.abs_diff(decision.previous) <= pods);
            story.carry_out(&decision);
        }
    }

    #[test]
    fn more_backlog_age_or_slots_in_use_never_lowers_the_replicas(
        (policy, requested, events) in stories(),
        (tasks, age) in (0..5000_u64, 0..600_u64),
        more_used in prop::collection::vec(0..11_u32, 20),
    ) {
        let mut story = Story::new(requested);
        story.tell(&policy, &events[1..]);
        let less = story.observation(&events[0]);

        let mut more = less.clone();
        if let Some(backlog) = known(&mut more) { backlog.count += tasks; }
        let (small, large) = both(&policy, &story, &less, &more);
        prop_assume!(!untaken(&small) && !untaken(&large));
        prop_assert!(asks_for(&small) <= asks_for(&large), "backlog: {small:#?} {large:#?}");
        prop_assert!(small.desired <= large.desired, "backlog: {small:#?} {large:#?}");

        let mut more = less.clone();
        if let Some(backlog) = known(&mut more) { backlog.age += Duration::from_secs(age); }
        let (small, large) = both(&policy, &story, &less, &more);
        // A head that has waited longer may show that these workers do not take it.
        prop_assume!(!untaken(&large));
        prop_assert!(asks_for(&small) <= asks_for(&large), "age: {small:#?} {large:#?}");
        prop_assert!(small.desired <= large.desired, "age: {small:#?} {large:#?}");

        // The heartbeats are already recorded; only the present slots in use differ.
        story.history.observe(&policy, &less, story.now);
        let mut more = less.clone();
        if let Reading::Known { value, .. } = &mut more.slots {
            for (pod, added) in value.pods.iter_mut().zip(more_used) {
                if let Some(slots) = &mut pod.types.activity {
                    let total = slots.used + slots.available.unwrap_or(0);
                    slots.used = (slots.used + added).min(total);
                    slots.available = Some(total - slots.used);
                }
            }
        }
        let (small, large) = both(&policy, &story, &less, &more);
        prop_assert!(asks_for(&small) <= asks_for(&large), "used: {small:#?} {large:#?}");
        prop_assert!(small.desired <= large.desired, "used: {small:#?} {large:#?}");
    }

    #[test]
    fn a_fleet_goes_to_zero_only_with_proof((policy, requested, events) in stories()) {
        let policy = Policy { max: policy.max.max(1), ..policy };
        let mut story = Story::new(requested);
        let mut quiet_since: Option<Time> = None;
        for event in &events {
            let observation = story.observation(event);
            let decision = story.decide(&policy, &observation);
            let requested = usize::try_from(story.requested).unwrap();
            let quiet = event.backlog.is_some_and(|backlog| {
                backlog.count == 0 && backlog.add_rate_milli == 0
            }) && event.used.iter().take(requested).all(|used| *used == 0)
                && (story.requested == 0 || (!event.slots_fail && event.blind == 0));
            if quiet { quiet_since.get_or_insert(story.now); } else { quiet_since = None; }
            if decision.desired == 0 && decision.previous > 0 {
                let long_enough = quiet_since.is_some_and(|since| {
                    story.now.since(since) >= policy.cooldown_period
                });
                prop_assert!(long_enough, "{decision:#?}");
            }
            story.carry_out(&decision);
        }
    }

    #[test]
    fn nothing_overflows_at_the_extremes(
        numbers in prop::collection::vec(
            prop_oneof![
                Just(0_u64), Just(1), Just(u64::MAX / 2), Just(u64::MAX), any::<u64>(),
            ],
            12,
        ),
        small in prop::collection::vec(
            prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()],
            16,
        ),
        steps in 1..6_usize,
    ) {
        let duration = |index: usize| Duration::from_secs(numbers[index]);
        let step = |kind, value| StepPolicy { kind, value, period: duration(0) };
        let rules = |window, first| ScalingRules {
            stabilization_window: window,
            policies: vec![step(StepKind::Percent, first), step(StepKind::Pods, small[0])],
            select: SelectPolicy::Max,
            tolerance_percent: small[1],
        };
        let policy = Policy {
            min: small[2].min(small[3]),
            max: small[3],
            queue_wait_target: duration(1),
            target_utilization: Some(small[4]).filter(|percent| *percent > 0),
            slots_per_replica: small[5],
            backlog_per_replica: Some(small[6]),
            cooldown_period: duration(2),
            behavior: Behavior {
                scale_up: rules(duration(3), small[7]),
                scale_down: rules(duration(4), small[8]),
            },
            scheduled_min: small[9],
            fallback: Some(Fallback { failure_threshold: small[10], replicas: small[11] }),
            drain_grace_period: duration(5),
            ..Policy::default()
        };
        let mut history = History::new();
        let mut requested = small[12];
        for turn in 0..steps {
            let now = Time::from_millis(numbers[6].saturating_mul(turn as u64));
            let backlog = TypeBacklog {
                count: numbers[7],
                age: duration(8),
                add_rate_milli: numbers[9],
                dispatch_rate_milli: numbers[10],
                rate_limited: turn % 2 == 1,
                effective_limit_milli: Some(numbers[11]),
                pollers: Some(small[13]),
                routed: (turn % 3 > 0).then_some(turn % 3 == 1),
                ..TypeBacklog::default()
            };
            let mut slots = pod("only", small[14], now);
            slots.types.activity = Some(TypeSlots {
                used: small[14],
                available: Some(small[15]),
                processed_total: (turn % 4 != 3).then(|| numbers[6].saturating_mul(turn as u64)),
            });
            let observation = Observation {
                replicas: Replicas { requested, ready: small[12], ..Replicas::default() },
                backlog: Reading::Known { value: activities(turn as u64, backlog), taken_at: now },
                slots: Reading::Known {
                    value: Slots { pods: vec![slots], ..Slots::default() },
                    taken_at: now,
                },
                drained: Vec::new(),
            };
            history.observe(&policy, &observation, now);
            let decision = decide(&policy, &observation, &history, now);
            history.carried_out(&decision, now);
            let wait = requeue_after(&policy, &observation, &history, now);
            prop_assert!(wait <= policy.quiet_polling_interval);
            drop(history.findings(now));
            requested = decision.desired;
            prop_assert!(requested >= policy.min && requested <= policy.max);
        }
    }
}
