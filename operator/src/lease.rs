//! The leader lease: one writer at a time. Talks to the API server (`leases`), nothing else.
//!
//! Why not a crate: kube-lease-manager 0.13 judges expiry by the holder's wall clock, kubert 0.25
//! needs kube 1.1, and kube-leader-election 0.44 needs kube 4. Here expiry is judged by our own
//! monotonic clock, from the moment when we observed a renewal; two clocks are never compared.
//!
//! A lease does not fence: a paused leader may wake up and still believe that it leads. Its late
//! writes are harmless because each write carries a precondition on the object that it was decided
//! on.
//!
//! A writer also holds the *legacy lease*: the lease name that earlier versions used for every
//! release. So an operator of an earlier version cannot write at the same time. Each release of
//! this version has a lease of its own, so they share the legacy lease: its holder names itself in
//! an annotation, and the others (its *peers*) do not wait for it. A process that uses that name as
//! its only lease, for example one installed by the earlier chart, sets no annotation, and all wait
//! for it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use taskqueue_kubernetes::kube_error::Call;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Error;

/// How long a lease lasts without renewal. A crashed leader is replaced after this time plus the
/// time that others need to observe its last renewal and to notice its expiry.
const DURATION: Duration = Duration::from_secs(10);
/// How often the holder renews and the others check.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of one attempt to renew: a slow API server must not cost the lease.
const RENEW_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of one attempt by a waiting process: the read, and the write that may follow.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon the holder retries after a failed attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// A holder that could not renew for this long stops. It counts from when it sent its last
/// successful renewal. Others count [`DURATION`] from when they saw that renewal, which was later.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// The annotation by which the holder shares the lease with its peers; the value equals
/// `holderIdentity`.
/// Version 0.1.0 leaves the annotation unchanged when it takes the lease, and then the two differ.
const HELD_BY: &str = "taskqueue.dev/held-by";

/// Why a lease is no longer ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another process holds it.
    Taken,
    /// It could not be renewed in time. No other process is known to hold it.
    OutOfReach,
}

/// A lease that this process holds or waits for.
pub struct LeaderLease {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
    /// Whether it is the legacy lease, held in addition to a lease of our own.
    legacy: bool,
    /// Whether the holder shares the lease with processes whose legacy lease it is.
    shared: bool,
    seen: Option<ObservedLease>,
    /// The lease as we last wrote it, until an attempt fails: while we lead, nobody else writes it.
    held: Option<Lease>,
    /// Start of the last attempt that took or renewed it.
    renewed: Instant,
}

/// The lease as last observed, and when we first observed it in that state. Expiry is judged by our
/// own clock from that moment; times written by others are not compared with ours.
struct ObservedLease {
    spec: LeaseSpec,
    since: Instant,
}

/// The result of one attempt to take or renew the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// We hold it.
    Ours,
    /// It is our legacy lease, and a peer shares it: no process of an earlier version has it.
    HeldByPeer,
    /// Another process holds it.
    Others,
    /// It was written between our read and our write: by another process, or by an earlier attempt
    /// of ours that timed out but was carried out anyway. The next read shows which.
    Raced,
}

impl LeaderLease {
    /// A lease to hold as `identity`, which is unique per process: the pod's name.
    pub fn new(client: kube::Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            legacy: false,
            shared: false,
            seen: None,
            held: None,
            renewed: Instant::now(),
        }
    }

    /// Makes it the legacy lease, held in addition to a lease of our own.
    #[must_use]
    pub fn legacy(self) -> Self {
        Self {
            legacy: true,
            ..self.shared()
        }
    }

    /// Shares it: processes whose legacy lease it is do not wait for its holder.
    #[must_use]
    pub fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }

    /// Waits until the lease is ours. Returns false if `stop` comes first.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        info!(lease = %self.name, identity = %self.identity, "waiting for the leader lease");
        loop {
            match tokio::time::timeout(ACQUIRE_TIMEOUT, self.attempt()).await {
                Ok(Ok(Outcome::Ours | Outcome::HeldByPeer)) => {
                    info!(lease = %self.name, "acquired the leader lease");
                    return true;
                }
                Ok(Ok(Outcome::Others | Outcome::Raced)) => {}
                Ok(Err(error)) => warn!(%error, "cannot check the leader lease; retrying"),
                Err(_) => warn!("checking the leader lease took too long; retrying"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RENEW_INTERVAL) => {}
            }
        }
    }

    /// Renews until the lease is lost: another process holds it, or no attempt has succeeded for 8
    /// seconds. One failed attempt does not give up the lease.
    pub async fn keep(&mut self) -> Lost {
        let mut pause = RENEW_INTERVAL;
        loop {
            tokio::time::sleep(pause.min(self.left())).await;
            let left = self.left();
            if left.is_zero() {
                return Lost::OutOfReach;
            }
            pause = RETRY_INTERVAL;
            match tokio::time::timeout(RENEW_TIMEOUT.min(left), self.attempt()).await {
                Ok(Ok(Outcome::Ours | Outcome::HeldByPeer)) => pause = RENEW_INTERVAL,
                Ok(Ok(Outcome::Others)) => return Lost::Taken,
                Ok(Ok(Outcome::Raced)) => {
                    warn!("another write changed the leader lease; reading it again");
                }
                Ok(Err(error)) => warn!(%error, "cannot renew the leader lease"),
                Err(_) => warn!("renewing the leader lease took too long"),
            }
        }
    }

    /// After [`Lost::OutOfReach`]: retries until the lease can be read. Returns true, after a
    /// renewal, if it still names us: then nobody else has led meanwhile. Returns false if somebody
    /// has changed or deleted it.
    pub async fn regain(&mut self) -> bool {
        self.held = None;
        loop {
            match tokio::time::timeout(RENEW_TIMEOUT, self.renew_if_ours()).await {
                Ok(Ok(Outcome::Ours | Outcome::HeldByPeer)) => return true,
                Ok(Ok(Outcome::Others)) => return false,
                Ok(Ok(Outcome::Raced)) => {}
                Ok(Err(error)) => warn!(%error, "cannot check the leader lease"),
                Err(_) => warn!("checking the leader lease took too long"),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn renew_if_ours(&mut self) -> Result<Outcome, Error> {
        let began = Instant::now();
        let found = self.leases.get_opt(&self.name).await;
        let found = found.map_err(|e| self.error("get", e))?;
        let outcome = match found {
            Some(found) if holder(&found) == Some(self.identity.as_str()) => {
                self.write(found).await?
            }
            Some(found) if self.is_held_by_peer(&found) => Outcome::HeldByPeer,
            Some(_) | None => Outcome::Others,
        };
        if matches!(outcome, Outcome::Ours | Outcome::HeldByPeer) {
            self.renewed = began;
        }
        Ok(outcome)
    }

    /// Whether a peer holds this lease and shares it.
    fn is_held_by_peer(&self, lease: &Lease) -> bool {
        let annotations = lease.metadata.annotations.as_ref();
        let holder = holder(lease);
        self.legacy
            && holder.is_some_and(|holder| holder != self.identity)
            && annotations
                .and_then(|all| all.get(HELD_BY))
                .map(String::as_str)
                == holder
    }

    fn left(&self) -> Duration {
        RENEW_DEADLINE.saturating_sub(self.renewed.elapsed())
    }

    /// Releases the lease, so that the next leader need not wait for it to expire.
    pub async fn release(&self) -> Result<(), Error> {
        let lease = self
            .leases
            .get(&self.name)
            .await
            .map_err(|e| self.error("get", e))?;
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(());
        }
        let mut freed = lease;
        if let Some(spec) = freed.spec.as_mut() {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        self.leases
            .replace(&self.name, &PostParams::default(), &freed)
            .await
            .map_err(|e| self.error("release", e))?;
        info!(lease = %self.name, "released the leader lease");
        Ok(())
    }

    /// Takes or renews the lease if that is allowed. A lease that we hold is written without
    /// reading it first.
    async fn attempt(&mut self) -> Result<Outcome, Error> {
        let began = Instant::now();
        let renewed = match self.held.take() {
            Some(held) => self.write(held).await? == Outcome::Ours,
            None => false,
        };
        let outcome = if renewed {
            Outcome::Ours
        } else {
            self.look().await?
        };
        if matches!(outcome, Outcome::Ours | Outcome::HeldByPeer) {
            self.renewed = began;
        }
        Ok(outcome)
    }

    async fn look(&mut self) -> Result<Outcome, Error> {
        let current = self
            .leases
            .get_opt(&self.name)
            .await
            .map_err(|e| self.error("get", e))?;
        let Some(current) = current else {
            return self.create().await;
        };
        self.observe(&current);
        if holder(&current).is_some_and(|h| h != self.identity) && !self.expired() {
            let peers = self.is_held_by_peer(&current);
            return Ok(if peers {
                Outcome::HeldByPeer
            } else {
                Outcome::Others
            });
        }
        self.write(current).await
    }

    /// Writes us as the holder, if the lease is still at the version of `current`.
    async fn write(&mut self, current: Lease) -> Result<Outcome, Error> {
        let wanted = self.taken(current, Timestamp::now());
        let written = self
            .leases
            .replace(&self.name, &PostParams::default(), &wanted)
            .await;
        match written {
            // The lease was deleted.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Outcome::Raced),
            written => self.outcome("renew", written),
        }
    }

    async fn create(&mut self) -> Result<Outcome, Error> {
        let empty = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        let wanted = self.taken(empty, Timestamp::now());
        let written = self.leases.create(&PostParams::default(), &wanted).await;
        self.outcome("create", written)
    }

    fn outcome(
        &mut self,
        verb: &'static str,
        written: Result<Lease, kube::Error>,
    ) -> Result<Outcome, Error> {
        match written {
            Ok(lease) => {
                self.observe(&lease);
                self.held = Some(lease);
                Ok(Outcome::Ours)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Outcome::Raced),
            Err(error) => Err(self.error(verb, error)),
        }
    }

    /// The lease with us as its holder.
    fn taken(&self, mut lease: Lease, now: Timestamp) -> Lease {
        let ours = holder(&lease) == Some(self.identity.as_str());
        if self.shared {
            let annotations = lease.metadata.annotations.get_or_insert_default();
            annotations.insert(HELD_BY.to_owned(), self.identity.clone());
        }
        let spec = lease.spec.get_or_insert_default();
        if !ours {
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        lease
    }

    fn observe(&mut self, lease: &Lease) {
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|seen| seen.spec != spec) {
            self.seen = Some(ObservedLease {
                spec,
                since: Instant::now(),
            });
        }
    }

    fn expired(&self) -> bool {
        let Some(seen) = &self.seen else { return false };
        let seconds = seen.spec.lease_duration_seconds.unwrap_or(0);
        seen.since.elapsed() >= Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn error(&self, verb: &'static str, source: kube::Error) -> Error {
        Error::kube(
            Call::new(verb, "Lease", &self.namespace, &self.name),
            source,
        )
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_deref()
        .filter(|identity| !identity.is_empty())
}

#[cfg(test)]
mod tests;
