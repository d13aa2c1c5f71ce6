//! The status of each `TemporalConnection` and `ClusterTemporalConnection`: whether it is valid,
//! which fleets refer to it, and when its certificates expire. Computed purely;
//! [`ConnectionReports`] writes it, if it has changed.
//!
//! Of a `ClusterTemporalConnection` only what is the same for all fleets is checked; what it names
//! in the namespaces of fleets, the fleets check.
//!
//! Fleets never depend on it. A cluster whose CRD or Role is that of an earlier version refuses the
//! write, which is then rarely tried again. A refusal about one connection delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use taskqueue_api::well_known::MANAGER;
use taskqueue_api::{
    ClusterTemporalConnection, ConditionType, ConnectionKind, ConnectionReference,
    ConnectionSource, Reason, TemporalConnection, TemporalConnectionStatus,
};
use taskqueue_kubernetes::kube_error;
use taskqueue_scaling::Time;
use tracing::{debug, warn};

use crate::caches::Caches;
use crate::clock::Moment;
use crate::metrics::Metrics;
use crate::not_ready::NotReady;
use crate::observe::connection::object::ConnectionObject;
use crate::observe::connection::parts::Namespaces;
use crate::observe::connection::{self, Usable};
use crate::observe::secrets::Secrets;
use crate::report::certificates::Certificates;
use crate::report::conditions::draft::{ConditionDraft, ObservedGeneration, Status};
use crate::report::status;

/// How many fleets are named; the others are counted.
const NAMED: usize = 10;
/// How long the status of a connection is not written after a refused write, and after a write that
/// somebody else has overwritten: an operator of other namespaces may know other fleets.
const PAUSE: Duration = Duration::from_mins(1);

/// What is known about a connection.
struct Facts {
    kind: ConnectionKind,
    generation: i64,
    resolved: Result<Usable, NotReady>,
    /// The fleets that refer to it, by name.
    fleets: BTreeSet<String>,
}

impl Facts {
    /// The status. `warning`: how long before its expiry a certificate is reported.
    fn status(
        &self,
        old: &TemporalConnectionStatus,
        warning: Duration,
        now: Timestamp,
    ) -> TemporalConnectionStatus {
        let usable = self.resolved.as_ref().ok();
        let certificates = usable.map(|usable| Certificates::of(usable, now));
        let expiring = certificates.as_ref().and_then(|all| all.draft(warning));
        let drafts: Vec<ConditionDraft> = [self.ready()].into_iter().chain(expiring).collect();
        TemporalConnectionStatus {
            observed_generation: Some(self.generation),
            conditions: status::conditions(&old.conditions, self.generation, &drafts, now),
            fleet_count: u32::try_from(self.fleets.len()).unwrap_or(u32::MAX),
            fleets: self.fleets.iter().take(NAMED).cloned().collect(),
            certificates: certificates.map_or_else(Vec::new, |all| all.statuses()),
        }
    }

    fn ready(&self) -> ConditionDraft {
        let (status, reason, message) = match &self.resolved {
            Ok(usable) => (Status::True, Reason::ConnectionValid, self.valid(usable)),
            Err(why) => (Status::False, why.reason, why.message.clone()),
        };
        ConditionDraft {
            kind: ConditionType::Ready,
            status,
            reason,
            message,
            note: None,
            about: ObservedGeneration::Current,
            queue: None,
        }
    }

    /// What is valid.
    fn valid(&self, usable: &Usable) -> String {
        let what = match self.kind {
            ConnectionKind::ClusterTemporalConnection => {
                "what the operator reads in its own namespace; what it names in the namespaces of \
                 fleets, the fleets check"
            }
            ConnectionKind::TemporalConnection if usable.spec.operator_credentials.is_some() => {
                "what the operator reads of it; the credentials of the workers are not read"
            }
            ConnectionKind::TemporalConnection => "what it names",
        };
        format!("the connection is valid, and so is {what}")
    }
}

/// Writes the statuses of connections.
pub struct ConnectionReports {
    client: Client,
    metrics: Metrics,
    /// The operator's own namespace.
    own_namespace: String,
    /// How long before its expiry a certificate is reported.
    warning: Duration,
    /// What this process has written, by the uid of the connection. The watch may be behind.
    written: BTreeMap<String, Written>,
    /// Refused writes, by the uid of the connection: until when none is sent, and the reason if it
    /// was logged as a warning.
    refused: BTreeMap<String, (Time, Option<String>)>,
}

/// A status that was written, and the version of the object after that.
struct Written {
    version: Option<u64>,
    status: TemporalConnectionStatus,
    at: Time,
}

/// The version of an object, if it is a number.
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

impl ConnectionReports {
    /// Reports that have written nothing yet. `own_namespace`: the operator's; `warning`: how long
    /// before its expiry a certificate is reported.
    pub fn new(client: Client, metrics: Metrics, own_namespace: String, warning: Duration) -> Self {
        Self {
            client,
            metrics,
            own_namespace,
            warning,
            written: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Writes the status of each connection in the caches of the scopes, if it has changed.
    pub async fn report(&mut self, everywhere: &[Caches], secrets: &Secrets, now: Moment) {
        let filled = || everywhere.iter().filter(|caches| caches.are_filled());
        let mut uids = BTreeSet::new();
        for caches in filled() {
            for object in caches.connections.state() {
                let object = ConnectionObject::from(&*object);
                let fleets = caches.fleets_with_connection(&object.reference(), object.namespace());
                let names = fleets.into_iter().map(|fleet| fleet.name).collect();
                self.report_one(&object, names, secrets, now).await;
                uids.extend(object.metadata.uid.clone());
            }
        }
        // The fleets of a scope that is not filled yet would be missing.
        let all_known = everywhere.iter().all(Caches::are_settled);
        let of_cluster = filled().find_map(|caches| caches.cluster_connections.as_ref());
        for object in of_cluster
            .iter()
            .filter(|_| all_known)
            .flat_map(|all| all.state())
        {
            let object = ConnectionObject::from(&*object);
            let fleets = filled()
                .flat_map(|caches| caches.fleets_with_connection(&object.reference(), None));
            let name = |fleet: ObjectRef<_>| {
                format!("{}/{}", fleet.namespace.unwrap_or_default(), fleet.name)
            };
            let names = fleets.map(name).collect();
            self.report_one(&object, names, secrets, now).await;
            uids.extend(object.metadata.uid.clone());
        }
        self.written.retain(|uid, _| uids.contains(uid));
        self.refused.retain(|uid, _| uids.contains(uid));
    }

    async fn report_one(
        &mut self,
        object: &ConnectionObject<'_>,
        fleets: BTreeSet<String>,
        secrets: &Secrets,
        now: Moment,
    ) {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if object.metadata.deletion_timestamp.is_some() || self.pauses(&uid, now.monotonic) {
            return;
        }
        let resolved = self.resolve(object, secrets, now.monotonic).await;
        let unknown = resolved.as_ref().is_err_and(|why| {
            matches!(
                why.reason,
                Reason::SecretUnavailable | Reason::ConfigMapUnavailable
            )
        });
        if unknown {
            return;
        }
        let reference = object.reference();
        let facts = Facts {
            kind: reference.kind,
            generation: object.metadata.generation.unwrap_or_default(),
            resolved,
            fleets,
        };
        let shown = version(object.metadata);
        let newest = self.written.get(&uid);
        // A newer version that shows another status: somebody else has changed it.
        let overwritten = newest
            .filter(|written| shown > written.version && object.status() != Some(&written.status));
        if overwritten.is_some_and(|written| now.monotonic < written.at.plus(PAUSE)) {
            return;
        }
        let newest = newest.filter(|written| shown <= written.version);
        let old = newest.map(|written| &written.status).or(object.status());
        let new = facts.status(&old.cloned().unwrap_or_default(), self.warning, now.wall);
        if old == Some(&new) {
            return;
        }
        match self.write(&reference, object.namespace(), &uid, &new).await {
            Ok(version) => {
                self.refused.remove(&uid);
                let written = Written {
                    version,
                    status: new,
                    at: now.monotonic,
                };
                self.written.insert(uid, written);
            }
            // Created again under the same name: the next report is about the new one.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => self.pause(uid, &reference, &error, now.monotonic),
        }
    }

    /// Checks a connection with the Secrets that the operator reads for it, as far as they are the
    /// same for every fleet.
    async fn resolve(
        &self,
        object: &ConnectionObject<'_>,
        secrets: &Secrets,
        now: Time,
    ) -> Result<Usable, NotReady> {
        let mut spec = object.connection()?;
        if object.namespace().is_none() {
            spec = spec.without_objects_of_fleets();
        }
        let source = ConnectionSource::Reference(object.reference());
        let namespace = object.namespace().unwrap_or_default();
        let namespaces = Namespaces::of(&source, namespace, &self.own_namespace);
        connection::resolve(secrets, &namespaces, &source, &spec, false, now).await
    }

    async fn write(
        &self,
        connection: &ConnectionReference,
        namespace: Option<&str>,
        uid: &str,
        status: &TemporalConnectionStatus,
    ) -> Result<Option<u64>, kube::Error> {
        let resource = match connection.kind {
            ConnectionKind::TemporalConnection => ApiResource::erase::<TemporalConnection>(&()),
            ConnectionKind::ClusterTemporalConnection => {
                ApiResource::erase::<ClusterTemporalConnection>(&())
            }
        };
        // Dynamic: the answer contains the whole object, which may be unreadable.
        let client = self.client.clone();
        let connections: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let body = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": connection.name, "uid": uid},
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        self.metrics.write("status", connection.kind.as_str());
        let patch = Patch::Apply(&body);
        connections
            .patch_status(&connection.name, &params, &patch)
            .await
            .map(|object| version(&object.metadata))
    }

    fn pauses(&self, uid: &str, now: Time) -> bool {
        let refused = self.refused.get(uid);
        refused.is_some_and(|(until, _)| now < *until)
    }

    /// Sends no status of this connection for a while. The same refusal is logged once.
    fn pause(
        &mut self,
        uid: String,
        connection: &ConnectionReference,
        error: &kube::Error,
        now: Time,
    ) {
        let ConnectionReference { kind, name } = connection;
        let why = kube_error::describe(error);
        let before = self.refused.get(&uid);
        let is_not_found = matches!(error, kube::Error::Api(status) if status.code == 404);
        // A deleted connection is not found either, and leaves the caches before the next attempt.
        if before.is_none() && is_not_found {
            debug!(
                name,
                error = why,
                "a TemporalConnection may have been deleted"
            );
            self.refused.insert(uid, (now.plus(PAUSE), None));
            return;
        }
        if before.is_some_and(|(_, before)| before.as_ref() == Some(&why)) {
            debug!(
                name,
                error = why,
                "still cannot write the status of a {kind}"
            );
        } else {
            warn!(
                name,
                error = why,
                "cannot write the status of a {kind}; fleets do not need it. If the CRD or the \
                 operator's rights are of an earlier version, upgrade them"
            );
        }
        self.refused.insert(uid, (now.plus(PAUSE), Some(why)));
    }
}

#[cfg(test)]
mod tests;
