//! Checks how to reach Temporal. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::connection::{
    ADDRESS_MESSAGE, CA_MESSAGE, CLIENT_CERTIFICATE_MESSAGE, ClientCertificateFiles,
    FILE_PATH_MESSAGE, FILES_MESSAGE, OPERATOR_CREDENTIALS_MESSAGE, OperatorCredentialsSpec,
    PROXY_ADDRESS_MESSAGE, ProxySpec, SecretKeyReference, TemporalConnectionSpec, TlsSpec,
    host_port,
};
use crate::fleet::{
    ClientCertificate, Connection, Invalid, ObjectKey, ObjectKind, OperatorCredentials, Proxy,
    SecretKey, Tls,
};
use crate::validate::findings::Findings;
use crate::validate::no_proxy;

/// Parses the connection at `path`: `spec.connection` of a `TaskQueueWorker`, or `spec` of a
/// `TemporalConnection` or `ClusterTemporalConnection`.
pub fn connection(spec: &TemporalConnectionSpec, path: &str) -> Result<Connection, Vec<Invalid>> {
    let mut findings = Findings::default();
    if let Err(message) = check_address(host_port(&spec.address), ADDRESS_MESSAGE) {
        findings.add(format!("{path}.address"), message);
    }
    if spec.temporal_namespace.is_empty() {
        findings.add(format!("{path}.temporalNamespace"), "must not be empty");
    }
    if spec.temporal_namespace.contains('\0') {
        findings.add(
            format!("{path}.temporalNamespace"),
            "must not contain the character NUL",
        );
    }
    if spec.api_key_secret_ref.is_some() && spec.tls.is_none() {
        findings.add(
            format!("{path}.apiKeySecretRef"),
            "needs tls: without it the API key would be sent unencrypted; add tls: {} to use TLS \
             with the public certificate authorities",
        );
    }
    let proxy = spec.proxy.as_ref();
    if let Some(proxy) = proxy
        && let Err(message) = check_address(&proxy.address, PROXY_ADDRESS_MESSAGE)
    {
        findings.add(format!("{path}.proxy.address"), message);
    }
    let tls = spec.tls.as_ref();
    if tls.is_some_and(|tls| tls.ca_secret_ref.is_some() && tls.ca_config_map_ref.is_some()) {
        findings.add(format!("{path}.tls.caConfigMapRef"), CA_MESSAGE);
    }
    check_client_certificate(spec, path, &mut findings);
    if spec.tls.is_none() && spec.operator_credentials.as_ref().is_some_and(presents) {
        let path = format!("{path}.operatorCredentials");
        findings.add(path, OPERATOR_CREDENTIALS_MESSAGE);
    }
    if !findings.0.is_empty() {
        return Err(findings.0);
    }
    Ok(Connection {
        address: spec.address.clone(),
        temporal_namespace: spec.temporal_namespace.clone(),
        tls: tls.map(|tls| Tls {
            server_name: tls.server_name.clone(),
            ca: ca(tls),
            client_certificate: client_certificate(tls),
        }),
        api_key: spec.api_key_secret_ref.as_ref().map(secret_key),
        proxy: proxy
            .filter(|proxy| !is_excluded(&spec.address, proxy))
            .map(
                |ProxySpec {
                     address,
                     credentials_secret_ref,
                     ..
                 }| Proxy {
                    address: address.clone(),
                    credentials: credentials_secret_ref
                        .as_ref()
                        .map(|reference| reference.name.clone()),
                },
            ),
        operator_credentials: spec
            .operator_credentials
            .as_ref()
            .map(|own| OperatorCredentials {
                client_certificate: own
                    .client_certificate_secret_ref
                    .as_ref()
                    .map(|reference| reference.name.clone()),
                api_key: own.api_key_secret_ref.as_ref().map(secret_key),
            }),
    })
}

/// Whether the operator presents anything of its own.
fn presents(own: &OperatorCredentialsSpec) -> bool {
    own.api_key_secret_ref.is_some() || own.client_certificate_secret_ref.is_some()
}

fn check_client_certificate(spec: &TemporalConnectionSpec, path: &str, findings: &mut Findings) {
    let Some(tls) = &spec.tls else { return };
    let Some(files) = &tls.client_certificate_files else {
        return;
    };
    let path = format!("{path}.tls.clientCertificateFiles");
    if tls.client_certificate_secret_ref.is_some() {
        findings.add(&path, CLIENT_CERTIFICATE_MESSAGE);
    }
    if spec.operator_credentials.is_none() {
        findings.add(&path, FILES_MESSAGE);
    }
    for (field, file) in [
        ("certificate", &files.certificate),
        ("privateKey", &files.private_key),
    ] {
        // An environment variable cannot hold NUL.
        if !file.starts_with('/') || file.ends_with('/') || file.contains('\0') {
            findings.add(format!("{path}.{field}"), FILE_PATH_MESSAGE);
        }
    }
}

/// Where workers find their client certificate: at most one of the two fields is set.
fn client_certificate(tls: &TlsSpec) -> Option<ClientCertificate> {
    let secret = tls.client_certificate_secret_ref.as_ref();
    let secret = secret.map(|reference| ClientCertificate::Secret(reference.name.clone()));
    secret.or_else(|| {
        let ClientCertificateFiles {
            certificate,
            private_key,
        } = tls.client_certificate_files.clone()?;
        Some(ClientCertificate::Files {
            certificate,
            private_key,
        })
    })
}

fn secret_key(reference: &SecretKeyReference) -> SecretKey {
    SecretKey {
        secret: reference.name.clone(),
        key: reference.key.clone(),
    }
}

/// Whether an address is reached without the proxy.
fn is_excluded(address: &str, proxy: &ProxySpec) -> bool {
    let entries = proxy.no_proxy.iter().map(String::as_str);
    no_proxy::excludes(entries, host_port(address))
}

/// The object with the CA certificates: at most one of the two references is set.
fn ca(tls: &TlsSpec) -> Option<ObjectKey> {
    let key = |kind, name: &String, key: &String| ObjectKey {
        kind,
        name: name.clone(),
        key: key.clone(),
    };
    let secret = tls.ca_secret_ref.as_ref();
    let config_map = tls.ca_config_map_ref.as_ref();
    secret
        .map(|ca| key(ObjectKind::Secret, &ca.name, &ca.key))
        .or_else(|| config_map.map(|ca| key(ObjectKind::ConfigMap, &ca.name, &ca.key)))
}

/// Checks a host:port. `wanted` is the message if it is none.
fn check_address(address: &str, wanted: &str) -> Result<(), String> {
    let (host, port) = address.rsplit_once(':').ok_or(wanted)?;
    if !is_host(host) {
        return Err(wanted.to_owned());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(format!("{wanted}, with a port from 1 to 65535")),
    }
}

/// Whether a text is a host name, an IPv4 address or an IPv6 address in brackets. A last label of
/// digits makes an IPv4 address, as in URLs.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']');
        return inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let mut labels = name.split('.');
    let is_label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(allowed)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    labels.all(is_label) && (!is_number || name.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let refused: Vec<&str> = [
            "temporal:7233",
            "[::1]:7233",
            "10.0.0.1:1",
            "temporal.shop.svc.cluster.local.:7233",
            "temporal_frontend:7233",
            "1and1.example:7233",
            "temporal",
            "http://temporal:7233",
            "temporal:0",
            "temporal:65536",
            "a:b:7233",
            ":7233",
            "user@temporal:7233",
            "fd00::1:7233",
            "[fd00::1%eth0]:7233",
            "[10.0.0.1]:7233",
            "[temporal]:7233",
            "10.0.0.256:7233",
            "temporal..svc:7233",
            ".:7233",
        ]
        .into_iter()
        .filter(|address| check_address(address, ADDRESS_MESSAGE).is_err())
        .collect();
        assert_eq!(
            refused,
            [
                "temporal",
                "http://temporal:7233",
                "temporal:0",
                "temporal:65536",
                "a:b:7233",
                ":7233",
                "user@temporal:7233",
                "fd00::1:7233",
                "[fd00::1%eth0]:7233",
                "[10.0.0.1]:7233",
                "[temporal]:7233",
                "10.0.0.256:7233",
                "temporal..svc:7233",
                ".:7233",
            ]
        );
    }

    #[test]
    fn only_the_resolver_for_dns_may_stand_before_an_address() {
        let refused = |address: &str| {
            let spec = serde_json::json!({"address": address});
            let spec: TemporalConnectionSpec = serde_json::from_value(spec).unwrap();
            connection(&spec, "spec").map(|connection| connection.server().to_owned())
        };
        assert_eq!(
            refused("dns:///temporal:7233"),
            Ok("temporal:7233".to_owned())
        );
        assert_eq!(refused("dns:///[::1]:7233"), Ok("[::1]:7233".to_owned()));
        for address in [
            "dns://temporal:7233",
            "dns:temporal:7233",
            "dns://8.8.8.8/temporal:7233",
            "passthrough:///temporal:7233",
            "dns:///dns:///temporal:7233",
        ] {
            assert!(refused(address).is_err(), "{address}");
        }
    }
}
