//! An admission webhook hangs on Deployments but not on their replicas: a queue that needs workers
//! gets them.

use std::time::Duration;

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use crate::harness::{TestCluster, eventually, one_queue, with_namespace};

/// From an order on a queue at zero to its replicas, on a busy sandbox: a reading after at most
/// 5 s, then the promised time.
const PROMISED: Duration = Duration::from_secs(5 + 2 + 1);

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_on_twenty_templates_does_not_delay_the_replicas_of_other_queues() {
    with_namespace("a-webhook-that-hangs", |cluster| async move {
        cluster.apply(twenty(&cluster, "first")).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let webhook = Webhook::hang(&cluster).await?;
        cluster.apply(twenty(&cluster, "second")).await?;
        webhook.called().await?;
        let began = Instant::now();
        cluster
            .temporal
            .order(&cluster.queue("q19"), 0, json!({"total": 100}))?;
        let api: Api<Deployment> = cluster.api();
        let grown = eventually("the queue has a replica", || async {
            let found = cluster.replicas("q19").await?;
            Ok(if found.0 > 0 {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            })
        })
        .await;
        let took = began.elapsed();
        let listed = api.list(&kube::api::ListParams::default()).await?;
        let outdated = listed
            .items
            .iter()
            .filter(|deployment| !is(deployment, "second"));
        let outdated = outdated.count();
        webhook.remove().await?;
        grown?;
        println!(
            "from an order to a replica while {outdated} template updates hang: {:.1} s",
            took.as_secs_f64()
        );
        anyhow::ensure!(outdated > 0, "nothing hung");
        anyhow::ensure!(took < PROMISED, "it took {took:?}");
        // The hanging changes are carried out in the end.
        eventually("every template is the second", || async {
            let all = api.list(&kube::api::ListParams::default()).await?.items;
            let left = all
                .iter()
                .filter(|deployment| !is(deployment, "second"))
                .count();
            Ok(if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} are not"))
            })
        })
        .await
    })
    .await;
}

/// Twenty queues at zero, with this annotation in the template.
fn twenty(cluster: &TestCluster, marked: &str) -> Value {
    let mut spec = one_queue(&cluster.queue("all"), 0, 1, &json!({}));
    let queue = |number: u32| {
        let name = format!("q{number}");
        json!({"name": name, "taskQueue": cluster.queue(&name), "replicas": {"min": 0, "max": 1}})
    };
    spec["queues"] = (0..20).map(queue).collect();
    spec["template"]["metadata"] = json!({"annotations": {"example.com/marked": marked}});
    spec
}

fn is(deployment: &Deployment, marked: &str) -> bool {
    let template = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.metadata.as_ref());
    let annotations = template.and_then(|template| template.annotations.as_ref());
    annotations
        .and_then(|all| all.get("example.com/marked"))
        .map(String::as_str)
        == Some(marked)
}

/// A webhook for the Deployments of a namespace that accepts connections and never answers.
struct Webhook {
    api: Api<ValidatingWebhookConfiguration>,
    name: String,
    called: tokio::sync::watch::Receiver<usize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Webhook {
    async fn hang(cluster: &TestCluster) -> anyhow::Result<Self> {
        let listener = cluster.sandbox.listener_for_pods()?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (calls, called) = tokio::sync::watch::channel(0);
        let accepting = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
                calls.send_replace(open.len());
            }
        });
        let name = format!("{}-hangs", cluster.namespace);
        let configuration = serde_json::from_value(json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "hangs.example.com",
                "clientConfig": {"url": format!("https://{address}/")},
                "rules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                    "operations": ["CREATE", "UPDATE"],
                }],
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": cluster.namespace},
                },
                "failurePolicy": "Fail", "timeoutSeconds": 10, "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        }))?;
        let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
        api.create(&PostParams::default(), &configuration).await?;
        Ok(Self {
            api,
            name,
            called,
            accepting,
        })
    }

    /// Waits until the API server has called it.
    async fn called(&self) -> anyhow::Result<()> {
        let mut called = self.called.clone();
        let first = called.wait_for(|calls| *calls > 0);
        tokio::time::timeout(Duration::from_mins(1), first).await??;
        Ok(())
    }

    async fn remove(self) -> anyhow::Result<()> {
        self.api
            .delete(&self.name, &DeleteParams::default())
            .await?;
        self.accepting.abort();
        Ok(())
    }
}
