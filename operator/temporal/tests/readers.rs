//! The readers over a scripted Temporal, under a paused clock: when is read what, who shares, who
//! is told, what becomes of failures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop"
)]

mod support;

use std::time::Duration;

use futures::StreamExt;
use support::*;
use taskqueue_scaling::{Backlog, PerType, Reading, TaskType, Time, UnknownReason};
use taskqueue_temporal::*;

fn at(second: f64) -> Time {
    Time::from_secs(24 * 60 * 60).plus(Duration::from_secs_f64(second))
}

fn activities(sequence: u64, count: u64, second: f64) -> Reading<Backlog> {
    let types = PerType {
        activity: Some(waiting(count)),
        ..PerType::default()
    };
    Reading::Known {
        value: Backlog { sequence, types },
        taken_at: at(second),
    }
}

fn unknown<T>(reason: UnknownReason, second: f64, failures: u32) -> Reading<T> {
    Reading::Unknown {
        reason,
        since: at(second),
        failures,
    }
}

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
async fn a_longer_polling_interval_is_kept() {
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
async fn quiet_queues_are_read_with_what_the_budget_leaves_and_never_less_than_they_ask() {
    // Two calls per second, half of it for polling: 20 quiet queues, one call each, in 20 s.
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

    // With budget to spare a quiet queue is read as often as the server has news.
    let (fake, readers) = support::readers();
    readers.watch(&owner("a"), &connection(), &queues[..4]);
    until(&readers, 11.0).await;
    assert_eq!(fake.times("describe q00"), [0.0, 5.02, 10.04]);
}

#[tokio::test(start_paused = true)]
async fn each_task_type_that_counts_is_one_call_and_they_make_one_reading() {
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
async fn fleets_on_the_same_task_queue_share_one_read_and_each_gets_its_own_types() {
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
            expected.push((with_api_key(key).fingerprint(), what.to_owned()));
        }
    }
    expected.sort();
    assert_eq!(calls, expected);
    assert_eq!(readers.budgets().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_credential_is_used_at_once_the_old_one_is_released_and_the_reading_stays() {
    let (fake, readers) = readers();
    fake.backlog("orders", 3);
    readers.watch(&owner("a"), &with_api_key("old"), &[watch("orders")]);
    until(&readers, 1.0).await;
    fake.script(|script| script.latency = Duration::from_millis(500));
    readers.watch(&owner("a"), &with_api_key("new"), &[watch("orders")]);
    until(&readers, 1.2).await;
    assert_eq!(
        *fake.released.lock().unwrap(),
        [with_api_key("old").fingerprint()]
    );
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
    assert_eq!(last.credential, with_api_key("new").fingerprint());
}

#[tokio::test(start_paused = true)]
async fn another_server_or_task_queue_starts_from_unread_and_late_answers_are_dropped() {
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
async fn a_queue_unknown_to_the_server_has_zeros_and_they_are_known() {
    let (_fake, readers) = readers();
    readers.watch(&owner("a"), &connection(), &[watch("nobody-knows")]);
    until(&readers, 1.0).await;
    assert_eq!(
        readers.reading(&owner("a"), "nobody-knows").backlog,
        activities(1, 0, 0.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_unknown_since_its_first_attempt_with_words_that_stay() {
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
        first.backlog_problem,
        Some(Problem {
            kind: CallErrorKind::Timeout,
            method: Method::DescribeTaskQueue,
            message: "DescribeTaskQueue at temporal:7233/default failed with Timeout: as scripted"
                .to_owned(),
        })
    );
    // It goes on to fail, now in another way: since stays, the reason follows.
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
        later.backlog_problem.unwrap().kind,
        CallErrorKind::Throttled
    );
    fake.backlog("orders", 4);
    until(&readers, 80.0).await;
    let back = readers.reading(&owner("a"), "orders");
    assert_eq!(
        back.backlog.known().unwrap().types.activity,
        Some(waiting(4))
    );
    assert_eq!(back.backlog_problem, None);
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
            reading.backlog_problem.map(|problem| problem.kind),
            Some(kind)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_queues_failure_leaves_the_others_alone() {
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
async fn a_lost_connection_is_probed_by_one_call_and_everything_is_read_when_it_is_back() {
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
    // Those that were under way when it was lost, then one probe per pause: 1, 2, 4, 8, 15, 15.
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
async fn one_namespace_that_hangs_does_not_hold_up_another() {
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
    let places: Vec<_> = readers
        .budgets()
        .into_iter()
        .map(|b| b.place.to_string())
        .collect();
    assert_eq!(places, ["fast:7233/b", "slow:7233/a"]);
}

#[tokio::test(start_paused = true)]
async fn resource_exhausted_halves_the_rate_which_recovers_over_minutes() {
    let (fake, readers) = readers();
    fake.backlog("orders", 1);
    fake.script(|script| script.first.push_back(Err(CallErrorKind::Throttled)));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    let rate = |readers: &Readers| readers.budgets()[0].rate_milli;
    until(&readers, 1.0).await;
    assert_eq!(rate(&readers), 10_000);
    until(&readers, 90.5).await;
    assert_eq!(rate(&readers), 16_000);
    until(&readers, 151.0).await;
    assert_eq!(rate(&readers), 20_000);
    assert_eq!(readers.budgets()[0].full_rate_milli, 20_000);
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_told_once_however_much_is_new_and_of_every_sample() {
    let (fake, readers) = readers();
    fake.backlog("orders", 1);
    let mut updates = Box::pin(readers.updates());
    readers.watch(
        &owner("a"),
        &connection(),
        &[watch("orders"), watch("payments")],
    );
    readers.watch(&owner("b"), &connection(), &[watch("mails")]);
    until(&readers, 1.0).await;
    let mut first = told(&mut updates);
    first.sort();
    assert_eq!(first, ["a", "b"]);
    assert_eq!(told(&mut updates), Vec::<String>::new());
    // Nothing has changed at 5.02 s, and yet it is a new sample: idleness is proven by them.
    until(&readers, 6.0).await;
    let mut second = told(&mut updates);
    second.sort();
    assert_eq!(second, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_hint_sees_past_the_cache_that_an_earlier_read_has_filled() {
    let (fake, readers) = readers();
    fake.script(|script| script.cache = Duration::from_secs(5));
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 2.0).await;
    fake.backlog("orders", 50);
    assert!(readers.hint(&owner("a"), "orders"));
    until(&readers, 2.1).await;
    assert_eq!(
        readers.reading(&owner("a"), "orders").backlog,
        activities(2, 50, 2.0)
    );
    until(&readers, 11.0).await;
    assert_eq!(fake.times("past-cache orders"), [2.0]);
    assert_eq!(fake.times("describe orders"), [0.0, 5.02, 10.04]);
    assert!(!readers.hint(&owner("a"), "no such queue"));
    assert!(!readers.hint(&owner("nobody"), "orders"));
}

#[tokio::test(start_paused = true)]
async fn a_hint_where_the_server_allows_no_such_read_is_followed_by_ordinary_ones() {
    for kind in [CallErrorKind::Unsupported, CallErrorKind::Failed] {
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
        // The cached zero is no new sample and says nothing new to anybody.
        assert_eq!(
            readers.reading(&owner("a"), "orders").backlog,
            activities(1, 0, 0.0)
        );
        readers.hint(&owner("a"), "orders");
        until(&readers, 6.0).await;
        assert_eq!(fake.times("past-cache orders"), [2.0]);
        assert_eq!(fake.times("describe orders"), [0.0, 2.0, 3.0, 5.02]);
        let reading = readers.reading(&owner("a"), "orders").backlog;
        assert_eq!(reading.known().unwrap().types.activity, Some(waiting(50)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_for_a_queue_whose_cache_has_expired_is_an_ordinary_read() {
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
    assert!(fake.released.lock().unwrap().is_empty());
    readers.forget(&owner("b"));
    until(&readers, 60.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02]);
    assert_eq!(*fake.released.lock().unwrap(), [connection().fingerprint()]);
    let unread = readers.reading(&owner("a"), "orders").backlog;
    assert_eq!(unread.unknown(), Some(UnknownReason::NotReadYet));
    // The budget outlives its fleets for a while, so that coming and going does not outrun it.
    assert_eq!(readers.budgets().len(), 1);
    until(&readers, 120.0).await;
    assert_eq!(readers.budgets(), []);
    // And then it begins anew.
    readers.watch(&owner("a"), &connection(), &[watch("orders")]);
    until(&readers, 121.0).await;
    assert_eq!(fake.times("describe orders"), [0.0, 5.02, 120.0]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_left_the_spec_is_no_longer_read() {
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
async fn saying_the_same_again_costs_nothing() {
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
    assert_eq!(fake.released.lock().unwrap().len(), 2);
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
