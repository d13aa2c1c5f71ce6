//! Rebuilds a trace from metrics that were recorded while a fleet worked. Pure and, for a seed,
//! deterministic.
//!
//! | step | module |
//! | --- | --- |
//! | what was recorded, and its check | `recording` |
//! | scrapes, readings, and the stretches without a gap | `readings` |
//! | rates over a window → tasks in short cells | `cells` |
//! | tasks that arrive, in agreement with the backlog and the dispatches | `arrivals` |
//! | how long they take | `durations` |
//! | the fleet that worked on them | `replicas` |
//! | how far simulated waits are from the measured ones | `agreement` |
//!
//! Unknown is not zero: what was not recorded is left out of the trace and said in its notes.

mod agreement;
mod arrivals;
mod cells;
mod durations;
mod error;
mod readings;
mod rebuilt;
mod recording;
mod replicas;
mod words;

pub use agreement::{Agreement, Verdict, Waits, agreement};
pub use error::{RebuildError, SampleProblem};
pub use rebuilt::{Counts, Measured, RebuildOptions, Rebuilt};
pub use recording::{Recording, Sample, Series};
pub use replicas::Replicas;

use crate::rng::Rng;
use crate::time::Millis;
use crate::trace::{Task, Trace};
use arrivals::Flow;
use durations::{Basis, Draw, Durations};
use readings::Stretch;
use words::{LATEST, span, utc};

/// Gaps that the notes name one by one.
const NAMED_GAPS: usize = 3;

/// Rebuilds the trace.
///
/// # Errors
/// If a sample cannot be true, or too little was recorded.
pub fn rebuild(recording: &Recording, options: &RebuildOptions) -> Result<Rebuilt, RebuildError> {
    recording.check()?;
    let within = |time: i64| time.clamp(0, LATEST);
    let (from, until) = (within(options.from), within(options.until));
    let scrapes = readings::scrapes(recording, from, until);
    let interval = readings::interval(&scrapes);
    let gap = readings::longest_without_gap(interval);
    let stretches = readings::stretches(&scrapes, gap);
    let Some((origin, _)) = stretches.first().and_then(Stretch::bounds) else {
        let metrics = [&recording.add_rate, &recording.backlog];
        return Err(RebuildError::NoReadings {
            metrics: metrics.map(|series| series.metric.as_str()).join(" and "),
            from,
            until,
        });
    };
    let flows: Vec<Flow> = stretches.iter().map(|s| Flow::new(&s.readings)).collect();
    let carried: Vec<Carried> = stretches.iter().map(Carried::new).collect();
    let sum: f64 = flows.iter().map(Flow::total).sum();
    let all = sum + carried.iter().map(|c| c.waited + c.ran).sum::<f64>();
    if all > options.limit as f64 {
        return Err(RebuildError::TooMany {
            tasks: all,
            limit: options.limit,
        });
    }
    let durations = Durations::new(&scrapes, &stretches, &flows).ok_or_else(|| {
        let metrics = [&recording.service_time, &recording.slots_used];
        RebuildError::NoServiceTime {
            metrics: metrics.map(|series| series.metric.as_str()).join(" and "),
        }
    })?;
    let mut rng = Rng::new(options.seed);
    let (tasks, counts) = tasks(&flows, &carried, &durations, origin, &mut rng);
    if tasks.is_empty() {
        return Err(RebuildError::NoTasks { from, until });
    }
    let gaps = readings::gaps(&stretches, from, until, gap);
    let missing: i64 = gaps.iter().map(|(begin, end)| end - begin).sum();
    let covered = 1.0 - missing as f64 / (until.saturating_sub(from)).max(1) as f64;
    let about = format!(
        "{} tasks rebuilt from {} as recorded from {} to {}",
        tasks.len(),
        options.subject,
        utc(from),
        utc(until)
    );
    let mut trace = Trace::new(&options.name, &about, tasks);
    let end = stretches.last().and_then(Stretch::bounds);
    let end = end.map_or(0, |(_, end)| (end - origin).max(0) as Millis);
    trace.until = trace.tasks.last().map_or(0, |task| task.arrives).max(end);
    let limit = rate_limit(&stretches);
    trace.limit_milli = limit.map(|(limit, _)| limit);
    let replicas = replicas::replicas(&scrapes, origin, gap);
    let slots = replicas::slots_per_replica(&scrapes);
    let mut notes = vec![scraped(interval, &stretches)];
    notes.extend(gaps_note(&gaps));
    notes.push(arrivals_note(&counts));
    notes.extend(carried_note(&counts));
    notes.push(durations_note(&durations));
    notes.extend(limit.map(limited_note));
    notes.extend(fleet_notes(&scrapes, slots));
    Ok(Rebuilt {
        measured: measured(&stretches, origin),
        trace,
        notes,
        counts,
        replicas,
        slots,
        covered: covered.clamp(0.0, 1.0),
    })
}

/// What was there when a stretch began.
#[derive(Debug, Clone, Copy)]
struct Carried {
    at: i64,
    waited: f64,
    ran: f64,
}

impl Carried {
    fn new(stretch: &Stretch) -> Self {
        let reading = stretch.readings.first();
        let scrape = stretch.scrapes.first();
        Self {
            at: reading.map_or(0, |reading| reading.at),
            waited: reading.and_then(|r| r.backlog).unwrap_or(0.0).round(),
            ran: scrape.and_then(|s| s.slots_used).unwrap_or(0.0).round(),
        }
    }
}

/// The tasks of all stretches. Those that ran when one began come first, then those that waited.
fn tasks(
    flows: &[Flow],
    carried: &[Carried],
    durations: &Durations,
    origin: i64,
    rng: &mut Rng,
) -> (Vec<Task>, Counts) {
    let (mut tasks, mut counts) = (Vec::new(), Counts::default());
    let mut draw = Draw::new(durations);
    let mut dispatched = Some(0.0);
    for (flow, carried) in flows.iter().zip(carried) {
        let before = (carried.ran + carried.waited) as usize;
        let times = flow.times(rng);
        counts.arrived += times.len();
        counts.by_add_rate += flow.by_add_rate;
        counts.waited_before += carried.waited as usize;
        counts.ran_before += carried.ran as usize;
        let balance = flow.balance.map(|b| b.dispatched + b.backlog_change);
        dispatched = dispatched.zip(balance).map(|(sum, more)| sum + more);
        let times = std::iter::repeat_n(carried.at, before).chain(times);
        tasks.extend(times.map(|at| Task {
            arrives: (at - origin).max(0) as Millis,
            takes: draw.next(at, rng),
        }));
    }
    counts.by_dispatch_rate = dispatched;
    (tasks, counts)
}

fn measured(stretches: &[Stretch], origin: i64) -> Vec<Measured> {
    let since = |at: i64| (at - origin).max(0) as Millis;
    let of = |stretch: &Stretch| {
        let begin = stretch.bounds().map_or(0, |(begin, _)| since(begin));
        let readings = stretch.readings.clone();
        readings.into_iter().map(move |reading| Measured {
            at: since(reading.at),
            stretch: begin,
            backlog: reading.backlog,
            age: reading.backlog_age.map(|age| (age * 1000.0) as Millis),
            target: reading
                .wait_target
                .map(|target| (target * 1000.0) as Millis),
        })
    };
    stretches.iter().flat_map(of).collect()
}

fn scraped(interval: i64, stretches: &[Stretch]) -> String {
    let readings: usize = stretches.iter().map(|stretch| stretch.readings.len()).sum();
    let rare = if interval > cells::WINDOW {
        "; a rate covers 30 s, so what came and went between two scrapes is missing"
    } else {
        ""
    };
    format!(
        "{readings} readings of the task queue, from scrapes every {}{rare}",
        span(interval.max(0) as u64)
    )
}

fn gaps_note(gaps: &[(i64, i64)]) -> Option<String> {
    let all: i64 = gaps.iter().map(|(begin, end)| end - begin).sum();
    let named = gaps.iter().take(NAMED_GAPS);
    let named: Vec<String> = named
        .map(|(begin, end)| format!("from {} for {}", utc(*begin), span((end - begin) as u64)))
        .collect();
    let more = match gaps.len().saturating_sub(NAMED_GAPS) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    (!gaps.is_empty()).then(|| {
        format!(
            "left out, because nothing was recorded: {} ({}{more}); no task arrives in that time",
            span(all as u64),
            named.join(", ")
        )
    })
}

fn arrivals_note(counts: &Counts) -> String {
    let Counts {
        arrived,
        by_add_rate,
        by_dispatch_rate,
        ..
    } = counts;
    match by_dispatch_rate {
        Some(_) => format!(
            "arrivals: {arrived}, as many as were dispatched, plus the change of the backlog; by \
             the add rate alone {by_add_rate:.0}"
        ),
        None => format!(
            "arrivals: {arrived}, by the add rate alone, because the dispatch rate or the backlog \
             was not known throughout"
        ),
    }
}

fn carried_note(counts: &Counts) -> Option<String> {
    let (ran, waited) = (counts.ran_before, counts.waited_before);
    (ran + waited > 0).then(|| {
        format!(
            "when the recording began, or went on after a gap, {ran} tasks ran and {waited} \
             waited; they are taken to arrive at that moment"
        )
    })
}

fn durations_note(durations: &Durations) -> String {
    let mean = match durations.basis {
        Basis::Learned => "the service time that the operator learned".to_owned(),
        Basis::LearnedAndSlots(ratio) => format!(
            "the service time that the operator learned, times {ratio:.2}, because that many slots \
             were in use"
        ),
        Basis::Slots => "slots in use ÷ dispatched tasks per second, because no service time was \
                         learned"
            .to_owned(),
        Basis::Assumed => "the service time that the operator assumed: none was learned, and no \
                           slots in use were recorded"
            .to_owned(),
    };
    format!("durations: {mean}; their spread is not recorded and taken as exponential")
}

/// The dispatch rate while Temporal limits it, in the median, in thousandths per second; and the
/// number of readings that it comes from.
fn rate_limit(stretches: &[Stretch]) -> Option<(u64, usize)> {
    let readings = stretches.iter().flat_map(|stretch| &stretch.readings);
    let limited = readings.filter(|reading| reading.rate_limited);
    let mut rates: Vec<f64> = limited
        .filter_map(|reading| reading.dispatch_rate)
        .collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2)?;
    Some(((median * 1000.0).round().max(1.0) as u64, rates.len()))
}

fn limited_note((limit, readings): (u64, usize)) -> String {
    format!(
        "Temporal limited the dispatch rate at {readings} readings; the simulation limits it to \
         what it was then, {:.1} tasks per second; --rate-limit sets another limit",
        limit as f64 / 1000.0
    )
}

fn fleet_notes(scrapes: &[readings::Scrape], slots: Option<u32>) -> Vec<String> {
    let slots = slots.map(|slots| format!("a ready replica had {slots} slots"));
    let start_up = replicas::start_up(scrapes).map(|(taken, cases)| {
        format!(
            "in {cases} cases, replicas were ready about {} after the request: set --startup",
            span(taken)
        )
    });
    slots.into_iter().chain(start_up).collect()
}
