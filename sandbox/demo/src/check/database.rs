//! The database: the state of each order, its payment, its reservation, its mails, and the stock as
//! a whole. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    check::findings::{Findings, by_order, of},
    orders::{Expected, Outcome, Pieces},
    readings::{Database, Readings},
};

pub(super) fn check(expected: &[Expected], readings: &Readings, found: &mut Findings<'_>) {
    let database = &readings.database;
    orders(expected, database, found);
    payments(expected, readings, found);
    reservations(expected, database, found);
    mails(expected, database, found);
    stock(expected, readings, found);
}

fn orders(expected: &[Expected], database: &Database, found: &mut Findings<'_>) {
    let rows = by_order(&database.orders, |row| &row.order_id);
    found.unexpected_orders(&rows, expected);
    for order in expected {
        let id = &order.order_id;
        let [row] = of(&rows, id) else {
            found.add(id, "has no row, or several");
            continue;
        };
        let (state, reason) = match order.outcome {
            Outcome::Paid => ("paid", ""),
            Outcome::Declined => ("cancelled", "PaymentDeclined"),
            Outcome::OutOfStock => ("cancelled", "OutOfStock"),
            Outcome::Cancelled => ("cancelled", "CancelledByCustomer"),
            Outcome::Failed => ("cancelled", "PaymentUnavailable"),
        };
        found.equal(id, "its state", row.state.as_str(), state);
        let unknown = order.outcome == Outcome::OutOfStock && row.reason == "UnknownSku";
        if !unknown {
            found.equal(id, "its reason", row.reason.as_str(), reason);
        }
        // An order that was cancelled before it was written down has neither.
        let never_written = order.outcome == Outcome::Cancelled && row.total == 0;
        if !never_written {
            found.equal(id, "its total", row.total, order.total);
            found.equal(id, "its currency", row.currency.as_str(), &order.currency);
        }
    }
}

fn payments(expected: &[Expected], readings: &Readings, found: &mut Findings<'_>) {
    let rows = by_order(&readings.database.payments, |row| &row.order_id);
    let charge_ids: BTreeMap<&str, &str> = readings
        .ledger
        .iter()
        .filter_map(|charge| Some((charge.order_id.as_str(), charge.charge_id.as_deref()?)))
        .collect();
    for order in expected {
        let id = &order.order_id;
        let state = match order.outcome {
            Outcome::Paid => "charged",
            Outcome::Declined => "declined",
            Outcome::Failed => "voided",
            Outcome::OutOfStock | Outcome::Cancelled => "",
        };
        match of(&rows, id) {
            [] => found.equal(id, "its payment", "", state),
            [row] => {
                found.equal(id, "its payment", row.state.as_str(), state);
                if order.outcome == Outcome::Paid {
                    found.equal(id, "its paid amount", row.amount, order.total);
                    found.equal(
                        id,
                        "its paid currency",
                        row.currency.as_str(),
                        &order.currency,
                    );
                    let charge = charge_ids.get(id.as_str()).copied().unwrap_or("");
                    found.equal(id, "its charge", row.charge_id.as_str(), charge);
                }
            }
            several => found.add(id, format!("has {} payments", several.len())),
        }
    }
}

fn reservations(expected: &[Expected], database: &Database, found: &mut Findings<'_>) {
    let rows = by_order(&database.reservations, |row| &row.order_id);
    for order in expected {
        let id = &order.order_id;
        let reserved: Vec<_> = of(&rows, id)
            .iter()
            .filter(|row| row.state == "reserved")
            .collect();
        match (order.outcome, reserved.as_slice()) {
            (Outcome::Paid, [row]) if row.items == order.items => {}
            (Outcome::Paid, [row]) => found.add(
                id,
                format!(
                    "reserved {} instead of {}",
                    pieces(&row.items),
                    pieces(&order.items)
                ),
            ),
            (Outcome::Paid, _) => found.add(id, "is paid and has nothing reserved"),
            (_, []) => {}
            (_, [row, ..]) => found.add(
                id,
                format!("holds {} although it was not paid", pieces(&row.items)),
            ),
        }
    }
}

fn mails(expected: &[Expected], database: &Database, found: &mut Findings<'_>) {
    let rows = by_order(&database.mails, |row| &row.order_id);
    for order in expected {
        let should: BTreeSet<&str> = match order.outcome {
            Outcome::Paid => order.recipients.iter().map(String::as_str).collect(),
            _ => BTreeSet::new(),
        };
        let rows = of(&rows, &order.order_id);
        for row in rows.iter().filter(|row| row.state != "sent") {
            found.add(
                &order.order_id,
                format!("the mail to {} was {}", row.recipient, row.state),
            );
        }
        let recorded: BTreeSet<&str> = rows.iter().map(|row| row.recipient.as_str()).collect();
        for missing in should.difference(&recorded) {
            found.add(&order.order_id, format!("no mail to {missing} is recorded"));
        }
        for surplus in recorded.difference(&should) {
            found.add(&order.order_id, format!("a mail to {surplus} is recorded"));
        }
    }
}

/// The stock fell by exactly what the paid orders took.
fn stock(expected: &[Expected], readings: &Readings, found: &mut Findings<'_>) {
    let mut sold = Pieces::new();
    for order in expected
        .iter()
        .filter(|order| order.outcome == Outcome::Paid)
    {
        for (sku, quantity) in &order.items {
            *sold.entry(sku.clone()).or_default() += quantity;
        }
    }
    let before = &readings.stock_before;
    let after = &readings.database.stock;
    let skus: BTreeSet<&String> = before
        .keys()
        .chain(after.keys())
        .chain(sold.keys())
        .collect();
    for sku in skus {
        let left = |stock: &Pieces| stock.get(sku).copied().unwrap_or(0);
        let taken = left(before) - left(after);
        if taken != left(&sold) {
            found.add(
                &format!("stock of {sku}"),
                format!(
                    "{taken} pieces are gone, but {} were sold (orders placed by hand during the \
                     demo cause this)",
                    left(&sold)
                ),
            );
        }
    }
}

fn pieces(items: &Pieces) -> String {
    if items.is_empty() {
        return "nothing".into();
    }
    let parts: Vec<String> = items
        .iter()
        .map(|(sku, quantity)| format!("{quantity} {sku}"))
        .collect();
    parts.join(", ")
}
