//! What is learned about service times and slots, from heartbeats alone.

use std::time::Duration;

use taskqueue_scaling::*;

use crate::fixtures::{World, policy};

/// One pod with a heartbeat every 5 s: `used(t)` slots in use and `done(t)` tasks so far.
fn learn(
    seconds: u64,
    used: impl Fn(u64) -> u32,
    done: impl Fn(u64) -> u64,
) -> (ServiceTime, Option<Duration>) {
    let mut world = World::new(
        Policy {
            min: 1,
            max: 1,
            ..policy()
        },
        1,
    );
    for t in (0..=seconds).step_by(5) {
        world.used = vec![used(t)];
        world.processed = done(t);
        drop(world.reads(TypeBacklog::default()));
        world.wait(5);
    }
    let mean = world
        .history
        .service_time(TaskType::Activity, &world.policy);
    (mean, world.history.longest_service_time(TaskType::Activity))
}

#[test]
fn nothing_is_learned_from_an_idle_worker() {
    let assumed = ServiceTime::Assumed {
        mean: Duration::from_secs(5),
    };
    assert_eq!(learn(600, |_| 0, |_| 0), (assumed, None));
}

#[test]
fn the_mean_follows_littles_law() {
    // 6 slots in use and 4 tasks a second: 1.5 s each, 5 s of one slot spread over the rest.
    let (mean, longest) = learn(600, |_| 6, |t| 4 * t);
    let learned = ServiceTime::Learned {
        mean: Duration::from_millis(1502),
    };
    assert!(mean.is_learned());
    let close = mean.mean().abs_diff(learned.mean()) < Duration::from_millis(40);
    assert!(close, "{mean:?}");
    assert_eq!(longest, None);
}

#[test]
fn a_change_of_the_service_time_is_followed() {
    let done = |t: u64| {
        if t <= 600 {
            20 * t
        } else {
            12_000 + (t - 600) * 20 / 14
        }
    };
    let (mean, _) = learn(1200, |_| 10, done);
    let close = mean.mean().abs_diff(Duration::from_secs(7)) < Duration::from_millis(500);
    assert!(close, "{mean:?}");
}

#[test]
fn a_burst_of_long_tasks_is_not_taken_for_longer_ones_than_were_seen() {
    // 10 tasks of 300 s start at once, twice; the ends come together.
    let used = |t: u64| if t.is_multiple_of(305) { 0 } else { 10 };
    let done = |t: u64| t / 305 * 10;
    let (mean, longest) = learn(614, used, done);
    assert!(mean.is_learned());
    assert!(mean.mean() <= Duration::from_secs(310), "{mean:?}");
    assert_eq!(longest, Some(Duration::from_secs(295)));
}

#[test]
fn a_task_that_has_visibly_run_for_long_raises_what_is_assumed() {
    let (mean, longest) = learn(200, |t| u32::from(t > 0), |_| 0);
    let running = Duration::from_secs(195);
    assert_eq!(
        (mean, longest),
        (ServiceTime::Assumed { mean: running }, Some(running))
    );
}

#[test]
fn the_slots_of_a_replica_are_what_its_workers_say() {
    let mut world = World::new(
        Policy {
            slots_per_replica: 100,
            ..policy()
        },
        1,
    );
    let before = world
        .history
        .slots_per_replica(TaskType::Activity, &world.policy);
    drop(world.reads(TypeBacklog::default()));
    let after = world
        .history
        .slots_per_replica(TaskType::Activity, &world.policy);
    let other = world
        .history
        .slots_per_replica(TaskType::Workflow, &world.policy);
    assert_eq!((before, after, other), (100, 10, 100));
}
