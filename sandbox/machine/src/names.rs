//! The names that objects have in every sandbox.

/// The namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "taskqueue-system";
/// The name of its Helm release.
pub const OPERATOR_RELEASE: &str = "taskqueue-operator";
/// The name of the leader's lease.
pub const OPERATOR_LEASE: &str = "taskqueue-operator-leader";
/// The image of the process that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";
/// The name of the only node.
pub const NODE: &str = "local";
