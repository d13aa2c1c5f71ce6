//! Finds the task slots in the metrics text of a Temporal SDK. Pure: any text in, slots or a reason
//! out.
//!
//! Only the few lines that matter are parsed; the others may contain anything.

use taskqueue_exposition::{Sample, name};
use taskqueue_scaling::{PerType, TaskType, TypeSlots};

use super::failure::Failure;

/// Slots in use, per worker type and task queue.
const USED: &str = "temporal_worker_task_slots_used";
/// Free slots; missing if the worker has no fixed number of slots.
const AVAILABLE: &str = "temporal_worker_task_slots_available";
/// Units that some SDKs append to a histogram's name, before `_count`.
const UNITS: [&str; 3] = ["", "_seconds", "_milliseconds"];

/// What a sample is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Slots in use, of the type in the label `worker_type`.
    Used,
    /// Free slots, of the type in the label `worker_type`.
    Available,
    /// Executed tasks of this type, successful or not.
    Processed(TaskType),
}

/// The slots of one worker process on one task queue, per task type that it reports. Excludes local
/// activities: they run inside a workflow task, which has its own slot.
///
/// # Errors
/// If a line about slots makes no sense, or if there is none for this task queue.
pub fn slots(text: &str, task_queue: &str) -> Result<PerType<Option<TypeSlots>>, Failure> {
    let mut used = PerType::<Option<u32>>::default();
    let mut available = PerType::<Option<u32>>::default();
    let mut processed = PerType::<Option<u64>>::default();
    for line in text.lines() {
        let Some(about) = name(line).and_then(about) else {
            continue;
        };
        let sample = Sample::parse(line).ok_or(Failure::Malformed)?;
        if sample.label("task_queue") != Some(task_queue) {
            continue;
        }
        match about {
            About::Processed(task_type) => {
                let count = whole(sample.value).ok_or(Failure::Malformed)?;
                let sum = processed.get_mut(task_type);
                *sum = Some(sum.unwrap_or(0).saturating_add(count));
            }
            About::Used | About::Available => {
                let Some(task_type) = worker_type(&sample) else {
                    continue;
                };
                // Some SDKs report a negative number if they do not know how many are free.
                if about == About::Available && sample.value < 0.0 {
                    continue;
                }
                let count = whole(sample.value).ok_or(Failure::Malformed)?;
                let count = u32::try_from(count).map_err(|_| Failure::Malformed)?;
                let sum = match about {
                    About::Used => used.get_mut(task_type),
                    About::Available | About::Processed(_) => available.get_mut(task_type),
                };
                *sum = Some(sum.unwrap_or(0).saturating_add(count));
            }
        }
    }
    let slots = PerType::from_fn(|task_type| {
        used.get(task_type).map(|used| TypeSlots {
            used,
            available: *available.get(task_type),
            processed_total: *processed.get(task_type),
        })
    });
    if slots.iter().all(|(_, slots)| slots.is_none()) {
        return Err(Failure::NoSlots);
    }
    Ok(slots)
}

/// What the samples of a metric are about, if they matter here.
fn about(name: &str) -> Option<About> {
    match name {
        USED => Some(About::Used),
        AVAILABLE => Some(About::Available),
        other => executed(other).map(About::Processed),
    }
}

/// The task type whose executions a metric counts.
fn executed(name: &str) -> Option<TaskType> {
    let name = name.strip_suffix("_count")?;
    let histograms = [
        (
            TaskType::Workflow,
            "temporal_workflow_task_execution_latency",
        ),
        (TaskType::Activity, "temporal_activity_execution_latency"),
        (TaskType::Nexus, "temporal_nexus_task_execution_latency"),
    ];
    histograms.into_iter().find_map(|(task_type, histogram)| {
        let unit = name.strip_prefix(histogram)?;
        UNITS.contains(&unit).then_some(task_type)
    })
}

/// Converts a sample to a count; `None` if it is not a whole number from 0 to `MOST`.
fn whole(value: f64) -> Option<u64> {
    /// Above this, a float cannot represent every whole number.
    const MOST: f64 = 9_007_199_254_740_992.0;
    let sound = value.is_finite() && (0.0..=MOST).contains(&value) && value.fract() == 0.0;
    // Formats and parses the number, which is exact in this range, instead of casting it.
    sound.then(|| format!("{value:.0}").parse().ok()).flatten()
}

/// The task type; `None` for local activities and for types newer than this code.
fn worker_type(sample: &Sample<'_>) -> Option<TaskType> {
    match sample.label("worker_type")? {
        "WorkflowWorker" => Some(TaskType::Workflow),
        "ActivityWorker" => Some(TaskType::Activity),
        "NexusWorker" => Some(TaskType::Nexus),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
