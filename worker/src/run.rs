//! `order-worker run`: the polling process. Assembles the parts, starts and replaces SDK workers,
//! drains on SIGTERM. Contains no order logic.

mod drain;
mod sdk_workarounds;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use temporalio_client::Connection;
use temporalio_common::telemetry::metrics::CoreMeter;
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::Runtime;
use temporalio_sdk::runtime::RuntimeOptions;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::connection::Connector;
use crate::domain::metrics::Metrics;
use crate::http::{self, Health, SdkMetrics};
use crate::mail::{CONSOLE, Mailer};
use crate::payment::{GatewayClient, PaymentGateway};
use crate::settings::{SettingError, Settings};
use crate::store::{self, Store};

use sdk_workarounds::generation::{self, Generation, TaskKinds, Temporal, WorkerFactory};

/// Pause between attempts to reach the database at start-up.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait at the end for HTTP answers in progress.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
/// How often the poll loop's thread records that it turns.
const TURN: Duration = Duration::from_secs(1);
/// How often to check whether the SDK is polling yet.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// How long a replacement may take to start. If it takes longer, the next try comes after another
/// full round of activities.
const RECYCLE_PAUSE: Duration = Duration::from_secs(10);

/// Keys that the built-in payment gateway keeps: those of a few minutes, far longer than a payment
/// takes, in a few megabytes.
#[cfg(feature = "standalone")]
const STAND_IN_KEYS: usize = 10_000;

/// Runs until SIGTERM or SIGINT, drains, and returns. Standalone, it starts its own payment gateway
/// stand-in and writes mails to the log, unless URLs are set.
///
/// # Errors
/// An invalid setting ([`SettingError`] inside), or a worker that cannot continue.
pub async fn run(settings: Settings, standalone: bool) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    for variable in settings.missing_queues() {
        tracing::warn!(
            "{variable} is not set: orders that name no queue of their own wait for ever, because a worker of the role \
             orders does not run those activities"
        );
    }
    let metrics = Metrics::new()?;
    let health = Health::default();
    let exporter = start_prometheus_metric_exporter(
        PrometheusExporterOptions::builder()
            .socket_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
            .counters_total_suffix(true)
            .unit_suffix(true)
            .use_seconds_for_durations(true)
            .build(),
    )
    .context("cannot start the SDK's metrics exporter")?;
    let sdk = SdkMetrics::new(exporter.bound_addr)?;
    let closing = CancellationToken::new();
    let server = serve(&settings, &health, &metrics, &sdk, &closing).await?;

    let meter: Arc<dyn CoreMeter> = exporter.meter;
    let request_meter = telemetry_init(TelemetryOptions::builder().metrics(meter.clone()).build())?
        .get_temporal_metric_meter()
        .context("the SDK has no meter for its requests")?;
    let connector = Connector::new(settings.temporal.clone())?;
    tokio::spawn(connector.clone().reload_credentials());

    let runtime = Runtime::from_current_tokio(
        RuntimeOptions::builder()
            .telemetry_options(TelemetryOptions::builder().metrics(meter).build())
            .heartbeat_interval(
                Some(settings.heartbeat_interval).filter(|interval| !interval.is_zero()),
            )
            .build()
            .map_err(anyhow::Error::msg)?,
    )?;
    let temporal = Temporal {
        runtime,
        connector,
        meter: request_meter,
    };
    let Some(factory) = worker_factory(&settings, standalone, temporal, metrics, &stop).await?
    else {
        return Ok(());
    };
    let outcome = LocalSet::new()
        .run_until(work(&factory, &health, &sdk, &stop))
        .await;
    closing.cancel();
    factory.store().close().await;
    tracing::debug!("the database is closed");
    // A scraper that keeps its connection open must not keep the process alive.
    let _ended = tokio::time::timeout(LAST_ANSWERS, server).await;
    tracing::debug!("the endpoint is closed");
    outcome
}

/// Returns a token that SIGTERM and SIGINT cancel.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
        token.cancel();
    });
    Ok(stop)
}

async fn serve(
    settings: &Settings,
    health: &Health,
    metrics: &Metrics,
    sdk: &SdkMetrics,
    stop: &CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
    let listener = TcpListener::bind(settings.http_address)
        .await
        .map_err(|error| SettingError {
            variable: "ORDER_WORKER_HTTP_ADDRESS".to_owned(),
            problem: format!(
                "is {}, which cannot be bound: {error}",
                settings.http_address
            ),
        })?;
    tracing::info!(address = %listener.local_addr()?, "serving /livez, /readyz and /metrics");
    let serving = http::serve(
        listener,
        health.clone(),
        metrics.clone(),
        sdk.clone(),
        stop.clone(),
    );
    Ok(tokio::spawn(serving))
}

/// Creates everything that a worker needs besides Temporal. `None` if `stop` comes while it waits
/// for the database.
async fn worker_factory(
    settings: &Settings,
    standalone: bool,
    temporal: Temporal,
    metrics: Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<Option<WorkerFactory>> {
    let Some(store) = open_store(settings, stop).await? else {
        return Ok(None);
    };
    let gateway: Option<Arc<dyn PaymentGateway>> = match (&settings.payment_gateway_url, standalone)
    {
        (Some(url), _) => Some(Arc::new(GatewayClient::new(url)?)),
        (None, true) => Some(Arc::new(stand_in().await?)),
        (None, false) => None,
    };
    let smtp_url = settings
        .smtp_url
        .clone()
        .or_else(|| standalone.then(|| CONSOLE.to_owned()));
    let mailer = smtp_url
        .map(|url| {
            Mailer::new(&url, settings.mail_from.clone()).map_err(|error| SettingError {
                variable: "SMTP_URL".to_owned(),
                problem: format!("cannot be used: {error}"),
            })
        })
        .transpose()?;
    Ok(Some(WorkerFactory::new(
        settings.clone(),
        temporal,
        store,
        gateway,
        mailer,
        metrics,
    )))
}

/// Starts the built-in payment gateway. It serves until the process ends.
#[cfg(feature = "standalone")]
async fn stand_in() -> anyhow::Result<GatewayClient> {
    let options = order_gateway::GatewayOptions {
        keep: Some(STAND_IN_KEYS),
        ..order_gateway::GatewayOptions::default()
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let gateway = order_gateway::Gateway::start(address, options).await?;
    tracing::warn!(address = %gateway.address(), "payments go to the built-in stand-in");
    let url = reqwest::Url::parse(&format!("http://{}", gateway.address()))?;
    gateway.detach();
    Ok(GatewayClient::new(&url)?)
}

#[cfg(not(feature = "standalone"))]
async fn stand_in() -> anyhow::Result<GatewayClient> {
    anyhow::bail!("this order-worker was built without the feature `standalone`")
}

/// Opens and migrates the database. Retries while the database is not ready; `None` if `stop` comes
/// first.
async fn open_store(
    settings: &Settings,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Store>> {
    let store = Store::open(&settings.database_url, settings.database_connections)
        .await
        .map_err(|error| SettingError {
            variable: "DATABASE_URL".to_owned(),
            problem: format!("cannot be used: {}", store::said(&error)),
        })?;
    loop {
        let error = tokio::select! {
            migrated = store.migrate() => match migrated {
                Ok(()) => return Ok(Some(store)),
                Err(error) => error,
            },
            () = stop.cancelled() => return Ok(None),
        };
        if !matches!(error, sqlx::migrate::MigrateError::Execute(_)) {
            return Err(anyhow::Error::new(error).context("the database cannot be migrated"));
        }
        let why = store::said_of_migration(&error);
        tracing::warn!("the database is not ready yet (DATABASE_URL): {why}");
        tokio::select! {
            () = tokio::time::sleep(DATABASE_PAUSE) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// The poll loop: starts one generation after the other, then drains.
async fn work(
    factory: &WorkerFactory,
    health: &Health,
    sdk: &SdkMetrics,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::task::spawn_local(health.clone().keep_turning(TURN));
    let (stays, replaced) = factory.task_kinds();
    let mut steady = None;
    if let Some(kinds) = stays {
        // Own connection: the number of concurrent polls on one connection is limited.
        let Some(connection) = factory.connect(stop).await else {
            return Ok(());
        };
        steady = factory.start_generation(kinds, &connection, stop).await?;
    }
    let early = |steady: Option<Generation>| {
        let begun = steady.into_iter().collect();
        drain::drain(begun, factory.settings().drain_grace)
    };
    let Some(connection) = factory.connect(stop).await else {
        return early(steady).await;
    };
    let first = factory.start_generation(replaced, &connection, stop);
    let Some(mut current) = first.await? else {
        return early(steady).await;
    };
    tokio::spawn(watch_readiness(
        health.clone(),
        sdk.clone(),
        factory.poller_kinds(),
        stop.clone(),
    ));
    let mut retired: Vec<Generation> = Vec::new();
    loop {
        let recycle_due = current.recycle_due();
        tokio::select! {
            () = stop.cancelled() => break,
            ended = current.ended() => {
                health.set_ready(false);
                return ended.context("the worker stopped polling");
            }
            ended = generation::steady_ended(steady.as_mut()) => {
                health.set_ready(false);
                return ended.context("the workflow worker stopped polling");
            }
            () = recycle_due => {
                if let Some(next) = replace(factory, replaced, &connection, stop).await {
                    current.retire();
                    retired.push(std::mem::replace(&mut current, next));
                } else {
                    current.postpone_recycle();
                }
            }
            () = generation::first_ended(&mut retired) => {}
        }
    }
    health.set_ready(false);
    retired.push(current);
    retired.extend(steady);
    drain::drain(retired, factory.settings().drain_grace).await
}

/// Starts a new generation, or returns `None` if Temporal does not answer right now.
async fn replace(
    factory: &WorkerFactory,
    kinds: TaskKinds,
    connection: &Connection,
    stop: &CancellationToken,
) -> Option<Generation> {
    let started = tokio::select! {
        started = factory.start_generation(kinds, connection, stop) => started,
        () = tokio::time::sleep(RECYCLE_PAUSE) => return None,
    };
    match started {
        Ok(Some(next)) => {
            factory.metrics().recycles.inc();
            tracing::info!("the SDK worker is being replaced to keep memory flat");
            Some(next)
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!("the SDK worker could not be replaced yet: {error:#}");
            None
        }
    }
}

/// Sets ready as soon as the SDK polls for everything that the role needs. It stays ready when
/// Temporal goes away, because restarting or removing this process would not bring Temporal back.
async fn watch_readiness(
    health: Health,
    sdk: SdkMetrics,
    kinds: &'static [&'static str],
    stop: CancellationToken,
) {
    let polling = async {
        while !sdk.polling(kinds).await {
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    tokio::select! {
        () = polling => {
            health.set_ready(true);
            tracing::info!("polling");
        }
        () = stop.cancelled() => {}
    }
}
