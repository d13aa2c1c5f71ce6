//! Records a simulated run as Prometheus would: the figures that the operator exposes, once per
//! scrape, as old as its last reading.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a run counts tasks and milliseconds of a few hours"
)]

use taskqueue_simulation::rebuild::{Recording, Sample, Series};
use taskqueue_simulation::{Millis, Outcome, Point, Setup, Trace};

/// When the recorded run began, in milliseconds since 1970.
pub(crate) const BEGIN: i64 = 1_796_000_000_000;

/// Temporal counts its rates in buckets of this length ...
const BUCKET: Millis = 5_000;
/// ... and reports six of them, the last one as far as it has come.
const BUCKETS: Millis = 5;
/// The operator reads this often: when the server's cache of 5 s has ended.
const READING: Millis = 5_300;
/// Until then the service time is assumed.
const LEARNED: Millis = 60_000;

/// Times in order.
struct Events(Vec<Millis>);

impl Events {
    fn new(mut times: Vec<Millis>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn until(&self, time: Millis) -> usize {
        self.0.partition_point(|at| *at <= time)
    }

    /// Per second, over the window of the server.
    fn rate(&self, now: Millis) -> f64 {
        let begin = (now / BUCKET).saturating_sub(BUCKETS) * BUCKET;
        let before = self.0.partition_point(|at| *at < begin);
        let span = (BUCKETS * BUCKET + now % BUCKET).min(now).max(1);
        (self.until(now) - before) as f64 * 1000.0 / span as f64
    }
}

/// Records a run that is scraped at this interval.
pub(crate) fn record(
    trace: &Trace,
    setup: &Setup,
    outcome: &Outcome,
    interval: Millis,
) -> Recording {
    let tasks = || trace.tasks.iter().zip(&outcome.waits);
    let starts = || tasks().filter_map(|(task, wait)| Some((task.arrives + (*wait)?, task.takes)));
    let arrived = Events::new(trace.tasks.iter().map(|task| task.arrives).collect());
    let started = Events::new(starts().map(|(at, _)| at).collect());
    let ended = Events::new(starts().map(|(at, takes)| at + takes).collect());
    let mean = trace.mean_service() as f64 / 1000.0;
    let point = |at: Millis| -> &Point {
        let later = outcome.timeline.partition_point(|point| point.at <= at);
        &outcome.timeline[later.max(1) - 1]
    };
    let series = |metric: &str, value: &dyn Fn(Millis, Millis) -> f64| {
        // Not at the time of a reading.
        let scrapes = (2_000..trace.until).step_by(interval as usize);
        Series {
            metric: metric.to_owned(),
            samples: scrapes
                .map(|scraped| Sample {
                    at: BEGIN + scraped as i64,
                    value: value(scraped, scraped / READING * READING),
                })
                .collect(),
        }
    };
    let waiting = |at| arrived.until(at) - started.until(at);
    let used = |at| (started.until(at) - ended.until(at)) as f64;
    let slots = |at: Millis| f64::from(point(at).ready * setup.slots);
    Recording {
        add_rate: series("add", &|_, read| arrived.rate(read)),
        dispatch_rate: series("dispatch", &|_, read| started.rate(read)),
        backlog: series("backlog", &|_, read| waiting(read) as f64),
        backlog_age: series("age", &|_, read| match waiting(read) {
            0 => 0.0,
            // First in, first out.
            _ => (read - arrived.0[started.until(read)]) as f64 / 1000.0,
        }),
        rate_limited: series("limited", &|_, read| {
            let limited = trace.limit_milli.is_some() && waiting(read) > 0;
            f64::from(u8::from(limited))
        }),
        slots_used: series("used", &|_, read| used(read)),
        slots_available: series("free", &|_, read| (slots(read) - used(read)).max(0.0)),
        service_time: series("service", &|at, _| if at < LEARNED { 5.0 } else { mean }),
        service_time_learned: series("learned", &|at, _| f64::from(u8::from(at >= LEARNED))),
        ready_replicas: series("ready", &|at, _| f64::from(point(at).ready)),
        current_replicas: series("current", &|at, _| f64::from(point(at).requested)),
        wait_target: series("target", &|_, _| setup.target as f64 / 1000.0),
        reading_age: series("reading", &|at, read| (at - read) as f64 / 1000.0),
    }
}
