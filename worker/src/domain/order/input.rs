//! The raw input of the workflow. Pure.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::checked::{CardToken, Order, TaskQueues};
use super::fields::Rules;
use super::parse;
use crate::domain::failure::{Failure, FailureType};

/// The input of `OrderWorkflow`, exactly as a client of any language sent it.
///
/// Decoding never fails ([`crate::domain::workflow::SentOrder`]): a workflow task that cannot
/// decode its input is retried forever, whereas a workflow that can decode it fails immediately
/// with `InvalidOrder` and says why. [`OrderInput::parse`] does the checks.
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

    /// Sets `name` to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(fields) = &mut self.0 {
            fields.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Asks for the search attribute `OrderState`, unless the input already has a value for it.
    #[must_use]
    pub fn with_search_attributes(mut self) -> Self {
        if let Value::Object(fields) = &mut self.0 {
            fields
                .entry("search_attributes")
                .or_insert(Value::Bool(true));
        }
        self
    }

    /// Fills the task queues that are not set from `queues`.
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

    /// The order's id as the client sent it, unchecked; empty if there is none.
    pub fn claimed_id(&self) -> &str {
        let id = self.0.get("order_id").or_else(|| self.0.get("id"));
        id.and_then(Value::as_str).unwrap_or_default()
    }

    /// The card as the client sent it, unchecked.
    pub fn claimed_card(&self) -> Option<CardToken> {
        let card = |name: &str| self.0.get(name).and_then(Value::as_str);
        card("card")
            .or_else(|| card("payment_token"))
            .map(CardToken::new)
    }

    /// Returns the checked order, or the failure `InvalidOrder` with a message that names the
    /// field.
    ///
    /// Messages never repeat the value of `card`.
    pub fn parse(&self) -> Result<Order, Failure> {
        self.parse_noting_ignored().map(|(order, _)| order)
    }

    /// Like [`OrderInput::parse`], and also returns the names of unknown fields that are ignored
    /// (at most 20).
    pub fn parse_noting_ignored(&self) -> Result<(Order, Vec<String>), Failure> {
        self.parse_with(Rules::Current)
    }

    /// Checks the order by the rules of earlier versions. An order that started under such a
    /// version must not fail halfway.
    pub(crate) fn parse_as_before(&self) -> Result<(Order, Vec<String>), Failure> {
        self.parse_with(Rules::Earlier)
    }

    fn parse_with(&self, rules: Rules) -> Result<(Order, Vec<String>), Failure> {
        parse::parse(&self.0, rules)
            .map_err(|message| Failure::new(FailureType::InvalidOrder, message))
    }
}

impl std::fmt::Debug for OrderInput {
    // The card token stays out of logs even if someone prints the input.
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
