//! The orders of a run: read from a file, given unique ids, with the expected outcome of each.
//! Pure.
//!
//! The expectation follows from the orders, the stock before the run and the documented behavior
//! of the payment gateway's stand-in towards its test cards, never from what happened.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Pieces per SKU.
pub(crate) type Pieces = BTreeMap<String, i64>;

/// The demo plays a customer who thinks again for orders that can be cancelled for at least this
/// long.
const CUSTOMER_CANCELS_FROM_SECONDS: u64 = 60;
/// The card that the gateway declines.
const DECLINED_CARD: &str = "tok_declined";
/// The card for which the gateway always fails and never charges.
const BROKEN_CARD: &str = "tok_broken";
/// What the worker takes for granted where an order says nothing.
const DEFAULT_SKU: &str = "standard";
const DEFAULT_CURRENCY: &str = "USD";

/// The expected outcome of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Charged, and every recipient mailed.
    Paid,
    /// The gateway declines the card.
    Declined,
    /// The stock does not suffice.
    OutOfStock,
    /// The customer cancels it before payment.
    Cancelled,
    /// The gateway fails at every attempt; the charge is voided and the workflow fails.
    Failed,
}

impl Outcome {
    /// All of them, in the order of the summary.
    pub(crate) const ALL: [Self; 5] = [
        Self::Paid,
        Self::Declined,
        Self::OutOfStock,
        Self::Cancelled,
        Self::Failed,
    ];

    /// In words for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Paid => "accepted: paid and done",
            Self::Declined => "declined by the gateway",
            Self::OutOfStock => "out of stock",
            Self::Cancelled => "cancelled by the customer",
            Self::Failed => "failed: gateway broken",
        }
    }
}

/// An order and its expected outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) order_id: String,
    pub(crate) outcome: Outcome,
    /// Minor units.
    pub(crate) total: i64,
    pub(crate) currency: String,
    pub(crate) items: Pieces,
    /// Each once.
    pub(crate) recipients: Vec<String>,
    pub(crate) subject: String,
}

/// One order of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    /// Its id in this run.
    pub(crate) id: String,
    /// As it is placed.
    pub(crate) line: Value,
    fields: Fields,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Fields {
    order_id: String,
    total: i64,
    currency: Option<String>,
    items: Option<Vec<Item>>,
    card: Option<String>,
    #[serde(default)]
    recipients: Vec<String>,
    subject: Option<String>,
    #[serde(default)]
    cancel_window_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Item {
    sku: String,
    #[serde(default = "one")]
    quantity: i64,
}

fn one() -> i64 {
    1
}

/// The first `count` orders of a file with one JSON object per line, as the orders of a run. A
/// count beyond the end begins again at the top. Every id is put behind the run's, so that runs
/// never meet.
pub(crate) fn parse(text: &str, run: &str, count: Option<usize>) -> Result<Vec<Order>> {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return Err(Error::Orders("the file of orders contains no order".into()));
    }
    let count = count.unwrap_or(lines.len());
    let mut orders = Vec::with_capacity(count);
    let mut first_line: BTreeMap<String, usize> = BTreeMap::new();
    for (index, (number, line)) in lines.iter().cycle().take(count).enumerate() {
        let round = index / lines.len();
        let order = order(line, run, round)
            .map_err(|why| Error::Orders(format!("line {number} of the orders: {why}")))?;
        if let Some(first) = first_line.insert(order.id.clone(), *number) {
            return Err(Error::Orders(format!(
                "line {number} of the orders: order_id {:?} is already used in line {first}",
                order.fields.order_id
            )));
        }
        orders.push(order);
    }
    Ok(orders)
}

fn order(line: &str, run: &str, round: usize) -> Result<Order, String> {
    let mut value: Value =
        serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let fields: Fields =
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let again = if round == 0 {
        String::new()
    } else {
        format!("-{}", round + 1)
    };
    let id = format!("{run}-{}{again}", fields.order_id);
    value["order_id"] = Value::from(id.clone());
    Ok(Order {
        id,
        line: value,
        fields,
    })
}

/// The orders as `order-worker start --file` takes them.
pub(crate) fn lines(orders: &[Order]) -> String {
    orders.iter().fold(String::new(), |text, order| {
        text + &order.line.to_string() + "\n"
    })
}

/// The expected outcome of each order, given the stock before the first of them.
pub(crate) fn expect(orders: &[Order], stock: &Pieces) -> Result<Vec<Expected>> {
    let expected: Vec<Expected> = orders.iter().map(|order| order.expected(stock)).collect();
    let mut wanted = Pieces::new();
    for order in expected
        .iter()
        .filter(|order| order.outcome != Outcome::OutOfStock)
    {
        for (sku, quantity) in &order.items {
            *wanted.entry(sku.clone()).or_default() += quantity;
        }
    }
    for (sku, wanted) in wanted {
        let left = stock.get(&sku).copied().unwrap_or(0);
        if wanted > left {
            return Err(Error::Orders(format!(
                "the orders need {wanted} pieces of {sku}, but {left} are in stock: chance \
                 decides which orders get one, so the outcome cannot be predicted; order fewer, \
                 or more than {left} in each order"
            )));
        }
    }
    Ok(expected)
}

impl Order {
    /// Whether the demo has to play the customer who cancels it.
    pub(crate) fn is_cancelled_by_customer(&self, stock: &Pieces) -> bool {
        self.outcome(&self.items(), stock) == Outcome::Cancelled
    }

    fn expected(&self, stock: &Pieces) -> Expected {
        let items = self.items();
        let mut recipients: Vec<String> = Vec::new();
        for recipient in &self.fields.recipients {
            if !recipients.contains(recipient) {
                recipients.push(recipient.clone());
            }
        }
        Expected {
            order_id: self.id.clone(),
            outcome: self.outcome(&items, stock),
            total: self.fields.total,
            currency: self
                .fields
                .currency
                .clone()
                .unwrap_or_else(|| DEFAULT_CURRENCY.into()),
            items,
            recipients,
            subject: self
                .fields
                .subject
                .clone()
                .unwrap_or_else(|| format!("Your order {}", self.id)),
        }
    }

    fn items(&self) -> Pieces {
        let mut pieces = Pieces::new();
        match &self.fields.items {
            None => {
                pieces.insert(DEFAULT_SKU.into(), 1);
            }
            Some(items) => {
                for item in items {
                    *pieces.entry(item.sku.clone()).or_default() += item.quantity;
                }
            }
        }
        pieces
    }

    fn outcome(&self, items: &Pieces, stock: &Pieces) -> Outcome {
        let lacks =
            |(sku, quantity): (&String, &i64)| stock.get(sku).is_none_or(|left| left < quantity);
        if items.iter().any(lacks) {
            Outcome::OutOfStock
        } else if self.fields.cancel_window_seconds >= CUSTOMER_CANCELS_FROM_SECONDS {
            Outcome::Cancelled
        } else {
            match self.fields.card.as_deref() {
                Some(DECLINED_CARD) => Outcome::Declined,
                Some(BROKEN_CARD) => Outcome::Failed,
                _ => Outcome::Paid,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../orders.jsonl");

    fn stock() -> Pieces {
        let plenty =
            ["standard", "book", "lamp", "chair", "table"].map(|sku| (sku.to_owned(), 1_000_000));
        plenty
            .into_iter()
            .chain([("sold-out".to_owned(), 0), ("rare-vase".to_owned(), 5)])
            .collect()
    }

    fn outcome(line: &str) -> Outcome {
        expect(&parse(line, "r", None).unwrap(), &stock()).unwrap()[0].outcome
    }

    #[test]
    fn the_shipped_file_holds_orders_of_every_kind() {
        let expected = expect(&parse(SHIPPED, "r", None).unwrap(), &stock()).unwrap();
        let counts = Outcome::ALL.map(|outcome| {
            expected
                .iter()
                .filter(|order| order.outcome == outcome)
                .count()
        });
        assert_eq!(counts, [275, 15, 4, 3, 3]);
        let cards = |card: &str| {
            let card = format!("\"card\":\"{card}\"");
            SHIPPED.lines().filter(|line| line.contains(&card)).count()
        };
        let special = [
            "tok_flaky_1",
            "tok_rate_limited",
            "tok_slow",
            "tok_lost",
            "tok_timeout",
        ]
        .map(cards);
        assert_eq!(special, [12, 8, 10, 4, 2]);
        let several = expected
            .iter()
            .filter(|order| order.recipients.len() > 1)
            .count();
        assert_eq!(several, 95);
        assert!(expected.iter().any(|order| order.recipients.is_empty()));
    }

    #[test]
    fn an_order_is_placed_unchanged_except_for_the_run_in_its_id() {
        let text = "{\"order_id\":\"7\",\"total\":100,\"card\":\"tok_x\"}\n\n{\"order_id\":\"8\",\"total\":5}\n";
        let orders = parse(text, "run", Some(3)).unwrap();
        assert_eq!(
            lines(&orders),
            "{\"card\":\"tok_x\",\"order_id\":\"run-7\",\"total\":100}\n{\"order_id\":\"run-8\",\"total\":5}\n{\"card\":\"tok_x\",\"order_id\":\"run-7-2\",\"total\":100}\n"
        );
    }

    #[test]
    fn the_expected_outcome_follows_from_card_stock_and_cancel_window() {
        assert_eq!(outcome(r#"{"order_id":"1","total":1}"#), Outcome::Paid);
        assert_eq!(
            outcome(r#"{"order_id":"1","total":1,"card":"tok_flaky"}"#),
            Outcome::Paid
        );
        assert_eq!(
            outcome(r#"{"order_id":"1","total":1,"card":"tok_declined"}"#),
            Outcome::Declined
        );
        assert_eq!(
            outcome(r#"{"order_id":"1","total":1,"card":"tok_broken"}"#),
            Outcome::Failed
        );
        assert_eq!(
            outcome(r#"{"order_id":"1","total":1,"cancel_window_seconds":5}"#),
            Outcome::Paid
        );
        assert_eq!(
            outcome(
                r#"{"order_id":"1","total":1,"cancel_window_seconds":120,"card":"tok_declined"}"#
            ),
            Outcome::Cancelled
        );
        assert_eq!(
            outcome(
                r#"{"order_id":"1","total":1,"cancel_window_seconds":120,"items":[{"sku":"sold-out"}]}"#
            ),
            Outcome::OutOfStock
        );
        assert_eq!(
            outcome(r#"{"order_id":"1","total":1,"items":[{"sku":"never-heard-of"}]}"#),
            Outcome::OutOfStock
        );
    }

    #[test]
    fn the_defaults_of_the_worker_are_expected() {
        let orders = parse(
            r#"{"order_id":"1","total":100,"recipients":["a@b","a@b"]}"#,
            "r",
            None,
        );
        assert_eq!(
            expect(&orders.unwrap(), &stock()).unwrap(),
            [Expected {
                order_id: "r-1".into(),
                outcome: Outcome::Paid,
                total: 100,
                currency: "USD".into(),
                items: Pieces::from([("standard".to_owned(), 1)]),
                recipients: vec!["a@b".into()],
                subject: "Your order r-1".into(),
            }]
        );
    }

    #[test]
    fn scarce_goods_are_refused_because_chance_would_decide() {
        let line = |id: u32, quantity: u32| {
            format!(
                r#"{{"order_id":"{id}","total":1,"items":[{{"sku":"rare-vase","quantity":{quantity}}}]}}"#
            )
        };
        let expect_of = |lines: &[String]| {
            expect(&parse(&lines.join("\n"), "r", None).unwrap(), &stock()).map(|expected| {
                expected
                    .iter()
                    .map(|order| order.outcome)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            expect_of(&[line(1, 3), line(2, 2), line(3, 6)]).unwrap(),
            [Outcome::Paid, Outcome::Paid, Outcome::OutOfStock]
        );
        let error = expect_of(&[line(1, 3), line(2, 3)])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the orders need 6 pieces of rare-vase, but 5 are in stock"),
            "{error}"
        );
    }

    #[test]
    fn a_mistake_in_the_file_is_reported_with_its_line() {
        let error = |text: &str| parse(text, "r", None).unwrap_err().to_string();
        assert_eq!(error(" \n"), "the file of orders contains no order");
        assert_eq!(
            error("{\"order_id\":\"1\",\"total\":1}\n{\"order_id\":\"2\"}"),
            "line 2 of the orders: missing field `total`"
        );
        assert_eq!(
            error("{\"order_id\":\"1\",\"total\":1}\n\n{\"order_id\":\"1\",\"total\":2}"),
            "line 3 of the orders: order_id \"1\" is already used in line 1"
        );
        assert!(error("{").starts_with("line 1 of the orders: not JSON: "));
    }
}
