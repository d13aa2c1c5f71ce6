//! From labelled series to the recording of one queue and one task type. Pure.
//!
//! Series that differ by the process that exposed them belong together, because the operator
//! restarts. Any other difference is a question that only the user can answer.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};
use taskqueue_exposition::{Spec, table};
use taskqueue_scaling::TaskType;
use taskqueue_simulation::rebuild::{Recording, Sample, Series};

use crate::simulate::prometheus::answer::{Labelled, Labels};

/// The metrics that are read.
pub(super) const METRICS: [Spec; 13] = [
    table::ADD_RATE,
    table::DISPATCH_RATE,
    table::BACKLOG,
    table::BACKLOG_AGE,
    table::RATE_LIMITED,
    table::SLOTS_USED,
    table::SLOTS_AVAILABLE,
    table::SERVICE_TIME,
    table::SERVICE_TIME_LEARNED,
    table::READY,
    table::CURRENT,
    table::WAIT_TARGET,
    table::READING_AGE,
];
/// Labels in which the series of one queue differ.
const OF_QUEUE: [&str; 3] = ["__name__", "task_type", "source"];
/// Labels that name the process, which changes when the operator restarts.
const OF_PROCESS: [&str; 3] = ["instance", "pod", "node"];
/// This many samples of one process amid those of another are more than a restart.
const AMID: usize = 10;

/// The series of a queue, without the labels of the process, each with the samples by process.
type ByProcess = BTreeMap<Labels, BTreeMap<Labels, Vec<Sample>>>;

/// The recording of one queue, and notes on what was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub(super) recording: Recording,
    /// The queue.
    pub(super) queue: String,
    /// The task type.
    pub(super) task_type: &'static str,
    pub(super) notes: Vec<String>,
}

/// Joins the answers to successive queries, in their order.
pub(super) fn join(answers: impl IntoIterator<Item = Labelled>) -> Vec<Labelled> {
    let mut joined: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    for Labelled { labels, samples } in answers {
        joined.entry(labels).or_default().extend(samples);
    }
    let joined = joined.into_iter();
    joined
        .map(|(labels, samples)| Labelled { labels, samples })
        .collect()
}

/// Chooses the series of one queue and one task type.
///
/// # Errors
/// If several match; the message names what they differ in.
pub(super) fn choose(series: &[Labelled], wanted: Option<TaskType>) -> anyhow::Result<Chosen> {
    let queues = values(series, "queue");
    let queue = match queues.iter().collect::<Vec<_>>().as_slice() {
        [queue] => (*queue).clone(),
        _ => bail!(
            "the fleet has several queues: choose one of {} with --queue",
            list(&queues)
        ),
    };
    let names: BTreeSet<&String> = series.iter().flat_map(|s| s.labels.keys()).collect();
    for label in names {
        let is_free = OF_QUEUE.contains(&label.as_str()) || OF_PROCESS.contains(&label.as_str());
        let found = values(series, label);
        ensure!(
            is_free || found.len() < 2,
            "several series match; they differ in the label {label}, which is {}: choose one, such \
             as --match '{label}=\"{}\"'",
            list(&found),
            found.last().map_or("", String::as_str)
        );
    }
    let series = by_process(series)?;
    let task_types = task_types(&series);
    let (task_type, note) = choose_type(&series, &task_types, wanted)?;
    let of = |spec: &Spec| of_metric(&series, spec, task_type);
    Ok(Chosen {
        recording: Recording {
            add_rate: of(&table::ADD_RATE),
            dispatch_rate: of(&table::DISPATCH_RATE),
            backlog: of(&table::BACKLOG),
            backlog_age: of(&table::BACKLOG_AGE),
            rate_limited: of(&table::RATE_LIMITED),
            slots_used: of(&table::SLOTS_USED),
            slots_available: of(&table::SLOTS_AVAILABLE),
            service_time: of(&table::SERVICE_TIME),
            service_time_learned: of(&table::SERVICE_TIME_LEARNED),
            ready_replicas: of(&table::READY),
            current_replicas: of(&table::CURRENT),
            wait_target: of(&table::WAIT_TARGET),
            reading_age: of(&table::READING_AGE),
        },
        queue,
        task_type: task_type.as_str(),
        notes: note.into_iter().collect(),
    })
}

/// The values that a label has. A series without it has the empty one.
fn values(series: &[Labelled], label: &str) -> BTreeSet<String> {
    let values = series.iter().map(|series| series.labels.get(label));
    values
        .map(|value| value.cloned().unwrap_or_default())
        .collect()
}

fn list(values: &BTreeSet<String>) -> String {
    let shown = |value: &String| match value.as_str() {
        "" => "absent".to_owned(),
        value => value.to_owned(),
    };
    let values: Vec<String> = values.iter().map(shown).collect();
    match values.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn by_process(series: &[Labelled]) -> anyhow::Result<BTreeMap<Labels, Vec<Sample>>> {
    let mut grouped = ByProcess::new();
    for Labelled { labels, samples } in series {
        let is_process = |label: &String| OF_PROCESS.contains(&label.as_str());
        let (process, rest): (Labels, Labels) = labels
            .clone()
            .into_iter()
            .partition(|(label, _)| is_process(label));
        let processes = grouped.entry(rest).or_default();
        processes.entry(process).or_default().extend(samples);
    }
    let merged = grouped.into_iter().map(|(labels, processes)| {
        let merged = merge(&processes)?;
        Ok((labels, merged))
    });
    merged.collect()
}

/// One after another the samples of all processes. Where two overlap for a moment, as in a change
/// of the leader, the samples amid those of the other are left out.
fn merge(processes: &BTreeMap<Labels, Vec<Sample>>) -> anyhow::Result<Vec<Sample>> {
    if let [samples] = processes.values().collect::<Vec<_>>().as_slice() {
        return Ok((*samples).clone());
    }
    let all = processes.values().enumerate();
    let mut all: Vec<(usize, Sample)> = all
        .flat_map(|(process, samples)| samples.iter().map(move |sample| (process, *sample)))
        .collect();
    all.sort_by_key(|(_, sample)| sample.at);
    let is_amid = |index: usize| {
        let (Some(before), Some(after)) = (index.checked_sub(1), all.get(index + 1)) else {
            return false;
        };
        all[before].0 == after.0 && all[index].0 != after.0
    };
    let amid: Vec<bool> = (0..all.len()).map(is_amid).collect();
    let names: BTreeSet<String> = processes
        .keys()
        .map(|labels| {
            let labels = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{value}\""));
            labels.collect::<Vec<_>>().join(" ")
        })
        .collect();
    ensure!(
        amid.iter().filter(|amid| **amid).count() < AMID,
        "several operators expose this queue at the same time, {}: choose one with --match",
        list(&names)
    );
    let kept = all.iter().zip(amid).filter(|(_, amid)| !amid);
    let mut kept: Vec<Sample> = kept.map(|((_, sample), _)| *sample).collect();
    kept.dedup_by_key(|sample| sample.at);
    Ok(kept)
}

/// The task types that have series of their own.
fn task_types(series: &BTreeMap<Labels, Vec<Sample>>) -> Vec<TaskType> {
    let has = |kind: &TaskType| {
        let mut labels = series.keys();
        labels.any(|labels| {
            labels
                .get("task_type")
                .is_some_and(|of| of == kind.as_str())
        })
    };
    TaskType::ALL.into_iter().filter(has).collect()
}

/// The task type that was asked for, or the one whose slots were fullest: it decides how many
/// replicas a fleet needs, because each type has slots of its own.
fn choose_type(
    series: &BTreeMap<Labels, Vec<Sample>>,
    present: &[TaskType],
    wanted: Option<TaskType>,
) -> anyhow::Result<(TaskType, Option<String>)> {
    let names = |types: &[TaskType]| {
        let names = types.iter().map(|kind| kind.as_str().to_owned());
        list(&names.collect())
    };
    if let Some(wanted) = wanted {
        ensure!(
            present.contains(&wanted),
            "no tasks of the type {} are recorded: choose {} with --task-type",
            wanted.as_str(),
            names(present)
        );
        return Ok((wanted, None));
    }
    let sum = |spec: &Spec, kind| {
        let samples = of_metric(series, spec, kind).samples;
        let values = samples.iter().map(|sample| sample.value);
        values.filter(|value| value.is_finite()).sum::<f64>()
    };
    let fullness = |kind: TaskType| {
        let used = sum(&table::SLOTS_USED, kind);
        let all = used + sum(&table::SLOTS_AVAILABLE, kind);
        if all > 0.0 { used / all } else { 0.0 }
    };
    let has_work = |kind: &TaskType| {
        let metrics = [table::ADD_RATE, table::BACKLOG, table::SLOTS_USED];
        metrics.iter().any(|spec| sum(spec, *kind) > 0.0)
    };
    let working: Vec<TaskType> = present.iter().copied().filter(has_work).collect();
    let fullest = |a: &TaskType, b: &TaskType| {
        let arrivals = |kind: &TaskType| sum(&table::ADD_RATE, *kind);
        let by_slots = fullness(*a).total_cmp(&fullness(*b));
        by_slots.then(arrivals(a).total_cmp(&arrivals(b)))
    };
    let chosen = working.iter().copied().max_by(fullest);
    let Some(chosen) = chosen.or(present.first().copied()) else {
        bail!("no task type is recorded: choose a time in which the operator could read Temporal");
    };
    let others: Vec<String> = working
        .iter()
        .filter(|kind| **kind != chosen)
        .map(|kind| format!("{} {:.0} %", kind.as_str(), fullness(*kind) * 100.0))
        .collect();
    let note = (!others.is_empty()).then(|| {
        format!(
            "only the {} tasks: their slots were fullest ({:.0} % in use; {}); --task-type chooses \
             another type",
            chosen.as_str(),
            fullness(chosen) * 100.0,
            others.join(", ")
        )
    });
    Ok((chosen, note))
}

/// The series of a metric, of this task type if it has types.
fn of_metric(series: &BTreeMap<Labels, Vec<Sample>>, spec: &Spec, kind: TaskType) -> Series {
    let found = series.iter().find(|(labels, _)| {
        let is = |label: &str, value: &str| labels.get(label).is_none_or(|found| found == value);
        labels.get("__name__").is_some_and(|name| name == spec.name)
            && is("task_type", kind.as_str())
            && is("source", "backlog")
    });
    Series {
        metric: spec.name.to_owned(),
        samples: found.map_or_else(Vec::new, |(_, samples)| samples.clone()),
    }
}
