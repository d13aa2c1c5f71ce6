//! How idle queues are read, and which of their readings are news.

use taskqueue_scaling::TaskType;
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

fn all_types(queue: &str) -> QueueWatch {
    QueueWatch {
        task_types: Vec::new(),
        ..watch(queue)
    }
}

#[tokio::test(start_paused = true)]
async fn the_reading_of_an_idle_queue_at_zero_is_renewed_without_an_update() {
    let (fake, readers) = readers();
    let mut updates = std::pin::pin!(readers.updates());
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 1.0).await;
    assert_eq!(updated(&mut updates), ["a"], "the first reading is news");
    until(&readers, 300.0).await;
    assert_eq!(updated(&mut updates), Vec::<String>::new());
    let reads = fake.times("describe orders").len();
    assert!(reads >= 10, "{reads}");
    let read_at = readers.read_at(&owner("a"), "orders").unwrap();
    assert!(seconds(read_at) > 260.0, "{}", seconds(read_at));

    // A backlog is news at each reading, and so is its end.
    fake.backlog("orders", 1);
    until(&readers, 340.0).await;
    assert_eq!(updated(&mut updates), ["a"]);
    until(&readers, 350.0).await;
    assert_eq!(updated(&mut updates), ["a"]);
    fake.backlog("orders", 0);
    until(&readers, 360.0).await;
    assert_eq!(updated(&mut updates), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_reading_is_an_update_with_replicas_and_after_a_gap() {
    let (_, readers) = readers();
    let mut updates = std::pin::pin!(readers.updates());
    readers.watch(&owner("a"), &connection(), &[with_replicas("orders")]);
    until(&readers, 1.0).await;
    updated(&mut updates);
    until(&readers, 7.0).await;
    assert_eq!(updated(&mut updates), ["a"], "history is made of them");

    // A hundred queues share one call a second: each reading is too old before the next one comes.
    let (fake, readers) = readers_at(1);
    let mut updates = std::pin::pin!(readers.updates());
    let watches: Vec<QueueWatch> = (0..100).map(|n| watch(&format!("q{n:02}"))).collect();
    readers.watch(&owner("a"), &connection(), &watches);
    until(&readers, 150.0).await;
    updated(&mut updates);
    let before = fake.times("describe").len();
    until(&readers, 160.0).await;
    assert!(fake.times("describe").len() > before);
    assert_eq!(updated(&mut updates), ["a"], "it is known again");
}

#[tokio::test(start_paused = true)]
async fn task_types_that_no_worker_serves_are_read_rarely_once_workers_are_known() {
    let (fake, readers) = readers();
    let serving = |sent_at| vec![page(vec![heartbeat("w", "orders", sent_at, 0)])];
    let running = QueueWatch {
        has_replicas: true,
        ..all_types("orders")
    };
    fake.script(|script| script.pages = serving(1));
    readers.watch(&owner("a"), &connection(), std::slice::from_ref(&running));
    until(&readers, 3.0).await;
    fake.script(|script| script.pages = serving(2));
    until(&readers, 30.0).await;
    let of = |task_type: TaskType| format!("describe orders {}", task_type.as_str());
    let reads = |task_type| fake.times(&of(task_type)).len();
    let before = TaskType::ALL.map(reads);
    until(&readers, 500.0).await;
    let after = TaskType::ALL.map(reads);
    let activity = TaskType::ALL
        .iter()
        .position(|t| *t == TaskType::Activity)
        .unwrap();
    for (index, task_type) in TaskType::ALL.into_iter().enumerate() {
        let more = after[index] - before[index];
        assert_eq!(more > 50, index == activity, "{task_type:?}: {more}");
        assert!(index == activity || more == 0, "{task_type:?}: {more}");
    }
    assert!(
        readers
            .reading(&owner("a"), "orders")
            .backlog
            .known()
            .is_some()
    );

    // They are read in the end; a type in which tasks wait is read every time from then on.
    fake.backlog("orders", 1);
    until(&readers, 700.0).await;
    let found = TaskType::ALL.map(reads);
    until(&readers, 720.0).await;
    for (index, task_type) in TaskType::ALL.into_iter().enumerate() {
        assert!(found[index] > after[index], "{task_type:?}");
        assert!(reads(task_type) > found[index], "{task_type:?}");
    }

    // With another spec the workers may serve other types, so all types are read again.
    fake.backlog("orders", 0);
    fake.script(|script| script.pages = Vec::new());
    until(&readers, 800.0).await;
    let quiet = TaskType::ALL.map(reads);
    let changed = QueueWatch {
        generation: 2,
        ..running
    };
    readers.watch(&owner("a"), &connection(), &[changed]);
    until(&readers, 820.0).await;
    for (index, task_type) in TaskType::ALL.into_iter().enumerate() {
        assert!(reads(task_type) > quiet[index], "{task_type:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_task_types_of_a_fleet_that_never_ran_are_read() {
    let (fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[all_types("orders")]);
    until(&readers, 120.0).await;
    let reads = TaskType::ALL.map(|task_type| {
        fake.times(&format!("describe orders {}", task_type.as_str()))
            .len()
    });
    assert_eq!(reads[0], reads[1]);
    assert_eq!(reads[1], reads[2]);
    assert!(reads[0] >= 4, "{reads:?}");
}
