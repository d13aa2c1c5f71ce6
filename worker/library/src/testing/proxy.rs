//! TLS in front of a server.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Terminates TLS and forwards the rest.
pub struct Proxy {
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Proxy {
    /// Starts a proxy to `target` (host:port).
    pub async fn start(config: Arc<ServerConfig>, target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            config: Arc::new(Mutex::new(config)),
            open: Arc::default(),
        };
        let (config, open) = (proxy.config.clone(), proxy.open.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(config.lock().unwrap().clone());
                let target = target.clone();
                let passing = tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(target).await.unwrap();
                    // Either side may disconnect at any time.
                    let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                open.lock().unwrap().push(passing);
            }
        });
        proxy
    }

    /// Switches to this configuration and breaks all open connections.
    pub fn switch_to(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config;
        for connection in self.open.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}
