//! What all measured workers share: a Temporal server and a payment gateway stand-in.

use order_gateway::{Gateway, GatewayOptions};
use taskqueue_worker::testing::{DEADLINE, temporal};
use taskqueue_worker::{Connector, Environment, TemporalSettings};
use temporalio_client::Client;

/// Returns the address of a Temporal server, a client for it, and a payment gateway stand-in.
pub(crate) async fn surroundings() -> (String, Client, Gateway) {
    let temporal = tokio::task::spawn_blocking(temporal).await.unwrap();
    let client = connect(&temporal).await;
    let gateway = Gateway::start(([127, 0, 0, 1], 0).into(), GatewayOptions::default())
        .await
        .unwrap();
    (temporal, client, gateway)
}

/// Creates a client with the order worker's own options.
async fn connect(address: &str) -> Client {
    let environment = Environment::from_iter([("TEMPORAL_ADDRESS", address)]);
    let settings = TemporalSettings::from_environment(&environment).unwrap();
    Connector::new(settings)
        .unwrap()
        .connect_patiently(tokio::time::sleep(DEADLINE))
        .await
        .expect("no Temporal")
}
