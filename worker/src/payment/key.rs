//! The idempotency key of a charge. Pure.

/// The idempotency key of an order's charge. It is the same for every attempt and for the
/// settlement, and different for every other order or workflow. It is safe in a header and in a
/// path, whatever characters the ids contain. If the workflow id is derived from the order id
/// (`order-ID`), the workflow id alone is the key.
pub fn idempotency_key(workflow_id: &str, order_id: &str) -> String {
    let mut key = String::with_capacity(workflow_id.len() + order_id.len() + 9);
    append_escaped(&mut key, workflow_id);
    if workflow_id.strip_prefix("order-") != Some(order_id) {
        // An escaped text never contains two consecutive tildes.
        key.push_str("~~");
        append_escaped(&mut key, order_id);
    }
    key.push_str("-charge");
    key
}

fn append_escaped(key: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            key.push(char::from(byte));
        } else {
            let digits = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
            key.push('~');
            key.extend(digits.map(char::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stable_and_safe_whatever_the_workflow_id() {
        assert_eq!(
            idempotency_key("order-test-1", "test-1"),
            "order-test-1-charge"
        );
        assert_eq!(
            idempotency_key("a/b c?ü", "d"),
            "a~2Fb~20c~3F~C3~BC~~d-charge"
        );
        assert_ne!(idempotency_key("a/b", "c"), idempotency_key("a~2Fb", "c"));
        assert_ne!(
            idempotency_key("order-a", "a"),
            idempotency_key("order-a", "b")
        );
    }
}
