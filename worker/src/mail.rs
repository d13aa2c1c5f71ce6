//! Sends one mail: over SMTP, or to the log on a laptop without a mail server. Knows nothing about
//! orders and keeps no record.

mod relay;
mod smtp;
mod unsent;

use std::sync::atomic::{AtomicBool, Ordering};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use sha2::{Digest, Sha256};
use smtp::Smtp;

pub use relay::UrlError;
pub use unsent::Unsent;

/// The value of `SMTP_URL` that writes mails to the log.
pub const CONSOLE: &str = "console:";

/// Sends mails. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    from: Mailbox,
    transport: Transport,
}

#[derive(Clone)]
enum Transport {
    Smtp(Smtp),
    Console,
}

impl Mailer {
    /// Creates a mailer from `SMTP_URL` and `MAIL_FROM`. Does not connect yet.
    pub fn new(url: &str, from: Mailbox) -> Result<Self, UrlError> {
        let transport = if url == CONSOLE {
            Transport::Console
        } else {
            Transport::Smtp(Smtp::from_url(url)?)
        };
        Ok(Self { from, transport })
    }

    /// Sends one mail. Sets `handed_over` when the mail server has the whole mail: from then on it
    /// may send it, whatever it answers.
    pub async fn send(
        &self,
        message_id: &str,
        recipient: &str,
        subject: &str,
        body: &str,
        handed_over: &AtomicBool,
    ) -> Result<(), Unsent> {
        let to: Mailbox = recipient
            .parse()
            .map_err(|_| Unsent::Refused("the address is not valid".to_owned()))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .message_id(Some(message_id.to_owned()))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .map_err(|_| Unsent::Refused("the mail cannot be written".to_owned()))?;
        match &self.transport {
            Transport::Console => {
                tracing::info!(to = recipient, message_id, subject, "mail (console)");
                handed_over.store(true, Ordering::Relaxed);
                Ok(())
            }
            Transport::Smtp(smtp) => smtp.send(&message, handed_over).await,
        }
    }
}

/// The Message-ID of an order's mail to one recipient. It is the same for every attempt, so that a
/// mail program shows a mail that was sent twice only once. Does not reveal the address.
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
