//! A workflow that is reset, as after a bad deployment: a paid order goes on, and nothing is sold,
//! charged or mailed twice.

use order_worker::domain::order::{NotificationState, OrderInput, OrderState};
use order_worker::domain::workflow::OrderWorkflow;
use serde_json::json;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::workflowservice::v1::ResetWorkflowExecutionRequest;

use crate::notifications::{once, recipients};
use crate::orders::reason;
use crate::support::{DEADLINE, Shop};

/// Resets an order to its first workflow task.
async fn reset(shop: &Shop, order_id: &str) {
    let mut request = ResetWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: format!("order-{order_id}"),
            run_id: String::new(),
        }),
        reason: "test".to_owned(),
        workflow_task_finish_event_id: 4,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..ResetWorkflowExecutionRequest::default()
    }
    .into_request();
    request.set_timeout(DEADLINE);
    let mut service = shop.client.connection().workflow_service();
    service.reset_workflow_execution(request).await.unwrap();
}

#[tokio::test]
async fn a_paid_order_that_is_reset_completes_again() {
    let shop = Shop::open("reset").await;
    let worker = shop.worker().await;
    let all = recipients(2);
    let input = OrderInput::new("reset-1", 100)
        .with("items", json!([{"sku": "lamp", "quantity": 2}]))
        .with("recipients", json!(all));
    let first = shop.run(input).await;
    let left = shop.store().await.available("lamp").await.unwrap();
    reset(&shop, "reset-1").await;
    let again = shop
        .client
        .get_workflow_handle::<OrderWorkflow>("order-reset-1");
    let result = shop.end_of(&again).await;
    assert_eq!(result, first);
    assert_eq!(
        (result.state, result.notification.state),
        (OrderState::Completed, NotificationState::Sent)
    );
    assert_eq!(shop.store().await.available("lamp").await.unwrap(), left);
    assert_eq!(shop.smtp.counts(), once(&all));
    let entries = shop.gateway.entries();
    assert_eq!(entries.len(), 1);
    worker.drain().await;
}

#[tokio::test]
async fn a_declined_order_that_is_reset_stays_cancelled() {
    let shop = Shop::open("reset-declined").await;
    let worker = shop.worker().await;
    let input = OrderInput::new("reset-2", 100).with("card", "tok_declined");
    assert_eq!(shop.run(input).await.state, OrderState::Declined);
    reset(&shop, "reset-2").await;
    let again = shop
        .client
        .get_workflow_handle::<OrderWorkflow>("order-reset-2");
    let result = shop.end_of(&again).await;
    let why = reason("OrderCancelled", "order reset-2 was cancelled");
    assert_eq!((result.state, result.reason), (OrderState::Failed, why));
    worker.drain().await;
}
