//! The worker of 25 lines: it is ready, reports its slots, works, and drains.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use taskqueue_worker::testing::{WorkerProcess, eventually};
use temporalio_client::{UntypedWorkflow, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::common::v1::Payload;

use crate::support::{address, client, example, heartbeats};

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_ready_reports_its_slots_works_and_drains() {
    let client = client().await;
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("TEMPORAL_ADDRESS", address().await),
        ("TEMPORAL_TASK_QUEUE", "minimal".to_owned()),
        ("TASKQUEUE_WORKER_ACTIVITY_SLOTS", "7".to_owned()),
    ];
    let worker = WorkerProcess::start(&example(), dir.path().join("log"), variables).await;
    let worker = worker.wait_ready().await;
    assert_eq!(worker.status("/livez").await, 200);
    let input = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: b"\"World\"".to_vec(),
        ..Payload::default()
    };
    let handle = client
        .start_workflow(
            UntypedWorkflow::new("Greeting"),
            RawValue::new(vec![input]),
            WorkflowStartOptions::new("minimal", "minimal-1").build(),
        )
        .await
        .unwrap();
    let result = handle.get_result(WorkflowGetResultOptions::default()).await;
    let payloads = result.unwrap().payloads;
    assert_eq!(payloads[0].data, b"\"Hello, World!\"");
    eventually("the server knows the slots", async || {
        let reports = heartbeats(&client, "minimal").await;
        let free = |report: &_| activity_slots(report);
        reports
            .iter()
            .any(|report| free(report) == Some((0, 7)))
            .then_some(())
    })
    .await;
    let metrics = worker.metrics().await;
    for series in [
        "taskqueue_worker_activities_total{activity=\"greet\",outcome=\"completed\"} 1\n",
        "taskqueue_worker_recycles_total 0\n",
        "taskqueue_worker_build_info{version=",
        "temporal_worker_task_slots_available{",
    ] {
        assert!(
            metrics.contains(series),
            "{series} is missing in\n{metrics}"
        );
    }
    let log = worker.drain().await;
    assert!(log.contains("drained"), "{log}");
}

/// The used and the free activity slots.
fn activity_slots(
    report: &temporalio_common::protos::temporal::api::worker::v1::WorkerHeartbeat,
) -> Option<(i32, i32)> {
    let slots = report.activity_task_slots_info.as_ref()?;
    Some((slots.current_used_slots, slots.current_available_slots))
}

#[test]
fn a_wrong_setting_ends_the_program_with_one_sentence() {
    let output = Command::new(example())
        .env_clear()
        .env("TASKQUEUE_WORKER_ACTIVITY_SLOTS", "many")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), stderr.as_str()),
        (
            Some(2),
            "minimal: TASKQUEUE_WORKER_ACTIVITY_SLOTS must be a whole number from 1 to 10000\n"
        )
    );
}

#[test]
fn a_log_that_is_collected_has_no_colours() {
    let mut worker = Command::new(example())
        .env_clear()
        .env("TEMPORAL_ADDRESS", "127.0.0.1:9")
        .env("TASKQUEUE_WORKER_HTTP_ADDRESS", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut log = BufReader::new(worker.stdout.take().unwrap());
    log.read_line(&mut line).unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(line.contains("serving /livez"), "{line:?}");
    assert!(!line.contains('\x1b'), "{line:?}");
}

#[test]
fn the_readme_shows_the_example() {
    let readme = include_str!("../../README.md");
    let example = include_str!("../../examples/minimal.rs");
    let (_, program) = example.split_once("\n\n").unwrap();
    assert!(
        readme.contains(program),
        "README.md does not contain examples/minimal.rs"
    );
}
