//! Summarizes a history: one line for each event that shows the order's progress.

use std::collections::BTreeMap;

use order_worker::commands::OrderHandle;
use order_worker::domain::order::OrderResult;
use temporalio_client::WorkflowFetchHistoryOptions;
use temporalio_common::protos::temporal::api::common::v1::Payloads;
use temporalio_common::protos::temporal::api::failure::v1::Failure;
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes as Event;

/// Fetches the events of an order so far.
pub(crate) async fn events_of(order: &OrderHandle) -> Vec<HistoryEvent> {
    let history = order.fetch_history(WorkflowFetchHistoryOptions::default());
    history.into_events().await.unwrap()
}

/// Lines such as `create_order completed`, `process_payment failed: PaymentDeclined` and
/// `order completed: declined`.
pub(crate) fn summary(events: &[HistoryEvent]) -> Vec<String> {
    let mut summarizer = Summarizer::default();
    let lines = events.iter().filter_map(|event| summarizer.line(event));
    lines.collect()
}

/// Whether the summary contains these lines in this order, possibly with others in between.
pub(crate) fn contains_in_order(summary: &[String], lines: &[&str]) -> bool {
    let mut rest = summary.iter();
    lines.iter().all(|line| rest.any(|found| found == line))
}

/// The index of the first line with this prefix.
pub(crate) fn place_of(summary: &[String], beginning: &str) -> Option<usize> {
    summary.iter().position(|line| line.starts_with(beginning))
}

#[derive(Default)]
struct Summarizer {
    /// The workflow's own task queue.
    queue: String,
    /// The activities by the id of the event that scheduled them.
    activities: BTreeMap<i64, String>,
}

impl Summarizer {
    fn line(&mut self, event: &HistoryEvent) -> Option<String> {
        let line = match event.attributes.as_ref()? {
            Event::WorkflowExecutionStartedEventAttributes(started) => {
                self.queue = started.task_queue.clone().unwrap_or_default().name;
                return None;
            }
            Event::ActivityTaskScheduledEventAttributes(scheduled) => {
                let name = scheduled.activity_type.clone().unwrap_or_default().name;
                self.activities.insert(event.event_id, name);
                let queue = scheduled.task_queue.clone().unwrap_or_default().name;
                let does = self.activity(event.event_id, "scheduled");
                if queue == self.queue {
                    does
                } else {
                    format!("{does} on {queue}")
                }
            }
            Event::ActivityTaskStartedEventAttributes(started) if started.attempt > 1 => {
                let attempt = format!("attempt {}", started.attempt);
                self.activity(started.scheduled_event_id, &attempt)
            }
            Event::ActivityTaskCompletedEventAttributes(completed) => {
                self.activity(completed.scheduled_event_id, "completed")
            }
            Event::ActivityTaskFailedEventAttributes(failed) => {
                let failed_with = format!("failed: {}", kind(failed.failure.as_ref()));
                self.activity(failed.scheduled_event_id, &failed_with)
            }
            Event::ActivityTaskTimedOutEventAttributes(timed_out) => {
                let which = format!("timed out: {}", kind(timed_out.failure.as_ref()));
                self.activity(timed_out.scheduled_event_id, &which)
            }
            Event::ActivityTaskCancelRequestedEventAttributes(requested) => {
                self.activity(requested.scheduled_event_id, "asked to stop")
            }
            Event::ActivityTaskCanceledEventAttributes(cancelled) => {
                self.activity(cancelled.scheduled_event_id, "cancelled")
            }
            Event::MarkerRecordedEventAttributes(marker) if marker.marker_name == "core_patch" => {
                "patch".to_owned()
            }
            Event::TimerFiredEventAttributes(_) => "timer fired".to_owned(),
            Event::TimerCanceledEventAttributes(_) => "timer cancelled".to_owned(),
            Event::WorkflowExecutionSignaledEventAttributes(_) => "signal".to_owned(),
            Event::WorkflowExecutionUpdateAcceptedEventAttributes(_) => "update".to_owned(),
            Event::UpsertWorkflowSearchAttributesEventAttributes(_) => {
                "search attributes".to_owned()
            }
            Event::WorkflowExecutionCompletedEventAttributes(completed) => {
                format!("order completed: {}", state(completed.result.as_ref()))
            }
            Event::WorkflowExecutionFailedEventAttributes(failed) => {
                format!("order failed: {}", kind(failed.failure.as_ref()))
            }
            Event::WorkflowExecutionCanceledEventAttributes(cancelled) => {
                format!("order cancelled: {}", state(cancelled.details.as_ref()))
            }
            _ => return None,
        };
        Some(line)
    }

    fn activity(&self, scheduled: i64, does: &str) -> String {
        format!("{} {does}", self.activities[&scheduled])
    }
}

/// The type of a failure, or of a timeout.
fn kind(failure: Option<&Failure>) -> String {
    match failure.and_then(|failure| failure.failure_info.as_ref()) {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info.r#type.clone(),
        Some(FailureInfo::TimeoutFailureInfo(info)) => format!("{:?}", info.timeout_type()),
        other => format!("{other:?}"),
    }
}

/// The state in a result.
fn state(result: Option<&Payloads>) -> String {
    let payload = result.and_then(|result| result.payloads.first());
    let result: OrderResult = serde_json::from_slice(&payload.unwrap().data).unwrap();
    let name = serde_json::to_value(result.state).unwrap();
    name.as_str().unwrap().to_owned()
}
