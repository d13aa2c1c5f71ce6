//! The process: start-up, health, metrics, drains, recycling, invalid settings, commands.

use std::io::{BufRead as _, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use order_gateway::{FaultOptions, GatewayOptions, Status};
use order_worker::domain::order::{OrderInput, OrderResult, OrderState};
use serde_json::json;
use taskqueue_worker::testing::{free_port, temporal};
use temporalio_client::WorkflowDescribeOptions;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::enums::v1::VersioningBehavior;
use temporalio_common::protos::temporal::api::workflowservice::v1::SetWorkerDeploymentCurrentVersionRequest;

use crate::smtp::Behavior;
use crate::support::{Shop, Variables, eventually, init, start, temp_dir};

const BINARY: &str = env!("CARGO_BIN_EXE_order-worker");

fn slow_gateway(seconds: u64) -> GatewayOptions {
    let faults = FaultOptions {
        slow: Duration::from_secs(seconds),
        ..FaultOptions::default()
    };
    GatewayOptions {
        faults,
        ..GatewayOptions::default()
    }
}

#[tokio::test]
async fn running_activities_complete_after_sigterm() {
    let shop = Shop::open_with("drain", slow_gateway(2), Behavior::default()).await;
    let worker = shop.worker().await;
    let handle = shop
        .place(OrderInput::new("drain-1", 100).with("card", "tok_slow"))
        .await;
    eventually("the order is being paid", async || shop.charge("drain-1")).await;
    let log = worker.drain().await;
    assert!(log.contains("drained"), "{log}");
    assert!(log.contains("order paid"), "{log}");
    let next = shop.worker().await;
    assert_eq!(shop.end_of(&handle).await.state, OrderState::Completed);
    assert_eq!(
        shop.charge("drain-1").map(|charge| charge.attempts),
        Some(1)
    );
    next.drain().await;
}

#[tokio::test]
async fn after_the_grace_period_another_worker_takes_over() {
    let shop = Shop::open_with("grace", slow_gateway(8), Behavior::default()).await;
    let worker = shop
        .worker_with(&[("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "1")])
        .await;
    let handle = shop
        .place(OrderInput::new("grace-1", 100).with("card", "tok_slow"))
        .await;
    eventually("the order is being paid", async || shop.charge("grace-1")).await;
    let log = worker.drain().await;
    assert!(log.contains("the grace period is over"), "{log}");
    let next = shop.worker().await;
    let result = shop.end_of(&handle).await;
    assert_eq!(result.state, OrderState::Completed);
    // The second attempt carries the same key and is answered from the ledger.
    let charge = shop.charge("grace-1").unwrap();
    assert_eq!((charge.status, charge.attempts), (Status::Charged, 2));
    next.drain().await;
}

#[tokio::test]
async fn health_follows_polling_and_metrics_contain_those_of_worker_and_sdk() {
    let shop = Shop::open("health").await;
    // Without Temporal the process is alive, not ready, and retries.
    let port = free_port();
    let mut variables = shop.variables();
    variables.insert("TEMPORAL_ADDRESS".to_owned(), format!("127.0.0.1:{port}"));
    let waiting = start(shop.dir.path().join("waiting.log"), &variables).await;
    waiting.says("not connected to Temporal yet").await;
    assert_eq!(
        (
            waiting.status("/livez").await,
            waiting.status("/readyz").await
        ),
        (200, 503)
    );
    waiting.drain().await;

    let worker = shop.worker().await;
    assert_eq!(worker.status("/livez").await, 200);
    shop.run(OrderInput::new("health-1", 100).with("recipients", json!(["a@example.com"])))
        .await;
    let metrics = eventually("the end of the workflow is counted", async || {
        let metrics = worker.metrics().await;
        metrics
            .contains("temporal_workflow_completed_total{")
            .then_some(metrics)
    })
    .await;
    let log = worker.log();
    let paid = log.lines().find(|line| line.contains("order paid"));
    let event: serde_json::Value = serde_json::from_str(paid.unwrap()).unwrap();
    let span = &event["span"];
    assert_eq!(
        (&span["temporalWorkflowID"], &span["temporalActivityID"]),
        (&json!("order-health-1"), &json!("4")),
        "{event}"
    );
    for line in [
        "order_worker_orders_total{outcome=\"created\"} 1",
        "order_worker_orders_total{outcome=\"paid\"} 1",
        "order_worker_payments_total{outcome=\"charged\"} 1",
        "order_worker_payments_total{outcome=\"declined\"} 0",
        "order_worker_mails_total{outcome=\"sent\"} 1",
        "order_worker_payment_duration_seconds_count 1",
        "temporal_worker_task_slots_available{",
        "temporal_num_pollers{",
        "temporal_request_total{",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    worker.drain().await;
}

#[tokio::test]
async fn with_a_deployment_version_orders_wait_until_it_is_current() {
    versioned("shop", &[], VersioningBehavior::AutoUpgrade).await;
}

#[tokio::test]
async fn orders_stay_on_their_version_if_the_setting_says_so() {
    let pinned = ("TASKQUEUE_WORKER_VERSIONING_BEHAVIOR", "pinned");
    versioned("pinned-shop", &[pinned], VersioningBehavior::Pinned).await;
}

/// Runs an order on a worker of this deployment, and checks its versioning.
async fn versioned(deployment: &str, more: &[(&str, &str)], behavior: VersioningBehavior) {
    let shop = Shop::open(deployment).await;
    let mut variables = vec![
        ("TEMPORAL_DEPLOYMENT_NAME", deployment),
        ("TEMPORAL_WORKER_BUILD_ID", "build-1"),
    ];
    variables.extend(more);
    let worker = shop.worker_with(&variables).await;
    let id = format!("{deployment}-1");
    let handle = shop.place(OrderInput::new(&id, 100)).await;
    // The server learns the version shortly after its first poll.
    eventually("the version is made current", async || {
        let mut request = SetWorkerDeploymentCurrentVersionRequest {
            namespace: "default".to_owned(),
            deployment_name: deployment.to_owned(),
            build_id: "build-1".to_owned(),
            identity: "test".to_owned(),
            ..SetWorkerDeploymentCurrentVersionRequest::default()
        }
        .into_request();
        request.set_timeout(Duration::from_secs(10));
        let mut service = shop.client.connection().workflow_service();
        service
            .set_worker_deployment_current_version(request)
            .await
            .ok()
    })
    .await;
    assert_eq!(shop.end_of(&handle).await.state, OrderState::Completed);
    let described = handle
        .describe(WorkflowDescribeOptions::default())
        .await
        .unwrap();
    let info = described.raw().workflow_execution_info.clone().unwrap();
    let versioning = info.versioning_info.unwrap();
    let version = versioning.deployment_version.unwrap();
    assert_eq!(
        (
            version.deployment_name.as_str(),
            version.build_id.as_str(),
            versioning.behavior
        ),
        (deployment, "build-1", behavior as i32)
    );
    worker.drain().await;
}

pub(crate) fn run_binary(
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_migration_says_that_it_waits_for_a_database_that_does_not_answer() {
    // Its connections are accepted by the system, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut migration = Command::new(BINARY)
        .arg("migrate")
        .env_clear()
        .env(
            "DATABASE_URL",
            format!("postgres://orders@127.0.0.1:{port}/x"),
        )
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut log = BufReader::new(migration.stderr.take().unwrap());
    log.read_line(&mut line).unwrap();
    migration.kill().unwrap();
    migration.wait().unwrap();
    assert!(
        line.contains("still waiting for the database (DATABASE_URL)"),
        "{line}"
    );
}

#[test]
fn invalid_settings_stop_the_process_with_one_sentence() {
    let dir = temp_dir("settings");
    let key = dir.path().join("missing.key");
    let key = key.to_str().unwrap();
    let table: [(&[(&str, &str)], &str); 6] = [
        (&[], "PAYMENT_GATEWAY_URL is missing"),
        (
            &[("ORDER_WORKER_ROLE", "boss")],
            "ORDER_WORKER_ROLE must be one of",
        ),
        (
            &[("TEMPORAL_API_KEY", "k"), ("TEMPORAL_TLS", "false")],
            "TEMPORAL_API_KEY needs TLS",
        ),
        (
            &[
                ("ORDER_WORKER_ROLE", "orders"),
                ("TEMPORAL_TLS", "true"),
                ("TEMPORAL_API_KEY_FILE", key),
                ("TASKQUEUE_WORKER_HTTP_ADDRESS", "127.0.0.1:0"),
            ],
            "TEMPORAL_API_KEY_FILE names",
        ),
        (
            &[("TASKQUEUE_WORKER_LOG_FORMAT", "xml")],
            "TASKQUEUE_WORKER_LOG_FORMAT must be json or text",
        ),
        (
            &[("RUST_LOG", "order_worker=loud")],
            "RUST_LOG is not a log filter",
        ),
    ];
    for (variables, sentence) in table {
        let (code, _, stderr) = run_binary(&["run"], variables);
        assert_eq!(code, Some(2), "{variables:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{stderr}");
        assert!(
            lines[0].starts_with(&format!("order-worker: {sentence}")),
            "{stderr}"
        );
    }
}

#[test]
fn help_explains_every_command() {
    let (code, stdout, _) = run_binary(&["--help"], &[]);
    assert_eq!(code, Some(0));
    for word in [
        "run",
        "start",
        "status",
        "cancel",
        "migrate",
        "gateway",
        "TEMPORAL_ADDRESS",
    ] {
        assert!(stdout.contains(word), "{word} is missing in\n{stdout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_start_watch_and_cancel_orders() {
    let shop = Shop::open("commands").await;
    let worker = shop.worker().await;
    let address = temporal();
    let env = [
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_TASK_QUEUE", "commands"),
    ];
    let run = |arguments: &[&str]| run_binary(arguments, &env);

    let (code, stdout, _) = run(&[
        "start", "cmd-1", "--total", "250", "--item", "book=2", "--wait",
    ]);
    let mut lines = stdout.lines();
    assert_eq!((code, lines.next()), (Some(0), Some("order-cmd-1")));
    let result: OrderResult = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((result.order_id.as_str(), result.total), ("cmd-1", 250));

    let (code, stdout, stderr) = run(&["start", "cmd-1", "--total", "250"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "order-cmd-1\n"));
    assert_eq!(
        stderr,
        "order-worker: order-cmd-1 was already started; it does not run twice\n"
    );

    let (code, _, stderr) = run(&[
        "start",
        "cmd-2",
        "--total",
        "1",
        "--card",
        "4111111111111111",
    ]);
    assert_eq!(code, Some(1));
    assert_eq!(
        stderr,
        "order-worker: card must be a token of the payment gateway, not a card number\n"
    );

    let file = shop.dir.path().join("orders.jsonl");
    let mut orders = std::fs::File::create(&file).unwrap();
    for n in 0..5 {
        writeln!(
            orders,
            "{}",
            json!({"order_id": format!("file-{n}"), "total": 100 + n})
        )
        .unwrap();
    }
    let again = json!({"order_id": "file-0", "total": 100, "note": "again"});
    writeln!(orders, "{again}").unwrap();
    writeln!(orders, "not json\n\n{}", json!({"order_id": "file-x"})).unwrap();
    let (code, stdout, stderr) = run(&[
        "start",
        "--file",
        file.to_str().unwrap(),
        "--concurrency",
        "1",
    ]);
    assert_eq!((code, stdout.lines().count()), (Some(1), 6));
    let expected = [
        "line 6: unknown fields are ignored: note",
        "line 7: not JSON",
        "line 9: total is missing",
        "order-file-0 was already started",
        "5 started, 1 already started before, 2 refused",
    ];
    for sentence in expected {
        assert!(
            stderr.contains(sentence),
            "{sentence} is missing in\n{stderr}"
        );
    }

    run(&["start", "cmd-3", "--total", "9", "--cancel-window", "600"]);
    let (_, stdout, _) = run(&["cancel", "cmd-3", "--reason", "test"]);
    assert_eq!(stdout, "order-cmd-3: will be cancelled\n");
    let status = eventually("the order is cancelled", async || {
        let (_, stdout, _) = run(&["status", "cmd-3"]);
        let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        (status["status"] == "Completed").then_some(status)
    })
    .await;
    assert_eq!(
        status["order"]["reason"],
        json!({"type": "CancelledByCustomer", "message": "test"})
    );
    let (code, _, stderr) = run(&["status", "nobody"]);
    assert_eq!(
        (code, stderr.as_str()),
        (
            Some(1),
            "order-worker: order-nobody: there is no such order\n"
        )
    );
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_needs_only_temporal() {
    init();
    let dir = temp_dir("laptop");
    let address = tokio::task::spawn_blocking(temporal).await.unwrap();
    let database = format!(
        "sqlite://{}?mode=rwc",
        dir.path().join("orders.db").display()
    );
    let mut child = Command::new(BINARY)
        .args(["run", "--standalone"])
        .env_clear()
        .envs(Variables::from([
            ("TEMPORAL_ADDRESS".to_owned(), address.clone()),
            ("TEMPORAL_TASK_QUEUE".to_owned(), "laptop".to_owned()),
            ("DATABASE_URL".to_owned(), database),
            (
                "TASKQUEUE_WORKER_HTTP_ADDRESS".to_owned(),
                "127.0.0.1:0".to_owned(),
            ),
        ]))
        .stdout(std::fs::File::create(dir.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let env = [
        ("TEMPORAL_ADDRESS", address.as_str()),
        ("TEMPORAL_TASK_QUEUE", "laptop"),
    ];
    let (code, stdout, stderr) = tokio::task::block_in_place(|| {
        let order = [
            "start",
            "laptop-1",
            "--total",
            "1",
            "--recipient",
            "me@example.com",
            "--wait",
        ];
        run_binary(&order, &env)
    });
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(code, Some(0), "{stderr}\n{log}");
    assert!(stdout.contains("\"state\":\"completed\""), "{stdout}");
    assert!(log.contains("mail (console)"), "{log}");
}
