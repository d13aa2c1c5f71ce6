//! A leader that cannot reach its lease, another namespace that is gone, a pass that panics.

use futures::poll;

use super::*;
use crate::caches::WatchAccess;
use crate::controller::context::SETTLING;
use crate::controller::errors::caught;
use crate::testing::slow_api;

fn arc(object: &Value) -> Arc<GuardedFleet> {
    Arc::new(serde_json::from_value(object.clone()).unwrap())
}

#[tokio::test]
async fn nothing_is_written_until_the_lease_is_within_reach_again() {
    let operator = Operator::new(empty_cluster);
    let leading = &operator.context.shared.leading;
    leading.suspend();
    let pass = reconcile(arc(&object()), Arc::clone(&operator.context));
    tokio::pin!(pass);
    assert!(poll!(&mut pass).is_pending());
    assert_eq!(operator.log.lines(), Vec::<String>::new());
    leading.resume();
    assert!(pass.await.is_ok());
    assert_ne!(operator.log.lines(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_in_flight_when_the_lease_is_lost_ends_and_is_repeated() {
    let operator = Operator::over(slow_api(|request| {
        let hangs = Duration::from_secs(10);
        let waits = request.line.contains("/status");
        let answer = if request.line.starts_with("GET") {
            (404, failure(404, "NotFound", "not found"))
        } else {
            (200, accepted(request))
        };
        (if waits { hangs } else { Duration::ZERO }, answer)
    }));
    let pass = reconcile(arc(&object()), Arc::clone(&operator.context));
    let pass = tokio::spawn(pass);
    while !operator
        .log
        .peek(|request| request.line.contains("/status"))
    {
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    operator.context.shared.leading.suspend();
    assert_eq!(
        pass.await.unwrap().unwrap(),
        Action::requeue(Duration::ZERO)
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    let state = operator.context.shared.fleets.state(&metadata(&object()));
    let state = state.lock().await;
    let queue = &state.queues[&QueueKey::unversioned("a")];
    assert!(
        queue.written.is_none(),
        "whether its writes were applied is not known"
    );
}

#[tokio::test]
async fn a_namespace_that_cannot_be_watched_holds_up_no_other() {
    let mut operator = Operator::new(empty_cluster);
    operator.other_scope.set_filled(false);
    operator
        .other_scope
        .set_access(WatchAccess::Denied("it was deleted".to_owned()));
    let (result, lines) = operator.pass(&object()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(short(&lines)[..3], ["look", "create", "apply"]);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_too_long_is_not_awaited() {
    let mut operator = Operator::new(empty_cluster);
    operator.other_scope.set_filled(false);
    let began = tokio::time::Instant::now();
    assert!(operator.pass(&object()).await.0.is_ok());
    assert_eq!(began.elapsed(), SETTLING);
}

#[tokio::test]
async fn a_pass_that_panics_is_an_error_of_its_fleet_that_is_counted() {
    let operator = Operator::new(empty_cluster);
    let shared = &operator.context.shared;
    let index = operator.log.lines().len();
    let pass = async { Ok([1][index + 1]) };
    let error = caught(shared, pass).await.unwrap_err();
    assert_eq!(error.class(), Class::Bug);
    assert!(error.to_string().contains("index out of bounds"), "{error}");
    let counted = r#"reconcile_errors_total{class="bug",reason="InternalError"} 1"#;
    let text = operator.metrics();
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn error_classes_are_counted_separately_and_the_next_requeue_is_kept() {
    let mut operator = Operator::new(empty_cluster);
    operator.pass(&object()).await.0.unwrap();
    let guarded = arc(&object());
    let error = |code| {
        let status = kube::core::Status::failure("no", "").with_code(code);
        let call = Call::new("apply", "Deployment", "shop", "a");
        Error::kube(call, kube::Error::Api(status.boxed()))
    };
    let shared = Arc::clone(&operator.context.shared);
    let wait = |code| {
        let error = error(code);
        let action = error_policy(Arc::clone(&guarded), &error, Arc::clone(&operator.context));
        let extra = jitter(&metadata(&object()), error.class());
        (0..400).find(|s| action == Action::requeue(Duration::from_secs(*s) + extra))
    };
    // The next pass is due in a day: only the errors decide.
    let now = shared.clock.now().monotonic;
    shared
        .fleets
        .requeue_at(&metadata(&object()), now.plus(Duration::from_hours(24)));
    assert_eq!([wait(403), wait(403)], [Some(60), Some(60)]);
    assert_eq!([wait(503), wait(503)], [Some(1), Some(2)]);
    // A pass that succeeds clears the counts, and leaves the time at which the next one is due:
    // sooner than after any pause of whole seconds.
    let half_a_minute = Duration::from_secs(30);
    shared
        .fleets
        .requeue_at(&metadata(&object()), now.plus(half_a_minute));
    shared.fleets.succeeded(&metadata(&object()));
    assert_eq!(wait(422), None);
    // Once that time has passed, an error is followed by its pause, or a fleet whose passes fail
    // would never rest.
    shared.fleets.requeue_at(&metadata(&object()), now);
    assert_eq!(wait(403), Some(60));
}
