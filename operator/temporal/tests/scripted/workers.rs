//! The worker list over a scripted Temporal, under a paused clock.

use std::time::Duration;

use taskqueue_scaling::{PodPhase, Reading, Slots, UnknownReason};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

fn pods(names: &[&str]) -> Vec<LivePod> {
    let pod = |name: &&str| LivePod {
        name: (*name).to_owned(),
        phase: PodPhase::Ready,
    };
    names.iter().map(pod).collect()
}

/// Pod, freshness, activity slots in use.
fn in_use(slots: &Reading<Slots>) -> Vec<(String, bool, Option<u32>)> {
    let pods = slots
        .known()
        .map(|slots| slots.pods.clone())
        .unwrap_or_default();
    pods.into_iter()
        .map(|pod| {
            (
                pod.pod,
                pod.fresh,
                pod.types.activity.map(|slots| slots.used),
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn workers_are_listed_once_per_interval_for_all_fleets_of_a_namespace() {
    let (fake, readers) = readers();
    for name in ["a", "b", "c"] {
        readers.watch(&owner(name), &connection(), &[with_replicas(name)]);
    }
    until(&readers, 11.0).await;
    assert_eq!(fake.times("list"), [0.0, 5.0, 10.0]);
}

#[tokio::test(start_paused = true)]
async fn without_replicas_the_list_is_read_rarely_and_at_once_when_there_are_some() {
    let (fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 31.0).await;
    assert_eq!(fake.times("list"), [0.0, 30.0]);
    until(&readers, 40.0).await;
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 46.0).await;
    assert_eq!(fake.times("list"), [0.0, 30.0, 40.0, 45.0]);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_read_at_once_when_tasks_that_wait_get_their_first_replicas() {
    let (fake, readers) = readers();
    fake.backlog("orders", 8);
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 8.0).await;
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 14.0).await;
    assert_eq!(fake.times("list"), [0.0, 8.0, 13.0]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_counts_once_it_has_changed_and_until_it_stops() {
    let (fake, readers) = readers();
    let slots_now = |readers: &Readers| {
        let reading = readers.reading(&owner("a"), "orders");
        slots(
            &reading.workers,
            &pods(&["pod-w", "pod-v"]),
            "orders",
            readers.clock().now(),
        )
    };
    // After a restart of the operator two workers are listed; nobody knows whether they are alive.
    fake.script(|script| {
        script.pages = vec![page(vec![
            heartbeat("w", "orders", 1, 40),
            heartbeat("v", "orders", 1, 9),
        ])];
    });
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 1.0).await;
    let w = |fresh, used| ("pod-w".to_owned(), fresh, used);
    let v = |fresh, used| ("pod-v".to_owned(), fresh, used);
    assert_eq!(
        in_use(&slots_now(&readers)),
        [w(false, None), v(false, None)]
    );
    // One of them sends another heartbeat.
    fake.script(|script| {
        script.pages = vec![page(vec![
            heartbeat("w", "orders", 2, 41),
            heartbeat("v", "orders", 1, 9),
        ])];
    });
    until(&readers, 6.0).await;
    assert_eq!(
        in_use(&slots_now(&readers)),
        [w(true, Some(41)), v(false, None)]
    );
    // It dies. The server keeps its last heartbeat; repeated looks show how old that is.
    until(&readers, 24.5).await;
    assert_eq!(
        in_use(&slots_now(&readers)),
        [w(true, Some(41)), v(false, None)]
    );
    until(&readers, 25.5).await;
    assert_eq!(
        in_use(&slots_now(&readers)),
        [w(false, None), v(false, None)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_between_two_reads_counts_at_once() {
    let (fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 4.0).await;
    fake.script(|script| script.pages = vec![page(vec![heartbeat("w", "orders", 1, 3)])]);
    until(&readers, 6.0).await;
    let reading = readers.reading(&owner("a"), "orders");
    let joined = slots(
        &reading.workers,
        &pods(&["pod-w"]),
        "orders",
        readers.clock().now(),
    );
    assert_eq!(in_use(&joined), [("pod-w".to_owned(), true, Some(3))]);
    let pod = &joined.known().unwrap().pods[0];
    assert_eq!(pod.reported_at, Some(at(5.0)));
    assert_eq!(pod.reported_after, Some(at(0.0)));
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_unknown_and_never_idle() {
    let (_fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 12.0).await;
    let reading = readers.reading(&owner("a"), "orders").workers;
    let unknown = Reading::Unknown {
        reason: UnknownReason::NoHeartbeats,
        since: at(0.0),
        failures: 0,
    };
    assert_eq!(reading, unknown);
    let joined = slots(&reading, &pods(&["pod-w"]), "orders", readers.clock().now());
    assert_eq!(joined.unknown(), Some(UnknownReason::NoHeartbeats));
}

#[tokio::test(start_paused = true)]
async fn a_server_without_worker_lists_is_retried_at_growing_intervals() {
    let (fake, readers) = readers();
    fake.script(|script| script.pages = vec![Err(CallErrorKind::Unsupported)]);
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 2_000.0).await;
    let times = fake.times("list");
    assert!(times[..3].iter().all(|time| *time < 17.0), "{times:?}");
    let last = times.windows(2).last().unwrap();
    assert!(times.len() < 12 && last[1] - last[0] > 500.0, "{times:?}");
    let reading = readers.reading(&owner("a"), "orders");
    assert_eq!(reading.workers.unknown(), Some(UnknownReason::NotSupported));
    assert_eq!(
        reading.workers_failure.unwrap().kind,
        CallErrorKind::Unsupported
    );
    // The backlog is not affected.
    assert!(reading.backlog.known().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_read_once_is_soon_retried() {
    let (fake, readers) = readers();
    let beats = |sent_at| vec![page(vec![heartbeat("w", "orders", sent_at, 1)])];
    fake.script(|script| script.pages = beats(1));
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 4.0).await;
    // One answer from somebody else: a proxy that says 404 while the server is being replaced.
    fake.script(|script| script.pages = vec![Err(CallErrorKind::Unsupported)]);
    until(&readers, 6.0).await;
    let workers = |readers: &Readers| readers.reading(&owner("a"), "orders").workers;
    assert_eq!(
        workers(&readers).unknown(),
        Some(UnknownReason::NotSupported)
    );
    fake.script(|script| script.pages = beats(2));
    until(&readers, 12.0).await;
    assert!(workers(&readers).known().is_some());
    // Even after a long failure, the list is soon read again once the server answers.
    fake.script(|script| script.pages = vec![Err(CallErrorKind::Unsupported)]);
    until(&readers, 1_000.0).await;
    fake.script(|script| script.pages = beats(3));
    until(&readers, 1_067.0).await;
    assert!(workers(&readers).known().is_some());
}

#[tokio::test(start_paused = true)]
async fn all_pages_form_one_list_and_workers_without_slots_are_described_one_by_one() {
    let (fake, readers) = readers();
    let listed = |key: &str, queue: &str| ListedWorker {
        instance_key: key.to_owned(),
        task_queue: queue.to_owned(),
    };
    fake.script(|script| {
        script.pages = vec![
            Ok(WorkersPage {
                workers: vec![heartbeat("one", "orders", 1, 1)],
                without_slots: Vec::new(),
                next_page_token: vec![1],
            }),
            Ok(WorkersPage {
                workers: Vec::new(),
                without_slots: vec![listed("two", "orders"), listed("far", "elsewhere")],
                next_page_token: Vec::new(),
            }),
        ];
        script
            .workers
            .insert("two".to_owned(), heartbeat("two", "orders", 1, 2));
    });
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 1.0).await;
    let what: Vec<_> = fake.calls().into_iter().map(|seen| seen.what).collect();
    assert_eq!(
        what.iter()
            .filter(|what| !what.starts_with("describe"))
            .collect::<Vec<_>>(),
        ["list page 0", "list page 1", "worker two"]
    );
    let workers = readers.reading(&owner("a"), "orders").workers;
    let keys: Vec<_> = workers
        .known()
        .unwrap()
        .iter()
        .map(|worker| worker.instance_key.clone())
        .collect();
    assert_eq!(keys, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn each_queue_gets_its_own_workers_and_its_owner_gets_updates_only_for_them() {
    let (fake, readers) = readers();
    fake.script(|script| {
        script.pages = vec![page(vec![
            heartbeat("o", "orders", 1, 0),
            heartbeat("m", "mails", 1, 0),
        ])];
    });
    let long = |queue: &str| QueueWatch {
        polling_interval: Duration::from_mins(10),
        quiet_polling_interval: Duration::from_mins(10),
        ..with_replicas(queue)
    };
    let mut updates = Box::pin(readers.updates());
    readers.watch(&owner("orders"), &connection(), &[long("orders")]);
    readers.watch(&owner("mails"), &connection(), &[long("mails")]);
    until(&readers, 11.0).await;
    updated(&mut updates);
    fake.script(|script| {
        script.pages = vec![page(vec![
            heartbeat("o", "orders", 1, 7),
            heartbeat("m", "mails", 1, 0),
        ])];
    });
    until(&readers, 16.0).await;
    assert_eq!(updated(&mut updates), ["orders"]);
    let mails = readers.reading(&owner("mails"), "mails").workers;
    let keys: Vec<_> = mails
        .known()
        .unwrap()
        .iter()
        .map(|worker| worker.instance_key.clone())
        .collect();
    assert_eq!(keys, ["m"]);
}

#[tokio::test(start_paused = true)]
async fn slots_in_use_keep_a_queue_busy() {
    let (fake, readers) = readers_at(2);
    let queues: Vec<_> = (0..20)
        .map(|index| watch(&format!("q{index:02}")))
        .collect();
    let beat = |sent_at| vec![page(vec![heartbeat("w", "q07", sent_at, 3)])];
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 20.0).await;
    fake.script(|script| script.pages = beat(1));
    // Here the list is read every 30 s; the worker's own interval is even longer.
    until(&readers, 31.0).await;
    fake.script(|script| script.pages = beat(2));
    until(&readers, 60.0).await;
    readers.watch(&owner("b"), &connection(), &[with_replicas("other")]);
    for second in [65_u32, 70, 75, 80, 85] {
        fake.script(|script| script.pages = beat(i128::from(second)));
        until(&readers, f64::from(second)).await;
    }
    let times = fake.times("describe q07");
    let late: Vec<f64> = times.into_iter().filter(|time| *time > 64.0).collect();
    assert!(late.len() >= 4, "{late:?}");
}
