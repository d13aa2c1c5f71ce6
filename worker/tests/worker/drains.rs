//! Workers that leave while their queue is busy: tasks that the server has put into their polls, or
//! into the queue of their cached workflows, must not wait for a timeout.
//!
//! `ORDER_WORKER_TEST_DRAINS=10 cargo test -p order-worker drains -- --nocapture` drains more
//! workers and prints what was late.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt, stream};
use order_worker::commands::{OrderHandle, outcome};
use order_worker::domain::order::{OrderInput, OrderState};
use temporalio_client::WorkflowFetchHistoryOptions;
use temporalio_common::protos::temporal::api::enums::v1::TimeoutType;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

use crate::support::{DEADLINE, Shop, eventually};

/// A server that needs this long for one answer may need twice as long for another.
const SLOW_ANSWER: Duration = Duration::from_millis(500);

/// How far from a slow answer the server may have lost a task by itself.
const NEAR: Duration = Duration::from_secs(2);

/// From when to when something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: SystemTime,
    to: SystemTime,
}

impl Span {
    fn is_near(&self, other: &Self) -> bool {
        self.from <= other.to + NEAR && other.from <= self.to + NEAR
    }
}

/// Tasks that went wrong, according to the histories of some orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// Workflow tasks that a worker received but did not answer (10 s each), and activities that
    /// started more than once or timed out: when, and why.
    lost: Vec<(Span, String)>,
    /// Workflow tasks that waited for the worker that had the workflow in its cache: 2 s each. A
    /// slow machine causes some by itself.
    waited_for_a_worker: usize,
    /// When the server needed long for an answer: from the start of a workflow task until the
    /// server had the answer, of which the worker needs a few milliseconds.
    slow: Vec<Span>,
}

impl AddAssign for Late {
    fn add_assign(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.waited_for_a_worker += other.waited_for_a_worker;
        self.slow.extend(other.slow);
    }
}

impl Late {
    /// The losses that a slow server does not explain.
    ///
    /// Temporal allows itself one second to record that it gives a task to a waiting poll. A slower
    /// server gives up, finds the task "already started" when it tries again, and has lost it,
    /// whoever polls.
    fn unexplained(&self) -> Vec<&str> {
        let explained = |lost: &Span| self.slow.iter().any(|slow| slow.is_near(lost));
        let lost = self.lost.iter().filter(|(span, _)| !explained(span));
        lost.map(|(_, what)| what.as_str()).collect()
    }

    /// Checks that every activity completed at its first attempt and every workflow task was
    /// answered, except where the server was too slow to tell.
    #[expect(
        clippy::print_stdout,
        reason = "the figures are for whoever reads the run"
    )]
    pub(crate) fn nothing_was_lost(&self) {
        let (lost, slow, waited) = (self.lost.len(), self.slow.len(), self.waited_for_a_worker);
        println!("{lost} tasks lost, {slow} answers slow, {waited} tasks waited for a worker");
        assert_eq!(self.unexplained(), Vec::<&str>::new(), "{self:?}");
    }
}

#[test]
fn a_slow_answer_explains_only_what_was_lost_near_it() {
    let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let span = |from: u64, to: u64| Span {
        from: at(from),
        to: at(to),
    };
    let late = Late {
        lost: vec![
            (span(9, 9), "before".to_owned()),
            (span(12, 30), "during".to_owned()),
            (span(30, 30), "after".to_owned()),
        ],
        slow: vec![span(12, 13)],
        ..Late::default()
    };
    assert_eq!(late.unexplained(), ["before", "after"]);
    let quick = Late {
        slow: Vec::new(),
        ..late
    };
    assert_eq!(quick.unexplained(), ["before", "during", "after"]);
}

/// Collects the late tasks of these orders.
pub(crate) async fn late(handles: &[OrderHandle]) -> Late {
    let mut sum = Late::default();
    for handle in handles {
        let id = &handle.info().workflow_id;
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
        let mut times = BTreeMap::new();
        for event in history.into_events().await.unwrap() {
            let to = SystemTime::try_from(event.event_time.unwrap()).unwrap();
            times.insert(event.event_id, to);
            let since = |event_id: i64| Span {
                from: times[&event_id],
                to,
            };
            match event.attributes {
                Some(Attributes::WorkflowTaskCompletedEventAttributes(completed)) => {
                    let answer = since(completed.started_event_id);
                    if to.duration_since(answer.from).unwrap_or_default() >= SLOW_ANSWER {
                        sum.slow.push(answer);
                    }
                }
                Some(Attributes::WorkflowTaskTimedOutEventAttributes(timed_out)) => {
                    if timed_out.timeout_type == TimeoutType::ScheduleToStart as i32 {
                        sum.waited_for_a_worker += 1;
                    } else {
                        let started = since(timed_out.started_event_id).from;
                        let lost = Span {
                            from: started,
                            to: started,
                        };
                        sum.lost.push((lost, format!("{id}: workflow task")));
                    }
                }
                Some(Attributes::ActivityTaskStartedEventAttributes(started))
                    if started.attempt > 1 =>
                {
                    let lost = since(started.scheduled_event_id);
                    let why = started.last_failure.map(|f| f.message).unwrap_or_default();
                    let what = format!("{id}: attempt {} after {why:?}", started.attempt);
                    sum.lost.push((lost, what));
                }
                Some(Attributes::ActivityTaskTimedOutEventAttributes(timed_out)) => {
                    let lost = since(timed_out.scheduled_event_id);
                    let why = timed_out.failure.map(|f| f.message).unwrap_or_default();
                    sum.lost.push((lost, format!("{id}: {why}")));
                }
                _ => {}
            }
        }
    }
    sum
}

/// What a worker logs when it stops polling.
#[derive(Debug, PartialEq, Eq)]
struct Leave {
    cut_off: u64,
    unanswered: u64,
}

fn leaves(log: &str) -> Vec<Leave> {
    let events = log.lines().filter(|line| line.contains("no more polls"));
    events
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| event["fields"][name].as_u64().unwrap();
            Leave {
                cut_off: number("polls_cut_off"),
                unanswered: number("tasks_unanswered"),
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_drain_under_load_lose_no_task() {
    let drains = std::env::var("ORDER_WORKER_TEST_DRAINS")
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(3);
    let shop = Shop::open("drains").await;
    let mut workers = vec![shop.worker().await, shop.worker().await];
    let (mut sum, mut orders, mut cut_off) = (Late::default(), 0, 0);
    for round in 0..drains {
        // Enough orders to keep the queue busy for the whole drain.
        let handles: Vec<OrderHandle> = stream::iter(0..80)
            .map(|n| shop.place(OrderInput::new(&format!("drains-{round}-{n}"), 100)))
            .buffered(20)
            .collect()
            .await;
        let leaving = workers.remove(0);
        let log = leaving.drain().await;
        assert!(log.contains("drained"), "{log}");
        // One for workflows, one for activities. They have answered all their tasks.
        let leaves = leaves(&log);
        assert_eq!(leaves.len(), 2, "{log}");
        assert!(
            leaves.iter().all(|leave| leave.unanswered == 0),
            "{leaves:?}"
        );
        cut_off += leaves.iter().map(|leave| leave.cut_off).sum::<u64>();
        workers.push(shop.worker().await);
        for handle in &handles {
            assert_eq!(shop.end_of(handle).await.state, OrderState::Completed);
        }
        sum += late(&handles).await;
        orders += handles.len();
    }
    println!("{orders} orders, {drains} workers drained, {cut_off} idle polls cut off");
    sum.nothing_was_lost();
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_exits_within_seconds() {
    let shop = Shop::open("idle-drain").await;
    let worker = shop.worker().await;
    let started = Instant::now();
    worker.drain().await;
    // A little over a second, and up to ten on a slow server.
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// The number of threads of a process with this name.
fn threads(process: u32, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| name.starts_with(comm.trim_end()))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_sdk_worker_leaves_nothing_behind() {
    let shop = Shop::open("replaced").await;
    let more = [("TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES", "100")];
    let worker = shop.worker_with(&more).await;
    let started = Instant::now();
    let handles: Vec<OrderHandle> = stream::iter(0..200)
        .map(|n| shop.place(OrderInput::new(&format!("replaced-{n}"), 100)))
        .buffered(20)
        .collect()
        .await;
    for handle in &handles {
        let id = &handle.info().workflow_id;
        let ended = tokio::time::timeout(DEADLINE, outcome(id, handle)).await;
        assert_eq!(ended.unwrap().unwrap().state, OrderState::Completed);
    }
    let late = late(&handles).await;
    let metrics = worker.metrics().await;
    let recycles: u32 = metrics
        .lines()
        .find_map(|line| line.strip_prefix("taskqueue_worker_recycles_total "))
        .and_then(|value| value.parse().ok())
        .unwrap();
    assert!(recycles >= 4, "{recycles}");
    // Each SDK worker in memory has one of these threads. Only the workflow worker and the last
    // activity worker may be left. The last polls of the replaced workers return after a minute.
    eventually("the replaced workers are gone", async || {
        (threads(worker.id(), "temporal-real-sysinfo") == 2).then_some(())
    })
    .await;
    // All their polls returned by themselves.
    let leaves = leaves(&worker.log());
    assert!(leaves.len() >= recycles as usize, "{leaves:?}");
    assert!(leaves.iter().all(|leave| leave.cut_off == 0), "{leaves:?}");
    println!(
        "{recycles} workers replaced; all gone after {:.0?}",
        started.elapsed()
    );
    late.nothing_was_lost();
    worker.drain().await;
}
