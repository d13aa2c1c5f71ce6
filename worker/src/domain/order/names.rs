//! Distinguishes a misspelt field from an unknown one. An unknown field, such as one of a later
//! version, may be ignored. A misspelt field must not be, because its value would be lost. Pure.

use strsim::osa_distance;

/// Synonyms and abbreviations of fields, too different to count as typing errors.
const SYNONYMS: [(&str, &str); 11] = [
    ("qty", "quantity"),
    ("count", "quantity"),
    ("pieces", "quantity"),
    ("ccy", "currency"),
    ("lines", "items"),
    ("line_items", "items"),
    ("card_token", "card"),
    ("cancel_window", "cancel_window_seconds"),
    ("cancellation_window", "cancel_window_seconds"),
    ("cancellation_window_seconds", "cancel_window_seconds"),
    ("queues", "task_queues"),
];

/// Words that resemble a field but are not a misspelling of it.
const OWN_WORDS: [&str; 3] = ["object", "quality", "stems"];

/// The known field that `name` most likely means, if `name` is a misspelling: the same letters in
/// another style (`orderId`), a synonym (`qty`), or a typing error (`recipeints`). A field that is
/// also `given` under its own name rules out a typing error.
pub(super) fn meant(
    name: &str,
    known: &[&'static str],
    given: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    let plain = plain(name);
    let other_spelling = |field: &&&str| self::plain(field) == plain;
    if let Some(field) = known.iter().find(other_spelling) {
        return Some(field);
    }
    let synonym = SYNONYMS
        .iter()
        .find(|(word, field)| self::plain(word) == plain && known.contains(field));
    if let Some((_, field)) = synonym {
        return Some(field);
    }
    if OWN_WORDS.contains(&plain.as_str()) {
        return None;
    }
    known
        .iter()
        .filter(|field| !given(field) && is_typing_error(&plain, &self::plain(field)))
        .min_by_key(|field| osa_distance(&plain, &self::plain(field)))
        .copied()
}

/// Keeps letters and digits only, in lower case: `Order-ID` and `orderId` become `orderid`.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .take(60)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Allows two errors in a long name and one in a short one. In a name of three or four letters, a
/// replaced letter gives another word (`cart`, `card`), so only a missing, an extra or two swapped
/// letters count there. The distance counts wrong, missing, extra, and swapped adjacent letters.
fn is_typing_error(name: &str, field: &str) -> bool {
    let allowed = match field.len() {
        0..=2 => 0,
        3..=6 => 1,
        _ => 2,
    };
    let substituted = field.len() < 5
        && name.len() == field.len()
        && name
            .bytes()
            .zip(field.bytes())
            .filter(|(a, b)| a != b)
            .count()
            == 1;
    !substituted && (1..=allowed).contains(&osa_distance(name, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: [&str; 2] = ["sku", "quantity"];
    const SOME: [&str; 7] = [
        "order_id",
        "items",
        "card",
        "subject",
        "recipients",
        "currency",
        "task_queues",
    ];

    fn nothing(_: &str) -> bool {
        false
    }

    #[test]
    fn a_misspelt_field_is_recognised() {
        for (name, field) in [
            ("qty", "quantity"),
            ("Qty", "quantity"),
            ("quantty", "quantity"),
            ("qauntity", "quantity"),
            ("QUANTITY", "quantity"),
            ("count", "quantity"),
            ("SKU", "sku"),
            ("skus", "sku"),
            ("ksu", "sku"),
        ] {
            assert_eq!(meant(name, &ITEM, nothing), Some(field), "{name}");
        }
        for (name, field) in [
            ("orderId", "order_id"),
            ("Order-ID", "order_id"),
            ("item", "items"),
            ("itmes", "items"),
            ("crad", "card"),
            ("cards", "card"),
            ("recipeints", "recipients"),
            ("recipient", "recipients"),
            ("curency", "currency"),
            ("taskQueues", "task_queues"),
            ("task_queue", "task_queues"),
            ("line_items", "items"),
            ("subjekt", "subject"),
        ] {
            assert_eq!(meant(name, &SOME, nothing), Some(field), "{name}");
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_not_taken_for_a_misspelt_one() {
        for name in [
            "",
            "a",
            "ü",
            "price",
            "colour",
            "quality",
            "gift",
            "unit_price",
            "name",
            "tax",
            "id",
        ] {
            assert_eq!(meant(name, &ITEM, nothing), None, "{name}");
        }
        for name in [
            "customer_id",
            "customer",
            "note",
            "notes",
            "cart",
            "terms",
            "times",
            "object",
            "channel",
            "shipping",
            "discount",
            "locale",
            "metadata",
            "email",
            "version",
        ] {
            assert_eq!(meant(name, &SOME, nothing), None, "{name}");
        }
    }

    #[test]
    fn a_typing_error_means_no_field_that_is_there() {
        assert_eq!(meant("order_no", &SOME, nothing), Some("order_id"));
        assert_eq!(meant("order_no", &SOME, |field| field == "order_id"), None);
        // A synonym is refused even if the field is given: the two values may differ.
        assert_eq!(meant("qty", &ITEM, |_| true), Some("quantity"));
    }
}
