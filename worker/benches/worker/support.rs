//! What all measured workers share: a Temporal server and a payment gateway stand-in.

use order_gateway::{Gateway, GatewayOptions};
use order_worker::connection::Connector;
use order_worker::settings::{TemporalSettings, Variables};
use order_worker_testkit::{DEADLINE, servers};
use temporalio_client::Client;

/// Returns the address of a Temporal server, a client for it, and a payment gateway stand-in.
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

/// Creates a client with the order worker's own options.
async fn connect(address: &str) -> Client {
    let variables = Variables::from([("TEMPORAL_ADDRESS".to_owned(), address.to_owned())]);
    let settings = TemporalSettings::from_variables(&variables).unwrap();
    Connector::new(settings)
        .unwrap()
        .connect_patiently(tokio::time::sleep(DEADLINE))
        .await
        .expect("no Temporal")
}
