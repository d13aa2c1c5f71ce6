//! The leader lease: one writer at a time. Talks to the API server (`leases`), nothing else.
//!
//! A lease does not fence: a paused leader may wake up and still believe in it. What it could
//! then shrink is protected by the resourceVersion that every shrinking write carries.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::{Call, Error};

/// How long a lease lasts without renewal: a crashed leader is replaced within this and a retry.
const DURATION: Duration = Duration::from_secs(10);
/// How often the holder renews and the others look.
const RETRY: Duration = Duration::from_secs(2);
/// How long one attempt to renew may take: a slow API server must not cost the lease.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon the holder tries again after an attempt that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// A holder that could not renew for so long stops: before others may take the lease.
const RENEW_DEADLINE: Duration = Duration::from_secs(7);

/// A claim on the lease.
pub struct Claim {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
    seen: Option<Seen>,
}

/// The lease as last observed, and when we first saw it so. Expiry is judged by our own clock
/// from that moment; the times that others write are not compared with ours.
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

impl Claim {
    /// A claim by `identity` (unique per process: the pod's name).
    pub fn new(client: kube::Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            seen: None,
        }
    }

    /// Waits until the lease is ours. Returns false if `stop` came first.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        info!(lease = %self.name, identity = %self.identity, "waiting for the leader lease");
        loop {
            match self.attempt().await {
                Ok(true) => {
                    info!(lease = %self.name, "this process is the leader");
                    return true;
                }
                Ok(false) => {}
                Err(error) => warn!(%error, "cannot look at the leader lease; trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Renews until the lease is lost (returns true) or `stop` comes (returns false).
    pub async fn keep(&mut self, stop: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
        let mut pause = RETRY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = AGAIN;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            if left.is_zero() {
                return true;
            }
            match tokio::time::timeout(PATIENCE.min(left), self.attempt()).await {
                Ok(Ok(true)) => (renewed, pause) = (Instant::now(), RETRY),
                Ok(Ok(false)) => return true,
                Ok(Err(error)) => warn!(%error, "cannot renew the leader lease"),
                Err(_) => warn!("renewing the leader lease took too long"),
            }
        }
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

    /// One look at the lease: takes or renews it if that is allowed. True if it is ours now.
    async fn attempt(&mut self) -> Result<bool, Error> {
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
            return Ok(false);
        }
        let wanted = self.taken(current, Timestamp::now());
        match self
            .leases
            .replace(&self.name, &PostParams::default(), &wanted)
            .await
        {
            Ok(lease) => {
                self.observe(&lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.error("renew", error)),
        }
    }

    async fn create(&mut self) -> Result<bool, Error> {
        let empty = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        let wanted = self.taken(empty, Timestamp::now());
        match self.leases.create(&PostParams::default(), &wanted).await {
            Ok(lease) => {
                self.observe(&lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.error("create", error)),
        }
    }

    /// The lease with us as its holder.
    fn taken(&self, mut lease: Lease, now: Timestamp) -> Lease {
        let ours = holder(&lease) == Some(self.identity.as_str());
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
            self.seen = Some(Seen {
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Log, api, failure};

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/op/leases";

    fn lease(holder: &str, renewed: &str) -> Value {
        json!({
            "metadata": {"name": "leader", "namespace": "op", "resourceVersion": "5"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": 1,
                "renewTime": renewed},
        })
    }

    /// A claim by `me` on a lease that is as given; `put` is the answer to a write.
    fn claim(found: Option<Value>, put: u16) -> (Claim, Log) {
        let (client, log) = api(move |asked| match (&found, asked.line.starts_with("GET")) {
            (None, true) => (404, failure(404, "NotFound", "not found")),
            (Some(found), true) => (200, found.clone()),
            (_, false) if put == 200 => (200, asked.body.clone()),
            (_, false) => (put, failure(put, "Conflict", "somebody was quicker")),
        });
        (Claim::new(client, "op", "leader", "me".to_owned()), log)
    }

    const RENEWED: &str = "2026-01-01T00:00:00.000000Z";

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_holds_is_taken() {
        let (mut claim, log) = claim(None, 200);
        assert!(claim.attempt().await.unwrap());
        assert_eq!(
            log.lines(),
            [format!("GET {PATH}/leader"), format!("POST {PATH}?")]
        );
        let (mut claim, log) = self::claim(Some(lease("", RENEWED)), 200);
        assert!(claim.attempt().await.unwrap());
        let asked = log.take();
        assert_eq!(asked[1].line, format!("PUT {PATH}/leader?"));
        assert_eq!(asked[1].body["spec"]["holderIdentity"], "me");
        assert_eq!(asked[1].body["spec"]["leaseTransitions"], 2);
        assert_eq!(
            asked[1].body["metadata"]["resourceVersion"], "5",
            "so that only one can win"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_of_another_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let (mut claim, log) = claim(Some(lease("other", RENEWED)), 200);
        assert!(
            !claim.attempt().await.unwrap(),
            "its times are not ours: it is new to us"
        );
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!claim.attempt().await.unwrap());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(claim.attempt().await.unwrap());
        let writes = log
            .lines()
            .iter()
            .filter(|line| line.starts_with("PUT"))
            .count();
        assert_eq!(writes, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_try_at_once_one_wins() {
        let (mut claim, _) = claim(Some(lease("", RENEWED)), 409);
        assert!(!claim.attempt().await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_gives_up_before_others_may_lead() {
        let (mut claim, _) = claim(Some(lease("me", RENEWED)), 500);
        let began = Instant::now();
        assert!(claim.keep(&CancellationToken::new()).await, "lost");
        assert!(began.elapsed() < DURATION, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_fails_to_renew_for_some_seconds_tries_again_soon_and_stays() {
        let failures = std::sync::atomic::AtomicU32::new(0);
        let (client, _) = api(move |asked| {
            if asked.line.starts_with("GET") {
                (200, lease("me", RENEWED))
            } else if failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 5 {
                (500, failure(500, "InternalError", "etcd is busy"))
            } else {
                (200, asked.body.clone())
            }
        });
        let mut claim = Claim::new(client, "op", "leader", "me".to_owned());
        let stop = CancellationToken::new();
        let lost = tokio::select! {
            lost = claim.keep(&stop) => lost,
            () = tokio::time::sleep(Duration::from_mins(1)) => false,
        };
        assert!(!lost, "it failed for 2.5 s only");
    }

    #[tokio::test]
    async fn a_lease_is_given_back_by_its_holder_only() {
        let (claim, log) = claim(Some(lease("me", RENEWED)), 200);
        claim.release().await.unwrap();
        assert_eq!(log.take()[1].body["spec"].get("holderIdentity"), None);
        let (claim, log) = self::claim(Some(lease("other", RENEWED)), 200);
        claim.release().await.unwrap();
        assert_eq!(log.lines().len(), 1);
    }
}
