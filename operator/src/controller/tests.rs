//! Whole passes against an API server that records its requests, with caches filled by hand and a
//! Temporal that never answers.

use std::net::IpAddr;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use taskqueue_api::TaskQueueWorkerStatus;
use taskqueue_kubernetes::kube_error::Call;
use taskqueue_scaling::TaskType;
use taskqueue_temporal::{
    CallError, CallErrorKind, Described, Heartbeat, Method, NoObserver, OwnerKey, QueueStats,
    Readers, ReadersConfig, ResolvedConnection, WorkersPage,
};
use tokio::sync::mpsc;

use super::errors::jitter;
use super::*;
use crate::applied::Written;
use crate::apply::Writer;
use crate::caches::Filler;
use crate::clock::Clock;
use crate::error::Class;
use crate::fleet_state::{FleetState, QueueKey};
use crate::fleets::Fleets;
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::observe::secrets::Secrets;
use crate::observe::targets::Targets;
use crate::observe::task_queue_owners::TaskQueueOwners;
use crate::report::Reports;
use crate::report::thresholds::Thresholds;
use crate::scrape::{Failure, Fetch, Scrapers};
use crate::testing::{
    self, ApiRequest, Log, accepted, api, existing, failure, observed, resource, unseen,
};

mod cluster_connection;
mod connection;
mod leading;
mod recurring;
mod refused;
mod slow;
mod targets;

/// The operator's own namespace.
const OWN_NAMESPACE: &str = "taskqueue-system";

/// A Temporal that does not answer.
struct Away;

impl Away {
    fn error(method: Method) -> CallError {
        CallError {
            kind: CallErrorKind::Unavailable,
            method,
            code: "Unavailable",
            message: "connection refused".to_owned(),
            connection_lost: true,
            fault: None,
        }
    }
}

impl QueueStats for Away {
    fn describe<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a str,
        _: TaskType,
    ) -> BoxFuture<'a, Result<Described, CallError>> {
        Box::pin(async { Err(Self::error(Method::DescribeTaskQueue)) })
    }

    fn describe_past_cache<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a str,
        _: &'a [TaskType],
    ) -> BoxFuture<'a, Result<Vec<(TaskType, Described)>, CallError>> {
        Box::pin(async { Err(Self::error(Method::DescribeTaskQueue)) })
    }

    fn release(&self, _: &ResolvedConnection) {}

    fn list_workers<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a [u8],
    ) -> BoxFuture<'a, Result<WorkersPage, CallError>> {
        Box::pin(async { Err(Self::error(Method::ListWorkers)) })
    }

    fn describe_worker<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Heartbeat>, CallError>> {
        Box::pin(async { Err(Self::error(Method::DescribeWorker)) })
    }
}

/// Pods that cannot be reached.
struct Nowhere;

impl Fetch for Nowhere {
    fn fetch(&self, _: IpAddr, _: u16) -> BoxFuture<'static, Result<String, Failure>> {
        Box::pin(async { Err(Failure::Unreachable) })
    }
}

/// An operator whose caches are filled by hand.
struct Operator {
    context: Arc<Context>,
    caches: Filler,
    /// The caches of another scope.
    other_scope: Filler,
    log: Log,
    /// The fleets that need a pass because a write has ended.
    requeued: mpsc::UnboundedReceiver<OwnerKey>,
}

impl Operator {
    fn new(answer: impl Fn(&ApiRequest) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self::over(api(answer))
    }

    fn over(api: (Client, Log)) -> Self {
        Self::reading(Arc::new(Away), api)
    }

    fn reading(stats: Arc<dyn QueueStats>, (client, log): (Client, Log)) -> Self {
        let clock = Clock::start();
        let metrics = Metrics::new(clock).unwrap();
        let config = ReadersConfig::default();
        let readers = Readers::new(stats, Arc::new(NoObserver), config, clock.monotonic());
        let (sender, _) = mpsc::unbounded_channel();
        let scrapers = Scrapers::new(Arc::new(Nowhere), clock, sender);
        let reports = Reports::new(
            client.clone(),
            metrics.clone(),
            "test".to_owned(),
            Thresholds::default(),
        );
        let (requeue, requeued) = mpsc::unbounded_channel();
        let leading = Leading::default();
        let shared = Shared {
            clock,
            readers,
            scrapers,
            secrets: Secrets::new(client.clone()),
            own_namespace: OWN_NAMESPACE.to_owned(),
            targets: Targets::new(client.clone()),
            task_queue_owners: TaskQueueOwners::default(),
            writer: Writer::new(client, metrics.clone(), leading.clone()),
            reports,
            metrics,
            fleets: Fleets::default(),
            leading,
            requeue,
        };
        let (caches, filler) = Filler::new();
        let (elsewhere, other_scope) = Filler::new();
        let everywhere = Arc::from([caches.clone(), elsewhere]);
        let context = Arc::new(Context::new(Arc::new(shared), caches, everywhere));
        Self {
            context,
            caches: filler,
            other_scope,
            log,
            requeued,
        }
    }

    /// Shows the operator an object and runs a pass over it. Returns the result and the requests.
    async fn pass(&mut self, object: &Value) -> (Result<Action, Error>, Vec<String>) {
        let object: GuardedFleet = serde_json::from_value(object.clone()).unwrap();
        self.caches
            .fleets
            .apply_watcher_event(&Event::Apply(object.clone()));
        let result = reconcile(Arc::new(object), Arc::clone(&self.context)).await;
        (result, self.log.lines())
    }

    /// Reason and message of the condition Ready, as written.
    async fn ready(&self, object: &Value) -> (String, String) {
        let state = self.context.shared.fleets.state(&metadata(object));
        let status: TaskQueueWorkerStatus = state.lock().await.status.clone().unwrap().status;
        let ready = &status.conditions[0];
        (ready.reason.clone(), ready.message.clone())
    }

    fn metrics(&self) -> String {
        self.context.shared.metrics.text().unwrap()
    }
}

fn object() -> Value {
    let queues = json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]);
    serde_json::to_value(resource(&queues)).unwrap()
}

/// A fleet that is unrelated to the one under test.
fn bystander() -> Value {
    let mut other = object();
    other["metadata"]["name"] = json!("mails");
    other["metadata"]["uid"] = json!("another-uid");
    other["spec"]["queues"][0]["taskQueue"] = json!("mails");
    other
}

fn empty_cluster(request: &ApiRequest) -> (u16, Value) {
    if request.line.starts_with("GET") {
        return (404, failure(404, "NotFound", "not found"));
    }
    (200, accepted(request))
}

/// Short names for the requests of these tests.
fn short(lines: &[String]) -> Vec<&'static str> {
    let name = |line: &String| match line {
        line if line.contains("/events") => "event",
        line if line.starts_with("GET") && line.contains("/taskqueueworkers/") => "read",
        line if line.contains("/status") => "status",
        line if line.starts_with("GET") && line.contains("/deployments/") => "look",
        line if line.contains("/deployments/") && line.contains("force=true") => "apply",
        line if line.contains("/deployments/") => "create",
        _ => "something else",
    };
    lines.iter().map(name).collect()
}

#[tokio::test]
async fn the_first_reconcile_creates_everything_and_the_second_writes_nothing() {
    let mut operator = Operator::new(empty_cluster);
    let (result, lines) = operator.pass(&object()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(
        short(&lines),
        ["look", "create", "apply", "status", "event"]
    );

    // What the watches show afterwards: the Deployment, and the object with its status.
    let fleet = crate::testing::simple();
    let made: Deployment = crate::testing::existing(&fleet, 1, "101");
    let key = taskqueue_api::fleet::FleetKey {
        ..fleet.key.clone()
    };
    let written = {
        let state = operator.context.shared.fleets.state(&metadata(&object()));
        let mut state = state.lock().await;
        let rendered = taskqueue_api::render(
            &fleet,
            &fleet.queues[0],
            &crate::testing::usable(&fleet).spec,
        );
        state.queue(QueueKey::unversioned("a")).written =
            Some(Written::after_apply(&made, &rendered));
        state.status.clone().unwrap().status
    };
    assert!(crate::owned::owned_by(&made.metadata, &key));
    operator
        .caches
        .deployments
        .apply_watcher_event(&Event::Apply(made));
    let mut shown = object();
    shown["metadata"]["resourceVersion"] = json!("102");
    shown["status"] = serde_json::to_value(&written).unwrap();
    // One pass writes what has changed (Temporal is known to be away by then), and the next writes
    // nothing.
    let owner = {
        let readers = operator.context.shared.readers.clone();
        let mut news = std::pin::pin!(readers.updates());
        news.next().await.unwrap()
    };
    assert_eq!(
        (owner.namespace.as_str(), owner.name.as_str()),
        ("shop", "orders")
    );
    operator.pass(&shown).await.0.unwrap();
    let state = operator.context.shared.fleets.state(&metadata(&object()));
    let written = state.lock().await.status.clone().unwrap().status;
    shown["metadata"]["resourceVersion"] = json!("103");
    shown["status"] = serde_json::to_value(&written).unwrap();
    let (result, lines) = operator.pass(&shown).await;
    assert!(result.is_ok());
    assert_eq!(
        short(&lines),
        Vec::<&str>::new(),
        "an unchanged fleet causes no write"
    );
}

fn metadata(object: &Value) -> ObjectMeta {
    serde_json::from_value(object["metadata"].clone()).unwrap()
}

#[tokio::test]
async fn a_failing_api_server_causes_a_backoff_and_the_status_is_still_attempted() {
    let mut operator = Operator::new(|request| {
        if request.line.contains("/deployments/") {
            return (503, failure(503, "ServiceUnavailable", "etcd is away"));
        }
        (200, accepted(request))
    });
    let (result, lines) = operator.pass(&object()).await;
    let error = result.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert_eq!(short(&lines)[..2], ["look", "status"]);
    let guarded: Arc<GuardedFleet> = Arc::new(serde_json::from_value(object()).unwrap());
    // No other pass is due for a day.
    let shared = &operator.context.shared;
    let tomorrow = shared.clock.now().monotonic.plus(Duration::from_hours(24));
    shared.fleets.requeue_at(&metadata(&object()), tomorrow);
    let wait = |_| {
        let action = error_policy(Arc::clone(&guarded), &error, Arc::clone(&operator.context));
        let extra = jitter(&metadata(&object()), Class::Unavailable);
        (0..120)
            .find(|s| action == Action::requeue(Duration::from_secs(*s) + extra))
            .unwrap()
    };
    assert_eq!(
        (0..8).map(wait).collect::<Vec<u64>>(),
        [1, 2, 4, 8, 16, 32, 60, 60]
    );
    let text = operator.metrics();
    let counted = r#"reconcile_errors_total{class="unavailable",reason="ApiServerUnavailable"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn no_reconcile_begins_before_the_fleets_of_every_scope_are_known() {
    let mut operator = Operator::new(empty_cluster);
    operator.other_scope.set_filled(false);
    let mut older = object();
    older["metadata"]["namespace"] = json!("bakery");
    older["metadata"]["uid"] = json!("older-uid");
    older["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    let younger: GuardedFleet = serde_json::from_value(object()).unwrap();
    let event = Event::Apply(younger.clone());
    operator.caches.fleets.apply_watcher_event(&event);
    let pass = reconcile(Arc::new(younger), Arc::clone(&operator.context));
    tokio::pin!(pass);
    assert!(futures::poll!(&mut pass).is_pending());
    let older: GuardedFleet = serde_json::from_value(older).unwrap();
    let event = Event::Apply(older);
    operator.other_scope.fleets.apply_watcher_event(&event);
    operator.other_scope.set_filled(true);
    assert!(pass.await.is_ok());
    assert_eq!(operator.ready(&object()).await.0, "QueueConflict");
}

#[tokio::test]
async fn the_state_of_a_fleet_is_removed_with_it() {
    let mut operator = Operator::new(empty_cluster);
    operator.pass(&object()).await.0.unwrap();
    assert!(operator.metrics().contains("name=\"orders\""));
    operator.context.shared.forget(&metadata(&object()));
    let text = operator.metrics();
    assert!(!text.contains("name=\"orders\""), "{text}");
}

#[tokio::test]
async fn a_fleet_that_is_being_deleted_is_left_to_the_garbage_collector() {
    let mut operator = Operator::new(empty_cluster);
    let mut going = object();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let (result, lines) = operator.pass(&going).await;
    assert_eq!(result.unwrap(), Action::await_change());
    assert_eq!(lines, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_read_again_only_after_a_pause() {
    let mut operator = Operator::new(empty_cluster);
    let mut with_tls = object();
    with_tls["spec"]["connection"]["tls"] = json!({"caSecretRef": {"name": "ca"}});
    let (result, lines) = operator.pass(&with_tls).await;
    assert!(result.is_ok());
    assert_eq!(lines[0], "GET /api/v1/namespaces/shop/secrets/ca");
    assert_eq!(short(&lines[1..]), ["status", "event"]);
    let (_, lines) = operator.pass(&with_tls).await;
    assert_eq!(lines, Vec::<String>::new());
    let message =
        "queue a: there is no Secret ca in namespace shop; create it, or correct the connection";
    assert_eq!(
        operator.ready(&with_tls).await,
        ("SecretNotFound".to_owned(), message.to_owned())
    );
}
