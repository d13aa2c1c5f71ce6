//! Secrets by name, read with `get` and cached for a short while. Reads only.
//!
//! A Secret is read once for all fleets that name it. It is read again after [`FRESH`], and less
//! often the longer it stays the same; while Temporal cannot be read with it, again after
//! [`FRESH`]. Anything missing is returned as a not-ready reason. No message contains any part of a
//! Secret's value: errors that may quote it are dropped where they occur. ConfigMaps that a
//! connection names are read in the same way.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use taskqueue_api::Reason;
use taskqueue_api::fleet::ObjectKind;
use taskqueue_kubernetes::kube_error;
use taskqueue_scaling::Time;
use tracing::warn;

use crate::not_ready::NotReady;
use crate::observe::shared_reads::SharedReads;

/// How long a Secret is used before it is read again, if it has just changed, is missing, or if
/// Temporal cannot be read with it.
pub const FRESH: Duration = Duration::from_secs(30);
/// The same for a Secret that has not changed for a long time.
const LONGEST: Duration = Duration::from_mins(2);
/// Minimum delay of a pass that runs to read a Secret again. A Secret stays overdue while passes
/// fail before they reach it.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// The values of an object by key.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What a Secret or ConfigMap is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// The path of its kind in the API.
    fn collection(&self) -> String {
        let namespace = Some(self.namespace.as_str());
        match self.kind {
            ObjectKind::Secret => Secret::url_path(&(), namespace),
            ObjectKind::ConfigMap => ConfigMap::url_path(&(), namespace),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        write!(f, "{kind} {name} in namespace {namespace}")
    }
}

/// The reason for an object that does not exist or lacks a key.
pub fn not_found(kind: ObjectKind) -> Reason {
    match kind {
        ObjectKind::Secret => Reason::SecretNotFound,
        ObjectKind::ConfigMap => Reason::ConfigMapNotFound,
    }
}

/// The reason for an object with invalid content.
pub fn invalid(kind: ObjectKind) -> Reason {
    match kind {
        ObjectKind::Secret => Reason::SecretInvalid,
        ObjectKind::ConfigMap => Reason::ConfigMapInvalid,
    }
}

/// The reason for an object that could not be read.
fn unavailable(kind: ObjectKind) -> Reason {
    match kind {
        ObjectKind::Secret => Reason::SecretUnavailable,
        ObjectKind::ConfigMap => Reason::ConfigMapUnavailable,
    }
}

/// A Secret as last seen.
#[derive(Clone)]
enum SecretState {
    Present(Data),
    Absent,
    /// It could not be read, for a reason other than being absent.
    Failed(NotReady),
}

/// A cached Secret.
#[derive(Clone)]
struct Kept {
    seen: SecretState,
    /// When it was read.
    at: Time,
    /// Since when it has been the same.
    since: Time,
}

impl Kept {
    /// How long it is used after it was read: as long as it has been the same, within limits.
    fn lasts(&self, doubtful: bool) -> Duration {
        match self.seen {
            SecretState::Present(_) if !doubtful => self.at.since(self.since).clamp(FRESH, LONGEST),
            SecretState::Present(_) | SecretState::Absent | SecretState::Failed(_) => FRESH,
        }
    }

    /// How much longer it is used.
    fn remains(&self, doubtful: bool, now: Time) -> Duration {
        self.lasts(doubtful).saturating_sub(now.since(self.at))
    }
}

/// Reads Secrets and ConfigMaps by name and keeps them for a short while.
pub struct Secrets {
    client: Client,
    kept: SharedReads<ObjectName, Kept>,
}

impl Secrets {
    /// Creates an empty cache.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kept: SharedReads::default(),
        }
    }

    /// How soon one of these Secrets and ConfigMaps must be read again; `None` if there are none.
    pub fn due<'a>(
        &self,
        objects: impl Iterator<Item = &'a ObjectName>,
        doubtful: bool,
        now: Time,
    ) -> Option<Duration> {
        let remains = |object| self.kept.peek(object, |kept| kept.remains(doubtful, now));
        // What is being read now will be new.
        let each = objects.map(|object| remains(object).unwrap_or(FRESH));
        each.min().map(|due| due.max(LEAST_WAIT))
    }

    /// Returns the values of one Secret or ConfigMap, and reads it if they are too old. `doubtful`:
    /// Temporal could not be read with them lately.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
    pub async fn read(
        &self,
        object: &ObjectName,
        doubtful: bool,
        now: Time,
    ) -> Result<Data, NotReady> {
        let mut slot = self.kept.lock(object.clone()).await;
        if let Some(kept) = slot.as_ref()
            && !kept.remains(doubtful, now).is_zero()
        {
            return known(object, &kept.seen);
        }
        let before = slot.as_ref();
        let seen = match self.fetch(object).await {
            Ok(data) => SecretState::Present(data),
            Err(Unread::Absent) => SecretState::Absent,
            Err(why) => unread(object, &why, before.map(|kept| kept.seen.clone())),
        };
        let same = before.filter(|kept| kept.seen.is_as(&seen));
        let since = same.map_or(now, |kept| kept.since);
        let kept = slot.insert(Kept {
            seen,
            at: now,
            since,
        });
        known(object, &kept.seen)
    }

    /// Reads one object. Decodes it here, because kube's client logs an answer that it cannot
    /// decode, and its error quotes the value.
    async fn fetch(&self, object: &ObjectName) -> Result<Data, Unread> {
        let request = Request::new(object.collection())
            .get(&object.name, &GetParams::default())
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
                other => Unread::NoAnswer(kube_error::describe(&other)),
            })?;
        decode(object.kind, &text).map_err(|_| Unread::Undecodable)
    }

    /// Drops Secrets that have not been read lately.
    pub fn prune(&self, now: Time) {
        let longest = LONGEST.saturating_mul(2);
        self.kept.prune(|kept| now.since(kept.at) < longest);
    }
}

impl SecretState {
    /// Whether the Secret is unchanged.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present(one), Self::Present(other)) => one == other,
            (Self::Absent, Self::Absent) => true,
            _ => false,
        }
    }
}

/// The values of a Secret or ConfigMap, decoded from JSON.
fn decode(kind: ObjectKind, text: &str) -> Result<Data, serde_json::Error> {
    match kind {
        ObjectKind::Secret => {
            let secret: SecretValues = serde_json::from_str(text)?;
            Ok(bytes(secret.data).collect())
        }
        ObjectKind::ConfigMap => {
            let map: ConfigMapValues = serde_json::from_str(text)?;
            let texts = map.data.unwrap_or_default().into_iter();
            let texts = texts.map(|(key, text)| (key, text.into_bytes()));
            Ok(texts.chain(bytes(map.binary_data)).collect())
        }
    }
}

fn bytes(values: Option<BTreeMap<String, ByteString>>) -> impl Iterator<Item = (String, Vec<u8>)> {
    let values = values.unwrap_or_default().into_iter();
    values.map(|(key, value)| (key, value.0))
}

/// The part of a Secret that is decoded.
#[derive(Deserialize)]
struct SecretValues {
    data: Option<BTreeMap<String, ByteString>>,
}

/// The part of a ConfigMap that is decoded. No key is in both.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMapValues {
    data: Option<BTreeMap<String, String>>,
    binary_data: Option<BTreeMap<String, ByteString>>,
}

/// Why a Secret was not read.
enum Unread {
    Absent,
    Forbidden,
    /// The API server answered with this HTTP status.
    Refused(u16),
    /// No answer; holds the error of the connection to the API server.
    NoAnswer(String),
    Undecodable,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it does not exist"),
            Self::Forbidden => f.write_str("the operator has no permission"),
            Self::Refused(code) => write!(f, "the API server answered HTTP {code}"),
            Self::NoAnswer(_) => f.write_str("the API server does not answer"),
            Self::Undecodable => f.write_str("the API server's answer cannot be decoded"),
        }
    }
}

/// The state of an object that cannot be read. Its last values stay in use unless reading is
/// forbidden: an outage of the API server must not cut the connection to Temporal.
fn unread(object: &ObjectName, why: &Unread, before: Option<SecretState>) -> SecretState {
    let ObjectName {
        kind,
        namespace,
        name,
    } = object;
    if matches!(why, Unread::Forbidden) {
        return SecretState::Failed(NotReady::new(
            Reason::Forbidden,
            format!(
                "the operator may not read {object}; grant it the verb get on {} there",
                kind.resource()
            ),
        ));
    }
    let error = match why {
        Unread::NoAnswer(error) => error.clone(),
        other => other.to_string(),
    };
    warn!(namespace, name, error, "cannot read a {kind}; retrying");
    match before {
        Some(SecretState::Present(data)) => SecretState::Present(data),
        Some(SecretState::Absent | SecretState::Failed(_)) | None => {
            SecretState::Failed(NotReady::new(
                unavailable(*kind),
                format!("{object} cannot be read: {why}; the operator retries"),
            ))
        }
    }
}

fn known(object: &ObjectName, seen: &SecretState) -> Result<Data, NotReady> {
    match seen {
        SecretState::Present(data) => Ok(data.clone()),
        SecretState::Failed(why) => Err(why.clone()),
        SecretState::Absent => Err(NotReady::new(
            not_found(object.kind),
            format!("there is no {object}; create it, or correct the connection"),
        )),
    }
}
