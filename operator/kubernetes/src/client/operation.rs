//! What a request to the API server does: its verb, group and resource. Pure.
//!
//! The words come from closed lists, because they become labels of metrics: a kind that a fleet
//! names in its scaleTargetRef may be any.

use http::{Method, Request};

/// The word for what is on no list.
const OTHER: &str = "other";
/// The resource of requests that ask which resources there are.
const DISCOVERY: &str = "discovery";

/// The resources that the operator reads or writes, by API group; subresources as in a role.
const RESOURCES: [(&str, &[&str]); 10] = [
    ("", &["configmaps", "pods", "secrets"]),
    (
        "apps",
        &["deployments", "deployments/scale", "statefulsets/scale"],
    ),
    ("argoproj.io", &["rollouts/scale"]),
    ("authentication.k8s.io", &["tokenreviews"]),
    ("authorization.k8s.io", &["subjectaccessreviews"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("coordination.k8s.io", &["leases"]),
    ("events.k8s.io", &["events"]),
    ("policy", &["poddisruptionbudgets"]),
    (
        "taskqueue.dev",
        &[
            "clustertemporalconnections",
            "clustertemporalconnections/status",
            "taskqueueworkers",
            "taskqueueworkers/status",
            "temporalconnections",
            "temporalconnections/status",
        ],
    ),
];

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The verb as in a role: get, list, watch, create, update, patch, delete; or `other`.
    pub verb: &'static str,
    /// The API group; empty for the core group, `other` if it is not one that the operator knows.
    pub group: &'static str,
    /// The resource as in a role, with its subresource; `discovery` if the request asks which
    /// resources there are, `other` if it is not one that the operator knows.
    pub resource: &'static str,
}

impl Operation {
    /// What a request does.
    pub fn of<B>(request: &Request<B>) -> Self {
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let (group, rest) = match path.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => (OTHER, &[][..]),
        };
        let (resource, name, subresource) = match rest {
            ["namespaces", _, resource, rest @ ..] | [resource, rest @ ..] => {
                (*resource, rest.first(), rest.get(1))
            }
            [] => (DISCOVERY, None, None),
        };
        let (group, resource) = match known(group, resource, subresource) {
            Some(known) => known,
            None if rest.is_empty() && group != OTHER => ("", DISCOVERY),
            None => (OTHER, OTHER),
        };
        let one = name.is_some() || resource == DISCOVERY;
        Self {
            verb: verb(request.method(), is_watch(request), one),
            group,
            resource,
        }
    }
}

/// Whether a request begins a watch.
pub(super) fn is_watch<B>(request: &Request<B>) -> bool {
    has_parameter(request, "watch=true")
}

/// Whether the query of a request has a parameter that begins like this.
pub(super) fn has_parameter<B>(request: &Request<B>, beginning: &str) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair.starts_with(beginning))
}

/// The verb; `one`: whether the request is about one object.
fn verb(method: &Method, watch: bool, one: bool) -> &'static str {
    match *method {
        Method::GET if watch => "watch",
        Method::GET if one => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        _ => OTHER,
    }
}

/// The words of the list for a group and a resource.
fn known(
    group: &str,
    resource: &str,
    subresource: Option<&&str>,
) -> Option<(&'static str, &'static str)> {
    let (group, resources) = RESOURCES.into_iter().find(|(known, _)| *known == group)?;
    let is_it = |known: &&&str| match known.split_once('/') {
        Some((known, part)) => known == resource && subresource == Some(&part),
        None => **known == resource && subresource.is_none(),
    };
    resources.iter().find(is_it).map(|found| (group, *found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_read_off_the_method_and_the_path() {
        let own = "/apis/taskqueue.dev/v1alpha1";
        let table = [
            ("GET", "/api/v1/namespaces/shop/pods/a", "get  pods"),
            ("GET", "/api/v1/namespaces/shop/pods?limit=1", "list  pods"),
            ("GET", "/api/v1/pods?watch=true&x=y", "watch  pods"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/a?force=true",
                "patch apps deployments",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/a/scale",
                "patch apps deployments/scale",
            ),
            (
                "DELETE",
                "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/a",
                "delete policy poddisruptionbudgets",
            ),
            (
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews",
                "create authentication.k8s.io tokenreviews",
            ),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/system/leases/a",
                "update coordination.k8s.io leases",
            ),
            ("GET", "/apis/example.com/v1", "get  discovery"),
            ("GET", "/api/v1", "get  discovery"),
        ];
        let read = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path);
            let operation = Operation::of(&request.body(()).unwrap());
            format!(
                "{} {} {}",
                operation.verb, operation.group, operation.resource
            )
        };
        for (method, path, expected) in table {
            assert_eq!(read(method, path), expected, "{method} {path}");
        }
        let status = format!("{own}/namespaces/shop/taskqueueworkers/orders/status");
        let expected = "patch taskqueue.dev taskqueueworkers/status";
        assert_eq!(read("PATCH", &status), expected);
        let cluster = format!("{own}/clustertemporalconnections");
        let expected = "list taskqueue.dev clustertemporalconnections";
        assert_eq!(read("GET", &cluster), expected);
    }

    #[test]
    fn what_a_user_can_name_makes_no_new_word() {
        let table = [
            ("GET", "/apis/example.com/v1/namespaces/shop/things/a/scale"),
            ("GET", "/apis/apps/v1/namespaces/shop/daemonsets/a"),
            ("GET", "/api/v1/namespaces/shop/pods/a/log"),
            ("GET", "/version/a"),
        ];
        for (method, path) in table {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            let Operation {
                group, resource, ..
            } = Operation::of(&request);
            assert_eq!([group, resource], [OTHER; 2], "{path}");
        }
    }
}
