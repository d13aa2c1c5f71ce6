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
//! A claim may be held *beside* another lease: on the lease name that earlier versions used for
//! every release. A writer holds that lease too, so that no process of an earlier version writes at
//! the same time. Releases of this version do not wait for each other there: an annotation marks
//! the holder as one of them. A process that holds that name as its only lease, for example one
//! installed by the earlier chart, leaves no mark, and the others wait for it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Error;
use crate::kube_error::Call;

/// How long a lease lasts without renewal. A crashed leader is replaced after this time plus the
/// time that others need to observe its last renewal and to notice its expiry.
const DURATION: Duration = Duration::from_secs(10);
/// How often the holder renews and the others check.
const RETRY: Duration = Duration::from_secs(2);
/// Timeout of one attempt to renew: a slow API server must not cost the lease.
const PATIENCE: Duration = Duration::from_secs(3);
/// Timeout of one attempt by a waiting process: the read, and the write that may follow.
const PATIENCE_TO_TAKE: Duration = Duration::from_secs(5);
/// How soon the holder retries after a failed attempt.
const AGAIN: Duration = Duration::from_millis(500);
/// A holder that could not renew for this long stops. It counts from when it sent its last
/// successful renewal. Others count [`DURATION`] from when they saw that renewal, which was later.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// Marks a holder that holds another lease beside this one; the value equals `holderIdentity`.
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

/// A claim on the lease.
pub struct Claim {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
    /// Whether it is held beside another lease.
    beside: bool,
    /// Whether the holder is marked for processes that claim this lease beside another one.
    marked: bool,
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
    /// The lease is claimed beside another one, and another release of this version holds it in the
    /// same way: no process of an earlier version has it.
    Peers,
    /// Another process holds it.
    Others,
    /// It was written between our read and our write: by another process, or by an earlier attempt
    /// of ours that timed out but was carried out anyway. The next read shows which.
    Raced,
}

impl Claim {
    /// A claim by `identity`, which is unique per process: the pod's name.
    pub fn new(client: kube::Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            beside: false,
            marked: false,
            seen: None,
            held: None,
            renewed: Instant::now(),
        }
    }

    /// The same claim, held beside another lease.
    #[must_use]
    pub fn beside(self) -> Self {
        Self {
            beside: true,
            ..self.marked()
        }
    }

    /// The same claim with its holder marked: processes that claim the lease beside another one do
    /// not wait for it.
    #[must_use]
    pub fn marked(self) -> Self {
        Self {
            marked: true,
            ..self
        }
    }

    /// Waits until the lease is ours. Returns false if `stop` comes first.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        info!(lease = %self.name, identity = %self.identity, "waiting for the leader lease");
        loop {
            match tokio::time::timeout(PATIENCE_TO_TAKE, self.attempt()).await {
                Ok(Ok(Outcome::Ours | Outcome::Peers)) => {
                    info!(lease = %self.name, "acquired the leader lease");
                    return true;
                }
                Ok(Ok(Outcome::Others | Outcome::Raced)) => {}
                Ok(Err(error)) => warn!(%error, "cannot check the leader lease; retrying"),
                Err(_) => warn!("checking the leader lease took too long; retrying"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Renews until the lease is lost: another process holds it, or no attempt has succeeded for 8
    /// seconds. One failed attempt does not give up the lease.
    pub async fn keep(&mut self) -> Lost {
        let mut pause = RETRY;
        loop {
            tokio::time::sleep(pause.min(self.left())).await;
            let left = self.left();
            if left.is_zero() {
                return Lost::OutOfReach;
            }
            pause = AGAIN;
            match tokio::time::timeout(PATIENCE.min(left), self.attempt()).await {
                Ok(Ok(Outcome::Ours | Outcome::Peers)) => pause = RETRY,
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
            match tokio::time::timeout(PATIENCE, self.renew_if_ours()).await {
                Ok(Ok(Outcome::Ours | Outcome::Peers)) => return true,
                Ok(Ok(Outcome::Others)) => return false,
                Ok(Ok(Outcome::Raced)) => {}
                Ok(Err(error)) => warn!(%error, "cannot check the leader lease"),
                Err(_) => warn!("checking the leader lease took too long"),
            }
            tokio::time::sleep(AGAIN).await;
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
            Some(found) if self.is_peers(&found) => Outcome::Peers,
            Some(_) | None => Outcome::Others,
        };
        if matches!(outcome, Outcome::Ours | Outcome::Peers) {
            self.renewed = began;
        }
        Ok(outcome)
    }

    /// Whether another release of this version holds this lease beside its own.
    fn is_peers(&self, lease: &Lease) -> bool {
        let annotations = lease.metadata.annotations.as_ref();
        let holder = holder(lease);
        self.beside
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
        if matches!(outcome, Outcome::Ours | Outcome::Peers) {
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
            let peers = self.is_peers(&current);
            return Ok(if peers {
                Outcome::Peers
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
        if self.marked {
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
