//! Who leads, and for how long: against a scripted API server, under a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::testing::{Log, api, failure, slow_api};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/op/leases";
const RENEWED: &str = "2026-01-01T00:00:00.000000Z";
const NEVER: Duration = Duration::from_hours(24);

fn lease(holder: &str) -> Value {
    json!({
        "metadata": {"name": "leader", "namespace": "op", "resourceVersion": "5"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": 1,
            "renewTime": RENEWED},
    })
}

fn by_me(client: kube::Client) -> LeaderLease {
    LeaderLease::new(client, "op", "leader", "me".to_owned())
}

fn refused(code: u16) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    (code, failure(code, reason, "no"))
}

/// The lease `found`, to be held by `me`; writes are answered with status `put`.
fn leader_lease(found: Option<Value>, put: u16) -> (LeaderLease, Log) {
    let (client, log) = api(
        move |request| match (&found, request.line.starts_with("GET")) {
            (None, true) => refused(404),
            (Some(found), true) => (200, found.clone()),
            (_, false) if put == 200 => (200, request.body.clone()),
            (_, false) => refused(put),
        },
    );
    (by_me(client), log)
}

/// A lease, to be held by `me`, that reads say `holder` holds. `writes` scripts the answer to the
/// n-th write, counted from 0: its delay and its status.
fn scripted(
    holder: &'static str,
    writes: impl Fn(usize) -> (Duration, u16) + Send + Sync + 'static,
) -> (LeaderLease, Log) {
    let count = AtomicUsize::new(0);
    let (client, log) = slow_api(move |request| {
        if request.line.starts_with("GET") {
            return (Duration::ZERO, (200, lease(holder)));
        }
        match writes(count.fetch_add(1, Ordering::Relaxed)) {
            (after, 200) => (after, (200, request.body.clone())),
            (after, code) => (after, refused(code)),
        }
    });
    (by_me(client), log)
}

/// Runs `keep` for up to a minute. Returns after how long the lease was lost, if it was.
async fn lost(mine: &mut LeaderLease) -> Option<Duration> {
    let began = Instant::now();
    tokio::select! {
        _ = mine.keep() => Some(began.elapsed()),
        () = tokio::time::sleep(Duration::from_mins(1)) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_holds_is_taken() {
    let (mut mine, log) = leader_lease(None, 200);
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Ours);
    assert_eq!(
        log.lines(),
        [format!("GET {PATH}/leader"), format!("POST {PATH}?")]
    );
    let (mut mine, log) = leader_lease(Some(lease("")), 200);
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Ours);
    let requests = log.take();
    assert_eq!(requests[1].line, format!("PUT {PATH}/leader?"));
    assert_eq!(requests[1].body["spec"]["holderIdentity"], "me");
    assert_eq!(requests[1].body["spec"]["leaseTransitions"], 2);
    assert_eq!(
        requests[1].body["metadata"]["resourceVersion"], "5",
        "so that only one can win"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_process_is_taken_only_after_it_was_unchanged_for_its_duration() {
    let (mut mine, log) = leader_lease(Some(lease("other")), 200);
    assert_eq!(
        mine.attempt().await.unwrap(),
        Outcome::Others,
        "its times are not ours: it is new to us"
    );
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Others);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Ours);
    let writes = log
        .lines()
        .iter()
        .filter(|line| line.starts_with("PUT"))
        .count();
    assert_eq!(writes, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_simultaneous_attempts_one_wins() {
    let (mut mine, _) = leader_lease(Some(lease("")), 409);
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Raced);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_process_retries_when_no_answer_comes() {
    let looks = AtomicUsize::new(0);
    let (client, _) = slow_api(move |request| {
        let first = looks.fetch_add(1, Ordering::Relaxed) == 0;
        let after = if first { NEVER } else { Duration::ZERO };
        let look = request.line.starts_with("GET");
        let body = if look {
            lease("")
        } else {
            request.body.clone()
        };
        (after, (200, body))
    });
    let (mut mine, began) = (by_me(client), Instant::now());
    assert!(mine.acquire(&CancellationToken::new()).await);
    assert!(began.elapsed() < DURATION, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_holder_renews_with_one_request() {
    let (mut mine, log) = leader_lease(Some(lease("")), 200);
    mine.attempt().await.unwrap();
    log.take();
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Ours);
    let requests = log.take();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line, format!("PUT {PATH}/leader?"));
    assert_eq!(
        requests[0].body["spec"]["leaseTransitions"], 2,
        "it was taken once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_created_again() {
    let (mut mine, log) = leader_lease(None, 200);
    mine.attempt().await.unwrap();
    log.take();
    let (client, log) = api(|request| {
        if request.line.starts_with("POST") {
            (200, request.body.clone())
        } else {
            refused(404)
        }
    });
    mine.leases = Api::namespaced(client, "op");
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Ours);
    let verbs: Vec<String> = log
        .lines()
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(verbs, ["PUT", "GET", "POST"]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_gives_up_before_others_may_lead() {
    for (after, code) in [(Duration::ZERO, 500), (NEVER, 200)] {
        let (mut mine, _) = scripted("me", move |_| (after, code));
        let lost = lost(&mut mine).await.unwrap();
        assert_eq!(lost.as_secs(), RENEW_DEADLINE.as_secs(), "{code}");
        assert!(lost < DURATION, "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_gives_a_leader_no_extra_time() {
    // Sent after 2 s, perhaps carried out at once, answered after 4.9 s. No answers after that.
    let slow = Duration::from_millis(2900);
    let (mut mine, _) = scripted("me", move |n| (if n == 0 { slow } else { NEVER }, 200));
    let lost = lost(&mut mine).await.unwrap();
    assert_eq!(lost.as_secs(), (RENEW_INTERVAL + RENEW_DEADLINE).as_secs());
    assert!(lost < RENEW_INTERVAL + DURATION, "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fails_to_renew_for_some_seconds_retries_soon_and_stays() {
    let (mut mine, _) = scripted("me", |n| (Duration::ZERO, if n < 5 { 500 } else { 200 }));
    assert_eq!(lost(&mut mine).await, None, "it failed for 2.5 s only");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_every_renewal_is_slow_stays() {
    let (mut mine, _) = scripted("me", |_| (Duration::from_millis(2900), 200));
    assert_eq!(lost(&mut mine).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_never_ends_costs_one_attempt_and_not_the_lease() {
    let (mut mine, _) = scripted("me", |n| {
        let hangs = n % 3 == 1;
        (if hangs { NEVER } else { Duration::ZERO }, 200)
    });
    assert_eq!(lost(&mut mine).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_stays_after_a_late_write_of_its_own() {
    let (mut mine, log) = scripted("me", |n| match n {
        // Times out after 3 s but is carried out anyway, so our next write is outdated.
        1 => (NEVER, 200),
        2 => (Duration::ZERO, 409),
        _ => (Duration::ZERO, 200),
    });
    mine.attempt().await.unwrap();
    assert_eq!(lost(&mut mine).await, None);
    let verbs: Vec<bool> = log
        .lines()
        .iter()
        .take(7)
        .map(|line| line.starts_with("PUT"))
        .collect();
    let (look, write) = (false, true);
    assert_eq!(
        verbs,
        [look, write, write, look, write, look, write],
        "taken; given up; refused; renewed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_holder_stops_at_once() {
    let (mut mine, _) = scripted("me", |_| (Duration::ZERO, 200));
    mine.attempt().await.unwrap();
    let (client, _) = api(|request| {
        if request.line.starts_with("GET") {
            (200, lease("other"))
        } else {
            refused(409)
        }
    });
    mine.leases = Api::namespaced(client, "op");
    assert_eq!(
        lost(&mut mine).await.map(|after| after.as_secs()),
        Some(RENEW_INTERVAL.as_secs())
    );
}

#[tokio::test]
async fn only_its_holder_releases_a_lease() {
    let (mine, log) = leader_lease(Some(lease("me")), 200);
    mine.release().await.unwrap();
    assert_eq!(log.take()[1].body["spec"].get("holderIdentity"), None);
    let (mine, log) = leader_lease(Some(lease("other")), 200);
    mine.release().await.unwrap();
    assert_eq!(log.lines().len(), 1);
}

/// The lease of earlier versions, held by `holder`; a process of this version adds the annotation.
fn former(holder: &str, of_this_version: bool) -> Value {
    let mut lease = lease(holder);
    if of_this_version {
        lease["metadata"]["annotations"] = json!({HELD_BY: holder});
    }
    lease
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_an_earlier_version_is_awaited_unless_this_version_already_holds_it() {
    let (mine, log) = leader_lease(Some(former("another-release", true)), 200);
    let mut mine = mine.legacy();
    assert_eq!(mine.attempt().await.unwrap(), Outcome::HeldByPeer);
    assert_eq!(log.lines().len(), 1, "it is left to that one");
    // When the peer is gone, we take the lease before an earlier version may.
    tokio::time::advance(DURATION).await;
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Ours);
    let taken = log.take().pop().unwrap().body;
    assert_eq!(taken["metadata"]["annotations"][HELD_BY], "me");
    // A process that holds only that lease is no peer, whatever its version.
    let (mut mine, log) = leader_lease(None, 200);
    mine.attempt().await.unwrap();
    let taken = log.take().pop().unwrap().body;
    assert_eq!(taken["metadata"]["annotations"], Value::Null);

    let (mine, _) = leader_lease(Some(former("version-0.1.0", false)), 200);
    let mut mine = mine.legacy();
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Others);
    // An earlier version that takes the lease leaves the annotation of the previous holder.
    let mut stale = former("version-0.1.0", false);
    stale["metadata"]["annotations"] = json!({HELD_BY: "another-release"});
    let (mine, _) = leader_lease(Some(stale), 200);
    assert_eq!(mine.legacy().attempt().await.unwrap(), Outcome::Others);
    // Only a legacy lease has peers.
    let (mut mine, _) = leader_lease(Some(former("other", true)), 200);
    assert_eq!(mine.attempt().await.unwrap(), Outcome::Others);
}

#[tokio::test(start_paused = true)]
async fn a_leader_resumes_after_an_outage_if_nobody_else_has_led() {
    // The lease as found afterwards, and whether it is still ours.
    let table = [
        (Some(lease("me")), true),
        (Some(lease("other")), false),
        (Some(lease("")), false),
        (None, false),
    ];
    for (found, ours) in table {
        let (mut mine, log) = scripted("me", |_| (Duration::ZERO, 500));
        assert_eq!(mine.keep().await, Lost::OutOfReach);
        drop(log);
        let answers = AtomicUsize::new(0);
        let (client, log) = api(move |request| {
            // Unavailable for three more requests, then back.
            if answers.fetch_add(1, Ordering::Relaxed) < 3 {
                return refused(503);
            }
            match (&found, request.line.starts_with("GET")) {
                (Some(found), true) => (200, found.clone()),
                (None, true) => refused(404),
                (_, false) => (200, request.body.clone()),
            }
        });
        mine.leases = Api::namespaced(client, "op");
        assert_eq!(mine.regain().await, ours);
        let renewed = log.lines().iter().any(|line| line.starts_with("PUT"));
        assert_eq!(renewed, ours);
        assert!(
            !ours || mine.left() > RENEW_INTERVAL,
            "it was renewed just now"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_held_by_another_is_lost_and_one_without_an_answer_is_out_of_reach() {
    let (mut mine, _) = scripted("other", |_| (Duration::ZERO, 200));
    assert_eq!(mine.keep().await, Lost::Taken);
    let (mut mine, _) = scripted("me", |_| (NEVER, 200));
    assert_eq!(mine.keep().await, Lost::OutOfReach);
}
