//! Sends one mail over SMTP, on pooled connections. Judges a failure by the step at which it
//! occurred: only an answer to the recipient or to the mail itself concerns the recipient, and only
//! a mail that was handed over completely may have been sent.
//!
//! lettre's `AsyncSmtpTransport`, with its pool and its URLs, does not fit. It sends a mail in one
//! call: its error does not say whether the server refused the sender, the recipient or the mail,
//! nor whether the server had the whole mail when it broke off. Its timeout limits the connecting
//! only, and its pool has no limit for a connection that fell silent. So this module uses lettre's
//! `AsyncSmtpConnection`, which has a call for each step.

use std::error::Error as _;
use std::fmt::Display;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter, ServerInfo};
use lettre::{Address, Message};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::relay::{Relay, UrlError};
use super::unsent::Unsent;

/// Time limit for opening a connection, with encryption and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for the answer to the sender, to the recipient, and to the announcement of the text.
/// RFC 5321 recommends more, but giving up here makes no copy: the server has no mail yet.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for one part of the text to be taken by the system.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for the answer to the complete mail (RFC 5321, section 4.5.3.2.6). A server may scan
/// a mail for minutes before it accepts it. A client that gives up earlier sends a copy.
const END_TIMEOUT: Duration = Duration::from_mins(10);
/// Time limit for a kept connection to show that it still answers.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was idle for longer is not used again.
const MAX_IDLE: Duration = Duration::from_mins(1);
/// Size of one part of the text, in bytes.
const PART: usize = 64 * 1024;
/// Maximum number of idle connections to the mail server in one process.
const SMTP_CONNECTIONS: usize = 10;
/// What a mail server did instead of an answer.
const SILENT: &str = "did not answer in time";
const BROKE_OFF: &str = "broke off";

/// Sends over pooled connections. Clones share the pool.
#[derive(Clone)]
pub(super) struct Smtp {
    relay: Arc<Relay>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

/// A connection that waits for its next mail.
struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

/// What an answer of the mail server refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The sender, which is the same for every mail.
    Sender,
    /// The recipient.
    Recipient,
    /// The mail.
    Text,
}

/// Why sending a mail stopped.
enum Stop {
    /// The server refused.
    Answer(Step, Refusal),
    /// The server lacks a needed extension; nothing was sent to it.
    Unable(Unsent),
    /// No complete answer came before the server had the whole mail; what it did instead.
    Broken(&'static str),
    /// No complete answer to the whole mail came; what the server did instead.
    Unconfirmed(&'static str),
}

/// A negative answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    code: u16,
    /// Whether the answer is about permission: an enhanced status code 5.7.Y (RFC 3463; qmail puts
    /// it at the end), or a text that speaks of relaying, from a server without these codes.
    permission: bool,
}

impl Refusal {
    fn new(code: u16, text: &str) -> Self {
        let relaying = text.to_ascii_lowercase().contains("relay");
        Self {
            code,
            permission: text.starts_with("5.7.") || text.contains("#5.7.") || relaying,
        }
    }

    fn of(error: &Error) -> Option<Self> {
        let code = error.status()?.into();
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        Some(Self::new(code, &text))
    }
}

impl Smtp {
    pub(super) fn from_url(url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            relay: Arc::new(Relay::from_url(url)?),
            idle: Arc::default(),
        })
    }

    /// Sends one mail. Sets `handed_over` when the server has the whole mail: from then on it may
    /// send it, whatever it answers. If this future is dropped, its connection is closed and not
    /// used again.
    pub(super) async fn send(
        &self,
        message: &Message,
        handed_over: &AtomicBool,
    ) -> Result<(), Unsent> {
        let mut connection = self.connection().await?;
        let sent = hand_over(&mut connection, message, handed_over).await;
        // After a refusal the connection is still usable. If the server is closing it, the next
        // mail finds out.
        if !matches!(sent, Err(Stop::Broken(_) | Stop::Unconfirmed(_))) {
            self.keep(connection);
        }
        sent.map_err(|stop| match stop {
            Stop::Answer(step, refusal) => judge(step, &refusal),
            Stop::Unable(unsent) => unsent,
            Stop::Broken(what) => Unsent::BrokenOff(format!("the mail server {what}")),
            Stop::Unconfirmed(what) => Unsent::Unconfirmed(format!(
                "the mail server {what} after it had the whole mail"
            )),
        })
    }

    /// Takes an idle connection that still answers, or opens a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Unsent> {
        while let Some(mut kept) = self.take() {
            // Also resets the transaction of a refused mail.
            match timeout(RESET_TIMEOUT, kept.command(Rset)).await {
                Ok(Ok(_)) => return Ok(kept),
                // The server has closed this one.
                Ok(Err(_)) => {}
                // The way to the server is dead, for the others as well.
                Err(_) => self.idle.lock().clear(),
            }
        }
        timeout(CONNECT_TIMEOUT, self.relay.connect())
            .await
            .unwrap_or_else(|_| Err(unavailable(SILENT)))
    }

    /// Takes the connection that was used last, if it may be used again.
    fn take(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock();
        let last = idle.pop()?;
        if last.since.elapsed() <= MAX_IDLE {
            return Some(last.connection);
        }
        // The others are older.
        idle.clear();
        None
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let since = Instant::now();
        let mut idle = self.idle.lock();
        if idle.len() < SMTP_CONNECTIONS {
            idle.push(Idle { connection, since });
        }
    }
}

async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    message: &Message,
    handed_over: &AtomicBool,
) -> Result<(), Stop> {
    let (sender, text) = (message.envelope().from(), message.formatted());
    let recipients = message.envelope().to();
    let parameters =
        parameters(connection.server_info(), sender, recipients, &text).map_err(Stop::Unable)?;
    let mail = Mail::new(sender.cloned(), parameters);
    command(connection, mail, Step::Sender).await?;
    for recipient in recipients {
        let rcpt = Rcpt::new(recipient.clone(), Vec::new());
        command(connection, rcpt, Step::Recipient).await?;
    }
    command(connection, Data, Step::Text).await?;
    send_text(connection, &text, handed_over).await
}

async fn command(
    connection: &mut AsyncSmtpConnection,
    command: impl Display,
    step: Step,
) -> Result<(), Stop> {
    match timeout(COMMAND_TIMEOUT, connection.command(command)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(match Refusal::of(&error) {
            Some(refusal) => Stop::Answer(step, refusal),
            None => Stop::Broken(BROKE_OFF),
        }),
        Err(_) => Err(Stop::Broken(SILENT)),
    }
}

/// Sends the text and its end, and waits for the answer. Each part has a time limit of its own, and
/// so has the answer.
async fn send_text(
    connection: &mut AsyncSmtpConnection,
    text: &[u8],
    handed_over: &AtomicBool,
) -> Result<(), Stop> {
    // lettre asks for the next part when the system has taken the last one.
    let (asked, mut asks) = watch::channel(());
    let mut parts = text.chunks(PART);
    let parts = iter::from_fn(|| {
        let part = parts.next();
        handed_over.store(part.is_none(), Ordering::Relaxed);
        asked.send_replace(());
        part
    });
    let mut sending = std::pin::pin!(connection.message_iter(parts));
    let answer = loop {
        let whole = handed_over.load(Ordering::Relaxed);
        let limit = if whole { END_TIMEOUT } else { PART_TIMEOUT };
        tokio::select! {
            answer = &mut sending => break answer.map(drop).map_err(|error| Refusal::of(&error)),
            // The limit of the next part begins.
            Ok(()) = asks.changed() => {}
            () = tokio::time::sleep(limit) => {
                return Err(if whole { Stop::Unconfirmed(SILENT) } else { Stop::Broken(SILENT) });
            }
        }
    };
    answer.map_err(|refusal| match refusal {
        Some(refusal) => Stop::Answer(Step::Text, refusal),
        None if handed_over.load(Ordering::Relaxed) => Stop::Unconfirmed(BROKE_OFF),
        None => Stop::Broken(BROKE_OFF),
    })
}

/// The parameters that tell the server about non-ASCII addresses or text.
fn parameters(
    server: &ServerInfo,
    sender: Option<&Address>,
    recipients: &[Address],
    text: &[u8],
) -> Result<Vec<MailParameter>, Unsent> {
    let needs_smtputf8 = |address: &Address| !AsRef::<str>::as_ref(address).is_ascii();
    let sender = sender.is_some_and(needs_smtputf8);
    let mut parameters = Vec::new();
    if sender || recipients.iter().any(needs_smtputf8) {
        if server.supports_feature(Extension::SmtpUtfEight) {
            parameters.push(MailParameter::SmtpUtfEight);
        } else if sender {
            return Err(unavailable(
                "does not support SMTPUTF8, which MAIL_FROM needs",
            ));
        } else {
            return Err(refused(
                "does not support SMTPUTF8, which this address needs",
            ));
        }
    }
    if !text.is_ascii() {
        if !server.supports_feature(Extension::EightBitMime) {
            return Err(refused("does not support 8BITMIME, which this mail needs"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

/// Judges a refusal. It concerns the recipient only if it answers the recipient or the mail itself,
/// and not if it asks for a login, denies this client the recipient, or announces that the server
/// is closing (421).
fn judge(step: Step, refusal: &Refusal) -> Unsent {
    match (step, refusal.code) {
        (_, code @ (530 | 534 | 535 | 538)) => unavailable(format!(
            "answered {code}: it rejected the login in SMTP_URL, or requires one"
        )),
        (Step::Sender, code @ 500..) => unavailable(format!(
            "answered {code} to the sender: MAIL_FROM or the login in SMTP_URL may be wrong"
        )),
        (Step::Sender, code) => unavailable(format!("answered {code} to the sender")),
        (_, 421) => unavailable("is shutting down (421)"),
        (Step::Recipient, code @ 500..) if refusal.permission => Unsent::NotAllowed(format!(
            "the mail server of SMTP_URL does not let this worker mail a recipient, because it \
                 does not relay or wants a login: {code}"
        )),
        (_, code @ 500..) => refused(format!("refused the mail with {code}")),
        (_, code) => Unsent::PutOff(format!("the mail server put it off with {code}")),
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
            for step in [Step::Recipient, Step::Text] {
                let judged = judge(step, &Refusal::new(code, "no"));
                prop_assert_eq!(matches!(judged, Unsent::Refused(_)), refused);
                prop_assert_eq!(matches!(judged, Unsent::PutOff(_)), code < 500 && code != 421);
            }
            let sender = judge(Step::Sender, &Refusal::new(code, "no"));
            prop_assert!(matches!(sender, Unsent::Unavailable(_)));
            // The message names the setting to fix.
            let sender = sender.to_string();
            prop_assert_eq!(sender.contains("SMTP_URL"), code >= 500);
            prop_assert_eq!(sender.contains("MAIL_FROM"), refused);
        }
    }

    /// The answers of Postfix, Exchange, Sendmail, qmail and Exim that deny relaying, and answers
    /// that refuse the recipient.
    #[test]
    fn a_denied_relay_is_distinguished_from_an_unknown_recipient() {
        for (code, text, not_allowed) in [
            (554, "5.7.1 <a@b.test>: Relay access denied", true),
            (
                550,
                "5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
                true,
            ),
            (550, "5.7.1 Relaying denied", true),
            (
                553,
                "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
                true,
            ),
            (550, "relay not permitted", true),
            (550, "5.7.133 sender not authenticated for group", true),
            (
                550,
                "5.1.1 <a@b.test>: Recipient address rejected: User unknown",
                false,
            ),
            (550, "5.7", false),
            (550, "", false),
            (550, "no such mailbox 1.7.1", false),
        ] {
            let refusal = Refusal::new(code, text);
            let recipient = judge(Step::Recipient, &refusal);
            assert_eq!(
                matches!(recipient, Unsent::NotAllowed(_)),
                not_allowed,
                "{text}"
            );
            // To the text, such codes are about the mail: it looks like spam.
            let text = judge(Step::Text, &refusal);
            assert!(matches!(text, Unsent::Refused(_)), "{text}");
        }
    }
}
