//! A queue whose load recurs, over hours of passes: what is written, and what a restart keeps.

use std::time::Duration;

use taskqueue_api::well_known::RECURRING_LOAD_ANNOTATION;
use taskqueue_scaling::{Backlog, PerType, Reading, Time, TypeBacklog};

use super::*;
use crate::clock::Moment;
use crate::observe::ObservedQueue;
use crate::testing::{fleet, observed, usable};

/// A fleet over time, and its Deployment as the API server holds it.
struct Run {
    operator: Operator,
    fleet: taskqueue_api::Fleet,
    state: FleetState,
    deployment: Deployment,
    now: Moment,
    /// The annotations that were written, and when.
    written: Vec<(Moment, ApiRequest)>,
    /// The largest number of replicas that was asked for.
    most: u64,
}

impl Run {
    fn new(forecast: &Value) -> Self {
        let queues = json!([{
            "name": "a", "replicas": {"max": 20},
            "scaling": {"forecast": forecast, "slotsPerReplica": 10},
        }]);
        let fleet = fleet(&queues);
        let mut run = Self {
            operator: Operator::new(empty_cluster),
            deployment: existing(&fleet, 0, "7"),
            state: FleetState::default(),
            fleet,
            now: Moment {
                monotonic: Time::from_secs(1000),
                wall: "2026-11-23T00:00:00Z".parse().unwrap(),
            },
            written: Vec::new(),
            most: 0,
        };
        run.restart();
        run
    }

    /// A new process, which has applied the Deployment already.
    fn restart(&mut self) {
        let queue = &self.fleet.queues[0];
        let rendered = taskqueue_api::render(&self.fleet, queue, &usable(&self.fleet).spec);
        let written = Written::after_apply(&self.deployment, &rendered);
        self.state = FleetState::default();
        self.state.queue(QueueKey::unversioned("a")).written = Some(written);
    }

    fn wait(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.now.monotonic = self.now.monotonic.plus(time);
        self.now.wall += time;
    }

    /// A pass with a new reading. What it writes is in the Deployment afterwards.
    async fn pass(&mut self, tasks: u64) {
        let activity = TypeBacklog {
            count: tasks,
            add_rate_milli: tasks * 1000 / 30,
            ..TypeBacklog::default()
        };
        let now = self.now.monotonic;
        let mut seen = ObservedQueue {
            existing: Some(Arc::new(self.deployment.clone())),
            ..unseen()
        };
        seen.reading.backlog = Reading::Known {
            value: Backlog {
                sequence: now.as_millis(),
                types: PerType {
                    activity: Some(activity),
                    ..PerType::default()
                },
            },
            taken_at: now,
        };
        let mut observed = observed(&self.fleet, seen);
        let shared = &self.operator.context.shared;
        let (_, applied) = writes::plan_and_apply(
            shared,
            &self.fleet,
            &mut observed,
            &mut self.state,
            self.now,
        )
        .await;
        assert!(applied.errors().next().is_none());
        for request in self.operator.log.take() {
            self.accept(request);
        }
    }

    fn accept(&mut self, request: ApiRequest) {
        self.deployment.metadata.resource_version = Some("100".to_owned());
        if request.line.contains("/scale?") {
            let replicas = request.body["spec"]["replicas"].as_i64().unwrap();
            self.deployment.spec.as_mut().unwrap().replicas = i32::try_from(replicas).ok();
            self.most = self.most.max(u64::try_from(replicas).unwrap());
            return;
        }
        let text = &request.body["metadata"]["annotations"][RECURRING_LOAD_ANNOTATION];
        let annotations = self.deployment.metadata.annotations.as_mut().unwrap();
        let text = text.as_str().unwrap().to_owned();
        annotations.insert(RECURRING_LOAD_ANNOTATION.to_owned(), text);
        self.written.push((self.now, request));
    }

    /// An hour with a burst fifteen minutes after it began.
    async fn hour(&mut self, tasks: u64) {
        for minute in 0..60 {
            self.wait(5);
            self.pass(if minute == 15 { tasks } else { 0 }).await;
            self.wait(30);
            self.pass(0).await;
            self.wait(25);
        }
    }

    /// The replicas just before a quarter past.
    async fn prepared(&mut self) -> Option<i32> {
        self.wait(15 * 60 - 8);
        self.pass(0).await;
        self.deployment.spec.as_ref()?.replicas
    }
}

#[tokio::test]
async fn the_recurring_load_is_kept_at_most_once_an_hour_and_outlives_a_restart() {
    let mut run = Run::new(&json!({"mode": "Enabled"}));
    for hour in 0..4 {
        run.hour(40 + 20 * hour).await;
    }
    assert!((2..=4).contains(&run.written.len()), "{:#?}", run.written);
    for pair in run.written.windows(2) {
        let apart = pair[1].0.wall.duration_since(pair[0].0.wall);
        assert!(apart.unsigned_abs() >= Duration::from_hours(1), "{pair:#?}");
    }
    let (_, first) = &run.written[0];
    let name = &run.fleet.queues[0].workload_name;
    assert_eq!(
        first.line,
        format!(
            "PATCH /apis/apps/v1/namespaces/shop/deployments/{name}?\
             &fieldManager=taskqueue-operator%2Fscaling"
        )
    );
    let mut body = first.body.clone();
    let text = body["metadata"]["annotations"][RECURRING_LOAD_ANNOTATION].take();
    assert!(
        text.as_str().unwrap().starts_with("1 2026-11-23T00:1"),
        "{text}"
    );
    assert_eq!(
        body,
        json!({"metadata": {
            "uid": "deployment-uid", "resourceVersion": "100",
            "annotations": {RECURRING_LOAD_ANNOTATION: null},
        }})
    );

    let written = run.written.len();
    run.restart();
    let prepared = run.prepared().await;
    assert!(prepared > Some(1), "{prepared:?}");
    assert_eq!(run.written.len(), written);
}

#[tokio::test]
async fn without_a_forecast_no_annotation_is_written_and_nothing_is_prepared() {
    let mut run = Run::new(&json!({"mode": "Disabled"}));
    for _ in 0..4 {
        run.hour(60).await;
    }
    assert!(run.most > 1, "the bursts themselves scale the fleet");
    assert_eq!(run.prepared().await, Some(0));
    assert_eq!(run.written, Vec::new());
    let annotations = run.deployment.metadata.annotations.unwrap();
    assert!(!annotations.contains_key(RECURRING_LOAD_ANNOTATION));
}
