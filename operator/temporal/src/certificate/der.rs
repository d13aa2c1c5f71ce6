//! Finds in an X.509 certificate the few bytes that say until when it is valid, and for whom. Pure.
//!
//! No parser of whole certificates: the TLS library judges them.

use crate::der::{Reader, tag};

/// The version, which stands only in certificates of version 2 and 3: nearly all.
const VERSION: u8 = tag::CONTEXT_0;

/// Parts of a name that are printed, by the last byte of their identifier 2.5.4.x.
const NAMES: [(u8, &str); 4] = [(3, "CN"), (10, "O"), (11, "OU"), (6, "C")];

/// The last second of a certificate's validity, since 1970, and its subject. `None` if it is none.
pub(super) fn validity(certificate: &[u8]) -> Option<(i64, String)> {
    let mut outer = Reader(certificate);
    let mut inner = Reader(Reader(outer.expect(tag::SEQUENCE)?).expect(tag::SEQUENCE)?);
    if inner.peek() == Some(VERSION) {
        inner.next()?;
    }
    for _skipped in ["serial number", "signature algorithm", "issuer"] {
        inner.next()?;
    }
    let mut validity = Reader(inner.expect(tag::SEQUENCE)?);
    validity.next()?;
    let (kind, text) = validity.next()?;
    let not_after = time(kind, text)?;
    let subject = name(inner.expect(tag::SEQUENCE)?);
    Some((not_after, subject))
}

/// A time as RFC 5280 has it: to the second, in UTC.
fn time(kind: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match kind {
        tag::UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = digits(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (digits(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| digits(rest.get(at..at + 2)?);
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    let sound = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    sound.then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Days since 1970 in the Gregorian calendar. Years are counted from March, so that the leap day is the
/// last of a year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// A name in the usual form, as far as it has the usual parts: `CN=orders, O=Example`.
fn name(content: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Reader(content);
    while let Some(set) = sets.expect(tag::SET) {
        let part = Reader(set).expect(tag::SEQUENCE).and_then(attribute);
        parts.extend(part);
    }
    parts.join(", ")
}

fn attribute(content: &[u8]) -> Option<String> {
    let mut reader = Reader(content);
    let identifier = reader.expect(tag::OBJECT_IDENTIFIER)?;
    let [0x55, 0x04, last] = identifier else {
        return None;
    };
    let (_, word) = NAMES.iter().find(|(known, _)| known == last)?;
    let (_, value) = reader.next()?;
    Some(format!("{word}={}", String::from_utf8_lossy(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> Option<i64> {
        time(tag::UTC_TIME, text.as_bytes())
    }

    fn generalized(text: &str) -> Option<i64> {
        time(tag::GENERALIZED_TIME, text.as_bytes())
    }

    #[test]
    fn times_are_read_as_certificates_write_them() {
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("000229235959Z"), Some(951_868_799));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(utc("500101000000Z"), Some(-631_152_000));
        assert_eq!(generalized("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(generalized("99991231235959Z"), Some(253_402_300_799));
        for text in [
            "",
            "Z",
            "7001010000Z",
            "700101000000",
            "701301000000Z",
            "7001010000+1Z",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
        assert_eq!(generalized("700101000000Z"), None);
    }

    proptest! {
        #[test]
        fn days_follow_each_other(day in -200_000_i64..3_000_000) {
            // By the year's length alone: the same sum done the slow way.
            let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let mut left = day;
            let mut year = 1970;
            while left < 0 {
                year -= 1;
                left += if leap(year) { 366 } else { 365 };
            }
            while left >= if leap(year) { 366 } else { 365 } {
                left -= if leap(year) { 366 } else { 365 };
                year += 1;
            }
            let february = if leap(year) { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut month = 1;
            for length in lengths {
                if left < length {
                    break;
                }
                left -= length;
                month += 1;
            }
            prop_assert_eq!(days(year, month, left + 1), day);
        }

        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            lengths in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            drop(validity(&bytes));
            // Nested sequences with lengths that lie.
            let framed: Vec<u8> =
                lengths.iter().flat_map(|length| [0x30, *length]).chain(bytes).collect();
            drop(validity(&framed));
        }
    }
}
