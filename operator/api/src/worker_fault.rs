//! What workers can do wrong, in words: the reasons, what they mean, and what to do. Pure.
//!
//! The rules that find a fault are the operator's.

use crate::reason::Reason;

/// Every fault, in the order in which they are listed.
pub const ALL: [Reason; 5] = [
    Reason::HeartbeatsTooRare,
    Reason::SlotsNeverUsed,
    Reason::EndsBeforeItsTasks,
    Reason::PollsAfterStop,
    Reason::WorksOnOtherQueues,
];

/// What is wrong, in words about one queue; `None` for a reason that is no fault of a worker.
pub const fn describe(fault: Reason) -> Option<&'static str> {
    Some(match fault {
        Reason::HeartbeatsTooRare => {
            "the workers of this queue send heartbeats so rarely that the operator learns late \
             which of their slots are free"
        }
        Reason::SlotsNeverUsed => {
            "the workers of this queue have many more activity slots than any pod uses, so the \
             operator may expect too much of a pod"
        }
        Reason::EndsBeforeItsTasks => {
            "workers of this queue exit by themselves while their pods drain and their tasks must \
             still be running"
        }
        Reason::PollsAfterStop => {
            "a worker of this queue keeps taking tasks while its pod drains: it ignores SIGTERM"
        }
        Reason::WorksOnOtherQueues => {
            "the workers of this queue also work on a task queue that the queue does not name"
        }
        _ => return None,
    })
}

/// What to do about a fault, by SDK where that differs; `None` for a reason that is no fault of a
/// worker.
pub const fn remedy(fault: Reason) -> Option<&'static str> {
    Some(match fault {
        Reason::HeartbeatsTooRare => {
            "send one every 5s: Go client.Options.WorkerHeartbeatInterval, Python \
             Runtime(worker_heartbeat_interval=...), TypeScript \
             Runtime.install({workerHeartbeatInterval}), Java \
             WorkflowClientOptions.setWorkerHeartbeatInterval, Rust \
             RuntimeOptions::heartbeat_interval"
        }
        Reason::SlotsNeverUsed => {
            "the operator takes the slots as what a pod can do at once, so give a worker as many \
             as its pod can carry: Go worker.Options.MaxConcurrentActivityExecutionSize, Python \
             max_concurrent_activities, TypeScript maxConcurrentActivityTaskExecutions, Java \
             WorkerOptions.setMaxConcurrentActivityExecutionSize, Rust WorkerOptions::tuner"
        }
        Reason::EndsBeforeItsTasks => {
            "after SIGTERM give running tasks TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS to end: Go \
             worker.Options.WorkerStopTimeout, Python Worker(graceful_shutdown_timeout=...), \
             TypeScript shutdownGraceTime, Java WorkerFactory.awaitTermination, Rust \
             WorkerOptions::graceful_shutdown_period"
        }
        Reason::PollsAfterStop => {
            "make the worker stop on SIGTERM and run it as process 1 of its container: use an \
             entrypoint in exec form, or exec in the shell that starts it"
        }
        Reason::WorksOnOtherQueues => {
            "poll only TEMPORAL_TASK_QUEUE, and make every other task queue a queue of a fleet; \
             only tasks that need one certain pod belong on a task queue of that pod"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_description_and_a_remedy_that_fits_into_an_event() {
        for reason in Reason::OWN {
            let known = ALL.contains(reason);
            assert_eq!(describe(*reason).is_some(), known, "{reason}");
            assert_eq!(remedy(*reason).is_some(), known, "{reason}");
        }
        for reason in ALL {
            let remedy = remedy(reason).unwrap();
            // A note has 1000 bytes, and the evidence names a pod and perhaps a task queue.
            assert!(remedy.len() < 450, "{reason}: {}", remedy.len());
        }
    }
}
