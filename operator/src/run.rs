//! Wires everything up and keeps it running until SIGTERM. I/O only; decides nothing about fleets.

mod access;
mod background;
mod hints;
mod leader;
mod readers;
mod readiness;
mod scope;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::future;
use kube::Client;
use taskqueue_kubernetes::client;
use taskqueue_temporal::{OwnerKey, Readers};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::apply::Writer;
use crate::caches::{Caches, Scope};
use crate::clock::Clock;
use crate::controller::{Context, Shared};
use crate::fleets::Fleets;
use crate::http::{self, Health, Phase};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::metrics::kubernetes::KubernetesNumbers;
use crate::observe::secrets::Secrets;
use crate::observe::targets::Targets;
use crate::observe::task_queue_owners::TaskQueueOwners;
use crate::report::Reports;
use crate::report::connections::ConnectionReports;
use crate::report::thresholds::Thresholds;
use crate::scrape::{Http, Scrapers};
use crate::settings::Settings;
use background::Route;

/// How long work in flight at SIGTERM may take to finish.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the operator cannot start, or if a part of it ends unexpectedly.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let stop = stop::signal()?;
    let clock = Clock::start();
    let metrics = Metrics::new(clock)?;
    let health = Health::default();
    let listener = http::listen(settings.metrics_address)
        .await
        .with_context(|| format!("cannot listen on {}", settings.metrics_address))?;
    let served = CancellationToken::new();
    let endpoints = tokio::spawn(http::serve(
        listener,
        health.clone(),
        metrics.clone(),
        served.clone().cancelled_owned(),
    ));
    info!(version = env!("CARGO_PKG_VERSION"), address = %settings.metrics_address, "starting");
    let calls = KubernetesNumbers::register(metrics.registry())?;
    let client = client::inferred(Arc::new(calls))
        .await
        .context("cannot find out how to reach Kubernetes")?;
    let parts = Parts {
        settings,
        client: &client,
        clock,
        metrics: &metrics,
        health: &health,
    };
    let working = |leading, stop| {
        let parts = &parts;
        async move { work(parts, leading, &stop).await }
    };
    let result = leader::lead(settings, &client, &metrics, &health, &stop, working).await;
    served.cancel();
    endpoints.await.context("the HTTP server failed")?;
    info!("stopped");
    result
}

/// What all work needs.
struct Parts<'a> {
    settings: &'a Settings,
    client: &'a Client,
    clock: Clock,
    metrics: &'a Metrics,
    health: &'a Health,
}

/// Reconciles until stopped.
async fn work(parts: &Parts<'_>, leading: Leading, stop: &CancellationToken) -> anyhow::Result<()> {
    let Parts {
        settings,
        client,
        clock,
        metrics,
        health,
    } = *parts;
    health.set(Phase::Waiting("filling the watch caches".to_owned()));
    let (readers, numbers) = readers::start(settings, clock, metrics)?;
    hints::listen(settings, client, clock, &readers, stop).await?;
    let (requeue, requeued) = mpsc::unbounded_channel();
    let shared = Arc::new(shared(parts, &readers, leading, requeue)?);
    let mut controllers = JoinSet::new();
    let (everywhere, routes) = start_controllers(parts, &shared, stop, &mut controllers);
    let warning = settings.certificate_warning.into();
    let own_namespace = settings.pod_namespace.clone();
    let connections =
        ConnectionReports::new(client.clone(), metrics.clone(), own_namespace, warning);
    let background = future::join4(
        background::requeue(&readers, requeued, &routes),
        background::prune_unused(&shared, &readers, &numbers),
        background::report_connections(&shared, &everywhere, connections),
        readiness::wait(&everywhere, metrics, health),
    );
    tokio::select! {
        () = stop.cancelled() => {}
        ended = controllers.join_next() => if !stop.is_cancelled() {
            health.set(Phase::Dead("a controller ended".to_owned()));
            return Err(match ended {
                Some(Err(error)) => anyhow::Error::new(error).context("a controller failed"),
                Some(Ok(())) | None => anyhow!("a controller ended unexpectedly"),
            });
        },
        _ = background => {}
    }
    health.set(Phase::Stopping);
    let ending = async {
        while controllers.join_next().await.is_some() {}
        shared.writer.ended().await;
    };
    if tokio::time::timeout(STOP_DEADLINE, ending).await.is_err() {
        error!("writes in flight did not end in time; exiting anyway");
    }
    readers.shutdown().await;
    Ok(())
}

/// Starts the controller of every scope. Returns their caches, and the routes to requeue a fleet.
fn start_controllers(
    parts: &Parts<'_>,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    controllers: &mut JoinSet<()>,
) -> (Arc<[Caches]>, Vec<Route>) {
    let Parts {
        settings, client, ..
    } = *parts;
    let watched: Vec<_> = Scope::all(&settings.namespaces())
        .into_iter()
        .map(|scope| {
            let (caches, watches) =
                scope::watch(client, &scope, shared, settings.cluster_connections);
            (scope, caches, watches)
        })
        .collect();
    let everywhere: Arc<[Caches]> = watched
        .iter()
        .map(|(_, caches, _)| caches.clone())
        .collect();
    let mut routes = Vec::new();
    for (scope, caches, watches) in watched {
        let (requeue, requeued) = mpsc::unbounded_channel();
        routes.push(Route {
            scope: scope.clone(),
            requeue,
        });
        let context = Context::new(Arc::clone(shared), caches, Arc::clone(&everywhere));
        controllers.spawn(scope::run(
            client.clone(),
            scope,
            Arc::new(context),
            watches,
            requeued,
            settings.concurrency,
            stop.clone(),
        ));
    }
    (everywhere, routes)
}

/// What the passes of all scopes share; `requeue` accepts fleets that need a pass.
fn shared(
    parts: &Parts<'_>,
    readers: &Readers,
    leading: Leading,
    requeue: mpsc::UnboundedSender<OwnerKey>,
) -> anyhow::Result<Shared> {
    let http = Http::new().context("cannot create the client that reads the pods' metrics")?;
    let client = parts.client.clone();
    let metrics = parts.metrics.clone();
    let thresholds = Thresholds {
        statistics_cache: parts.settings.temporal_statistics_cache.into(),
        certificate_warning: parts.settings.certificate_warning.into(),
    };
    let pod_name = parts.settings.pod_name.clone();
    Ok(Shared {
        clock: parts.clock,
        readers: readers.clone(),
        scrapers: Scrapers::new(Arc::new(http), parts.clock, requeue.clone()),
        secrets: Secrets::new(client.clone()),
        own_namespace: parts.settings.pod_namespace.clone(),
        targets: Targets::new(client.clone()),
        task_queue_owners: TaskQueueOwners::default(),
        writer: Writer::new(client.clone(), metrics.clone(), leading.clone()),
        reports: Reports::new(client, metrics.clone(), pod_name, thresholds),
        metrics,
        fleets: Fleets::default(),
        leading,
        requeue,
    })
}

#[cfg(test)]
mod tests;
