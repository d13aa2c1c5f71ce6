//! Resolves the connection of a fleet: from its spec or the object that it refers to, with the
//! Secrets and ConfigMaps that the operator reads for it.
//!
//! Reads only. Anything missing is returned as a not-ready reason, not as an error.

pub mod object;
pub mod parts;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use taskqueue_api::{
    Connection, ConnectionKind, ConnectionReference, ConnectionSource, Fleet,
    GuardedClusterConnection, Reason,
};
use taskqueue_kubernetes::kube_error::Refusal;
use taskqueue_scaling::Time;
use taskqueue_temporal::{
    ClientCertificate, ConnectionFields, Proxy, ProxyCredentials, ResolvedConnection,
    Secret as Hidden, SecretPart, Tls,
};

use crate::caches::{Caches, FoundClusterConnection};
use crate::not_ready::NotReady;
use crate::observe::secrets::{self, Secrets};
use object::{ConnectionObject, invalid};
use parts::{Namespaces, Place};

/// A usable connection, with the spec it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Usable {
    /// The connection as rendered into pods: with the names of Secrets and ConfigMaps.
    pub spec: Connection,
    /// The namespaces in which those are.
    pub namespaces: Namespaces,
    /// The connection as used by the readers: with their values.
    pub resolved: ResolvedConnection,
}

/// Whether nothing can be said about the connection of a fleet yet, because the API server has not
/// listed its kind.
pub fn is_pending(fleet: &Fleet, caches: &Caches) -> bool {
    match &fleet.connection {
        ConnectionSource::Reference(to) if to.kind == ConnectionKind::ClusterTemporalConnection => {
            matches!(
                caches.cluster_connection(&to.name),
                FoundClusterConnection::NotListed
            )
        }
        ConnectionSource::Reference(_) | ConnectionSource::Inline(_) => false,
    }
}

/// Returns the fleet's connection without its Secrets.
///
/// # Errors
/// If the object that it refers to is missing, malformed, or not for the namespace of the fleet.
pub fn spec(fleet: &Fleet, caches: &Caches) -> Result<Connection, NotReady> {
    let to = match &fleet.connection {
        ConnectionSource::Inline(connection) => return Ok(connection.as_ref().clone()),
        ConnectionSource::Reference(to) => to,
    };
    let namespace = &fleet.key.namespace;
    match to.kind {
        ConnectionKind::TemporalConnection => {
            let reference = ObjectRef::new(&to.name).within(namespace);
            let found = caches.connections.get(&reference).ok_or_else(|| {
                NotReady::new(
                    Reason::ConnectionNotFound,
                    format!(
                        "there is no {to} in namespace {namespace}; create it or correct \
                         connectionRef"
                    ),
                )
            })?;
            ConnectionObject::from(&*found).connection()
        }
        ConnectionKind::ClusterTemporalConnection => {
            let found = cluster_connection(to, caches)?;
            ConnectionObject::from(&*found).connection_for(namespace)
        }
    }
}

/// Looks up a `ClusterTemporalConnection`.
fn cluster_connection(
    to: &ConnectionReference,
    caches: &Caches,
) -> Result<Arc<GuardedClusterConnection>, NotReady> {
    let (reason, message) = match caches.cluster_connection(&to.name) {
        FoundClusterConnection::Found(found) => return Ok(found),
        FoundClusterConnection::Missing => (
            Reason::ConnectionNotFound,
            format!("there is no {to}; create it or correct connectionRef"),
        ),
        FoundClusterConnection::NotListed => (
            Reason::Starting,
            "the ClusterTemporalConnections have not been listed yet".to_owned(),
        ),
        FoundClusterConnection::Refused(Refusal { code: 404, .. }) => (
            Reason::ConnectionNotFound,
            format!(
                "{to} cannot exist, because the CustomResourceDefinition \
                 clustertemporalconnections.taskqueue.dev is not installed; install the chart \
                 with crds.install=true, or apply the folder crds/ with kubectl"
            ),
        ),
        FoundClusterConnection::Refused(Refusal { answer, .. }) => (
            Reason::Forbidden,
            format!(
                "the operator may not list clustertemporalconnections: {answer}; upgrade the \
                 chart, or grant it the verbs get, list and watch on them in a ClusterRole"
            ),
        ),
        FoundClusterConnection::Off => (
            Reason::Forbidden,
            "the operator does not read ClusterTemporalConnections; set the chart's value \
             clusterConnections.enabled, or use a TemporalConnection"
                .to_owned(),
        ),
    };
    Err(NotReady::new(reason, message))
}

/// Reads the Secrets and ConfigMaps that the operator needs for a connection, and checks it.
/// `doubtful`: Temporal could not be read with this connection lately.
///
/// # Errors
/// If one of them is missing, may not be read, or has invalid content, or if the connection itself
/// is invalid.
pub async fn resolve(
    secrets: &Secrets,
    namespaces: &Namespaces,
    source: &ConnectionSource,
    spec: &Connection,
    doubtful: bool,
    now: Time,
) -> Result<Usable, NotReady> {
    let mut values = Values::new();
    for (object, keys) in parts::objects(spec, namespaces) {
        let data = secrets.read(&object, doubtful, now).await?;
        for key in keys {
            let value = data.get(&key).cloned().ok_or_else(|| {
                NotReady::new(
                    secrets::not_found(object.kind),
                    format!("{object} has no key {key}; add it, or correct the connection"),
                )
            })?;
            let object = object.clone();
            values.insert(Place { object, key }, value);
        }
    }
    let place = |part| parts::place(spec, namespaces, part);
    let fields = fields(spec, |part| Some(values.get(&place(part)?)?.clone()));
    let resolved =
        ResolvedConnection::new(fields).map_err(|error| match error.part().and_then(place) {
            Some(Place { object, key }) => NotReady::new(
                secrets::invalid(object.kind),
                format!(
                    "{} {}, key {key} in namespace {}: {error}",
                    object.kind, object.name, object.namespace
                ),
            ),
            None => invalid(source, &error.to_string()),
        })?;
    Ok(Usable {
        spec: spec.clone(),
        namespaces: namespaces.clone(),
        resolved,
    })
}

/// The values that a connection needs.
type Values = BTreeMap<Place, Vec<u8>>;

fn fields(spec: &Connection, value: impl Fn(SecretPart) -> Option<Vec<u8>>) -> ConnectionFields {
    let hidden = |part| value(part).map(Hidden::new);
    let client = || {
        Some(ClientCertificate {
            certificate_pem: value(SecretPart::ClientCertificate)?,
            key_pem: hidden(SecretPart::ClientKey)?,
        })
    };
    let proxy_credentials = || {
        Some(ProxyCredentials {
            username: hidden(SecretPart::ProxyUsername)?,
            password: hidden(SecretPart::ProxyPassword)?,
        })
    };
    ConnectionFields {
        address: spec.server().to_owned(),
        temporal_namespace: spec.temporal_namespace.clone(),
        tls: spec.tls.as_ref().map(|tls| Tls {
            ca_pem: value(SecretPart::CaCertificate),
            server_name: tls.server_name.clone(),
            client: client(),
        }),
        api_key: hidden(SecretPart::ApiKey),
        proxy: spec.proxy.as_ref().map(|proxy| Proxy {
            address: proxy.address.clone(),
            credentials: proxy_credentials(),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
