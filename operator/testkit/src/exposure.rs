//! Finds parts of a secret in a text: as plain bytes, or in the forms in which programs print and
//! encode bytes.

use std::collections::HashSet;

/// How many bytes of a secret in a row count as a part of it; fewer may occur by chance.
const PART: usize = 16;

/// The first part of a secret that can be recovered from a text: as it is, or from decimal numbers,
/// hexadecimal digits or base64.
pub fn exposed(secrets: &[&[u8]], text: &str) -> Option<String> {
    let parts: HashSet<&[u8]> = secrets
        .iter()
        .inspect(|secret| assert!(secret.len() >= PART, "too short to be found: {secret:?}"))
        .flat_map(|secret| secret.windows(PART))
        .collect();
    let holds = |bytes: &[u8]| {
        let part = bytes.windows(PART).find(|part| parts.contains(part));
        part.map(|part| String::from_utf8_lossy(part).into_owned())
    };
    let mut readings = vec![text.as_bytes().to_vec()];
    let plain = text.replace("0x", "").replace("\\x", "");
    readings.extend(numbers(text, 10));
    readings.extend(numbers(&plain, 16));
    readings.extend(hexadecimal(&plain));
    readings.extend(base64(text));
    readings.iter().find_map(|bytes| holds(bytes))
}

/// The characters that may separate the bytes of a list.
const SEPARATORS: &str = " ,;:-\n";

/// Runs of numbers below 256.
fn numbers(text: &str, radix: u32) -> Vec<Vec<u8>> {
    let listed = |c: char| c.is_digit(radix) || SEPARATORS.contains(c);
    text.split(|c: char| !listed(c))
        .flat_map(|list| {
            let mut runs = vec![Vec::new()];
            for word in list
                .split(|c: char| SEPARATORS.contains(c))
                .filter(|word| !word.is_empty())
            {
                let Ok(byte) = u8::from_str_radix(word, radix) else {
                    runs.push(Vec::new());
                    continue;
                };
                runs.last_mut().unwrap().push(byte);
            }
            runs
        })
        .collect()
}

/// Runs of hexadecimal digits, two per byte, starting at an even or an odd digit.
fn hexadecimal(text: &str) -> Vec<Vec<u8>> {
    text.split(|c: char| !(c.is_ascii_hexdigit() || SEPARATORS.contains(c)))
        .map(|run| {
            run.chars()
                .filter_map(|c| c.to_digit(16))
                .collect::<Vec<_>>()
        })
        .filter(|run| run.len() >= 2 * PART)
        .flat_map(|run| {
            [0, 1].map(|shift| {
                let pairs = run[shift..].chunks_exact(2);
                pairs
                    .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
                    .collect()
            })
        })
        .collect()
}

/// Runs of base64, starting at any digit.
fn base64(text: &str) -> Vec<Vec<u8>> {
    let digit = |c: char| {
        Some(match c {
            'A'..='Z' => c as u32 - 'A' as u32,
            'a'..='z' => c as u32 - 'a' as u32 + 26,
            '0'..='9' => c as u32 - '0' as u32 + 52,
            '+' | '-' => 62,
            '/' | '_' => 63,
            _ => return None,
        })
    };
    text.replace("\\n", "\n")
        .split(|c: char| digit(c).is_none() && c != '\n')
        .map(|run| run.chars().filter_map(digit).collect::<Vec<_>>())
        .filter(|run| run.len() >= PART * 4 / 3)
        .flat_map(|run| {
            [0, 1, 2, 3].map(|shift| {
                run[shift..]
                    .chunks_exact(4)
                    .flat_map(|four| {
                        let bits = four.iter().fold(0_u32, |bits, digit| bits << 6 | digit);
                        bits.to_be_bytes().into_iter().skip(1)
                    })
                    .collect()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_secret_is_found_in_every_form() {
        let secret: Vec<u8> = (0..40_u8)
            .map(|n| n.wrapping_mul(37).wrapping_add(11))
            .collect();
        let word = b"open-sesame-and-shut-again".as_slice();
        let part = &secret[7..27];
        let upper: Vec<String> = part.iter().map(|byte| format!("{byte:02X}")).collect();
        let upper = upper.join(":");
        for text in [
            format!("marker: {part:?}"),
            format!("marker: {part:x?}"),
            format!("marker: {part:#04x?}"),
            format!("marker: {upper}"),
            format!("{:?} and so on", &word[3..22]),
            "the key open-sesame-and-shut-".to_owned(),
            // The same word in base64, with one and two bytes before it.
            "eCBvcGVuLXNlc2FtZS1hbmQtc2h1dC1hZ2Fpbg==".to_owned(),
            "eHggb3Blbi1zZXNhbWUtYW5kLXNodXQtYWdhaW4=".to_owned(),
        ] {
            assert!(exposed(&[&secret, word], &text).is_some(), "{text}");
        }
        for text in [
            "",
            "open-sesame-and",
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17",
        ] {
            assert_eq!(exposed(&[&secret, word], text), None, "{text}");
        }
    }
}
