//! Resolves the connection of a fleet: from its spec or a `TemporalConnection`, with the Secrets
//! and ConfigMaps it names.
//!
//! Reads only. Anything missing is returned as a not-ready reason, not as an error.

use std::collections::BTreeMap;

use kube::Resource as _;
use kube::runtime::reflector::ObjectRef;
use taskqueue_api::fleet::{
    ObjectKind, PASSWORD_KEY, SecretKey, TLS_CERTIFICATE_KEY, TLS_PRIVATE_KEY_KEY, USERNAME_KEY,
};
use taskqueue_api::{Connection, ConnectionSource, Fleet, Reason, validate};
use taskqueue_scaling::Time;
use taskqueue_temporal::{
    ClientCertificate, ConnectionFields, Proxy, ProxyCredentials, ResolvedConnection,
    Secret as Hidden, SecretPart, Tls,
};

use crate::caches::{Caches, GuardedConnection};
use crate::not_ready::NotReady;
use crate::observe::secrets::{self, Secrets};

/// A usable connection, with the spec it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Usable {
    /// The connection as rendered into pods: with the names of Secrets and ConfigMaps.
    pub spec: Connection,
    /// The connection as used by the readers: with their values.
    pub resolved: ResolvedConnection,
}

/// Returns the fleet's connection without its Secrets.
///
/// # Errors
/// If the `TemporalConnection` that it refers to is missing or malformed.
pub fn spec(fleet: &Fleet, caches: &Caches) -> Result<Connection, NotReady> {
    let name = match &fleet.connection {
        ConnectionSource::Inline(connection) => return Ok(connection.as_ref().clone()),
        ConnectionSource::Reference(name) => name,
    };
    let namespace = &fleet.key.namespace;
    let reference = ObjectRef::new(name).within(namespace);
    let found = caches.connections.get(&reference).ok_or_else(|| {
        NotReady::new(
            Reason::ConnectionNotFound,
            format!(
                "there is no TemporalConnection {name} in namespace {namespace}; create it or \
                 correct connectionRef"
            ),
        )
    })?;
    of_object(&found, &fleet.connection)
}

/// Returns what a `TemporalConnection` describes, without its Secrets. `source` refers to it.
///
/// # Errors
/// If it is malformed.
pub fn of_object(
    object: &GuardedConnection,
    source: &ConnectionSource,
) -> Result<Connection, NotReady> {
    match &object.0 {
        Err(malformed) => Err(invalid(source, &malformed.error)),
        Ok(connection) => validate::connection(&connection.spec, "spec").map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            invalid(source, &all.join("; "))
        }),
    }
}

/// The not-ready reason for a connection that is wrong in the spec or the `TemporalConnection`.
fn invalid(source: &ConnectionSource, why: &str) -> NotReady {
    match source {
        ConnectionSource::Inline(_) => {
            NotReady::new(Reason::InvalidSpec, format!("spec.connection: {why}"))
        }
        ConnectionSource::Reference(name) => NotReady::new(
            Reason::ConnectionInvalid,
            format!("TemporalConnection {name}: {why}"),
        ),
    }
}

/// Reads the Secrets and ConfigMaps that a connection names in its namespace, and checks it.
/// `doubtful`: Temporal could not be read with this connection lately.
///
/// # Errors
/// If one of them is missing, may not be read, or has invalid content, or if the connection itself
/// is invalid.
pub async fn resolve(
    secrets: &Secrets,
    namespace: &str,
    source: &ConnectionSource,
    spec: &Connection,
    doubtful: bool,
    now: Time,
) -> Result<Usable, NotReady> {
    let mut data = Values::new();
    for ((kind, name), keys) in spec.objects() {
        let values = secrets.read(namespace, (kind, name), doubtful, now).await?;
        for key in keys {
            let value = values.get(key).ok_or_else(|| {
                NotReady::new(
                    secrets::not_found(kind),
                    format!(
                        "{kind} {name} in namespace {namespace} has no key {key}; add it, or \
                         correct the connection"
                    ),
                )
            })?;
            data.insert((kind, name, key), value.clone());
        }
    }
    let resolved = ResolvedConnection::new(fields(spec, &data)).map_err(|error| {
        match error.part().and_then(|part| place(spec, part)) {
            Some((kind, place)) => NotReady::new(
                secrets::invalid(kind),
                format!("{kind} {place} in namespace {namespace}: {error}"),
            ),
            None => invalid(source, &error.to_string()),
        }
    })?;
    Ok(Usable {
        spec: spec.clone(),
        resolved,
    })
}

/// The values that a connection needs, by kind, name and key.
type Values<'a> = BTreeMap<(ObjectKind, &'a str, &'a str), Vec<u8>>;

/// The object that a part of a connection comes from: its kind, and its name with the key.
fn place(spec: &Connection, part: SecretPart) -> Option<(ObjectKind, String)> {
    let tls = spec.tls.as_ref();
    let at = |kind, name: &str, key: &str| (kind, format!("{name}, key {key}"));
    let of_proxy = |key: &str| {
        let secret = spec.proxy.as_ref()?.credentials.as_deref()?;
        Some(at(ObjectKind::Secret, secret, key))
    };
    let of_client = |key: &str| {
        let secret = tls?.client_certificate.as_deref()?;
        Some(at(ObjectKind::Secret, secret, key))
    };
    match part {
        SecretPart::CaCertificate => {
            let ca = tls?.ca.as_ref()?;
            Some(at(ca.kind, &ca.name, &ca.key))
        }
        SecretPart::ProxyUsername => of_proxy(USERNAME_KEY),
        SecretPart::ProxyPassword => of_proxy(PASSWORD_KEY),
        SecretPart::ClientCertificate => of_client(TLS_CERTIFICATE_KEY),
        SecretPart::ClientKey => of_client(TLS_PRIVATE_KEY_KEY),
        SecretPart::ApiKey => {
            let SecretKey { secret, key } = spec.api_key.as_ref()?;
            Some(at(ObjectKind::Secret, secret, key))
        }
    }
}

fn fields(spec: &Connection, data: &Values<'_>) -> ConnectionFields {
    let value = |kind, name: &str, key: &str| {
        let value = data.get(&(kind, name, key));
        value.cloned().unwrap_or_default()
    };
    let secret = |name: &str, key: &str| value(ObjectKind::Secret, name, key);
    ConnectionFields {
        address: spec.server().to_owned(),
        temporal_namespace: spec.temporal_namespace.clone(),
        tls: spec.tls.as_ref().map(|tls| Tls {
            ca_pem: tls.ca.as_ref().map(|ca| value(ca.kind, &ca.name, &ca.key)),
            server_name: tls.server_name.clone(),
            client: tls
                .client_certificate
                .as_deref()
                .map(|name| ClientCertificate {
                    certificate_pem: secret(name, TLS_CERTIFICATE_KEY),
                    key_pem: Hidden::new(secret(name, TLS_PRIVATE_KEY_KEY)),
                }),
        }),
        api_key: spec
            .api_key
            .as_ref()
            .map(|at| Hidden::new(secret(&at.secret, &at.key))),
        proxy: spec.proxy.as_ref().map(|proxy| Proxy {
            address: proxy.address.clone(),
            credentials: proxy.credentials.as_deref().map(|name| ProxyCredentials {
                username: Hidden::new(secret(name, USERNAME_KEY)),
                password: Hidden::new(secret(name, PASSWORD_KEY)),
            }),
        }),
    }
}

/// Namespace and name of a `TemporalConnection`.
pub fn name_of(connection: &GuardedConnection) -> Option<(&str, &str)> {
    Some((
        connection.meta().namespace.as_deref()?,
        connection.meta().name.as_deref()?,
    ))
}

#[cfg(test)]
pub(crate) mod tests;
