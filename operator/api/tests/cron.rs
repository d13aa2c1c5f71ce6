//! Compares our cron expressions with the crate cronexpr, which agrees on everything but the hours
//! in which clocks change, and rare days. No I/O.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use cronexpr::Crontab;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};
use proptest::prelude::*;
use taskqueue_api::cron::Cron;
use taskqueue_api::schedule::next_after;

/// Time zones by their rules, so that no database is needed: without changes, with a change at
/// night in each hemisphere, at midnight, and by half an hour.
const ZONES: [&str; 6] = [
    "UTC0",
    "IST-5:30",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "CLT4CLST,M9.1.6/24,M4.1.6/24",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
];

fn zone(rules: &str) -> TimeZone {
    TimeZone::posix(rules).unwrap()
}

fn theirs(cron: &str, zone: &str) -> Crontab {
    cronexpr::parse_crontab(&format!("{cron} {zone}")).unwrap()
}

/// One item of a field: all, a number or a range, each with or without a step.
fn item(least: u8, most: u8) -> impl Strategy<Value = String> {
    let range = (least..=most, least..=most).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let span = prop_oneof![
        2 => Just("*".to_owned()),
        3 => (least..=most).prop_map(|value| value.to_string()),
        2 => range.prop_map(|(first, last)| format!("{first}-{last}")),
    ];
    let step = prop::option::weighted(0.3, least.max(1)..=most);
    (span, step).prop_map(|(span, step)| match step {
        Some(step) => format!("{span}/{step}"),
        None => span,
    })
}

fn field(least: u8, most: u8) -> impl Strategy<Value = String> {
    prop::collection::vec(item(least, most), 1..4).prop_map(|items| items.join(","))
}

fn cron() -> impl Strategy<Value = String> {
    let open = || Just("*".to_owned());
    let days = prop_oneof![open(), field(1, 31)];
    let months = prop_oneof![
        3 => open(),
        1 => field(1, 12),
        1 => Just("JAN-MAR,OCT".to_owned()),
    ];
    let weekdays = prop_oneof![
        2 => open(),
        2 => field(0, 7),
        1 => Just("MON-FRI".to_owned()),
        1 => Just("SUN".to_owned()),
    ];
    (field(0, 59), field(0, 23), days, months, weekdays).prop_map(
        |(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"),
    )
}

/// A moment from 2026 to 2033: any, or one near a change of the clocks.
fn moment() -> impl Strategy<Value = (usize, Timestamp)> {
    let second = 1_767_225_600..1_988_150_400_i64;
    (0..ZONES.len(), second, -36..36_i64, any::<bool>()).prop_map(|(index, second, hours, near)| {
        let at = Timestamp::from_second(second).unwrap();
        let zone = zone(ZONES[index]);
        let change = zone.following(at).next().filter(|_| near);
        let at = change.map_or(at, |change| {
            change.timestamp() + hours.hours() + (second % 3600).seconds()
        });
        (index, at)
    })
}

/// Whether a moment is the second one with its local time.
fn repeats(at: &Zoned) -> bool {
    let local = at.time_zone().to_ambiguous_timestamp(at.datetime());
    matches!(local.offset(), AmbiguousOffset::Fold { after, .. } if after == at.offset())
}

/// Where they differ, either ours is a time that the clocks skip, shifted to after the gap, or
/// theirs is a time that the clocks repeat, for the second time.
fn check(text: &str, rules: &str, now: Timestamp) -> Result<(), TestCaseError> {
    let (ours, theirs): (Cron, Crontab) = (text.parse().unwrap(), theirs(text, rules));
    let zone = zone(rules);
    let our_next = next_after(&ours, &zone, now);
    let Ok(their_next) = theirs.find_next(now) else {
        let horizon = now.to_zoned(zone) + 4.years();
        let found = our_next.filter(|next| *next < horizon.timestamp());
        prop_assert!(
            found.is_none_or(|next| !theirs.matches(next).unwrap()),
            "{found:?}"
        );
        return Ok(());
    };
    let our_next = our_next.unwrap();
    if our_next < their_next.timestamp() {
        prop_assert!(
            !theirs.matches(our_next).unwrap(),
            "{our_next} {their_next}"
        );
    } else if our_next > their_next.timestamp() {
        prop_assert!(repeats(&their_next), "{our_next} {their_next}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn cronexpr_agrees_but_for_times_that_clocks_skip_or_repeat(text in cron(), (index, now) in moment()) {
        check(&text, ZONES[index], now)?;
    }
}

#[test]
fn of_two_days_one_suffices_as_with_cronexpr() {
    for text in [
        "0 12 *,10 * 2",
        "0 12 10,* * 2",
        "0 12 1-31 * 2",
        "0 12 */2 * 0,6",
        "0 12 1-31/2 * 0,6",
        "0 12 13 * FRI",
        "0 12 13 * */2",
    ] {
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let ours: Cron = text.parse().unwrap();
        let theirs = theirs(text, "UTC0");
        for _ in 0..60 {
            let next = next_after(&ours, &TimeZone::UTC, now).unwrap();
            assert_eq!(theirs.find_next(now).unwrap().timestamp(), next, "{text}");
            now = next;
        }
    }
}

/// Why cronexpr is not used. The pattern of a field cannot refuse these cases, since they depend on
/// the date.
#[test]
fn cronexpr_loses_skipped_times_repeats_others_and_ends_its_search_after_four_years() {
    let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
    let both = |cron: &str, rules: &str, now: &str| {
        let now: Timestamp = now.parse().unwrap();
        let ours = next_after(&cron.parse().unwrap(), &zone(rules), now);
        let theirs = theirs(cron, rules).find_next(now).ok();
        let text = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
        (text(ours), text(theirs.map(|at| at.timestamp())))
    };
    let pair = |ours: &str, theirs: &str| (ours.to_owned(), theirs.to_owned());
    assert_eq!(
        both("30 2 * * *", berlin, "2026-03-29T00:00:00Z"),
        pair("2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z")
    );
    assert_eq!(
        both("30 2 * * *", berlin, "2026-10-25T00:30:00Z"),
        pair("2026-10-26T01:30:00Z", "2026-10-25T01:30:00Z")
    );
    assert_eq!(
        both("0 0 29 2 *", "UTC0", "2096-03-01T00:00:00Z"),
        pair("2104-02-29T00:00:00Z", "never")
    );
}
