//! The workflow tasks that an SDK worker has and has not answered yet. Pure: times are passed in.
//!
//! The SDK does not answer every task: if a task fails again, the SDK lets it time out (`attempt >
//! 1` in `activation_completed`, sdk-core/src/worker/workflow/mod.rs). So a task is open for no
//! longer than the server waits for its answer.

use std::collections::HashMap;
use std::time::Duration;

use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::PollWorkflowTaskQueueResponse;
use tokio::time::Instant;

/// How long the server waits by default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tasks that have timed out are removed once there are twice this many entries.
const KEPT: usize = 100;

/// The open tasks.
#[derive(Debug, Default)]
pub(super) struct OpenTasks {
    /// When each task times out, by its token. May contain some that have.
    times_out: HashMap<Vec<u8>, Instant>,
    /// From this length on, those that have timed out are removed.
    too_long: usize,
}

impl OpenTasks {
    /// Adds a task that came at `now`. Returns whether the message contains a task.
    pub(super) fn add(&mut self, task: &PollWorkflowTaskQueueResponse, now: Instant) -> bool {
        if task.task_token.is_empty() {
            return false;
        }
        if self.times_out.len() >= self.too_long {
            self.remove_timed_out(now);
            self.too_long = 2 * self.times_out.len().max(KEPT);
        }
        let times_out = now + timeout(task).unwrap_or(TIMEOUT);
        self.times_out.insert(task.task_token.clone(), times_out);
        true
    }

    /// Removes a task that was answered.
    pub(super) fn remove(&mut self, task_token: &[u8]) {
        self.times_out.remove(task_token);
    }

    /// The number of tasks that are open at `now`.
    pub(super) fn count(&mut self, now: Instant) -> usize {
        self.remove_timed_out(now);
        self.times_out.len()
    }

    /// When the next of the open tasks times out; `None` if there is none.
    pub(super) fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.remove_timed_out(now);
        self.times_out.values().min().copied()
    }

    fn remove_timed_out(&mut self, now: Instant) {
        self.times_out.retain(|_, times_out| *times_out > now);
    }
}

/// How long the server waits for the answer to a task. The history of a task ends with its events,
/// unless it has more pages.
fn timeout(task: &PollWorkflowTaskQueueResponse) -> Option<Duration> {
    let events = &task.history.as_ref()?.events;
    events
        .iter()
        .rev()
        .find_map(|event| match &event.attributes {
            Some(Attributes::WorkflowTaskScheduledEventAttributes(scheduled)) => {
                scheduled.start_to_close_timeout?.try_into().ok()
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use temporalio_common::protos::temporal::api::history::v1::{
        History, HistoryEvent, WorkflowTaskScheduledEventAttributes,
    };

    use super::*;

    fn task(token: &str, timeout: Option<u64>) -> PollWorkflowTaskQueueResponse {
        let history = timeout.map(|seconds| {
            let scheduled = WorkflowTaskScheduledEventAttributes {
                start_to_close_timeout: Duration::from_secs(seconds).try_into().ok(),
                ..WorkflowTaskScheduledEventAttributes::default()
            };
            History {
                events: vec![HistoryEvent {
                    attributes: Some(Attributes::WorkflowTaskScheduledEventAttributes(scheduled)),
                    ..HistoryEvent::default()
                }],
            }
        });
        PollWorkflowTaskQueueResponse {
            task_token: token.into(),
            history,
            ..PollWorkflowTaskQueueResponse::default()
        }
    }

    #[test]
    fn a_task_is_open_until_it_is_answered_or_times_out() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut open = OpenTasks::default();
        assert!(!open.add(&task("", None), at(0)));
        assert_eq!((open.count(at(0)), open.next_timeout(at(0))), (0, None));
        assert!(open.add(&task("answered", None), at(0)));
        assert!(open.add(&task("default", None), at(1)));
        assert!(open.add(&task("long", Some(60)), at(2)));
        assert_eq!(
            (open.count(at(2)), open.next_timeout(at(2))),
            (3, Some(at(10)))
        );
        open.remove(b"answered");
        assert_eq!(
            (open.count(at(2)), open.next_timeout(at(2))),
            (2, Some(at(11)))
        );
        assert_eq!(
            (open.count(at(11)), open.next_timeout(at(11))),
            (1, Some(at(62)))
        );
        assert_eq!(open.count(at(62)), 0);
    }

    #[test]
    fn every_open_task_is_kept_and_those_that_timed_out_do_not_pile_up() {
        let start = Instant::now();
        let mut open = OpenTasks::default();
        for token in 0..20_001 {
            open.add(&task(&format!("{token}"), None), start);
        }
        assert_eq!(open.count(start), 20_001);
        for second in 0..10_000 {
            let now = start + Duration::from_secs(second);
            open.add(&task(&format!("later {second}"), None), now);
        }
        assert!(open.times_out.len() <= 2 * KEPT, "{}", open.times_out.len());
        let now = start + Duration::from_secs(10_009);
        assert_eq!(open.count(now), 0);
    }
}
