//! Checks an order as it arrived: every mistake is one sentence that names the field and says what
//! is allowed, and never repeats the value of `card`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    CardToken, DEFAULT_CURRENCY, DEFAULT_SKU, Item, MAX_ID_LENGTH, MAX_ITEMS, MAX_RECIPIENTS,
    MAX_TOTAL, Order, TaskQueues, is_order_id, money,
};

const MAX_QUANTITY: u64 = 1_000_000;
const MAX_SUBJECT_LENGTH: usize = 200;
const MAX_BODY_LENGTH: usize = 100_000;
const MAX_CANCEL_WINDOW_SECONDS: u64 = 30 * 24 * 3600;
/// Every field an order may have, with its other names.
const KNOWN: [&str; 13] = [
    "order_id",
    "id",
    "total",
    "currency",
    "items",
    "card",
    "payment_token",
    "recipients",
    "subject",
    "body",
    "cancel_window_seconds",
    "task_queues",
    "search_attributes",
];

/// Reads one JSON object field by field; every message names the field and what is allowed.
pub(super) struct Parser<'a> {
    fields: &'a Map<String, Value>,
}

impl<'a> Parser<'a> {
    pub(super) fn parse(value: &'a Value) -> Result<Order, String> {
        let Value::Object(fields) = value else {
            return Err("the order must be a JSON object".to_owned());
        };
        if let Some(unknown) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            let shown: String = unknown.chars().take(40).collect();
            return Err(format!(
                "unknown field {shown:?}; known are {}",
                KNOWN.join(", ")
            ));
        }
        let parser = Parser { fields };
        let order_id = parser.order_id()?;
        let subject = parser.text("subject", MAX_SUBJECT_LENGTH)?;
        if subject
            .as_deref()
            .is_some_and(|s| s.chars().any(char::is_control))
        {
            return Err("subject must be a single line without control characters".to_owned());
        }
        let body = parser.text("body", MAX_BODY_LENGTH)?;
        let total = parser.total()?;
        let currency = parser.currency()?;
        Ok(Order {
            subject: subject.unwrap_or_else(|| format!("Your order {order_id}")),
            body: body.unwrap_or_else(|| default_body(&order_id, total, &currency)),
            items: parser.items()?,
            card: parser.card()?,
            recipients: parser.recipients()?,
            cancel_window_seconds: parser.cancel_window()?,
            task_queues: parser.task_queues()?,
            search_attributes: parser.search_attributes()?,
            order_id,
            total,
            currency,
        })
    }

    /// A field that is present and not null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn order_id(&self) -> Result<String, String> {
        let value = match (self.get("order_id"), self.get("id")) {
            (Some(_), Some(_)) => return Err("give order_id or id, not both".to_owned()),
            (Some(value), None) | (None, Some(value)) => value,
            (None, None) => return Err("order_id is missing".to_owned()),
        };
        let id = value.as_str().ok_or("order_id must be a string")?;
        if !is_order_id(id) {
            return Err(format!(
                "order_id must have 1 to {MAX_ID_LENGTH} characters of A-Z a-z 0-9 . _ -"
            ));
        }
        Ok(id.to_owned())
    }

    fn search_attributes(&self) -> Result<bool, String> {
        match self.get("search_attributes") {
            None => Ok(false),
            Some(Value::Bool(wanted)) => Ok(*wanted),
            Some(_) => Err("search_attributes must be true or false".to_owned()),
        }
    }

    fn total(&self) -> Result<i64, String> {
        let value = self.get("total").ok_or("total is missing")?;
        let total = whole_number(value)
            .ok_or("total must be a whole number of minor units (100 is 1.00), not a fraction")?;
        if !(1..=MAX_TOTAL).contains(&total) {
            return Err(format!(
                "total must be between 1 and {MAX_TOTAL} minor units"
            ));
        }
        Ok(total)
    }

    fn currency(&self) -> Result<String, String> {
        match self.get("currency") {
            None => Ok(DEFAULT_CURRENCY.to_owned()),
            Some(Value::String(code))
                if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                Ok(code.clone())
            }
            Some(_) => Err("currency must be three capital letters, such as USD".to_owned()),
        }
    }

    fn items(&self) -> Result<Vec<Item>, String> {
        let Some(value) = self.get("items") else {
            return Ok(vec![Item {
                sku: DEFAULT_SKU.to_owned(),
                quantity: 1,
            }]);
        };
        let list = value.as_array().ok_or("items must be a list")?;
        if list.is_empty() || list.len() > MAX_ITEMS {
            return Err(format!("items must have 1 to {MAX_ITEMS} entries"));
        }
        let mut merged: BTreeMap<String, i64> = BTreeMap::new();
        for (index, item) in list.iter().enumerate() {
            let sku = item.get("sku").and_then(Value::as_str).unwrap_or_default();
            if !is_order_id(sku) {
                return Err(format!(
                    "items[{index}].sku must have 1 to {MAX_ID_LENGTH} characters of A-Z a-z 0-9 . _ -"
                ));
            }
            let quantity = match item.get("quantity") {
                None => Some(1),
                Some(value) => whole_number(value),
            };
            let quantity = quantity
                .filter(|q| u64::try_from(*q).is_ok_and(|q| (1..=MAX_QUANTITY).contains(&q)))
                .ok_or_else(|| {
                    format!(
                        "items[{index}].quantity must be a whole number from 1 to {MAX_QUANTITY}"
                    )
                })?;
            *merged.entry(sku.to_owned()).or_default() += quantity;
        }
        Ok(merged
            .into_iter()
            .map(|(sku, quantity)| Item { sku, quantity })
            .collect())
    }

    fn card(&self) -> Result<Option<CardToken>, String> {
        let value = match (self.get("card"), self.get("payment_token")) {
            (Some(_), Some(_)) => return Err("give card or payment_token, not both".to_owned()),
            (None, None) => return Ok(None),
            (Some(value), None) | (None, Some(value)) => value,
        };
        let token = value.as_str().ok_or("card must be a string")?;
        if token.is_empty() || token.len() > 200 || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("card must be a token of 1 to 200 visible ASCII characters".to_owned());
        }
        if looks_like_a_card_number(token) {
            return Err(
                "card must be a token of the payment gateway, not a card number".to_owned(),
            );
        }
        Ok(Some(CardToken::new(token)))
    }

    fn recipients(&self) -> Result<Vec<String>, String> {
        let list = match self.get("recipients") {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err("recipients must be a list of mail addresses".to_owned()),
        };
        if list.len() > MAX_RECIPIENTS {
            return Err(format!(
                "recipients must have at most {MAX_RECIPIENTS} entries"
            ));
        }
        let mut seen = BTreeSet::new();
        let mut recipients = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let address = value.as_str().unwrap_or_default();
            if address.parse::<lettre::Address>().is_err() {
                return Err(format!("recipients[{index}] is not a mail address"));
            }
            if seen.insert(address) {
                recipients.push(address.to_owned());
            }
        }
        Ok(recipients)
    }

    fn text(&self, name: &str, max: usize) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= max => Ok(Some(text.clone())),
            Some(_) => Err(format!("{name} must be a text of at most {max} bytes")),
        }
    }

    fn cancel_window(&self) -> Result<u64, String> {
        match self.get("cancel_window_seconds") {
            None => Ok(0),
            Some(value) => value
                .as_u64()
                .filter(|seconds| *seconds <= MAX_CANCEL_WINDOW_SECONDS)
                .ok_or_else(|| {
                    format!("cancel_window_seconds must be from 0 to {MAX_CANCEL_WINDOW_SECONDS}")
                }),
        }
    }

    fn task_queues(&self) -> Result<TaskQueues, String> {
        let Some(value) = self.get("task_queues") else {
            return Ok(TaskQueues::default());
        };
        let queues: TaskQueues = serde_json::from_value(value.clone()).map_err(|_| {
            "task_queues must be an object with the optional texts inventory, payments, notifications"
        })?;
        for (role, queue) in queues.named() {
            if queue.is_some_and(|q| q.is_empty() || q.len() > 200) {
                return Err(format!("task_queues.{role} must have 1 to 200 bytes"));
            }
        }
        Ok(queues)
    }
}

fn default_body(order_id: &str, total: i64, currency: &str) -> String {
    format!(
        "Thank you. Your order {order_id} over {} is paid.\n",
        money(total, currency)
    )
}

/// An integer, also when the sender's language writes it as `100.0`; never a rounded one.
fn whole_number(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    // Beyond 2^53 a float no longer holds every whole number.
    if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
        return None;
    }
    format!("{number:.0}").parse().ok()
}

/// 13 to 19 digits (what people put between them aside) that pass the check digit of payment cards.
fn looks_like_a_card_number(token: &str) -> bool {
    let mut digits = Vec::new();
    for byte in token.bytes() {
        match byte {
            b'0'..=b'9' => digits.push(u32::from(byte - b'0')),
            b' ' | b'-' | b'_' | b'.' | b'/' => {}
            _ => return false,
        }
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}
