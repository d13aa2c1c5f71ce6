//! TLS and mTLS to a real Temporal server, from the operator and from the workers, and certificates that are replaced under
//! load. The sandbox's server speaks plaintext, so this process ends TLS in front of it, on a port that pods reach.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use taskqueue_api::{TaskQueueWorker, TemporalConnection};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::harness::{World, eventually, one_queue, with_namespace};

/// The name in the server's certificate; it is no name of DNS.
const SERVER: &str = "temporal.test";
/// Promised: Secrets are read again every 30 s. The rest is for the next read of Temporal and for a busy machine.
const TAKEN_UP: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_does_not_fit_is_named_and_the_right_one_is_taken_up() {
    with_namespace("an-authority-that-does-not-fit", |world| async move {
        let (right, wrong) = (Authority::new()?, Authority::new()?);
        let proxy = Proxy::start(&world, right.server(&[])?)?;
        secret(&world, "temporal-ca", &[("ca.crt", &wrong.certificate)]).await?;
        let queue = world.queue("all");
        let mut spec = one_queue(&queue, 0, 1, &json!({}));
        spec["connection"] = proxy.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
        // This server asks for no API key, and is given one all the same.
        secret(&world, "temporal-key", &[("key", "a-key")]).await?;
        spec["connection"]["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
        world.apply(spec).await?;
        let condition = world
            .condition_is("ScalingActive", "Unknown", "TemporalUnavailable")
            .await?;
        assert!(
            condition.message.contains("certificate"),
            "{}",
            condition.message
        );

        secret(&world, "temporal-ca", &[("ca.crt", &right.certificate)]).await?;
        world
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let workflow = world.order(&queue, 0, json!({"total": 100}))?;
        world.result(&workflow).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_load_without_a_restart_or_a_failed_activity() {
    with_namespace("certificates-are-replaced-under-load", |world| async move {
        let (old, new) = (Authority::new()?, Authority::new()?);
        let proxy = Proxy::start(&world, old.server(&[&old, &new])?)?;
        let queue = world.queue("all");
        start_fleet(&world, &proxy, &queue, &old).await?;
        a_client_without_a_certificate_is_refused(&world, &proxy).await?;

        let before = pods(&world).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn(orders(world.clone(), queue.clone(), stop.clone()));
        // The first of them is being worked on.
        let first = format!("order-{}-0", world.namespace);
        eventually("orders flow", || async {
            let attempts = world.attempts(&first).unwrap_or_default();
            Ok(if attempts.is_empty() {
                Err("not yet".to_owned())
            } else {
                Ok(())
            })
        })
        .await?;

        // Both authorities are trusted, on both sides, while the certificates change.
        let client = new.sign("client")?;
        let both = format!("{}{}", old.certificate, new.certificate);
        let replaced = Instant::now();
        secret(&world, "temporal-ca", &[("ca.crt", &both)]).await?;
        client_secret(&world, &client).await?;
        let of_workers: BTreeSet<IpAddr> = before.iter().filter_map(|pod| pod.ip).collect();
        let by = |workers: bool| {
            let seen = proxy.seen.lock().expect("no thread panics with the lock");
            let with_new = seen
                .iter()
                .filter(|seen| seen.client.as_ref() == Some(&client.der));
            with_new
                .filter(|seen| of_workers.contains(&seen.peer) == workers)
                .count()
        };
        eventually("the operator presents the new certificate", || async {
            Ok(if by(false) > 0 {
                Ok(())
            } else {
                Err("not yet".to_owned())
            })
        })
        .await?;
        let took = replaced.elapsed();
        println!(
            "from the change of the Secret until the operator used it: {:.1} s",
            took.as_secs_f64()
        );
        assert!(took < TAKEN_UP, "{took:?}");

        // The kubelet renews files when it next looks at a pod, at least once a minute; a change of the pod makes it look.
        world.kubectl(&["annotate", "pods", "--all", "example.com/look=now"])?;
        eventually("the workers have read the new files", || async {
            let log = world.kubectl(&["logs", &before[0].name, "--tail=-1"])?;
            Ok(if log.contains("TLS files have changed") {
                Ok(())
            } else {
                Err("not yet".to_owned())
            })
        })
        .await?;
        println!(
            "until the worker had the new files: {:.1} s",
            replaced.elapsed().as_secs_f64()
        );
        stop.store(true, Ordering::Relaxed);
        completed_at_once(&world, &load.await??).await?;

        // Then the old ones go: the server has a new certificate and trusts the new authority alone.
        proxy.switch_to(new.server(&[&new])?);
        let mut last = Vec::new();
        for number in 1000..1003 {
            last.push(world.order(&queue, number, json!({"total": 100}))?);
        }
        completed_at_once(&world, &last).await?;
        assert!(by(true) > 0, "the workers presented the new certificate");
        world
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        assert_eq!(pods(&world).await?, before, "no worker was restarted");
        Ok(())
    })
    .await;
}

/// A fleet with one worker whose connection is shared, with a client certificate.
async fn start_fleet(
    world: &World,
    proxy: &Proxy,
    queue: &str,
    authority: &Authority,
) -> anyhow::Result<()> {
    secret(world, "temporal-ca", &[("ca.crt", &authority.certificate)]).await?;
    client_secret(world, &authority.sign("client")?).await?;
    let tls = json!({"caSecretRef": {"name": "temporal-ca"}, "clientCertificateSecretRef": {"name": "temporal-client"}});
    let connection = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TemporalConnection", "metadata": {"name": "shared"},
        "spec": proxy.connection(&tls),
    });
    let params = PatchParams::apply("cluster-test");
    world
        .api::<TemporalConnection>()
        .patch("shared", &params, &Patch::Apply(&connection))
        .await?;
    let mut spec = one_queue(queue, 1, 1, &json!({}));
    spec["connectionRef"] = json!({"name": "shared"});
    spec.as_object_mut()
        .context("a spec is an object")?
        .remove("connection");
    world.apply(spec).await?;
    world.condition_is("Ready", "True", "Available").await?;
    world
        .condition_is("ScalingActive", "True", "Active")
        .await
        .map(drop)
}

async fn a_client_without_a_certificate_is_refused(
    world: &World,
    proxy: &Proxy,
) -> anyhow::Result<()> {
    let mut spec = one_queue(&world.queue("other"), 0, 1, &json!({}));
    spec["connection"] = proxy.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
    let fleet = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker", "metadata": {"name": "bare"}, "spec": spec,
    });
    let api = world.api::<TaskQueueWorker>();
    api.patch(
        "bare",
        &PatchParams::apply("cluster-test"),
        &Patch::Apply(&fleet),
    )
    .await?;
    eventually(
        "a fleet without a client certificate is told so",
        || async {
            let conditions = api
                .get("bare")
                .await?
                .status
                .map(|status| status.conditions)
                .unwrap_or_default();
            let told = conditions.iter().any(|condition| {
                condition.type_ == "ScalingActive"
                    && condition.status != "True"
                    && condition.reason.starts_with("Temporal")
            });
            Ok(if told {
                Ok(())
            } else {
                Err(format!("{conditions:?}"))
            })
        },
    )
    .await
}

/// Places an order about every second until told to stop.
async fn orders(
    world: Arc<World>,
    queue: String,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<String>> {
    let mut placed = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        placed.push(world.order(
            &queue,
            placed.len(),
            json!({"total": 100, "card": "tok_delay_1000"}),
        )?);
    }
    Ok(placed)
}

/// Each order is done, and every activity of it at the first attempt.
async fn completed_at_once(world: &World, workflows: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(!workflows.is_empty(), "no order was placed");
    for workflow in workflows {
        world.result(workflow).await?;
        let again: Vec<_> = world
            .attempts(workflow)?
            .into_iter()
            .filter(|(_, attempt)| *attempt > 1)
            .collect();
        anyhow::ensure!(
            again.is_empty(),
            "activities of {workflow} failed: {again:?}"
        );
    }
    Ok(())
}

/// What a restart would change about a pod.
#[derive(Debug, PartialEq, Eq)]
struct SeenPod {
    name: String,
    uid: Option<String>,
    restarts: i32,
    ip: Option<IpAddr>,
}

async fn pods(world: &World) -> anyhow::Result<Vec<SeenPod>> {
    let pods = world.api::<Pod>().list(&ListParams::default()).await?;
    let seen = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        SeenPod {
            name: pod.name_any(),
            uid: pod.uid(),
            restarts: status
                .container_statuses
                .iter()
                .flatten()
                .map(|container| container.restart_count)
                .sum(),
            ip: status.pod_ip.and_then(|ip| ip.parse().ok()),
        }
    };
    Ok(pods.iter().map(seen).collect())
}

async fn secret(world: &World, name: &str, data: &[(&str, &str)]) -> anyhow::Result<()> {
    let data: Value = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), json!(text)))
        .collect();
    apply_secret(world, name, "Opaque", &data).await
}

async fn client_secret(world: &World, signed: &Signed) -> anyhow::Result<()> {
    let data = json!({"tls.crt": signed.certificate, "tls.key": signed.key});
    apply_secret(world, "temporal-client", "kubernetes.io/tls", &data).await
}

async fn apply_secret(world: &World, name: &str, type_: &str, data: &Value) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": type_, "stringData": data,
    });
    let params = PatchParams::apply("cluster-test").force();
    world
        .api::<Secret>()
        .patch(name, &params, &Patch::Apply(&object))
        .await?;
    Ok(())
}

/// A certificate authority.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What it signed.
struct Signed {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    fn sign(&self, name: &str) -> anyhow::Result<Signed> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok(Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        })
    }

    /// A server of this authority. It asks for a client certificate of one of these authorities, if there are any.
    fn server(&self, clients: &[&Self]) -> anyhow::Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder();
        let builder = if clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for authority in clients {
                roots.add(CertificateDer::from_pem_slice(
                    authority.certificate.as_bytes(),
                )?)?;
            }
            builder
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
        };
        let signed = self.sign(SERVER)?;
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes())?;
        let mut config = builder.with_single_cert(vec![signed.der], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A client that was let in.
struct Seen {
    peer: IpAddr,
    client: Option<CertificateDer<'static>>,
}

/// Ends TLS and passes the rest on to Temporal.
struct Proxy {
    address: String,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    fn start(world: &World, config: Arc<ServerConfig>) -> anyhow::Result<Self> {
        let listener = world.sandbox.listener_for_pods()?;
        let address = listener.local_addr()?.to_string();
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let config = Arc::new(Mutex::new(config));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let open: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let serving = (
            config.clone(),
            Arc::clone(&seen),
            Arc::clone(&open),
            world.sandbox.temporal()?,
        );
        let accepting = tokio::spawn(async move {
            let (config, seen, open, temporal) = serving;
            while let Ok((client, peer)) = listener.accept().await {
                let acceptor =
                    TlsAcceptor::from(config.lock().expect("nobody panics with the lock").clone());
                let passing = pass_on(client, peer.ip(), acceptor, seen.clone(), temporal.clone());
                open.lock()
                    .expect("nobody panics with the lock")
                    .push(tokio::spawn(passing));
            }
        });
        Ok(Self {
            address,
            config,
            seen,
            open,
            accepting,
        })
    }

    /// A connection through it.
    fn connection(&self, tls: &Value) -> Value {
        let mut tls = tls.clone();
        tls["serverName"] = json!(SERVER);
        json!({"address": self.address, "temporalNamespace": "default", "tls": tls})
    }

    /// From now on only this configuration; every open connection breaks.
    fn switch_to(&self, config: Arc<ServerConfig>) {
        *self.config.lock().expect("nobody panics with the lock") = config;
        self.close();
    }

    fn close(&self) {
        for connection in self
            .open
            .lock()
            .expect("nobody panics with the lock")
            .drain(..)
        {
            connection.abort();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.close();
    }
}

async fn pass_on(
    client: TcpStream,
    peer: IpAddr,
    acceptor: TlsAcceptor,
    seen: Arc<Mutex<Vec<Seen>>>,
    temporal: String,
) {
    // A client that is refused has been told why.
    let Ok(mut client) = acceptor.accept(client).await else {
        return;
    };
    let certificates = client.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates
        .first()
        .map(|certificate| certificate.clone().into_owned());
    seen.lock()
        .expect("nobody panics with the lock")
        .push(Seen {
            peer,
            client: certificate,
        });
    if let Ok(mut server) = TcpStream::connect(temporal).await {
        // Either side may go away at any time.
        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
