//! When a watch is tried again, on the real streams: an API server of which the test says what it
//! answers when, in paused time.

use std::sync::{Arc, Mutex};

use futures::future::poll_immediate;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caches::{Caches, Scope, Touched, watch};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::testing::{api, failure};

use super::*;

const REFUSED: u16 = 403;
const UNKNOWN_KIND: u16 = 404;
const UNAVAILABLE: u16 = 503;
const LISTED: u16 = 200;

/// The seconds at which one kind was listed.
type Lists = Arc<Mutex<Vec<f64>>>;

/// An API server that answers each list of `resource` with the code for that second, and lets a
/// watch end at once. Every other call is refused.
fn server(resource: &'static str, code: fn(f64) -> u16) -> (Client, Lists) {
    let (start, lists) = (Instant::now(), Lists::default());
    let seen = Arc::clone(&lists);
    let (client, _) = api(move |request| {
        let second = start.elapsed().as_secs_f64();
        if !request.line.contains(resource) {
            return (REFUSED, failure(REFUSED, "Forbidden", "not asked for"));
        }
        if request.line.contains("watch=true") {
            return (UNAVAILABLE, failure(UNAVAILABLE, "", "the watch ends"));
        }
        seen.lock().unwrap().push(second);
        match code(second) {
            LISTED => (LISTED, empty()),
            code => (code, failure(code, "", "no")),
        }
    });
    (client, lists)
}

fn empty() -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": []})
}

fn watching(client: &Client) -> (Caches, crate::caches::Watches, Metrics) {
    let metrics = Metrics::new(Clock::start()).unwrap();
    let (caches, watches) = watch(client, &Scope::Cluster, &metrics, true, |_| {});
    (caches, watches, metrics)
}

/// Polls a watch for this long.
async fn poll_for<K>(seconds: f64, watch: &mut Touched<K>) {
    let all = async { while watch.next().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs_f64(seconds), all).await;
    assert!(ended.is_err(), "a watch does not end");
}

/// The milliseconds between calls, to the tenth of a second.
fn gaps(lists: &Lists) -> Vec<u64> {
    let lists = lists.lock().unwrap();
    let gap = |pair: &[f64]| Duration::from_secs_f64(pair[1] - pair[0]);
    let rounded = |gap: Duration| (u64::try_from(gap.as_millis()).unwrap() + 50) / 100 * 100;
    lists.windows(2).map(gap).map(rounded).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_is_tried_ever_less_often_down_to_once_a_minute() {
    let codes: [fn(f64) -> u16; 2] = [|_| REFUSED, |_| UNKNOWN_KIND];
    for code in codes {
        let (client, lists) = server("/horizontalpodautoscalers", code);
        let (_caches, mut watches, _) = watching(&client);
        poll_for(300.0, &mut watches.autoscalers).await;
        assert_eq!(
            gaps(&lists),
            [
                500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_answered_is_tried_every_two_seconds() {
    let (client, lists) = server("/taskqueueworkers", |_| UNAVAILABLE);
    let (_caches, mut watches, _) = watching(&client);
    poll_for(12.0, &mut watches.fleets).await;
    assert_eq!(gaps(&lists), [500, 1000, 2000, 2000, 2000, 2000, 2000]);
}

/// An API server that starts refuses for a few seconds, until it knows the rights.
#[tokio::test(start_paused = true)]
async fn a_cache_is_filled_within_8_s_after_an_outage_however_long_it_was() {
    let (client, _) = server("/taskqueueworkers", |second| match second {
        0.0..600.0 => UNAVAILABLE,
        600.0..603.0 => REFUSED,
        _ => LISTED,
    });
    let (caches, mut watches, _) = watching(&client);
    poll_for(599.0, &mut watches.fleets).await;
    assert!(
        caches
            .progress()
            .borrow()
            .missing()
            .contains(&"TaskQueueWorker")
    );
    poll_for(9.0, &mut watches.fleets).await;
    assert!(
        !caches
            .progress()
            .borrow()
            .missing()
            .contains(&"TaskQueueWorker")
    );
}

#[tokio::test(start_paused = true)]
async fn a_success_or_quiet_minutes_end_the_growth_of_the_pauses() {
    type Outcome = Result<Event<()>, watcher::Error>;
    let refused = || -> Outcome {
        let status = serde_json::from_value(failure(REFUSED, "Forbidden", "no")).unwrap();
        Err(watcher::Error::WatchError(Box::new(status)))
    };
    let pause = |pauses: &mut Pauses, event: &Outcome| pauses.after(event).map(|p| p.as_millis());
    let mut pauses = Pauses::default();
    assert_eq!(pause(&mut pauses, &refused()), Some(500));
    assert_eq!(pause(&mut pauses, &Ok(Event::Init)), None);
    assert_eq!(pause(&mut pauses, &refused()), Some(1000));
    for success in [
        Event::InitApply(()),
        Event::InitDone,
        Event::Apply(()),
        Event::Delete(()),
    ] {
        assert_eq!(pause(&mut pauses, &Ok(success)), None);
        assert_eq!(pause(&mut pauses, &refused()), Some(500));
        assert_eq!(pause(&mut pauses, &refused()), Some(1000));
    }
    let unanswered = Err(watcher::Error::NoResourceVersion);
    assert_eq!(pause(&mut pauses, &unanswered), Some(500));
    assert_eq!(
        pause(&mut pauses, &refused()),
        Some(500),
        "it answers again"
    );
    tokio::time::advance(Duration::from_secs(121)).await;
    assert_eq!(pause(&mut pauses, &refused()), Some(500), "it was long ago");
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_counted_and_none_ends_the_stream() {
    let (client, _) = server(
        "/pods",
        |second| if second < 1.0 { REFUSED } else { LISTED },
    );
    let (caches, mut watches, metrics) = watching(&client);
    poll_for(1.7, &mut watches.pods).await;
    assert!(!caches.progress().borrow().missing().contains(&"Pod"));
    // Two refused lists; after the third one, a watch that fails at once.
    let text = metrics.text().unwrap();
    let counted = text
        .lines()
        .find(|line| line.contains("watch_errors_total{kind=\"Pod\"}"));
    assert_eq!(
        counted,
        Some("taskqueue_operator_watch_errors_total{kind=\"Pod\"} 3")
    );
    assert!(
        poll_immediate(watches.pods.next()).await.is_none(),
        "it goes on"
    );
}
