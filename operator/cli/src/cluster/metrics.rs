//! Reads the operator's metrics: from a URL; or from its Service, through the API server; or else,
//! if that is refused, from the pod that leads, by a port-forward. Network I/O, reads only: `GET`s
//! of /metrics, of the Lease and of the pod.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use taskqueue_kubernetes::port_forward::{self, PortForward};
use tokio::sync::Mutex;

use super::server::{Server, timed_out};
use crate::figures::{self, Scrape};

/// Attempts to read the metrics of the leader. Behind a Service there may be standby replicas,
/// and any replica may answer. With two replicas the leader is missed once in 65,536 scrapes.
const ATTEMPTS: u32 = 16;
/// The path of the metrics.
const PATH: &str = "/metrics";
/// The name of their port in the pod.
const PORT_NAME: &str = "metrics";
/// Its number if the pod may not be read: the chart's default.
const PORT: u16 = 8080;

/// Where the metrics are read.
#[derive(Clone)]
pub(crate) enum Metrics {
    /// From a URL.
    Direct(Arc<Direct>),
    /// From the operator in the cluster.
    Operator(Arc<Operator>),
}

/// The metrics at a URL.
pub(crate) struct Direct {
    /// Reaches the URL's server.
    pub(crate) client: Client,
    /// The whole URL.
    pub(crate) url: String,
    /// Its path.
    pub(crate) path: String,
    /// Its server.
    pub(crate) server: Server,
}

/// The operator in a cluster, by the names of its objects.
pub(crate) struct Operator {
    /// Reaches the API server.
    pub(crate) client: Client,
    /// The API server.
    pub(crate) server: Server,
    /// The namespace of the objects.
    pub(crate) namespace: String,
    /// The Service of the metrics.
    pub(crate) service: String,
    /// The Lease of the leader.
    pub(crate) lease: String,
    /// How long a request through a port-forward may take.
    pub(crate) limit: Duration,
    /// The port-forward of the last read, if that needed one.
    pub(crate) open: Mutex<Option<PortForward>>,
}

impl Metrics {
    /// The metrics of the leader, or one line that says why they cannot be read and what to do.
    pub(crate) async fn read(&self) -> Result<Scrape, String> {
        match self {
            Self::Direct(direct) => direct.read().await,
            Self::Operator(operator) => operator.read().await,
        }
    }

    /// Ends the port-forward, if there is one.
    pub(crate) async fn close(&self) {
        if let Self::Operator(operator) = self {
            close(operator.open.lock().await.take()).await;
        }
    }
}

impl Direct {
    /// Behind the URL may be a Service, so standby replicas are passed over.
    async fn read(&self) -> Result<Scrape, String> {
        for _ in 0..ATTEMPTS {
            let text = get_anew(&self.client, &self.path).await;
            let text =
                text.map_err(|error| format!("{}: {}", self.url, self.server.describe(&error)));
            let scrape = figures::parse(&text?).map_err(|error| error.to_string())?;
            if scrape.leads {
                return Ok(scrape);
            }
        }
        Err(format!(
            "only standby replicas of the operator answer at {}; name the leader with --metrics \
             URL, or try again if none leads yet",
            self.url
        ))
    }
}

/// Why one of the two ways leads to no metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// A right is missing.
    Refused(&'static str),
    /// There is no Service of the name.
    NoService,
    /// There is no Lease of the name.
    NoLease,
    /// Another reason, for which there is nothing to do but to wait, or to use the other way.
    Other(String),
    /// The same would happen to the other way, or it is not known to help.
    Final(String),
}

impl Operator {
    async fn read(&self) -> Result<Scrape, String> {
        let mut open = self.open.lock().await;
        if let Some(forward) = open.as_mut() {
            // The port-forward may have ended, or another pod leads: begin from the beginning.
            if let Ok(Ok(scrape)) = forward.get(PATH).await.map(|text| figures::parse(&text))
                && scrape.leads
            {
                return Ok(scrape);
            }
            close(open.take()).await;
        }
        let proxied = match self.proxied().await {
            Ok(scrape) => return Ok(scrape),
            Err(Failure::Final(why)) => return Err(why),
            Err(failure) => failure,
        };
        match self.forwarded().await {
            Ok((scrape, forward)) => {
                *open = Some(forward);
                Ok(scrape)
            }
            Err(forwarded) => Err(self.explain(&proxied, &forwarded)),
        }
    }

    /// From the Service, through the API server.
    async fn proxied(&self) -> Result<Scrape, Failure> {
        let Self {
            namespace, service, ..
        } = self;
        let path =
            format!("/api/v1/namespaces/{namespace}/services/{service}:{PORT_NAME}/proxy{PATH}");
        for _ in 0..ATTEMPTS {
            let text = get(&self.client, &path).await.map_err(|error| {
                let code = match &error {
                    kube::Error::Api(status) => status.code,
                    _ => 0,
                };
                match code {
                    403 => Failure::Refused("get services/proxy"),
                    404 => Failure::NoService,
                    502..=504 => Failure::Other(format!(
                        "no replica of the operator answers behind Service {namespace}/{service}"
                    )),
                    // A network policy may keep the API server away from the pods.
                    _ if timed_out(&error) => Failure::Other(self.server.describe(&error)),
                    _ => Failure::Final(format!(
                        "{namespace}/{service}: {}",
                        self.server.describe(&error)
                    )),
                }
            })?;
            let scrape =
                figures::parse(&text).map_err(|error| Failure::Final(error.to_string()))?;
            if scrape.leads {
                return Ok(scrape);
            }
        }
        Err(Failure::Other(format!(
            "only standby replicas answer behind Service {namespace}/{service}"
        )))
    }

    /// From the pod that holds the Lease, by a port-forward.
    async fn forwarded(&self) -> Result<(Scrape, PortForward), Failure> {
        let pod = self.leader().await?;
        let port = self.port(&pod).await?;
        let client = self.client.clone();
        let opened = PortForward::open(client, &self.namespace, &pod, port, self.limit).await;
        let mut forward = opened.map_err(|error| match error {
            port_forward::Error::Open(error) if is(&error, 403) => {
                Failure::Refused("get and create pods/portforward")
            }
            port_forward::Error::Open(error) => Failure::Other(self.server.describe(&error)),
            other => Failure::Other(other.to_string()),
        })?;
        let scrape = match forward.get(PATH).await {
            Ok(text) => figures::parse(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match scrape {
            Ok(scrape) if scrape.leads => Ok((scrape, forward)),
            other => {
                close(Some(forward)).await;
                let lost = || format!("pod {pod}, which holds Lease {}, does not lead", self.lease);
                Err(Failure::Other(other.err().unwrap_or_else(lost)))
            }
        }
    }

    /// The pod that leads.
    async fn leader(&self) -> Result<String, Failure> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let lease = leases.get(&self.lease).await.map_err(|error| {
            if is(&error, 403) {
                Failure::Refused("get leases")
            } else if is(&error, 404) {
                Failure::NoLease
            } else {
                Failure::Other(self.server.describe(&error))
            }
        })?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        holder
            .filter(|holder| !holder.is_empty())
            .ok_or_else(|| Failure::Other(format!("nobody holds Lease {}", self.lease)))
    }

    /// The port of its metrics.
    async fn port(&self, pod: &str) -> Result<u16, Failure> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let found = match pods.get(pod).await {
            Ok(found) => found,
            Err(error) if is(&error, 403) => return Ok(PORT),
            Err(error) if is(&error, 404) => {
                return Err(Failure::Other(format!(
                    "there is no pod {pod}, which holds Lease {}",
                    self.lease
                )));
            }
            Err(error) => return Err(Failure::Other(self.server.describe(&error))),
        };
        let containers = found.spec.map(|spec| spec.containers).unwrap_or_default();
        let mut ports = containers
            .into_iter()
            .flat_map(|container| container.ports.unwrap_or_default());
        let named = ports.find(|port| port.name.as_deref() == Some(PORT_NAME));
        let number = named.and_then(|port| u16::try_from(port.container_port).ok());
        Ok(number.unwrap_or(PORT))
    }

    /// Why neither way leads to metrics, and what to do, in one line.
    fn explain(&self, proxied: &Failure, forwarded: &Failure) -> String {
        let mut text = format!(
            "{}; a port-forward to the leader instead failed: {}",
            self.what(proxied),
            self.what(forwarded)
        );
        let mut remedies = Vec::new();
        match (proxied, forwarded) {
            (Failure::Refused(_), Failure::Refused(_)) => {
                remedies.push("ask for one of the two permissions");
            }
            (Failure::Refused(_), _) | (_, Failure::Refused(_)) => {
                remedies.push("ask for that permission");
            }
            _ => {}
        }
        if *proxied == Failure::NoService {
            remedies.push("name the Service with --service");
        }
        if *forwarded == Failure::NoLease {
            remedies.push("name the Lease with --lease");
        }
        if !remedies.is_empty() {
            // Writing to a String does not fail.
            _ = write!(text, "; {}, or give --metrics URL", remedies.join(", "));
        }
        text
    }

    fn what(&self, failure: &Failure) -> String {
        let namespace = &self.namespace;
        match failure {
            Failure::Refused(right) => {
                format!("you have no permission to {right} in namespace {namespace}")
            }
            Failure::NoService => {
                format!(
                    "there is no Service {} in namespace {namespace}",
                    self.service
                )
            }
            Failure::NoLease => {
                format!("there is no Lease {} in namespace {namespace}", self.lease)
            }
            Failure::Other(why) | Failure::Final(why) => why.clone(),
        }
    }
}

async fn get(client: &Client, path: &str) -> Result<String, kube::Error> {
    let request = http::Request::get(path).body(Vec::new());
    client
        .request_text(request.map_err(kube::Error::HttpError)?)
        .await
}

/// The same over a connection of its own. A Service balances connections, not requests: over one
/// connection, each further attempt would reach the same replica.
async fn get_anew(client: &Client, path: &str) -> Result<String, kube::Error> {
    let request = http::Request::get(path).header(http::header::CONNECTION, "close");
    let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request_text(request).await
}

async fn close(forward: Option<PortForward>) {
    if let Some(forward) = forward {
        forward.close().await;
    }
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests;
