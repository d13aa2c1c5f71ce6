//! Whatever is watched, hinted and answered: calls stay within the budget, and no queue starves.

use std::time::Duration;

use proptest::prelude::*;
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

#[derive(Clone, Debug)]
struct Plan {
    calls_per_second: u32,
    queues: usize,
    busy: usize,
    hints: Vec<(u64, usize)>,
    failures: Vec<Option<CallErrorKind>>,
    latency: u64,
}

fn plans() -> impl Strategy<Value = Plan> {
    let kinds = prop::option::weighted(0.3, prop::sample::select(CallErrorKind::ALL.to_vec()));
    (
        1u32..40,
        1usize..60,
        0usize..60,
        prop::collection::vec((0u64..2_000, 0usize..60), 0..60),
        prop::collection::vec(kinds, 0..40),
        0u64..1_500,
    )
        .prop_map(
            |(calls_per_second, queues, busy, hints, failures, latency)| Plan {
                calls_per_second,
                queues,
                busy,
                hints,
                failures,
                latency,
            },
        )
}

/// Runs two minutes of a plan; returns when each call was made.
async fn run(plan: &Plan) -> Vec<RecordedCall> {
    let (fake, readers) = readers_at(plan.calls_per_second);
    let watches: Vec<_> = (0..plan.queues)
        .map(|index| QueueWatch {
            has_replicas: index < plan.busy,
            ..watch(&format!("q{index:02}"))
        })
        .collect();
    fake.script(|script| {
        script.latency = Duration::from_millis(plan.latency);
        script.first = plan
            .failures
            .iter()
            .map(|failure| failure.map_or(Ok(waiting(0)), Err))
            .collect();
    });
    readers.watch(&owner("a"), &connection(), &watches);
    for (pause, queue) in &plan.hints {
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        readers.hint(&owner("a"), &format!("q{queue:02}"));
    }
    until(&readers, 120.0).await;
    readers.shutdown().await;
    fake.calls()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_interval_has_more_calls_than_the_budget_allows(plan in plans()) {
        let calls = runtime().block_on(run(&plan));
        let rate = u64::from(plan.calls_per_second);
        let burst = rate.clamp(3, 20);
        for (first, from) in calls.iter().enumerate() {
            for (index, to) in calls[first..].iter().enumerate() {
                let span = u64::try_from(to.at.since(from.at).as_millis()).unwrap();
                let made = index as u64 + 1;
                prop_assert!(
                    made * 1_000 <= burst * 1_000 + rate * span,
                    "{made} calls within {span} ms"
                );
            }
        }
    }
}

#[test]
fn under_a_budget_far_too_small_every_queue_is_read_and_hints_do_not_change_that() {
    // 60 busy queues want twelve calls per second and get two.
    let plan = Plan {
        calls_per_second: 2,
        queues: 60,
        busy: 60,
        hints: (0..1_000).map(|_| (100, 7)).collect(),
        failures: Vec::new(),
        latency: 5,
    };
    let calls = runtime().block_on(run(&plan));
    for queue in 0..60 {
        let prefix = format!("describe q{queue:02}");
        let times: Vec<f64> = calls
            .iter()
            .filter(|call| call.what.starts_with(&prefix))
            .map(|call| seconds(call.at))
            .collect();
        let ends = [vec![0.0], times, vec![120.0]].concat();
        let gap = ends
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .fold(0.0, f64::max);
        // A fair share is one read in 30 s; the hinted queue and the list take some of it.
        assert!(gap < 50.0, "queue {queue} waited {gap} s: {ends:?}");
    }
}
