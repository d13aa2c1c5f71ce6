//! How failures are reported, and that each affects only what it concerns.

use std::time::Duration;

use taskqueue_scaling::{Reading, UnknownReason};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

#[tokio::test(start_paused = true)]
async fn a_reading_is_unknown_since_the_first_failed_attempt() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 1.0).await;
    fake.fails("orders", CallErrorKind::Timeout);
    until(&readers, 6.0).await;
    let first = readers.reading(&owner("a"), "orders");
    assert_eq!(
        first.backlog,
        unknown(UnknownReason::TemporalUnavailable, 5.02, 1)
    );
    assert_eq!(
        first.backlog_failure,
        Some(CallFailure {
            kind: CallErrorKind::Timeout,
            method: Method::DescribeTaskQueue,
            message: "DescribeTaskQueue at temporal:7233/default failed with Timeout: as scripted"
                .to_owned(),
            fault: None,
        })
    );
    // It keeps failing, now in another way: `since` stays, the reason changes.
    fake.fails("orders", CallErrorKind::Throttled);
    until(&readers, 60.0).await;
    let later = readers.reading(&owner("a"), "orders");
    let Reading::Unknown {
        reason,
        since,
        failures,
    } = later.backlog
    else {
        panic!("{later:?}");
    };
    assert_eq!((reason, since), (UnknownReason::Throttled, at(5.02)));
    assert!((4..10).contains(&failures), "{failures}");
    assert_eq!(
        later.backlog_failure.unwrap().kind,
        CallErrorKind::Throttled
    );
    fake.backlog("orders", 4);
    until(&readers, 80.0).await;
    let back = readers.reading(&owner("a"), "orders");
    assert_eq!(
        back.backlog.known().unwrap().types.activity,
        Some(waiting(4))
    );
    assert_eq!(back.backlog_failure, None);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failure_has_its_reason() {
    for (kind, reason) in [
        (
            CallErrorKind::Unavailable,
            UnknownReason::TemporalUnavailable,
        ),
        (CallErrorKind::Timeout, UnknownReason::TemporalUnavailable),
        (CallErrorKind::Throttled, UnknownReason::Throttled),
        (CallErrorKind::Denied, UnknownReason::TemporalAccessDenied),
        (
            CallErrorKind::NamespaceNotFound,
            UnknownReason::TemporalAccessDenied,
        ),
        (CallErrorKind::Unsupported, UnknownReason::NotSupported),
        (CallErrorKind::Failed, UnknownReason::Malformed),
    ] {
        let (fake, readers) = readers();
        fake.fails("orders", kind);
        readers.watch(&owner("a"), &connection(), &[watch("orders")]);
        until(&readers, 0.5).await;
        let reading = readers.reading(&owner("a"), "orders");
        assert_eq!(reading.backlog, unknown(reason, 0.0, 1));
        assert_eq!(
            reading.backlog_failure.map(|failure| failure.kind),
            Some(kind)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_was_read_once_is_soon_retried() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    fake.fails("never", CallErrorKind::Unsupported);
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    readers.watch(&owner("b"), &connection(), &[watch("never")]);
    until(&readers, 1.0).await;
    fake.fails("orders", CallErrorKind::Unsupported);
    until(&readers, 1_000.0).await;
    let backlog = readers.reading(&owner("a"), "orders").backlog;
    assert_eq!(backlog.unknown(), Some(UnknownReason::NotSupported));
    let never = fake.times("describe never");
    assert!((5..10).contains(&never.len()), "{never:?}");
    fake.backlog("orders", 4);
    until(&readers, 1_017.0).await;
    let backlog = readers.reading(&owner("a"), "orders").backlog;
    assert_eq!(backlog.known().unwrap().types.activity, Some(waiting(4)));
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_one_queue_does_not_affect_the_others() {
    let (fake, readers) = readers();
    fake.backlog("good", 1);
    fake.fails("bad", CallErrorKind::Unavailable);
    readers.watch(&owner("a"), &connection(), &[watch("good"), watch("bad")]);
    until(&readers, 11.0).await;
    assert_eq!(fake.times("describe good"), [0.0, 5.02, 10.04]);
    let reading = readers.reading(&owner("a"), "bad").backlog;
    assert_eq!(reading.unknown(), Some(UnknownReason::TemporalUnavailable));
}

#[tokio::test(start_paused = true)]
async fn one_call_probes_a_lost_connection_and_all_queues_are_read_when_it_is_back() {
    let (fake, readers) = readers();
    let queues: Vec<_> = (0..10)
        .map(|index| with_replicas(&format!("q{index}")))
        .collect();
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 5.0).await;
    let before = fake.calls().len();
    fake.script(|script| {
        script.connection_lost = true;
        for index in 0..10 {
            script
                .queues
                .insert(format!("q{index}"), Err(CallErrorKind::Unavailable));
        }
        script.pages = vec![Err(CallErrorKind::Unavailable)];
    });
    until(&readers, 60.0).await;
    // The calls under way when the connection was lost, then one probe per pause: 1, 2, 4, 8, 15,
    // 15 s.
    let during = fake.calls().len() - before;
    assert!(
        (7..=25).contains(&during),
        "{during} calls during the outage"
    );
    for index in 0..10 {
        let reading = readers.reading(&owner("a"), &format!("q{index}"));
        assert_eq!(
            reading.backlog.unknown(),
            Some(UnknownReason::TemporalUnavailable)
        );
    }
    fake.script(|script| {
        script.queues.clear();
        script.connection_lost = false;
        script.pages = vec![page(vec![heartbeat("w", "q0", 1, 0)])];
    });
    until(&readers, 60.0 + 17.0).await;
    for index in 0..10 {
        let reading = readers.reading(&owner("a"), &format!("q{index}"));
        assert!(reading.backlog.known().is_some() && reading.workers.known().is_some());
    }
    let read_again: Vec<f64> = (0..10)
        .map(|index| {
            fake.times(&format!("describe q{index}"))
                .into_iter()
                .rev()
                .find(|time| *time > 60.0)
                .unwrap()
        })
        .collect();
    let first = read_again.iter().copied().fold(f64::MAX, f64::min);
    assert!(first < 76.5, "{read_again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_hangs_does_not_delay_another() {
    let (fake, readers) = readers();
    fake.script(|script| script.latency = Duration::from_secs(5));
    readers.watch(
        &owner("slow"),
        &connection_to("slow:7233", "a"),
        &[watch("orders")],
    );
    until(&readers, 1.0).await;
    fake.script(|script| script.latency = Duration::ZERO);
    readers.watch(
        &owner("fast"),
        &connection_to("fast:7233", "b"),
        &[watch("orders")],
    );
    until(&readers, 1.5).await;
    assert_eq!(
        readers.reading(&owner("fast"), "orders").backlog,
        activities(1, 0, 1.0)
    );
    let slow = readers.reading(&owner("slow"), "orders").backlog;
    assert_eq!(slow, unknown(UnknownReason::NotReadYet, 0.0, 0));
    let server_namespaces: Vec<_> = readers
        .budgets()
        .into_iter()
        .map(|b| b.server_namespace.to_string())
        .collect();
    assert_eq!(server_namespaces, ["fast:7233/b", "slow:7233/a"]);
}

/// The current rates of the statistics and of the worker list.
fn rates(readers: &Readers) -> [u64; 2] {
    let budget = readers.budgets().remove(0);
    Source::ALL.map(|source| budget.sources.get(source).rate_milli)
}

#[tokio::test(start_paused = true)]
async fn resource_exhausted_halves_the_rate_and_it_recovers_over_minutes() {
    let (fake, readers) = readers();
    fake.backlog("orders", 1);
    fake.script(|script| script.first.push_back(Err(CallErrorKind::Throttled)));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 1.0).await;
    assert_eq!(rates(&readers), [10_000, 20_000]);
    until(&readers, 90.5).await;
    assert_eq!(rates(&readers), [16_000, 20_000]);
    until(&readers, 151.0).await;
    assert_eq!(rates(&readers), [20_000, 20_000]);
    assert_eq!(readers.budgets()[0].full_rate_milli, 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_worker_list_that_is_refused_for_long_delays_no_statistics() {
    // The interface of Temporal uses up the limit that it shares with the list.
    let (fake, readers) = readers();
    fake.script(|script| script.pages = vec![Err(CallErrorKind::Throttled)]);
    let queues: Vec<_> = (0..30)
        .map(|index| with_replicas(&format!("q{index:02}")))
        .collect();
    readers.watch(&owner("a"), &connection(), &queues);
    let mut refused_rates = Vec::new();
    for turn in 1..=10 {
        until(&readers, f64::from(turn) * 60.0).await;
        refused_rates.push(rates(&readers));
    }
    assert!(
        refused_rates.iter().all(|[backlog, _]| *backlog == 20_000),
        "{refused_rates:?}"
    );
    for index in 0..30 {
        let times = fake.times(&format!("describe q{index:02}"));
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = gaps.fold(0.0, f64::max);
        assert!(longest < 7.0, "q{index:02} was not read for {longest} s");
    }
}

#[tokio::test(start_paused = true)]
async fn statistics_that_are_refused_for_long_delay_no_worker_list() {
    let (fake, readers) = readers();
    fake.script(|script| script.pages = vec![page(vec![heartbeat("w", "q00", 1, 0)])]);
    let queues: Vec<_> = (0..30)
        .map(|index| with_replicas(&format!("q{index:02}")))
        .collect();
    for index in 0..30 {
        fake.fails(&format!("q{index:02}"), CallErrorKind::Throttled);
    }
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 300.0).await;
    assert_eq!(rates(&readers), [100, 20_000]);
    let lists = fake.times("list");
    let gaps = lists.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.fold(0.0, f64::max);
    assert!(longest < 6.0, "no list was read for {longest} s");
    let behind = readers.budgets().remove(0).sources;
    assert!(
        behind.backlog.behind > Duration::from_secs(5) && behind.slots.behind.is_zero(),
        "{behind:?}"
    );
}
