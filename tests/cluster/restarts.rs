//! What a restarted operator knows: the owners of task queues, which namespaces it serves, and what
//! recurs in a load.
//! These tests restart the shared operator, so they run alone.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::json;
use taskqueue_api::well_known::RECURRING_LOAD_ANNOTATION;

use crate::{
    harness::{
        OPERATOR, OPERATOR_NAMESPACE, TestCluster, alone, eventually, one_queue, output, within,
    },
    upgrade::release::{chart, on_a_bare_cluster},
};

/// Replaces the pods of the operator, and waits until the new ones are ready.
fn restart(cluster: &TestCluster) -> anyhow::Result<()> {
    let operator = format!("deployment/{OPERATOR}");
    for command in [
        &["rollout", "restart", &operator][..],
        &["rollout", "status", &operator, "--timeout=120s"],
    ] {
        let mut kubectl = cluster.sandbox.kubectl();
        output(
            kubectl
                .args(["--namespace", OPERATOR_NAMESPACE])
                .args(command),
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_spec_became_invalid_keeps_its_task_queue_after_a_restart() {
    alone("a-fleet-keeps-its-task-queue", |cluster| async move {
        let queue = cluster.queue("all");
        let spec = one_queue(&queue, 1, 1, &json!({}));
        cluster.apply_as("first", spec.clone()).await?;
        cluster.workers_run(1).await?;
        cluster.apply(spec.clone()).await?;
        cluster
            .condition_is("ScalingActive", "False", "QueueConflict")
            .await?;
        // The API server does not know the names of time zones.
        let mut invalid = spec;
        invalid["scaling"]["schedule"] = json!([{
            "start": "0 8 * * *", "end": "0 18 * * *", "timeZone": "Europe/Atlantis",
            "minReplicas": 1,
        }]);
        cluster.apply_as("first", invalid).await?;
        eventually("the first fleet is invalid", || async {
            let reason = cluster.kubectl(&[
                "get",
                "tqw",
                "first",
                r#"--output=jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#,
            ])?;
            Ok(if reason == "InvalidSpec" {
                Ok(())
            } else {
                Err(reason)
            })
        })
        .await?;
        let before = cluster.workers().await?;

        restart(&cluster)?;
        // A new generation of the second fleet shows that the new process has decided on it.
        cluster.apply(one_queue(&queue, 1, 2, &json!({}))).await?;
        cluster
            .condition_is("ScalingActive", "False", "QueueConflict")
            .await?;
        cluster.untouched(&before, "the restart").await
    })
    .await;
}

/// Recurring load as a Deployment keeps it: a burst of 16 slots in this minute of every hour, on
/// pods of 10 slots that start within 1 s.
fn burst_at_minute(now: Timestamp, minute: usize) -> String {
    let cells = |quiet: usize| match quiet {
        0 => String::new(),
        quiet => format!("{quiet}A"),
    };
    let hourly = format!("{}N{}", cells(minute), cells(59 - minute));
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("1 {at} UTC 10 1 {hourly}/{hourly} 144A/144A 168A/168A")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_recurs_is_prepared_for_after_a_restart() {
    alone("a-burst-that-recurs", |cluster| async move {
        let queue = cluster.queue("all");
        let forecast = json!({"forecast": {"mode": "Enabled"}});
        cluster.apply(one_queue(&queue, 0, 4, &forecast)).await?;
        cluster
            .replicas_are("all", "nothing has come yet", |requested, _| requested == 0)
            .await?;
        let deployments = cluster.deployments().await?;
        let deployment = deployments.get("all").context("a Deployment")?;
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        // The operator is away for less than two minutes.
        let now = Timestamp::now();
        let comes_at = now.as_second() / 60 * 60 + 180;
        let minute = usize::try_from(comes_at / 60 % 60)?;
        let kept = format!(
            "{RECURRING_LOAD_ANNOTATION}={}",
            burst_at_minute(now, minute)
        );
        cluster.kubectl(&["annotate", "deployment", name, &kept])?;

        restart(&cluster)?;
        // Nothing has come, and nothing will.
        let wait = Duration::from_mins(3);
        within(wait, "pods start before the burst", || async {
            let (requested, _) = cluster.replicas("all").await?;
            Ok(if requested == 2 {
                Ok(())
            } else {
                Err(format!("{requested} replicas"))
            })
        })
        .await?;
        let early = comes_at - Timestamp::now().as_second();
        anyhow::ensure!((0..=30).contains(&early), "{early} s before the burst");
        let reason = "--output=jsonpath={.status.queues[0].lastDecision.reason}";
        eventually("the forecast is the reason", || async {
            let reason = cluster.kubectl(&["get", "tqw", "orders", reason])?;
            Ok(if reason == "ForecastMinimum" {
                Ok(())
            } else {
                Err(reason)
            })
        })
        .await?;
        // The burst does not come in its minute, so the pods go again.
        within(wait, "the pods go", || async {
            let (requested, _) = cluster.replicas("all").await?;
            Ok(if requested == 0 {
                Ok(())
            } else {
                Err(format!("{requested} replicas"))
            })
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_stops_no_other_at_the_next_start() {
    alone("a-deleted-watched-namespace", |cluster| async move {
        let other = format!("{}-other", cluster.namespace);
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(other.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        namespaces.create(&PostParams::default(), &object).await?;
        on_a_bare_cluster(&cluster, |release| async move {
            let cluster = &release.cluster;
            let watched = format!("watchNamespaces={{{},{other}}}", cluster.namespace);
            release.helm(&["install"], &chart(), &["--set", &watched])?;
            cluster.start_from_zero(&cluster.queue("all"), 1).await?;
            namespaces.delete(&other, &DeleteParams::default()).await?;
            eventually("the namespace is gone", || async {
                let found = namespaces.get_opt(&other).await?;
                Ok(found.map_or(Ok(()), |_| Err("it is still there".to_owned())))
            })
            .await?;

            restart(cluster)?;
            let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            cluster.apply(spec).await?;
            cluster.condition_is("Ready", "True", "Available").await?;
            let mut helm = cluster.sandbox.helm();
            helm.args(["uninstall", OPERATOR, "--wait", "--timeout=120s"]);
            output(helm.args(["--namespace", OPERATOR_NAMESPACE]))?;
            release.helm(&["install"], &chart(), &[]).map(drop)
        })
        .await
    })
    .await;
}
