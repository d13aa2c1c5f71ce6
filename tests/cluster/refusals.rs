//! Behavior that only a real API server shows: why it refuses a Deployment, what happens to one
//! that it accepts, and what programs that wait for a fleet see.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    harness::{TestCluster, eventually, one_queue, throughout, with_namespace},
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
        let name = cluster.namespace.as_str();
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
        let api = "admissionregistration.k8s.io/v1";
        let policy = json!({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                    "operations": ["CREATE", "UPDATE"],
                }]},
                "validations": [{
                    "expression": "has(object.metadata.labels) && 'team' in object.metadata.labels",
                    "reason": "Forbidden", "message": "a team label is needed",
                }],
            },
        });
        let binding = json!({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
        });
        let params = PatchParams::apply("cluster-test").force();
        policies
            .patch(name, &params, &Patch::Apply(&policy))
            .await?;
        bindings
            .patch(name, &params, &Patch::Apply(&binding))
            .await?;
        webhook::is_refused(&cluster, "a team label is needed").await?;
        cluster
            .apply(one_queue(&cluster.queue("all"), 1, 1, &json!({})))
            .await?;
        let ready = cluster
            .condition_is("Ready", "False", "ApplyFailed")
            .await?;
        assert!(
            ready.message.contains(&format!("Policy '{name}'")),
            "{}",
            ready.message
        );
        bindings.delete(name, &DeleteParams::default()).await?;
        policies.delete(name, &DeleteParams::default()).await?;
        Ok(())
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
