//! A connection to a server that falls silent, as when a node loses power: nothing is closed and
//! nothing is answered.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A connection that can fall silent.
pub struct Line {
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    silence: Arc<Mutex<CancellationToken>>,
}

impl Line {
    /// Starts a proxy to `target` (host:port).
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            silence: Arc::default(),
        };
        let silence = line.silence.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let silent = silence.lock().unwrap().clone();
                tokio::spawn(carry(client, target.clone(), silent));
            }
        });
        line
    }

    /// Silences all connections.
    pub fn cut(&self) {
        self.silence.lock().unwrap().cancel();
    }

    /// Lets new connections work again. Earlier ones stay silent.
    pub fn mend(&self) {
        *self.silence.lock().unwrap() = CancellationToken::new();
    }
}

async fn carry(mut client: TcpStream, target: String, silent: CancellationToken) {
    {
        // The connection to the server is closed, so that the server sends nothing into it.
        let mut server = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            biased;
            () = silent.cancelled() => {}
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        }
    }
    std::future::pending::<()>().await;
}
