//! Durations as users write them (`5s`, `10m`, `1h30m`). Pure: parsing and printing only.
//!
//! The format is the part of Go's duration syntax that CEL's `duration()` reads too, so that the
//! schema, its rules and this parser agree on every string.

use std::{fmt, str::FromStr, time::Duration};

use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What the schema accepts, from two characters on; [`DurationString::from_str`] accepts exactly
/// the same. It is part of each field's rule (see [`DurationRange::rule`]) instead of a `pattern`,
/// whose error message would only quote it.
const PATTERN: &str = "^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?([0-9]{1,5}ms)?$";

/// The longest string that [`PATTERN`] accepts.
const MAX_LENGTH: usize = 25;

/// Units in the order in which they may appear, with their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration, written as whole hours, minutes, seconds and milliseconds in that order, each at
/// most once: `5s`, `10m`, `1h30m`, `500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationString(u64);

/// Why a string is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a duration: write whole numbers with units, largest first, such as 5s, 10m, \
     1h30m or 500ms"
)]
pub struct ParseDurationError(String);

impl DurationString {
    /// Creates a duration from milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Creates a duration from seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// The length in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The length in whole seconds, rounded up: a wait of this length is never too short.
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

/// Parses a duration from `least` to `most`, both included: the value of a flag.
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

/// The bounds of a duration field, shared by its schema rule and its validation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurationRange {
    /// The name of the field, for messages.
    pub(crate) field: &'static str,
    /// The shortest duration allowed.
    pub(crate) least: DurationString,
    /// The longest duration allowed.
    pub(crate) most: DurationString,
}

impl DurationRange {
    pub(crate) const fn new(field: &'static str, least_millis: u64, most_millis: u64) -> Self {
        Self {
            field,
            least: DurationString(least_millis),
            most: DurationString(most_millis),
        }
    }

    pub(crate) fn contains(&self, value: DurationString) -> bool {
        self.least <= value && value <= self.most
    }

    pub(crate) fn message(&self) -> String {
        let Self { field, least, most } = self;
        format!("{field} must be a duration such as 5s, 10m or 1h30m, from {least} to {most}")
    }

    /// The rule for the schema of the field.
    pub(crate) fn rule(&self) -> Rule {
        let Self { least, most, .. } = self;
        // The pattern comes first, since duration() would fail with an error message of its own.
        Rule::new(format!(
            "self.matches('{PATTERN}') && duration(self) >= duration('{least}') && duration(self) \
             <= duration('{most}')"
        ))
        .message(self.message().as_str())
    }
}

impl From<DurationString> for Duration {
    fn from(value: DurationString) -> Self {
        Self::from_millis(value.0)
    }
}

impl From<Duration> for DurationString {
    fn from(value: Duration) -> Self {
        Self(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
}

impl FromStr for DurationString {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseDurationError(text.chars().take(40).collect());
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut millis = 0_u64;
        if rest.is_empty() {
            return Err(refuse());
        }
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.len()
                - tail
                    .trim_start_matches(|c: char| c.is_ascii_lowercase())
                    .len();
            let (unit, tail) = tail.split_at(letters);
            // Searching consumes `units`, which enforces their order and forbids repetitions.
            let (_, length) = units.find(|(name, _)| *name == unit).ok_or_else(refuse)?;
            if !(1..=5).contains(&digits) {
                return Err(refuse());
            }
            let number: u64 = number.parse().map_err(|_| refuse())?;
            millis = millis.saturating_add(number.saturating_mul(*length));
            rest = tail;
        }
        Ok(Self(millis))
    }
}

impl fmt::Display for DurationString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, length) in UNITS {
            let count = rest / length;
            rest %= length;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for DurationString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for DurationString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": MAX_LENGTH,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_parsed_to_milliseconds() {
        let read: Vec<(&str, u64)> = [
            "5s", "10m", "1h30m", "500ms", "0s", "1h0m5s", "90s", "00007m",
        ]
        .into_iter()
        .map(|text| (text, text.parse::<DurationString>().unwrap().as_millis()))
        .collect();
        assert_eq!(
            read,
            [
                ("5s", 5_000),
                ("10m", 600_000),
                ("1h30m", 5_400_000),
                ("500ms", 500),
                ("0s", 0),
                ("1h0m5s", 3_605_000),
                ("90s", 90_000),
                ("00007m", 420_000),
            ]
        );
    }

    #[test]
    fn other_texts_are_refused_with_a_remedy() {
        for text in [
            "", "5", "s", "5 s", "-5s", "1.5h", "5s1m", "1m1m", "100000s", "5d", "5S", "5µs",
        ] {
            let error = text.parse::<DurationString>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "\"{text}\" is not a duration: write whole numbers with units, largest first, \
                     such as 5s, 10m, 1h30m or 500ms"
                )
            );
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back_as_itself(millis in 0..359_999_000_000_u64) {
            let duration = DurationString::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse::<DurationString>().unwrap(), duration);
            prop_assert!(duration.to_string().len() <= MAX_LENGTH);
        }

        #[test]
        fn an_accepted_text_prints_as_an_equal_duration(
            text in prop_oneof![
                ".{0,40}",
                "([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?([0-9]{1,5}ms)?",
            ],
        ) {
            if let Ok(duration) = text.parse::<DurationString>() {
                prop_assert_eq!(duration.to_string().parse::<DurationString>().unwrap(), duration);
            }
        }
    }
}
