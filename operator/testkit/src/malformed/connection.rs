//! Mistakes in a connection, inline or shared.

use crate::malformed::mistake::Mistake;

/// In the connection of a `TaskQueueWorker`.
pub(super) const INLINE: &[Mistake] = &[
    (
        "neither form of the connection",
        &[("/spec/connection", "null")],
        &[
            "spec.connection",
            "exactly one of connection and connectionRef must be set",
        ],
    ),
    (
        "both forms of the connection",
        &[("/spec/connectionRef", r#"{"name": "shared"}"#)],
        &[
            "spec.connection",
            "exactly one of connection and connectionRef must be set",
        ],
    ),
    (
        "an address with a scheme",
        &[("/spec/connection/address", r#""http://temporal:7233""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an address without a port",
        &[("/spec/connection/address", r#""temporal""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an IPv6 address without brackets",
        &[("/spec/connection/address", r#""fd00::1:7233""#)],
        &["spec.connection.address", "[fd00::1]:7233"],
    ),
    (
        "an IPv4 address in brackets",
        &[("/spec/connection/address", r#""[10.0.0.1]:7233""#)],
        &["spec.connection.address", "[fd00::1]:7233"],
    ),
    (
        "a port that does not exist",
        &[("/spec/connection/address", r#""temporal:65536""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "a resolver of gRPC that only some workers have",
        &[(
            "/spec/connection/address",
            r#""passthrough:///temporal:7233""#,
        )],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an API key without TLS",
        &[(
            "/spec/connection/apiKeySecretRef",
            r#"{"name": "key", "key": "key"}"#,
        )],
        &[
            "spec.connection.apiKeySecretRef",
            "apiKeySecretRef needs tls",
        ],
    ),
    (
        "an API key without the key of the Secret",
        &[
            ("/spec/connection/tls", "{}"),
            ("/spec/connection/apiKeySecretRef", r#"{"name": "key"}"#),
        ],
        &["spec.connection.apiKeySecretRef.key: Required value"],
    ),
    (
        "certificate authorities from a Secret and from a ConfigMap",
        &[(
            "/spec/connection/tls",
            r#"{"caSecretRef": {"name": "ca"}, "caConfigMapRef": {"name": "ca"}}"#,
        )],
        &[
            "spec.connection.tls.caConfigMapRef",
            "set caSecretRef or caConfigMapRef, not both",
        ],
    ),
    (
        "a proxy with a scheme",
        &[(
            "/spec/connection/proxy",
            r#"{"address": "http://proxy:3128"}"#,
        )],
        &[
            "spec.connection.proxy.address",
            "the address of a proxy must be host:port without a scheme",
        ],
    ),
    (
        "a proxy with a password in the manifest",
        &[(
            "/spec/connection/proxy",
            r#"{"address": "user:password@proxy:3128"}"#,
        )],
        &[
            "spec.connection.proxy.address",
            "the address of a proxy must be host:port without a scheme",
        ],
    ),
    (
        "a reference to a connection of an unknown kind",
        &[
            ("/spec/connection", "null"),
            (
                "/spec/connectionRef",
                r#"{"kind": "Secret", "name": "shared"}"#,
            ),
        ],
        &[
            "spec.connectionRef.kind",
            r#"supported values: "TemporalConnection", "ClusterTemporalConnection""#,
        ],
    ),
    (
        "an API key of the operator without TLS",
        &[(
            "/spec/connection/operatorCredentials",
            r#"{"apiKeySecretRef": {"name": "key", "key": "key"}}"#,
        )],
        &[
            "spec.connection.operatorCredentials",
            "operatorCredentials needs tls",
        ],
    ),
    (
        "a client certificate of the operator without TLS",
        &[(
            "/spec/connection/operatorCredentials",
            r#"{"clientCertificateSecretRef": {"name": "client"}}"#,
        )],
        &[
            "spec.connection.operatorCredentials",
            "operatorCredentials needs tls",
        ],
    ),
    (
        "a client certificate from a Secret and from files",
        &[
            ("/spec/connection/operatorCredentials", "{}"),
            (
                "/spec/connection/tls",
                r#"{
                    "clientCertificateSecretRef": {"name": "client"},
                    "clientCertificateFiles": {"certificate": "/a.pem", "privateKey": "/b.pem"}
                }"#,
            ),
        ],
        &[
            "spec.connection.tls.clientCertificateFiles",
            "set clientCertificateSecretRef or clientCertificateFiles, not both",
        ],
    ),
    (
        "a client certificate in files, and nothing for the operator",
        &[(
            "/spec/connection/tls",
            r#"{"clientCertificateFiles": {"certificate": "/a.pem", "privateKey": "/b.pem"}}"#,
        )],
        &[
            "spec.connection.tls.clientCertificateFiles",
            "clientCertificateFiles needs operatorCredentials: the operator cannot read files",
        ],
    ),
    (
        "a client certificate in a file with a relative path",
        &[
            ("/spec/connection/operatorCredentials", "{}"),
            (
                "/spec/connection/tls",
                r#"{"clientCertificateFiles": {"certificate": "a.pem", "privateKey": "/b.pem"}}"#,
            ),
        ],
        &[
            "spec.connection.tls.clientCertificateFiles.certificate",
            "the path of a file must be absolute",
        ],
    ),
    (
        "an empty Temporal namespace",
        &[("/spec/connection/temporalNamespace", r#""""#)],
        &["spec.connection.temporalNamespace"],
    ),
];

/// In a `TemporalConnection`.
pub(super) const SHARED: &[Mistake] = &[
    (
        "a connection without an address",
        &[("/spec/address", "null")],
        &["spec.address: Required value"],
    ),
    (
        "a connection with an API key and no TLS",
        &[("/spec/apiKeySecretRef", r#"{"name": "key", "key": "key"}"#)],
        &["spec.apiKeySecretRef", "apiKeySecretRef needs tls"],
    ),
    (
        "a connection with an invalid server name",
        &[("/spec/tls", r#"{"serverName": "https://temporal"}"#)],
        &["spec.tls.serverName", "serverName must be a host name"],
    ),
    (
        "a connection with a Secret in another namespace",
        &[(
            "/spec/tls",
            r#"{"caSecretRef": {"name": "ca", "namespace": "other"}}"#,
        )],
        &["unknown field", "spec.tls.caSecretRef.namespace"],
    ),
];

/// In a `ClusterTemporalConnection`.
pub(super) const OF_CLUSTER: &[Mistake] = &[
    (
        "a connection of the cluster without namespaces",
        &[("/spec/namespaces", "null")],
        &["spec.namespaces: Required value"],
    ),
    (
        "a connection of the cluster for no namespace",
        &[("/spec/namespaces", "[]")],
        &["spec.namespaces", "at least 1 items"],
    ),
    (
        "a connection of the cluster for every namespace",
        &[("/spec/namespaces", r#"["*"]"#)],
        &["spec.namespaces[0]", "should match"],
    ),
    (
        "a connection of the cluster that lists a namespace twice",
        &[("/spec/namespaces", r#"["shop", "shop"]"#)],
        &["spec.namespaces[1]", "Duplicate value"],
    ),
    (
        "a connection of the cluster without an address",
        &[("/spec/address", "null")],
        &["spec.address: Required value"],
    ),
    (
        "a connection of the cluster with a scheme in its address",
        &[("/spec/address", r#""http://temporal:7233""#)],
        &["spec.address", "address must be host:port without a scheme"],
    ),
    (
        "a connection of the cluster with an API key and no TLS",
        &[("/spec/apiKeySecretRef", r#"{"name": "key", "key": "key"}"#)],
        &["spec.apiKeySecretRef", "apiKeySecretRef needs tls"],
    ),
    (
        "a connection of the cluster with an API key of the operator and no TLS",
        &[(
            "/spec/operatorCredentials",
            r#"{"apiKeySecretRef": {"name": "key", "key": "key"}}"#,
        )],
        &["spec.operatorCredentials", "operatorCredentials needs tls"],
    ),
    (
        "a connection of the cluster with a Secret in a namespace of its choice",
        &[
            ("/spec/tls", "{}"),
            (
                "/spec/operatorCredentials",
                r#"{"apiKeySecretRef": {"name": "key", "key": "key", "namespace": "other"}}"#,
            ),
        ],
        &[
            "unknown field",
            "spec.operatorCredentials.apiKeySecretRef.namespace",
        ],
    ),
];
