//! Listeners on IPv6. The pods of the sandbox have an IPv6 address on loopback alone, so the test
//! enters their network namespaces.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv6Addr, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use crate::harness::{eventually, one_queue, with_namespace};

/// How long a port may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_the_operator_and_of_a_worker_answer_over_ipv6() {
    with_namespace("ports-over-ipv6", |cluster| async move {
        let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        cluster.apply(spec).await?;
        let workers = cluster.workers_run(1).await?;
        let worker = workers.pods.keys().next().context("a worker runs")?;
        // The port for hints is open on the leader alone, and takes no GET.
        let leader = cluster.sandbox.operator_pod()?;
        for (pod, port, path, expected) in [
            (&leader, 8080, "/livez", "HTTP/1.1 200 OK"),
            (
                &leader,
                8081,
                "/hints/a/b/c",
                "HTTP/1.1 405 Method Not Allowed",
            ),
            (worker, 8080, "/livez", "HTTP/1.1 200 OK"),
        ] {
            let network = network_of(pod).await?;
            let answer = get(network, port, path).with_context(|| format!("{pod}, {port}"))?;
            assert_eq!(answer.lines().next(), Some(expected), "{pod}, {port}");
        }
        Ok(())
    })
    .await;
}

/// The network namespace of a pod. Its containers have its name in their environment.
async fn network_of(pod: &str) -> anyhow::Result<File> {
    let variable = format!("HOSTNAME={pod}");
    eventually(&format!("a process of {pod}"), || async {
        for process in fs::read_dir("/proc")?.flatten() {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            if variables.any(|entry| entry == variable.as_bytes())
                && let Ok(network) = File::open(process.path().join("ns/net"))
            {
                return Ok(Ok(network));
            }
        }
        Ok(Err("no process has it in its environment".to_owned()))
    })
    .await
}

/// The answer to a request to a port of a network namespace, on its IPv6 loopback address.
fn get(network: File, port: u16, path: &str) -> anyhow::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n");
    // Only this thread enters the namespace.
    let asking = thread::spawn(move || -> anyhow::Result<String> {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asking
        .join()
        .map_err(|_| anyhow!("the thread that asks has panicked"))?
}
