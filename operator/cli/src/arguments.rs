//! Parses values of flags. Pure.

use std::time::Duration;

use taskqueue_api::DurationString;

/// Parses the time limit of a request as kubectl does: a number alone is in seconds, and 0 stands
/// for no limit.
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unit = if is_number { "s" } else { "" };
    let limit: DurationString = format!("{text}{unit}")
        .parse()
        .map_err(|error| format!("{error}"))?;
    Ok(match Duration::from(limit) {
        Duration::ZERO => Duration::MAX,
        limit => limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_a_number_of_seconds_a_duration_or_none() {
        let parsed = ["5", "5s", "1m30s", "500ms", "0", "0s"].map(time_limit);
        let expected = [5_000, 5_000, 90_000, 500].map(|limit| Ok(Duration::from_millis(limit)));
        assert_eq!(parsed[..4], expected);
        assert_eq!(parsed[4..], [Ok(Duration::MAX), Ok(Duration::MAX)]);
        for text in ["", "-1", "1d", "s"] {
            assert!(time_limit(text).is_err(), "{text}");
        }
    }
}
