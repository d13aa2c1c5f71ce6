//! Compares what had to become of the orders with what was read back. Pure. Each place is checked by itself, order by
//! order; what differs is named with the order.

mod database;
mod ledger;
mod mails;
mod temporal;
#[cfg(test)]
pub(super) mod tests;

use std::{collections::BTreeMap, fmt};

use crate::{orders::Expected, readings::Readings};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Where it was found.
    pub(super) place: &'static str,
    /// The order, or a SKU where no single order is to blame.
    pub(super) subject: String,
    /// What is there and what should be.
    pub(super) what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.subject, self.what)
    }
}

/// Every difference between what was expected and what was read back.
pub(super) fn check(expected: &[Expected], readings: &Readings) -> Vec<Mismatch> {
    let places = [
        ("gateway's ledger", ledger::check as Check),
        ("database", database::check),
        ("mail server", mails::check),
        ("Temporal", temporal::check),
    ];
    let mut mismatches = Vec::new();
    for (place, check) in places {
        let mut found = Findings {
            place,
            found: &mut mismatches,
        };
        check(expected, readings, &mut found);
    }
    mismatches
}

type Check = fn(&[Expected], &Readings, &mut Findings<'_>);

/// Collects what one place has that differs.
struct Findings<'a> {
    place: &'static str,
    found: &'a mut Vec<Mismatch>,
}

impl Findings<'_> {
    fn add(&mut self, subject: &str, what: impl Into<String>) {
        self.found.push(Mismatch {
            place: self.place,
            subject: subject.to_owned(),
            what: what.into(),
        });
    }

    /// Adds a finding unless the two are equal.
    fn equal<T: Copy + PartialEq + fmt::Display>(
        &mut self,
        subject: &str,
        what: &str,
        is: T,
        should: T,
    ) {
        if is != should {
            self.add(subject, format!("{what} is {is} and should be {should}"));
        }
    }

    /// What belongs to no order of the run.
    fn strangers<T>(&mut self, by_order: &ByOrder<'_, T>, expected: &[Expected]) {
        for order_id in by_order.keys() {
            if !expected.iter().any(|order| order.order_id == *order_id) {
                self.add(order_id, "nobody placed this order");
            }
        }
    }
}

/// Entries of one place by the order that they are about.
type ByOrder<'a, T> = BTreeMap<&'a str, Vec<&'a T>>;

fn by_order<'a, T>(entries: &'a [T], order_id: impl Fn(&'a T) -> &'a str) -> ByOrder<'a, T> {
    let mut map: ByOrder<'a, T> = BTreeMap::new();
    for entry in entries {
        map.entry(order_id(entry)).or_default().push(entry);
    }
    map
}

/// The entries about one order.
fn of<'a, 'b, T>(map: &'b ByOrder<'a, T>, order_id: &str) -> &'b [&'a T] {
    map.get(order_id).map_or(&[], Vec::as_slice)
}
