//! Where the operator finds each part of a connection: in which object, of which namespace, under
//! which key. Pure.

use std::collections::{BTreeMap, BTreeSet};

use taskqueue_api::fleet::{
    ObjectKind, PASSWORD_KEY, TLS_CERTIFICATE_KEY, TLS_PRIVATE_KEY_KEY, USERNAME_KEY,
};
use taskqueue_api::{Connection, ConnectionKind, ConnectionSource};
use taskqueue_temporal::SecretPart;

use crate::observe::secrets::ObjectName;

/// The namespaces in which the objects of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    /// That of the fleet.
    pub fleet: String,
    /// That of all that the operator reads for a connection with `operatorCredentials`.
    pub operator: String,
}

impl Namespaces {
    /// Those of a connection for fleets in the namespace `fleet`; `own` is the operator's
    /// namespace. Only a `ClusterTemporalConnection` can name objects there: whoever writes a fleet
    /// or a `TemporalConnection` may have no rights in it.
    pub fn of(source: &ConnectionSource, fleet: &str, own: &str) -> Self {
        let of_cluster = matches!(
            source,
            ConnectionSource::Reference(to) if to.kind == ConnectionKind::ClusterTemporalConnection
        );
        Self {
            fleet: fleet.to_owned(),
            operator: if of_cluster { own } else { fleet }.to_owned(),
        }
    }
}

/// Where a part of a connection is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The object.
    pub object: ObjectName,
    /// The key in it.
    pub key: String,
}

const PARTS: [SecretPart; 6] = [
    SecretPart::CaCertificate,
    SecretPart::ClientCertificate,
    SecretPart::ClientKey,
    SecretPart::ApiKey,
    SecretPart::ProxyUsername,
    SecretPart::ProxyPassword,
];

/// Where the operator finds a part of a connection; `None` if it uses no such part.
pub fn place(spec: &Connection, namespaces: &Namespaces, part: SecretPart) -> Option<Place> {
    // Never a credential of the operator's own with a certificate authority that the author of a
    // fleet chooses: it decides which server gets the credential.
    let namespace = match &spec.operator_credentials {
        Some(_) => &namespaces.operator,
        None => &namespaces.fleet,
    };
    let at = |kind, name: &str, key: &str| Place {
        object: ObjectName {
            kind,
            namespace: namespace.clone(),
            name: name.to_owned(),
        },
        key: key.to_owned(),
    };
    let of_client = |key| {
        let secret = spec.operator_client_certificate()?;
        Some(at(ObjectKind::Secret, secret, key))
    };
    let of_proxy = |key| {
        let secret = spec.proxy.as_ref()?.credentials.as_ref()?;
        Some(at(ObjectKind::Secret, secret, key))
    };
    match part {
        SecretPart::CaCertificate => {
            let ca = spec.tls.as_ref()?.ca.as_ref()?;
            Some(at(ca.kind, &ca.name, &ca.key))
        }
        SecretPart::ClientCertificate => of_client(TLS_CERTIFICATE_KEY),
        SecretPart::ClientKey => of_client(TLS_PRIVATE_KEY_KEY),
        SecretPart::ApiKey => {
            let api_key = spec.operator_api_key()?;
            let (secret, key) = (&api_key.secret, &api_key.key);
            Some(at(ObjectKind::Secret, secret, key))
        }
        SecretPart::ProxyUsername => of_proxy(USERNAME_KEY),
        SecretPart::ProxyPassword => of_proxy(PASSWORD_KEY),
    }
}

/// Every Secret and ConfigMap that the operator reads for a connection, with the keys that it needs
/// from it.
pub fn objects(
    spec: &Connection,
    namespaces: &Namespaces,
) -> BTreeMap<ObjectName, BTreeSet<String>> {
    let mut objects: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let places = PARTS.map(|part| place(spec, namespaces, part));
    for Place { object, key } in places.into_iter().flatten() {
        objects.entry(object).or_default().insert(key);
    }
    objects
}

#[cfg(test)]
mod tests;
