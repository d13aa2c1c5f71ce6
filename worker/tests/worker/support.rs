//! The base of the tests: shops with their worker processes, and waiting for conditions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Once;

use order_gateway::{Entry, Gateway, GatewayOptions};
use order_worker::commands::{OrderHandle, outcome, start_order};
use order_worker::domain::order::{OrderInput, OrderResult};
use order_worker::store::Store;
use taskqueue_worker::testing::temporal;
use taskqueue_worker::{Connector, Environment, TemporalSettings};
use tempfile::TempDir;
use temporalio_client::Client;
use temporalio_client::tonic::{Code, IntoRequest};
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_common::protos::temporal::api::operatorservice::v1::AddSearchAttributesRequest;

use crate::smtp::{Behavior, SmtpServer};

pub(crate) use taskqueue_worker::testing::{DEADLINE, WorkerProcess as Worker, eventually};

/// Environment variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Installs the TLS provider for all clients in the test process, as `main` does.
pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
}

/// A temporary folder that is removed on drop.
pub(crate) fn temp_dir(name: &str) -> TempDir {
    let prefix = format!("order-worker-{name}-");
    tempfile::Builder::new().prefix(&prefix).tempdir().unwrap()
}

/// Connects to the test run's Temporal server.
pub(crate) async fn client() -> Client {
    init();
    let address = tokio::task::spawn_blocking(temporal).await.unwrap();
    let environment = Environment::from_iter([("TEMPORAL_ADDRESS", address)]);
    let settings = TemporalSettings::from_environment(&environment).unwrap();
    let connector = Connector::new(settings).unwrap();
    connector
        .connect_patiently(tokio::time::sleep(DEADLINE))
        .await
        .expect("no connection")
}

/// Creates the custom search attribute `OrderState`, unless the server has it.
pub(crate) async fn have_search_attribute(client: &Client) {
    let mut request = AddSearchAttributesRequest {
        namespace: "default".to_owned(),
        search_attributes: [("OrderState".to_owned(), IndexedValueType::Keyword as i32)].into(),
    }
    .into_request();
    request.set_timeout(DEADLINE);
    let mut service = client.connection().operator_service();
    let made = service.add_search_attributes(request).await;
    let known = matches!(&made, Err(status) if status.code() == Code::AlreadyExists);
    assert!(made.is_ok() || known, "{made:?}");
}

/// Starts `order-worker run` with only these variables and waits until it serves HTTP.
pub(crate) async fn start(log: PathBuf, variables: &Variables) -> Worker {
    let program = Path::new(env!("CARGO_BIN_EXE_order-worker"));
    Worker::start(program, log, variables).await
}

/// One shop: its task queue, database, payment gateway and mail server.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) queue: String,
    pub(crate) gateway: Gateway,
    pub(crate) smtp: SmtpServer,
    pub(crate) dir: TempDir,
    pub(crate) database_url: String,
}

impl Shop {
    pub(crate) async fn open(name: &str) -> Self {
        Self::open_with(name, GatewayOptions::default(), Behavior::default()).await
    }

    pub(crate) async fn open_with(name: &str, gateway: GatewayOptions, smtp: Behavior) -> Self {
        let client = client().await;
        let dir = temp_dir(name);
        Self {
            client,
            queue: name.to_owned(),
            gateway: Gateway::start(SocketAddr::from(([127, 0, 0, 1], 0)), gateway)
                .await
                .unwrap(),
            smtp: SmtpServer::start(smtp).await,
            database_url: format!(
                "sqlite://{}?mode=rwc",
                dir.path().join("orders.db").display()
            ),
            dir,
        }
    }

    /// The environment variables of a worker of this shop.
    pub(crate) fn variables(&self) -> Variables {
        [
            ("TEMPORAL_ADDRESS", temporal()),
            ("TEMPORAL_TASK_QUEUE", self.queue.clone()),
            ("DATABASE_URL", self.database_url.clone()),
            (
                "PAYMENT_GATEWAY_URL",
                format!("http://{}", self.gateway.address()),
            ),
            ("SMTP_URL", format!("smtp://{}", self.smtp.address)),
            ("RUST_LOG", "info".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// Starts a worker of this shop and waits until it polls.
    pub(crate) async fn worker(&self) -> Worker {
        self.worker_with(&[]).await
    }

    pub(crate) async fn worker_with(&self, more: &[(&str, &str)]) -> Worker {
        let mut variables = self.variables();
        variables.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let log = self
            .dir
            .path()
            .join(format!("worker-{}.log", uuid::Uuid::new_v4().simple()));
        start(log, &variables).await.wait_ready().await
    }

    /// Starts an order under the id `order-{id}`.
    pub(crate) async fn place(&self, input: OrderInput) -> OrderHandle {
        let order = serde_json::to_value(&input).unwrap();
        let id = order["order_id"].as_str().unwrap_or("invalid").to_owned();
        start_order(&self.client, &self.queue, &format!("order-{id}"), input)
            .await
            .unwrap()
            .handle
    }

    /// Waits for the end of an order.
    pub(crate) async fn end_of(&self, handle: &OrderHandle) -> OrderResult {
        let id = handle.info().workflow_id.clone();
        tokio::time::timeout(DEADLINE, outcome(&id, handle))
            .await
            .unwrap_or_else(|_| panic!("{id} does not end"))
            .unwrap()
    }

    /// Places an order and waits for its end.
    pub(crate) async fn run(&self, input: OrderInput) -> OrderResult {
        let handle = self.place(input).await;
        self.end_of(&handle).await
    }

    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.database_url, 1).await.unwrap()
    }

    /// The ledger's entry of an order, if there is one.
    pub(crate) fn charge(&self, order_id: &str) -> Option<Entry> {
        let key = format!("order-{order_id}-charge");
        self.gateway
            .entries()
            .into_iter()
            .find(|entry| entry.key == key)
    }

    /// The stored state of an order: `created`, `paid` or `cancelled`.
    pub(crate) async fn stored_state(&self, order_id: &str) -> String {
        let store = self.store().await;
        let state = store
            .order(order_id)
            .await
            .unwrap()
            .map(|order| order.state);
        store.close().await;
        state.unwrap_or_default()
    }
}
