//! Finding orders by state: the search attribute `OrderState`, if the server has it and the order
//! asks for it.

use std::time::Duration;

use order_worker::domain::order::{OrderInput, OrderState};
use taskqueue_worker::testing::temporal;
use temporalio_client::WorkflowCountOptions;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::workflowservice::v1::RegisterNamespaceRequest;

use crate::process::run_binary;
use crate::support::{Shop, eventually, have_search_attribute};

/// Waits until a query finds this many workflows on the shop's queue; the server's index lags by a
/// moment.
async fn found(shop: &Shop, condition: &str, wanted: usize) {
    let query = format!("TaskQueue = '{}' AND {condition}", shop.queue);
    eventually(condition, async || {
        let options = WorkflowCountOptions::default();
        let counted = shop.client.count_workflows(query.clone(), options).await;
        (counted.ok()?.count() == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_can_be_searched_by_their_state() {
    let shop = Shop::open("search").await;
    have_search_attribute(&shop.client).await;
    let worker = shop.worker().await;
    let order = |id: &str| OrderInput::new(id, 100).with_search_attributes();
    let paid = shop.run(order("search-1")).await;
    assert_eq!(paid.state, OrderState::Completed);
    shop.run(order("search-2").with("card", "tok_declined"))
        .await;
    shop.place(order("search-3").with("cancel_window_seconds", 600))
        .await;
    // This one does not ask for it.
    shop.run(OrderInput::new("search-4", 100)).await;
    found(&shop, "OrderState = 'completed'", 1).await;
    found(&shop, "OrderState = 'declined'", 1).await;
    found(&shop, "OrderState = 'waiting'", 1).await;
    found(&shop, "OrderState IS NULL", 1).await;
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_uses_the_search_attribute_only_where_it_exists() {
    let shop = Shop::open("search-command").await;
    have_search_attribute(&shop.client).await;
    let mut request = RegisterNamespaceRequest {
        namespace: "without-attribute".to_owned(),
        workflow_execution_retention_period: Some(Duration::from_hours(24).try_into().unwrap()),
        ..RegisterNamespaceRequest::default()
    }
    .into_request();
    request.set_timeout(Duration::from_secs(10));
    let mut service = shop.client.connection().workflow_service();
    service.register_namespace(request).await.unwrap();

    let address = temporal();
    let start = |namespace: &str| {
        run_binary(
            &["start", "found-1", "--total", "5", "--search-attributes"],
            &[
                ("TEMPORAL_ADDRESS", address.as_str()),
                ("TEMPORAL_NAMESPACE", namespace),
                ("TEMPORAL_TASK_QUEUE", shop.queue.as_str()),
            ],
        )
    };
    let (code, stderr) = eventually("the namespace is known", async || {
        let (code, _, stderr) = start("without-attribute");
        (!stderr.contains("not found")).then_some((code, stderr))
    })
    .await;
    assert_eq!(code, Some(1));
    assert_eq!(
        stderr,
        "order-worker: the Temporal namespace without-attribute has no search attribute \
         OrderState of type Keyword; make it with: temporal operator search-attribute create \
         --namespace without-attribute --name OrderState --type Keyword\n"
    );

    let worker = shop.worker().await;
    let (code, _, stderr) = start("default");
    assert_eq!(code, Some(0), "{stderr}");
    found(&shop, "OrderState = 'completed'", 1).await;
    worker.drain().await;
}
