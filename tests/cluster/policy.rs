//! Admission policies for the tests: rules for the test's namespace that the API server evaluates
//! itself.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{OPERATOR, OPERATOR_NAMESPACE, TestCluster, eventually};

/// What a policy says about the objects that somebody creates or changes.
pub(crate) struct Policy<'a> {
    /// The API group and version.
    pub(crate) api: [&'a str; 2],
    /// The resource, possibly with a subresource.
    pub(crate) resource: &'a str,
    /// In CEL: true for what is admitted.
    pub(crate) admits: &'a str,
    /// The message for what is not.
    pub(crate) message: &'a str,
}

/// The user that the operator is for the API server.
pub(crate) fn operator() -> String {
    format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}")
}

impl Policy<'_> {
    /// Installs the policy under the name of the test's namespace, which is the only one it is for.
    pub(crate) async fn install(&self, cluster: &TestCluster) -> anyhow::Result<()> {
        let name = cluster.namespace.as_str();
        let [group, version] = self.api;
        let api = "admissionregistration.k8s.io/v1";
        let policy = json!({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [group], "apiVersions": [version], "resources": [self.resource],
                    "operations": ["CREATE", "UPDATE"],
                }]},
                "validations": [{
                    "expression": self.admits, "reason": "Forbidden", "message": self.message,
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
        policies(cluster)
            .patch(name, &params, &Patch::Apply(&policy))
            .await?;
        bindings(cluster)
            .patch(name, &params, &Patch::Apply(&binding))
            .await?;
        Ok(())
    }

    /// Waits until the API server refuses this command of kubectl for the policy's reason, because
    /// a new rule takes a moment to apply.
    pub(crate) async fn is_in_force(
        &self,
        cluster: &TestCluster,
        command: &[&str],
    ) -> anyhow::Result<()> {
        eventually(&format!("{command:?} is refused"), || async {
            Ok(match cluster.kubectl(command) {
                Err(error) if format!("{error:#}").contains(self.message) => Ok(()),
                other => Err(format!("{other:?}")),
            })
        })
        .await
    }
}

/// Removes the policy of the test's namespace.
pub(crate) async fn remove(cluster: &TestCluster) -> anyhow::Result<()> {
    let name = cluster.namespace.as_str();
    bindings(cluster)
        .delete(name, &DeleteParams::default())
        .await?;
    policies(cluster)
        .delete(name, &DeleteParams::default())
        .await?;
    Ok(())
}

fn policies(cluster: &TestCluster) -> Api<ValidatingAdmissionPolicy> {
    Api::all(cluster.client.clone())
}

fn bindings(cluster: &TestCluster) -> Api<ValidatingAdmissionPolicyBinding> {
    Api::all(cluster.client.clone())
}
