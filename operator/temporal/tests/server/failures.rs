//! What cannot be read is named, and what comes back is read again.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use taskqueue_scaling::{TaskType, UnknownReason};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::{connection_to, owner, watch, with_replicas};

use crate::dev_server::{Server, failure, first_reading, watching};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_does_not_exist_is_named() {
    let server = Server::start().await;
    let readers = watching(&server.connection("no-such"), &[with_replicas("orders")]);
    let failure = failure(&readers).await;
    assert_eq!(failure.kind, CallErrorKind::NamespaceNotFound);
    assert!(failure.message.contains("no-such"), "{}", failure.message);
    let backlog = readers.reading(&owner("fleet"), "orders").backlog;
    assert_eq!(backlog.unknown(), Some(UnknownReason::TemporalAccessDenied));
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_is_unavailable_and_is_read_again_when_it_is_back() {
    let mut server = Server::start().await;
    let readers = watching(&server.connection("default"), &[with_replicas("orders")]);
    first_reading(&readers).await;
    server.stop();
    let failure = failure(&readers).await;
    assert_eq!(failure.kind, CallErrorKind::Unavailable);
    let backlog = readers.reading(&owner("fleet"), "orders").backlog;
    assert_eq!(backlog.unknown(), Some(UnknownReason::TemporalUnavailable));
    let again = Server::start_on(server.port).await;
    let began = Instant::now();
    first_reading(&readers).await;
    println!("read again {:?} after the server was back", began.elapsed());
    readers.shutdown().await;
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_answers_causes_a_timeout_and_delays_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let readers = watching(&connection_to(&address, "default"), &[watch("orders")]);
    let began = Instant::now();
    let failure = failure(&readers).await;
    assert_eq!(
        (failure.kind, failure.method),
        (CallErrorKind::Timeout, Method::Connect)
    );
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    // Shutdown does not wait for it either.
    tokio::time::timeout(Duration::from_secs(1), readers.shutdown())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_server_without_it_is_unavailable_and_the_message_says_why() {
    let server = Server::start().await;
    let encrypted = ResolvedConnection::new(ConnectionFields {
        address: format!("127.0.0.1:{}", server.port),
        temporal_namespace: "default".to_owned(),
        tls: Some(Tls {
            server_name: Some("temporal.test".to_owned()),
            ..Tls::default()
        }),
        api_key: Some(Secret::new("not-to-be-printed")),
        ..ConnectionFields::default()
    })
    .unwrap();
    let readers = watching(&encrypted, &[watch("orders")]);
    let failure = failure(&readers).await;
    assert_eq!(
        (failure.kind, failure.method),
        (CallErrorKind::Unavailable, Method::Connect)
    );
    assert!(!failure.message.contains("not-to-be-printed"));
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_namespace_and_credential_has_its_own_connection_and_release_closes_it() {
    let server = Server::start().await;
    let client = TemporalClient::new("test");
    let (a, b) = (server.connection("default"), server.connection("other"));
    client
        .describe(&a, "orders", TaskType::Activity)
        .await
        .unwrap();
    client
        .describe(&a, "orders", TaskType::Workflow)
        .await
        .unwrap();
    client
        .describe(&b, "orders", TaskType::Activity)
        .await
        .unwrap_err();
    assert_eq!(client.connections(), 2);
    client.release(&b);
    client.release(&a);
    assert_eq!(client.connections(), 0);
}
