//! Wires everything up and keeps it running until SIGTERM. I/O only; decides nothing about fleets.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::{StreamExt, future, stream};
use kube::api::ListParams;
use kube::runtime::controller::{Config, Controller, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource};
use taskqueue_temporal::{OwnerKey, Readers, ReadersConfig, TemporalClient};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::caches::{self, Caches, Gone, GuardedConnection, GuardedFleet, Scope, Watches};
use crate::clock::Clock;
use crate::controller::{Context, Shared, error_policy, reconcile};
use crate::error::{Class, Error};
use crate::hints::Hints;
use crate::http::{self, Health, Phase};
use crate::kubeconfig;
use crate::lease::Claim;
use crate::metrics::Metrics;
use crate::metrics::temporal::TemporalNumbers;
use crate::observe::connection;
use crate::report::{Reports, Subject, Thresholds};
use crate::scrape::{Http, Scrapers};
use crate::settings::Settings;

/// How often it is asked whether the resources have been installed.
const CRD_RETRY: Duration = Duration::from_secs(2);
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
    let config = kubeconfig::config(None).await;
    let client = config
        .and_then(kubeconfig::client)
        .context("finding out how to reach Kubernetes")?;
    let result = lead(settings, &client, clock, &metrics, &health, &stop).await;
    served.cancel();
    endpoints
        .await
        .context("the HTTP server")?
        .context("serving /metrics")?;
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

/// Works, with the leader lease if there is one.
async fn lead(
    settings: &Settings,
    client: &Client,
    clock: Clock,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if !settings.leader_election {
        return work(settings, client, clock, metrics, health, stop).await;
    }
    let mut claim = Claim::new(
        client.clone(),
        &settings.pod_namespace,
        &settings.lease_name,
        settings.pod_name.clone(),
    );
    health.set(Phase::Standby);
    if !claim.acquire(stop).await {
        return Ok(());
    }
    let kept = stop.child_token();
    let working = work(settings, client, clock, metrics, health, &kept);
    tokio::pin!(working);
    // Renewed until the last write is done, also after `stop`: nobody else may lead before that.
    tokio::select! {
        result = &mut working => {
            release(&claim).await;
            result
        }
        () = claim.keep() => {
            // Another process may lead by now: no time for what is in flight. What it could still do
            // is protected by the version that each shrinking write carries.
            kept.cancel();
            health.set(Phase::Dead("the leader lease was lost".to_owned()));
            bail!("the leader lease was lost; this process ends so that it starts over as a standby")
        }
    }
}

async fn release(claim: &Claim) {
    let mut given = claim.release().await;
    if given.as_ref().is_err_and(Error::is_conflict) {
        // A renewal that was under way when the work ended came between.
        given = claim.release().await;
    }
    if let Err(error) = given {
        warn!(%error, "cannot give the leader lease back; it expires by itself");
    }
}

/// Reconciles until told to stop.
async fn work(
    settings: &Settings,
    client: &Client,
    clock: Clock,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let scopes = Scope::all(&settings.namespaces());
    metrics.set_leader(true);
    if !installed(client, &scopes, health, stop).await {
        return Ok(());
    }
    let (readers, numbers) = start_readers(settings, clock, metrics)?;
    hints(settings, client, clock, &readers, stop).await?;
    let (told, scraped) = mpsc::unbounded_channel();
    let http = Http::new().context("making the client that reads the pods' metrics")?;
    let scrapers = Scrapers::new(Arc::new(http), clock, told);
    let thresholds = Thresholds {
        statistics_cache: settings.temporal_statistics_cache.into(),
        certificate_warning: settings.certificate_warning.into(),
    };
    let reports = Reports::new(
        client.clone(),
        metrics.clone(),
        settings.pod_name.clone(),
        thresholds,
    );
    let shared = Arc::new(Shared::new(
        client,
        clock,
        metrics.clone(),
        readers.clone(),
        scrapers,
        reports,
    ));
    health.set(Phase::Waiting("filling the watch caches".to_owned()));
    let tasks = TaskTracker::new();
    let mut routes = Vec::new();
    let mut contexts = Vec::new();
    let watched: Vec<_> = scopes
        .iter()
        .map(|scope| watch(client, scope, &shared))
        .collect();
    let everywhere: Arc<[Caches]> = watched.iter().map(|(caches, _)| caches.clone()).collect();
    for (scope, (caches, watches)) in scopes.into_iter().zip(watched) {
        let (told, news) = mpsc::unbounded_channel();
        routes.push((scope, told));
        let everywhere = Arc::clone(&everywhere);
        let context = Arc::new(Context::new(Arc::clone(&shared), caches, everywhere));
        contexts.push(Arc::clone(&context));
        tasks.spawn(controller(
            context,
            watches,
            news,
            settings.concurrency,
            stop,
        ));
    }
    tasks.close();
    let background = background(
        readers.clone(),
        scraped,
        numbers,
        routes,
        Arc::clone(&shared),
    );
    let synced = synced(contexts, metrics.clone(), health.clone());
    let endless = async {
        future::join(background, synced).await;
        future::pending::<bool>().await
    };
    let ended = tokio::select! {
        () = stop.cancelled() => false,
        () = tasks.wait() => !stop.is_cancelled(),
        never = endless => never,
    };
    if ended {
        health.set(Phase::Dead("the controller ended".to_owned()));
        return Err(anyhow!("the controller ended although nobody asked it to"));
    }
    health.set(Phase::Stopping);
    if tokio::time::timeout(STOP_DEADLINE, tasks.wait())
        .await
        .is_err()
    {
        error!("writes in flight did not end in time; ending anyway");
    }
    readers.shutdown().await;
    Ok(())
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
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
        if let Err(error) = served.await {
            error!(%error, "hints are no longer taken");
        }
    });
    info!(%address, "taking hints");
    Ok(())
}

/// Waits until the resources are installed and may be read. False if told to stop first.
async fn installed(
    client: &Client,
    scopes: &[Scope],
    health: &Health,
    stop: &CancellationToken,
) -> bool {
    let mut said = String::new();
    loop {
        let Err(why) = readable(client, scopes).await else {
            return true;
        };
        if why != said {
            warn!(reason = why, "waiting");
            health.set(Phase::Waiting(why.clone()));
            said = why;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(CRD_RETRY) => {}
        }
    }
}

async fn readable(client: &Client, scopes: &[Scope]) -> Result<(), String> {
    for scope in scopes {
        let fleets = scope
            .api::<GuardedFleet>(client)
            .list(&ListParams::default().limit(1))
            .await;
        explain(fleets.err(), "taskqueueworkers", scope)?;
        let connections = scope
            .api::<GuardedConnection>(client)
            .list(&ListParams::default().limit(1))
            .await;
        explain(connections.err(), "temporalconnections", scope)?;
    }
    Ok(())
}

fn explain(error: Option<kube::Error>, resource: &str, scope: &Scope) -> Result<(), String> {
    let place = match scope {
        Scope::Cluster => "in all namespaces".to_owned(),
        Scope::Namespace(name) => format!("in namespace {name}"),
    };
    match error {
        None => Ok(()),
        Some(kube::Error::Api(status)) if status.code == 404 => Err(format!(
            "the CustomResourceDefinition {resource}.taskqueue.dev is not installed; install the chart with crds.install=true, or apply the folder crds/ with kubectl"
        )),
        Some(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => Err(format!(
            "the operator may not list {resource} {place}: {}; install the chart's roles",
            status.message
        )),
        Some(kube::Error::Api(status)) => Err(format!(
            "the API server answers: {} (HTTP {})",
            status.message, status.code
        )),
        Some(error) => Err(format!("the API server cannot be reached: {error}")),
    }
}

/// The caches of one scope; what is gone from them is forgotten.
fn watch(client: &Client, scope: &Scope, shared: &Arc<Shared>) -> (Caches, Watches) {
    let forget = Arc::clone(shared);
    let covered = scope.clone();
    caches::watch(client, scope, &shared.metrics, move |gone| match gone {
        Gone::Deleted(fleet) => forget.forget(Subject::of(fleet).metadata),
        Gone::AllBut(store) => forget.forget_all_but(|key| {
            let reference = ObjectRef::new(&key.name).within(&key.namespace);
            let there = store.get(&reference);
            !covered.covers(&key.namespace)
                || there.is_some_and(|fleet| fleet.meta().uid.as_deref() == Some(&key.uid))
        }),
    })
}

/// The controller of one scope, ready to be run.
fn controller(
    context: Arc<Context>,
    watches: Watches,
    news: mpsc::UnboundedReceiver<OwnerKey>,
    concurrency: u16,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let Watches {
        fleets,
        connections,
        deployments,
        pods,
    } = watches;
    let news = stream::unfold(news, |mut news| async move {
        let owner = news.recv().await?;
        Some((ObjectRef::new(&owner.name).within(&owner.namespace), news))
    });
    let referring = context.caches.clone();
    let controller = Controller::for_stream(fleets, context.caches.fleets.clone())
        .with_config(Config::default().concurrency(concurrency))
        .owns_stream(deployments)
        .watches_stream(pods, |pod| caches::fleet_of_pod(&pod))
        .watches_stream(connections, move |connection| {
            let name = connection::name_of(&connection);
            name.map(|(namespace, name)| referring.fleets_with_connection(namespace, name))
                .unwrap_or_default()
        })
        .reconcile_on(news)
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    controller
        .run(reconcile, error_policy, context)
        .for_each(|result| {
            ended(result);
            future::ready(())
        })
}

/// Logs what became of a pass, once, by the class of the error.
fn ended(
    result: Result<
        (ObjectRef<GuardedFleet>, kube::runtime::controller::Action),
        ControllerError<Error, watcher::Error>,
    >,
) {
    match result {
        Ok((fleet, action)) => debug!(%fleet, ?action, "reconciled"),
        Err(ControllerError::ReconcilerFailed(error, fleet)) => {
            let (class, reason) = (error.class().as_str(), error.reason());
            match error.class() {
                Class::Conflict => debug!(%fleet, class, reason, %error, "again"),
                Class::Throttled => info!(%fleet, class, reason, %error, "again, later"),
                Class::Invalid | Class::Dependency | Class::Unavailable => {
                    warn!(%fleet, class, reason, %error, "a pass failed");
                }
                Class::Denied | Class::Bug => {
                    error!(%fleet, class, reason, %error, "a pass failed");
                }
            }
        }
        Err(ControllerError::ObjectNotFound(fleet)) => debug!(%fleet, "gone"),
        Err(other) => warn!(error = %other, "the controller"),
    }
}

/// Hands the news of the readers and the scrapers to the scope they are about, and keeps house.
/// Never ends.
async fn background(
    readers: Readers,
    scraped: mpsc::UnboundedReceiver<OwnerKey>,
    numbers: Arc<TemporalNumbers>,
    routes: Vec<(Scope, mpsc::UnboundedSender<OwnerKey>)>,
    shared: Arc<Shared>,
) {
    let updates = async {
        let scraped = stream::unfold(scraped, |mut scraped| async move {
            let owner = scraped.recv().await?;
            Some((owner, scraped))
        });
        let mut updates = std::pin::pin!(stream::select(readers.updates(), scraped));
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

/// Becomes ready once every cache is filled.
async fn synced(contexts: Vec<Arc<Context>>, metrics: Metrics, health: Health) {
    for context in &contexts {
        let waiting = |missing: &[&str]| {
            health.set(Phase::Waiting(format!(
                "waiting for the first list of {}; the log says why if it fails",
                missing.join(", ")
            )));
        };
        if context.caches.filled(waiting).await.is_err() {
            return;
        }
    }
    metrics.set_caches_synced(true);
    health.set(Phase::Running);
    info!("the watch caches are filled");
}
