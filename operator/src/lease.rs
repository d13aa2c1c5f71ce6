//! The leader lease: one writer at a time. Talks to the API server (`leases`), nothing else.
//!
//! Crates that were looked at, and why this one is our own: kube-lease-manager 0.13 judges expiry
//! by the wall clock of the holder, kubert 0.25 needs kube 1.1, and kube-leader-election 0.44 needs
//! kube 4. Here expiry is judged by our own monotonic clock, from the moment at which a renewal was
//! observed; no two clocks are compared.
//!
//! A lease does not fence: a paused leader may wake up and still believe in it. What it could then
//! write is protected by what each write says about the object that it was decided on.
//!
//! A claim may be one *beside* another lease: on the name that earlier versions used for every
//! release. Who writes holds that one too, so that no process of an earlier version writes at the
//! same time. Releases of this version do not wait for each other there: an annotation marks the
//! holder as one of them. A process that holds that name as its only lease, as one installed by the
//! earlier chart does, leaves no mark, and the others wait for it.

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

/// How long a lease lasts without renewal: a crashed leader is replaced within this, and what it
/// takes the others to see its last renewal and the end of it.
const DURATION: Duration = Duration::from_secs(10);
/// How often the holder renews and the others look.
const RETRY: Duration = Duration::from_secs(2);
/// How long one attempt to renew may take: a slow API server must not cost the lease.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one look of those who wait may take, and the taking that may follow it.
const PATIENCE_TO_TAKE: Duration = Duration::from_secs(5);
/// How soon the holder tries again after an attempt that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// A holder that could not renew for so long stops, counted from when it sent the last renewal that
/// succeeded. Others count [`DURATION`] from when they saw that renewal, which was later.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// Marks the holder as one that holds another lease beside this one: the same as `holderIdentity`.
/// Version 0.1.0 leaves the annotation as it is when it takes the lease, and then the two differ.
const HELD_BY: &str = "taskqueue.dev/held-by";

/// Why a lease is no longer ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another holds it.
    Taken,
    /// It could not be renewed in time. Nobody else is known to hold it.
    OutOfReach,
}

/// A claim on the lease.
pub struct Claim {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
    /// It is held beside another one.
    beside: bool,
    /// Its holder is marked for those who claim it beside another one.
    marked: bool,
    seen: Option<ObservedLease>,
    /// The lease as we wrote it, until an attempt fails: while we lead nobody else writes it.
    held: Option<Lease>,
    /// When the last attempt that made or kept it ours began.
    renewed: Instant,
}

/// The lease as last observed, and when we first saw it so. Expiry is judged by our own clock
/// from that moment; the times that others write are not compared with ours.
struct ObservedLease {
    spec: LeaseSpec,
    since: Instant,
}

/// What one attempt to take or renew the lease came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is ours.
    Ours,
    /// It is one beside another, and held by another release for the same purpose: no process of an
    /// earlier version has it.
    Peers,
    /// Another holds it.
    Others,
    /// It was written between our look and our write: by another, or by an earlier attempt of ours
    /// that was given up and was carried out all the same. The next look tells.
    Raced,
}

impl Claim {
    /// A claim by `identity` (unique per process: the pod's name).
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

    /// The same claim on a lease that is held beside another.
    #[must_use]
    pub fn beside(self) -> Self {
        Self {
            beside: true,
            ..self.marked()
        }
    }

    /// The same claim, whose holder is marked: those who claim the lease beside another one do not
    /// wait for it.
    #[must_use]
    pub fn marked(self) -> Self {
        Self {
            marked: true,
            ..self
        }
    }

    /// Waits until the lease is ours. Returns false if `stop` came first.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        info!(lease = %self.name, identity = %self.identity, "waiting for the leader lease");
        loop {
            match tokio::time::timeout(PATIENCE_TO_TAKE, self.attempt()).await {
                Ok(Ok(Outcome::Ours | Outcome::Peers)) => {
                    info!(lease = %self.name, "this process has the leader lease");
                    return true;
                }
                Ok(Ok(Outcome::Others | Outcome::Raced)) => {}
                Ok(Err(error)) => warn!(%error, "cannot look at the leader lease; trying again"),
                Err(_) => warn!("looking at the leader lease took too long; trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Renews until the lease is lost: another is seen to hold it, or no attempt succeeded for 8 s.
    /// One failed attempt does not give up the lease.
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
                Ok(Ok(Outcome::Raced)) => warn!("the leader lease was written meanwhile; looking"),
                Ok(Err(error)) => warn!(%error, "cannot renew the leader lease"),
                Err(_) => warn!("renewing the leader lease took too long"),
            }
        }
    }

    /// After [`Lost::OutOfReach`]: looks until the lease answers again. True if it still names us,
    /// and so nobody else has led meanwhile; it is renewed then. False if anybody has written it,
    /// or removed it.
    pub async fn regain(&mut self) -> bool {
        self.held = None;
        loop {
            match tokio::time::timeout(PATIENCE, self.renew_if_ours()).await {
                Ok(Ok(Outcome::Ours | Outcome::Peers)) => return true,
                Ok(Ok(Outcome::Others)) => return false,
                Ok(Ok(Outcome::Raced)) => {}
                Ok(Err(error)) => warn!(%error, "cannot look at the leader lease"),
                Err(_) => warn!("looking at the leader lease took too long"),
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

    /// Whether a lease that is held beside others is held so by another release of this version.
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

    /// Gives the lease back, so that the next leader need not wait for it to expire.
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
        info!(lease = %self.name, "gave the leader lease back");
        Ok(())
    }

    /// Takes or renews the lease if that is allowed. What we hold is written without another look.
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

    /// Writes us into the lease, if it still is as given.
    async fn write(&mut self, current: Lease) -> Result<Outcome, Error> {
        let wanted = self.taken(current, Timestamp::now());
        let written = self
            .leases
            .replace(&self.name, &PostParams::default(), &wanted)
            .await;
        match written {
            // Somebody deleted it.
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
