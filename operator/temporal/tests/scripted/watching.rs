//! Who shares reads, who gets updates, and what happens when watches change or end.

use std::time::Duration;

use futures::StreamExt;
use taskqueue_scaling::{Backlog, PerType, Reading, TaskType, UnknownReason};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

#[tokio::test(start_paused = true)]
async fn fleets_on_the_same_task_queue_share_reads_and_each_gets_its_own_types() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    let workflows = QueueWatch {
        queue: "mine".to_owned(),
        task_types: vec![TaskType::Workflow],
        ..watch("orders")
    };
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    readers.watch(&owner("b"), &connection(), &[workflows]);
    until(&readers, 12.0).await;
    assert_eq!(fake.times("describe orders activity"), [0.0, 5.02, 10.04]);
    assert_eq!(fake.times("describe orders workflow"), [0.0, 5.02, 10.04]);
    let a = readers.reading(&owner("a"), "orders").backlog;
    let b = readers.reading(&owner("b"), "mine").backlog;
    let types = PerType {
        workflow: Some(waiting(3)),
        ..PerType::default()
    };
    let sequence = a.known().unwrap().sequence;
    assert_eq!(a, activities(sequence, 3, 10.04));
    assert_eq!(
        b,
        Reading::Known {
            value: Backlog { sequence, types },
            taken_at: at(10.04)
        }
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_share_the_budget_but_neither_reads_nor_connections() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    readers.watch(&owner("a"), &with_api_key("one"), &[watch("orders")]);
    readers.watch(&owner("b"), &with_api_key("two"), &[watch("orders")]);
    until(&readers, 1.0).await;
    let mut calls: Vec<_> = fake
        .calls()
        .into_iter()
        .map(|seen| (seen.credential, seen.what))
        .collect();
    calls.sort();
    let mut expected = Vec::new();
    for key in ["one", "two"] {
        for what in ["describe orders activity", "list page 0"] {
            expected.push((with_api_key(key).credential_id(), what.to_owned()));
        }
    }
    expected.sort();
    assert_eq!(calls, expected);
    assert_eq!(readers.budgets().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_credential_replaces_the_old_one_at_once_and_the_reading_stays() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    readers.watch(&owner("a"), &with_api_key("old"), &[watch("orders")]);
    until(&readers, 1.0).await;
    fake.script(|script| script.latency = Duration::from_millis(500));
    readers.watch(&owner("a"), &with_api_key("new"), &[watch("orders")]);
    until(&readers, 1.2).await;
    assert_eq!(*fake.released.lock(), [with_api_key("old").credential_id()]);
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(1, 3, 0.0)
    );
    until(&readers, 2.0).await;
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(2, 3, 1.5)
    );
    let last = fake.calls().last().cloned().unwrap();
    assert_eq!(last.credential, with_api_key("new").credential_id());
}

#[tokio::test(start_paused = true)]
async fn another_server_or_task_queue_starts_unread_and_late_answers_are_dropped() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    fake.script(|script| script.latency = Duration::from_secs(1));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 0.5).await;
    let renamed = QueueWatch {
        task_queue: "other".to_owned(),
        ..watch("orders")
    };
    readers.watch(
        &owner("a"),
        &connection_to("elsewhere:7233", "default"),
        &[renamed],
    );
    until(&readers, 1.2).await;
    let reading = readers.reading(&owner("a"), "orders");
    assert_eq!(reading.backlog, unknown(UnknownReason::NotReadYet, 0.5, 0));
    until(&readers, 2.0).await;
    let backlog = readers.reading(&owner("a"), "orders").backlog;
    assert_eq!(
        backlog.known().map(|backlog| backlog.types.activity),
        Some(Some(waiting(0)))
    );
}

#[tokio::test(start_paused = true)]
async fn an_owner_gets_one_update_for_several_readings_and_one_for_every_new_sample() {
    let (fake, readers) = readers();
    fake.backlog("orders", 1);
    let mut updates = Box::pin(readers.updates());
    readers.watch(
        &owner("a"),
        &connection(),
        &[watch("orders"), watch("payments")],
    );
    readers.watch(&owner("b"), &connection(), &[with_replicas("mails")]);
    until(&readers, 1.0).await;
    let mut first = updated(&mut updates);
    first.sort();
    assert_eq!(first, ["a", "b"]);
    assert_eq!(updated(&mut updates), Vec::<String>::new());
    // Nothing has changed at 5.02 s, and yet it is a new sample: samples prove idleness.
    until(&readers, 6.0).await;
    let mut second = updated(&mut updates);
    second.sort();
    assert_eq!(second, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn forgetting_stops_the_reads_and_closes_the_connection() {
    let (fake, readers) = readers();
    fake.backlog("orders", 1);
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    readers.watch(&owner("b"), &connection(), &[watch("orders")]);
    until(&readers, 1.0).await;
    readers.forget(&owner("a"));
    until(&readers, 6.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
    assert!(fake.released.lock().is_empty());
    readers.forget(&owner("b"));
    until(&readers, 60.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
    assert_eq!(*fake.released.lock(), [connection().credential_id()]);
    let unread = readers.reading(&owner("a"), "orders").backlog;
    assert_eq!(unread.unknown(), Some(UnknownReason::NotReadYet));
    // The budget outlives its fleets for a while, so that fleets that come and go cannot exceed it.
    assert_eq!(readers.budgets().len(), 1);
    until(&readers, 120.0).await;
    assert_eq!(readers.budgets(), []);
    // After that a new reader starts.
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 121.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02, 120.0]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_was_removed_from_the_spec_is_no_longer_read() {
    let (fake, readers) = readers();
    readers.watch(
        &owner("a"),
        &connection(),
        &[watch("orders"), watch("mails")],
    );
    until(&readers, 1.0).await;
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 6.0).await;
    assert_eq!(fake.times("describe mails"), [0.0]);
    assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
}

#[tokio::test(start_paused = true)]
async fn repeating_a_watch_costs_no_call() {
    let (fake, readers) = readers();
    for _ in 0..100 {
        readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    }
    until(&readers, 6.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_leaves_no_task_and_ends_the_updates() {
    let (fake, readers) = readers();
    fake.script(|script| script.latency = Duration::from_secs(3));
    let mut updates = Box::pin(readers.updates());
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    readers.watch(&owner("b"), &connection_to("b:1", "x"), &[watch("orders")]);
    until(&readers, 1.0).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    assert_eq!(tasks(), 2);
    readers.shutdown().await;
    assert_eq!(tasks(), 0);
    assert_eq!(updates.next().await, None);
    assert_eq!(fake.released.lock().len(), 2);
    let calls = fake.calls().len();
    readers.watch(&owner("c"), &connection(), &[watch("orders")]);
    until(&readers, 30.0).await;
    assert_eq!((fake.calls().len(), tasks()), (calls, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_stops_the_tasks() {
    let (_fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 1.0).await;
    drop(readers);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
}
