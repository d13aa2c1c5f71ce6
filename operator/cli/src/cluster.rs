//! Where `top`, `explain` and `check` read from: the API server, with the user's own kubeconfig and
//! permissions, and the operator's metrics. Network I/O, reads only: lists and gets of
//! `TaskQueueWorker`s and Events. `metrics` knows the ways to the metrics, `server` puts errors
//! into words.

mod metrics;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use taskqueue_api::well_known::MANAGER;
use taskqueue_api::{GuardedFleet, TaskQueueWorker};
use taskqueue_kubernetes::client;
use taskqueue_kubernetes::kubeconfig::{self, Selection};
use taskqueue_kubernetes::proxy::ProxyVariables;

use crate::arguments::time_limit;
use crate::figures::Scrape;
use metrics::{Direct, Metrics, Operator};
use server::Server;

/// How long a server may be silent before the command gives up.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Objects per page of a list.
const PAGE: u32 = 250;

/// The flags that say where to read.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ClusterArgs {
    /// The Kubernetes namespace of the fleets. Default: the namespace of the kubeconfig's context.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The kubeconfig file. Default: those of KUBECONFIG, or else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The kubeconfig context. Default: the current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// The cluster of the kubeconfig. Default: that of the context.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,

    /// The user of the kubeconfig. Default: that of the context.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// The user to impersonate, such as system:serviceaccount:NAMESPACE:NAME.
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,

    /// A group to impersonate. May be given several times.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub impersonate_groups: Vec<String>,

    /// The time limit of a request, such as 5s, or 5 for seconds; 0 means none. Default: 10s, and
    /// 30s for a page of a list.
    #[arg(long, value_name = "DURATION", value_parser = time_limit)]
    pub request_timeout: Option<Duration>,

    /// The URL of the operator's metrics, such as http://HOST:8080 after `kubectl port-forward`.
    /// Default: read them through the API server, from --service or else from the pod that leads.
    #[arg(long, value_name = "URL")]
    pub metrics: Option<String>,

    /// The Service of the operator's metrics, to read them through the API server.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "taskqueue-system/taskqueue-operator-metrics"
    )]
    pub service: String,

    /// The Lease that names the pod of the operator that leads, in the namespace of --service.
    /// Default: the name of --service with -leader for -metrics.
    #[arg(long, value_name = "NAME")]
    pub lease: Option<String>,
}

impl ClusterArgs {
    /// What the flags select of the kubeconfig.
    fn selection(&self) -> Selection {
        Selection {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            impersonate: self.impersonate.clone(),
            impersonate_groups: self.impersonate_groups.clone(),
        }
    }

    /// A client within the time limit.
    fn client(&self, config: Config) -> anyhow::Result<Client> {
        match self.request_timeout {
            Some(limit) => client::limited(config, limit),
            None => client::bounded(config, SERVER_TIMEOUT),
        }
    }
}

/// What is known about one fleet.
#[derive(Debug)]
pub struct FleetSources {
    /// The resource.
    pub fleet: TaskQueueWorker,
    /// The operator's Events about it; empty if they cannot be listed.
    pub events: Vec<Event>,
    /// The operator's metrics, if they can be read.
    pub scrape: Option<Scrape>,
    /// Why the Events or the metrics are missing, and what to do: one line each.
    pub notes: Vec<String>,
}

/// A cluster to read from.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: Server,
    metrics: Metrics,
    /// The namespace to read where none is named.
    pub namespace: String,
}

impl Cluster {
    /// Takes the kubeconfig (or, in a pod, the ServiceAccount) and prepares to read the API server
    /// and the metrics.
    ///
    /// # Errors
    /// If there is no usable kubeconfig or a flag is invalid.
    pub async fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        let config = kubeconfig::config(&args.selection()).await?;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = Server::of_kubeconfig(Some(&config.cluster_url));
        let client = args
            .client(config)
            .context("the kubeconfig cannot be used")?;
        Self::with(client, server, namespace, args)
    }

    /// A cluster behind an existing client.
    ///
    /// # Errors
    /// If a flag is invalid.
    pub fn new(client: Client, namespace: String, args: &ClusterArgs) -> anyhow::Result<Self> {
        Self::with(client, Server::of_kubeconfig(None), namespace, args)
    }

    fn with(
        client: Client,
        server: Server,
        namespace: String,
        args: &ClusterArgs,
    ) -> anyhow::Result<Self> {
        let metrics = if let Some(url) = &args.metrics {
            direct(url, args)?
        } else {
            operator(client.clone(), server.clone(), args)?
        };
        Ok(Self {
            client,
            server,
            metrics,
            namespace,
        })
    }

    /// Ends what is open to the cluster. To drop it does so as well, less politely.
    pub async fn close(&self) {
        self.metrics.close().await;
    }

    /// The fleets of the namespace, or of all namespaces; with `labels`, those that have them.
    ///
    /// # Errors
    /// If the API server refuses or does not answer.
    pub async fn fleets(
        &self,
        all_namespaces: bool,
        labels: Option<&str>,
    ) -> anyhow::Result<Vec<GuardedFleet>> {
        let api: Api<GuardedFleet> = if all_namespaces {
            Api::all(self.client.clone())
        } else {
            Api::namespaced(self.client.clone(), &self.namespace)
        };
        let place = if all_namespaces {
            "in all namespaces".to_owned()
        } else {
            format!("in namespace {}", self.namespace)
        };
        let mut fleets = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        page.label_selector = labels.map(str::to_owned);
        loop {
            let list = api.list(&page).await.map_err(|error| {
                anyhow!(
                    "cannot list the fleets {place}: {}",
                    self.server.describe(&error)
                )
            })?;
            fleets.extend(list.items);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(fleets),
            }
        }
    }

    /// One fleet, its Events and the operator's metrics. Without the Events or the metrics the rest
    /// is still of use; the note about missing metrics begins with `without_metrics`.
    ///
    /// # Errors
    /// If there is no fleet of that name, or the API server refuses it or does not answer.
    pub async fn sources(&self, name: &str, without_metrics: &str) -> anyhow::Result<FleetSources> {
        let (fleet, events, scrape) =
            tokio::join!(self.fleet(name), self.events(name), self.scrape());
        let fleet = fleet?;
        let mut notes = Vec::new();
        let scrape = scrape
            .map_err(|why| notes.push(format!("{without_metrics}: {why}")))
            .ok();
        let events = events.unwrap_or_else(|error| {
            notes.push(format!("{error:#}"));
            Vec::new()
        });
        Ok(FleetSources {
            fleet,
            events,
            scrape,
            notes,
        })
    }

    async fn fleet(&self, name: &str) -> anyhow::Result<TaskQueueWorker> {
        let api: Api<TaskQueueWorker> = Api::namespaced(self.client.clone(), &self.namespace);
        api.get(name).await.map_err(|error| {
            anyhow!(
                "cannot read the fleet {name} in namespace {}: {}",
                self.namespace,
                self.server.describe(&error)
            )
        })
    }

    /// The Events that the operator has written about a fleet, as far as the server still keeps
    /// them.
    async fn events(&self, fleet: &str) -> anyhow::Result<Vec<Event>> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let about = ListParams::default().fields(&format!(
            "regarding.kind=TaskQueueWorker,regarding.name={fleet},reportingController={MANAGER}"
        ));
        let list = api.list(&about).await.map_err(|error| {
            anyhow!(
                "cannot list the Events of namespace {}: {}",
                self.namespace,
                self.server.describe(&error)
            )
        })?;
        Ok(list.items)
    }

    /// The operator's metrics, or one line that says why they cannot be read and what to do.
    pub async fn scrape(&self) -> Result<Scrape, String> {
        self.metrics.read().await
    }
}

/// The operator in the cluster, by the names that the flags give.
fn operator(client: Client, server: Server, args: &ClusterArgs) -> anyhow::Result<Metrics> {
    let (namespace, service) = args.service.split_once('/').with_context(|| {
        format!(
            "--service {} is not of the form NAMESPACE/NAME",
            args.service
        )
    })?;
    // The chart names both after itself.
    let chart = service.strip_suffix("-metrics").unwrap_or(service);
    Ok(Metrics::Operator(Arc::new(Operator {
        client,
        server,
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        lease: args
            .lease
            .clone()
            .unwrap_or_else(|| format!("{chart}-leader")),
        limit: args.request_timeout.unwrap_or(SERVER_TIMEOUT),
        open: tokio::sync::Mutex::default(),
    })))
}

fn direct(url: &str, args: &ClusterArgs) -> anyhow::Result<Metrics> {
    let (server, path) = parts(url)
        .with_context(|| format!("--metrics {url} is not a URL of the form http://HOST:8080"))?;
    let mut config = Config::new(server);
    config.proxy_url = ProxyVariables::of_environment().proxy_for(&config.cluster_url)?;
    Ok(Metrics::Direct(Arc::new(Direct {
        server: Server::of_metrics(&config.cluster_url),
        client: args.client(config)?,
        url: url.to_owned(),
        path,
    })))
}

/// The server and the path of a URL; the path is /metrics if there is none.
fn parts(url: &str) -> anyhow::Result<(http::Uri, String)> {
    let uri: http::Uri = url.parse()?;
    let (scheme, authority) = uri
        .scheme_str()
        .filter(|scheme| ["http", "https"].contains(scheme))
        .zip(uri.authority())
        .ok_or_else(|| anyhow!("it needs http:// or https:// and a host"))?;
    let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
        "/" => "/metrics",
        path => path,
    };
    Ok((format!("{scheme}://{authority}").parse()?, path.to_owned()))
}

#[cfg(test)]
mod tests;
