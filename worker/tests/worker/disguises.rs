//! Finds a text in any form in which it may be stored: as it is, or as programs print and encode
//! bytes.
//!
//! Why not `exposure` of `taskqueue-testkit`: it finds any part of a long secret, and refuses those
//! below 16 bytes, of which parts occur by chance. A card token is shorter and is looked for whole.

use std::fmt::Write as _;

/// The encodings from which somebody could read the text back.
fn disguises(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    forms.extend((0..3).map(|shift| base64_within(text, shift)));
    let numbers: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    forms.push(numbers.join(", "));
    forms.push(numbers.join(","));
    let mut hex = String::new();
    for byte in text.bytes() {
        write!(hex, "{byte:02x}").unwrap();
    }
    forms.push(hex.to_ascii_uppercase());
    forms.push(hex);
    forms
}

/// The part of a longer text's base64 that depends on this text alone, if the number of bytes
/// before it is `shift` above a multiple of three.
fn base64_within(text: &str, shift: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: Vec<u8> = vec![0; shift * 8];
    for byte in text.bytes() {
        bits.extend((0..8).rev().map(|bit| (byte >> bit) & 1));
    }
    let digits = bits.chunks_exact(6).map(|six| {
        let number = six
            .iter()
            .fold(0, |number, bit| (number << 1) | usize::from(*bit));
        char::from(DIGITS[number])
    });
    // The first digits also depend on the preceding bytes.
    digits.skip((shift * 8).div_ceil(6)).collect()
}

/// Returns those of the texts that are found.
pub(crate) fn found<'a>(texts: &[&'a str], kept: &[u8]) -> Vec<&'a str> {
    // All forms are ASCII, so a lossy conversion misses nothing.
    let kept = String::from_utf8_lossy(kept);
    let mut found = texts.to_vec();
    found.retain(|text| disguises(text).iter().any(|form| kept.contains(form)));
    found
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use temporalio_common::protos::temporal::api::common::v1::Payload;
    use temporalio_common::protos::temporal::api::failure::v1::Failure;

    use super::*;

    #[test]
    fn a_text_is_found_in_every_encoding() {
        const SECRET: &str = "tok_secret";
        for before in ["", "a", "ab", "abc", "{\"card\":\""] {
            let text = format!("{before}{SECRET}\"}}");
            let payload = Payload {
                data: text.clone().into_bytes(),
                ..Payload::default()
            };
            let failure = Failure {
                message: text.clone(),
                ..Failure::default()
            };
            for kept in [
                payload.encode_to_vec(),
                failure.encode_to_vec(),
                format!("{payload:?}").into_bytes(),
                format!("{:?}", text.as_bytes()).into_bytes(),
                format!("{:x?}", text.as_bytes())
                    .replace(", ", "")
                    .into_bytes(),
                serde_json::to_vec(text.as_bytes()).unwrap(),
            ] {
                let shown = String::from_utf8_lossy(&kept);
                assert_eq!(found(&["tok_other", SECRET], &kept), [SECRET], "{shown}");
            }
        }
        assert_eq!(found(&[SECRET], b"tok_secre"), [""; 0]);
    }
}
