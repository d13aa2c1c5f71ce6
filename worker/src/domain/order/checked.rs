//! The checked order and its parts. Each field documents its valid range. Pure.

use serde::{Deserialize, Serialize};

/// Maximum total, in minor units (ten billion of the major unit).
pub const MAX_TOTAL: i64 = 1_000_000_000_000;
/// Maximum number of items of an order.
pub const MAX_ITEMS: usize = 100;
/// Maximum number of recipients of an order. Temporal's payload limit of 2 MB lies a little above
/// this.
pub const MAX_RECIPIENTS: usize = 20_000;
/// The item of an order that lists none: one piece of this SKU.
pub const DEFAULT_SKU: &str = "standard";
/// The currency of an order that names none.
pub const DEFAULT_CURRENCY: &str = "USD";

pub(super) const MAX_ID_LENGTH: usize = 100;

/// A reference to a means of payment at the gateway. Never a card number; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CardToken(String);

impl CardToken {
    /// Creates a token from its value.
    pub fn new(value: &str) -> Self {
        Self(value.to_owned())
    }

    /// The value, only for the request to the gateway.
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
    /// Pieces, 1 to 1,000,000.
    pub quantity: i64,
}

/// Where the activities of each role run. If an order names no queue for a role, the worker's
/// default applies, then the workflow's own queue.
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
    /// Fills the queues that are not set from `defaults`.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            inventory: or(self.inventory, &defaults.inventory),
            payments: or(self.payments, &defaults.payments),
            notifications: or(self.notifications, &defaults.notifications),
        }
    }

    pub(super) fn named(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("inventory", self.inventory.as_deref()),
            ("payments", self.payments.as_deref()),
            ("notifications", self.notifications.as_deref()),
        ]
    }
}

/// A checked order. Every field is within its documented range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// 1 to 100 characters of `A–Z a–z 0–9 . _ -`.
    pub order_id: String,
    /// Total in minor units of the currency (cents), 1 to [`MAX_TOTAL`].
    pub total: i64,
    /// ISO 4217 code, three capital letters.
    pub currency: String,
    /// 1 to [`MAX_ITEMS`] items, each SKU once, sorted by SKU. All orders lock stock in the same
    /// order, so they cannot deadlock.
    pub items: Vec<Item>,
    /// Means of payment; absent means the gateway's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardToken>,
    /// Mail addresses, each once, in the given order; may be empty.
    pub recipients: Vec<String>,
    /// Subject of the mail.
    pub subject: String,
    /// Body of the mail.
    pub body: String,
    /// Seconds that the workflow waits before it pays, during which the order can be cancelled.
    #[serde(default)]
    pub cancel_window_seconds: u64,
    /// Task queues of the activities.
    #[serde(default)]
    pub task_queues: TaskQueues,
    /// Whether the workflow updates the search attribute `OrderState`. Part of the input, so that a
    /// replay repeats what the order did.
    #[serde(default)]
    pub search_attributes: bool,
}

/// Whether `id` may be an order id or a SKU.
pub fn is_order_id(id: &str) -> bool {
    (1..=MAX_ID_LENGTH).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Formats an amount in minor units for people: 12345 is "123.45 USD", and "12345 JPY".
pub fn money(amount: i64, currency: &str) -> String {
    let digits = minor_digits(currency);
    if digits == 0 {
        return format!("{amount} {currency}");
    }
    let (unit, width) = (10_i64.pow(digits), digits as usize);
    format!("{}.{:0width$} {currency}", amount / unit, amount % unit)
}

/// How many decimal digits the minor unit of a currency is, by ISO 4217. Nearly all have two.
fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}
