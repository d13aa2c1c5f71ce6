//! Parsers of command-line values. Pure.

use std::time::Duration;

use taskqueue_api::DurationString;

/// Parses a duration from `least` to `most`, both included.
pub fn duration_between(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<DurationString, String> + Clone {
    move |text| {
        let duration: DurationString = text.parse().map_err(|error| format!("{error}"))?;
        if (least..=most).contains(&Duration::from(duration)) {
            return Ok(duration);
        }
        let (least, most) = (DurationString::from(least), DurationString::from(most));
        Err(format!("must be from {least} to {most}"))
    }
}
