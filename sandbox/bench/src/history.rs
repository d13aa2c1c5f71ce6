//! Reads a workflow's history: when and where each activity ran, at which attempt, and which
//! failures came before. Pure; the format is that of Temporal's HTTP API.

use jiff::Timestamp;
use sandbox_machine::clients::temporal::{number, payload};
use serde_json::Value;

/// An activity that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Its type, such as `send_notification`.
    pub(crate) kind: String,
    /// When its last attempt was given to a worker.
    pub(crate) started: Timestamp,
    /// When it ended.
    pub(crate) ended: Timestamp,
    /// The number of its last attempt; 1 if nothing went wrong.
    pub(crate) attempt: u64,
    /// The identity of the worker, which names its pod.
    pub(crate) worker: String,
    /// Whether it completed.
    pub(crate) completed: bool,
    /// The failures of earlier attempts and of the end, if any, in Temporal's words.
    pub(crate) trouble: Option<String>,
    /// Whether one of them was a heartbeat timeout.
    pub(crate) heartbeat_missed: bool,
    /// The attempt that was cut off, if a sleeper reported that.
    pub(crate) cut_off: Option<Attempt>,
}

/// An attempt at an activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The pod that it ran on.
    pub(crate) pod: String,
    /// When it began.
    pub(crate) since: Timestamp,
}

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workflow {
    pub(crate) id: String,
    /// When Temporal took it.
    pub(crate) placed: Timestamp,
    /// When the first of its tasks was given to a poller.
    pub(crate) first_taken: Option<Timestamp>,
    /// The type of its last event, such as `WORKFLOW_EXECUTION_COMPLETED`.
    pub(crate) end: String,
    /// Its activities in the order of their ends.
    pub(crate) activities: Vec<Activity>,
}

impl Workflow {
    /// Whether it completed.
    pub(crate) fn completed(&self) -> bool {
        self.end == "WORKFLOW_EXECUTION_COMPLETED"
    }
}

/// The ends of an activity, with their attributes.
const ENDS: [(&str, &str); 4] = [
    (
        "EVENT_TYPE_ACTIVITY_TASK_COMPLETED",
        "activityTaskCompletedEventAttributes",
    ),
    (
        "EVENT_TYPE_ACTIVITY_TASK_FAILED",
        "activityTaskFailedEventAttributes",
    ),
    (
        "EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT",
        "activityTaskTimedOutEventAttributes",
    ),
    (
        "EVENT_TYPE_ACTIVITY_TASK_CANCELED",
        "activityTaskCanceledEventAttributes",
    ),
];

/// A workflow from its whole history.
pub(crate) fn workflow(id: &str, text: &str) -> Result<Workflow, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let events = answer["history"]["events"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let (first, last) = events
        .first()
        .zip(events.last())
        .ok_or("the history has no event")?;
    if answer["nextPageToken"]
        .as_str()
        .is_some_and(|token| !token.is_empty())
    {
        return Err("the history does not fit in one response".into());
    }
    let taken = events
        .iter()
        .find(|event| event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_STARTED");
    let end = last["eventType"].as_str().unwrap_or_default();
    Ok(Workflow {
        id: id.to_owned(),
        placed: time(first).ok_or("the first event has no time")?,
        first_taken: taken.and_then(time),
        end: end.trim_start_matches("EVENT_TYPE_").to_owned(),
        activities: events
            .iter()
            .filter_map(|event| activity(events, event))
            .collect(),
    })
}

/// The activity that this event ends.
fn activity(events: &[Value], event: &Value) -> Option<Activity> {
    let (kind, attributes) = ENDS
        .into_iter()
        .find(|(kind, _)| event["eventType"] == *kind)?;
    let end = &event[attributes];
    let of = |id: &Value| {
        events
            .iter()
            .find(|event| number(&event["eventId"]).is_some_and(|own| Some(own) == number(id)))
    };
    let scheduled = of(&end["scheduledEventId"])?;
    // One that timed out before any worker took it never started.
    let started = of(&end["startedEventId"]).unwrap_or(scheduled);
    let start = &started["activityTaskStartedEventAttributes"];
    let failures = [&start["lastFailure"], &end["failure"]];
    let trouble: Vec<String> = failures
        .into_iter()
        .filter_map(|failure| Some(failure["message"].as_str()?.to_owned()))
        .collect();
    let completed = kind == ENDS[0].0;
    Some(Activity {
        kind: scheduled["activityTaskScheduledEventAttributes"]["activityType"]["name"]
            .as_str()?
            .to_owned(),
        started: time(started)?,
        ended: time(event)?,
        attempt: number(&start["attempt"]).unwrap_or(1),
        worker: start["identity"].as_str().unwrap_or_default().to_owned(),
        completed,
        trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
        heartbeat_missed: failures.into_iter().any(heartbeat_missed),
        cut_off: failures.into_iter().find_map(cut_off),
    })
}

/// The attempt in the details of a sleeper's failure of type `CutOff`.
fn cut_off(failure: &Value) -> Option<Attempt> {
    let info = &failure["applicationFailureInfo"];
    if info["type"] != "CutOff" {
        return None;
    }
    let details = payload(&info["details"]["payloads"][0]).ok()?;
    Some(Attempt {
        pod: details["pod"].as_str()?.to_owned(),
        since: details["since"].as_str()?.parse().ok()?,
    })
}

fn heartbeat_missed(failure: &Value) -> bool {
    let missed =
        |failure: &Value| failure["timeoutFailureInfo"]["timeoutType"] == "TIMEOUT_TYPE_HEARTBEAT";
    missed(failure) || missed(&failure["cause"])
}

fn time(event: &Value) -> Option<Timestamp> {
    event["eventTime"].as_str()?.parse().ok()
}

/// The number of workflows in the answer to a count.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match &answer["count"] {
        // What is zero is left out of the answer.
        Value::Null => Ok(0),
        value => number(value).ok_or_else(|| format!("{value} is not a count")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: u32) -> String {
        format!("2026-01-01T10:00:{second:02}Z")
    }

    fn event(id: u32, second: u32, kind: &str, attributes: &str, value: &Value) -> Value {
        json!({
            "eventId": id.to_string(), "eventTime": at(second),
            "eventType": format!("EVENT_TYPE_{kind}"), attributes: value,
        })
    }

    fn history() -> String {
        let scheduled = |id, name: &str| {
            event(
                id,
                2,
                "ACTIVITY_TASK_SCHEDULED",
                "activityTaskScheduledEventAttributes",
                &json!({"activityType": {"name": name}}),
            )
        };
        let started = |id, second, scheduled: u32, more: Value| {
            let mut attributes =
                json!({"scheduledEventId": scheduled.to_string(), "identity": "1@pod-a"});
            attributes
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            event(
                id,
                second,
                "ACTIVITY_TASK_STARTED",
                "activityTaskStartedEventAttributes",
                &attributes,
            )
        };
        let missed = json!({
            "message": "activity Heartbeat timeout",
            "timeoutFailureInfo": {"timeoutType": "TIMEOUT_TYPE_HEARTBEAT"},
        });
        let events = [
            event(
                1,
                0,
                "WORKFLOW_EXECUTION_STARTED",
                "workflowExecutionStartedEventAttributes",
                &json!({}),
            ),
            event(
                2,
                0,
                "WORKFLOW_TASK_SCHEDULED",
                "workflowTaskScheduledEventAttributes",
                &json!({}),
            ),
            event(
                3,
                1,
                "WORKFLOW_TASK_STARTED",
                "workflowTaskStartedEventAttributes",
                &json!({}),
            ),
            scheduled(4, "create_order"),
            started(5, 3, 4, json!({"attempt": 1})),
            event(
                6,
                4,
                "ACTIVITY_TASK_COMPLETED",
                "activityTaskCompletedEventAttributes",
                &json!({"scheduledEventId": "4", "startedEventId": "5"}),
            ),
            scheduled(7, "send_notification"),
            started(8, 9, 7, json!({"attempt": 2, "lastFailure": missed})),
            event(
                9,
                30,
                "ACTIVITY_TASK_COMPLETED",
                "activityTaskCompletedEventAttributes",
                &json!({"scheduledEventId": "7", "startedEventId": "8"}),
            ),
            event(
                10,
                31,
                "WORKFLOW_EXECUTION_COMPLETED",
                "workflowExecutionCompletedEventAttributes",
                &json!({}),
            ),
        ];
        json!({"history": {"events": events}}).to_string()
    }

    #[test]
    fn an_activity_has_its_times_its_pod_and_its_last_failure() {
        let moment = |second| at(second).parse::<Timestamp>().unwrap();
        let quiet = Activity {
            kind: "create_order".into(),
            started: moment(3),
            ended: moment(4),
            attempt: 1,
            worker: "1@pod-a".into(),
            completed: true,
            trouble: None,
            heartbeat_missed: false,
            cut_off: None,
        };
        let again = Activity {
            kind: "send_notification".into(),
            started: moment(9),
            ended: moment(30),
            attempt: 2,
            trouble: Some("activity Heartbeat timeout".into()),
            heartbeat_missed: true,
            ..quiet.clone()
        };
        let read = workflow("order-1", &history()).unwrap();
        assert_eq!(
            read,
            Workflow {
                id: "order-1".into(),
                placed: moment(0),
                first_taken: Some(moment(1)),
                end: "WORKFLOW_EXECUTION_COMPLETED".into(),
                activities: vec![quiet, again],
            }
        );
        assert!(read.completed());
    }

    #[test]
    fn an_attempt_that_was_cut_off_is_in_the_details_of_its_failure() {
        // {"pod":"pod-a","since":"2026-01-01T10:00:05Z"}
        let data = "eyJwb2QiOiJwb2QtYSIsInNpbmNlIjoiMjAyNi0wMS0wMVQxMDowMDowNVoifQ==";
        let failure = |kind: &str, data: &str| {
            json!({"message": "cut off", "applicationFailureInfo": {
                "type": kind, "details": {"payloads": [{"data": data}]},
            }})
        };
        let attempt = Attempt {
            pod: "pod-a".into(),
            since: at(5).parse().unwrap(),
        };
        assert_eq!(cut_off(&failure("CutOff", data)), Some(attempt));
        assert_eq!(cut_off(&failure("Other", data)), None);
        assert_eq!(cut_off(&failure("CutOff", "")), None);
        assert_eq!(cut_off(&Value::Null), None);
    }

    #[test]
    fn an_empty_count_is_zero() {
        assert_eq!(count("{}"), Ok(0));
        assert_eq!(count(r#"{"count":"12"}"#), Ok(12));
        assert!(count(r#"{"count":"x"}"#).is_err());
    }
}
