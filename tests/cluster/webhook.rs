//! Admission webhooks for the tests: their configuration in the cluster, and a server that denies
//! every request, with a code that the test chooses.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use k8s_openapi::{ByteString, api::admissionregistration::v1::ValidatingWebhookConfiguration};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authority::{Authority, LONG},
    harness::{TestCluster, eventually},
};

/// The name of every webhook here.
pub(crate) const NAME: &str = "policy.taskqueue.test";

/// A server that denies every request, until it is dropped.
pub(crate) struct Denier {
    code: Arc<AtomicU16>,
    /// How the API server reaches it.
    pub(crate) client: Value,
    accepting: JoinHandle<()>,
}

impl Denier {
    pub(crate) fn start(cluster: &TestCluster) -> anyhow::Result<Self> {
        let listener = cluster.sandbox.listener_for_pods()?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let authority = Authority::new()?;
        let signed = authority.sign(&address.ip().to_string(), LONG)?;
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes())?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![signed.der], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let code = Arc::new(AtomicU16::new(0));
        let answered = code.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, code) = (acceptor.clone(), answered.clone());
                tokio::spawn(async move {
                    // The API server may disconnect at any time, and then calls again.
                    if let Ok(client) = acceptor.accept(client).await {
                        drop(deny(client, code.load(Ordering::Relaxed)).await);
                    }
                });
            }
        });
        let bundle = serde_json::to_value(ByteString(authority.certificate.into_bytes()))?;
        Ok(Self {
            code,
            client: json!({"url": format!("https://{address}/"), "caBundle": bundle}),
            accepting,
        })
    }

    /// Sets the code of later denials; 0 = deny without a code.
    pub(crate) fn deny_with(&self, code: u16) {
        self.code.store(code, Ordering::Relaxed);
    }
}

impl Drop for Denier {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads one request and denies it.
async fn deny(mut client: impl AsyncRead + AsyncWrite + Unpin, code: u16) -> anyhow::Result<()> {
    let mut request = Vec::new();
    let review: Value = loop {
        anyhow::ensure!(
            client.read_buf(&mut request).await? > 0,
            "the request is incomplete"
        );
        let text = String::from_utf8_lossy(&request);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(review) = serde_json::from_str(body)
        {
            break review;
        }
    };
    let mut response = json!({"uid": review["request"]["uid"], "allowed": false});
    if code > 0 {
        response["status"] = json!({"code": code, "message": "policy says no"});
    }
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).await?;
    client.shutdown().await?;
    Ok(())
}

/// Installs a webhook for the Deployments of the test's namespace, and waits until the API server
/// calls it.
pub(crate) async fn install(cluster: &TestCluster, client: &Value) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": cluster.namespace},
        "webhooks": [{
            "name": NAME, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 2, "clientConfig": client,
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": cluster.namespace},
            },
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}],
        }],
    });
    configurations(cluster)
        .patch(
            &cluster.namespace,
            &PatchParams::apply("cluster-test").force(),
            &Patch::Apply(&object),
        )
        .await?;
    is_refused(cluster, NAME).await
}

/// Removes the webhook.
pub(crate) async fn remove(cluster: &TestCluster) -> anyhow::Result<()> {
    configurations(cluster)
        .delete(&cluster.namespace, &DeleteParams::default())
        .await?;
    Ok(())
}

fn configurations(cluster: &TestCluster) -> Api<ValidatingWebhookConfiguration> {
    Api::all(cluster.client.clone())
}

/// Waits until the API server refuses a test Deployment with these words, because a new rule takes
/// a moment to apply.
pub(crate) async fn is_refused(cluster: &TestCluster, words: &str) -> anyhow::Result<()> {
    eventually(&format!("{words} refuses a Deployment"), || async {
        let tried = cluster.kubectl(&[
            "create",
            "deployment",
            "probe",
            "--image=none",
            "--dry-run=server",
        ]);
        Ok(match tried {
            Err(error) if format!("{error:#}").contains(words) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })
    .await
}
