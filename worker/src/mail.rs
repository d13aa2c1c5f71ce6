//! Sends one mail: over SMTP, or to the log for a laptop without a mail server. Knows nothing of
//! orders; keeps no record.

mod plain;

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use plain::PlainSmtp;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, FailureType};

/// Longest wait for one answer of the mail server.
const SMTP_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one whole mail.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to the mail server that one process keeps.
const SMTP_CONNECTIONS: u32 = 10;
/// The value of `SMTP_URL` that means the log.
pub const CONSOLE: &str = "console:";

/// A way to send mails. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    from: Mailbox,
    transport: Transport,
}

#[derive(Clone)]
enum Transport {
    Plain(PlainSmtp),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Console,
}

impl Mailer {
    /// A mailer from `SMTP_URL` and `MAIL_FROM`. Does not connect yet.
    pub fn new(url: &str, from: Mailbox) -> Result<Self, lettre::transport::smtp::Error> {
        if url == CONSOLE {
            return Ok(Self {
                from,
                transport: Transport::Console,
            });
        }
        if let Some(plain) = PlainSmtp::from_url(url) {
            return Ok(Self {
                from,
                transport: Transport::Plain(plain),
            });
        }
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?
            .timeout(Some(SMTP_TIMEOUT))
            .pool_config(PoolConfig::new().max_size(SMTP_CONNECTIONS))
            .build();
        Ok(Self {
            from,
            transport: Transport::Smtp(smtp),
        })
    }

    /// Sends one mail. `MailRefused` means that this recipient (or this mail) is refused for good,
    /// `MailUnavailable` that a later try may succeed.
    pub async fn send(
        &self,
        message_id: &str,
        recipient: &str,
        subject: &str,
        body: &str,
    ) -> Result<(), Failure> {
        let to: Mailbox = recipient
            .parse()
            .map_err(|_| Failure::new(FailureType::MailRefused, "the address is not valid"))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .message_id(Some(message_id.to_owned()))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .map_err(|_| Failure::new(FailureType::MailRefused, "the mail cannot be written"))?;
        match &self.transport {
            Transport::Console => {
                tracing::info!(to = recipient, message_id, subject, "mail (console)");
                Ok(())
            }
            Transport::Plain(plain) => {
                let sent = tokio::time::timeout(MAIL_TIMEOUT, plain.send(&message)).await;
                sent.unwrap_or_else(|_| Err(too_late()))
            }
            Transport::Smtp(smtp) => {
                let sent = smtp.send(message).await;
                sent.map(|_| ()).map_err(|error| classify(&error))
            }
        }
    }
}

fn too_late() -> Failure {
    Failure::new(
        FailureType::MailUnavailable,
        "the mail server did not answer in time",
    )
}

/// A 5xx about this mail is final; everything else (4xx, no connection, timeout, a server that
/// wants a login) may pass.
fn classify(error: &lettre::transport::smtp::Error) -> Failure {
    let code = error.status().map(|code| code.to_string());
    match code {
        // 530 and 535 are about the login, 552 and 554 also come when a server is full or busy,
        // but they are final by the standard.
        Some(code)
            if error.is_permanent() && !matches!(code.as_str(), "530" | "534" | "535" | "538") =>
        {
            Failure::new(
                FailureType::MailRefused,
                format!("the mail server refused the mail with {code}"),
            )
        }
        Some(code) => Failure::new(
            FailureType::MailUnavailable,
            format!("the mail server answered {code}"),
        ),
        None if error.is_timeout() => too_late(),
        // Such as an address in a script that the server cannot take.
        None if error.is_client() => Failure::new(
            FailureType::MailRefused,
            "the mail server cannot take this mail",
        ),
        None => Failure::new(
            FailureType::MailUnavailable,
            "the mail server cannot be reached",
        ),
    }
}

/// The Message-ID of an order's mail to one recipient: the same at every attempt, so that a mail
/// program shows a mail that had to be sent again only once. Does not reveal the address.
pub fn message_id(order_id: &str, recipient: &str) -> String {
    let digest = Sha256::digest(format!("{order_id}\0{recipient}"));
    let short = u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ]);
    format!("<{order_id}.{short:016x}@order-worker>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_stable_and_differs_by_order_and_recipient() {
        let id = message_id("o-1", "a@example.com");
        assert_eq!(id, message_id("o-1", "a@example.com"));
        assert_ne!(id, message_id("o-1", "b@example.com"));
        assert_ne!(id, message_id("o-2", "a@example.com"));
        assert!(id.starts_with("<o-1.") && id.ends_with("@order-worker>"));
    }
}
