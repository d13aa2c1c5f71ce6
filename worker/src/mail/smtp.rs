//! Sends one mail over SMTP, on pooled connections. Judges a failure by the step at which it
//! occurred: only an answer to the recipient or to the mail itself concerns the recipient.
//!
//! lettre's `AsyncSmtpTransport` does not fit: it sends a mail in one call, and its error does not
//! say whether the server refused the sender, the recipient or the mail.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter, ServerInfo};
use lettre::{Address, Message};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::relay::{Relay, UrlError};
use super::unsent::Unsent;

/// Time limit for one mail, and for getting a connection for it.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of idle connections to the mail server in one process.
const SMTP_CONNECTIONS: usize = 10;

/// Sends over pooled connections. Clones share the pool.
#[derive(Clone)]
pub(super) struct Smtp {
    relay: Arc<Relay>,
    idle: Arc<Mutex<Vec<AsyncSmtpConnection>>>,
}

/// What an answer of the mail server refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The sender, which is the same for every mail.
    Sender,
    /// The recipient, or the mail to it.
    Recipient,
}

/// Why sending a mail stopped.
enum Stop {
    /// The server refused with this code.
    Answer(Step, u16),
    /// The server lacks a needed extension; nothing was sent to it.
    Unable(Unsent),
    /// No complete answer came; what the server did instead.
    Broken(&'static str),
}

impl Smtp {
    pub(super) fn from_url(url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            relay: Arc::new(Relay::from_url(url)?),
            idle: Arc::default(),
        })
    }

    /// Sends one mail. If this future is dropped, its connection is closed and not used again.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Unsent> {
        let mut connection = timeout(MAIL_TIMEOUT, self.connection())
            .await
            .unwrap_or_else(|_| Err(unavailable("did not answer in time")))?;
        let silent = Stop::Broken("did not answer in time");
        let sent = timeout(MAIL_TIMEOUT, hand_over(&mut connection, message))
            .await
            .unwrap_or(Err(silent));
        // After a refusal the connection is still usable. If the server is closing it, the next
        // mail finds out.
        if !matches!(sent, Err(Stop::Broken(_))) {
            self.keep(connection);
        }
        sent.map_err(|stop| match stop {
            Stop::Answer(step, code) => judge(step, code),
            Stop::Unable(unsent) => unsent,
            Stop::Broken(what) => Unsent::BrokenOff(format!("the mail server {what}")),
        })
    }

    /// Takes an idle connection that still answers, or opens a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Unsent> {
        while let Some(mut kept) = self.take() {
            // Also resets the transaction of a refused mail.
            if kept.command(Rset).await.is_ok() {
                return Ok(kept);
            }
        }
        self.relay.connect().await
    }

    fn take(&self) -> Option<AsyncSmtpConnection> {
        self.idle.lock().pop()
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < SMTP_CONNECTIONS {
            idle.push(connection);
        }
    }
}

async fn hand_over(connection: &mut AsyncSmtpConnection, message: &Message) -> Result<(), Stop> {
    let stopped_at = |step: Step| {
        move |error: Error| match error.status() {
            Some(code) => Stop::Answer(step, code.into()),
            None => Stop::Broken("broke off"),
        }
    };
    let (sender, text) = (message.envelope().from(), message.formatted());
    let recipients = message.envelope().to();
    let parameters =
        parameters(connection.server_info(), sender, recipients, &text).map_err(Stop::Unable)?;
    let mail = Mail::new(sender.cloned(), parameters);
    connection
        .command(mail)
        .await
        .map_err(stopped_at(Step::Sender))?;
    for recipient in recipients {
        let rcpt = Rcpt::new(recipient.clone(), Vec::new());
        connection
            .command(rcpt)
            .await
            .map_err(stopped_at(Step::Recipient))?;
    }
    connection
        .command(Data)
        .await
        .map_err(stopped_at(Step::Recipient))?;
    connection
        .message(&text)
        .await
        .map_err(stopped_at(Step::Recipient))?;
    Ok(())
}

/// The parameters that tell the server about non-ASCII addresses or text.
fn parameters(
    server: &ServerInfo,
    sender: Option<&Address>,
    recipients: &[Address],
    text: &[u8],
) -> Result<Vec<MailParameter>, Unsent> {
    let other_script = |address: &Address| !AsRef::<str>::as_ref(address).is_ascii();
    let sender = sender.is_some_and(other_script);
    let mut parameters = Vec::new();
    if sender || recipients.iter().any(other_script) {
        if server.supports_feature(Extension::SmtpUtfEight) {
            parameters.push(MailParameter::SmtpUtfEight);
        } else if sender {
            return Err(unavailable("cannot take the script of MAIL_FROM"));
        } else {
            return Err(refused("cannot take the script of this address"));
        }
    }
    if !text.is_ascii() {
        if !server.supports_feature(Extension::EightBitMime) {
            return Err(refused("cannot take this mail: it has no 8BITMIME"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

/// Judges a refusal. It concerns the recipient only if it answers the recipient or the mail itself,
/// and not if it asks for a login or announces that the server is closing (421).
fn judge(step: Step, code: u16) -> Unsent {
    match (step, code) {
        (_, 530 | 534 | 535 | 538) => {
            unavailable(format!("wants another login than SMTP_URL has: {code}"))
        }
        (Step::Sender, 500..) => unavailable(format!(
            "answered {code} to the sender: MAIL_FROM or the login in SMTP_URL may be wrong"
        )),
        (Step::Sender, _) => unavailable(format!("answered {code} to the sender")),
        (Step::Recipient, 421) => unavailable("goes away: 421"),
        (Step::Recipient, 500..) => refused(format!("refused the mail with {code}")),
        (Step::Recipient, _) => Unsent::PutOff(format!("the mail server put it off with {code}")),
    }
}

fn unavailable(what: impl Display) -> Unsent {
    Unsent::Unavailable(format!("the mail server {what}"))
}

fn refused(what: impl Display) -> Unsent {
    Unsent::Refused(format!("the mail server {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_an_answer_to_the_recipient_is_about_the_recipient(code in 400_u16..600) {
            let about_login = [530, 534, 535, 538].contains(&code);
            let refused = code >= 500 && !about_login;
            let recipient = judge(Step::Recipient, code);
            prop_assert_eq!(matches!(recipient, Unsent::Refused(_)), refused);
            prop_assert_eq!(matches!(recipient, Unsent::PutOff(_)), code < 500 && code != 421);
            let sender = judge(Step::Sender, code);
            prop_assert!(matches!(sender, Unsent::Unavailable(_)));
            // The message names the setting to fix.
            let sender = sender.to_string();
            prop_assert_eq!(sender.contains("SMTP_URL"), code >= 500);
            prop_assert_eq!(sender.contains("MAIL_FROM"), refused);
        }
    }
}
