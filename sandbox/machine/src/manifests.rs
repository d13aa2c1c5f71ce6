//! The Kubernetes objects that the sandbox itself puts into its cluster: DNS, the Services of what
//! runs beside the pods, and the rights of CoreDNS and Prometheus. Pure.

use serde_json::{Value, json};

use crate::net::{DNS_SERVICE, NODE_ADDRESS};

/// The namespace of the Services for what runs beside the pods.
pub const SERVICES_NAMESPACE: &str = "sandbox-services";

/// The Services without selectors that pods use: name and port.
pub const SERVICES: [(&str, u16); 4] = [
    ("temporal", 7233),
    ("postgres", 5432),
    ("smtp", 2525),
    ("payment-gateway", 8090),
];

/// Everything that `up` applies, as one list.
pub(crate) fn base() -> Value {
    let mut items = vec![namespace()];
    items.extend(backing_services(
        NODE_ADDRESS,
        &SERVICES.map(|(name, port)| (name, port, port)),
    ));
    items.extend(dns());
    items.extend(reader(
        "sandbox:coredns",
        &json!([
            {
                "apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"],
                "verbs": ["list", "watch"],
            },
            {
                "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
        ]),
    ));
    items.extend(reader(
        "sandbox:prometheus",
        &json!([
            {
                "apiGroups": [""], "resources": ["pods", "nodes", "services", "endpoints"],
                "verbs": ["get", "list", "watch"],
            },
        ]),
    ));
    list(&items)
}

/// A list of objects as `kubectl apply -f` takes it.
pub(crate) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The namespace of [`backing_services`].
pub(crate) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SERVICES_NAMESPACE}})
}

/// Services in [`SERVICES_NAMESPACE`] whose only endpoint is this address: name, the Service's
/// port, and the port at the address.
pub(crate) fn backing_services(address: &str, services: &[(&str, u16, u16)]) -> Vec<Value> {
    services
        .iter()
        .flat_map(|(name, port, target)| {
            let ports =
                json!([{"name": name, "port": port, "targetPort": target, "protocol": "TCP"}]);
            let endpoints = json!([{"name": name, "port": target, "protocol": "TCP"}]);
            let metadata = json!({"name": name, "namespace": SERVICES_NAMESPACE});
            service_without_pods(&metadata, &json!({"ports": ports}), address, &endpoints)
        })
        .collect()
}

fn dns() -> Vec<Value> {
    let both = |port: &str| {
        json!([
            {"name": "dns", "port": 53, "protocol": "UDP", port: 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", port: 53},
        ])
    };
    let metadata = json!({
        "name": "kube-dns",
        "namespace": "kube-system",
        "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
    });
    let spec = json!({"clusterIP": DNS_SERVICE, "ports": both("targetPort")});
    let mut endpoints = both("port");
    for port in endpoints.as_array_mut().into_iter().flatten() {
        if let Some(fields) = port.as_object_mut() {
            fields.remove("targetPort");
        }
    }
    service_without_pods(&metadata, &spec, NODE_ADDRESS, &endpoints)
}

fn service_without_pods(
    metadata: &Value,
    spec: &Value,
    address: &str,
    endpoints: &Value,
) -> Vec<Value> {
    let (name, namespace) = (&metadata["name"], &metadata["namespace"]);
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    "kubernetes.io/service-name": name,
                    "endpointslice.kubernetes.io/managed-by": "sandbox",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": endpoints,
        }),
    ]
}

fn reader(user: &str, rules: &Value) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": user},
            "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user,
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_outside_the_pod_network_has_no_selector_and_one_endpoint() {
        assert_eq!(
            backing_services("10.250.0.1", &[("temporal", 7233, 17233)]),
            [
                json!({
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": {"name": "temporal", "namespace": "sandbox-services"},
                    "spec": {"ports": [
                        {
                            "name": "temporal", "port": 7233, "targetPort": 17233,
                            "protocol": "TCP",
                        }]},
                }),
                json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {"name": "temporal", "namespace": "sandbox-services", "labels": {
                        "kubernetes.io/service-name": "temporal",
                        "endpointslice.kubernetes.io/managed-by": "sandbox"}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": ["10.250.0.1"], "conditions": {"ready": true}}],
                    "ports": [{"name": "temporal", "port": 17233, "protocol": "TCP"}],
                }),
            ]
        );
    }

    #[test]
    fn the_dns_service_answers_both_protocols_at_the_address_that_the_kubelet_gives_to_pods() {
        let objects = dns();
        assert_eq!(
            objects[0]["spec"],
            json!({"clusterIP": "10.96.0.10", "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}]})
        );
        assert_eq!(
            objects[1]["ports"],
            json!([
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"}])
        );
    }

    #[test]
    fn the_base_manifest_lists_every_service_and_role() {
        let base = base();
        let kinds: Vec<String> = base["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| format!("{}/{}", item["kind"], item["metadata"]["name"]).replace('"', ""))
            .collect();
        assert_eq!(
            kinds,
            [
                "Namespace/sandbox-services",
                "Service/temporal",
                "EndpointSlice/temporal",
                "Service/postgres",
                "EndpointSlice/postgres",
                "Service/smtp",
                "EndpointSlice/smtp",
                "Service/payment-gateway",
                "EndpointSlice/payment-gateway",
                "Service/kube-dns",
                "EndpointSlice/kube-dns",
                "ClusterRole/sandbox:coredns",
                "ClusterRoleBinding/sandbox:coredns",
                "ClusterRole/sandbox:prometheus",
                "ClusterRoleBinding/sandbox:prometheus",
            ]
        );
    }
}
