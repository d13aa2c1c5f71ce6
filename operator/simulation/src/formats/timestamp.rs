//! Timestamps such as `2023-11-16 18:17:03.9799600` and `2024-05-10 00:00:00.009930+00:00`, to the
//! millisecond. Pure.
//!
//! Why not the crate jiff: this crate has no dependency that could read a clock or a file, and of a
//! timestamp only its distance to another one counts.

/// What [`milliseconds`] reads, for messages.
pub(super) const EXPECTED: &str = "YYYY-MM-DD HH:MM:SS.fraction, with or without +HH:MM";

/// Milliseconds since 1970. Without an offset the time is taken as UTC; `Z` is one, too. There may
/// be any number of digits after the second, or none.
pub(super) fn milliseconds(text: &str) -> Option<i64> {
    let (day, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix([' ', 'T'])?;
    let (time, rest) = (rest.get(..8)?, rest.get(8..)?);
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, offset) = rest.split_at(digits);
            (thousandths(fraction)?, offset)
        }
        None => (0, rest),
    };
    let seconds = days(day)? * 86_400 + seconds(time)? - offset_seconds(offset)?;
    Some(seconds * 1000 + fraction)
}

/// The first three digits after the point.
fn thousandths(digits: &str) -> Option<i64> {
    let first = digits.get(..digits.len().min(3))?;
    Some(number(first)? * 10_i64.pow(3 - u32::try_from(first.len()).ok()?))
}

/// `HH:MM:SS`
fn seconds(time: &str) -> Option<i64> {
    let minutes = minutes(time.get(..5)?)?;
    let second = number(time.get(5..)?.strip_prefix(':')?)?;
    (second < 60).then_some(minutes * 60 + second)
}

/// `HH:MM`
fn minutes(time: &str) -> Option<i64> {
    let (hour, minute) = time.split_once(':')?;
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Nothing, `Z` or `+HH:MM`
fn offset_seconds(offset: &str) -> Option<i64> {
    if offset.is_empty() || offset == "Z" {
        return Some(0);
    }
    if let Some(east) = offset.strip_prefix('+') {
        return Some(minutes(east)? * 60);
    }
    Some(minutes(offset.strip_prefix('-')?)? * -60)
}

/// The days from 1970-01-01 to `YYYY-MM-DD`.
fn days(date: &str) -> Option<i64> {
    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let year = (year.len() == 4).then(|| number(year))??;
    let (month, day) = (two_digits(month)?, two_digits(day)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March end with the leap day, so that the months before a date have a
    // fixed number of days.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    Some(before + (153 * month + 2) / 5 + day - 1 - 719_468)
}

fn two_digits(text: &str) -> Option<i64> {
    (text.len() == 2).then(|| number(text))?
}

/// Digits only: `parse` would accept a sign.
fn number(digits: &str) -> Option<i64> {
    let only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    only.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn a_timestamp_is_read_with_any_fraction_and_offset() {
        let cases = [
            ("1970-01-01 00:00:00", Some(0)),
            ("1970-01-01T00:00:00.1Z", Some(100)),
            ("1969-12-31 23:59:59.999", Some(-1)),
            ("2000-02-29 12:00:00", Some(951_825_600_000)),
            ("2000-03-01 00:00:00", Some(951_868_800_000)),
            ("2001-02-03 04:05:06.7890123", Some(981_173_106_789)),
            ("2001-02-03 04:05:06.000789+00:00", Some(981_173_106_000)),
            ("2001-02-03 04:05:06+00:00", Some(981_173_106_000)),
            ("2001-02-03 09:35:06.5+05:30", Some(981_173_106_500)),
            ("2001-02-02 23:05:06-05:00", Some(981_173_106_000)),
        ];
        let read = cases.map(|(text, _)| (text, milliseconds(text)));
        assert_eq!(read, cases);
    }

    #[test]
    fn what_is_not_a_timestamp_is_refused() {
        let cases = [
            "",
            "981173106",
            "2001-02-03",
            "2001-02-03 04:05",
            "2001-02-03 04:05:06.",
            "2001-02-03 04:05:06.5+0530",
            "2001-02-03 04:05:06.5+05:30x",
            "2001-02-03 04:05:06 +00:00",
            "2001-02-03 24:05:06",
            "2001-02-03 04:60:06",
            "2001-02-03 04:05:60",
            "2001-02-29 04:05:06",
            "2001-13-03 04:05:06",
            "2001-00-03 04:05:06",
            "2001-02-00 04:05:06",
            "2001-+2-03 04:05:06",
            "02/03/2001 04:05:06",
            "２001-02-03 04:05:06",
        ];
        assert_eq!(cases.map(milliseconds), [None; 18]);
    }
}
