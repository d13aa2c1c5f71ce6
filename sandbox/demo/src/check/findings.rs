//! Collects the differences between one source and what is expected. Pure.

use std::{collections::BTreeMap, fmt};

use crate::orders::Expected;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Where it was found.
    pub(crate) place: &'static str,
    /// The order, or a SKU where no single order is to blame.
    pub(crate) subject: String,
    /// What is there and what should be.
    pub(crate) what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.subject, self.what)
    }
}

/// Collects what one place has that differs.
pub(super) struct Findings<'a> {
    pub(super) place: &'static str,
    pub(super) found: &'a mut Vec<Mismatch>,
}

impl Findings<'_> {
    pub(super) fn add(&mut self, subject: &str, what: impl Into<String>) {
        self.found.push(Mismatch {
            place: self.place,
            subject: subject.to_owned(),
            what: what.into(),
        });
    }

    /// Adds a finding unless the two are equal.
    pub(super) fn equal<T: Copy + PartialEq + fmt::Display>(
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

    /// Adds the entries that belong to no order of the run.
    pub(super) fn unexpected_orders<T>(
        &mut self,
        by_order: &ByOrder<'_, T>,
        expected: &[Expected],
    ) {
        for order_id in by_order.keys() {
            if !expected.iter().any(|order| order.order_id == *order_id) {
                self.add(order_id, "nobody placed this order");
            }
        }
    }
}

/// Entries of one place by the order that they are about.
pub(super) type ByOrder<'a, T> = BTreeMap<&'a str, Vec<&'a T>>;

pub(super) fn by_order<'a, T>(
    entries: &'a [T],
    order_id: impl Fn(&'a T) -> &'a str,
) -> ByOrder<'a, T> {
    let mut map: ByOrder<'a, T> = BTreeMap::new();
    for entry in entries {
        map.entry(order_id(entry)).or_default().push(entry);
    }
    map
}

/// The entries about one order.
pub(super) fn of<'a, 'b, T>(map: &'b ByOrder<'a, T>, order_id: &str) -> &'b [&'a T] {
    map.get(order_id).map_or(&[], Vec::as_slice)
}
