//! Resolves the connection of a fleet: from its spec or a `TemporalConnection`, with the Secrets it
//! names.
//!
//! Reads only. Anything missing is returned as a not-ready reason, not as an error.

use std::collections::BTreeMap;

use kube::Resource as _;
use kube::runtime::reflector::ObjectRef;
use taskqueue_api::fleet::{SecretKey, TLS_CERTIFICATE_KEY, TLS_PRIVATE_KEY_KEY};
use taskqueue_api::{Connection, ConnectionSource, Fleet, Reason, validate};
use taskqueue_scaling::Time;
use taskqueue_temporal::{
    ClientCertificate, ConnectionFields, ResolvedConnection, Secret as Hidden, SecretPart, Tls,
};

use crate::caches::{Caches, GuardedConnection};
use crate::not_ready::NotReady;
use crate::observe::secrets::Secrets;

/// A usable connection, with the spec it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Usable {
    /// The connection as rendered into pods: with the names of Secrets.
    pub spec: Connection,
    /// The connection as used by the readers: with the values of Secrets.
    pub resolved: ResolvedConnection,
}

/// Returns the fleet's connection without its Secrets.
///
/// # Errors
/// If the `TemporalConnection` that it refers to is missing or malformed.
pub fn spec(fleet: &Fleet, caches: &Caches) -> Result<Connection, NotReady> {
    let name = match &fleet.connection {
        ConnectionSource::Inline(connection) => return Ok(connection.clone()),
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

/// Reads the Secrets that a connection names in its namespace, and checks the connection.
/// `doubtful`: Temporal could not be read with this connection lately.
///
/// # Errors
/// If a Secret is missing, may not be read, or has invalid content, or if the connection itself is
/// invalid.
pub async fn resolve(
    secrets: &Secrets,
    namespace: &str,
    source: &ConnectionSource,
    spec: &Connection,
    doubtful: bool,
    now: Time,
) -> Result<Usable, NotReady> {
    let mut data = BTreeMap::new();
    for (name, keys) in spec.secrets() {
        let secret = secrets.read(namespace, name, doubtful, now).await?;
        for key in keys {
            let value = secret.get(key).ok_or_else(|| {
                NotReady::new(
                    Reason::SecretNotFound,
                    format!(
                        "Secret {name} in namespace {namespace} has no key {key}; add it, or \
                         correct the connection"
                    ),
                )
            })?;
            data.insert((name.to_owned(), key.to_owned()), value.clone());
        }
    }
    let resolved = ResolvedConnection::new(fields(spec, &data)).map_err(|error| {
        match error.part().and_then(|part| place(spec, part)) {
            Some(place) => NotReady::new(
                Reason::SecretInvalid,
                format!("{place} in namespace {namespace}: {error}"),
            ),
            None => invalid(source, &error.to_string()),
        }
    })?;
    Ok(Usable {
        spec: spec.clone(),
        resolved,
    })
}

/// The Secret and its key that a part of a connection comes from.
fn place(spec: &Connection, part: SecretPart) -> Option<String> {
    let tls = spec.tls.as_ref();
    let one = |at: &SecretKey| format!("Secret {}, key {}", at.secret, at.key);
    let of_client = |key: &str| {
        let secret = tls?.client_certificate.as_deref()?;
        Some(format!("Secret {secret}, key {key}"))
    };
    match part {
        SecretPart::CaCertificate => tls?.ca.as_ref().map(one),
        SecretPart::ClientCertificate => of_client(TLS_CERTIFICATE_KEY),
        SecretPart::ClientKey => of_client(TLS_PRIVATE_KEY_KEY),
        SecretPart::ApiKey => spec.api_key.as_ref().map(one),
    }
}

fn fields(spec: &Connection, data: &BTreeMap<(String, String), Vec<u8>>) -> ConnectionFields {
    let value = |secret: &str, key: &str| {
        data.get(&(secret.to_owned(), key.to_owned()))
            .cloned()
            .unwrap_or_default()
    };
    let of = |at: &SecretKey| value(&at.secret, &at.key);
    ConnectionFields {
        address: spec.address.clone(),
        temporal_namespace: spec.temporal_namespace.clone(),
        tls: spec.tls.as_ref().map(|tls| Tls {
            ca_pem: tls.ca.as_ref().map(of),
            server_name: tls.server_name.clone(),
            client: tls
                .client_certificate
                .as_deref()
                .map(|secret| ClientCertificate {
                    certificate_pem: value(secret, TLS_CERTIFICATE_KEY),
                    key_pem: Hidden::new(value(secret, TLS_PRIVATE_KEY_KEY)),
                }),
        }),
        api_key: spec.api_key.as_ref().map(|at| Hidden::new(of(at))),
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
