//! Sends hints to the endpoint, which asks a scripted API server.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::testing::{ApiRequest, Log, api, failure};

const SENDER: &str = "system:serviceaccount:shop:starter";

/// An API server that knows one token and allows `SENDER` one fleet.
fn server(request: &ApiRequest) -> (u16, Value) {
    let mut body = request.body.clone();
    if request.line.contains("tokenreviews") {
        let token = request.body["spec"]["token"].as_str().unwrap().to_owned();
        let user =
            json!({"username": SENDER, "uid": "7", "groups": ["g"], "extra": {"pod": ["p"]}});
        body["status"] = match token.as_str() {
            "good" => json!({"authenticated": true, "user": user, "audiences": [AUDIENCE]}),
            "for others" => json!({"authenticated": true, "user": user}),
            "broken" => return (500, failure(500, "InternalError", "no")),
            _ => json!({"authenticated": false, "error": "no"}),
        };
    } else {
        let fleet = &request.body["spec"]["resourceAttributes"]["name"];
        body["status"] = json!({"allowed": fleet != "secret"});
    }
    (201, body)
}

fn hints() -> (Router, Log) {
    let (hints, log) = unrouted();
    (hints.router(), log)
}

fn unrouted() -> (Hints, Log) {
    let (client, log) = api(server);
    let watched = OwnerKey {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
    };
    let deliver = move |fleet: &OwnerKey, queue: &str| *fleet == watched && queue == "payments";
    (Hints::new(client, Clock::start(), Arc::new(deliver)), log)
}

async fn post_to(router: &Router, path: &str, authorization: &str) -> (u16, String) {
    let request = Request::post(path)
        .header("Authorization", authorization)
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn each_hint_is_answered_with_one_sentence() {
    let (router, _) = hints();
    let mut answers = Vec::new();
    for (path, authorization) in [
        ("/hints/shop/orders/payments", "Bearer good"),
        ("/hints/shop/orders/payments", ""),
        ("/hints/shop/orders/payments", "Basic good"),
        ("/hints/shop/orders/payments", "Bearer "),
        ("/hints/shop/orders/payments", "Bearer bad"),
        ("/hints/shop/orders/payments", "Bearer for others"),
        ("/hints/shop/orders/payments", "Bearer broken"),
        ("/hints/shop/secret/payments", "Bearer good"),
        ("/hints/shop/orders/mails", "Bearer good"),
    ] {
        answers.push(post_to(&router, path, authorization).await);
    }
    let answer = |status: u16, text: &str| (status, format!("{text}\n"));
    let unknown = answer(
        401,
        "send a ServiceAccount token for the audience taskqueue.dev as Authorization: Bearer",
    );
    assert_eq!(
        answers,
        [
            answer(
                202,
                "queue payments of shop/orders will be read as soon as the call budget allows"
            ),
            unknown.clone(),
            unknown.clone(),
            unknown.clone(),
            unknown.clone(),
            unknown,
            answer(
                503,
                "the API server cannot verify the sender now; try again"
            ),
            answer(
                403,
                "system:serviceaccount:shop:starter may not update taskqueueworkers/hint of \
                 shop/secret; grant it with a Role"
            ),
            answer(
                404,
                "the operator reads no queue mails of a TaskQueueWorker shop/orders"
            ),
        ]
    );
}

#[tokio::test]
async fn a_valid_token_is_reviewed_once_and_each_hint_is_authorised() {
    let (router, log) = hints();
    for _ in 0..2 {
        post_to(&router, "/hints/shop/orders/payments", "Bearer good").await;
    }
    let requests = log.take();
    let lines: Vec<&str> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    let reviews = "POST /apis/authentication.k8s.io/v1/tokenreviews?";
    let access = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews?";
    assert_eq!(lines, [reviews, access, access]);
    assert_eq!(
        (&requests[0].body["spec"], &requests[1].body["spec"]),
        (
            &json!({"audiences": [AUDIENCE], "token": "good"}),
            &json!({
                "user": SENDER, "uid": "7", "groups": ["g"], "extra": {"pod": ["p"]},
                "resourceAttributes": {
                    "group": "taskqueue.dev", "resource": "taskqueueworkers", "subresource": "hint",
                    "verb": "update", "namespace": "shop", "name": "orders",
                },
            })
        )
    );
}

#[test]
fn tokens_are_cached_up_to_a_limit_and_not_for_long() {
    let mut known = Known::default();
    let user = UserInfo::default();
    let (now, later) = (Time::from_secs(100), Time::from_secs(110));
    for token in 0..=MOST_TOKENS {
        known.keep(&token.to_string(), &user, now);
    }
    assert_eq!(known.0.len(), MOST_TOKENS);
    assert_eq!(known.find("0", now), Some(user.clone()));
    assert_eq!(known.find("0", later), None);
    known.keep("new", &user, later);
    assert_eq!(known.0.keys().collect::<Vec<_>>(), ["new"]);
}

#[tokio::test]
async fn a_flood_of_unknown_tokens_neither_reaches_the_api_server_nor_locks_out_known_senders() {
    let (hints, log) = unrouted();
    let router = hints.clone().router();
    let path = "/hints/shop/orders/payments";
    assert_eq!(post_to(&router, path, "Bearer good").await.0, 202);
    log.take();
    // So far ahead that no tokens are refilled during this test.
    let ahead = hints.clock.now().monotonic.as_millis() + 3_600_000;
    let mut exhausted = Budget::new(REVIEWS, ahead);
    exhausted.take(REVIEWS.burst, ahead).unwrap();
    hints.memory().tokens = exhausted.clone();
    let too_many = (
        429,
        "too many hints at once; try again in a second\n".to_owned(),
    );
    assert_eq!(post_to(&router, path, "Bearer bad").await, too_many);
    assert_eq!(log.take().len(), 0);
    assert_eq!(post_to(&router, path, "Bearer good").await.0, 202);
    hints.memory().access = exhausted;
    assert_eq!(post_to(&router, path, "Bearer good").await, too_many);
}
