//! Kills the operator. All tests share it, so this test runs alone.

use serde_json::json;

use crate::harness::{OPERATOR, OPERATOR_NAMESPACE, alone, eventually, output};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_during_work_continues_after_its_restart() {
    alone("an-operator-that-is-killed", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 3).await?;
        let order = json!({"total": 100, "card": "tok_delay_2000"});
        let workflows = cluster.temporal.orders(&queue, 0..12, &order)?;
        cluster
            .replicas_are("all", "workers start", |requested, _| requested > 0)
            .await?;
        let mut kubectl = cluster.sandbox.kubectl();
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
        cluster.temporal.results(&workflows).await?;
        eventually("another operator is ready", || async {
            let mut kubectl = cluster.sandbox.kubectl();
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
        cluster
            .replicas_are(
                "all",
                "the new operator takes the idle fleet to zero",
                |requested, _| requested == 0,
            )
            .await?;
        Ok(())
    })
    .await;
}
