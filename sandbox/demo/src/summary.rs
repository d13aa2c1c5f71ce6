//! The summary: the expected values beside those of each source, and how long tasks waited. Pure.
//! Every value comes from what was read back.

use std::collections::{BTreeMap, BTreeSet};

use sandbox_machine::{
    Column::{Numbers, Words},
    table,
};

use crate::{
    orders::{Expected, Outcome, Pieces},
    readings::{Ended, OrderResult, Readings},
};

/// One line: what is counted, what was expected, and what Temporal, the ledger, the database and
/// the mail server say.
struct Line {
    what: String,
    expected: String,
    says: [Option<String>; 4],
}

/// The table of the summary.
pub(crate) fn summary(expected: &[Expected], readings: &Readings) -> String {
    let mut lines = vec![orders(expected, readings)];
    lines.extend(Outcome::ALL.map(|outcome| outcomes(outcome, expected, readings)));
    lines.extend(money(expected, readings));
    lines.push(mails(expected, readings));
    lines.extend(pieces(expected, readings));
    lines.push(open(readings));
    let columns = [
        Words("FIGURE"),
        Numbers("EXPECTED"),
        Numbers("TEMPORAL"),
        Numbers("LEDGER"),
        Numbers("DATABASE"),
        Numbers("MAIL"),
    ];
    let rows = lines.into_iter().map(|line| {
        let [temporal, ledger, database, mail] =
            line.says.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        [line.what, line.expected, temporal, ledger, database, mail]
    });
    table(columns, rows)
}

fn line(what: impl Into<String>, expected: String, says: [Option<String>; 4]) -> Line {
    Line {
        what: what.into(),
        expected,
        says,
    }
}

fn count<T>(entries: &[T], is: impl Fn(&T) -> bool) -> String {
    entries.iter().filter(|entry| is(entry)).count().to_string()
}

fn orders(expected: &[Expected], readings: &Readings) -> Line {
    let says = [
        Some(readings.executions.len().to_string()),
        None,
        Some(readings.database.orders.len().to_string()),
        None,
    ];
    line("orders", expected.len().to_string(), says)
}

fn outcomes(outcome: Outcome, expected: &[Expected], readings: &Readings) -> Line {
    let (state, ledger) = match outcome {
        Outcome::Paid => ("completed", Some("charged")),
        Outcome::Declined => ("declined", Some("declined")),
        Outcome::OutOfStock => ("out_of_stock", None),
        Outcome::Cancelled => ("cancelled", None),
        Outcome::Failed => ("", Some("voided")),
    };
    let temporal = count(&readings.executions, |execution| match &execution.ended {
        Ended::Completed(result) => outcome != Outcome::Failed && result.state == state,
        Ended::Failed(_) => outcome == Outcome::Failed,
        Ended::Otherwise(_) => false,
    });
    let database = count(&readings.database.orders, |order| {
        let reason = order.reason.as_str();
        match outcome {
            Outcome::Paid => order.state == "paid",
            Outcome::Declined => reason == "PaymentDeclined",
            Outcome::OutOfStock => matches!(reason, "OutOfStock" | "UnknownSku"),
            Outcome::Cancelled => reason == "CancelledByCustomer",
            Outcome::Failed => reason == "PaymentUnavailable",
        }
    });
    let ledger = ledger.map(|status| count(&readings.ledger, |charge| charge.status == status));
    let expected = count(expected, |order| order.outcome == outcome);
    line(
        format!("  {}", outcome.words()),
        expected,
        [Some(temporal), ledger, Some(database), None],
    )
}

/// What was charged, one line per currency.
fn money(expected: &[Expected], readings: &Readings) -> Vec<Line> {
    let sum = |amounts: Vec<(&str, i64)>| {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (currency, amount) in amounts {
            *sums.entry(currency.to_owned()).or_default() += amount;
        }
        sums
    };
    let paid = expected
        .iter()
        .filter(|order| order.outcome == Outcome::Paid);
    let should = sum(paid
        .map(|order| (order.currency.as_str(), order.total))
        .collect());
    let temporal = sum(results(readings)
        .filter_map(|result| Some((result.currency.as_str(), result.payment.as_ref()?.amount)))
        .collect());
    let charged = readings
        .ledger
        .iter()
        .filter(|charge| charge.status == "charged");
    let ledger = sum(charged
        .map(|charge| (charge.currency.as_str(), charge.amount))
        .collect());
    let payments = readings
        .database
        .payments
        .iter()
        .filter(|payment| payment.state == "charged");
    let database = sum(payments
        .map(|row| (row.currency.as_str(), row.amount))
        .collect());
    let currencies: BTreeSet<&String> = should
        .keys()
        .chain(temporal.keys())
        .chain(ledger.keys())
        .chain(database.keys())
        .collect();
    let of = |sums: &BTreeMap<String, i64>, currency: &str| {
        let sum = sums.get(currency).copied().unwrap_or(0);
        format!("{}.{:02}", sum / 100, sum % 100)
    };
    currencies
        .into_iter()
        .map(|currency| {
            let says = [&temporal, &ledger, &database].map(|sums| Some(of(sums, currency)));
            let [temporal, ledger, database] = says;
            line(
                format!("charged, {currency}"),
                of(&should, currency),
                [temporal, ledger, database, None],
            )
        })
        .collect()
}

fn mails(expected: &[Expected], readings: &Readings) -> Line {
    let paid = expected
        .iter()
        .filter(|order| order.outcome == Outcome::Paid);
    let should: usize = paid.map(|order| order.recipients.len()).sum();
    let temporal: u64 = results(readings)
        .map(|result| result.notification.sent)
        .sum();
    let says = [
        Some(temporal.to_string()),
        None,
        Some(count(&readings.database.mails, |mail| mail.state == "sent")),
        Some(readings.mails.len().to_string()),
    ];
    line("mails", should.to_string(), says)
}

fn pieces(expected: &[Expected], readings: &Readings) -> [Line; 2] {
    let total = |items: &Pieces| items.values().sum::<i64>();
    let paid = expected
        .iter()
        .filter(|order| order.outcome == Outcome::Paid);
    let should: i64 = paid.map(|order| total(&order.items)).sum();
    let reserved = readings
        .database
        .reservations
        .iter()
        .filter(|row| row.state == "reserved");
    let reserved: i64 = reserved.map(|row| total(&row.items)).sum();
    let gone = total(&readings.stock_before) - total(&readings.database.stock);
    [
        line(
            "pieces reserved",
            should.to_string(),
            [None, None, Some(reserved.to_string()), None],
        ),
        line(
            "pieces gone from the stock",
            should.to_string(),
            [None, None, Some(gone.to_string()), None],
        ),
    ]
}

fn open(readings: &Readings) -> Line {
    let open = count(&readings.executions, |execution| match &execution.ended {
        Ended::Completed(_) | Ended::Failed(_) => false,
        Ended::Otherwise(event) => !event.starts_with("WORKFLOW_EXECUTION_"),
    });
    let pending = count(&readings.ledger, |charge| charge.status == "pending");
    let created = count(&readings.database.orders, |order| order.state == "created");
    line(
        "left open",
        "0".to_owned(),
        [Some(open), Some(pending), Some(created), None],
    )
}

fn results(readings: &Readings) -> impl Iterator<Item = &OrderResult> {
    readings
        .executions
        .iter()
        .filter_map(|execution| match &execution.ended {
            Ended::Completed(result) => Some(result),
            Ended::Failed(_) | Ended::Otherwise(_) => None,
        })
}

/// How often the gateway had to be asked again.
pub(crate) fn retries(readings: &Readings) -> String {
    let attempts: u64 = readings.ledger.iter().map(|charge| charge.attempts).sum();
    let again = readings
        .ledger
        .iter()
        .filter(|charge| charge.attempts > 1)
        .count();
    let keys = readings.ledger.len();
    format!(
        "The gateway received {attempts} requests for {keys} charges; {again} of them needed more \
         than one attempt."
    )
}

/// How long tasks waited in each queue, from the histories of the run's workflows.
pub(crate) fn waits(readings: &Readings, task_queues: &[String]) -> String {
    let columns = [
        Words("TASK QUEUE"),
        Numbers("FIRST TAKEN"),
        Numbers("MEDIAN"),
        Numbers("95 %"),
        Numbers("LONGEST"),
    ];
    let rows = task_queues.iter().filter_map(|task_queue| {
        let all = readings
            .executions
            .iter()
            .flat_map(|execution| &execution.waits);
        let of_queue: Vec<_> = all.filter(|wait| wait.task_queue == *task_queue).collect();
        let scheduled = of_queue.iter().map(|wait| wait.scheduled).min();
        let started = of_queue.iter().map(|wait| wait.started).min();
        let (scheduled, started) = scheduled.zip(started)?;
        let mut waits: Vec<i128> = of_queue
            .iter()
            .map(|wait| millis(wait.scheduled, wait.started))
            .collect();
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        let figures = [millis(scheduled, started), at(50), at(95), at(100)].map(seconds);
        let [first, median, most, longest] = figures;
        Some([task_queue.clone(), first, median, most, longest])
    });
    table(columns, rows)
}

fn millis(from: jiff::Timestamp, to: jiff::Timestamp) -> i128 {
    to.duration_since(from).as_millis()
}

fn seconds(millis: i128) -> String {
    let millis = millis.max(0);
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::tests::example, readings::Wait};

    #[test]
    fn the_summary_shows_the_expected_values_beside_those_of_each_system() {
        let (expected, mut readings) = example();
        readings.ledger[0].amount = 4271;
        readings.executions[3].ended = Ended::Otherwise("TIMER_STARTED".into());
        assert_eq!(
            summary(&expected, &readings),
            "\
FIGURE                       EXPECTED  TEMPORAL  LEDGER  DATABASE  MAIL
orders                              5         5       -         5     -
  accepted: paid and done           1         1       1         1     -
  declined by the gateway           1         1       1         1     -
  out of stock                      1         1       -         1     -
  cancelled by the customer         1         0       -         1     -
  failed: gateway broken            1         1       1         1     -
charged, EUR                    42.70     42.70   42.71     42.70     -
mails                               2         2       -         2     2
pieces reserved                     2         -       -         2     -
pieces gone from the stock          2         -       -         2     -
left open                           0         1       0         0     -
"
        );
    }

    #[test]
    fn retries_are_counted_by_the_ledger() {
        let (_, mut readings) = example();
        readings.ledger[0].attempts = 3;
        assert_eq!(
            retries(&readings),
            "The gateway received 5 requests for 3 charges; 1 of them needed more than one attempt."
        );
    }

    #[test]
    fn the_first_taken_is_measured_from_the_first_task_of_the_queue() {
        let (_, mut readings) = example();
        let wait = |scheduled: &str, started: &str| Wait {
            task_queue: "payments".into(),
            scheduled: scheduled.parse().unwrap(),
            started: started.parse().unwrap(),
        };
        readings.executions[0].waits = vec![wait("2026-01-01T10:00:00Z", "2026-01-01T10:00:09.5Z")];
        readings.executions[1].waits =
            vec![wait("2026-01-01T10:00:02Z", "2026-01-01T10:00:07.25Z")];
        assert_eq!(
            waits(&readings, &["payments".into(), "inventory".into()]),
            "\
TASK QUEUE  FIRST TAKEN  MEDIAN   95 %  LONGEST
payments          7.2 s   5.2 s  5.2 s    9.5 s\n"
        );
    }
}
