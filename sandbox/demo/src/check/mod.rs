//! Compares the expected outcome of every order with what was read back. Pure. Each source is
//! checked by itself, order by order; every difference names its order.

mod database;
mod findings;
mod ledger;
mod mails;
mod temporal;
#[cfg(test)]
pub(super) mod tests;

use crate::{
    check::findings::{Findings, Mismatch},
    orders::Expected,
    readings::Readings,
};

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
