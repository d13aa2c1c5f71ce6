//! Hints: what is read after one, and when.

use std::time::Duration;

use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

#[tokio::test(start_paused = true)]
async fn a_hint_reads_past_the_cache_that_an_earlier_read_filled() {
    let (fake, readers) = readers();
    fake.script(|script| script.cache = Duration::from_secs(5));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 2.0).await;
    assert!(readers.hint(&owner("a"), "orders"));
    // The task reaches its queue a moment after it was started, and so after the hint.
    until(&readers, 2.05).await;
    fake.backlog("orders", 50);
    until(&readers, 2.15).await;
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(2, 50, 2.1)
    );
    until(&readers, 11.0).await;
    assert_eq!(fake.times("past-cache orders"), [2.1]);
    assert_eq!(fake.times("describe orders"), [0.0, 5.02, 10.04]);
    assert!(!readers.hint(&owner("a"), "no such queue"));
    assert!(!readers.hint(&owner("nobody"), "orders"));
}

#[tokio::test(start_paused = true)]
async fn repeated_hints_cause_a_read_only_when_it_can_find_something_new() {
    let (fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    for second in 20..100 {
        until(&readers, f64::from(second) / 10.0).await;
        readers.hint(&owner("a"), "orders");
    }
    until(&readers, 10.0).await;
    assert_eq!(fake.times("past-cache orders"), [2.1, 7.12]);
    assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
}

#[tokio::test(start_paused = true)]
async fn a_hint_waits_for_the_cache_when_the_server_has_no_read_past_it() {
    for (kind, attempts) in [
        (CallErrorKind::Unsupported, vec![2.1]),
        // A failure that may pass is retried at the next hint, and when the first tasks are found.
        (CallErrorKind::Failed, vec![2.1, 3.1, 5.12]),
    ] {
        let (fake, readers) = readers();
        fake.script(|script| {
            script.cache = Duration::from_secs(5);
            script.past_cache = Some(kind);
        });
        readers.watch(&owner("a"), &connection(), &[watch("orders")]);
        until(&readers, 2.0).await;
        fake.backlog("orders", 50);
        readers.hint(&owner("a"), "orders");
        until(&readers, 3.0).await;
        // The known values stay.
        assert_eq!(
            readers.reading(&owner("a"), "orders").backlog,
            activities(1, 0, 0.0)
        );
        readers.hint(&owner("a"), "orders");
        until(&readers, 6.0).await;
        assert_eq!(fake.times("past-cache orders"), attempts);
        assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
        let reading = readers.reading(&owner("a"), "orders").backlog;
        assert_eq!(reading.known().unwrap().types.activity, Some(waiting(50)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_for_a_queue_with_an_expired_cache_causes_an_ordinary_read() {
    let (fake, readers) = readers_at(1);
    let queues: Vec<_> = (0..20)
        .map(|index| watch(&format!("q{index:02}")))
        .collect();
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 40.0).await;
    let last = fake.times("describe q05").last().copied().unwrap();
    until(&readers, last + 6.0).await;
    readers.hint(&owner("a"), "q05");
    until(&readers, last + 8.0).await;
    assert_eq!(fake.times("past-cache"), Vec::<f64>::new());
    let hinted = fake.times("describe q05").last().copied().unwrap();
    assert!(
        (last + 6.0..last + 8.0).contains(&hinted),
        "{last} {hinted}"
    );
}
