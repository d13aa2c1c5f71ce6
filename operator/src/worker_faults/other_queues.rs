//! Work on task queues that the fleet's queue does not name. Pure.

use taskqueue_temporal::WorkerReport;

use super::verdict::Verdict;

/// Judges a worker on another task queue. One that polls it and never gets a task does no harm.
pub(super) fn judge(report: &WorkerReport) -> Verdict {
    let mut types = report.slots.iter().filter_map(|(_, slots)| *slots);
    if !types.any(|slots| slots.used > 0 || slots.processed_total.is_some_and(|tasks| tasks > 0)) {
        return Verdict::Open;
    }
    let (pod, task_queue) = (&report.host_name, &report.task_queue);
    Verdict::Fault {
        pod: pod.clone(),
        evidence: format!(
            "pod {pod} also works on the task queue {task_queue}, so it counts as busy with tasks \
             whose backlog the operator does not read for it"
        ),
    }
}
