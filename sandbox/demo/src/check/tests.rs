//! A run in which everything is right passes; each single thing that is tampered with is found.

use crate::{
    check::*,
    orders::{Outcome, Pieces},
    readings::{
        Database, DatabaseOrder, Ended, Execution, LedgerEntry, Mail, OrderResult, Payment,
        Reservation, ResultNotification, ResultPayment, SentMail,
    },
};

/// One order of each kind, and everything as it should be.
pub(crate) fn example() -> (Vec<Expected>, Readings) {
    let mut readings = Readings {
        stock_before: stock(100, 50),
        database: Database {
            stock: stock(98, 50),
            ..Database::default()
        },
        ..Readings::default()
    };
    let kinds = [
        ("r-1", Outcome::Paid),
        ("r-2", Outcome::Declined),
        ("r-3", Outcome::OutOfStock),
        ("r-4", Outcome::Cancelled),
        ("r-5", Outcome::Failed),
    ];
    let expected: Vec<Expected> = kinds.map(|(id, outcome)| order(id, outcome)).to_vec();
    for order in &expected {
        fill(&mut readings, order);
    }
    (expected, readings)
}

fn stock(book: i64, lamp: i64) -> Pieces {
    Pieces::from([("book".to_owned(), book), ("lamp".to_owned(), lamp)])
}

fn order(id: &str, outcome: Outcome) -> Expected {
    Expected {
        order_id: id.into(),
        outcome,
        total: 4270,
        currency: "EUR".into(),
        items: Pieces::from([("book".to_owned(), 2)]),
        recipients: vec!["a@example.com".into(), "b@example.com".into()],
        subject: format!("Your order {id}"),
    }
}

/// What the four places hold about an order that went as it should.
fn fill(readings: &mut Readings, order: &Expected) {
    let id = &order.order_id;
    let paid = order.outcome == Outcome::Paid;
    let (payment, state, reason, ended) = match order.outcome {
        Outcome::Paid => ("charged", "completed", "", None),
        Outcome::Declined => ("declined", "declined", "PaymentDeclined", None),
        Outcome::OutOfStock => ("", "out_of_stock", "OutOfStock", None),
        Outcome::Cancelled => ("", "cancelled", "CancelledByCustomer", None),
        Outcome::Failed => (
            "voided",
            "",
            "PaymentUnavailable",
            Some("PaymentUnavailable"),
        ),
    };
    if !payment.is_empty() {
        readings.ledger.push(LedgerEntry {
            key: format!("order-{id}-charge"),
            order_id: id.clone(),
            amount: order.total,
            currency: order.currency.clone(),
            status: payment.into(),
            charge_id: paid.then(|| format!("ch_{id}")),
            attempts: 1,
        });
        readings.database.payments.push(Payment {
            order_id: id.clone(),
            state: payment.into(),
            charge_id: if paid {
                format!("ch_{id}")
            } else {
                String::new()
            },
            amount: order.total,
            currency: order.currency.clone(),
        });
    }
    readings.database.orders.push(DatabaseOrder {
        order_id: id.clone(),
        total: order.total,
        currency: order.currency.clone(),
        state: if paid { "paid" } else { "cancelled" }.into(),
        reason: reason.into(),
    });
    readings.database.reservations.push(Reservation {
        order_id: id.clone(),
        state: if paid { "reserved" } else { "released" }.into(),
        items: order.items.clone(),
    });
    for recipient in order.recipients.iter().filter(|_| paid) {
        readings.database.mails.push(SentMail {
            order_id: id.clone(),
            recipient: recipient.clone(),
            state: "sent".into(),
        });
        readings.mails.push(Mail {
            order_id: id.clone(),
            recipient: recipient.clone(),
            subject: order.subject.clone(),
            message_id: format!("<{id}.{recipient}@order-worker>"),
        });
    }
    let result = OrderResult {
        order_id: id.clone(),
        state: state.into(),
        total: order.total,
        currency: order.currency.clone(),
        payment: paid.then(|| ResultPayment {
            charge_id: format!("ch_{id}"),
            amount: order.total,
        }),
        notification: ResultNotification {
            sent: if paid { 2 } else { 0 },
            refused: 0,
        },
    };
    readings.executions.push(Execution {
        workflow_id: format!("order-{id}"),
        ended: ended.map_or(Ended::Completed(result), |kind| Ended::Failed(kind.into())),
        waits: Vec::new(),
    });
}

/// What is found once `tamper` has changed something.
fn found(tamper: impl Fn(&mut Readings)) -> Vec<String> {
    let (expected, mut readings) = example();
    tamper(&mut readings);
    check(&expected, &readings)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn result_of(readings: &mut Readings, index: usize) -> &mut OrderResult {
    match &mut readings.executions[index].ended {
        Ended::Completed(result) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_correct_run_passes() {
    assert_eq!(found(|_| {}), [""; 0]);
}

#[test]
fn a_second_charge_is_found_whatever_its_key() {
    assert_eq!(
        found(|readings| {
            let mut again = readings.ledger[0].clone();
            again.key = "order-r-1-again-charge".into();
            readings.ledger.push(again);
        }),
        [
            "gateway's ledger: r-1: the number of its charges is 2 and should be 1",
            "gateway's ledger: r-1: the number of its keys is 2 and should be 1",
        ]
    );
}

#[test]
fn a_missing_charge_a_wrong_amount_and_a_wrong_currency_are_found() {
    assert_eq!(
        found(|readings| drop(readings.ledger.remove(0))),
        [
            "gateway's ledger: r-1: the number of its charges is 0 and should be 1",
            "gateway's ledger: r-1: is missing and should be charged",
            "database: r-1: its charge is ch_r-1 and should be ",
            "Temporal: r-1: the ledger has no charge ch_r-1",
        ]
    );
    assert_eq!(
        found(|readings| {
            readings.ledger[0].amount += 1;
            readings.ledger[0].currency = "USD".into();
        }),
        [
            "gateway's ledger: r-1: the charged amount is 4271 and should be 4270",
            "gateway's ledger: r-1: the charged currency is USD and should be EUR",
        ]
    );
}

#[test]
fn a_declined_or_failed_order_that_was_charged_is_found() {
    for index in [1, 2] {
        let tampered = found(|readings| readings.ledger[index].status = "charged".into());
        assert_eq!(tampered.len(), 2, "{tampered:?}");
        assert!(
            tampered[0].ends_with("the number of its charges is 1 and should be 0"),
            "{tampered:?}"
        );
    }
}

#[test]
fn a_charge_for_an_order_that_never_reached_payment_or_was_never_placed_is_found() {
    assert_eq!(
        found(|readings| {
            for id in ["r-3", "r-9"] {
                let mut charge = readings.ledger[1].clone();
                charge.order_id = id.into();
                readings.ledger.push(charge);
            }
        }),
        [
            "gateway's ledger: r-9: nobody placed this order",
            "gateway's ledger: r-3: the number of its keys is 1 and should be 0",
        ]
    );
}

#[test]
fn a_key_that_was_voided_before_any_attempt_is_identified_by_its_name() {
    let voided = found(|readings| readings.ledger[2].order_id = String::new());
    assert_eq!(voided, [""; 0]);
}

#[test]
fn a_wrong_order_row_is_found() {
    assert_eq!(
        found(|readings| {
            readings.database.orders[0].state = "created".into();
            readings.database.orders[1].reason = "OutOfStock".into();
            readings.database.orders[2].total = 1;
            drop(readings.database.orders.remove(4));
        }),
        [
            "database: r-1: its state is created and should be paid",
            "database: r-2: its reason is OutOfStock and should be PaymentDeclined",
            "database: r-3: its total is 1 and should be 4270",
            "database: r-5: has no row, or several",
        ]
    );
}

#[test]
fn a_payment_row_that_differs_from_the_ledger_is_found() {
    assert_eq!(
        found(|readings| {
            readings.database.payments[0].charge_id = "ch_other".into();
            readings.database.payments[0].amount = 1;
            readings.database.payments[1].state = "charged".into();
        }),
        [
            "database: r-1: its paid amount is 1 and should be 4270",
            "database: r-1: its charge is ch_other and should be ch_r-1",
            "database: r-2: its payment is charged and should be declined",
        ]
    );
}

#[test]
fn stock_that_is_missing_or_reserved_without_an_order_is_found() {
    assert_eq!(
        found(|readings| readings.database.reservations[1].state = "reserved".into()),
        ["database: r-2: holds 2 book although it was not paid"]
    );
    assert_eq!(
        found(|readings| readings.database.reservations[0].items = Pieces::new()),
        ["database: r-1: reserved nothing instead of 2 book"]
    );
    assert_eq!(
        found(|readings| readings.database.stock = stock(97, 50)),
        [
            "database: stock of book: 3 pieces are gone, but 2 were sold (orders placed by hand \
             during the demo cause this)"
        ]
    );
}

#[test]
fn a_missing_duplicate_or_unexpected_mail_is_found() {
    assert_eq!(
        found(|readings| drop(readings.mails.remove(0))),
        ["mail server: r-1: the number of mails to a@example.com is 0 and should be 1"]
    );
    assert_eq!(
        found(|readings| readings.mails.push(readings.mails[0].clone())),
        ["mail server: r-1: the number of mails to a@example.com is 2 and should be 1"]
    );
    assert_eq!(
        found(|readings| {
            readings.mails[0].order_id = "r-2".into();
            readings.mails[0].subject = "Your order r-2".into();
        }),
        [
            "mail server: r-1: the number of mails to a@example.com is 0 and should be 1",
            "mail server: r-2: the number of mails to a@example.com is 1 and should be 0",
        ]
    );
    assert_eq!(
        found(|readings| readings.mails[1].subject = "Hello".into()),
        ["mail server: r-1: the mail to b@example.com has the subject \"Hello\""]
    );
}

#[test]
fn a_missing_or_refused_mail_record_is_found() {
    assert_eq!(
        found(|readings| {
            readings.database.mails[0].state = "refused".into();
            drop(readings.database.mails.remove(1));
        }),
        [
            "database: r-1: the mail to a@example.com was refused",
            "database: r-1: no mail to b@example.com is recorded",
        ]
    );
}

#[test]
fn an_open_missing_or_duplicate_workflow_is_found() {
    assert_eq!(
        found(|readings| {
            readings.executions[0].ended = Ended::Otherwise("ACTIVITY_TASK_SCHEDULED".into());
            readings.executions[4].ended = Ended::Otherwise("WORKFLOW_EXECUTION_TERMINATED".into());
            readings.executions[1] = readings.executions[2].clone();
        }),
        [
            "Temporal: r-1: should have completed, but its last event is ACTIVITY_TASK_SCHEDULED",
            "Temporal: r-2: has no workflow",
            "Temporal: r-3: has 2 workflows",
            "Temporal: r-5: should have failed, but its last event is \
             WORKFLOW_EXECUTION_TERMINATED",
        ]
    );
}

#[test]
fn a_wrong_result_is_found() {
    assert_eq!(
        found(|readings| {
            let paid = result_of(readings, 0);
            paid.notification.sent = 1;
            paid.payment = None;
            result_of(readings, 1).state = "completed".into();
            result_of(readings, 3).payment = Some(ResultPayment {
                charge_id: "ch_x".into(),
                amount: 1,
            });
        }),
        [
            "Temporal: r-1: its result contains no payment",
            "Temporal: r-1: the number of mails in the result is 1 and should be 2",
            "Temporal: r-2: the result's state is completed and should be declined",
            "Temporal: r-4: its result contains the payment ch_x",
        ]
    );
}
