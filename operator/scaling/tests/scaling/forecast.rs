//! Bursts that recur: what is believed, what the forecast asks for, and what it never does.

use std::time::Duration;

use proptest::prelude::*;
use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, policy};

use crate::properties::{Story, stories};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// A queue that is read twice a minute, from a Monday at 00:00 on.
struct Calendar {
    fleet: TestFleet,
    /// When the first Monday began.
    monday: Time,
    load: RecurringLoad,
}

impl Calendar {
    /// A queue without work, whose tasks take a second and whose pods start in five.
    fn new() -> Self {
        let mut fleet = TestFleet::settled(
            Policy {
                min: 1,
                max: 50,
                ..policy()
            },
            1,
            Duration::from_secs(1),
        );
        fleet.start_up = Some(Duration::from_secs(5));
        Self {
            monday: fleet.now,
            fleet,
            load: RecurringLoad::default(),
        }
    }

    fn local(&self) -> LocalTime {
        LocalTime::default().plus(self.fleet.now.since(self.monday))
    }

    fn reads(&mut self, backlog: TypeBacklog) {
        let (now, local) = (self.fleet.now, self.local());
        let reading = Reading::Known {
            value: activities(now.as_millis(), backlog),
            taken_at: now,
        };
        let observation = self.fleet.observation(reading.clone());
        let TestFleet {
            policy, history, ..
        } = &mut self.fleet;
        history.observe(policy, &observation, now);
        self.load.observe(policy, &reading, history, now, local);
    }

    /// A minute in which this many tasks come at once, in its first seconds.
    fn minute(&mut self, tasks: u64) {
        self.fleet.wait(5);
        self.reads(TypeBacklog {
            count: tasks,
            add_rate_milli: tasks * 1000 / 30,
            ..TypeBacklog::default()
        });
        self.fleet.wait(30);
        self.reads(TypeBacklog::default());
        self.fleet.wait(25);
    }

    /// Time in which tasks come at the seconds of `bursts`, counted from its beginning.
    fn span(&mut self, seconds: u64, tasks: u64, bursts: &[u64]) {
        for minute in 0..seconds / MINUTE {
            let comes = bursts.contains(&(minute * MINUTE));
            self.minute(if comes { tasks } else { 0 });
        }
    }

    /// Time in which the operator sees nothing.
    fn blind(&mut self, seconds: u64) {
        self.fleet.wait(seconds);
    }

    fn forecast(&self) -> Option<(u32, Pattern)> {
        let TestFleet {
            policy, history, ..
        } = &self.fleet;
        let forecast = self.load.forecast(policy, history, self.local());
        forecast.map(|forecast| (forecast.replicas, forecast.pattern))
    }

    fn next_rise(&self) -> Option<Duration> {
        let TestFleet {
            policy, history, ..
        } = &self.fleet;
        self.load.next_rise(policy, history, self.local())
    }

    /// What is asked for ten seconds before the minute that begins after this time.
    fn forecast_for(&self, seconds: u64) -> Option<(u32, Pattern)> {
        let TestFleet {
            policy, history, ..
        } = &self.fleet;
        let at = self.local().plus(Duration::from_secs(seconds - 10));
        let forecast = self.load.forecast(policy, history, at);
        forecast.map(|forecast| (forecast.replicas, forecast.pattern))
    }
}

/// 80 tasks of a second, each of which may begin within 2.5 s: 80 × 1 ÷ 3.5 = 23 slots, which are
/// 75 % of the slots of 4 replicas.
const BURST: u64 = 80;
const REPLICAS: u32 = 4;

#[test]
fn a_burst_is_expected_once_it_has_come_twice_in_a_row_and_until_it_has_failed_to_twice() {
    let mut calendar = Calendar::new();
    let quarter_past = 15 * MINUTE;
    let mut asked = Vec::new();
    for tasks in [BURST, BURST, BURST, 0, BURST, 0, 0, 0, BURST, 0, BURST, 0] {
        asked.push(
            calendar
                .forecast_for(quarter_past)
                .map(|(replicas, _)| replicas),
        );
        calendar.span(HOUR, tasks, &[quarter_past]);
    }
    let some = Some(REPLICAS);
    assert_eq!(
        asked,
        [
            None, None, some, some, some, some, some, None, None, None, None, None
        ]
    );
}

#[test]
fn a_burst_that_came_once_is_never_repeated() {
    let mut calendar = Calendar::new();
    calendar.span(HOUR, 1000, &[20 * MINUTE]);
    for _ in 0..2 * 24 * 60 {
        assert_eq!(calendar.forecast(), None);
        calendar.minute(0);
    }
}

#[test]
fn a_burst_of_the_day_or_the_week_is_expected_after_two_days_or_weeks() {
    let mut calendar = Calendar::new();
    let two_in_the_morning = 2 * HOUR + 3 * MINUTE;
    calendar.span(DAY, BURST, &[two_in_the_morning]);
    assert_eq!(calendar.forecast_for(2 * HOUR), None);
    calendar.span(DAY, BURST, &[two_in_the_morning]);
    assert_eq!(
        calendar.forecast_for(2 * HOUR),
        Some((REPLICAS, Pattern::Daily))
    );

    let mut calendar = Calendar::new();
    let monday_morning = 8 * HOUR + 40 * MINUTE;
    calendar.span(WEEK, BURST, &[monday_morning]);
    assert_eq!(calendar.forecast_for(8 * HOUR), None);
    calendar.span(WEEK, BURST, &[monday_morning]);
    let weekly = Some((REPLICAS, Pattern::Weekly));
    assert_eq!(calendar.forecast_for(8 * HOUR), weekly);
    assert_eq!(calendar.forecast_for(DAY + 8 * HOUR), None);
}

#[test]
fn it_asks_from_a_start_up_before_the_burst_until_the_burst_has_come_or_its_time_is_over() {
    let mut calendar = Calendar::new();
    for _ in 0..3 {
        calendar.span(HOUR, BURST, &[30 * MINUTE]);
    }
    calendar.span(29 * MINUTE, 0, &[]);
    // Readings every 5 s and a start-up of 5 s.
    assert_eq!(calendar.next_rise(), Some(Duration::from_secs(50)));
    calendar.fleet.wait(49);
    assert_eq!(calendar.forecast(), None);
    calendar.fleet.wait(1);
    let hourly = Some((REPLICAS, Pattern::Hourly));
    assert_eq!(calendar.forecast(), hourly);
    let mut without = Calendar {
        monday: calendar.monday,
        load: calendar.load.clone(),
        fleet: TestFleet::new(policy(), 1),
    };
    (without.fleet.now, without.fleet.policy) = (calendar.fleet.now, calendar.fleet.policy.clone());
    without.fleet.history = calendar.fleet.history.clone();

    // It comes: its tasks begin within the target of 5 s.
    calendar.fleet.wait(10);
    calendar.minute(BURST);
    calendar.fleet.now = calendar.fleet.now.minus(Duration::from_secs(51));
    assert_eq!(calendar.forecast(), hourly);
    calendar.fleet.wait(1);
    assert_eq!(calendar.forecast(), None);

    // It does not come.
    without.fleet.wait(69);
    assert_eq!(without.forecast(), hourly);
    without.fleet.wait(1);
    assert_eq!(without.forecast(), None);
}

#[test]
fn what_was_not_read_is_no_burst_that_failed_to_come() {
    let mut calendar = Calendar::new();
    calendar.span(HOUR, BURST, &[15 * MINUTE]);
    calendar.span(HOUR, BURST, &[15 * MINUTE]);
    calendar.blind(10 * HOUR);
    assert_eq!(
        calendar.forecast_for(15 * MINUTE),
        Some((REPLICAS, Pattern::Hourly))
    );
}

#[test]
fn a_steady_load_and_one_that_rises_slowly_have_no_bursts() {
    let mut calendar = Calendar::new();
    for step in 0..2 * 24 * 60 * 2_u64 {
        // From 0 to 40 tasks a second and back within 8 hours, with a ripple of a tenth.
        let wave = 480 - (step % 960).abs_diff(480);
        let ripple = if step % 2 == 0 { 10 } else { 11 };
        calendar.fleet.wait(30);
        calendar.reads(TypeBacklog {
            add_rate_milli: (wave + 20) * 8 * ripple,
            dispatch_rate_milli: (wave + 20) * 8 * ripple,
            ..TypeBacklog::default()
        });
        assert_eq!(calendar.load.to_text(), None, "{step}");
    }
}

#[test]
fn bursts_in_more_than_a_quarter_of_the_minutes_are_no_pattern() {
    let every = |minutes: u64| {
        let mut calendar = Calendar::new();
        for _ in 0..4 {
            let bursts: Vec<u64> = (0..60 / minutes).map(|n| n * minutes * MINUTE).collect();
            calendar.span(HOUR, BURST, &bursts);
        }
        calendar.forecast_for(HOUR).map(|(_, pattern)| pattern)
    };
    assert_eq!(
        [5, 4, 3].map(every),
        [Some(Pattern::Hourly), Some(Pattern::Hourly), None]
    );
}

#[test]
fn nothing_is_asked_for_if_tasks_may_wait_for_pods_to_start() {
    let mut calendar = Calendar::new();
    for _ in 0..3 {
        calendar.span(HOUR, BURST, &[15 * MINUTE]);
    }
    let mut asked = |target| {
        calendar.fleet.policy.queue_wait_target = Duration::from_secs(target);
        calendar.forecast_for(15 * MINUTE).is_some()
    };
    // The reaction time is 10 s.
    assert_eq!([5, 19, 20].map(&mut asked), [true, true, false]);
}

#[test]
fn it_is_the_same_after_a_restart() {
    let mut calendar = Calendar::new();
    for _ in 0..3 {
        calendar.span(HOUR, BURST, &[15 * MINUTE]);
    }
    let text = calendar.load.to_text().unwrap();
    assert_eq!(text, "10 5 15AQ44A/15AQ44A 144A/AQ5AQ5AQ130A 168A/QQ166A");
    assert_eq!(
        calendar.forecast_for(15 * MINUTE),
        Some((REPLICAS, Pattern::Hourly))
    );
    calendar.load = RecurringLoad::from_text(&text).unwrap();
    assert_eq!(calendar.load.to_text().as_ref(), Some(&text));
    // The size in the text is rounded up: 32 slots, which are 75 % of those of 5 replicas.
    let read = Some((5, Pattern::Hourly));
    assert_eq!(calendar.forecast_for(15 * MINUTE), read);
    // A new process has not seen a worker or a start, and the policy's guess is not what the text
    // says.
    let text = text.replacen(" 5 ", " 60 ", 1);
    calendar.load = RecurringLoad::from_text(&text).unwrap();
    calendar.fleet.history = History::new();
    calendar.fleet.policy.slots_per_replica = 100;
    calendar.fleet.wait(13 * MINUTE + 54);
    assert_eq!(calendar.forecast(), None);
    calendar.fleet.wait(1);
    assert_eq!(calendar.forecast(), read);
}

#[test]
fn what_is_no_text_of_a_load_is_refused() {
    let good = "10 5 60A/60A 144A/144A 168A/168A";
    assert!(RecurringLoad::from_text(good).is_some());
    for bad in [
        "",
        "10",
        "x 5 60A/60A 144A/144A 168A/168A",
        "10 -5 60A/60A 144A/144A 168A/168A",
        "10 5 59A/60A 144A/144A 168A/168A",
        "10 5 61A/60A 144A/144A 168A/168A",
        "10 5 60A60A 144A/144A 168A/168A",
        "10 5 60A/60A 144A/144A 168A/168A ",
        "10 5 60A/60A 144A/144A 168A/168",
        "10 5 60A/60A 144A/144A 168A/168A1",
        "10 5 60-/60A 144A/144A 168A/168A",
        "10 5 99999999999999999999A/60A 144A/144A 168A/168A",
        "10 5 60A/60A 144A/144A 168\u{c4}/168A",
    ] {
        assert_eq!(RecurringLoad::from_text(bad), None, "{bad:?}");
    }
}

#[test]
fn the_sentence_says_which_bursts_the_forecast_expects() {
    let mut fleet = TestFleet::settled(policy(), 1, Duration::from_secs(1));
    fleet.policy.scheduled_min = 2;
    let mut says = |replicas, pattern| {
        fleet.policy.forecast = Some(Forecast { replicas, pattern });
        let decision = fleet.reads_next(TypeBacklog::default());
        (decision.reason.as_str(), decision.sentence())
    };
    assert_eq!(
        says(4, Pattern::Daily),
        (
            "ForecastMinimum",
            "scaled 1 to 4: no task waits, none arrives and no slot is in use; the forecast asks \
             for at least 4: bursts came at this time of earlier days"
                .to_owned()
        )
    );
    // The replicas of before the forecast are kept for a moment; then the schedule binds.
    let quiet = (0..60).map(|_| says(1, Pattern::Hourly)).last();
    assert_eq!(quiet.map(|(reason, _)| reason), Some("ScheduledMinimum"));
    assert_eq!(says(1000, Pattern::Weekly).0, "ForecastMinimum");
    assert_eq!(fleet.requested, 20);
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn a_forecast_never_lowers_a_decision_and_stays_within_the_bounds(
        (policy, requested, events) in stories(),
        replicas in 1..60_u32,
    ) {
        let without = Policy { forecast: None, ..policy };
        let forecast = Forecast { replicas, pattern: Pattern::Hourly };
        let with = Policy { forecast: Some(forecast), ..without.clone() };
        let mut story = Story::new(requested);
        story.tell(&without, &events[1..]);
        let observation = story.observation(&events[0]);
        let less = story.decide(&without, &observation);
        let more = decide(&with, &observation, &story.history, story.now);
        prop_assert_eq!(more.desired, less.desired.max(replicas.min(with.max)));
        if replicas < less.desired {
            prop_assert_eq!(more.reason, less.reason);
            prop_assert_eq!(more.sentence(), less.sentence());
        }
    }

    #[test]
    fn any_readings_leave_a_short_text_that_reads_back(
        readings in prop::collection::vec(
            (0..400_000_u64, 0..3_000_u64, any::<u64>(), any::<u64>(), any::<i32>()),
            1..200,
        ),
        slots in 1..100_000_u32,
    ) {
        let policy = Policy { slots_per_replica: slots, ..Policy::default() };
        let (mut load, mut history) = (RecurringLoad::default(), History::new());
        let mut now = Time::from_secs(1000);
        for (sequence, reading) in readings.into_iter().enumerate() {
            let (millis, count, rate, dispatched, jump) = reading;
            now = now.plus(Duration::from_millis(millis));
            let backlog = TypeBacklog {
                count,
                add_rate_milli: rate,
                dispatch_rate_milli: dispatched,
                ..TypeBacklog::default()
            };
            let reading = Reading::Known {
                value: activities(sequence as u64, backlog),
                taken_at: now,
            };
            let observation = Observation {
                replicas: Replicas::default(),
                backlog: reading.clone(),
                slots: Reading::Known { value: Slots::default(), taken_at: now },
                drained: Vec::new(),
            };
            history.observe(&policy, &observation, now);
            // Now and then, somebody sets the clock.
            let jump = if jump % 16 == 0 { u64::from(jump.unsigned_abs()) } else { 0 };
            let local = LocalTime::from_millis(now.as_millis() + jump);
            load.observe(&policy, &reading, &history, now, local);
            let forecast = load.forecast(&policy, &history, local);
            prop_assert!(forecast.is_none_or(|forecast| forecast.replicas >= 1));
            let rise = load.next_rise(&policy, &history, local);
            prop_assert!(rise.is_none_or(|rise| !rise.is_zero()));
        }
        if let Some(text) = load.to_text() {
            prop_assert!(text.len() <= 800 && text.is_ascii(), "{}", text);
            let read = RecurringLoad::from_text(&text);
            prop_assert_eq!(read.and_then(|read| read.to_text()), Some(text));
        }
    }

    #[test]
    fn no_text_makes_the_reading_of_it_fail(text in "[0-9A-Za-z/ ]{0,80}") {
        drop(RecurringLoad::from_text(&text));
    }
}
