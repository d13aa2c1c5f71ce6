//! Temporal: each order is one workflow, closed, with the right result. Pure.

use crate::{
    check::findings::{Findings, by_order, of},
    orders::{Expected, Outcome},
    readings::{Ended, Execution, Readings},
};

pub(super) fn check(expected: &[Expected], readings: &Readings, found: &mut Findings<'_>) {
    let executions = by_order(&readings.executions, |execution: &Execution| {
        execution
            .workflow_id
            .strip_prefix("order-")
            .unwrap_or(&execution.workflow_id)
    });
    found.unexpected_orders(&executions, expected);
    for order in expected {
        let id = &order.order_id;
        match of(&executions, id) {
            [only] => check_end(order, &only.ended, readings, found),
            [] => found.add(id, "has no workflow"),
            several => found.add(id, format!("has {} workflows", several.len())),
        }
    }
}

fn check_end(order: &Expected, ended: &Ended, readings: &Readings, found: &mut Findings<'_>) {
    let id = &order.order_id;
    let state = match order.outcome {
        Outcome::Paid => "completed",
        Outcome::Declined => "declined",
        Outcome::OutOfStock => "out_of_stock",
        Outcome::Cancelled => "cancelled",
        Outcome::Failed => {
            match ended {
                Ended::Failed(kind) => {
                    found.equal(id, "its failure", kind.as_str(), "PaymentUnavailable");
                }
                other => found.add(id, format!("should have failed, but {}", words(other))),
            }
            return;
        }
    };
    let Ended::Completed(result) = ended else {
        found.add(id, format!("should have completed, but {}", words(ended)));
        return;
    };
    found.equal(id, "the result's order", result.order_id.as_str(), id);
    found.equal(id, "the result's state", result.state.as_str(), state);
    found.equal(id, "the result's total", result.total, order.total);
    found.equal(
        id,
        "the result's currency",
        result.currency.as_str(),
        &order.currency,
    );
    let paid = order.outcome == Outcome::Paid;
    match &result.payment {
        Some(payment) if paid => {
            found.equal(id, "the result's paid amount", payment.amount, order.total);
            let in_ledger = readings
                .ledger
                .iter()
                .any(|charge| charge.charge_id.as_deref() == Some(&payment.charge_id));
            if !in_ledger {
                found.add(
                    id,
                    format!("the ledger has no charge {}", payment.charge_id),
                );
            }
        }
        Some(payment) => found.add(
            id,
            format!("its result contains the payment {}", payment.charge_id),
        ),
        None if paid => found.add(id, "its result contains no payment"),
        None => {}
    }
    let mails = if paid {
        order.recipients.len() as u64
    } else {
        0
    };
    found.equal(
        id,
        "the number of mails in the result",
        result.notification.sent,
        mails,
    );
    found.equal(
        id,
        "the number of refused mails",
        result.notification.refused,
        0,
    );
}

fn words(ended: &Ended) -> String {
    match ended {
        Ended::Completed(result) => format!("completed with state {}", result.state),
        Ended::Failed(kind) => format!("failed with {kind}"),
        Ended::Otherwise(event) => format!("its last event is {event}"),
    }
}
