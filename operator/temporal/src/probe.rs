//! Finds out which protocol a server speaks after connecting to it failed: sends a TLS ClientHello
//! and looks at the first bytes of the answer. Opens one socket, through the proxy if there is one,
//! within a deadline; trusts no certificate and sends the server no credential.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::connection::ResolvedConnection;
use crate::tunnel;

/// A server that was reachable a moment ago answers a ClientHello at once, or not at all.
const DEADLINE: Duration = Duration::from_secs(2);

/// The protocol that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// TLS: it answers the ClientHello, if only to refuse it.
    Tls,
    /// HTTP/1 in plaintext.
    Http1,
    /// HTTP/2 in plaintext, as gRPC does.
    Http2,
    /// It closes the connection, or answers with something unknown.
    Nothing,
}

/// The protocol that the server of a connection speaks.
pub(crate) async fn speaks(to: &ResolvedConnection) -> Speaks {
    let answer = tokio::time::timeout(DEADLINE, greet(to)).await;
    answer
        .ok()
        .flatten()
        .map_or(Speaks::Nothing, |answer| of(&answer))
}

/// The first bytes of the server's answer to a TLS ClientHello.
async fn greet(to: &ResolvedConnection) -> Option<Vec<u8>> {
    let mut greeting = Vec::new();
    client(to.address())?.write_tls(&mut greeting).ok()?;
    let mut stream = tunnel::connect(to).await.ok()?;
    stream.write_all(&greeting).await.ok()?;
    let mut answer = Vec::new();
    // The type of an HTTP/2 frame is its fourth byte.
    while answer.len() < 5 {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            break;
        }
    }
    Some(answer)
}

fn client(address: &str) -> Option<ClientConnection> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols.push(b"h2".to_vec());
    ClientConnection::new(Arc::new(config), ServerName::try_from(host).ok()?).ok()
}

fn of(answer: &[u8]) -> Speaks {
    /// TLS record types: alert and handshake.
    const RECORDS: [u8; 2] = [21, 22];
    /// The type of the first HTTP/2 frame.
    const SETTINGS: u8 = 4;
    match answer {
        [record, 3, ..] if RECORDS.contains(record) => Speaks::Tls,
        [b'H', b'T', b'T', b'P', ..] => Speaks::Http1,
        [0, _, _, SETTINGS, ..] => Speaks::Http2,
        _ => Speaks::Nothing,
    }
}
