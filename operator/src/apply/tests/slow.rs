//! A slow API server, because of a webhook that hangs.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::*;
use crate::testing::slow_api;

/// How long the API server waits for a webhook by default.
const HANGS: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes of templates take 10 s and are then refused; replicas are accepted at once.
fn hanging() -> (Client, Log) {
    slow_api(|request| {
        if request.line.contains("/scale?") {
            return (Duration::ZERO, (200, accepted(request)));
        }
        let why = "failed calling webhook \"pods.example.com\": context deadline exceeded";
        (HANGS, (500, failure(500, "InternalError", why)))
    })
}

fn named(number: usize) -> QueuePlan {
    let mut plan = QueuePlan {
        queue: format!("q{number}"),
        workload_name: format!("d{number}"),
        ..queue(apply_step())
    };
    if let Step::Apply { object, .. } = &mut plan.step {
        object.metadata.name = Some(plan.workload_name.clone());
    }
    plan
}

#[tokio::test(start_paused = true)]
async fn added_replicas_are_written_first_and_wait_for_no_template() {
    let mut queues: Vec<QueuePlan> = (0..20).map(named).collect();
    queues[19].scale = Some(Scale {
        from: 2,
        to: 5,
        decided_on: decided_on(),
    });
    let (client, log) = hanging();
    let writer = Writer::new(
        client,
        Metrics::new(Clock::start()).unwrap(),
        Leading::default(),
    );
    let passes_requested = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&passes_requested);
    let request_pass = move || {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    let began = Instant::now();
    let mut applied = writer
        .apply(&plan(queues), WRITE_TIMEOUT, request_pass)
        .await;
    assert_eq!(began.elapsed(), WRITE_TIMEOUT, "the pass goes on");
    let lines = log.lines();
    assert!(lines[0].contains("/deployments/d19/scale?"), "{lines:?}");
    assert_eq!(lines.len(), 1 + SIDE_BY_SIDE, "side by side: {lines:?}");
    let grown = &applied.queues["q19"];
    assert!(
        grown.scaled.is_some() && grown.end == End::Pending,
        "{grown:?}"
    );
    assert_eq!(applied.writing.len(), 20);

    // Each ends by itself, with an error, and asks for another pass.
    for (queue, writing) in std::mem::take(&mut applied.writing) {
        let done = QueueApplied::of_task(writing.task.await);
        assert!(
            done.end == End::Refused && done.error.is_some(),
            "{queue}: {done:?}"
        );
    }
    assert_eq!(began.elapsed(), HANGS * 3, "20 by 8");
    assert_eq!(passes_requested.load(Ordering::SeqCst), 20);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_panics_in_the_background_is_an_error_and_asks_for_another_pass() {
    let (client, _) = slow_api(|request| {
        if request.line.contains("force=true") {
            // There is no such status: making the answer panics, later than the pass waits.
            return (HANGS, (0, Value::Null));
        }
        (Duration::ZERO, (200, accepted(request)))
    });
    let metrics = Metrics::new(Clock::start()).unwrap();
    let writer = Writer::new(client, metrics, Leading::default());
    let passes_requested = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&passes_requested);
    let request_pass = move || {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    let mut applied = writer
        .apply(&plan(vec![named(0)]), WRITE_TIMEOUT, request_pass)
        .await;
    let writing = applied.writing.remove("q0").unwrap();
    let done = QueueApplied::of_task(writing.task.await);
    assert_eq!(done.end, End::Refused);
    assert!(matches!(done.error, Some(Error::Bug(_))), "{done:?}");
    assert_eq!(passes_requested.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_in_flight_are_aborted_when_this_process_no_longer_leads() {
    let (client, _) = hanging();
    let leading = Leading::default();
    let metrics = Metrics::new(Clock::start()).unwrap();
    let writer = Writer::new(client, metrics, leading.clone());
    let began = Instant::now();
    let mut applied = writer
        .apply(&plan(vec![named(0)]), WRITE_TIMEOUT, || {})
        .await;
    leading.suspend();
    let writing = applied.writing.remove("q0").unwrap();
    let done = QueueApplied::of_task(writing.task.await);
    assert!(
        done.end == End::BrokenOff && done.error.is_none(),
        "{done:?}"
    );
    assert_eq!(began.elapsed(), WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_writes_in_flight() {
    let (client, _) = hanging();
    let metrics = Metrics::new(Clock::start()).unwrap();
    let writer = Writer::new(client, metrics, Leading::default());
    let began = Instant::now();
    let _applied = writer
        .apply(&plan(vec![named(0)]), WRITE_TIMEOUT, || {})
        .await;
    writer.ended().await;
    assert_eq!(began.elapsed(), HANGS);
}
