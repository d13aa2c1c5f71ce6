//! A leader that cannot reach its lease, another namespace that is gone, a pass that panics.

use futures::poll;

use super::*;
use crate::caches::WatchAccess;
use crate::controller::context::SETTLING;
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
async fn a_pass_that_panics_is_a_counted_error_of_its_fleet_and_stops_no_other() {
    let mut operator = Operator::new(|request| {
        let poisonous = request.line.contains("/taskqueueworkers/orders/status");
        assert!(!poisonous, "this fleet breaks every pass");
        empty_cluster(request)
    });
    for _ in 0..2 {
        let error = operator.pass(&object()).await.0.unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is a bug in the operator: a reconcile panicked: this fleet breaks every pass"
        );
        assert_eq!(error.class(), Class::Bug);
        assert!(operator.pass(&bystander()).await.0.is_ok());
    }
    let counted = r#"reconcile_errors_total{class="bug",reason="InternalError"} 2"#;
    let text = operator.metrics();
    assert!(text.contains(counted), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_refused_does_not_delay_the_requeue_of_the_others() {
    let queues = json!([
        {"name": "a", "replicas": {"min": 1, "max": 5}},
        {"name": "b", "replicas": {"min": 1, "max": 5}},
    ]);
    let object = serde_json::to_value(resource(&queues)).unwrap();
    let usual = Operator::new(empty_cluster).pass(&object).await.0.unwrap();
    let mut operator = Operator::new(|request| {
        if request.line.starts_with("PATCH") && request.line.contains("/deployments/orders-b-") {
            let why = "spec.template: Required value";
            return (422, failure(422, "Invalid", why));
        }
        empty_cluster(request)
    });
    let error = operator.pass(&object).await.0.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    let action = error_policy(arc(&object), &error, Arc::clone(&operator.context));
    assert_eq!(action, usual, "not the five minutes of the error");
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
