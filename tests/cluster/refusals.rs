//! Behavior that only a real API server shows: why it refuses a Deployment, what happens to one
//! that it accepts, and what programs that wait for a fleet see.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use taskqueue_exposition::Sample;

use crate::{
    harness::{TestCluster, alone, eventually, one_queue, throughout, with_namespace},
    policy::{self, Policy, operator},
    webhook::{self, Denier},
};

/// The spec with a template that differs from all others by this word.
fn changed(mut spec: Value, word: &str) -> Value {
    spec["template"]["metadata"] = json!({"annotations": {"example.com/change": word}});
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_not_ready_while_a_webhook_is_down() {
    with_namespace("a-webhook-that-is-down", |cluster| async move {
        let nobody =
            json!({"service": {"name": "none", "namespace": cluster.namespace, "path": "/"}});
        webhook::install(&cluster, &nobody).await?;
        let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        cluster.apply(spec.clone()).await?;
        let ready = cluster
            .condition_is("Ready", "False", "WebhookUnavailable")
            .await?;
        assert!(ready.message.contains(webhook::NAME), "{}", ready.message);
        cluster
            .condition_is("Reconciling", "True", "WebhookUnavailable")
            .await?;
        webhook::remove(&cluster).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denying_webhook_is_named_regardless_of_its_code() {
    with_namespace("a-denying-webhook", |cluster| async move {
        let denier = Denier::start(&cluster)?;
        webhook::install(&cluster, &denier.client).await?;
        let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        for code in [0, 403, 409, 422, 429, 500] {
            denier.deny_with(code);
            cluster
                .apply(changed(spec.clone(), &code.to_string()))
                .await?;
            let ready = cluster
                .condition_is("Ready", "False", "ApplyFailed")
                .await?;
            let number = if code == 0 { 400 } else { code };
            for part in [webhook::NAME, &format!("HTTP {number}")] {
                assert!(ready.message.contains(part), "{part}: {}", ready.message);
            }
            cluster
                .condition_is("Stalled", "True", "ApplyFailed")
                .await?;
        }
        webhook::remove(&cluster).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denying_admission_policy_is_named() {
    with_namespace("a-denying-admission-policy", |cluster| async move {
        let policy = Policy {
            api: ["apps", "v1"],
            resource: "deployments",
            admits: "has(object.metadata.labels) && 'team' in object.metadata.labels",
            message: "a team label is needed",
        };
        policy.install(&cluster).await?;
        webhook::is_refused(&cluster, "a team label is needed").await?;
        cluster
            .apply(one_queue(&cluster.queue("all"), 1, 1, &json!({})))
            .await?;
        let ready = cluster
            .condition_is("Ready", "False", "ApplyFailed")
            .await?;
        assert!(
            ready
                .message
                .contains(&format!("Policy '{}'", cluster.namespace)),
            "{}",
            ready.message
        );
        policy::remove(&cluster).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_port_in_the_template_is_reported_for_the_user_to_fix() {
    with_namespace("a-duplicate-port", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        spec["template"]["spec"]["containers"][0]["ports"] =
            json!([{"name": "a", "containerPort": 9090}, {"name": "b", "containerPort": 9090}]);
        cluster.apply(spec).await?;
        let ready = cluster
            .condition_is("Ready", "False", "ApplyFailed")
            .await?;
        assert!(
            ready.message.contains("containerPort=9090"),
            "{}",
            ready.message
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_container_that_cannot_start_is_named() {
    with_namespace(
        "an-init-container-that-cannot-start",
        |cluster| async move {
            let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            let with = |init: Value| {
                let mut spec = spec.clone();
                spec["template"]["spec"]["initContainers"] = json!([init]);
                spec
            };
            cluster
                .apply(with(json!({
                    "name": "fetch", "image": "localhost/none:1", "imagePullPolicy": "Never",
                })))
                .await?;
            let ready = cluster
                .condition_is("Ready", "False", "ImagePullFailed")
                .await?;
            assert!(
                ready.message.contains("init container fetch"),
                "{}",
                ready.message
            );
            // A native sidecar whose image exists, but whose program does not.
            let image = &spec["template"]["spec"]["containers"][0]["image"];
            cluster
                .apply(with(json!({
                    "name": "proxy", "image": image, "imagePullPolicy": "Never",
                    "restartPolicy": "Always", "command": ["/no-such-program"],
                })))
                .await?;
            eventually("the sidecar is named", || async {
                let ready = cluster.condition("Ready").await?;
                let named = ready.as_ref().is_some_and(|ready| {
                    ready.reason == "PodsFailing" && ready.message.contains("init container proxy")
                });
                Ok(if named {
                    Ok(())
                } else {
                    Err(format!("{ready:?}"))
                })
            })
            .await
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_wait_ends_when_a_changed_template_has_reached_every_pod() {
    with_namespace("kubectl-wait-ends", |cluster| async move {
        let spec = one_queue(&cluster.queue("all"), 2, 2, &json!({}));
        cluster.apply(spec.clone()).await?;
        for (word, condition) in [("1", "Ready"), ("2", "Reconciling=false")] {
            cluster
                .condition_is("Reconciling", "False", "Reconciled")
                .await?;
            cluster.apply(changed(spec.clone(), word)).await?;
            cluster.kubectl(&[
                "wait",
                &format!("--for=condition={condition}"),
                "--timeout=120s",
                "tqw/orders",
            ])?;
            let pods = cluster.live_pods().await?;
            let new = pods.iter().filter(|pod| {
                let change = pod.annotations().get("example.com/change");
                change.is_some_and(|change| change == word)
            });
            assert_eq!((new.count(), pods.len()), (2, 2), "{condition}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_rollout_is_reported_and_continues_when_it_is_resumed() {
    with_namespace("a-paused-rollout-is-reported", |cluster| async move {
        let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        cluster.apply(spec.clone()).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let deployment = format!(
            "deployment/{}",
            cluster.deployments().await?["all"].name_any()
        );
        cluster.kubectl(&["rollout", "pause", &deployment])?;
        cluster.apply(changed(spec, "1")).await?;
        let condition = cluster
            .condition_is("Progressing", "False", "RolloutPaused")
            .await?;
        assert!(
            condition.message.contains(&deployment),
            "{}",
            condition.message
        );
        cluster.kubectl(&["rollout", "resume", &deployment])?;
        cluster.condition_is("Ready", "True", "Available").await?;
        Ok(())
    })
    .await;
}

/// The status of the condition Ready, whatever generation it is about.
async fn ready(cluster: &TestCluster) -> anyhow::Result<String> {
    let status = cluster.fleet().await?.status.unwrap_or_default();
    let mut conditions = status.conditions.into_iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    Ok(ready.map_or_else(String::new, |ready| ready.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_scales_up_from_zero_stays_ready() {
    with_namespace("a-queue-that-scales-up-from-zero", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 1).await?;
        // The minimum wakes the queue as work would.
        cluster.apply(one_queue(&queue, 1, 1, &json!({}))).await?;
        throughout(Duration::from_secs(8), "Ready is True", || async {
            let ready = ready(&cluster).await?;
            Ok(if ready == "True" { Ok(()) } else { Err(ready) })
        })
        .await?;
        cluster
            .replicas_are("all", "it wakes", |_, ready| ready == 1)
            .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_keeps_crashing_keeps_its_reason() {
    with_namespace("a-pod-that-keeps-crashing", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        // The kubelet ends the container after three seconds, each time.
        let fails = json!({
            "httpGet": {"path": "/none", "port": 8080}, "periodSeconds": 1, "failureThreshold": 3,
        });
        let container = &mut spec["template"]["spec"]["containers"][0];
        container["livenessProbe"] = fails.clone();
        container["readinessProbe"] = fails;
        cluster.apply(spec).await?;
        cluster
            .condition_is("Ready", "False", "PodsFailing")
            .await?;
        let before = restarts(&cluster).await?;
        eventually("it has run and crashed twice more", || async {
            let ready = cluster.condition("Ready").await?;
            anyhow::ensure!(
                ready
                    .as_ref()
                    .is_some_and(|ready| ready.reason == "PodsFailing"),
                "{ready:?}"
            );
            let restarts = restarts(&cluster).await? - before;
            Ok(if restarts >= 2 {
                Ok(())
            } else {
                Err(format!("{restarts} restarts"))
            })
        })
        .await
    })
    .await;
}

/// How often containers of the namespace have been restarted.
async fn restarts(cluster: &TestCluster) -> anyhow::Result<i32> {
    let pods = cluster.api::<Pod>().list(&ListParams::default()).await?;
    let statuses = pods.items.iter().filter_map(|pod| pod.status.as_ref());
    let containers = statuses.flat_map(|status| status.container_statuses.iter().flatten());
    Ok(containers.map(|container| container.restart_count).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_the_operator_cannot_see_is_not_scaled_from_zero() {
    with_namespace("a-deployment-out-of-sight", |cluster| async move {
        // Started with three replicas, which the long window keeps.
        let queue = cluster.queue("all");
        let window = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}});
        cluster.apply(one_queue(&queue, 3, 3, &window)).await?;
        cluster.workers_run(3).await?;
        cluster.apply(one_queue(&queue, 1, 3, &window)).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let name = cluster.deployments().await?["all"].name_any();
        let object = format!("deployment/{name}");

        // The operator cannot put the label back for a while, and reads Temporal meanwhile.
        let policy = Policy {
            api: ["apps", "v1"],
            resource: "deployments",
            admits: &format!("request.userInfo.username != '{}'", operator()),
            message: "hands off",
        };
        policy.install(&cluster).await?;
        let account = operator();
        let probe = [
            "label",
            &object,
            "probe=1",
            "--dry-run=server",
            "--as",
            &account,
        ];
        policy.is_in_force(&cluster, &probe).await?;
        cluster.kubectl(&["label", &object, "taskqueue.dev/worker-"])?;
        let keeps_three = |requested: i32| {
            if requested == 3 {
                Ok(())
            } else {
                Err(format!("{requested} replicas"))
            }
        };
        throughout(
            Duration::from_secs(15),
            "it keeps three replicas",
            || async { Ok(keeps_three(cluster.replicas("all").await?.0)) },
        )
        .await?;

        policy::remove(&cluster).await?;
        eventually("the label is back", || async {
            anyhow::ensure!(cluster.replicas("all").await?.0 == 3, "it was scaled in");
            let deployment = &cluster.deployments().await?["all"];
            Ok(
                if deployment.labels().contains_key("taskqueue.dev/worker") {
                    Ok(())
                } else {
                    Err(format!("{:?}", deployment.labels()))
                },
            )
        })
        .await?;
        throughout(
            Duration::from_secs(15),
            "it keeps three replicas",
            || async { Ok(keeps_three(cluster.replicas("all").await?.0)) },
        )
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_cannot_be_written_is_counted_until_it_can() {
    alone("a-status-that-cannot-be-written", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 1).await?;
        let policy = Policy {
            api: ["taskqueue.dev", "v1alpha1"],
            resource: "taskqueueworkers/status",
            admits: "false",
            message: "hands off",
        };
        policy.install(&cluster).await?;
        let probe = [
            "patch",
            "tqw",
            "orders",
            "--subresource=status",
            "--type=merge",
            r#"--patch={"status": {"queueCount": 2}}"#,
            "--dry-run=server",
        ];
        policy.is_in_force(&cluster, &probe).await?;
        let before = denials(&cluster)?;
        cluster.apply(one_queue(&queue, 1, 1, &json!({}))).await?;
        eventually("the refused status is counted", || async {
            let now = denials(&cluster)?;
            Ok(if now > before {
                Ok(())
            } else {
                Err(format!("{now} errors, as before"))
            })
        })
        .await?;
        policy::remove(&cluster).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        Ok(())
    })
    .await;
}

/// How many writes of the leader the API server has denied.
fn denials(cluster: &TestCluster) -> anyhow::Result<f64> {
    let metrics = cluster.metrics()?;
    let samples = metrics.lines().filter_map(Sample::parse);
    let denied = samples.filter(|sample| {
        sample.name == "taskqueue_operator_reconcile_errors_total"
            && sample.label("class") == Some("denied")
    });
    Ok(denied.map(|sample| sample.value).sum())
}
