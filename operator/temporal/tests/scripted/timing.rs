//! When a queue is read, and which calls a read makes.

use std::time::Duration;

use taskqueue_scaling::{Backlog, PerType, Reading};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

#[tokio::test(start_paused = true)]
async fn a_queue_with_work_is_read_just_after_each_expiry_of_the_servers_cache() {
    let (fake, readers) = readers();
    fake.backlog("orders", 7);
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 16.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02, 10.04, 15.06]);
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(4, 7, 15.06)
    );
}

#[tokio::test(start_paused = true)]
async fn the_phase_counts_from_the_answer_because_the_server_fills_its_cache_then() {
    let (fake, readers) = readers();
    fake.backlog("orders", 7);
    fake.script(|script| script.latency = Duration::from_millis(300));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 6.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.32]);
}

#[tokio::test(start_paused = true)]
async fn a_longer_polling_interval_is_respected() {
    let (fake, readers) = readers();
    fake.backlog("orders", 7);
    let slow = QueueWatch {
        polling_interval: Duration::from_secs(12),
        ..watch("orders")
    };
    readers.watch(&owner("a"), &connection(), &[slow]);
    until(&readers, 25.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 12.02, 24.04]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_finds_the_first_tasks_of_a_burst_is_followed_by_another() {
    let (fake, readers) = readers();
    fake.script(|script| script.cache = Duration::from_secs(5));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 4.0).await;
    fake.backlog("orders", 2);
    until(&readers, 5.05).await;
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(2, 2, 5.02)
    );
    fake.backlog("orders", 50);
    until(&readers, 5.2).await;
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(3, 50, 5.12)
    );
    // Only once: the ordinary reads see what comes later.
    until(&readers, 16.0).await;
    assert_eq!(fake.times("past-cache orders"), [5.12]);
    assert_eq!(fake.times("describe orders"), [0.0, 5.02, 10.04, 15.06]);
}

#[tokio::test(start_paused = true)]
async fn quiet_queues_use_the_spare_budget_and_are_read_at_least_at_their_interval() {
    // Two calls per second, half of them for polling: 20 quiet queues, one call each, take 20 s.
    let (fake, readers) = readers_at(2);
    let queues: Vec<_> = (0..20)
        .map(|index| watch(&format!("q{index:02}")))
        .collect();
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 120.0).await;
    let times = fake.times("describe q07");
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| (19.0..30.1).contains(gap)),
        "{gaps:?}"
    );

    // If the budget allows, a quiet queue is read whenever the server has news.
    let (fake, readers) = taskqueue_testkit::scripted::readers();
    readers.watch(&owner("a"), &connection(), &queues[..4]);
    until(&readers, 11.0).await;
    assert_eq!(fake.times("describe q00"), [0.0, 5.02, 10.04]);
}

#[tokio::test(start_paused = true)]
async fn each_counted_task_type_takes_one_call_and_all_form_one_reading() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    let all = QueueWatch {
        task_types: Vec::new(),
        ..watch("orders")
    };
    readers.watch(&owner("a"), &connection(), &[all]);
    until(&readers, 1.0).await;
    let mut what: Vec<_> = fake.calls().into_iter().map(|seen| seen.what).collect();
    what.sort();
    assert_eq!(
        what,
        [
            "describe orders activity",
            "describe orders nexus",
            "describe orders workflow",
            "list page 0",
        ]
    );
    let types = PerType::from_fn(|_| Some(waiting(3)));
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        Reading::Known {
            value: Backlog { sequence: 1, types },
            taken_at: at(0.0)
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_the_server_does_not_know_has_a_known_backlog_of_zero() {
    let (_fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[watch("nobody-knows")]);
    until(&readers, 1.0).await;
    assert_eq!(
        readers.reading(&owner("a"), "nobody-knows").backlog,
        activities(1, 0, 0.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_makes_a_queue_busy_at_once() {
    let (fake, readers) = readers_at(1);
    let mut queues: Vec<_> = (0..15)
        .map(|index| watch(&format!("q{index:02}")))
        .collect();
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 40.0).await;
    queues[3].has_replicas = true;
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 62.0).await;
    let times = fake.times("describe q03");
    let since: Vec<f64> = times.into_iter().filter(|time| *time >= 40.0).collect();
    assert!(since.len() >= 4 && since[0] < 42.0, "{since:?}");
}
