//! What an order is: the workflow's input as it arrives, the checked order that everything after
//! it works on, and the result. Pure: no I/O, no clock, no randomness.

mod fields;
mod names;
mod parse;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::failure::{Failure, FailureType};
pub(crate) use fields::{Fields, Misspelt, whole_number};
pub(crate) use parse::{KNOWN as ORDER_FIELDS, MAX_QUEUE_LENGTH};

/// Largest total accepted, in minor units (ten billion of the major unit).
pub const MAX_TOTAL: i64 = 1_000_000_000_000;
/// Most items an order may have.
pub const MAX_ITEMS: usize = 100;
/// Most recipients an order may have; Temporal's payload limit of 2 MB is reached a little later.
pub const MAX_RECIPIENTS: usize = 20_000;
/// Longest reason of a cancellation that is kept, in characters.
pub const MAX_REASON: usize = 500;
/// The item of an order that names none: one piece of this SKU.
pub const DEFAULT_SKU: &str = "standard";
/// The currency of an order that names none.
pub const DEFAULT_CURRENCY: &str = "USD";

const MAX_ID_LENGTH: usize = 100;

/// The input of `OrderWorkflow`, exactly as a client of any language sent it.
///
/// Reading it never fails ([`crate::workflow::SentOrder`]): a workflow task that cannot read its
/// input is retried for ever, whereas a workflow that can read it fails at once with `InvalidOrder`
/// and says why. [`OrderInput::parse`] does the checking.
#[derive(Clone, PartialEq)]
pub struct OrderInput(Value);

impl OrderInput {
    /// The smallest order: an id and a total in minor units (100 is 1.00).
    pub fn new(id: &str, total: i64) -> Self {
        Self::from_value(serde_json::json!({ "order_id": id, "total": total }))
    }

    /// An order from any JSON value.
    pub fn from_value(value: Value) -> Self {
        Self(value)
    }

    /// The same input with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(fields) = &mut self.0 {
            fields.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The same input that keeps the search attribute `OrderState` up to date, unless it says
    /// something else itself.
    #[must_use]
    pub fn with_search_attributes(mut self) -> Self {
        if let Value::Object(fields) = &mut self.0 {
            fields
                .entry("search_attributes")
                .or_insert(Value::Bool(true));
        }
        self
    }

    /// The same input with the task queues that it leaves open taken from `queues`.
    #[must_use]
    pub fn with_default_queues(self, queues: &TaskQueues) -> Self {
        let mut input = self;
        let Value::Object(fields) = &mut input.0 else {
            return input;
        };
        let entry = fields
            .entry("task_queues")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(own) = entry {
            for (role, queue) in queues.named() {
                if let Some(queue) = queue {
                    own.entry(role).or_insert_with(|| queue.into());
                }
            }
            if own.is_empty() {
                fields.remove("task_queues");
            }
        }
        input
    }

    /// The checked order, or the failure `InvalidOrder` with a message that names the field.
    ///
    /// Messages never repeat the value of `card`.
    pub fn parse(&self) -> Result<Order, Failure> {
        self.parse_noting_ignored().map(|(order, _)| order)
    }

    /// The same, with the names of the fields that are ignored because nothing is known of them (at most 20).
    pub fn parse_noting_ignored(&self) -> Result<(Order, Vec<String>), Failure> {
        self.parse_with(Misspelt::Refused)
    }

    /// As earlier versions checked it, which ignored what is misspelt within items and task queues: an order that
    /// began with one of them must not fail in the middle.
    pub(crate) fn parse_as_before(&self) -> Result<(Order, Vec<String>), Failure> {
        self.parse_with(Misspelt::Ignored)
    }

    fn parse_with(&self, misspelt: Misspelt) -> Result<(Order, Vec<String>), Failure> {
        parse::parse(&self.0, misspelt)
            .map_err(|message| Failure::new(FailureType::InvalidOrder, message))
    }
}

impl std::fmt::Debug for OrderInput {
    // The card token stays out of logs even when someone prints the input.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderInput")
            .field("order_id", &self.0.get("order_id").or(self.0.get("id")))
            .finish_non_exhaustive()
    }
}

impl Serialize for OrderInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OrderInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

/// A reference to a means of payment at the gateway. Never a card number; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CardToken(String);

impl CardToken {
    /// A token by its value.
    pub fn new(value: &str) -> Self {
        Self(value.to_owned())
    }

    /// The value, for the request to the gateway and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for CardToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CardToken(…)")
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Stock keeping unit.
    pub sku: String,
    /// Pieces, at least 1.
    pub quantity: i64,
}

/// Where the activities of each role run. A queue that an order leaves open is the worker's default, or else the
/// workflow's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQueues {
    /// Task queue of `reserve_inventory` and `release_inventory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// Task queue of `process_payment` and `settle_payment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payments: Option<String>,
    /// Task queue of `send_notification`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<String>,
}

impl TaskQueues {
    /// The same queues; those that are left open are taken from `defaults`.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            inventory: or(self.inventory, &defaults.inventory),
            payments: or(self.payments, &defaults.payments),
            notifications: or(self.notifications, &defaults.notifications),
        }
    }

    fn named(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("inventory", self.inventory.as_deref()),
            ("payments", self.payments.as_deref()),
            ("notifications", self.notifications.as_deref()),
        ]
    }
}

/// A checked order. What holds: the ranges said on each field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// 1 to 100 characters of `A–Z a–z 0–9 . _ -`.
    pub order_id: String,
    /// Total in minor units of the currency (cents), 1 to [`MAX_TOTAL`].
    pub total: i64,
    /// ISO 4217 code, three capital letters.
    pub currency: String,
    /// 1 to [`MAX_ITEMS`] items, each SKU once, in order of SKU (so that two orders lock stock
    /// in the same order and never wait for each other in a circle).
    pub items: Vec<Item>,
    /// Means of payment; absent means the gateway's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardToken>,
    /// Mail addresses, each once, in the order given; may be empty.
    pub recipients: Vec<String>,
    /// Subject of the mail.
    pub subject: String,
    /// Body of the mail.
    pub body: String,
    /// How long the workflow waits before it pays, so that the order can still be cancelled.
    #[serde(default)]
    pub cancel_window_seconds: u64,
    /// Task queues of the activities.
    #[serde(default)]
    pub task_queues: TaskQueues,
    /// Whether the workflow keeps the search attribute `OrderState` up to date. Part of the input,
    /// so that replaying an order's history does what the order did.
    #[serde(default)]
    pub search_attributes: bool,
}

/// Where an order stands; also the `state` of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// The workflow has started.
    #[default]
    Received,
    /// `create_order` runs.
    Creating,
    /// `reserve_inventory` runs.
    Reserving,
    /// The cancel window is open.
    Waiting,
    /// `process_payment` runs; from here on the order can no longer be cancelled.
    Paying,
    /// The outcome of the payment is unknown and is being asked of the gateway.
    Settling,
    /// `send_notification` runs; the order is paid.
    Notifying,
    /// Paid, and every mail that could be sent was sent. Final.
    Completed,
    /// What was done is being undone.
    Compensating,
    /// The payment was declined and everything before it was undone. Final.
    Declined,
    /// Something could not be reserved and everything before it was undone. Final.
    OutOfStock,
    /// Cancelled before payment and undone. Final.
    Cancelled,
    /// Failed for a technical reason and undone; the workflow's failure says why. Final.
    Failed,
    /// Whether the charge went through cannot be found out: nothing is undone, and a person must look. Final.
    Unsettled,
}

/// Why an order ended as it did: a failure type of the table in the README, and one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable name, such as `PaymentDeclined`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence for people.
    pub message: String,
}

impl Reason {
    /// A reason in somebody's own words, made fit for every database, log and terminal: one line,
    /// no control characters, at most [`MAX_REASON`] characters.
    pub fn in_words(kind: FailureType, words: &str) -> Self {
        Self::of(kind.name(), words)
    }

    /// The same of a type that another program has named.
    pub(crate) fn of(kind: &str, words: &str) -> Self {
        Self {
            kind: one_line(kind),
            message: one_line(words),
        }
    }
}

fn one_line(words: &str) -> String {
    let line = words.replace(char::is_control, " ");
    line.trim().chars().take(MAX_REASON).collect()
}

/// A payment that went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's id of the charge.
    pub charge_id: String,
    /// Charged amount in minor units.
    pub amount: i64,
    /// True if the answers were lost and the charge was found by asking the gateway.
    #[serde(default)]
    pub settled: bool,
}

/// How the mails of an order ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationState {
    /// There was nobody to mail.
    #[default]
    None,
    /// Every recipient was mailed.
    Sent,
    /// Some recipients were mailed. The others were refused by the mail server for good, or could
    /// not be mailed in time.
    Partial,
    /// Nobody could be mailed, or it is unknown who was.
    Failed,
    /// The workflow was cancelled while mails were sent.
    Cancelled,
}

/// What became of the mails. A failure here never undoes a paid order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Overall outcome.
    pub state: NotificationState,
    /// Recipients that were mailed.
    pub sent: u64,
    /// Recipients that the mail server refused for good.
    pub refused: u64,
    /// Why, if anything failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The result of `OrderWorkflow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderResult {
    /// The order's id.
    pub order_id: String,
    /// A final state.
    pub state: OrderState,
    /// Total in minor units.
    pub total: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The payment, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The mails.
    #[serde(default)]
    pub notification: Notification,
    /// Why the order did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Whether `id` may be an order id or a SKU.
pub fn is_order_id(id: &str) -> bool {
    (1..=MAX_ID_LENGTH).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// An amount in minor units as people write it: 12345 USD is "123.45 USD".
pub fn money(amount: i64, currency: &str) -> String {
    format!("{}.{:02} {currency}", amount / 100, amount % 100)
}

#[cfg(test)]
mod tests;
