//! Interprets the body of a gateway's answer. A gateway need not say more than that its answer is a
//! success; the client trusts whatever else it says. Pure.

use serde_json::Value;

use crate::domain::order::messages::{PaymentRequest, Settlement};
use crate::domain::order::{Payment, whole_number};

/// Maximum length of a stored charge id, in bytes.
const LONGEST_ID: usize = 200;

const CHARGED: [&str; 9] = [
    "charged",
    "captured",
    "paid",
    "succeeded",
    "success",
    "successful",
    "completed",
    "approved",
    "ok",
];
const DECLINED: [&str; 3] = ["declined", "refused", "rejected"];
const VOIDED: [&str; 4] = ["voided", "void", "cancelled", "canceled"];
const UNDECIDED: [&str; 8] = [
    "pending",
    "processing",
    "created",
    "open",
    "requires_action",
    "failed",
    "failure",
    "error",
];
/// Fields whose value `false` means that there was no charge.
const FLAGS: [&str; 4] = ["success", "ok", "paid", "charged"];

/// What an answer says about a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChargeStatus {
    /// The charge went through.
    Charged,
    /// The card was declined.
    Declined,
    /// There is no charge, and there will be none under this key.
    Voided,
    /// There is no charge, or none yet.
    Undecided,
    /// Nothing that this program recognizes.
    Unrecognized,
}

impl ChargeStatus {
    pub(super) fn of(answer: &Value) -> Self {
        let failed = answer.get("error").is_some_and(|error| !error.is_null());
        let no = |flag: &&str| answer.get(*flag) == Some(&Value::Bool(false));
        if failed || FLAGS.iter().any(no) {
            return Self::Undecided;
        }
        let status = answer.get("status").and_then(Value::as_str);
        let status = status.unwrap_or_default().to_ascii_lowercase();
        let is_one_of = |words: &[&str]| words.contains(&status.as_str());
        if is_one_of(&CHARGED) {
            Self::Charged
        } else if is_one_of(&DECLINED) {
            Self::Declined
        } else if is_one_of(&VOIDED) {
            Self::Voided
        } else if is_one_of(&UNDECIDED) {
            Self::Undecided
        } else {
            Self::Unrecognized
        }
    }
}

/// The charge that an answer describes. Missing fields are taken from the request.
pub(super) fn payment(
    answer: &Value,
    key: &str,
    request: &PaymentRequest,
    settled: bool,
) -> Payment {
    let amount = amount(answer).unwrap_or(request.amount);
    if amount != request.amount {
        tracing::warn!(
            order_id = %request.order_id,
            asked = request.amount,
            amount,
            "the gateway says that it charged another amount"
        );
    }
    Payment {
        charge_id: charge_id(answer).unwrap_or_else(|| key.to_owned()),
        amount,
        settled,
    }
}

/// The outcome of the charge, from the answer to a lookup or a void; `None` if the answer does not
/// say.
pub(super) fn settlement(
    answer: &Value,
    key: &str,
    request: &PaymentRequest,
) -> Option<Settlement> {
    match ChargeStatus::of(answer) {
        ChargeStatus::Charged => Some(Settlement::Charged(payment(answer, key, request, true))),
        ChargeStatus::Declined => Some(Settlement::Declined),
        ChargeStatus::Voided => Some(Settlement::Voided),
        ChargeStatus::Undecided | ChargeStatus::Unrecognized => None,
    }
}

/// `charge_id` or `id`, if the database can store it.
fn charge_id(answer: &Value) -> Option<String> {
    ["charge_id", "id"]
        .iter()
        .filter_map(|name| match answer.get(*name)? {
            Value::String(id) => Some(id.trim().to_owned()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        })
        .find(|id| (1..=LONGEST_ID).contains(&id.len()) && !id.chars().any(char::is_control))
}

/// A whole number of minor units, as a number or a string.
fn amount(answer: &Value) -> Option<i64> {
    match answer.get("amount")? {
        Value::String(text) => {
            let text = text.trim();
            let whole = || whole_number(&Value::from(text.parse::<f64>().ok()?));
            text.parse().ok().or_else(whole)
        }
        number => whole_number(number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> PaymentRequest {
        PaymentRequest {
            order_id: "o".to_owned(),
            amount: 100,
            currency: "USD".to_owned(),
            card: None,
            attempts: None,
            asked_since: None,
        }
    }

    fn read(answer: &Value) -> (String, i64) {
        let payment = payment(answer, "key", &request(), false);
        (payment.charge_id, payment.amount)
    }

    #[test]
    fn a_charge_is_read_however_little_the_answer_says_of_it() {
        for (answer, id, amount) in [
            (json!({}), "key", 100),
            (json!(null), "key", 100),
            (json!([1]), "key", 100),
            (
                json!({"charge_id": "ch_1", "id": "x", "amount": 100}),
                "ch_1",
                100,
            ),
            (json!({"id": "pay_7", "amount": 100.0}), "pay_7", 100),
            (json!({"id": 7, "amount": "100"}), "7", 100),
            (json!({"id": "", "amount": "100.0"}), "key", 100),
            (json!({"charge_id": null, "id": "x"}), "x", 100),
            // Not fit to be stored.
            (json!({"id": "a\u{0}b"}), "key", 100),
            (json!({"id": "x".repeat(LONGEST_ID + 1)}), "key", 100),
            (json!({"id": {"a": 1}, "amount": "much"}), "key", 100),
            (json!({"amount": 99.5}), "key", 100),
            (json!({"amount": "NaN"}), "key", 100),
            (json!({"amount": 1e300}), "key", 100),
            (json!({"amount": 90}), "key", 90),
        ] {
            assert_eq!(read(&answer), (id.to_owned(), amount), "{answer}");
        }
    }

    #[test]
    fn what_an_answer_says_of_itself_is_believed() {
        for (answer, expected) in [
            (json!({"status": "charged"}), ChargeStatus::Charged),
            (json!({"status": "OK"}), ChargeStatus::Charged),
            (json!({"status": "Declined"}), ChargeStatus::Declined),
            (json!({"status": "voided"}), ChargeStatus::Voided),
            (json!({"status": "pending"}), ChargeStatus::Undecided),
            (json!({"error": "no such card"}), ChargeStatus::Undecided),
            (json!({"success": false}), ChargeStatus::Undecided),
            (
                json!({"error": null, "id": "x"}),
                ChargeStatus::Unrecognized,
            ),
            (json!({"status": "on its way"}), ChargeStatus::Unrecognized),
            (json!({"status": null}), ChargeStatus::Unrecognized),
            (json!({"status": 200}), ChargeStatus::Unrecognized),
            (json!("charged"), ChargeStatus::Unrecognized),
        ] {
            assert_eq!(ChargeStatus::of(&answer), expected, "{answer}");
        }
    }

    #[test]
    fn a_look_up_that_says_nothing_settles_nothing() {
        for answer in [json!({}), json!({"id": "x"}), json!({"status": "pending"})] {
            assert_eq!(settlement(&answer, "key", &request()), None, "{answer}");
        }
    }
}
