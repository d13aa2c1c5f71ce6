//! A mail in the mail server's Maildir. Pure: the file's text is passed in.

/// What matters of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// The order, from the Message-ID.
    pub(crate) order_id: String,
    /// The envelope recipient; from `To` where the mail server recorded none.
    pub(crate) recipient: String,
    pub(crate) subject: String,
    /// `<ORDER.HASH@order-worker>`, the same at every attempt.
    pub(crate) message_id: String,
}

/// A mail of this run; `None` for any other mail.
pub(crate) fn mail(text: &str, run: &str) -> Option<Mail> {
    let headers = headers(text);
    let get = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    let message_id = get("Message-ID")?;
    let (local, _) = message_id.strip_prefix('<')?.split_once('@')?;
    let (order_id, _hash) = local.rsplit_once('.')?;
    if !order_id.starts_with(&format!("{run}-")) {
        return None;
    }
    let recipient = get("X-RcptTo").or_else(|| get("To")).unwrap_or_default();
    Some(Mail {
        order_id: order_id.to_owned(),
        recipient: recipient.trim_matches(['<', '>']).to_owned(),
        subject: get("Subject").unwrap_or_default().to_owned(),
        message_id: message_id.to_owned(),
    })
}

/// The headers, with lines that were folded put together again.
fn headers(text: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            headers.push((key.to_owned(), value.trim().to_owned()));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From: orders@example.com\r\nTo: other@example.com\r\nMessage-ID: \
                        <r1-7.0a1b@order-worker>\r\nSubject: Thank you for\r\n your \
                        order\r\nX-RcptTo: a@example.com\r\n\r\nMessage-ID: \
                        <r1-8.x@order-worker>\r\n";

    #[test]
    fn a_mail_is_identified_by_its_message_id_and_its_delivery_address() {
        assert_eq!(
            mail(MAIL, "r1"),
            Some(Mail {
                order_id: "r1-7".into(),
                recipient: "a@example.com".into(),
                subject: "Thank you for your order".into(),
                message_id: "<r1-7.0a1b@order-worker>".into(),
            })
        );
    }

    #[test]
    fn mails_of_other_runs_or_senders_are_ignored() {
        assert_eq!(mail(MAIL, "r"), None);
        assert_eq!(mail(MAIL, "r2"), None);
        assert_eq!(mail("Subject: hello\n\nr1-7", "r1"), None);
        assert_eq!(mail("Message-ID: <1@example.com>\n\n", "r1"), None);
    }
}
