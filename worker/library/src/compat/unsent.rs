//! Recognizes errors of requests that never left this process. Pure.

use std::error::Error;
use std::iter::successors;

use temporalio_client::tonic::{Code, Status, TimeoutExpired, transport};

/// Whether the connection closed before it took the request. `Cancelled` has two other meanings: a
/// server may answer with it (without a cause), and it is the status of a request that was sent and
/// timed out.
pub(super) fn was_never_sent(status: &Status) -> bool {
    let mut in_transport = false;
    for cause in successors(status.source(), |cause| (*cause).source()) {
        if cause.is::<TimeoutExpired>() {
            return false;
        }
        in_transport |= cause.is::<transport::Error>();
    }
    in_transport && status.code() == Code::Cancelled
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use temporalio_client::tonic::transport::Endpoint;
    use temporalio_common::protos::temporal::api::workflowservice::v1::GetSystemInfoRequest;
    use temporalio_common::protos::temporal::api::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
    use tokio::net::TcpListener;

    use super::*;

    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Runs the first task of a channel, which accepts requests. Holds the other tasks: those of
    /// the connection, which would send them.
    #[derive(Clone, Default)]
    struct Holding(Arc<Mutex<(bool, Vec<Task>)>>);

    impl hyper::rt::Executor<Task> for Holding {
        fn execute(&self, task: Task) {
            let mut tasks = self.0.lock();
            if std::mem::replace(&mut tasks.0, true) {
                tasks.1.push(task);
            } else {
                tokio::spawn(task);
            }
        }
    }

    async fn ask(endpoint: Endpoint) -> Status {
        let mut client = WorkflowServiceClient::new(endpoint.connect_lazy());
        let request = GetSystemInfoRequest::default();
        client.get_system_info(request).await.unwrap_err()
    }

    /// A server that accepts connections and reads nothing.
    async fn mute() -> (TcpListener, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, Endpoint::from_shared(url).unwrap())
    }

    #[tokio::test]
    async fn a_request_that_its_connection_never_took_was_never_sent() {
        let (_listener, endpoint) = mute().await;
        let tasks = Holding::default();
        let asking = tokio::spawn(ask(endpoint.executor(tasks.clone())));
        while !asking.is_finished() {
            // Drops the connection together with the requests that wait for it.
            tasks.0.lock().1.clear();
            tokio::task::yield_now().await;
        }
        let status = asking.await.unwrap();
        assert!(was_never_sent(&status), "{status:?}");
    }

    #[tokio::test]
    async fn a_request_that_was_sent_or_refused_is_another_matter() {
        let (listener, endpoint) = mute().await;
        let late = ask(endpoint.timeout(Duration::from_millis(50))).await;
        assert_eq!(late.code(), Code::Cancelled);
        let address = listener.local_addr().unwrap();
        drop(listener);
        let nobody = ask(Endpoint::from_shared(format!("http://{address}")).unwrap()).await;
        assert_eq!(nobody.code(), Code::Unavailable);
        for status in [late, nobody, Status::cancelled("by the server")] {
            assert!(!was_never_sent(&status), "{status:?}");
        }
    }
}
