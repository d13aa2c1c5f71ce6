//! The ledger: an accepted order is charged exactly once with the right amount, any other not at
//! all. Pure.

use crate::{
    check::findings::{Findings, by_order, of},
    orders::{Expected, Outcome},
    readings::{LedgerEntry, Readings},
};

pub(super) fn check(expected: &[Expected], readings: &Readings, found: &mut Findings<'_>) {
    let charges = by_order(&readings.ledger, order_of);
    found.unexpected_orders(&charges, expected);
    for order in expected {
        let charges = of(&charges, &order.order_id);
        let status = match order.outcome {
            Outcome::Paid => Some("charged"),
            Outcome::Declined => Some("declined"),
            Outcome::Failed => Some("voided"),
            Outcome::OutOfStock | Outcome::Cancelled => None,
        };
        check_charged(order, charges, found);
        match (charges, status) {
            ([], Some(status)) => {
                found.add(
                    &order.order_id,
                    format!("is missing and should be {status}"),
                );
            }
            ([only], Some(status)) => {
                found.equal(&order.order_id, "its status", only.status.as_str(), status);
            }
            ([], None) => {}
            (several, _) => {
                let should = usize::from(status.is_some());
                found.equal(
                    &order.order_id,
                    "the number of its keys",
                    several.len(),
                    should,
                );
            }
        }
    }
}

fn check_charged(order: &Expected, charges: &[&LedgerEntry], found: &mut Findings<'_>) {
    let paid: Vec<&&LedgerEntry> = charges
        .iter()
        .filter(|charge| charge.status == "charged")
        .collect();
    let should = usize::from(order.outcome == Outcome::Paid);
    found.equal(
        &order.order_id,
        "the number of its charges",
        paid.len(),
        should,
    );
    for charge in paid {
        found.equal(
            &order.order_id,
            "the charged amount",
            charge.amount,
            order.total,
        );
        let (is, should) = (charge.currency.as_str(), order.currency.as_str());
        found.equal(&order.order_id, "the charged currency", is, should);
    }
}

/// The order of a key; a key that was voided before anything was tried only names it in itself.
fn order_of(charge: &LedgerEntry) -> &str {
    if !charge.order_id.is_empty() {
        return &charge.order_id;
    }
    let key = charge.key.as_str();
    key.strip_prefix("order-")
        .and_then(|key| key.strip_suffix("-charge"))
        .unwrap_or(key)
}
