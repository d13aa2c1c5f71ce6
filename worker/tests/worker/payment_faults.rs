//! Gateways on a bad day: rate limits that go on, and charges that are so old that the gateway has
//! forgotten them. And compensation that fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use order_worker::domain::order::{OrderInput, OrderState};
use serde_json::{Value, json};
use temporalio_client::errors::ActivityResultError;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{ActivityStartOptions, WorkflowExecutionStatus};
use temporalio_common::UntypedActivity;
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::IncomingError;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, RespondActivityTaskFailedRequest,
};
use temporalio_sdk::ActivityCloseTimeouts;

use crate::orders::{reason, status_of, unpaid};
use crate::support::{DEADLINE, Shop};

/// The statuses of `POST /charge` by order, in this order; the last one stays.
type Script = BTreeMap<String, Vec<u16>>;

#[derive(Clone, Default)]
struct Requests {
    script: Arc<Script>,
    charges: Arc<Mutex<BTreeMap<String, usize>>>,
    voids: Arc<Mutex<Vec<String>>>,
}

/// A gateway that knows no charge and can void.
struct ScriptedGateway {
    url: String,
    requests: Requests,
}

impl ScriptedGateway {
    async fn start(script: &[(&str, &[u16])]) -> Self {
        let script = script
            .iter()
            .map(|(id, statuses)| ((*id).to_owned(), statuses.to_vec()));
        let requests = Requests {
            script: Arc::new(script.collect()),
            ..Requests::default()
        };
        let router = Router::new()
            .route("/charge", post(charge))
            .route("/charges/{key}", get(StatusCode::NOT_FOUND))
            .route("/charges/{key}/void", post(void))
            .with_state(requests.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, requests }
    }

    /// The number of charge requests for an order.
    fn charges(&self, order_id: &str) -> usize {
        let charges = self.requests.charges.lock().unwrap();
        charges.get(order_id).copied().unwrap_or_default()
    }
}

async fn charge(State(requests): State<Requests>, Json(body): Json<Value>) -> Response {
    let order_id = body["order_id"].as_str().unwrap().to_owned();
    let number = {
        let mut charges = requests.charges.lock().unwrap();
        let number = charges.entry(order_id.clone()).or_default();
        *number += 1;
        *number
    };
    let statuses = &requests.script[&order_id];
    let status = statuses[(number - 1).min(statuses.len() - 1)];
    let answer = Json(json!({"id": "ch_1"}));
    let status = StatusCode::from_u16(status).unwrap();
    match status {
        StatusCode::TOO_MANY_REQUESTS => (status, [(RETRY_AFTER, "1")], answer).into_response(),
        _ => (status, answer).into_response(),
    }
}

async fn void(State(requests): State<Requests>, Path(key): Path<String>) -> Json<Value> {
    requests.voids.lock().unwrap().push(key);
    Json(json!({"status": "voided"}))
}

#[tokio::test]
async fn rate_limits_cost_time_and_no_attempt() {
    let gateway = ScriptedGateway::start(&[
        ("limited-long", &[429, 429, 429, 429, 200]),
        ("limited-lost", &[500, 429, 500, 429, 500]),
    ])
    .await;
    let shop = Shop::open("limited-long").await;
    let worker = shop
        .worker_with(&[("PAYMENT_GATEWAY_URL", &gateway.url)])
        .await;
    let (long, lost) = tokio::join!(
        shop.run(OrderInput::new("limited-long", 100)),
        shop.run(OrderInput::new("limited-lost", 100)),
    );
    assert_eq!(long.state, OrderState::Completed);
    assert_eq!(gateway.charges("limited-long"), 5);
    // The three answers that leave it open whether money moved are three in all.
    let why = reason("PaymentUnavailable", "the gateway answered 500");
    assert_eq!(lost, unpaid("limited-lost", OrderState::Failed, why));
    assert_eq!(gateway.charges("limited-lost"), 5);
    worker.drain().await;
}

/// Runs `settle_payment` without a workflow. Returns the type of its failure, if it fails.
async fn settled(shop: &Shop, order_id: &str, asked_since: i64) -> Option<String> {
    let timeout = ActivityCloseTimeouts::ScheduleToClose(DEADLINE);
    let id = format!("settle-{order_id}");
    let options = ActivityStartOptions::new(shop.queue.as_str(), id, timeout).build();
    let request = json!({"order_id": order_id, "amount": 100, "asked_since": asked_since});
    let input = RawValue::new(vec![Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: request.to_string().into_bytes(),
        ..Payload::default()
    }]);
    let activity = UntypedActivity::new("settle_payment");
    let started = shop.client.start_activity(activity, input, options).await;
    match started.unwrap().result().await {
        Ok(_) => None,
        Err(ActivityResultError::ActivityFailed(IncomingError::Application(failure))) => {
            failure.type_name().map(str::to_owned)
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_gateway_that_may_have_forgotten_a_charge_undoes_nothing() {
    let gateway = ScriptedGateway::start(&[]).await;
    let shop = Shop::open("forgotten").await;
    let worker = shop
        .worker_with(&[("PAYMENT_GATEWAY_URL", &gateway.url)])
        .await;
    let now = Timestamp::now().as_second();
    let (lately, long_ago) = tokio::join!(
        settled(&shop, "forgotten-1", now - 23 * 3600),
        settled(&shop, "forgotten-2", now - 25 * 3600),
    );
    assert_eq!(lately, None);
    assert_eq!(long_ago.as_deref(), Some("PaymentUnsettled"));
    // A void would make the next look-up say that there was no charge.
    let voids = gateway.requests.voids.lock().unwrap().clone();
    assert_eq!(voids, ["order-forgotten-1-charge"]);
    worker.drain().await;
}

/// Takes the next activity of a queue and fails it for good.
async fn fail_next(shop: &Shop, queue: &str, activity: &str, kind: &str) {
    let mut service = shop.client.connection().workflow_service();
    let poll = PollActivityTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: Some(TaskQueue {
            name: queue.to_owned(),
            ..TaskQueue::default()
        }),
        identity: "test".to_owned(),
        ..PollActivityTaskQueueRequest::default()
    };
    let mut poll = poll.into_request();
    poll.set_timeout(DEADLINE);
    let task = service.poll_activity_task_queue(poll).await;
    let task = task.unwrap().into_inner();
    assert_eq!(task.activity_type.unwrap().name, activity);
    let failed = RespondActivityTaskFailedRequest {
        task_token: task.task_token,
        namespace: "default".to_owned(),
        failure: Some(Failure {
            message: "no".to_owned(),
            failure_info: Some(FailureInfo::ApplicationFailureInfo(
                ApplicationFailureInfo {
                    r#type: kind.to_owned(),
                    non_retryable: true,
                    ..ApplicationFailureInfo::default()
                },
            )),
            ..Failure::default()
        }),
        ..RespondActivityTaskFailedRequest::default()
    };
    let mut failed = failed.into_request();
    failed.set_timeout(DEADLINE);
    service.respond_activity_task_failed(failed).await.unwrap();
}

#[tokio::test]
async fn an_order_that_could_not_be_undone_says_so() {
    const QUEUE: &str = "not-undone-inventory";
    let shop = Shop::open("not-undone").await;
    let worker = shop.worker().await;
    let input =
        OrderInput::new("not-undone-1", 100).with("task_queues", json!({"inventory": QUEUE}));
    let order = shop.place(input).await;
    fail_next(&shop, QUEUE, "reserve_inventory", "OutOfStock").await;
    fail_next(&shop, QUEUE, "release_inventory", "InvalidInput").await;
    let words = "release_inventory failed (InvalidInput: no), so a person must do its work; the \
                 order had stopped with OutOfStock: no";
    let why = reason("CompensationFailed", words);
    let ended = shop.end_of(&order).await;
    assert_eq!(ended, unpaid("not-undone-1", OrderState::Failed, why));
    assert_eq!(
        status_of(&shop, "not-undone-1").await,
        WorkflowExecutionStatus::Failed
    );
    // The other step was undone all the same.
    assert_eq!(shop.stored_state("not-undone-1").await, "cancelled");
    worker.drain().await;
}
