//! The ports of the operator and of its workers: over IPv6, and with a slow client. The pods of the
//! sandbox have an IPv6 address on loopback alone, so the tests enter their network namespaces.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use crate::harness::{TestCluster, eventually, one_queue, with_namespace};

/// How long a port may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_the_operator_and_of_a_worker_answer_over_ipv6() {
    with_namespace("ports-over-ipv6", |cluster| async move {
        let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        cluster.apply(spec).await?;
        let workers = cluster.workers_run(1).await?;
        let worker = workers.pods.keys().next().context("a worker runs")?;
        let of_worker = network_of(worker)?.map_err(anyhow::Error::msg)?;
        let of_leader = network_of_leader(&cluster).await?;
        // The port for hints is open on the leader alone, and takes no GET.
        let not_allowed = "HTTP/1.1 405 Method Not Allowed";
        for (network, port, path, expected) in [
            (of_leader.try_clone()?, 8080, "/livez", "HTTP/1.1 200 OK"),
            (of_leader, 8081, "/hints/a/b/c", not_allowed),
            (of_worker, 8080, "/livez", "HTTP/1.1 200 OK"),
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n");
            let answer = answer(network, port, request).with_context(|| path.to_owned())?;
            assert_eq!(answer.lines().next(), Some(expected), "{path}");
        }
        Ok(())
    })
    .await;
}

/// The network namespace of a pod, if the pod runs. Its containers have its name in their
/// environment.
fn network_of(pod: &str) -> anyhow::Result<Result<File, String>> {
    let variable = format!("HOSTNAME={pod}");
    for process in fs::read_dir("/proc")?.flatten() {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if variables.any(|entry| entry == variable.as_bytes())
            && let Ok(network) = File::open(process.path().join("ns/net"))
        {
            return Ok(Ok(network));
        }
    }
    Ok(Err(format!("{pod} has no process")))
}

/// The network namespace of the leader. The lease may still name a pod that has ended.
async fn network_of_leader(cluster: &TestCluster) -> anyhow::Result<File> {
    eventually("the leader runs", || async {
        network_of(&cluster.sandbox.operator_pod()?)
    })
    .await
}

/// The answer to what is sent to a port of a network namespace, on its IPv6 loopback address, until
/// the server ends the connection.
fn answer(network: File, port: u16, sent: String) -> anyhow::Result<String> {
    // Only this thread enters the namespace.
    let asking = thread::spawn(move || -> anyhow::Result<String> {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(sent.as_bytes())?;
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
            Ok(_) | Err(_) => Ok(answer),
        }
    });
    asking
        .join()
        .map_err(|_| anyhow!("the thread that asks has panicked"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_half_a_request_is_disconnected() {
    with_namespace("half-a-request", |cluster| async move {
        // The operator waits five seconds for the rest.
        let network = network_of_leader(&cluster).await?;
        let half = "GET /metrics HTTP/1.1\r\n".to_owned();
        let answer = answer(network, 8080, half).context("the operator keeps the connection")?;
        assert_eq!(answer, "");
        Ok(())
    })
    .await;
}
