//! Cron expressions with five fields, as in crontab and CronJob. Pure.
//!
//! Minute, hour, day of month, month, day of week; `*`, numbers, ranges, lists, steps, and the
//! English three-letter names of months and days. If both the day of month and the day of week are
//! restricted, one match suffices.
//!
//! Why not a crate: cronexpr reads the same expressions, but it loses times that the clocks skip,
//! counts times that they repeat twice, and looks only four years ahead. A schedule would lose a
//! minimum for a day. The pattern of the CRD cannot refuse that, since it depends on the date;
//! `tests/cron.rs` compares both. jiff-cron has a field for seconds, counts Sunday as 1, and
//! requires both days to match.

use std::{fmt, str::FromStr};

use jiff::civil::Date;

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days are restricted, so one match suffices.
    either_day: bool,
}

/// Why a text is not a cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a cron expression ({problem}): write minute, hour, day of month, month and \
     day of week, such as \"0 8 * * MON-FRI\""
)]
pub struct ParseCronError {
    text: String,
    problem: String,
}

/// One of the five fields.
struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    /// Names of the values, starting at `least`.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        least: 1,
        most: 31,
        names: &[],
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    },
    // 7 is Sunday too.
    Field {
        name: "day of week",
        least: 0,
        most: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

/// What the schema accepts: the shape and the numbers of each field. The parser checks the order of
/// ranges.
pub(crate) const PATTERN: &str = concat!(
    r"^(\*|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?(,(\*|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?)*",
    r" (\*|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?(,(\*|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?)*",
    r" (\*|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?(,(\*|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?)*",
    r" (\*|(0?[1-9]|1[0-2]|[A-Z]{3})(-(0?[1-9]|1[0-2]|[A-Z]{3}))?)(/[1-9][0-9]?)?(,(\*|(0?[1-9]|1[0-2]|[A-Z]{3})(-(0?[1-9]|1[0-2]|[A-Z]{3}))?)(/[1-9][0-9]?)?)*",
    r" (\*|([0-7]|[A-Z]{3})(-([0-7]|[A-Z]{3}))?)(/[1-9][0-9]?)?(,(\*|([0-7]|[A-Z]{3})(-([0-7]|[A-Z]{3}))?)(/[1-9][0-9]?)?)*$",
);

impl Cron {
    /// How far to search, in days: eight years, the longest time without a leap day, plus a day.
    pub const CYCLE_DAYS: u32 = 8 * 366 + 1;

    /// Whether the expression matches this day.
    pub fn matches_date(&self, date: Date) -> bool {
        let is_in =
            |set: u64, value: i8| u32::try_from(value).is_ok_and(|value| set >> value & 1 == 1);
        let day = is_in(self.days, date.day());
        let weekday = is_in(self.weekdays, date.weekday().to_sunday_zero_offset());
        let either = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        is_in(self.months, date.month()) && either
    }

    /// The hours and minutes that match on a matching day, in order.
    pub fn times(&self) -> impl Iterator<Item = (i8, i8)> + '_ {
        values(self.hours).flat_map(|hour| values(self.minutes).map(move |minute| (hour, minute)))
    }
}

/// The members of a set, in order.
fn values(set: u64) -> impl Iterator<Item = i8> + Clone {
    (0..60_i8).filter(move |value| set >> value & 1 == 1)
}

impl FromStr for Cron {
    type Err = ParseCronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: String| ParseCronError {
            text: text.chars().take(60).collect(),
            problem,
        };
        let parts: Vec<&str> = text.split(' ').collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(refuse(format!("expected 5 fields, found {}", parts.len())));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let set = |field: &Field, text: &str| field.parse(text).map_err(refuse);
        let weekdays = set(weekdays, weekday)?;
        Ok(Self {
            text: text.to_owned(),
            minutes: set(minutes, minute)?,
            hours: set(hours, hour)?,
            days: set(days, day)?,
            months: set(months, month)?,
            // Sunday is 7 as well as 0.
            weekdays: weekdays | weekdays >> 7 & 1,
            // As in crontab, a field that begins with a star counts as unrestricted: then both days
            // must match.
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }
}

impl Field {
    /// The values that a field allows, as a bit set.
    fn parse(&self, text: &str) -> Result<u64, String> {
        text.split(',')
            .try_fold(0, |set, item| Ok(set | self.item(item)?))
    }

    fn item(&self, text: &str) -> Result<u64, String> {
        let (range, step) = match text.split_once('/') {
            None => (text, None),
            Some((range, step)) => (range, Some(self.step(step)?)),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            // With a step, a single value is the start of a range.
            None => {
                let first = self.value(range)?;
                (first, if step.is_some() { self.most } else { first })
            }
        };
        if first > last {
            return Err(format!(
                "the range {range} in the {} runs backwards; write two ranges, joined by a comma",
                self.name
            ));
        }
        let members = (first..=last).step_by(step.unwrap_or(1));
        Ok(members.fold(0, |set, value| set | 1 << value))
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let step = text.parse().ok().filter(|step| (1..100).contains(step));
        step.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| {
                format!(
                    "the step {text:?} in the {} is not a number from 1 to 99",
                    self.name
                )
            })
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let digits =
            (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        let named = self.names.iter().position(|name| *name == text);
        let named = named
            .and_then(|index| u8::try_from(index).ok())
            .map(|index| self.least + index);
        number
            .or(named)
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| {
                format!(
                    "the {} {text:?} is not a value from {} to {}",
                    self.name, self.least, self.most
                )
            })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days_of_2026(cron: &str) -> Vec<String> {
        let cron: Cron = cron.parse().unwrap();
        let first = Date::constant(2026, 1, 1);
        first
            .series(jiff::Span::new().days(1))
            .take(365)
            .filter(|date| cron.matches_date(*date))
            .map(|date| date.strftime("%m-%d").to_string())
            .collect()
    }

    #[test]
    fn fields_are_stars_numbers_ranges_lists_steps_and_names() {
        let times = |text: &str| text.parse::<Cron>().unwrap().times().collect::<Vec<_>>();
        assert_eq!(times("0 8 * * *"), [(8, 0)]);
        assert_eq!(
            times("*/20 0,12 * * *"),
            [(0, 0), (0, 20), (0, 40), (12, 0), (12, 20), (12, 40)]
        );
        assert_eq!(
            times("5/25 3-9/3 * * *"),
            [
                (3, 5),
                (3, 30),
                (3, 55),
                (6, 5),
                (6, 30),
                (6, 55),
                (9, 5),
                (9, 30),
                (9, 55)
            ]
        );
        assert_eq!(times("* * * * *").len(), 1440);
        assert_eq!(
            days_of_2026("0 0 1 JAN-MAR,12 *"),
            ["01-01", "02-01", "03-01", "12-01"]
        );
        assert_eq!(days_of_2026("0 0 * 2 SUN"), days_of_2026("0 0 * FEB 7"));
        assert_eq!(
            days_of_2026("0 0 * 2 0"),
            ["02-01", "02-08", "02-15", "02-22"]
        );
    }

    #[test]
    fn one_match_suffices_if_both_days_are_restricted() {
        assert_eq!(
            days_of_2026("0 0 13 2 FRI"),
            ["02-06", "02-13", "02-20", "02-27"]
        );
        assert_eq!(
            days_of_2026("0 0 10 2 FRI"),
            ["02-06", "02-10", "02-13", "02-20", "02-27"]
        );
    }

    #[test]
    fn an_invalid_expression_is_refused_with_the_wrong_field() {
        let problem = |text: &str| text.parse::<Cron>().unwrap_err().problem;
        let problems = [
            "",
            "0 8 * *",
            "0  8 * * *",
            "60 8 * * *",
            "0 24 * * *",
            "0 8 0 * *",
            "0 8 * 13 *",
            "0 8 * * 8",
            "0 8 * * mon",
            "0 22-6 * * *",
            "*/0 8 * * *",
            "0 8 * * FRI-MON",
            "-1 8 * * *",
            "+1 8 * * *",
            "0, 8 * * *",
            "@daily",
        ]
        .map(problem);
        assert_eq!(
            problems,
            [
                "expected 5 fields, found 1",
                "expected 5 fields, found 4",
                "expected 5 fields, found 6",
                "the minute \"60\" is not a value from 0 to 59",
                "the hour \"24\" is not a value from 0 to 23",
                "the day of month \"0\" is not a value from 1 to 31",
                "the month \"13\" is not a value from 1 to 12",
                "the day of week \"8\" is not a value from 0 to 7",
                "the day of week \"mon\" is not a value from 0 to 7",
                "the range 22-6 in the hour runs backwards; write two ranges, joined by a comma",
                "the step \"0\" in the minute is not a number from 1 to 99",
                "the range FRI-MON in the day of week runs backwards; write two ranges, joined by \
                 a comma",
                "the minute \"\" is not a value from 0 to 59",
                "the minute \"+1\" is not a value from 0 to 59",
                "the minute \"\" is not a value from 0 to 59",
                "expected 5 fields, found 1",
            ]
        );
    }
}
