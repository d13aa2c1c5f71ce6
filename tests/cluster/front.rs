//! A proxy between pods and a Temporal server that speaks plaintext: this process, on a port that
//! pods reach. It optionally terminates TLS, requires an API key and limits reads. It records which
//! clients came with which credentials.

mod keys;
mod read_limit;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use rustls::{ServerConfig, pki_types::CertificateDer};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

pub(crate) use keys::Keys;

use crate::{authority::SERVER, harness::TestCluster};

/// A client that was admitted through TLS.
pub(crate) struct AdmittedClient {
    pub(crate) peer: IpAddr,
    pub(crate) client: Option<CertificateDer<'static>>,
}

/// The server as pods see it, until it is dropped.
pub(crate) struct Front {
    address: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// The state that the tasks of a front share.
struct Shared {
    /// The address of the server behind it.
    behind: String,
    /// `None` = plaintext.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    /// `None` = every request is passed on.
    keys: Option<Arc<Keys>>,
    admitted: Mutex<Vec<AdmittedClient>>,
    open: Mutex<Vec<JoinHandle<()>>>,
}

impl Front {
    /// Serves plaintext in front of the server at this address.
    pub(crate) fn plain(cluster: &TestCluster, behind: String) -> anyhow::Result<Self> {
        Self::start(cluster, behind, None, None)
    }

    /// Serves TLS in front of the sandbox's server.
    pub(crate) fn tls(cluster: &TestCluster, config: Arc<ServerConfig>) -> anyhow::Result<Self> {
        Self::start(cluster, cluster.sandbox.temporal()?, Some(config), None)
    }

    /// Serves TLS in front of the sandbox's server, and passes on only requests with an accepted
    /// key.
    pub(crate) fn with_keys(
        cluster: &TestCluster,
        config: Arc<ServerConfig>,
        keys: Arc<Keys>,
    ) -> anyhow::Result<Self> {
        Self::start(
            cluster,
            cluster.sandbox.temporal()?,
            Some(config),
            Some(keys),
        )
    }

    fn start(
        cluster: &TestCluster,
        behind: String,
        tls: Option<Arc<ServerConfig>>,
        keys: Option<Arc<Keys>>,
    ) -> anyhow::Result<Self> {
        let listener = cluster.sandbox.listener_for_pods()?;
        let address = listener.local_addr()?.to_string();
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            behind,
            tls: Mutex::new(tls),
            keys,
            admitted: Mutex::default(),
            open: Mutex::default(),
        });
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                let passing = tokio::spawn(serving.clone().receive(client, peer.ip()));
                let mut open = serving.open.lock().expect("the lock is not poisoned");
                open.retain(|connection| !connection.is_finished());
                open.push(passing);
            }
        });
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// A connection spec for the sandbox's namespace in Temporal through this front, with these TLS
    /// fields.
    pub(crate) fn connection(&self, tls: &Value) -> Value {
        let mut tls = tls.clone();
        tls["serverName"] = json!(SERVER);
        json!({"address": self.address, "temporalNamespace": "default", "tls": tls})
    }

    /// Serves a client that has come here another way.
    pub(crate) fn serve(
        &self,
        client: TcpStream,
        peer: IpAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.shared.clone().receive(client, peer)
    }

    /// `host:port` as pods reach it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The number of admitted connections that satisfy `of`.
    pub(crate) fn count(&self, of: impl Fn(&AdmittedClient) -> bool) -> usize {
        let admitted = self
            .shared
            .admitted
            .lock()
            .expect("the lock is not poisoned");
        admitted.iter().filter(|client| of(client)).count()
    }

    /// Switches to this configuration and breaks every open connection.
    pub(crate) fn switch_to(&self, config: Arc<ServerConfig>) {
        *self.shared.tls.lock().expect("the lock is not poisoned") = Some(config);
        self.close();
    }

    fn close(&self) {
        let mut open = self.shared.open.lock().expect("the lock is not poisoned");
        for connection in open.drain(..) {
            connection.abort();
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
        self.close();
    }
}

impl Shared {
    async fn receive(self: Arc<Self>, client: TcpStream, peer: IpAddr) {
        let tls = self.tls.lock().expect("the lock is not poisoned").clone();
        // Errors are dropped: a refused client already has the reason, and either side may
        // disconnect at any time.
        let Some(tls) = tls else {
            drop(self.pass(client).await);
            return;
        };
        let Ok(client) = TlsAcceptor::from(tls).accept(client).await else {
            return;
        };
        let certificates = client.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().map(|first| first.clone().into_owned());
        self.admitted
            .lock()
            .expect("the lock is not poisoned")
            .push(AdmittedClient {
                peer,
                client: certificate,
            });
        match &self.keys {
            None => drop(self.pass(client).await),
            Some(keys) => drop(keys::pass(client, peer, keys, &self.behind).await),
        }
    }

    /// Passes bytes both ways until one side closes.
    async fn pass(
        &self,
        mut client: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    ) -> std::io::Result<()> {
        let mut server = TcpStream::connect(&self.behind).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}
