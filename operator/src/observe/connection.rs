//! The connection of a fleet: from the spec or a `TemporalConnection`, with its Secrets read.
//!
//! Reads only: the cache of connections, and Secrets with `get` by name, each at most once in
//! [`FRESH`]. What is missing is a value with a reason. No message holds any part of a Secret's value:
//! errors that may quote it are dropped where they arise.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::GetParams;
use kube::core::Request;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};
use serde::Deserialize;
use taskqueue_api::fleet::{SecretKey, TLS_CERTIFICATE_KEY, TLS_PRIVATE_KEY_KEY};
use taskqueue_api::{Connection, ConnectionSource, Fleet, Reason, validate};
use taskqueue_scaling::Time;
use taskqueue_temporal::{
    ClientCertificate, ConnectionFields, ResolvedConnection, Secret as Hidden, SecretPart, Tls,
};
use tracing::warn;

use crate::caches::Caches;
use crate::problem::Problem;

/// How long a Secret that was read is used before it is read again.
pub const FRESH: Duration = Duration::from_secs(30);

/// A connection that can be used, with the spec it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Usable {
    /// As it is rendered into pods: Secrets are named.
    pub spec: Connection,
    /// As the readers use it: Secrets are read.
    pub resolved: ResolvedConnection,
}

/// What the fleet's spec says about its connection.
///
/// # Errors
/// If the `TemporalConnection` that it refers to is missing or malformed.
pub fn spec(fleet: &Fleet, caches: &Caches) -> Result<Connection, Problem> {
    let name = match &fleet.connection {
        ConnectionSource::Inline(connection) => return Ok(connection.clone()),
        ConnectionSource::Reference(name) => name,
    };
    let namespace = &fleet.key.namespace;
    let reference = ObjectRef::new(name).within(namespace);
    let found = caches.connections.get(&reference).ok_or_else(|| {
        Problem::new(
            Reason::ConnectionNotFound,
            format!(
                "there is no TemporalConnection {name} in namespace {namespace}; create it or correct connectionRef"
            ),
        )
    })?;
    match &found.0 {
        Err(malformed) => Err(invalid(&fleet.connection, &malformed.error)),
        Ok(connection) => validate::connection(&connection.spec, "spec").map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            invalid(&fleet.connection, &all.join("; "))
        }),
    }
}

/// A connection that is wrong where it is written down.
fn invalid(source: &ConnectionSource, why: &str) -> Problem {
    match source {
        ConnectionSource::Inline(_) => {
            Problem::new(Reason::InvalidSpec, format!("spec.connection: {why}"))
        }
        ConnectionSource::Reference(name) => Problem::new(
            Reason::ConnectionInvalid,
            format!("TemporalConnection {name}: {why}"),
        ),
    }
}

type Data = BTreeMap<String, Vec<u8>>;

/// A Secret as it was last seen.
#[derive(Clone)]
enum Seen {
    Present(Data),
    Absent,
    /// It could not be read, for another reason than not being there.
    Failed(Problem),
}

/// Reads Secrets by name and keeps them for a short while.
pub struct Secrets {
    client: Client,
    seen: Mutex<HashMap<(String, String), (Time, Seen)>>,
}

impl Secrets {
    /// Nothing has been read yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            seen: Mutex::default(),
        }
    }

    /// Reads what the fleet's connection names and checks it.
    ///
    /// # Errors
    /// If a Secret is missing, may not be read, or does not hold what it should.
    pub async fn resolve(
        &self,
        fleet: &Fleet,
        spec: &Connection,
        now: Time,
    ) -> Result<Usable, Problem> {
        let namespace = &fleet.key.namespace;
        let mut data = BTreeMap::new();
        for (name, keys) in spec.secrets() {
            let secret = self.read(namespace, name, now).await?;
            for key in keys {
                let value = secret.get(key).ok_or_else(|| {
                    Problem::new(
                        Reason::SecretNotFound,
                        format!(
                            "Secret {name} in namespace {namespace} has no key {key}; add it, or correct the connection"
                        ),
                    )
                })?;
                data.insert((name.to_owned(), key.to_owned()), value.clone());
            }
        }
        let resolved = ResolvedConnection::new(fields(spec, &data)).map_err(|error| match error
            .part()
            .and_then(|part| place(spec, part))
        {
            Some(place) => Problem::new(
                Reason::SecretInvalid,
                format!("{place} in namespace {namespace}: {error}"),
            ),
            None => invalid(&fleet.connection, &error.to_string()),
        })?;
        Ok(Usable {
            spec: spec.clone(),
            resolved,
        })
    }

    async fn read(&self, namespace: &str, name: &str, now: Time) -> Result<Data, Problem> {
        let key = (namespace.to_owned(), name.to_owned());
        let kept = self.seen().get(&key).cloned();
        if let Some((at, seen)) = &kept
            && now.since(*at) < FRESH
        {
            return known(namespace, name, seen);
        }
        let seen = match self.fetch(namespace, name).await {
            Ok(data) => Seen::Present(data),
            Err(Unread::Absent) => Seen::Absent,
            Err(why) => unread(namespace, name, &why, kept.map(|(_, seen)| seen)),
        };
        self.seen().insert(key, (now, seen.clone()));
        known(namespace, name, &seen)
    }

    /// Reads one Secret. It is decoded here: kube's client writes an answer that it cannot decode to the
    /// log, and its error quotes the value.
    async fn fetch(&self, namespace: &str, name: &str) -> Result<Data, Unread> {
        let request = Request::new(Secret::url_path(&(), Some(namespace)))
            .get(name, &GetParams::default())
            .map_err(|_| Unread::Absent)?;
        let text = self
            .client
            .request_text(request)
            .await
            .map_err(|error| match error {
                kube::Error::Api(status) if status.code == 403 => Unread::Forbidden,
                kube::Error::Api(status) if status.code == 404 => Unread::Absent,
                kube::Error::Api(status) => Unread::Refused(status.code),
                kube::Error::FromUtf8(_) => Unread::Undecodable,
                other => Unread::NoAnswer(other.to_string()),
            })?;
        let secret: Values = serde_json::from_str(&text).map_err(|_| Unread::Undecodable)?;
        let values = secret.data.unwrap_or_default().into_iter();
        Ok(values.map(|(key, value)| (key, value.0)).collect())
    }

    /// Drops what nobody has asked for lately.
    pub fn prune(&self, now: Time) {
        self.seen()
            .retain(|_, (at, _)| now.since(*at) < FRESH.saturating_mul(10));
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), (Time, Seen)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read of a Secret.
#[derive(Deserialize)]
struct Values {
    data: Option<BTreeMap<String, ByteString>>,
}

/// Why a Secret was not read.
enum Unread {
    Absent,
    Forbidden,
    /// The API server's answer, as an HTTP status.
    Refused(u16),
    /// Nothing came back; what the connection to the API server met.
    NoAnswer(String),
    Undecodable,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is none"),
            Self::Forbidden => f.write_str("the operator may not"),
            Self::Refused(code) => write!(f, "the API server answered HTTP {code}"),
            Self::NoAnswer(_) => f.write_str("the API server does not answer"),
            Self::Undecodable => f.write_str("the API server's answer cannot be decoded"),
        }
    }
}

/// A Secret that cannot be read now is used as it was: the API server being away must not cut the
/// connection to Temporal.
fn unread(namespace: &str, name: &str, why: &Unread, before: Option<Seen>) -> Seen {
    if matches!(why, Unread::Forbidden) {
        return Seen::Failed(Problem::new(
            Reason::Forbidden,
            format!(
                "the operator may not read Secret {name} in namespace {namespace}; give it the verb get on secrets there"
            ),
        ));
    }
    let error = match why {
        Unread::NoAnswer(error) => error.clone(),
        other => other.to_string(),
    };
    warn!(
        namespace,
        name, error, "cannot read a Secret; it is tried again"
    );
    match before {
        Some(Seen::Present(data)) => Seen::Present(data),
        Some(Seen::Absent | Seen::Failed(_)) | None => Seen::Failed(Problem::new(
            Reason::SecretUnavailable,
            format!(
                "Secret {name} in namespace {namespace} cannot be read: {why}; it is tried again"
            ),
        )),
    }
}

fn known(namespace: &str, name: &str, seen: &Seen) -> Result<Data, Problem> {
    match seen {
        Seen::Present(data) => Ok(data.clone()),
        Seen::Failed(problem) => Err(problem.clone()),
        Seen::Absent => Err(Problem::new(
            Reason::SecretNotFound,
            format!(
                "there is no Secret {name} in namespace {namespace}; create it, or correct the connection"
            ),
        )),
    }
}

/// The Secret and the keys in it that a part of a connection comes from.
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

/// The object that fleets refer to, for the type of the cache.
pub fn name_of(connection: &crate::caches::GuardedConnection) -> Option<(&str, &str)> {
    Some((
        connection.meta().namespace.as_deref()?,
        connection.meta().name.as_deref()?,
    ))
}

#[cfg(test)]
pub(crate) mod tests;
