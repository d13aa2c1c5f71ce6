//! The connection of a fleet: from the spec or a `TemporalConnection`, with its Secrets read.
//!
//! Reads only: the cache of connections, and Secrets with `get` by name. A Secret is read once for all fleets that
//! name it, after [`FRESH`], and more seldom the longer it has stayed as it is; at once after [`FRESH`] again where
//! Temporal cannot be read with it. What is missing is a value with a reason. No message holds any part of a Secret's
//! value: errors that may quote it are dropped where they arise.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::sync::Mutex as AsyncMutex;
use tracing::warn;

use crate::caches::Caches;
use crate::kubeconfig;
use crate::not_ready::NotReady;

/// How long a Secret that was read is used before it is read again, if it has just changed, is missing, or if Temporal
/// cannot be read with it.
pub const FRESH: Duration = Duration::from_secs(30);
/// The same, if it has been as it is for long.
const LONGEST: Duration = Duration::from_mins(2);
/// A pass that is made to read a Secret again comes no sooner than this: nobody else may have come to it.
const LEAST_WAIT: Duration = Duration::from_secs(1);

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

type Data = BTreeMap<String, Vec<u8>>;

/// A Secret as it was last seen.
#[derive(Clone)]
enum SecretState {
    Present(Data),
    Absent,
    /// It could not be read, for another reason than not being there.
    Failed(NotReady),
}

/// A Secret that was read.
#[derive(Clone)]
struct Kept {
    seen: SecretState,
    /// When.
    at: Time,
    /// Since when it has been the same.
    since: Time,
}

impl Kept {
    /// How long it is used from when it was read: as long as it has been the same.
    fn lasts(&self, doubtful: bool) -> Duration {
        match self.seen {
            SecretState::Present(_) if !doubtful => self.at.since(self.since).clamp(FRESH, LONGEST),
            SecretState::Present(_) | SecretState::Absent | SecretState::Failed(_) => FRESH,
        }
    }

    /// How long it is still used.
    fn remains(&self, doubtful: bool, now: Time) -> Duration {
        self.lasts(doubtful).saturating_sub(now.since(self.at))
    }
}

/// One Secret; whoever reads it holds the lock, and the others wait for what comes of it.
type Slot = Arc<AsyncMutex<Option<Kept>>>;

/// Reads Secrets by name and keeps them for a short while.
pub struct Secrets {
    client: Client,
    slots: Mutex<HashMap<(String, String), Slot>>,
}

impl Secrets {
    /// Nothing has been read yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            slots: Mutex::default(),
        }
    }

    /// How soon a Secret of the connection is to be read again; `None` if it names none.
    pub fn due(
        &self,
        namespace: &str,
        spec: &Connection,
        doubtful: bool,
        now: Time,
    ) -> Option<Duration> {
        let remains = |(name, _)| {
            let slot = self.slot(namespace, name);
            // Somebody reads it just now: what comes of that is new.
            let kept = slot.try_lock().ok()?;
            Some(kept.as_ref()?.remains(doubtful, now))
        };
        let secrets = spec.secrets();
        let each = secrets
            .into_iter()
            .map(|secret| remains(secret).unwrap_or(FRESH));
        each.min().map(|due| due.max(LEAST_WAIT))
    }

    /// Reads what the fleet's connection names and checks it. `doubtful` says that Temporal could not be read with it
    /// lately.
    ///
    /// # Errors
    /// If a Secret is missing, may not be read, or does not hold what it should.
    pub async fn resolve(
        &self,
        fleet: &Fleet,
        spec: &Connection,
        doubtful: bool,
        now: Time,
    ) -> Result<Usable, NotReady> {
        let namespace = &fleet.key.namespace;
        let mut data = BTreeMap::new();
        for (name, keys) in spec.secrets() {
            let secret = self.read(namespace, name, doubtful, now).await?;
            for key in keys {
                let value = secret.get(key).ok_or_else(|| {
                    NotReady::new(
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
            Some(place) => NotReady::new(
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

    async fn read(
        &self,
        namespace: &str,
        name: &str,
        doubtful: bool,
        now: Time,
    ) -> Result<Data, NotReady> {
        let slot = self.slot(namespace, name);
        let mut slot = slot.lock().await;
        if let Some(kept) = slot.as_ref()
            && !kept.remains(doubtful, now).is_zero()
        {
            return known(namespace, name, &kept.seen);
        }
        let before = slot.as_ref();
        let seen = match self.fetch(namespace, name).await {
            Ok(data) => SecretState::Present(data),
            Err(Unread::Absent) => SecretState::Absent,
            Err(why) => unread(namespace, name, &why, before.map(|kept| kept.seen.clone())),
        };
        let same = before.filter(|kept| kept.seen.is_as(&seen));
        let since = same.map_or(now, |kept| kept.since);
        let kept = slot.insert(Kept {
            seen,
            at: now,
            since,
        });
        known(namespace, name, &kept.seen)
    }

    fn slot(&self, namespace: &str, name: &str) -> Slot {
        let key = (namespace.to_owned(), name.to_owned());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
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
                other => Unread::NoAnswer(kubeconfig::said(&other)),
            })?;
        let secret: Values = serde_json::from_str(&text).map_err(|_| Unread::Undecodable)?;
        let values = secret.data.unwrap_or_default().into_iter();
        Ok(values.map(|(key, value)| (key, value.0)).collect())
    }

    /// Drops what nobody has asked for lately.
    pub fn prune(&self, now: Time) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            // Whoever reads one holds its lock.
            slot.try_lock().map_or(true, |kept| {
                let at = kept.as_ref().map(|kept| kept.at);
                at.is_some_and(|at| now.since(at) < LONGEST.saturating_mul(2))
            })
        });
    }
}

impl SecretState {
    /// Whether the Secret is the same.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present(one), Self::Present(other)) => one == other,
            (Self::Absent, Self::Absent) => true,
            _ => false,
        }
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
fn unread(namespace: &str, name: &str, why: &Unread, before: Option<SecretState>) -> SecretState {
    if matches!(why, Unread::Forbidden) {
        return SecretState::Failed(NotReady::new(
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
        Some(SecretState::Present(data)) => SecretState::Present(data),
        Some(SecretState::Absent | SecretState::Failed(_)) | None => {
            SecretState::Failed(NotReady::new(
                Reason::SecretUnavailable,
                format!(
                    "Secret {name} in namespace {namespace} cannot be read: {why}; it is tried again"
                ),
            ))
        }
    }
}

fn known(namespace: &str, name: &str, seen: &SecretState) -> Result<Data, NotReady> {
    match seen {
        SecretState::Present(data) => Ok(data.clone()),
        SecretState::Failed(problem) => Err(problem.clone()),
        SecretState::Absent => Err(NotReady::new(
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
