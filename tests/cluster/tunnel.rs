//! Temporal behind an HTTP proxy that requires a password, with a private certificate authority
//! from a ConfigMap.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    authority::{Authority, basic_auth_secret},
    front::Front,
    harness::{TestCluster, eventually, one_queue, with_namespace},
};

/// The address of the server in the fleet's spec. Only the proxy knows where it is.
const SERVER: &str = "temporal.invalid:7233";
const USER: &str = "fleet";

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_works_through_a_proxy_with_an_authority_from_a_config_map() {
    with_namespace("through-a-proxy", |cluster| async move {
        let authority = Authority::new()?;
        let front = Arc::new(Front::tls(&cluster, authority.server(&[])?)?);
        let proxy = Proxy::start(&cluster, front.clone(), "first-password")?;
        let ca = ConfigMap {
            metadata: ObjectMeta {
                name: Some("authorities".to_owned()),
                ..ObjectMeta::default()
            },
            data: Some([("ca.crt".to_owned(), authority.certificate.clone())].into()),
            ..ConfigMap::default()
        };
        cluster
            .api::<ConfigMap>()
            .create(&PostParams::default(), &ca)
            .await?;
        basic_auth_secret(&cluster, "proxy", USER, "first-password").await?;
        let queue = cluster.queue("all");
        cluster.apply(fleet(&front, &proxy, &queue)).await?;
        let order = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&order).await?;

        let workers = cluster.workers_run(1).await?.addresses();
        let of_workers = |admitted: &[IpAddr]| {
            let peers = admitted.iter();
            peers.filter(|peer| workers.contains(peer)).count()
        };
        let admitted = proxy.admitted();
        assert!(of_workers(&admitted) > 0, "{admitted:?}");
        assert!(of_workers(&admitted) < admitted.len(), "{admitted:?}");

        proxy.require("second-password");
        let refused = format!("(HTTP 407 from {})", proxy.address);
        let message = eventually("the refusal of the proxy is reported", || async {
            let condition = cluster.condition("ScalingActive").await?;
            let message = condition.map_or_else(String::new, |found| found.message);
            Ok(if message.contains(&refused) {
                Ok(message)
            } else {
                Err(message)
            })
        })
        .await?;
        for part in [
            "the replicas stay as they are",
            "proxy.credentialsSecretRef",
        ] {
            assert!(message.contains(part), "{message}");
        }
        basic_auth_secret(&cluster, "proxy", USER, "second-password").await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        cluster.shows_none_of(&["first-password", "second-password"])
    })
    .await;
}

/// One queue of exactly one replica, which reaches the front through the proxy.
fn fleet(front: &Front, proxy: &Proxy, queue: &str) -> Value {
    let mut spec = one_queue(queue, 1, 1, &json!({}));
    spec["connection"] = front.connection(&json!({"caConfigMapRef": {"name": "authorities"}}));
    spec["connection"]["address"] = json!(SERVER);
    spec["connection"]["proxy"] = json!({
        "address": proxy.address, "credentialsSecretRef": {"name": "proxy"},
    });
    spec
}

/// An HTTP proxy for pods: this process, until it is dropped. It opens tunnels with CONNECT, to
/// [`SERVER`] alone, and requires a password.
struct Proxy {
    /// `host:port` as pods reach it.
    address: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    /// What [`SERVER`] is.
    server: Arc<Front>,
    password: Mutex<String>,
    /// The clients with the right password, one entry per tunnel.
    admitted: Mutex<Vec<IpAddr>>,
    tunnels: Mutex<JoinSet<()>>,
}

impl Proxy {
    fn start(cluster: &TestCluster, server: Arc<Front>, password: &str) -> anyhow::Result<Self> {
        let listener = cluster.sandbox.listener_for_pods()?;
        let address = listener.local_addr()?.to_string();
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            server,
            password: Mutex::new(password.to_owned()),
            admitted: Mutex::default(),
            tunnels: Mutex::default(),
        });
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                let tunnel = serving.clone().tunnel(client, peer.ip());
                serving.tunnels.lock().unwrap().spawn(async move {
                    // Either side may disconnect at any time.
                    drop(tunnel.await);
                });
            }
        });
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    fn admitted(&self) -> Vec<IpAddr> {
        self.shared.admitted.lock().unwrap().clone()
    }

    /// Requires another password from now on, and breaks every open tunnel.
    fn require(&self, password: &str) {
        password.clone_into(&mut self.shared.password.lock().unwrap());
        self.shared.tunnels.lock().unwrap().abort_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    async fn tunnel(self: Arc<Self>, mut client: TcpStream, peer: IpAddr) -> anyhow::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8(head)?;
        let answer: &[u8] = if !self.admits(&head) {
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        } else if !head.starts_with(&format!("CONNECT {SERVER} HTTP/1.1\r\n")) {
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        } else {
            self.admitted.lock().unwrap().push(peer);
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            self.server.serve(client, peer).await;
            return Ok(());
        };
        client.write_all(answer).await?;
        Ok(())
    }

    /// Whether the head of a request has the password.
    fn admits(&self, head: &str) -> bool {
        let credentials = format!("{USER}:{}", self.password.lock().unwrap());
        let expected = format!("Basic {}", STANDARD.encode(credentials));
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.any(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value.trim() == expected
        })
    }
}
