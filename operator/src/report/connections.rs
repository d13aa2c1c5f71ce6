//! The status of each `TemporalConnection`: whether it is valid, which fleets refer to it, and when
//! its certificates expire. Computed purely; [`ConnectionReports`] writes it, if it has changed.
//!
//! Fleets never depend on it. A cluster whose CRD or Role is that of an earlier version refuses the
//! write, which is then rarely tried again. A refusal about one connection delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::{Client, Resource as _};
use serde_json::json;
use taskqueue_api::well_known::MANAGER;
use taskqueue_api::{ConditionType, ConnectionSource, Reason, TemporalConnectionStatus};
use taskqueue_scaling::Time;
use tracing::{debug, warn};

use crate::caches::{Caches, GuardedConnection};
use crate::clock::Moment;
use crate::kube_error;
use crate::metrics::Metrics;
use crate::not_ready::NotReady;
use crate::observe::connection::{self, Usable};
use crate::observe::secrets::Secrets;
use crate::report::certificates::Certificates;
use crate::report::conditions::draft::{ConditionDraft, ObservedGeneration, Status};
use crate::report::status;

/// How many fleets are named; the others are counted.
const NAMED: usize = 10;
/// How long the status of a connection is not written after a refused write.
const PAUSE: Duration = Duration::from_mins(1);

/// What is known about a connection.
struct Facts<'a> {
    generation: i64,
    resolved: &'a Result<Usable, NotReady>,
    /// The fleets that refer to it, by name.
    fleets: BTreeSet<String>,
}

impl Facts<'_> {
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
        let (status, reason, message) = match self.resolved {
            Ok(_) => (
                Status::True,
                Reason::ConnectionValid,
                "the connection is valid, and so is what it names".to_owned(),
            ),
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
}

/// Writes the statuses of connections.
pub struct ConnectionReports {
    client: Client,
    metrics: Metrics,
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
}

/// The version of an object, if it is a number.
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

impl ConnectionReports {
    /// Reports that have written nothing yet. `warning`: how long before its expiry a certificate
    /// is reported.
    pub fn new(client: Client, metrics: Metrics, warning: Duration) -> Self {
        Self {
            client,
            metrics,
            warning,
            written: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Writes the status of each connection in the caches, if it has changed.
    pub async fn report(&mut self, caches: &[&Caches], secrets: &Secrets, now: Moment) {
        let mut uids = BTreeSet::new();
        for caches in caches {
            for object in caches.connections.state() {
                let metadata = object.meta();
                let uid = metadata.uid.clone().unwrap_or_default();
                uids.insert(uid.clone());
                if metadata.deletion_timestamp.is_some() || self.pauses(&uid, now.monotonic) {
                    continue;
                }
                self.report_one(&object, uid, caches, secrets, now).await;
            }
        }
        self.written.retain(|uid, _| uids.contains(uid));
        self.refused.retain(|uid, _| uids.contains(uid));
    }

    async fn report_one(
        &mut self,
        object: &GuardedConnection,
        uid: String,
        caches: &Caches,
        secrets: &Secrets,
        now: Moment,
    ) {
        let Some((namespace, name)) = connection::name_of(object) else {
            return;
        };
        let source = ConnectionSource::Reference(name.to_owned());
        let resolved = match connection::of_object(object, &source) {
            Ok(spec) => {
                connection::resolve(secrets, namespace, &source, &spec, false, now.monotonic).await
            }
            Err(why) => Err(why),
        };
        let unknown = resolved.as_ref().is_err_and(|why| {
            matches!(
                why.reason,
                Reason::SecretUnavailable | Reason::ConfigMapUnavailable
            )
        });
        if unknown {
            return;
        }
        let fleets = caches.fleets_with_connection(namespace, name);
        let facts = Facts {
            generation: object.meta().generation.unwrap_or_default(),
            resolved: &resolved,
            fleets: fleets.into_iter().map(|fleet| fleet.name).collect(),
        };
        let present = object.0.as_ref().ok().and_then(|seen| seen.status.as_ref());
        let shown = version(object.meta());
        let newest = self.written.get(&uid);
        // A newer version that shows another status: somebody else has changed it.
        let newest = newest.filter(|written| shown <= written.version);
        let old = newest.map(|written| &written.status).or(present);
        let new = facts.status(&old.cloned().unwrap_or_default(), self.warning, now.wall);
        if old == Some(&new) {
            return;
        }
        match self.write(namespace, name, &uid, &new).await {
            Ok(version) => {
                self.refused.remove(&uid);
                let status = new;
                self.written.insert(uid, Written { version, status });
            }
            // Created again under the same name: the next report is about the new one.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => self.pause(uid, name, &error, now.monotonic),
        }
    }

    async fn write(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        status: &TemporalConnectionStatus,
    ) -> Result<Option<u64>, kube::Error> {
        // Guarded: the answer contains the whole object, which may be unreadable.
        let connections: Api<GuardedConnection> = Api::namespaced(self.client.clone(), namespace);
        let body = json!({
            "apiVersion": "taskqueue.dev/v1alpha1",
            "kind": "TemporalConnection",
            "metadata": {"name": name, "uid": uid},
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        self.metrics.write("status", "TemporalConnection");
        let patch = Patch::Apply(&body);
        connections
            .patch_status(name, &params, &patch)
            .await
            .map(|object| version(object.meta()))
    }

    fn pauses(&self, uid: &str, now: Time) -> bool {
        let refused = self.refused.get(uid);
        refused.is_some_and(|(until, _)| now < *until)
    }

    /// Sends no status of this connection for a while. The same refusal is logged once.
    fn pause(&mut self, uid: String, name: &str, error: &kube::Error, now: Time) {
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
                "still cannot write the status of a TemporalConnection"
            );
        } else {
            warn!(
                name,
                error = why,
                "cannot write the status of a TemporalConnection; fleets do not need it. If the \
                 CRD or the operator's rights are of an earlier version, upgrade them"
            );
        }
        self.refused.insert(uid, (now.plus(PAUSE), Some(why)));
    }
}

#[cfg(test)]
mod tests;
