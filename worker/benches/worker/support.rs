//! Waiting, and what every worker needs: a Temporal server and a payment gateway stand-in.

use std::time::{Duration, Instant};

use order_worker::connection::Connector;
use order_worker::gateway::{Gateway, GatewayOptions};
use order_worker::settings::{TemporalSettings, Variables};
use temporalio_client::Client;

use crate::servers;

/// The longest that a server or a worker may take to come up.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Polls a condition until it holds.
pub(crate) async fn eventually<T, F>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "still not true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The address of a Temporal server, a client of it, and a payment gateway stand-in.
pub(crate) async fn surroundings() -> (String, Client, Gateway) {
    let temporal = tokio::task::spawn_blocking(servers::temporal)
        .await
        .unwrap();
    let client = connect(&temporal).await;
    let gateway = Gateway::start(([127, 0, 0, 1], 0).into(), GatewayOptions::default())
        .await
        .unwrap();
    (temporal, client, gateway)
}

/// A client with the order worker's own options.
async fn connect(address: &str) -> Client {
    let variables = Variables::from([("TEMPORAL_ADDRESS".to_owned(), address.to_owned())]);
    let settings = TemporalSettings::from_variables(&variables).unwrap();
    Connector::new(settings)
        .unwrap()
        .connect_patiently(tokio::time::sleep(DEADLINE))
        .await
        .expect("no Temporal")
}
