//! Wires everything up and keeps it running until SIGTERM. I/O only; decides nothing about fleets.

mod leader;
mod scope;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::{StreamExt, future, stream};
use kube::Client;
use taskqueue_temporal::{OwnerKey, Readers, ReadersConfig, TemporalClient};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::caches::{Caches, Scope, Sight};
use crate::client;
use crate::clock::Clock;
use crate::controller::{Context, Shared, Standing};
use crate::hints::Hints;
use crate::http::{self, Health, Phase};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::metrics::temporal::TemporalNumbers;
use crate::report::{Reports, Thresholds};
use crate::scrape::{Http, Scrapers};
use crate::settings::Settings;

use leader::lead;

/// What is in flight at SIGTERM gets this long.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often Secrets that nobody needs any more are dropped from memory.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the operator cannot start, or if a part of it ends that should not.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let clock = Clock::start();
    let metrics = Metrics::new(clock)?;
    let health = Health::default();
    let listener = TcpListener::bind(settings.metrics_address)
        .await
        .with_context(|| format!("listening on {}", settings.metrics_address))?;
    let served = CancellationToken::new();
    let endpoints = tokio::spawn(http::serve(
        listener,
        health.clone(),
        metrics.registry().clone(),
        served.clone().cancelled_owned(),
    ));
    info!(version = env!("CARGO_PKG_VERSION"), address = %settings.metrics_address, "starting");
    let client = client::inferred()
        .await
        .context("finding out how to reach Kubernetes")?;
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
    let result = lead(settings, &client, &metrics, &health, &stop, working).await;
    served.cancel();
    endpoints.await.context("the HTTP server")?;
    info!("stopped");
    result
}

/// Cancelled at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("told to stop: finishing what is in flight");
        told.cancel();
    });
    Ok(stop)
}

/// What all work is done with.
struct Parts<'a> {
    settings: &'a Settings,
    client: &'a Client,
    clock: Clock,
    metrics: &'a Metrics,
    health: &'a Health,
}

/// Reconciles until told to stop.
async fn work(parts: &Parts<'_>, leading: Leading, stop: &CancellationToken) -> anyhow::Result<()> {
    let Parts {
        settings,
        client,
        clock,
        metrics,
        health,
    } = *parts;
    health.set(Phase::Waiting("filling the watch caches".to_owned()));
    let (readers, numbers) = start_readers(settings, clock, metrics)?;
    hints(settings, client, clock, &readers, stop).await?;
    let (told, nudged) = mpsc::unbounded_channel();
    let shared = Arc::new(shared(parts, &readers, leading, told)?);
    let watched: Vec<_> = Scope::all(&settings.namespaces())
        .into_iter()
        .map(|scope| {
            let (caches, watches) = scope::watch(client, &scope, &shared);
            (scope, caches, watches)
        })
        .collect();
    let everywhere: Arc<[Caches]> = watched
        .iter()
        .map(|(_, caches, _)| caches.clone())
        .collect();
    let mut tasks = JoinSet::new();
    let mut routes = Vec::new();
    for (scope, caches, watches) in watched {
        let (told, news) = mpsc::unbounded_channel();
        routes.push((scope.clone(), told));
        let context = Context::new(Arc::clone(&shared), caches, Arc::clone(&everywhere));
        tasks.spawn(scope::run(
            client.clone(),
            scope,
            Arc::new(context),
            watches,
            news,
            settings.concurrency,
            stop.clone(),
        ));
    }
    let background = background(
        readers.clone(),
        nudged,
        numbers,
        routes,
        Arc::clone(&shared),
    );
    let synced = synced(&everywhere, metrics, health);
    let endless = async {
        future::join(background, synced).await;
        future::pending::<()>().await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ended = tasks.join_next() => if !stop.is_cancelled() {
            health.set(Phase::Dead("a controller ended".to_owned()));
            return Err(match ended {
                Some(Err(error)) => anyhow::Error::new(error).context("a controller broke off"),
                Some(Ok(())) | None => anyhow!("a controller ended although nobody asked it to"),
            });
        },
        () = endless => {}
    }
    health.set(Phase::Stopping);
    let ending = async {
        while tasks.join_next().await.is_some() {}
        shared.writes_ended().await;
    };
    if tokio::time::timeout(STOP_DEADLINE, ending).await.is_err() {
        error!("writes in flight did not end in time; ending anyway");
    }
    readers.shutdown().await;
    Ok(())
}

/// What the passes of every scope share; `told` hears of fleets that are to be looked at.
fn shared(
    parts: &Parts<'_>,
    readers: &Readers,
    leading: Leading,
    told: mpsc::UnboundedSender<OwnerKey>,
) -> anyhow::Result<Shared> {
    let http = Http::new().context("making the client that reads the pods' metrics")?;
    let scrapers = Scrapers::new(Arc::new(http), parts.clock, told.clone());
    let thresholds = Thresholds {
        statistics_cache: parts.settings.temporal_statistics_cache.into(),
        certificate_warning: parts.settings.certificate_warning.into(),
    };
    let reports = Reports::new(
        parts.client.clone(),
        parts.metrics.clone(),
        parts.settings.pod_name.clone(),
        thresholds,
    );
    Ok(Shared::new(
        parts.client,
        parts.clock,
        parts.metrics.clone(),
        readers.clone(),
        scrapers,
        reports,
        Standing { leading, told },
    ))
}

fn start_readers(
    settings: &Settings,
    clock: Clock,
    metrics: &Metrics,
) -> anyhow::Result<(Readers, Arc<TemporalNumbers>)> {
    let numbers = Arc::new(TemporalNumbers::register(metrics.registry())?);
    let config = ReadersConfig {
        calls_per_second: settings.temporal_calls_per_second,
        burst: settings.temporal_calls_per_second.max(3),
        statistics_cache: settings.temporal_statistics_cache.into(),
        ..ReadersConfig::default()
    };
    let client = Arc::new(TemporalClient::new(settings.pod_name.clone()));
    let readers = Readers::new(client, Arc::clone(&numbers) as _, config, clock.monotonic());
    let times = readers.clone();
    metrics.ask_read_at(Box::new(move |fleet, queue| {
        let owner = OwnerKey {
            namespace: fleet.namespace.clone(),
            name: fleet.name.clone(),
        };
        times.read_at(&owner, queue)
    }));
    let budgets = readers.clone();
    crate::metrics::temporal::register_budgets(metrics.registry(), move || budgets.budgets())?;
    Ok((readers, numbers))
}

/// Takes hints until told to stop, if that is wanted.
async fn hints(
    settings: &Settings,
    client: &Client,
    clock: Clock,
    readers: &Readers,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = settings.hint_address else {
        return Ok(());
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening for hints on {address}"))?;
    let readers = readers.clone();
    let tell = move |fleet: &OwnerKey, queue: &str| readers.hint(fleet, queue);
    let router = Hints::new(client.clone(), clock, Arc::new(tell)).router();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(http::bounded(listener, router, stopped));
    info!(%address, "taking hints");
    Ok(())
}

/// Hands the news of the readers, the scrapers and the writes to the scope they are about, and keeps house.
/// Never ends.
async fn background(
    readers: Readers,
    nudged: mpsc::UnboundedReceiver<OwnerKey>,
    numbers: Arc<TemporalNumbers>,
    routes: Vec<(Scope, mpsc::UnboundedSender<OwnerKey>)>,
    shared: Arc<Shared>,
) {
    let updates = async {
        let nudged = stream::unfold(nudged, |mut nudged| async move {
            let owner = nudged.recv().await?;
            Some((owner, nudged))
        });
        let mut updates = std::pin::pin!(stream::select(readers.updates(), nudged));
        while let Some(owner) = updates.next().await {
            let route = routes
                .iter()
                .find(|(scope, _)| scope.covers(&owner.namespace));
            if let Some((_, told)) = route
                && told.send(owner).is_err()
            {
                debug!("a controller has ended: the process is stopping");
            }
        }
        future::pending::<()>().await;
    };
    let housekeeping = async {
        loop {
            tokio::time::sleep(HOUSEKEEPING).await;
            shared.secrets.prune(shared.clock.now().monotonic);
            numbers.keep_only(
                &readers
                    .budgets()
                    .into_iter()
                    .map(|budget| budget.place)
                    .collect(),
            );
        }
    };
    future::join(updates, housekeeping).await;
}

/// Becomes ready once every cache is filled of every scope that can be watched, and of one at least.
async fn synced(everywhere: &[Caches], metrics: &Metrics, health: &Health) {
    let mut progress: Vec<_> = everywhere.iter().map(Caches::progress).collect();
    loop {
        let (mut missing, mut denied, mut filled) = (Vec::new(), Vec::new(), false);
        for one in &mut progress {
            let one = one.borrow_and_update();
            let kinds = one.missing();
            match &one.sight {
                _ if kinds.is_empty() => filled = true,
                Sight::Denied(why) => denied.push(why.clone()),
                Sight::Unknown(why) => missing.push(why.clone()),
                Sight::Clear => missing.push(format!(
                    "waiting for the first list of {}; the log says why if it fails",
                    kinds.join(", ")
                )),
            }
        }
        let Some(why) = missing.first().or(denied.first().filter(|_| !filled)) else {
            break;
        };
        health.set(Phase::Waiting(why.clone()));
        let changes = progress.iter_mut().map(|one| Box::pin(one.changed()));
        future::select_all(changes).await.0.unwrap_or_default();
    }
    metrics.set_caches_synced(true);
    health.set(Phase::Running);
    info!("the watch caches are filled");
}
