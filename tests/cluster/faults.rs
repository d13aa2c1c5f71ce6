//! The operator killed, Temporal gone: each test breaks something that the others share, and so runs
//! alone.

use std::time::Duration;

use sandbox::Action;
use serde_json::json;

use crate::harness::{
    OPERATOR, OPERATOR_NAMESPACE, alone, eventually, one_queue, output, throughout,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_temporal_outage_changes_nothing_and_says_so() {
    alone("a-temporal-outage-changes-nothing", |world| async move {
        let queue = world.queue("all");
        world.apply(one_queue(&queue, 0, 2, &json!({}))).await?;
        let workflow = world.order(&queue, 0, json!({"total": 100}))?;
        world.result(&workflow).await?;
        // Idle now, on its way to zero: an outage must hold it where it is.
        let (asked, _) = world
            .replicas_are("all", "a worker runs", |asked, ready| {
                asked == 1 && ready == 1
            })
            .await?;
        world.sandbox.component("temporal", Action::Pause)?;
        let outage = async {
            world
                .condition_is("ScalingActive", "Unknown", "TemporalUnavailable")
                .await?;
            throughout(Duration::from_secs(20), "the replicas stand", || async {
                let (now, ready) = world.replicas("all").await?;
                Ok(if (now, ready) == (asked, 1) {
                    Ok(())
                } else {
                    Err(format!("asked {now}, ready {ready}"))
                })
            })
            .await
        }
        .await;
        world.sandbox.component("temporal", Action::Resume)?;
        outage?;
        world
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        world
            .replicas_are("all", "then the idle fleet goes to zero", |asked, _| {
                asked == 0
            })
            .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_in_the_middle_of_work_carries_on() {
    alone("an-operator-killed-in-the-middle", |world| async move {
        let queue = world.queue("all");
        world.apply(one_queue(&queue, 0, 3, &json!({}))).await?;
        world
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let mut workflows = Vec::new();
        for number in 0..12 {
            workflows.push(world.order(
                &queue,
                number,
                json!({"total": 100, "card": "tok_delay_2000"}),
            )?);
        }
        world
            .replicas_are("all", "workers start", |asked, _| asked > 0)
            .await?;
        let mut kubectl = world.sandbox.kubectl();
        kubectl.args([
            "--namespace",
            OPERATOR_NAMESPACE,
            "delete",
            "pods",
            "--all",
            "--force",
            "--grace-period=0",
        ]);
        output(&mut kubectl)?;
        for workflow in &workflows {
            world.result(workflow).await?;
        }
        eventually("another operator is ready", || async {
            let mut kubectl = world.sandbox.kubectl();
            let status = kubectl.args([
                "--namespace",
                OPERATOR_NAMESPACE,
                "get",
                "deployment",
                OPERATOR,
                "-o",
                "jsonpath={.status.readyReplicas}",
            ]);
            Ok(match output(status)?.as_str() {
                "" | "0" => Err("not ready".into()),
                _ => Ok(()),
            })
        })
        .await?;
        world
            .replicas_are(
                "all",
                "the new operator takes the idle fleet to zero",
                |asked, _| asked == 0,
            )
            .await?;
        Ok(())
    })
    .await;
}
