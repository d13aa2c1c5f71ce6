//! How often Secrets are read, and for which fleets.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use taskqueue_api::fleet::SecretKey;

use super::super::*;
use super::of_fleet;
use crate::observe::secrets::FRESH;
use crate::testing::{NOW, failure, in_one, simple, slow_api, usable};

/// A connection with an API key, and TLS with the public certificate authorities.
fn with_key() -> Connection {
    Connection {
        tls: Some(taskqueue_api::fleet::Tls::default()),
        api_key: Some(SecretKey {
            secret: "key".to_owned(),
            key: "token".to_owned(),
        }),
        ..usable(&simple()).spec
    }
}

fn at(seconds: u64) -> Time {
    NOW.plus(Duration::from_secs(seconds))
}

/// An API server with one Secret, whose base64 content is `token`.
fn server(token: &'static str) -> (Secrets, crate::testing::Log) {
    let (client, log) = slow_api(move |_| {
        let secret = json!({
            "metadata": {"name": "key", "namespace": "shop"}, "data": {"token": token},
        });
        (Duration::from_millis(50), (200, secret))
    });
    (Secrets::new(client), log)
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_once_for_all_fleets_that_name_it() {
    let (secrets, log) = server("c2VjcmV0");
    let (fleet, spec) = (simple(), with_key());
    let fleets = (0..100).map(|_| of_fleet(&secrets, &fleet, &spec, false, NOW));
    let resolved = join_all(fleets).await;
    assert!(resolved.iter().all(Result::is_ok));
    assert_eq!(log.lines(), ["GET /api/v1/namespaces/shop/secrets/key"]);
    let objects = parts::objects(&spec, &in_one("shop"));
    assert_eq!(secrets.due(objects.keys(), false, NOW), Some(FRESH));
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_secret_is_read_less_often_unless_temporal_cannot_be_read_with_it() {
    let (secrets, log) = server("c2VjcmV0");
    let (fleet, spec) = (simple(), with_key());
    let mut read_at = Vec::new();
    let mut read = async |doubtful: bool, seconds: std::ops::Range<u64>| {
        for second in seconds {
            of_fleet(&secrets, &fleet, &spec, doubtful, at(second))
                .await
                .unwrap();
            read_at.extend(log.lines().iter().map(|_| second));
        }
        std::mem::take(&mut read_at)
    };
    assert_eq!(read(false, 0..500).await, [0, 30, 60, 120, 240, 360, 480]);
    assert_eq!(read(true, 500..600).await, [510, 540, 570]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_read_every_time_it_is_due() {
    let (client, log) = slow_api(|_| {
        let missing = failure(404, "NotFound", "not found");
        (Duration::ZERO, (404, missing))
    });
    let secrets = Secrets::new(client);
    let (fleet, spec) = (simple(), with_key());
    for second in 0..100 {
        let resolved = of_fleet(&secrets, &fleet, &spec, false, at(second)).await;
        assert_eq!(resolved.unwrap_err().reason, Reason::SecretNotFound);
    }
    assert_eq!(log.lines().len(), 4);
}
