//! SMTP without TLS and login over connections of our own. lettre's own transport leaves Nagle's
//! algorithm on and writes the end of a mail separately, so that every mail waits 40 ms for the
//! receiver's delayed acknowledgement. Opens sockets; the protocol itself is lettre's.

use std::sync::{Arc, Mutex, PoisonError};

use lettre::Message;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use reqwest::Url;
use tokio::net::TcpStream;

use super::{SMTP_CONNECTIONS, classify};
use crate::failure::{Failure, FailureType};

/// The port of `smtp://host` without one.
const DEFAULT_PORT: u16 = 25;

/// Sends over a few connections that are kept. Clones share them.
#[derive(Clone)]
pub(super) struct PlainSmtp {
    host: Arc<str>,
    port: u16,
    idle: Arc<Mutex<Vec<AsyncSmtpConnection>>>,
}

impl PlainSmtp {
    /// For `smtp://host[:port]`; `None` for every other URL (TLS, a login, parameters).
    pub(super) fn from_url(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let plain = url.scheme() == "smtp"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && matches!(url.path(), "" | "/");
        plain.then_some(())?;
        Some(Self {
            host: url.host_str()?.trim_matches(['[', ']']).into(),
            port: url.port().unwrap_or(DEFAULT_PORT),
            idle: Arc::default(),
        })
    }

    /// Sends one mail. If this is cut off, the connection is closed and never used again.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Failure> {
        let mut connection = self.connection().await?;
        let sent = connection
            .send(message.envelope(), &message.formatted())
            .await;
        match sent {
            Ok(_) => {
                self.keep(connection);
                Ok(())
            }
            Err(error) => {
                let failure = classify(&error);
                // lettre has already said goodbye to a server that refused; what is left is
                // closed by dropping it.
                drop(connection);
                Err(failure)
            }
        }
    }

    /// A kept connection that still answers, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Failure> {
        while let Some(mut kept) = self.take() {
            if kept.test_connected().await {
                return Ok(kept);
            }
        }
        let unreachable = |_| {
            Failure::new(
                FailureType::MailUnavailable,
                "the mail server cannot be reached",
            )
        };
        let stream = TcpStream::connect((&*self.host, self.port))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &ClientId::default())
            .await
            .map_err(|error| classify(&error))
    }

    fn take(&self) -> Option<AsyncSmtpConnection> {
        // A poisoned list still holds whole connections.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SMTP_CONNECTIONS as usize {
            idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_address_is_taken() {
        let taken = |url: &str| PlainSmtp::from_url(url).map(|p| (p.host.to_string(), p.port));
        assert_eq!(taken("smtp://mail:2525"), Some(("mail".to_owned(), 2525)));
        assert_eq!(taken("smtp://[::1]"), Some(("::1".to_owned(), 25)));
        for other in [
            "smtps://mail",
            "smtp://user:pass@mail",
            "smtp://mail?tls=required",
            "smtp://mail/ehlo-name",
        ] {
            assert_eq!(taken(other), None, "{other}");
        }
    }
}
