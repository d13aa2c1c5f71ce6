//! `top` and `explain` show figures to whoever may read the operator's metrics in one of two ways,
//! and tell everybody else which rights are missing.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use sandbox_machine::OPERATOR_LEASE;
use serde_json::{Value, json};

use crate::{
    dashboards::operator_command,
    harness::{OPERATOR_NAMESPACE, TestCluster, output, with_namespace},
};

async fn apply<K>(cluster: &TestCluster, namespace: &str, object: Value) -> anyhow::Result<()>
where
    K: kube::Resource<Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
    K::DynamicType: Default,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let params = PatchParams::apply("cluster-test").force();
    api.patch(name, &params, &Patch::Apply(&object)).await?;
    Ok(())
}

/// Lets an account of the test's namespace do this in a namespace.
async fn allow(
    cluster: &TestCluster,
    account: &str,
    namespace: &str,
    rules: Value,
) -> anyhow::Result<()> {
    // In the operator's namespace, the test's namespace takes it along.
    let metadata = json!({
        "name": format!("{}-{account}", cluster.namespace),
        "ownerReferences": [cluster.owner().await?],
    });
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let role = json!({
        "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules,
    });
    apply::<Role>(cluster, namespace, role).await?;
    let binding = json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": metadata["name"]},
        "subjects": [{
            "kind": "ServiceAccount", "name": account, "namespace": cluster.namespace,
        }],
    });
    apply::<RoleBinding>(cluster, namespace, binding).await
}

/// Makes an account that may read fleets and Events; returns the user that it is.
async fn reader(cluster: &TestCluster, account: &str) -> anyhow::Result<String> {
    let object = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account},
    });
    apply::<ServiceAccount>(cluster, &cluster.namespace, object).await?;
    let rules = json!([
        {
            "apiGroups": ["taskqueue.dev"], "resources": ["taskqueueworkers"],
            "verbs": ["get", "list"],
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list"]},
    ]);
    allow(cluster, account, &cluster.namespace, rules).await?;
    Ok(format!(
        "system:serviceaccount:{}:{account}",
        cluster.namespace
    ))
}

/// What `top` and `explain` print to this user as JSON.
fn shown(cluster: &TestCluster, user: &str) -> anyhow::Result<[Value; 2]> {
    let json = |line: &[&str]| -> anyhow::Result<Value> {
        let line = [line, &["-o", "json", "--as", user]].concat();
        let printed = output(&mut operator_command(cluster, &line)?)?;
        Ok(serde_json::from_str(&printed)?)
    };
    Ok([json(&["top", "--once"])?, json(&["explain", "orders"])?])
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_need_the_proxy_or_a_port_forward_and_who_has_neither_is_told() {
    with_namespace("figures-by-a-port-forward", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 1).await?;

        let user = reader(&cluster, "forwards").await?;
        let rules = json!([
            {
                "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "resourceNames": [OPERATOR_LEASE], "verbs": ["get"],
            },
            {
                "apiGroups": [""], "resources": ["pods/portforward"],
                "verbs": ["get", "create"],
            },
        ]);
        allow(&cluster, "forwards", OPERATOR_NAMESPACE, rules).await?;
        let [top, explained] = shown(&cluster, &user)?;
        for (what, queue) in [
            (&top, &top["fleets"][0]["queues"][0]),
            (&explained, &explained["queue"]),
        ] {
            assert_eq!(what["notes"], json!([]), "{what}");
            assert!(queue["figures"]["backlogTasks"].is_number(), "{what}");
        }

        let user = reader(&cluster, "reads-fleets-only").await?;
        let [top, explained] = shown(&cluster, &user)?;
        let missing = format!(
            "no current metrics: you have no permission to get services/proxy in namespace \
             {OPERATOR_NAMESPACE}; a port-forward to the leader instead failed: you have no \
             permission to get leases in namespace {OPERATOR_NAMESPACE}; ask for one of the two \
             permissions, or give --metrics URL"
        );
        for (what, queue) in [
            (&top, &top["fleets"][0]["queues"][0]),
            (&explained, &explained["queue"]),
        ] {
            assert_eq!(what["notes"], json!([missing]), "{what}");
            assert_eq!(queue.get("figures"), None, "{what}");
        }
        Ok(())
    })
    .await;
}
