//! Whatever arrives, nothing panics and every outcome is classified: orders, answers of the
//! gateway, workflow ids.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use futures::FutureExt;
use order_worker::domain::failure::FailureType;
use order_worker::domain::order::messages::PaymentRequest;
use order_worker::domain::order::{MAX_TOTAL, Order, OrderInput, Payment, is_order_id};
use order_worker::mail::{Mailer, Unsent};
use order_worker::payment::{GatewayClient, KeyAge, PaymentGateway, idempotency_key, settle};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::init;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(field_name(), inner, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::sample::select(vec![
            "order_id", "id", "total", "currency", "items", "card", "recipients", "subject",
            "body", "cancel_window_seconds", "task_queues", "sku", "quantity", "inventory",
        ]).prop_map(str::to_owned),
        1 => "[a-z]{1,8}",
    ]
}

/// Mail addresses as written by people, and by people with bad intentions.
fn any_address() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.+]{1,10}@[a-z-]{1,10}\\.[a-z]{2,3}",
        "[ -~]{0,20}@[ -~]{0,20}",
        "[a-z]{1,5}@[a-z]{1,5}(\r\nBcc: | |<|>|,)[a-z]{1,5}@[a-z]{1,5}",
        "(\"[ -~]{0,10}\")@\\[?[0-9a-f:.]{1,15}\\]?",
        ".{0,80}",
    ]
}

/// An order that is valid in every field.
fn right_order() -> impl Strategy<Value = Value> {
    (
        "[A-Za-z0-9._-]{1,100}",
        1..=MAX_TOTAL,
        proptest::option::of("[A-Z]{3}"),
        vec(("[a-z]{1,10}", 1..1000_i64), 1..10),
        vec("[a-z]{1,10}@[a-z]{1,10}\\.(com|org)", 0..5),
        proptest::option::of("tok_[a-z0-9]{1,20}"),
    )
        .prop_map(|(id, total, currency, items, recipients, card)| {
            let items: Vec<Value> = items
                .into_iter()
                .map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity}))
                .collect();
            json!({
                "order_id": id, "total": total, "currency": currency, "items": items,
                "recipients": recipients, "card": card,
            })
        })
}

proptest! {
    #[test]
    fn any_json_is_an_order_or_an_invalid_order(value in any_json()) {
        match OrderInput::from_value(value).parse() {
            Ok(order) => {
                prop_assert!(is_order_id(&order.order_id));
                prop_assert!((1..=MAX_TOTAL).contains(&order.total));
            }
            Err(failure) => {
                prop_assert_eq!(failure.kind, FailureType::InvalidOrder);
                prop_assert!(!failure.message.is_empty() && failure.message.len() < 300);
            }
        }
    }

    #[test]
    fn a_valid_order_is_accepted_and_survives_a_round_trip(value in right_order()) {
        let order = OrderInput::from_value(value.clone()).parse().unwrap();
        prop_assert_eq!(order.total, value["total"].as_i64().unwrap());
        let quantities: i64 = order.items.iter().map(|item| item.quantity).sum();
        let asked: i64 = value["items"].as_array().unwrap().iter()
            .map(|item| item["quantity"].as_i64().unwrap()).sum();
        prop_assert_eq!(quantities, asked);
        let skus: Vec<&String> = order.items.iter().map(|item| &item.sku).collect();
        prop_assert!(skus.is_sorted());
        let again: Order = serde_json::from_str(&serde_json::to_string(&order).unwrap()).unwrap();
        prop_assert_eq!(again, order);
    }

    #[test]
    fn one_invalid_field_makes_an_order_invalid(value in right_order(), field in 0..6_usize) {
        let mut value = value;
        let (name, wrong) = [
            ("order_id", json!("has space")), ("total", json!(0)), ("currency", json!("usd")),
            ("items", json!([])), ("recipients", json!([
                "nobody",
            ])), ("card", json!("4111111111111111")),
        ][field].clone();
        value[name] = wrong;
        let failure = OrderInput::from_value(value).parse().unwrap_err();
        prop_assert!(failure.message.starts_with(name), "{}", failure.message);
    }

    #[test]
    fn any_mail_is_refused_on_input_or_can_be_built(
        recipient in any_address(), subject in ".{0,60}", body in "(?s).{0,200}"
    ) {
        let order = json!({
            "order_id": "mail-1", "total": 1, "recipients": [recipient], "subject": subject,
            "body": body,
        });
        match OrderInput::from_value(order).parse() {
            Err(failure) => {
                prop_assert_eq!(failure.kind, FailureType::InvalidOrder);
                let fields = ["recipients[0]", "subject"];
                prop_assert!(fields.iter().any(|field| failure.message.starts_with(field)));
            }
            Ok(order) => {
                // Neither an extra header nor an extra command fits into an address or a subject.
                let fields = [&order.recipients[0], &order.subject];
                prop_assert!(fields.iter().all(|f| !f.contains(['\r', '\n'])));
                let mailer = Mailer::new("console:", "shop@example.com".parse().unwrap()).unwrap();
                let handed_over = AtomicBool::new(false);
                let sent = mailer.send(
                    "<mail-1@test>",
                    &order.recipients[0],
                    &order.subject,
                    &order.body,
                    &handed_over,
                );
                if let Some(Err(unsent)) = sent.now_or_never() {
                    prop_assert!(matches!(unsent, Unsent::Refused(_)), "{:?}", unsent);
                }
            }
        }
    }

    #[test]
    fn keys_are_safe_and_differ(
        one in "(order-)?[ab~/]{0,3}|.{0,50}", of_one in "[ab~/]{0,3}|.{0,50}",
        two in "(order-)?[ab~/]{0,3}|.{0,50}", of_two in "[ab~/]{0,3}|.{0,50}",
    ) {
        let key = idempotency_key(&one, &of_one);
        let is_safe = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'%');
        prop_assert!(key.bytes().all(is_safe));
        let other = idempotency_key(&two, &of_two);
        prop_assert_eq!((one, of_one) == (two, of_two), key == other);
    }

    #[test]
    fn any_answer_of_the_gateway_is_classified(
        status in 200_u16..600,
        body in prop_oneof![any_json().prop_map(|v| v.to_string()), ".{0,50}"],
        retry_after in proptest::option::of("[0-9]{1,25}|[a-z]{1,5}|Fri, 06 Nov 2099 08:49:37 GMT"),
    ) {
        let (charged, settled) = tokio::runtime::Runtime::new().unwrap().block_on(async {
            init();
            let address = answering(status, body.clone(), retry_after.clone()).await;
            let client = GatewayClient::new(&address.parse().unwrap()).unwrap();
            let request = PaymentRequest {
                order_id: "o".to_owned(), amount: 1, currency: "USD".to_owned(), card: None,
                attempts: None, asked_since: None,
            };
            let charged = client.charge("k", &request).await;
            (charged, settle(&client, "k", &request, KeyAge::Remembered).await)
        });
        // Another test covers answers that say they are no charge.
        let says = ["status", "error", "success", "ok", "paid", "charged"];
        prop_assume!(!says.iter().any(|name| body.contains(&format!("{name:?}"))));
        // A 204 has no body.
        let is_json = status != 204 && serde_json::from_str::<Value>(&body).is_ok();
        let expected = match status {
            402 => FailureType::PaymentDeclined,
            429 => FailureType::PaymentRateLimited,
            200..300 | 408 | 425 | 500.. => FailureType::PaymentUnavailable,
            _ => FailureType::PaymentRefused,
        };
        match &charged {
            // A success in JSON is a charge unless it says that it is none, which random fields do
            // not.
            Ok(payment) => prop_assert!(status < 300 && is_json && !payment.charge_id.is_empty()),
            Err(failure) => {
                prop_assert_eq!(failure.kind, expected);
                prop_assert!(status >= 300 || !is_json, "{}: {}", failure, body);
                let wait = failure.retry_after;
                prop_assert!(wait.is_none_or(|delay| delay <= Duration::from_hours(1)));
            }
        }
        // Settling gives up only if the gateway supports neither lookup nor voiding. It honours
        // `Retry-After`.
        let settled = settled.unwrap_err();
        let nobody = matches!(status, 200..300 | 404 | 405 | 410 | 501);
        prop_assert_eq!(nobody, settled.kind == FailureType::PaymentUnsettled);
        prop_assert_eq!(nobody, !settled.kind.retryable());
        prop_assert_eq!(status == 429, settled.kind == FailureType::PaymentRateLimited);
        if let Err(failure) = charged && matches!(status, 429 | 500..) && !nobody {
            prop_assert_eq!(settled.retry_after, failure.retry_after);
        }
    }
}

/// An answer that says that it is a charge, in the words and types of many gateways.
fn any_charge() -> impl Strategy<Value = (Value, Option<String>, Option<i64>)> {
    let status = proptest::option::of(proptest::sample::select(vec![
        "charged",
        "Captured",
        "paid",
        "SUCCEEDED",
        "ok",
        "on its way",
    ]));
    let id = proptest::option::of("[a-zA-Z0-9_]{1,200}");
    let amount = proptest::option::of((1..=MAX_TOTAL, 0..4_u8));
    (status, id, any::<bool>(), amount).prop_map(|(status, id, is_short, amount)| {
        let mut answer = json!({});
        if let Some(status) = status {
            answer["status"] = status.into();
        }
        if let Some(id) = &id {
            answer[if is_short { "id" } else { "charge_id" }] = id.as_str().into();
        }
        if let Some((amount, form)) = amount {
            answer["amount"] = match form {
                0 => json!(amount),
                1 => json!(amount.to_string()),
                2 => json!(format!("{amount}.0")),
                _ => serde_json::from_str(&format!("{amount}.0")).unwrap(),
            };
        }
        (answer, id, amount.map(|(amount, _)| amount))
    })
}

proptest! {
    #[test]
    fn any_charge_is_read_with_its_id_and_amount(
        (answer, id, amount) in any_charge(), status in 200_u16..204,
    ) {
        let charged = tokio::runtime::Runtime::new().unwrap().block_on(async {
            init();
            let address = answering(status, answer.to_string(), None).await;
            let client = GatewayClient::new(&address.parse().unwrap()).unwrap();
            let request = PaymentRequest {
                order_id: "o".to_owned(), amount: 7, currency: "USD".to_owned(), card: None,
                attempts: None, asked_since: None,
            };
            client.charge("k", &request).await
        });
        let expected = Payment {
            charge_id: id.unwrap_or_else(|| "k".to_owned()),
            amount: amount.unwrap_or(7),
            settled: false,
        };
        prop_assert_eq!(charged, Ok(expected), "{}", answer);
    }
}

/// Starts a server that always gives the same answer, and returns its address.
async fn answering(status: u16, body: String, retry_after: Option<String>) -> String {
    let router = Router::new().fallback(move || {
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(value) = &retry_after {
            let name = HeaderName::from_static("retry-after");
            response
                .headers_mut()
                .insert(name, HeaderValue::from_str(value).unwrap());
        }
        std::future::ready(response)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
