//! Temporal's answers over its HTTP API (the paths are those of `workflowservice`'s annotations).
//! Pure.

use std::time::Duration;

use jiff::Timestamp;
use sandbox_machine::clients::temporal::{number, payload};
use serde::Deserialize;
use serde_json::Value;

/// How a workflow ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a result.
    Completed(OrderResult),
    /// With a failure of this type.
    Failed(String),
    /// In another way, or not at all: the type of its last event.
    Otherwise(String),
}

/// What `OrderWorkflow` returns, as far as it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct OrderResult {
    pub(crate) order_id: String,
    /// `completed`, `declined`, `out_of_stock` or `cancelled`.
    pub(crate) state: String,
    pub(crate) total: i64,
    pub(crate) currency: String,
    pub(crate) payment: Option<ResultPayment>,
    #[serde(default)]
    pub(crate) notification: ResultNotification,
}

/// The payment in a result.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ResultPayment {
    pub(crate) charge_id: String,
    pub(crate) amount: i64,
}

/// The mails in a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ResultNotification {
    pub(crate) sent: u64,
    pub(crate) refused: u64,
}

/// A task's way through its queue: when it was put there and when a worker took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) task_queue: String,
    pub(crate) scheduled: Timestamp,
    pub(crate) started: Timestamp,
}

/// A workflow of the run, from its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Execution {
    pub(crate) workflow_id: String,
    pub(crate) ended: Ended,
    /// Every task that was started at its first attempt, from normal (not sticky) queues.
    pub(crate) waits: Vec<Wait>,
}

/// The workflow and run ids of one page of a list, and the token of the next page (empty at the
/// end).
pub(crate) fn list_page(text: &str) -> Result<(Vec<(String, String)>, String), String> {
    let page: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let ids = page["executions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let part = |name: &str| entry["execution"][name].as_str().map(str::to_owned);
            part("workflowId")
                .zip(part("runId"))
                .ok_or_else(|| format!("{entry} has no ids"))
        })
        .collect::<Result<_, _>>()?;
    Ok((
        ids,
        page["nextPageToken"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    ))
}

/// How many workflows are closed and how many are open, from a count grouped by status.
pub(crate) fn closed_and_open(text: &str) -> Result<(u64, u64), String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (mut closed, mut open) = (0, 0);
    for group in answer["groups"].as_array().into_iter().flatten() {
        let count = number(&group["count"]).ok_or_else(|| format!("{group} has no count"))?;
        let status = payload(&group["groupValues"][0])?;
        if status == "Running" {
            open += count;
        } else {
            closed += count;
        }
    }
    Ok((closed, open))
}

/// Backlog and age of the oldest task, from the description of a task queue with statistics.
pub(crate) fn task_queue_stats(text: &str) -> Result<(u64, Duration), String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let stats = &answer["stats"];
    // What is zero is left out of the answer.
    let backlog = number(&stats["approximateBacklogCount"]).unwrap_or(0);
    let age = match stats["approximateBacklogAge"].as_str() {
        None => Duration::ZERO,
        Some(text) => seconds(text).ok_or_else(|| format!("{text:?} is not a duration"))?,
    };
    // Without tasks the age is that of no task.
    Ok((backlog, if backlog == 0 { Duration::ZERO } else { age }))
}

/// A workflow from its whole history.
pub(crate) fn execution(workflow_id: &str, text: &str) -> Result<Execution, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let events = answer["history"]["events"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let last = events.last().ok_or("the history has no event")?;
    if answer["nextPageToken"]
        .as_str()
        .is_some_and(|token| !token.is_empty())
    {
        return Err("the history does not fit in one response".into());
    }
    Ok(Execution {
        workflow_id: workflow_id.to_owned(),
        ended: ended(last)?,
        waits: events
            .iter()
            .filter_map(|event| wait(events, event))
            .collect(),
    })
}

fn ended(last: &Value) -> Result<Ended, String> {
    let kind = last["eventType"].as_str().unwrap_or_default();
    Ok(match kind.trim_start_matches("EVENT_TYPE_") {
        "WORKFLOW_EXECUTION_COMPLETED" => {
            let attributes = &last["workflowExecutionCompletedEventAttributes"];
            let result = payload(&attributes["result"]["payloads"][0])?;
            let result = serde_json::from_value(result)
                .map_err(|error| format!("the result is not that of an order: {error}"))?;
            Ended::Completed(result)
        }
        "WORKFLOW_EXECUTION_FAILED" => {
            let failure = &last["workflowExecutionFailedEventAttributes"]["failure"];
            let kind = failure["applicationFailureInfo"]["type"].as_str();
            Ended::Failed(kind.unwrap_or("unknown").to_owned())
        }
        other => Ended::Otherwise(other.to_owned()),
    })
}

/// The wait of a task that this event says was started.
fn wait(events: &[Value], event: &Value) -> Option<Wait> {
    let (started, scheduled_key) = match event["eventType"].as_str()? {
        "EVENT_TYPE_WORKFLOW_TASK_STARTED" => (
            "workflowTaskStartedEventAttributes",
            "workflowTaskScheduledEventAttributes",
        ),
        "EVENT_TYPE_ACTIVITY_TASK_STARTED" => (
            "activityTaskStartedEventAttributes",
            "activityTaskScheduledEventAttributes",
        ),
        _ => return None,
    };
    let attributes = &event[started];
    // A later attempt waited for its backoff, which is no wait in the queue.
    if number(&attributes["attempt"]).is_some_and(|attempt| attempt > 1) {
        return None;
    }
    let scheduled_id = number(&attributes["scheduledEventId"])?;
    let scheduled = events
        .iter()
        .find(|event| number(&event["eventId"]) == Some(scheduled_id))?;
    let queue = &scheduled[scheduled_key]["taskQueue"];
    if queue["kind"].as_str() == Some("TASK_QUEUE_KIND_STICKY") {
        return None;
    }
    Some(Wait {
        task_queue: queue["name"].as_str()?.to_owned(),
        scheduled: scheduled["eventTime"].as_str()?.parse().ok()?,
        started: event["eventTime"].as_str()?.parse().ok()?,
    })
}

/// A duration such as `0.751058418s`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_leave_out_what_is_zero() {
        let full = r#"{"stats":{"approximateBacklogCount":"3","approximateBacklogAge":"0.75s","tasksAddRate":4.5}}"#;
        assert_eq!(task_queue_stats(full), Ok((3, Duration::from_millis(750))));
        assert_eq!(task_queue_stats("{}"), Ok((0, Duration::ZERO)));
        let old = r#"{"stats":{"approximateBacklogAge":"7s"}}"#;
        assert_eq!(task_queue_stats(old), Ok((0, Duration::ZERO)));
    }

    #[test]
    fn a_count_is_split_into_closed_and_open() {
        let text = r#"{"count":"7","groups":[
            {"groupValues":[{"data":"IlJ1bm5pbmci"}],"count":"2"},
            {"groupValues":[{"data":"IlRlcm1pbmF0ZWQi"}],"count":"1"},
            {"groupValues":[{"data":"IkNvbXBsZXRlZCI="}],"count":"4"}]}"#;
        assert_eq!(closed_and_open(text), Ok((5, 2)));
        assert_eq!(closed_and_open("{}"), Ok((0, 0)));
    }

    #[test]
    fn a_list_is_read_page_by_page() {
        let text = r#"{
            "executions":[{"execution":{"workflowId":"order-r-1","runId":"x"},"status":"S"}],
            "nextPageToken":"abc="
        }"#;
        let ids = vec![("order-r-1".to_owned(), "x".to_owned())];
        assert_eq!(list_page(text), Ok((ids, "abc=".to_owned())));
        assert_eq!(list_page("{}"), Ok((vec![], String::new())));
    }

    fn history(last: &str) -> String {
        format!(
            r#"{{"history":{{"events":[
            {{"eventId":"1","eventTime":"2026-01-01T10:00:00Z",
              "eventType":"EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"}},
            {{"eventId":"2","eventTime":"2026-01-01T10:00:00Z",
              "eventType":"EVENT_TYPE_WORKFLOW_TASK_SCHEDULED",
              "workflowTaskScheduledEventAttributes":
              {{"taskQueue":{{"name":"orders","kind":"TASK_QUEUE_KIND_NORMAL"}}}}}},
            {{"eventId":"3","eventTime":"2026-01-01T10:00:07.5Z",
              "eventType":"EVENT_TYPE_WORKFLOW_TASK_STARTED",
              "workflowTaskStartedEventAttributes":{{"scheduledEventId":"2"}}}},
            {{"eventId":"5","eventTime":"2026-01-01T10:00:08Z",
              "eventType":"EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
              "activityTaskScheduledEventAttributes":{{"taskQueue":{{"name":"payments"}}}}}},
            {{"eventId":"6","eventTime":"2026-01-01T10:00:09Z",
              "eventType":"EVENT_TYPE_ACTIVITY_TASK_STARTED",
              "activityTaskStartedEventAttributes":{{"scheduledEventId":"5","attempt":2}}}},
            {{"eventId":"7","eventTime":"2026-01-01T10:00:10Z",
              "eventType":"EVENT_TYPE_WORKFLOW_TASK_SCHEDULED",
              "workflowTaskScheduledEventAttributes":
              {{"taskQueue":{{"name":"sticky-1","kind":"TASK_QUEUE_KIND_STICKY"}}}}}},
            {{"eventId":"8","eventTime":"2026-01-01T10:00:10Z",
              "eventType":"EVENT_TYPE_WORKFLOW_TASK_STARTED",
              "workflowTaskStartedEventAttributes":{{"scheduledEventId":"7"}}}},
            {last}]}}}}"#
        )
    }

    #[test]
    fn a_history_gives_the_result_and_the_waits_in_normal_queues_at_first_attempts() {
        // {"order_id":"r-1","state":"declined","total":5,"currency":"USD"}
        let data = "eyJvcmRlcl9pZCI6InItMSIsInN0YXRlIjoiZGVjbGluZWQiLCJ0b3RhbCI6NSwiY3VycmVuY3kiOiJVU0QifQ==";
        let last = format!(
            r#"{{"eventId":"9","eventType":"EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED",
            "workflowExecutionCompletedEventAttributes":
            {{"result":{{"payloads":[{{"data":"{data}"}}]}}}}}}"#
        );
        assert_eq!(
            execution("order-r-1", &history(&last)),
            Ok(Execution {
                workflow_id: "order-r-1".into(),
                ended: Ended::Completed(OrderResult {
                    order_id: "r-1".into(),
                    state: "declined".into(),
                    total: 5,
                    currency: "USD".into(),
                    ..OrderResult::default()
                }),
                waits: vec![Wait {
                    task_queue: "orders".into(),
                    scheduled: "2026-01-01T10:00:00Z".parse().unwrap(),
                    started: "2026-01-01T10:00:07.5Z".parse().unwrap(),
                }],
            })
        );
    }

    #[test]
    fn a_failure_is_reported_by_its_type_and_any_other_end_by_its_event() {
        let failed = r#"{"eventId":"9","eventType":"EVENT_TYPE_WORKFLOW_EXECUTION_FAILED",
            "workflowExecutionFailedEventAttributes":{"failure":{"message":"m",
            "applicationFailureInfo":{"type":"PaymentUnavailable","nonRetryable":true}}}}"#;
        let ended = |last: &str| execution("w", &history(last)).unwrap().ended;
        assert_eq!(ended(failed), Ended::Failed("PaymentUnavailable".into()));
        let terminated =
            r#"{"eventId":"9","eventType":"EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED"}"#;
        assert_eq!(
            ended(terminated),
            Ended::Otherwise("WORKFLOW_EXECUTION_TERMINATED".into())
        );
        assert!(execution("w", r#"{"history":{"events":[]}}"#).is_err());
    }
}
