//! Compares our cron expressions with the crate cronexpr, which agrees on everything but the hours
//! in which clocks change, and rare days. No I/O.
//!
//! A comparison over random expressions and moments in six time zones found no other difference. It
//! is not kept: for an expression that matches no date, cronexpr searches for minutes.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use cronexpr::Crontab;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskqueue_api::cron::Cron;
use taskqueue_api::schedule::next_after;

fn zone(rules: &str) -> TimeZone {
    TimeZone::posix(rules).unwrap()
}

fn theirs(cron: &str, zone: &str) -> Crontab {
    cronexpr::parse_crontab(&format!("{cron} {zone}")).unwrap()
}

#[test]
fn days_match_as_in_cronexpr() {
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
fn cronexpr_omits_skipped_times_repeats_others_and_searches_only_four_years() {
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
