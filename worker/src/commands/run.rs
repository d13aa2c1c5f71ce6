//! `order-worker run`: what the worker of a role consists of.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use taskqueue_worker::{Environment, SettingError, Worker};

use super::settings::{Role, Settings, TASK_QUEUE};
use crate::domain::activities::{
    InventoryActivities, NotificationActivities, OrderActivities, PaymentActivities,
};
use crate::domain::metrics::Metrics;
use crate::domain::workflow::OrderWorkflow;
use crate::mail::{CONSOLE, Mailer};
use crate::payment::{GatewayClient, PaymentGateway};
use crate::store::{self, Store};

/// Pause between attempts to reach the database at start-up.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Keys that the built-in payment gateway keeps: those of a few minutes, far longer than a payment
/// takes, in a few megabytes.
#[cfg(feature = "standalone")]
const STAND_IN_KEYS: usize = 10_000;

/// Makes the worker of the role in the settings. Standalone, it starts its own payment gateway
/// stand-in and writes mails to the log, unless URLs are set.
pub async fn worker(environment: &Environment, standalone: bool) -> anyhow::Result<Worker> {
    let settings = Settings::from_environment(environment, standalone)?;
    for variable in settings.missing_queues() {
        tracing::warn!(
            "{variable} is not set: orders that name no queue of their own wait for ever, because \
             a worker of the role \
             orders does not run those activities"
        );
    }
    let metrics = Metrics::new()?;
    let mailer = mailer(&settings, standalone)?;
    let store = open_store(&settings).await?;
    let gateway = gateway(&settings, standalone).await?;

    let role = settings.role;
    let mut worker = Worker::new(TASK_QUEUE);
    if role.plays(Role::Orders) {
        let queues = settings.activity_queues.clone();
        worker = worker
            .workflow_with(move || OrderWorkflow::routed(queues.clone()))
            .activities(OrderActivities::new(store.clone(), metrics.clone()));
    }
    if role.plays(Role::Inventory) {
        worker = worker.activities(InventoryActivities::new(store.clone()));
    }
    if role.plays(Role::Payments) {
        let gateway = gateway.context("no payment gateway is set")?;
        let payments = PaymentActivities::new(gateway, store.clone(), metrics.clone());
        worker = worker.activities(payments);
    }
    if role.plays(Role::Notifications) {
        let mailer = mailer.context("no mail server is set")?;
        let notifications = NotificationActivities::new(mailer, store.clone(), metrics.clone());
        worker = worker.activities(notifications);
    }
    Ok(worker
        .metrics(move || Ok(metrics.text()?))
        .on_end(async move {
            store.close().await;
            tracing::debug!("the database is closed");
        }))
}

fn mailer(settings: &Settings, standalone: bool) -> Result<Option<Mailer>, SettingError> {
    let url = settings.smtp_url.clone();
    url.or_else(|| standalone.then(|| CONSOLE.to_owned()))
        .map(|url| {
            Mailer::new(&url, settings.mail_from.clone())
                .map_err(|error| SettingError::new("SMTP_URL", format!("cannot be used: {error}")))
        })
        .transpose()
}

async fn gateway(
    settings: &Settings,
    standalone: bool,
) -> anyhow::Result<Option<Arc<dyn PaymentGateway>>> {
    Ok(match (&settings.payment_gateway_url, standalone) {
        (Some(url), _) => Some(Arc::new(GatewayClient::new(url)?)),
        (None, true) => Some(Arc::new(stand_in().await?)),
        (None, false) => None,
    })
}

/// Starts the built-in payment gateway. It serves until the process ends.
#[cfg(feature = "standalone")]
async fn stand_in() -> anyhow::Result<GatewayClient> {
    let options = order_gateway::GatewayOptions {
        keep: Some(STAND_IN_KEYS),
        ..order_gateway::GatewayOptions::default()
    };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let gateway = order_gateway::Gateway::start(address, options).await?;
    tracing::warn!(address = %gateway.address(), "payments go to the built-in stand-in");
    let url = reqwest::Url::parse(&format!("http://{}", gateway.address()))?;
    gateway.detach();
    Ok(GatewayClient::new(&url)?)
}

#[cfg(not(feature = "standalone"))]
#[expect(
    clippy::unused_async,
    reason = "the same signature with and without the feature"
)]
async fn stand_in() -> anyhow::Result<GatewayClient> {
    anyhow::bail!("this order-worker was built without the feature `standalone`")
}

/// Opens and migrates the database. Retries while the database is not ready.
async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    let store = Store::open(&settings.database_url, settings.database_connections)
        .await
        .map_err(|error| {
            let problem = format!("cannot be used: {}", store::describe(&error));
            SettingError::new("DATABASE_URL", problem)
        })?;
    loop {
        let error = match store.migrate().await {
            Ok(()) => return Ok(store),
            Err(error) => error,
        };
        if !matches!(error, sqlx::migrate::MigrateError::Execute(_)) {
            return Err(anyhow::Error::new(error).context("the database cannot be migrated"));
        }
        let why = store::describe_migration(&error);
        tracing::warn!("the database is not ready yet (DATABASE_URL): {why}");
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
}
