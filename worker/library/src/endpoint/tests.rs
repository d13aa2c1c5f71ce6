//! The addresses that the endpoint listens on, and `/livez`: a process whose poll loop is stuck is
//! dead, even if everything else answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::{Health, listen_everywhere, serve};
use crate::loopback;
use crate::metrics::{Metrics, Sources};
use crate::testing::eventually;

/// A thread with a loop like the poll loop: it turns until `stuck` fires, and again once `freed`
/// receives a value. Ends when the sender of `freed` is dropped.
fn poll_loop(
    health: Health,
    stuck: oneshot::Receiver<()>,
    freed: std::sync::mpsc::Receiver<()>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async move {
            tokio::task::spawn_local(health.keep_turning(Duration::from_millis(20)));
            stuck.await.unwrap();
            freed.recv().unwrap();
            // Turns again until the test has seen it.
            while freed.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    })
}

async fn is(server: SocketAddr, status: u16) {
    eventually(&format!("/livez answers {status}"), async || {
        let (seen, _) = loopback::get(server, "/livez").await.ok()?;
        (seen == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_address_includes_those_of_ipv4_with_and_without_ipv6() {
    let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let missing = io::ErrorKind::Unsupported.into();
    for socket in [TcpSocket::new_v6(), Err(missing)] {
        let listener = listen_everywhere(socket, every).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (connected, accepted) = tokio::join!(connecting, listener.accept());
        connected.unwrap();
        accepted.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_poll_loop_is_stuck_is_not_alive() {
    let health = Health::new(Duration::from_secs(1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(
        listener,
        health.clone(),
        Sources::new(Metrics::new().unwrap(), nowhere),
        stop.clone(),
    ));
    let (get_stuck, stuck) = oneshot::channel();
    let (free, freed) = std::sync::mpsc::channel();
    let thread = poll_loop(health, stuck, freed);
    is(address, 200).await;
    get_stuck.send(()).unwrap();
    is(address, 503).await;
    free.send(()).unwrap();
    is(address, 200).await;
    drop(free);
    thread.join().unwrap();
    stop.cancel();
    server.await.unwrap().unwrap();
}
