//! A payment gateway that offers only `POST /charge`, with a configurable answer. It cannot look up
//! a charge, void it, or recognize a repeated request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use order_worker::domain::failure::FailureType;
use order_worker::domain::order::messages::PaymentRequest;
use order_worker::domain::order::{OrderInput, OrderResult, OrderState, Payment};
use order_worker::payment::{GatewayClient, KeyAge, settle};
use serde_json::{Value, json};
use temporalio_client::{ActivityStartOptions, WorkflowExecutionStatus};
use temporalio_common::UntypedActivity;
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_sdk::ActivityCloseTimeouts;

use crate::orders::{reason, status_of, unpaid};
use crate::support::{DEADLINE, Shop, init};

/// Answers by order. Each request for an order gets the same answer.
type Answers = BTreeMap<String, (u16, Value)>;

/// The bodies of the charge requests.
type Charges = Arc<Mutex<Vec<Value>>>;

/// The gateway and the requests that it received.
pub(crate) struct PlainGateway {
    pub(crate) url: String,
    charges: Charges,
}

impl PlainGateway {
    /// Answers `otherwise` on every path except `/charge`.
    pub(crate) async fn start(answers: Answers, otherwise: StatusCode) -> Self {
        let charges = Charges::default();
        let router = Router::new()
            .route("/charge", post(charge))
            .fallback(move || std::future::ready(otherwise))
            .with_state((Arc::new(answers), charges.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, charges }
    }

    /// The number of charge requests for an order.
    fn requests(&self, order_id: &str) -> usize {
        let charges = self.charges.lock().unwrap();
        let of_order = charges.iter().filter(|body| body["order_id"] == order_id);
        of_order.count()
    }
}

async fn charge(
    State((answers, charges)): State<(Arc<Answers>, Charges)>,
    Json(body): Json<Value>,
) -> Response {
    let answer = answers.get(body["order_id"].as_str().unwrap_or_default());
    charges.lock().unwrap().push(body);
    match answer {
        Some((status, answer)) => {
            let status = StatusCode::from_u16(*status).unwrap();
            (status, Json(answer.clone())).into_response()
        }
        None => StatusCode::IM_A_TEAPOT.into_response(),
    }
}

#[tokio::test]
async fn a_gateway_that_offers_only_charges_is_enough() {
    let answers = [
        ("plain-1", 200, json!({"id": "pay_1", "amount": 100.0})),
        (
            "plain-2",
            201,
            json!({"charge_id": "ch_2", "amount": "100", "status": "succeeded"}),
        ),
        ("plain-3", 200, json!({"ok": true})),
        ("plain-4", 200, json!({"id": 4, "order": {"id": "plain-4"}})),
        ("plain-5", 402, json!({"error": "no money"})),
    ];
    let answers = answers.map(|(id, status, answer)| (id.to_owned(), (status, answer)));
    let gateway = PlainGateway::start(answers.into(), StatusCode::NOT_FOUND).await;
    let shop = Shop::open("plain").await;
    let worker = shop
        .worker_with(&[("PAYMENT_GATEWAY_URL", &gateway.url)])
        .await;
    for (id, charge_id) in [
        ("plain-1", "pay_1"),
        ("plain-2", "ch_2"),
        ("plain-3", "order-plain-3-charge"),
        ("plain-4", "4"),
    ] {
        let paid = OrderResult {
            payment: Some(Payment {
                charge_id: charge_id.to_owned(),
                amount: 100,
                settled: false,
            }),
            ..unpaid(id, OrderState::Completed, None)
        };
        assert_eq!(shop.run(OrderInput::new(id, 100)).await, paid);
        assert_eq!(
            (gateway.requests(id), shop.stored_state(id).await.as_str()),
            (1, "paid")
        );
    }
    let declined = shop.run(OrderInput::new("plain-5", 100)).await;
    let why = reason("PaymentDeclined", "Payment declined");
    assert_eq!(declined, unpaid("plain-5", OrderState::Declined, why));
    assert_eq!(shop.stored_state("plain-5").await, "cancelled");
    worker.drain().await;
}

#[tokio::test]
async fn an_order_with_an_unknown_payment_ends_and_nothing_is_undone() {
    let answers = [("unfound-1".to_owned(), (500, json!({})))];
    let gateway = PlainGateway::start(answers.into(), StatusCode::NOT_FOUND).await;
    let shop = Shop::open("plain-lost").await;
    let worker = shop
        .worker_with(&[("PAYMENT_GATEWAY_URL", &gateway.url)])
        .await;
    let before = shop.store().await.available("lamp").await.unwrap().unwrap();
    let lamps = json!([{"sku": "lamp", "quantity": 2}]);
    let ended = shop
        .run(OrderInput::new("unfound-1", 100).with("items", lamps))
        .await;
    let words = "the gateway knows of no charge (404) and cannot void it (404): look there for \
                 order \
                 unfound-1 under the key order-unfound-1-charge";
    let why = reason("PaymentUnsettled", words);
    assert_eq!(ended, unpaid("unfound-1", OrderState::Unsettled, why));
    assert_eq!(
        status_of(&shop, "unfound-1").await,
        WorkflowExecutionStatus::Failed
    );
    assert_eq!(gateway.requests("unfound-1"), 3);
    // An order that may be paid is neither cancelled nor sold to somebody else.
    assert_eq!(shop.stored_state("unfound-1").await, "created");
    let left = shop.store().await.available("lamp").await.unwrap();
    assert_eq!(left, Some(before - 2));
    // A person has found out that it was not charged, and follows GATEWAY.md.
    for activity in ["release_inventory", "cancel_order_activity"] {
        by_hand(&shop, activity, "unfound-1").await;
    }
    assert_eq!(shop.stored_state("unfound-1").await, "cancelled");
    let left = shop.store().await.available("lamp").await.unwrap();
    assert_eq!(left, Some(before));
    let metrics = worker.metrics().await;
    let counted = "order_worker_payments_total{outcome=\"unsettled\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let log = worker.drain().await;
    assert!(
        log.contains("payment unsettled, nothing is undone"),
        "{log}"
    );
}

/// Runs an activity without a workflow, with only an order id as input.
async fn by_hand(shop: &Shop, activity: &str, order_id: &str) {
    let timeout = ActivityCloseTimeouts::StartToClose(DEADLINE);
    let id = format!("undo-{order_id}-{activity}");
    let options = ActivityStartOptions::new(shop.queue.as_str(), id, timeout).build();
    let input = RawValue::new(vec![Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: format!("{order_id:?}").into_bytes(),
        ..Payload::default()
    }]);
    let activity = UntypedActivity::new(activity);
    let started = shop.client.start_activity(activity, input, options).await;
    started.unwrap().result().await.unwrap();
}

#[tokio::test]
async fn an_order_whose_charge_the_gateway_did_not_accept_is_undone_at_once() {
    let answers = [(
        "untaken-1".to_owned(),
        (401, json!({"error": "who are you"})),
    )];
    let gateway = PlainGateway::start(answers.into(), StatusCode::NOT_FOUND).await;
    let shop = Shop::open("plain-untaken").await;
    let worker = shop
        .worker_with(&[("PAYMENT_GATEWAY_URL", &gateway.url)])
        .await;
    let ended = shop.run(OrderInput::new("untaken-1", 100)).await;
    let why = reason("PaymentRefused", "the gateway refused the request with 401");
    assert_eq!(ended, unpaid("untaken-1", OrderState::Failed, why));
    assert_eq!(shop.stored_state("untaken-1").await, "cancelled");
    let log = worker.drain().await;
    assert!(!log.contains("not settled"), "{log}");
}

/// The failure of settling a charge at a gateway that answers every path with `otherwise`.
async fn settled(otherwise: Response) -> Option<FailureType> {
    init();
    let (parts, body) = otherwise.into_parts();
    let body = axum::body::to_bytes(body, 1000).await.unwrap();
    let router = Router::new().fallback(move || {
        let answer = (parts.status, body.clone()).into_response();
        std::future::ready(answer)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = GatewayClient::new(&url.parse().unwrap()).unwrap();
    let request = PaymentRequest {
        order_id: "o".to_owned(),
        amount: 1,
        currency: "USD".to_owned(),
        card: None,
        attempts: None,
        asked_since: None,
    };
    settle(&client, "k", &request, KeyAge::Remembered)
        .await
        .err()
        .map(|failure| failure.kind)
}

#[tokio::test]
async fn a_path_that_the_gateway_does_not_offer_differs_from_a_failure() {
    use FailureType::{PaymentRateLimited, PaymentUnavailable, PaymentUnsettled};
    let unsettled = [
        StatusCode::NOT_FOUND.into_response(),
        StatusCode::METHOD_NOT_ALLOWED.into_response(),
        StatusCode::GONE.into_response(),
        StatusCode::NOT_IMPLEMENTED.into_response(),
        // The answer of some servers to every path.
        "<html>".into_response(),
        Json(json!({"id": "x"})).into_response(),
        Json(json!(null)).into_response(),
    ];
    for answer in unsettled {
        let shown = format!("{answer:?}");
        assert_eq!(settled(answer).await, Some(PaymentUnsettled), "{shown}");
    }
    for (answer, kind) in [
        (StatusCode::UNAUTHORIZED.into_response(), PaymentUnavailable),
        (StatusCode::BAD_GATEWAY.into_response(), PaymentUnavailable),
        (StatusCode::FOUND.into_response(), PaymentUnavailable),
        (
            StatusCode::TOO_MANY_REQUESTS.into_response(),
            PaymentRateLimited,
        ),
        (
            Json(json!({"status": "pending"})).into_response(),
            PaymentUnavailable,
        ),
    ] {
        let shown = format!("{answer:?}");
        assert_eq!(settled(answer).await, Some(kind), "{shown}");
    }
    for status in ["charged", "declined", "voided"] {
        let answer = Json(json!({"status": status})).into_response();
        assert_eq!(settled(answer).await, None, "{status}");
    }
}
