//! Times and spans in words, for messages and notes. Pure.
//!
//! Why not the crate jiff: this crate has no dependency that could read a clock.

/// The last millisecond of the year 9999.
pub(super) const LATEST: i64 = 253_402_300_799_999;

/// A time as `2026-11-30 13:36:28 UTC`. Times before 1970 or after 9999 are shown as their number
/// of milliseconds.
pub(super) fn utc(millis: i64) -> String {
    if !(0..=LATEST).contains(&millis) {
        return format!("{millis} ms since 1970");
    }
    let seconds = millis / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The year, month and day that is this many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut left) = (1970, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// A span such as `1h30m`, `45s` or `0.5s`. From a minute on, in whole seconds.
pub(super) fn span(millis: u64) -> String {
    if millis < 60_000 {
        let text = format!("{:.1}", millis as f64 / 1000.0);
        return format!("{}s", text.trim_end_matches(".0"));
    }
    let seconds = millis / 1000;
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts = parts.map(|(count, unit)| format!("{count}{unit}"));
    parts.collect::<Vec<String>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_with_its_date() {
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599_999, "2024-12-31 23:59:59 UTC"),
            (1_796_045_788_123, "2026-11-30 13:36:28 UTC"),
            (LATEST, "9999-12-31 23:59:59 UTC"),
            (-1, "-1 ms since 1970"),
            (i64::MAX, "9223372036854775807 ms since 1970"),
        ];
        for (millis, expected) in table {
            assert_eq!(utc(millis), expected);
        }
    }

    #[test]
    fn a_span_is_shown_in_its_largest_units() {
        let table = [
            (0, "0s"),
            (50, "0.1s"),
            (15_000, "15s"),
            (2_500, "2.5s"),
            (60_000, "1m"),
            (5_400_000, "1h30m"),
            (86_399_999, "23h59m59s"),
        ];
        for (millis, expected) in table {
            assert_eq!(span(millis), expected);
        }
    }
}
