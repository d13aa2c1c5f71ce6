//! One bounded read of a pod's `/metrics`. I/O: one HTTP request to the pod's address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::redirect::Policy;

use super::failure::Failure;

/// Timeout for one pod, connecting included. A worker answers within milliseconds.
const DEADLINE: Duration = Duration::from_secs(2);
/// Maximum size of an answer, in bytes. Histograms per activity type take some 100 KB.
pub(super) const LARGEST: usize = 4 * 1024 * 1024;
/// The conventional path of metrics.
const PATH: &str = "/metrics";

/// Reads the metrics of a pod. The seam for tests.
pub trait Fetch: Send + Sync + 'static {
    /// Returns the metrics text, or why there is none.
    fn fetch(&self, address: IpAddr, port: u16) -> BoxFuture<'static, Result<String, Failure>>;
}

/// Reads metrics over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
}

impl Http {
    /// Creates a client that follows no redirects, uses no proxy, and keeps no connections: an open
    /// one could keep a worker from ending.
    ///
    /// # Errors
    /// If the TLS library has no provider; TLS itself is not used.
    pub fn new() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(DEADLINE)
            .timeout(DEADLINE)
            .pool_max_idle_per_host(0)
            .tls_certs_only([])
            .build()?;
        Ok(Self { client })
    }
}

impl Fetch for Http {
    fn fetch(&self, address: IpAddr, port: u16) -> BoxFuture<'static, Result<String, Failure>> {
        let url = format!("http://{}{PATH}", SocketAddr::new(address, port));
        read(self.client.clone(), url).boxed()
    }
}

async fn read(client: reqwest::Client, url: String) -> Result<String, Failure> {
    let sent = client.get(url).header("connection", "close").send();
    let mut response = sent.await.map_err(|error| failure(&error))?;
    if !response.status().is_success() {
        return Err(Failure::Status);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| Failure::Malformed)
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_decode() {
        Failure::Malformed
    } else {
        Failure::Unreachable
    }
}
