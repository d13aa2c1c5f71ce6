//! The pending activity of an order, as the server reports it.

use std::time::{Duration, SystemTime};

use order_worker::domain::workflow::OrderWorkflow;
use temporalio_client::WorkflowDescribeOptions;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_common::protos::temporal::api::common::v1::{RetryPolicy, WorkflowExecution};
use temporalio_common::protos::temporal::api::enums::v1::PendingActivityState;
use temporalio_common::protos::temporal::api::workflow::v1::PendingActivityInfo;
use temporalio_common::protos::temporal::api::workflowservice::v1::update_activity_options_request::Activity;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PauseActivityRequest, UnpauseActivityRequest, UpdateActivityOptionsRequest,
    pause_activity_request, unpause_activity_request,
};

use crate::support::{Shop, eventually};

/// The order's only pending activity.
pub(crate) async fn pending(shop: &Shop, order_id: &str) -> Option<PendingActivityInfo> {
    let handle = shop
        .client
        .get_workflow_handle::<OrderWorkflow>(format!("order-{order_id}"));
    let described = handle
        .describe(WorkflowDescribeOptions::default())
        .await
        .unwrap();
    described.raw().pending_activities.first().cloned()
}

/// Waits until this many attempts of the activity have failed.
pub(crate) async fn failed_attempts(
    shop: &Shop,
    order_id: &str,
    activity: &str,
    attempts: i32,
) -> PendingActivityInfo {
    eventually("attempts of the activity have failed", async || {
        let pending = pending(shop, order_id).await?;
        let same = pending.activity_type.as_ref()?.name == activity;
        (same && pending.attempt > attempts).then_some(pending)
    })
    .await
}

/// Waits until cancellation of the running activity has been requested.
pub(crate) async fn asked_to_stop(shop: &Shop, order_id: &str) {
    eventually("the activity is to stop", async || {
        let pending = pending(shop, order_id).await?;
        (pending.state() == PendingActivityState::CancelRequested).then_some(())
    })
    .await;
}

/// Reduces the total time of an activity to 1 s, so that no time is left for another attempt.
pub(crate) async fn give_up(shop: &Shop, order_id: &str, pending: &PendingActivityInfo) {
    let options = ActivityOptions {
        schedule_to_close_timeout: Some(Duration::from_secs(1).try_into().unwrap()),
        ..ActivityOptions::default()
    };
    change(
        shop,
        order_id,
        pending,
        options,
        "schedule_to_close_timeout",
    )
    .await;
}

/// Makes the running attempt of an activity the last one.
pub(crate) async fn last_attempt(shop: &Shop, order_id: &str, pending: &PendingActivityInfo) {
    let options = ActivityOptions {
        retry_policy: Some(RetryPolicy {
            maximum_attempts: 1,
            ..RetryPolicy::default()
        }),
        ..ActivityOptions::default()
    };
    change(
        shop,
        order_id,
        pending,
        options,
        "retry_policy.maximum_attempts",
    )
    .await;
}

async fn change(
    shop: &Shop,
    order_id: &str,
    pending: &PendingActivityInfo,
    options: ActivityOptions,
    field: &str,
) {
    let mut update = UpdateActivityOptionsRequest {
        namespace: "default".to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: format!("order-{order_id}"),
            run_id: String::new(),
        }),
        identity: "test".to_owned(),
        activity: Some(Activity::Id(pending.activity_id.clone())),
        activity_options: Some(options),
        ..UpdateActivityOptionsRequest::default()
    };
    let mask = update.update_mask.get_or_insert_default();
    mask.paths.push(field.to_owned());
    let mut request = update.into_request();
    request.set_timeout(Duration::from_secs(10));
    let mut service = shop.client.connection().workflow_service();
    service.update_activity_options(request).await.unwrap();
}

/// How long the server waits between the last attempt and the next one, in whole seconds.
pub(crate) fn pause_of(pending: &PendingActivityInfo) -> Duration {
    let next = pending.next_attempt_schedule_time.unwrap();
    let ended = pending.last_attempt_complete_time.unwrap();
    let [next, ended] = [next, ended].map(|time| SystemTime::try_from(time).unwrap());
    let pause = next.duration_since(ended).unwrap() + Duration::from_millis(500);
    Duration::from_secs(pause.as_secs())
}

/// Pauses an activity.
pub(crate) async fn pause(shop: &Shop, order_id: &str, activity_id: &str) {
    let mut request = PauseActivityRequest {
        namespace: "default".to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: format!("order-{order_id}"),
            run_id: String::new(),
        }),
        identity: "test".to_owned(),
        activity: Some(pause_activity_request::Activity::Id(activity_id.to_owned())),
        ..PauseActivityRequest::default()
    }
    .into_request();
    request.set_timeout(Duration::from_secs(10));
    let mut service = shop.client.connection().workflow_service();
    service.pause_activity(request).await.unwrap();
}

/// Lets a paused activity go on.
pub(crate) async fn unpause(shop: &Shop, order_id: &str, activity_id: &str) {
    let mut request = UnpauseActivityRequest {
        namespace: "default".to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: format!("order-{order_id}"),
            run_id: String::new(),
        }),
        identity: "test".to_owned(),
        activity: Some(unpause_activity_request::Activity::Id(
            activity_id.to_owned(),
        )),
        ..UnpauseActivityRequest::default()
    }
    .into_request();
    request.set_timeout(Duration::from_secs(10));
    let mut service = shop.client.connection().workflow_service();
    service.unpause_activity(request).await.unwrap();
}
