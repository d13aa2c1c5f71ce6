//! The operator works with exactly the permissions of the chart's roles.

use crate::harness::{OPERATOR, OPERATOR_NAMESPACE, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_not_do_what_the_chart_does_not_grant() {
    with_namespace("the-operator-may-not-do-more", |cluster| async move {
        let account = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}");
        let may = |verb: &str, resource: &str| {
            // `auth can-i` exits with 1 for "no".
            let mut kubectl = cluster.sandbox.kubectl();
            let answer = kubectl
                .args([
                    "--namespace",
                    &cluster.namespace,
                    "auth",
                    "can-i",
                    verb,
                    resource,
                    "--as",
                    &account,
                ])
                .output();
            answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim() == "yes")
        };
        let wanted = [
            ("get", "secrets", true),
            ("list", "secrets", false),
            ("watch", "secrets", false),
            ("create", "secrets", false),
            ("patch", "deployments.apps", true),
            ("patch", "deployments.apps/scale", true),
            ("deletecollection", "deployments.apps", false),
            ("delete", "pods", false),
            ("create", "pods", false),
            ("create", "pods/exec", false),
            ("update", "taskqueueworkers.taskqueue.dev", false),
            ("delete", "taskqueueworkers.taskqueue.dev", false),
            ("list", "nodes", false),
            ("create", "clusterroles.rbac.authorization.k8s.io", false),
        ];
        for (verb, resource, allowed) in wanted {
            assert_eq!(may(verb, resource)?, allowed, "{verb} {resource}");
        }
        let log = cluster.operator_log()?;
        let refused: Vec<&str> = log
            .lines()
            // The message for a missing permission. Quotas and admission policies use other words,
            // and other tests provoke them.
            .filter(|line| line.contains("is forbidden: User"))
            .collect();
        assert_eq!(
            refused,
            Vec::<&str>::new(),
            "the API server forbade a request of the operator"
        );
        Ok(())
    })
    .await;
}
