//! Runs a worker: assembles the parts, starts and replaces SDK workers, drains on SIGTERM. Knows
//! nothing about what the worker does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use temporalio_client::Connection;
use temporalio_common::telemetry::metrics::CoreMeter;
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter, telemetry_init,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::compat::generation::{self, Generation, Meters, TaskKinds, WorkerFactory};
use crate::connection::Connector;
use crate::drain;
use crate::endpoint::{self, Health};
use crate::environment::{Environment, SettingError};
use crate::metrics::{Metrics, Sources};
use crate::settings::{TemporalSettings, WorkerSettings};
use crate::worker::Worker;

/// How long to wait at the end for HTTP answers in progress.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
/// How often the poll loop's thread records that it turns.
const TURN: Duration = Duration::from_secs(1);
/// How long a replacement may take to start. If it takes longer, the next try comes after another
/// full round of activities.
const RECYCLE_PAUSE: Duration = Duration::from_secs(10);

/// Runs a worker until SIGTERM or SIGINT, drains it, and returns. Serves `/livez`, `/readyz` and
/// `/metrics` from the beginning. `build` makes the worker; if a signal comes while it waits (for a
/// database, for example), it is dropped.
///
/// Use [`main`](crate::main) unless the program has other commands. The process's TLS provider
/// (`rustls::crypto`) must be installed.
///
/// # Errors
/// An invalid setting ([`SettingError`] inside), an error of `build`, or a worker that cannot
/// continue.
pub async fn run<F>(environment: &Environment, build: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Environment) -> anyhow::Result<Worker>,
{
    let stop = stop_on_signals()?;
    let settings = WorkerSettings::from_environment(environment)?;
    let temporal = TemporalSettings::from_environment(environment)?;
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
    let sources = Sources::new(metrics.clone(), exporter.bound_addr);
    let closing = CancellationToken::new();
    let server = serve(settings.http_address, &health, &sources, &closing).await?;

    let meter: Arc<dyn CoreMeter> = exporter.meter;
    let requests = telemetry_init(TelemetryOptions::builder().metrics(meter.clone()).build())?
        .get_temporal_metric_meter()
        .context("the SDK has no meter for its requests")?;
    let meters = Meters {
        workers: meter,
        requests,
    };
    let connector = Connector::new(temporal)?;
    tokio::spawn(connector.clone().reload_credentials());

    let mut worker = tokio::select! {
        made = build(environment) => made?,
        () = stop.cancelled() => return Ok(()),
    };
    anyhow::ensure!(
        worker.has_workflows() || worker.has_activities(),
        "the worker has neither a workflow nor an activity"
    );
    sources.add(worker.take_metrics());
    let ends = worker.take_ends();
    let factory = WorkerFactory::new(settings, worker, connector, meters, metrics)?;
    let outcome = LocalSet::new()
        .run_until(work(&factory, &health, &stop))
        .await;
    closing.cancel();
    for end in ends {
        end.await;
    }
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
    address: SocketAddr,
    health: &Health,
    metrics: &Sources,
    stop: &CancellationToken,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let listener = endpoint::listen(address).await.map_err(|error| {
        SettingError::new(
            "TASKQUEUE_WORKER_HTTP_ADDRESS",
            format!("is {address}, which cannot be bound: {error}"),
        )
    })?;
    tracing::info!(address = %listener.local_addr()?, "serving /livez, /readyz and /metrics");
    let serving = endpoint::serve(listener, health.clone(), metrics.clone(), stop.clone());
    Ok(tokio::spawn(serving))
}

/// The poll loop: starts one generation after the other, then drains. If one ends by an error, the
/// others still drain.
async fn work(
    factory: &WorkerFactory,
    health: &Health,
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
        early(steady).await;
        return Ok(());
    };
    let first = factory.start_generation(replaced, &connection, stop).await;
    let mut current = match first {
        Ok(Some(current)) => current,
        Ok(None) => {
            early(steady).await;
            return Ok(());
        }
        Err(error) => {
            early(steady).await;
            return Err(error);
        }
    };
    let polling: Vec<_> = steady
        .iter()
        .chain([&current])
        .map(Generation::polling)
        .collect();
    let polling = futures::future::join_all(polling);
    tokio::pin!(polling);
    let mut ready = false;
    let mut retired: Vec<Generation> = Vec::new();
    let outcome = loop {
        let recycle_due = current.recycle_due();
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                retired.push(current);
                retired.extend(steady);
                break Ok(());
            }
            ended = current.ended() => {
                retired.extend(steady);
                break ended.context("the worker stopped polling");
            }
            ended = generation::steady_ended(steady.as_mut()) => {
                retired.push(current);
                break ended.context("the workflow worker stopped polling");
            }
            _ = &mut polling, if !ready => {
                // Stays ready when Temporal goes away, because restarting or removing this process
                // would not bring Temporal back.
                ready = true;
                health.set_ready(true);
                tracing::info!("polling");
            }
            // One replaced worker at a time, so that the process has at most twice the slots.
            () = recycle_due, if retired.is_empty() => {
                if let Some(next) = replace(factory, replaced, &connection, stop).await {
                    current.retire();
                    retired.push(std::mem::replace(&mut current, next));
                } else {
                    current.postpone_recycle();
                }
            }
            () = generation::first_ended(&mut retired) => {}
        }
    };
    health.set_ready(false);
    if let Err(error) = &outcome {
        tracing::error!("{error:#}; draining what still runs, then this process ends");
    }
    drain::drain(retired, factory.settings().drain_grace).await;
    outcome
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
            tracing::info!("replacing the SDK worker, to keep memory flat");
            Some(next)
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!("the SDK worker could not be replaced yet: {error:#}");
            None
        }
    }
}
