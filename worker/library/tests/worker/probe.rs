//! What an activity can do with the client of its context: all requests of the SDK, those of a
//! worker and any other, with and without TLS.

use std::time::Duration;

use taskqueue_worker::Worker;
use taskqueue_worker::testing::{Authority, Proxy, SERVER_NAME};
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{ActivityStartOptions, WorkflowCountOptions};
use temporalio_common::protos::temporal::api::operatorservice::v1::ListSearchAttributesRequest;
use temporalio_macros::activities;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::support::{Inside, address, client};

struct Probe;

#[activities]
impl Probe {
    /// Counts the workflows of the namespace, and asks another service for the search attributes.
    #[activity(name = "look_around")]
    async fn look_around(context: ActivityContext, query: String) -> Result<usize, ActivityError> {
        let client = context.client();
        let counted = client.count_workflows(query, WorkflowCountOptions::default());
        let counted = counted.await.map_err(failed)?.count();
        let mut request = ListSearchAttributesRequest {
            namespace: client.options().namespace.clone(),
        }
        .into_request();
        request.set_timeout(Duration::from_secs(10));
        let mut service = client.connection().operator_service();
        let attributes = service.list_search_attributes(request).await;
        let attributes = attributes.map_err(failed)?.into_inner();
        assert!(attributes.system_attributes.contains_key("WorkflowType"));
        Ok(counted)
    }
}

/// Fails for good, so that the test sees the message at once.
fn failed(error: impl std::fmt::Debug) -> ActivityError {
    let failure = ApplicationFailure::builder(format!("{error:?}"));
    ActivityError::application(failure.non_retryable(true).build())
}

/// Runs the activity on a worker with these variables.
pub(crate) async fn looks_around(task_queue: &'static str, variables: Vec<(&'static str, String)>) {
    let client = client().await;
    let queue = [("TEMPORAL_TASK_QUEUE", task_queue.to_owned())];
    let _worker = Inside::start(variables.into_iter().chain(queue), || {
        Worker::new("unused").activities(Probe)
    });
    let minute = Duration::from_mins(1);
    let options = ActivityStartOptions::with_start_to_close_timeout(task_queue, task_queue, minute);
    let query = "WorkflowType = 'nobody has this'".to_owned();
    let activity = client
        .start_activity(Probe::look_around, query, options.build())
        .await
        .unwrap();
    assert_eq!(activity.result().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_an_activity_may_send_any_request() {
    looks_around("probe", vec![("TEMPORAL_ADDRESS", address().await)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_an_activity_uses_the_credentials_of_the_worker() {
    let authority = Authority::new();
    let proxy = Proxy::start(authority.server(), address().await).await;
    let (cert, key) = authority.sign("worker");
    let variables = vec![
        ("TEMPORAL_ADDRESS", format!("localhost:{}", proxy.port)),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME.to_owned()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_DATA", authority.ca.clone()),
        ("TEMPORAL_TLS_CLIENT_CERT_DATA", cert),
        ("TEMPORAL_TLS_CLIENT_KEY_DATA", key),
    ];
    looks_around("probe-tls", variables).await;
}
