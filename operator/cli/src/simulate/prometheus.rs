//! A client of Prometheus' HTTP API, for instant queries. Network I/O: GETs of /api/v1/query.
//! [`answer`] parses, [`failure`] says what went wrong.
//!
//! Why not a crate: prometheus-http-query brings its own reqwest with its own choice of TLS, and
//! nothing here is more than one GET.

pub(super) mod answer;
pub(super) mod failure;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http::Uri;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use taskqueue_kubernetes::proxy::ProxyVariables;

use answer::{Answer, Kind};
use failure::{Cause, QueryFailure};

use crate::arguments::time_limit;

/// How long Prometheus may take for a query: as long as it itself allows by default.
const QUERY_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes. A day with a scrape every 2 s takes some 20 MB.
const LARGEST: usize = 64 * 1024 * 1024;
const PROXY_REMEDY: &str = "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY must name an HTTP proxy, \
                            http://HOST:PORT; to reach Prometheus without it, add its host to \
                            NO_PROXY";

/// The flags about how Prometheus is reached.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AccessArguments {
    /// Prometheus: a file with the bearer token of its requests.
    #[arg(long, value_name = "FILE", requires = "from_prometheus")]
    pub bearer_token_file: Option<PathBuf>,

    /// Prometheus: a file with the certificates, in PEM, that its own must come from. Default:
    /// those of the system.
    #[arg(long, value_name = "FILE.pem", requires = "from_prometheus")]
    pub prometheus_ca: Option<PathBuf>,

    /// Prometheus: the time limit of a query, such as 30s, or 30 for seconds; 0 means none.
    /// Default: 2m.
    #[arg(
        long,
        value_name = "DURATION",
        requires = "from_prometheus",
        value_parser = time_limit
    )]
    pub request_timeout: Option<Duration>,
}

/// The URL of a Prometheus, or of a server with the same API. It may contain a password: it is
/// shown without one.
#[derive(Clone, PartialEq, Eq)]
pub struct PrometheusUrl(Url);

impl FromStr for PrometheusUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT or https://HOST, with the path before /api/v1 if \
                        there is one";
        let mut url = Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(expected.to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("it has a part after ? or #; {expected}"));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/api/v1").unwrap_or(path).to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        // An http URL can have neither removed only if it has no host.
        _ = (url.set_username(""), url.set_password(None));
        f.write_str(url.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrometheusUrl({self})")
    }
}

/// A Prometheus.
#[derive(Debug)]
pub(super) struct Prometheus {
    client: Client,
    url: PrometheusUrl,
    token: Option<String>,
    limit: Duration,
}

impl Prometheus {
    /// Prepares a client. Reads the files of the flags.
    pub(super) fn new(
        url: &PrometheusUrl,
        access: &AccessArguments,
        proxies: &ProxyVariables,
    ) -> anyhow::Result<Self> {
        let limit = access.request_timeout.unwrap_or(QUERY_TIMEOUT);
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(limit))
            .timeout(limit);
        let server: Uri = url.to_string().parse().context("--from-prometheus")?;
        let proxy = proxies.proxy_for(&server);
        if let Some(proxy) = proxy.map_err(|_| anyhow::anyhow!(PROXY_REMEDY))? {
            let proxy = reqwest::Proxy::all(proxy.to_string());
            builder = builder.proxy(proxy.map_err(|_| anyhow::anyhow!(PROXY_REMEDY))?);
        }
        if let Some(path) = &access.prometheus_ca {
            let remedy = || {
                format!(
                    "{}: give a file of certificates in PEM with --prometheus-ca",
                    path.display()
                )
            };
            let pem = std::fs::read(path).with_context(remedy)?;
            let certificates = Certificate::from_pem_bundle(&pem).with_context(remedy)?;
            anyhow::ensure!(!certificates.is_empty(), remedy());
            builder = builder.tls_certs_only(certificates);
        } else if url.0.scheme() == "http" {
            // HTTP needs no certificates, and the image has none.
            builder = builder.tls_certs_only([]);
        }
        let token = match &access.bearer_token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!(
                        "{}: give a file with a token with --bearer-token-file",
                        path.display()
                    )
                })?;
                Some(text.trim().to_owned())
            }
            None => None,
        };
        Ok(Self {
            client: builder.build().context(
                "cannot prepare TLS; give the certificates of Prometheus with --prometheus-ca",
            )?,
            url: url.clone(),
            token,
            limit,
        })
    }

    /// Asks a query at a time, in milliseconds since 1970.
    pub(super) async fn query(
        &self,
        query: &str,
        at: i64,
        kind: Kind,
    ) -> Result<Answer, QueryFailure> {
        self.ask(query, at, kind)
            .await
            .map_err(|cause| QueryFailure {
                url: self.url.to_string(),
                query: query.to_owned(),
                cause,
            })
    }

    async fn ask(&self, query: &str, at: i64, kind: Kind) -> Result<Answer, Cause> {
        let mut url = self.url.0.clone();
        let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let time = format!("{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000));
        url.query_pairs_mut()
            .append_pair("query", query)
            .append_pair("time", &time);
        let mut request = self.client.get(url).header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |error: reqwest::Error| failure::cause(&error, self.limit);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or("another URL");
            // What follows may be the state of a login.
            let to = to.split('?').next().unwrap_or_default().to_owned();
            return Err(Cause::Redirected { to });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(Cause::TooLarge { most: LARGEST });
            }
            body.extend_from_slice(&chunk);
        }
        match answer::parse(&body, kind) {
            // Only Prometheus itself answers in this form, whatever the status.
            Err(cause @ Cause::Refused { .. }) => Err(cause),
            parsed if status == StatusCode::OK => parsed,
            _ => Err(failure::of_status(status, &body)),
        }
    }
}
