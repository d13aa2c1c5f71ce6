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
