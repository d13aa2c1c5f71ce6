//! Formats numbers and durations as text. Decides nothing.

use std::time::Duration;

use crate::time::millis;

/// A number with its noun, in the plural unless the number is one.
pub(crate) fn count(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

/// Formats thousandths, rounded to one decimal, or with three below one.
pub(crate) fn thousandths(milli: u64) -> String {
    let text = if milli < 1000 {
        format!("0.{milli:03}")
    } else {
        let tenths = milli.saturating_add(50) / 100;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Formats a duration for people.
pub(crate) fn duration(duration: Duration) -> String {
    let all = millis(duration);
    match all {
        0..1000 => format!("{all}ms"),
        1000..120_000 => format!("{}s", thousandths(all)),
        _ => {
            let (minutes, seconds) = (all / 60_000, all % 60_000 / 1000);
            if seconds == 0 {
                format!("{minutes}m")
            } else {
                format!("{minutes}m{seconds}s")
            }
        }
    }
}
