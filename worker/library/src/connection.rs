//! Connections to Temporal: client options from the settings, retries at start-up, and credentials
//! that are reloaded from their files. Opens files and sockets. Starts one background task for each
//! connection that must follow an API key file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use temporalio_client::tonic::{Code, Status};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, DnsLoadBalancingOptions, GrpcCompression,
    HttpConnectProxyOptions, Url, errors::ClientConnectError,
};
use tokio::sync::watch;

use crate::environment::SettingError;
use crate::settings::{ApiKey, TemporalSettings};
use crate::tls::{self, TlsFiles};
use crate::tunnel::{self, ProxyError};

/// Timeout of the TCP and TLS handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause between connection attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Interval between reads of the credential files. A change to a mounted Secret takes about a
/// minute to reach the pod anyway.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// A shorter word of a header, such as `Bearer` or a number, is not taken for a credential: it
/// would hide every error that contains it by chance.
const SHORTEST_CREDENTIAL: usize = 8;

/// In place of a message that contains a credential.
const NOT_SHOWN: &str = "the message is not shown, because it repeats a credential";

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Temporal did not answer or refused the connection.
    #[error("cannot connect to Temporal at {address}: {source}")]
    Refused {
        /// host:port.
        address: String,
        /// The client's error.
        source: Box<ClientConnectError>,
    },
    /// The proxy opens no tunnel to Temporal.
    #[error("cannot connect to Temporal at {address}: {source}")]
    Proxy {
        /// host:port.
        address: String,
        /// What the proxy does instead.
        source: ProxyError,
    },
    /// Temporal refused the connection, and its answer repeats the API key, the password for the
    /// proxy or the value of a header.
    #[error(
        "cannot connect to Temporal at {address}: its answer is not shown, because it repeats a \
         credential"
    )]
    Repeats {
        /// host:port.
        address: String,
    },
    /// The client could not be created.
    #[error("cannot create a Temporal client: {0}")]
    Client(String),
}

/// Creates clients, each with its own connection.
#[derive(Clone)]
pub struct Connector {
    settings: TemporalSettings,
    tls: Option<TlsFiles>,
    api_key: watch::Receiver<Option<String>>,
    // Kept so that the channel stays open for every clone, whether or not `reload_credentials`
    // runs.
    publish: Arc<watch::Sender<Option<String>>>,
}

impl Connector {
    /// Creates a connector and reads the credentials.
    pub fn new(settings: TemporalSettings) -> Result<Self, SettingError> {
        let tls = settings.tls.as_ref().map(TlsFiles::load).transpose()?;
        let key = match &settings.api_key {
            None => None,
            Some(ApiKey::Value(key)) => Some(key.clone()),
            Some(ApiKey::File(path)) => Some(read_key(path)?),
        };
        let (publish, api_key) = watch::channel(key);
        Ok(Self {
            settings,
            tls,
            api_key,
            publish: Arc::new(publish),
        })
    }

    /// The API key as last read.
    pub(crate) fn current_key(&self) -> Option<String> {
        self.api_key.borrow().clone()
    }

    /// The TLS files as last read.
    pub(crate) fn tls_files(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// The settings used to connect.
    pub fn settings(&self) -> &TemporalSettings {
        &self.settings
    }

    /// Makes one attempt with the current credentials.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let address = &self.settings.address;
        let proxy = self.settings.proxy.as_ref().map(|proxy| {
            HttpConnectProxyOptions::new(proxy.address.clone())
                .maybe_basic_auth(proxy.credentials.clone())
                .build()
        });
        // With a reloadable client certificate, the client library takes a ready-made TLS
        // configuration and insists on an `http` URL. It then cannot balance over the addresses of
        // a host name, nor connect through a proxy.
        let reloads = self.presents_certificate() && proxy.is_none();
        let scheme = if self.tls.is_some() && !reloads {
            "https"
        } else {
            "http"
        };
        let target = Url::parse(&format!("{scheme}://{address}"))
            .map_err(|error| ConnectError::Client(error.to_string()))?;
        let origin = reloads
            .then(|| format!("https://{}", self.authority()).parse())
            .transpose()
            .map_err(|_| {
                ConnectError::Client("TEMPORAL_TLS_SERVER_NAME is not a host name".to_owned())
            })?;
        let options = ConnectionOptions::new(target)
            .connect_timeout(CONNECT_TIMEOUT)
            // Halves the processor time per activity, at the cost of a few more bytes on a local
            // network.
            .grpc_compression(GrpcCompression::None)
            .maybe_tls_options(
                self.tls
                    .as_ref()
                    .map(|files| tls::options(files, &self.settings)),
            )
            .dns_load_balancing(
                (!reloads && proxy.is_none()).then(DnsLoadBalancingOptions::default),
            )
            .maybe_http_connect_proxy(proxy)
            .maybe_override_origin(origin)
            .maybe_api_key(self.current_key())
            .headers(self.settings.headers.0.clone().into_iter().collect())
            .build();
        let connection = match Connection::connect(options).await {
            Ok(connection) => connection,
            Err(source) => return Err(self.refused(source).await),
        };
        Client::new(
            connection,
            ClientOptions::new(self.settings.temporal_namespace.clone()).build(),
        )
        .map_err(|error| ConnectError::Client(error.to_string()))
    }

    /// Wraps the client's error. Asks the proxy, if there is one, whether it is to blame. Leaves
    /// the error out if it contains a credential, which a server may repeat.
    async fn refused(&self, source: ClientConnectError) -> ConnectError {
        let address = self.settings.address.clone();
        if let Some(proxy) = &self.settings.proxy
            && let Err(source) = tunnel::open(proxy, &address).await
        {
            return ConnectError::Proxy { address, source };
        }
        if self.shows_credential(&describe(&source)) {
            return ConnectError::Repeats { address };
        }
        ConnectError::Refused {
            address,
            source: Box::new(source),
        }
    }

    /// A status as it may be logged and stored: without its text and its details if they contain a
    /// credential, which a server may repeat.
    pub(crate) fn without_credentials(&self, status: Status) -> Status {
        if self.shows_credential(&format!("{status:?}")) {
            Status::new(status.code(), NOT_SHOWN)
        } else {
            status
        }
    }

    /// Whether a text contains the API key, the password for the proxy or a credential in a header,
    /// as it is or as `Debug` writes it.
    fn shows_credential(&self, text: &str) -> bool {
        let key = self.api_key.borrow();
        let proxy = self.settings.proxy.as_ref();
        let credentials = proxy.and_then(|proxy| proxy.credentials.as_ref());
        let password = credentials.map(|(_, password)| password.as_str());
        let headers = self.settings.headers.0.values();
        let words = headers.flat_map(|value| value.split_ascii_whitespace());
        let words = words.filter(|word| word.len() >= SHORTEST_CREDENTIAL);
        let mut all = key.as_deref().into_iter().chain(password).chain(words);
        all.any(|secret| text.contains(secret) || text.contains(&secret.escape_debug().to_string()))
    }

    fn presents_certificate(&self) -> bool {
        let tls = self.settings.tls.as_ref();
        tls.is_some_and(|tls| tls.client.is_some())
    }

    /// The server's name for the `:authority` of requests.
    pub(crate) fn authority(&self) -> &str {
        let tls = self.settings.tls.as_ref();
        tls.and_then(|tls| tls.server_name.as_deref())
            .unwrap_or(&self.settings.address)
    }

    /// Retries until it has connected and checked the Temporal namespace. Logs every failed
    /// attempt. Returns `None` if `stop` completes first.
    pub async fn connect_patiently(&self, stop: impl Future<Output = ()>) -> Option<Client> {
        tokio::pin!(stop);
        let mut pause = FIRST_PAUSE;
        loop {
            let problem = tokio::select! {
                outcome = self.connect_and_check() => match outcome {
                    Ok(client) => {
                        self.follow_key(client.connection());
                        return Some(client);
                    }
                    Err(problem) => problem,
                },
                () = &mut stop => return None,
            };
            tracing::warn!(
                address = %self.settings.address,
                temporal_namespace = %self.settings.temporal_namespace,
                again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "not connected to Temporal yet: {problem}"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut stop => return None,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect_and_check(&self) -> Result<Client, String> {
        let client = self.connect().await.map_err(|error| describe(&error))?;
        check_namespace(&client)
            .await
            .map_err(|status| match status.code() {
                Code::NotFound => format!(
                    "the Temporal namespace {} does not exist (TEMPORAL_NAMESPACE)",
                    self.settings.temporal_namespace
                ),
                Code::PermissionDenied | Code::Unauthenticated => {
                    "Temporal refuses the credentials (TEMPORAL_API_KEY, TEMPORAL_TLS_CLIENT_*)"
                        .to_owned()
                }
                code => {
                    let status = self.without_credentials(status);
                    format!("Temporal answered {code:?}: {}", status.message())
                }
            })?;
        Ok(client)
    }

    /// Passes every new key to a connection, for the life of the process. Call it once for a
    /// connection that is used, not for each attempt: the task keeps the connection alive.
    fn follow_key(&self, connection: &Connection) {
        if !matches!(self.settings.api_key, Some(ApiKey::File(_))) {
            return;
        }
        let connection = connection.clone();
        let mut keys = self.api_key.clone();
        tokio::spawn(async move {
            while keys.changed().await.is_ok() {
                let key = keys.borrow_and_update().clone();
                connection.set_api_key(key);
            }
        });
    }

    /// Reloads the credentials every few seconds, for the life of the process. If a file cannot be
    /// read or is invalid, the last good credential stays in use.
    pub async fn reload_credentials(self) {
        let mut interval = tokio::time::interval(RELOAD_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Some(files) = &self.tls {
                match files.reload() {
                    Ok(true) => tracing::info!("TLS files have changed and were read again"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!("keeping the last TLS files: {error}"),
                }
            }
            if let Some(ApiKey::File(path)) = &self.settings.api_key {
                match read_key(path) {
                    Ok(key) => {
                        let changed = self.publish.send_if_modified(|current| {
                            let changed = current.as_ref() != Some(&key);
                            *current = Some(key);
                            changed
                        });
                        if changed {
                            tracing::info!("the API key has changed and was read again");
                        }
                    }
                    Err(error) => tracing::warn!("keeping the last API key: {error}"),
                }
            }
        }
    }
}

/// Checks that the client's Temporal namespace exists and that the credentials may use it.
async fn check_namespace(client: &Client) -> Result<(), Status> {
    use temporalio_client::tonic::IntoRequest;
    use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;

    let mut request = DescribeNamespaceRequest {
        namespace: client.options().namespace.clone(),
        ..DescribeNamespaceRequest::default()
    }
    .into_request();
    request.set_timeout(Duration::from_secs(5));
    let mut service = client.connection().workflow_service();
    service.describe_namespace(request).await.map(|_| ())
}

/// Formats an error and its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn read_key(path: &Path) -> Result<String, SettingError> {
    let wrong = |problem: &str| {
        let problem = format!("names {}, {problem}", path.display());
        SettingError::new("TEMPORAL_API_KEY_FILE", problem)
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(&format!("which cannot be read: {}", error.kind())))?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("which must hold one key of visible ASCII"));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn an_answer_that_repeats_a_credential_is_not_shown() {
        let environment = Environment::from_iter([
            ("TEMPORAL_API_KEY", "key-of-the-api"),
            (
                "TEMPORAL_GRPC_META_AUTHORIZATION",
                "Bearer token-of-the-header",
            ),
            ("TEMPORAL_GRPC_META_TENANT", "42"),
            ("TASKQUEUE_PROXY_ADDRESS", "proxy:3128"),
            ("TASKQUEUE_PROXY_USERNAME", "user"),
            ("TASKQUEUE_PROXY_PASSWORD", "password \"of\" the proxy"),
        ]);
        let settings = TemporalSettings::from_environment(&environment).unwrap();
        let connector = Connector::new(settings).unwrap();
        let shown = |message: &str| {
            let status = Status::with_details(
                Code::Unavailable,
                message,
                message.as_bytes().to_vec().into(),
            );
            let status = connector.without_credentials(status);
            assert_eq!(status.code(), Code::Unavailable);
            format!("{status:?}")
        };
        for secret in [
            "key-of-the-api",
            "token-of-the-header",
            "password \"of\" the proxy",
        ] {
            let text = shown(&format!("unknown: {secret}"));
            assert!(text.contains(NOT_SHOWN), "{text}");
            assert!(
                !text.contains("of-the") && !text.contains("the proxy"),
                "{text}"
            );
        }
        let text = shown("a Bearer of tenant 42 is unknown");
        assert!(text.contains("tenant 42 is unknown"), "{text}");
    }
}
