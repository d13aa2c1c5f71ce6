//! Checks a raw order. Pure.

use serde_json::Value;

use super::checked::{Order, TaskQueues, money};
use super::fields::{Fields, Rules};

const MAX_CANCEL_WINDOW_SECONDS: u64 = 30 * 24 * 3600;
/// Maximum length of a task queue's name, in bytes.
pub(crate) const MAX_QUEUE_LENGTH: usize = 200;
/// All fields of an order, including alternative names.
pub(crate) const KNOWN: [&str; 13] = [
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
/// The roles whose task queue an order can set.
const ROLES: [&str; 3] = ["inventory", "payments", "notifications"];

/// Returns the order, and the names of the unknown fields that are ignored.
pub(super) fn parse(value: &Value, rules: Rules) -> Result<(Order, Vec<String>), String> {
    let Value::Object(map) = value else {
        return Err("the order must be a JSON object".to_owned());
    };
    // Misspelt top-level fields have always been refused.
    let mut fields = Fields::new(map, "", &KNOWN, &[], Rules::Current)?;
    fields.within(rules);
    let order_id = fields.order_id()?;
    let subject = fields.subject()?;
    let body = fields.body()?;
    let total = fields.amount("total", "total")?;
    let currency = fields.currency()?;
    let order = Order {
        subject: subject.unwrap_or_else(|| format!("Your order {order_id}")),
        body: body.unwrap_or_else(|| default_body(&order_id, total, &currency)),
        items: fields.items()?,
        card: fields.card()?,
        recipients: fields.recipients()?,
        cancel_window_seconds: cancel_window(&fields)?,
        task_queues: task_queues(&mut fields, rules)?,
        search_attributes: search_attributes(&fields)?,
        order_id,
        total,
        currency,
    };
    Ok((order, fields.into_ignored()))
}

fn search_attributes(fields: &Fields<'_>) -> Result<bool, String> {
    match fields.get("search_attributes") {
        None => Ok(false),
        Some(Value::Bool(wanted)) => Ok(*wanted),
        Some(_) => Err("search_attributes must be true or false".to_owned()),
    }
}

fn cancel_window(fields: &Fields<'_>) -> Result<u64, String> {
    match fields.get("cancel_window_seconds") {
        None => Ok(0),
        Some(value) => value
            .as_u64()
            .filter(|seconds| *seconds <= MAX_CANCEL_WINDOW_SECONDS)
            .ok_or_else(|| {
                format!("cancel_window_seconds must be from 0 to {MAX_CANCEL_WINDOW_SECONDS}")
            }),
    }
}

fn task_queues(fields: &mut Fields<'_>, rules: Rules) -> Result<TaskQueues, String> {
    let Some(value) = fields.get("task_queues") else {
        return Ok(TaskQueues::default());
    };
    if let Value::Object(map) = value {
        let queues = Fields::new(map, "task_queues.", &ROLES, &[], rules)?;
        fields.note(queues.into_ignored());
    }
    let queues: TaskQueues = serde_json::from_value(value.clone()).map_err(|_| {
        "task_queues must be an object with the optional texts inventory, payments, notifications"
    })?;
    for (role, queue) in queues.named() {
        if queue.is_some_and(|q| q.is_empty() || q.len() > MAX_QUEUE_LENGTH) {
            return Err(format!(
                "task_queues.{role} must have 1 to {MAX_QUEUE_LENGTH} bytes"
            ));
        }
    }
    Ok(queues)
}

fn default_body(order_id: &str, total: i64, currency: &str) -> String {
    format!(
        "Thank you. Your order {order_id} over {} is paid.\n",
        money(total, currency)
    )
}
