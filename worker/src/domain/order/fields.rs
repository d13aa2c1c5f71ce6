//! Reads the fields of one JSON object: an order or the input of an activity. Every error is one
//! sentence that names the field and the allowed values, and never repeats the value of `card`.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::checked::{
    CardToken, DEFAULT_CURRENCY, DEFAULT_SKU, Item, MAX_ID_LENGTH, MAX_ITEMS, MAX_RECIPIENTS,
    MAX_TOTAL, is_order_id,
};
use super::names;

const MAX_QUANTITY: i64 = 1_000_000;
const MAX_SUBJECT_LENGTH: usize = 200;
const MAX_BODY_LENGTH: usize = 100_000;
/// The fields of an item.
const ITEM: [&str; 2] = ["sku", "quantity"];
/// Fields with two names.
const OTHER_NAMES: [(&str, &str); 3] = [
    ("order_id", "id"),
    ("card", "payment_token"),
    ("amount", "total"),
];
/// Maximum length of a field name in a message or a log, in characters.
const SHOWN: usize = 40;
/// Maximum number of ignored fields that are reported.
const NOTED: usize = 20;

/// The rules by which fields are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Those of this version: a field that looks misspelt is refused, and so are items of one SKU
    /// that are too many together.
    Current,
    /// Those of earlier versions, which ignored both within items and task queues.
    Earlier,
}

/// The fields of one JSON object.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Prefix of field names in messages: empty, or for example `items[0].`.
    place: String,
    rules: Rules,
    ignored: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The fields of `map`. By the current rules, fails if a field looks like a misspelt known one.
    /// Fields that are neither known nor `silent` are noted as ignored.
    pub(crate) fn new(
        map: &'a Map<String, Value>,
        place: &str,
        known: &[&'static str],
        silent: &[&str],
        rules: Rules,
    ) -> Result<Self, String> {
        let mut fields = Self {
            map,
            place: place.to_owned(),
            rules,
            ignored: Vec::new(),
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            let shown: String = name.chars().take(SHOWN).collect();
            if rules == Rules::Current
                && !silent.contains(&name.as_str())
                && let Some(meant) = names::meant(name, known, |field| fields.is_given(field))
            {
                let name = format!("{place}{shown}");
                return Err(format!("unknown field {name:?}; did you mean {meant}?"));
            }
            if !silent.contains(&name.as_str()) && fields.ignored.len() < NOTED {
                fields.ignored.push(format!("{place}{shown}"));
            }
        }
        Ok(fields)
    }

    /// Sets the rules for nested objects, if they are not those of this object.
    pub(crate) fn within(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The names of the fields ignored so far, at most 20.
    pub(crate) fn into_ignored(self) -> Vec<String> {
        self.ignored
    }

    /// Returns a field that is present and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is present under any of its names.
    fn is_given(&self, name: &str) -> bool {
        let other = OTHER_NAMES.iter().find_map(|(one, other)| match name {
            name if name == *one => Some(*other),
            name if name == *other => Some(*one),
            _ => None,
        });
        self.get(name).is_some() || other.is_some_and(|other| self.get(other).is_some())
    }

    /// Returns a field that has two names. Both may be given if they have the same value.
    fn either(&self, name: &str, other: &str) -> Result<Option<&'a Value>, String> {
        match (self.get(name), self.get(other)) {
            (Some(one), Some(two)) if one != two => {
                let place = &self.place;
                Err(format!(
                    "{place}{name} and {other} are two names of one field and must not differ; \
                     give one of them"
                ))
            }
            (one, two) => Ok(one.or(two)),
        }
    }

    /// Returns `order_id`, or `id`; `None` if both are missing.
    pub(crate) fn optional_order_id(&self) -> Result<Option<String>, String> {
        let Some(value) = self.either("order_id", "id")? else {
            return Ok(None);
        };
        let id = value.as_str().ok_or("order_id must be a string")?;
        if !is_order_id(id) {
            return Err(format!(
                "order_id must have 1 to {MAX_ID_LENGTH} characters of A-Z a-z 0-9 . _ -"
            ));
        }
        Ok(Some(id.to_owned()))
    }

    pub(crate) fn order_id(&self) -> Result<String, String> {
        self.optional_order_id()?
            .ok_or_else(|| "order_id is missing".to_owned())
    }

    /// Returns an amount in minor units, under either of two names.
    pub(crate) fn amount(&self, name: &str, other: &str) -> Result<i64, String> {
        let value = self
            .either(name, other)?
            .ok_or_else(|| format!("{name} is missing"))?;
        let amount = whole_number(value).ok_or_else(|| {
            format!("{name} must be a whole number of minor units (100 is 1.00), not a fraction")
        })?;
        if !(1..=MAX_TOTAL).contains(&amount) {
            return Err(format!(
                "{name} must be between 1 and {MAX_TOTAL} minor units"
            ));
        }
        Ok(amount)
    }

    pub(crate) fn currency(&self) -> Result<String, String> {
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

    pub(crate) fn items(&mut self) -> Result<Vec<Item>, String> {
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
            let item = item
                .as_object()
                .ok_or_else(|| format!("items[{index}] must be an object with sku and quantity"))?;
            let item = self.item(index, item)?;
            *merged.entry(item.sku).or_default() += item.quantity;
        }
        if self.rules == Rules::Current
            && let Some((sku, sum)) = merged.iter().find(|(_, sum)| **sum > MAX_QUANTITY)
        {
            return Err(format!(
                "items must have at most {MAX_QUANTITY} pieces of one sku; they have {sum} of {sku}"
            ));
        }
        Ok(merged
            .into_iter()
            .map(|(sku, quantity)| Item { sku, quantity })
            .collect())
    }

    fn item(&mut self, index: usize, item: &Map<String, Value>) -> Result<Item, String> {
        let place = format!("items[{index}].");
        let fields = Fields::new(item, &place, &ITEM, &[], self.rules)?;
        let sku = fields
            .get("sku")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !is_order_id(sku) {
            return Err(format!(
                "{place}sku must have 1 to {MAX_ID_LENGTH} characters of A-Z a-z 0-9 . _ -"
            ));
        }
        let quantity = fields
            .get("quantity")
            .map_or(Some(1), whole_number)
            .filter(|quantity| (1..=MAX_QUANTITY).contains(quantity))
            .ok_or_else(|| {
                format!("{place}quantity must be a whole number from 1 to {MAX_QUANTITY}")
            })?;
        let sku = sku.to_owned();
        self.note(fields.into_ignored());
        Ok(Item { sku, quantity })
    }

    pub(crate) fn card(&self) -> Result<Option<CardToken>, String> {
        let Some(value) = self.either("card", "payment_token")? else {
            return Ok(None);
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

    pub(crate) fn recipients(&self) -> Result<Vec<String>, String> {
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

    pub(crate) fn subject(&self) -> Result<Option<String>, String> {
        let subject = self.text("subject", MAX_SUBJECT_LENGTH)?;
        if subject
            .as_deref()
            .is_some_and(|s| s.chars().any(char::is_control))
        {
            return Err("subject must be a single line without control characters".to_owned());
        }
        Ok(subject)
    }

    pub(crate) fn body(&self) -> Result<Option<String>, String> {
        self.text("body", MAX_BODY_LENGTH)
    }

    /// Returns a whole number that is not negative.
    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = whole_number(value).filter(|number| *number >= 0);
        let number = number.and_then(|number| T::try_from(number).ok());
        let wrong = || format!("{name} must be a whole number that is not negative");
        number.map(Some).ok_or_else(wrong)
    }

    pub(crate) fn text(&self, name: &str, max: usize) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= max => Ok(Some(text.clone())),
            Some(_) => Err(format!("{name} must be a text of at most {max} bytes")),
        }
    }

    /// Adds the ignored fields of a nested object.
    pub(crate) fn note(&mut self, mut ignored: Vec<String>) {
        ignored.truncate(NOTED.saturating_sub(self.ignored.len()));
        self.ignored.append(&mut ignored);
    }
}

/// Returns an integer, also if it is written as `100.0`; never rounds.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    // Above 2^53 a float cannot represent every whole number.
    if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
        return None;
    }
    format!("{number:.0}").parse().ok()
}

/// Whether a text consists of 13 to 19 digits (apart from separators) that pass the check digit of
/// payment cards.
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
