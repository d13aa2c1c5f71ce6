//! Waiting, and a client of the measurement's own Temporal.

use std::time::{Duration, Instant};

use order_worker::connection::Connector;
use order_worker::settings::{TemporalSettings, Variables};
use temporalio_client::Client;

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

/// A client with the order worker's own options.
pub(crate) async fn connect(address: &str) -> Client {
    let variables = Variables::from([("TEMPORAL_ADDRESS".to_owned(), address.to_owned())]);
    let settings = TemporalSettings::from_variables(&variables).unwrap();
    Connector::new(settings)
        .unwrap()
        .connect_patiently(tokio::time::sleep(DEADLINE))
        .await
        .expect("no Temporal")
}
