//! The mail server: each recipient of a paid order has exactly one mail, and nobody else has any.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    check::findings::{Findings, by_order, of},
    orders::{Expected, Outcome},
    readings::{Mail, Readings},
};

pub(super) fn check(expected: &[Expected], readings: &Readings, found: &mut Findings<'_>) {
    let mails = by_order(&readings.mails, |mail: &Mail| &mail.order_id);
    found.unexpected_orders(&mails, expected);
    for order in expected {
        let id = &order.order_id;
        let mut by_recipient: BTreeMap<&str, usize> = BTreeMap::new();
        for mail in of(&mails, id) {
            *by_recipient.entry(&mail.recipient).or_default() += 1;
            // A subject beyond ASCII travels encoded and is not compared.
            if order.subject.is_ascii() && mail.subject != order.subject {
                found.add(
                    id,
                    format!(
                        "the mail to {} has the subject {:?}",
                        mail.recipient, mail.subject
                    ),
                );
            }
        }
        let recipients: &[String] = if order.outcome == Outcome::Paid {
            &order.recipients
        } else {
            &[]
        };
        let should: BTreeSet<&str> = recipients.iter().map(String::as_str).collect();
        for recipient in should.union(&by_recipient.keys().copied().collect()) {
            let count = by_recipient.get(recipient).copied().unwrap_or(0);
            let what = format!("the number of mails to {recipient}");
            found.equal(id, &what, count, usize::from(should.contains(recipient)));
        }
    }
}
