//! `TemporalConnection`: where a Temporal server is and how to authenticate to it.
//!
//! A `TaskQueueWorker` may contain the same structure inline, and a `ClusterTemporalConnection`
//! shares it between namespaces. Types and schema only, no I/O.
#![allow(
    clippy::duplicated_attributes,
    reason = "the columns of kubectl get have the same type"
)]
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, `pub` included, into a function"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// host:port in a rule: a host name with or without the dot of an absolute one, or an IPv6 address
/// in brackets; a port from 1 to 65535.
macro_rules! host_port {
    () => {
        concat!(
            r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\\.?",
            r"|\\[[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\\])",
            "(:[1-9][0-9]{0,3}|:[1-5][0-9]{4}|:6[0-4][0-9]{3}|:65[0-4][0-9]{2}|:655[0-2][0-9]",
            "|:6553[0-5])"
        )
    };
}

/// The operator checks the address further; the rule refuses what a pattern can tell.
const ADDRESS_RULE: &str = concat!("self.matches('^(dns:///)?", host_port!(), "$')");
const PROXY_ADDRESS_RULE: &str = concat!("self.matches('^", host_port!(), "$')");
/// How gRPC names the resolver that looks a name up in DNS. Users of Temporal's SDK for Go put it
/// before addresses.
const DNS_RESOLVER: &str = "dns:///";

/// host:port of an address that a user writes.
pub fn host_port(address: &str) -> &str {
    address.strip_prefix(DNS_RESOLVER).unwrap_or(address)
}

/// The message for an invalid address.
pub(crate) const ADDRESS_MESSAGE: &str = "address must be host:port without a scheme, such as \
     temporal-frontend.temporal.svc:7233 or [fd00::1]:7233";
/// The message for an invalid address of a proxy.
pub(crate) const PROXY_ADDRESS_MESSAGE: &str =
    "the address of a proxy must be host:port without a scheme, such as proxy.example.com:3128";
/// The message for two sources of the certificate authority.
pub(crate) const CA_MESSAGE: &str = "set caSecretRef or caConfigMapRef, not both";
/// The message for two client certificates.
pub(crate) const CLIENT_CERTIFICATE_MESSAGE: &str =
    "set clientCertificateSecretRef or clientCertificateFiles, not both";
/// The message for the path of a file that is none.
pub(crate) const FILE_PATH_MESSAGE: &str =
    "the path of a file must be absolute, such as /run/spiffe/svid.pem";
/// The message for a client certificate that the operator cannot read.
pub(crate) const FILES_MESSAGE: &str = "clientCertificateFiles needs operatorCredentials: the \
     operator cannot read files in pods; name a certificate for the operator itself in \
     operatorCredentials.clientCertificateSecretRef, or set operatorCredentials: {} if it needs \
     none";
/// The message for the operator's own credentials without TLS.
pub(crate) const OPERATOR_CREDENTIALS_MESSAGE: &str = "operatorCredentials needs tls: without it \
     there is no client certificate, and the API key would be sent unencrypted; add tls: {} to \
     use TLS with the public certificate authorities";
const FILE_PATH_RULE: &str = "self.startsWith('/') && !self.endsWith('/')";
const SERVER_NAME_RULE: &str = "self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')";

/// How to reach a Temporal server and one Temporal namespace in it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "taskqueue.dev",
    version = "v1alpha1",
    kind = "TemporalConnection",
    plural = "temporalconnections",
    shortname = "tconn",
    category = "taskqueue",
    namespaced,
    status = "TemporalConnectionStatus",
    derive = "PartialEq",
    doc = "How to reach a Temporal server and one Temporal namespace in it. Worker fleets of the \
           same Kubernetes namespace refer to it in spec.connectionRef.",
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
#[x_kube(
    validation = Rule::new("!has(self.apiKeySecretRef) || has(self.tls)")
        .message("apiKeySecretRef needs tls: without it the API key would be sent unencrypted; \
                  add tls: {} to use TLS with the public certificate authorities")
        .field_path(".apiKeySecretRef"),
    validation = Rule::new("!has(self.operatorCredentials) || has(self.tls) || \
                            !(has(self.operatorCredentials.apiKeySecretRef) || \
                            has(self.operatorCredentials.clientCertificateSecretRef))")
        .message(OPERATOR_CREDENTIALS_MESSAGE)
        .field_path(".operatorCredentials"),
    validation = Rule::new("has(self.operatorCredentials) || !has(self.tls) || \
                            !has(self.tls.clientCertificateFiles)")
        .message(FILES_MESSAGE)
        .field_path(".tls.clientCertificateFiles")
)]
pub struct TemporalConnectionSpec {
    /// The address of Temporal's frontend, as host:port, without a scheme. An IPv6 address is in
    /// brackets. A host name may end with a dot, and the address may begin with dns:///, which
    /// workers in Go and Java understand. Example: temporal-frontend.temporal.svc:7233. Required.
    #[schemars(length(min = 3, max = 267))]
    #[x_kube(validation = (ADDRESS_RULE, ADDRESS_MESSAGE))]
    pub address: String,

    /// The namespace inside Temporal (not the Kubernetes namespace) that holds the task queues.
    /// At most 255 characters. Default: default.
    #[serde(default = "default_temporal_namespace")]
    #[schemars(length(min = 1, max = 255))]
    pub temporal_namespace: String,

    /// Use TLS. An empty value, {}, means TLS with the public certificate authorities and no
    /// client certificate. Default: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// The API key for Temporal (Temporal Cloud, or a server with an authorizer), from a Secret in
    /// the fleet's Kubernetes namespace. Needs tls. Default: no API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyReference>,

    /// The HTTP proxy through which the operator and the workers connect to Temporal. The operator
    /// uses it by itself; docs/connections.md says what workers do. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,

    /// What the operator itself presents to Temporal, in place of apiKeySecretRef and
    /// tls.clientCertificateSecretRef. Those are then for the workers alone, and the operator does
    /// not read them. An empty value, {}, means that the operator presents nothing. Its Secrets are
    /// in the namespace of the fleet. If a ClusterTemporalConnection sets it, the operator reads
    /// every Secret and ConfigMap that it needs in its own namespace, also those of tls and proxy.
    /// Default: the operator presents what the workers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_credentials: Option<OperatorCredentialsSpec>,
}

/// What the operator found about a connection. It does not say whether Temporal answers: the fleets
/// do, in ScalingActive.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TemporalConnectionStatus {
    /// The metadata.generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready and, if the connection has certificates, CertificateExpiring. Each has a reason in one
    /// word and a message that says what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// How many fleets refer to the connection.
    #[serde(default)]
    pub fleet_count: u32,

    /// The names of the fleets that refer to the connection, in alphabetical order: the first 10.
    /// Of a ClusterTemporalConnection: namespace/name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub fleets: Vec<String>,

    /// When its certificates expire, the first one first: for each use, the one that expires first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub certificates: Vec<CertificateStatus>,
}

/// When a certificate of a connection expires.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// What it is for: ca, to check the server's certificate, or client, to prove who we are.
    #[serde(rename = "use")]
    pub used_as: String,

    /// The Secret that holds it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// The ConfigMap that holds it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_name: Option<String>,

    /// The last second at which it is valid.
    #[schemars(schema_with = "schema::time")]
    pub not_after: Time,
}

/// TLS towards Temporal. Every part is optional.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.caConfigMapRef) || !has(self.caSecretRef)")
        .message(CA_MESSAGE)
        .field_path(".caConfigMapRef"),
    validation = Rule::new("!has(self.clientCertificateFiles) || \
                            !has(self.clientCertificateSecretRef)")
        .message(CLIENT_CERTIFICATE_MESSAGE)
        .field_path(".clientCertificateFiles")
)]
pub struct TlsSpec {
    /// The name that the server's certificate must have, if it differs from the host in address. At
    /// most 253 characters. Default: the host in address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        SERVER_NAME_RULE,
        "serverName must be a host name, without a scheme or a port"
    ))]
    pub server_name: Option<String>,

    /// The certificate authority that signed the server's certificate (PEM), from a Secret in the
    /// fleet's Kubernetes namespace. Excludes caConfigMapRef. Default: the public certificate
    /// authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretReference>,

    /// The certificate authority that signed the server's certificate (PEM), from a ConfigMap in
    /// the fleet's Kubernetes namespace, such as a bundle of trust-manager. Excludes caSecretRef.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<CaConfigMapReference>,

    /// The client certificate and its private key (mTLS): a Secret of type kubernetes.io/tls in
    /// the fleet's Kubernetes namespace, with the keys tls.crt and tls.key. Excludes
    /// clientCertificateFiles. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<LocalReference>,

    /// The client certificate and its private key as files in the container worker, which something
    /// else puts there, such as a CSI driver or an init container. Excludes
    /// clientCertificateSecretRef. Needs operatorCredentials, because the operator cannot read
    /// files in pods. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_files: Option<ClientCertificateFiles>,
}

/// A client certificate in files of the container worker.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificateFiles {
    /// The absolute path of the certificate, PEM, with its intermediates after it. At most 1024
    /// characters. Required.
    #[schemars(length(min = 2, max = 1024))]
    #[x_kube(validation = (FILE_PATH_RULE, FILE_PATH_MESSAGE))]
    pub certificate: String,

    /// The absolute path of its private key, PEM. At most 1024 characters. Required.
    #[schemars(length(min = 2, max = 1024))]
    #[x_kube(validation = (FILE_PATH_RULE, FILE_PATH_MESSAGE))]
    pub private_key: String,
}

/// What the operator itself presents to Temporal. Every part is optional.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OperatorCredentialsSpec {
    /// The API key of the operator. Needs tls. Default: no API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyReference>,

    /// The client certificate of the operator and its private key (mTLS): a Secret of type
    /// kubernetes.io/tls, with the keys tls.crt and tls.key. Needs tls. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<LocalReference>,
}

/// An HTTP proxy that opens a tunnel to Temporal (the method CONNECT). TLS goes through the tunnel.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// The address of the proxy, as host:port, without a scheme. The proxy is spoken to without
    /// TLS. Example: proxy.example.com:3128. Required.
    #[schemars(length(min = 3, max = 260))]
    #[x_kube(validation = (PROXY_ADDRESS_RULE, PROXY_ADDRESS_MESSAGE))]
    pub address: String,

    /// The user name and the password for the proxy: a Secret of type kubernetes.io/basic-auth in
    /// the fleet's Kubernetes namespace, with the keys username and password. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalReference>,

    /// Hosts that are reached without the proxy, as in the variable NO_PROXY: host names with
    /// their subdomains (.example.com only its subdomains), IP addresses, ranges of them
    /// (10.0.0.0/8), each with a port or without, or *. If Temporal's address is among them, the
    /// connection uses no proxy. At most 100. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(
            length(min = 1, max = 259),
            regex(pattern = r"^[A-Za-z0-9.*_:/\[\]-]+$")
        )
    )]
    pub no_proxy: Vec<String>,
}

/// An object, by name. The field says in which namespace it is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// The name of the object. Required.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A certificate authority in a Secret of the fleet's Kubernetes namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaSecretReference {
    /// The name of the Secret. Required.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// The key in the Secret that holds the certificates, PEM. Default: ca.crt.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A certificate authority in a ConfigMap of the fleet's Kubernetes namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaConfigMapReference {
    /// The name of the ConfigMap. Required.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// The key in the ConfigMap that holds the certificates, PEM. Default: ca.crt.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// One key of a Secret. The field says in which namespace it is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// The name of the Secret. Required.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// The key in the Secret that holds the value. Required.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn default_temporal_namespace() -> String {
    "default".to_owned()
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}
