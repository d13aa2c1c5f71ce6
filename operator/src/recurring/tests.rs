use std::sync::Arc;

use serde_json::{Value, json};
use taskqueue_scaling::{
    Backlog, Observation, Pattern, PerType, Reading, Replicas, Time, TypeBacklog,
};

use super::*;
use crate::observe::ObservedQueue;
use crate::testing::{existing, fleet, unseen};

/// A Monday.
const MONDAY: &str = "2026-11-23T00:00:00Z";
const MINUTE: u64 = 60;

/// A queue that is read twice a minute, and the annotation of its Deployment.
struct TestQueue {
    fleet: taskqueue_api::Fleet,
    recurring: Recurring,
    history: History,
    annotation: Option<String>,
    now: Moment,
    writes: Vec<Moment>,
}

impl TestQueue {
    fn new(forecast: &Value) -> Self {
        let queues = json!([{
            "name": "a", "replicas": {"max": 50}, "scaling": {"forecast": forecast},
        }]);
        Self {
            fleet: fleet(&queues),
            recurring: Recurring::default(),
            history: History::new(),
            annotation: None,
            now: Moment {
                monotonic: Time::from_secs(1000),
                wall: MONDAY.parse().unwrap(),
            },
            writes: Vec::new(),
        }
    }

    fn enabled() -> Self {
        Self::new(&json!({"mode": "Enabled"}))
    }

    fn wait(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.now.monotonic = self.now.monotonic.plus(time);
        self.now.wall += time;
    }

    fn seen(&self, backlog: Reading<Backlog>) -> ObservedQueue {
        let mut deployment = existing(&self.fleet, 1, "7");
        if let Some(text) = &self.annotation {
            let annotations = deployment.metadata.annotations.get_or_insert_default();
            let key = well_known::RECURRING_LOAD_ANNOTATION;
            annotations.insert(key.to_owned(), text.clone());
        }
        let mut seen = ObservedQueue {
            existing: Some(Arc::new(deployment)),
            ..unseen()
        };
        seen.reading.backlog = backlog;
        seen
    }

    /// A pass with a new reading; the annotation is written as it asks for.
    fn reads(&mut self, tasks: u64) {
        let activity = TypeBacklog {
            count: tasks,
            add_rate_milli: tasks * 1000 / 30,
            ..TypeBacklog::default()
        };
        let now = self.now.monotonic;
        let backlog = Reading::Known {
            value: Backlog {
                sequence: now.as_millis(),
                types: PerType {
                    activity: Some(activity),
                    ..PerType::default()
                },
            },
            taken_at: now,
        };
        let queue = self.fleet.queues[0].clone();
        let seen = self.seen(backlog.clone());
        let observation = Observation {
            replicas: Replicas::default(),
            backlog,
            slots: seen.slots.clone(),
            drained: Vec::new(),
        };
        self.history.observe(&queue.policy, &observation, now);
        self.recurring
            .observe(&queue, &seen, &self.history, self.now);
        match self.recurring.due().clone() {
            Due::Nothing => return,
            Due::Value(text) => self.annotation = Some(text),
            Due::Removal => self.annotation = None,
        }
        self.recurring.tried(self.now.wall);
        self.writes.push(self.now);
    }

    /// An hour in which this many tasks come at once, fifteen minutes after it began.
    fn hour(&mut self, tasks: u64) {
        for minute in 0..60 {
            self.wait(5);
            self.reads(if minute == 15 { tasks } else { 0 });
            self.wait(30);
            self.reads(0);
            self.wait(25);
        }
    }

    /// What is asked for fifteen minutes after the hour.
    fn asked(&mut self) -> Option<Pattern> {
        self.wait(15 * MINUTE - 8);
        self.reads(0);
        Some(self.recurring.forecast()?.pattern)
    }

    fn restart(&mut self) {
        self.recurring = Recurring::default();
        self.history = History::new();
        self.now.monotonic = Time::from_secs(7);
    }
}

#[test]
fn the_annotation_is_written_at_most_once_an_hour_and_only_if_the_load_has_changed() {
    let mut queue = TestQueue::enabled();
    for hour in 0..12 {
        queue.hour(100 + 50 * (hour % 5));
    }
    assert!(
        (10..=12).contains(&queue.writes.len()),
        "{:?}",
        queue.writes
    );
    // The bursts end: the hours forget them, and days and weeks keep them for a while.
    for _ in 0..24 {
        queue.hour(0);
    }
    let apart = queue.writes.windows(2).map(|pair| match pair {
        [one, next] => next.wall.duration_since(one.wall).unsigned_abs(),
        _ => Duration::MAX,
    });
    assert!(apart.min() >= Some(Duration::from_hours(1)));
    let before = queue.writes.len();
    for _ in 0..6 {
        queue.hour(0);
    }
    assert_eq!(queue.writes.len(), before, "nothing has changed");
    assert!(queue.annotation.unwrap().len() < 1000);
}

#[test]
fn a_new_process_goes_on_with_what_the_last_one_has_kept() {
    let mut queue = TestQueue::enabled();
    for _ in 0..4 {
        queue.hour(100);
    }
    let writes = queue.writes.len();
    queue.restart();
    assert_eq!(queue.asked(), Some(Pattern::Hourly));
    assert_eq!(
        queue.writes.len(),
        writes,
        "it was written less than an hour ago"
    );
    assert!(queue.recurring.next_rise().is_some());
}

#[test]
fn without_a_forecast_nothing_is_written_and_what_was_kept_is_removed_once() {
    for forecast in [json!({"mode": "Disabled"}), Value::Null] {
        let mut off = TestQueue::new(&forecast);
        for _ in 0..4 {
            off.hour(100);
        }
        assert_eq!(off.asked(), None);
        assert_eq!(off.recurring.next_rise(), None);
        assert_eq!((off.annotation, off.writes), (None, Vec::new()));
    }
    let mut queue = TestQueue::enabled();
    for _ in 0..4 {
        queue.hour(100);
    }
    let writes = queue.writes.len();
    queue.fleet.queues[0].forecast = None;
    queue.hour(100);
    queue.hour(100);
    assert_eq!((queue.annotation, queue.writes.len()), (None, writes + 1));
}

#[test]
fn what_cannot_be_read_is_old_or_is_about_another_time_zone_is_not_believed() {
    let mut queue = TestQueue::enabled();
    for _ in 0..4 {
        queue.hour(100);
    }
    let kept = queue.annotation.clone().unwrap();
    let mut asked = |annotation: &str, weeks: u64| {
        queue.restart();
        queue.annotation = Some(annotation.to_owned());
        queue.now.wall = "2026-11-23T04:00:00Z".parse().unwrap();
        queue.now.wall += Duration::from_hours(weeks * 7 * 24);
        queue.asked().is_some()
    };
    assert!(asked(&kept, 0));
    assert!(asked(&kept, 2));
    assert!(!asked(&kept, 3));
    assert!(!asked(&kept.replace("UTC", "Europe/Berlin"), 0));
    assert!(!asked(&kept.replace("UTC", "Europe/Atlantis"), 0));
    assert!(!asked(&kept.replacen('1', "2", 1), 0));
    assert!(!asked(&kept.replace("2026", "year"), 0));
    assert!(!asked(&kept[..kept.len() - 1], 0));
    assert!(!asked("", 0));
}
