//! `ClusterTemporalConnection`: a connection for fleets of several namespaces. Types and schema
//! only, no I/O.
//!
//! Whoever may write one decides which namespaces may use it. What it names is in the namespace of
//! the fleet: pods can mount nothing else, and a fleet must not make the operator use a Secret that
//! its author may not read. With `operatorCredentials`, the operator reads everything in its own
//! namespace instead.
#![allow(
    clippy::duplicated_attributes,
    reason = "the columns of kubectl get have the same type"
)]
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, `pub` included, into a function"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connection::{TemporalConnectionSpec, TemporalConnectionStatus};
use crate::schema;

/// How to reach a Temporal server and one Temporal namespace in it, and which Kubernetes namespaces
/// may use it. The Secrets and ConfigMaps that it names are in the namespace of each fleet. With
/// operatorCredentials, those that the operator reads are in the namespace of the operator.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "taskqueue.dev",
    version = "v1alpha1",
    kind = "ClusterTemporalConnection",
    plural = "clustertemporalconnections",
    shortname = "ctconn",
    category = "taskqueue",
    status = "TemporalConnectionStatus",
    derive = "PartialEq",
    doc = "How to reach a Temporal server and one Temporal namespace in it, for worker fleets of \
           the Kubernetes namespaces in spec.namespaces. They refer to it in spec.connectionRef, \
           with kind: ClusterTemporalConnection.",
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".spec.address",
        description = "Address of Temporal's frontend"
    ),
    printcolumn(
        name = "Temporal-Namespace",
        type_ = "string",
        json_path = ".spec.temporalNamespace",
        description = "The namespace inside Temporal"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether fleets can use the connection"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "The reason of the condition Ready"
    ),
    printcolumn(
        name = "Fleets",
        type_ = "integer",
        json_path = ".status.fleetCount",
        description = "How many fleets refer to the connection"
    ),
    printcolumn(
        name = "Certificate-Expires",
        type_ = "string",
        json_path = ".status.certificates[0].notAfter",
        description = "When the first of its certificates expires"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTemporalConnectionSpec {
    /// The Kubernetes namespaces whose fleets may use the connection, each by its name: there are
    /// no patterns. From 1 to 1000. Required.
    #[schemars(
        length(min = 1, max = 1000),
        inner(
            length(min = 1, max = 63),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Vec<String>,

    /// The connection, with the fields of a `TemporalConnection`.
    #[serde(flatten)]
    pub connection: TemporalConnectionSpec,
}

/// The kind of a connection that fleets can refer to.
#[derive(
    JsonSchema,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
#[schemars(transform = schema::no_description)]
pub enum ConnectionKind {
    /// In the namespace of the fleet.
    #[default]
    TemporalConnection,
    /// Of the whole cluster, for the namespaces that it lists.
    ClusterTemporalConnection,
}

impl ConnectionKind {
    /// The kind as manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TemporalConnection => "TemporalConnection",
            Self::ClusterTemporalConnection => "ClusterTemporalConnection",
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde calls"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A connection, by kind and name.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionReference {
    /// TemporalConnection, in this Kubernetes namespace, or ClusterTemporalConnection, of the whole
    /// cluster, which must list this namespace. Default: TemporalConnection.
    #[serde(default, skip_serializing_if = "ConnectionKind::is_default")]
    pub kind: ConnectionKind,

    /// The name of the connection. Required.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

impl std::fmt::Display for ConnectionReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
