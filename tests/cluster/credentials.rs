//! TLS and mTLS from the operator and the workers to a real Temporal server, and certificates that
//! expire soon and are replaced under load. The sandbox's server speaks plaintext, so a front in
//! front of it terminates TLS.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use taskqueue_api::TaskQueueWorker;

use crate::{
    authority::{Authority, LONG, Signed, client_secret, secret},
    front::Front,
    harness::{Load, TestCluster, eventually, one_queue, with_namespace},
};

/// Promised: Secrets are read again every 30 s. The rest of the time covers the next read of
/// Temporal and a busy machine.
pub(crate) const TAKEN_UP: Duration = Duration::from_secs(45);
/// The remaining validity of the first client certificate: less than the 7 days of the warning.
const SOON: Duration = Duration::from_hours(3 * 24);

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_is_named_and_the_right_one_is_picked_up() {
    with_namespace("a-wrong-ca-is-named", |cluster| async move {
        let (right, wrong) = (Authority::new()?, Authority::new()?);
        let front = Front::tls(&cluster, right.server(&[])?)?;
        secret(&cluster, "temporal-ca", &[("ca.crt", &wrong.certificate)]).await?;
        let queue = cluster.queue("all");
        let mut spec = one_queue(&queue, 0, 1, &json!({}));
        spec["connection"] = front.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
        // This server requires no API key, but gets one all the same.
        secret(&cluster, "temporal-key", &[("key", "a-key")]).await?;
        spec["connection"]["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
        cluster.apply(spec).await?;
        let condition = cluster
            .condition_is("ScalingActive", "Unknown", "TemporalUnavailable")
            .await?;
        assert!(
            condition.message.contains("certificate"),
            "{}",
            condition.message
        );

        secret(&cluster, "temporal-ca", &[("ca.crt", &right.certificate)]).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let workflow = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&workflow).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_load_without_a_restart_or_a_failed_activity() {
    with_namespace(
        "certificates-are-replaced-under-load",
        |cluster| async move {
            let (old, new) = (Authority::new()?, Authority::new()?);
            let front = Front::tls(&cluster, old.server(&[&old, &new])?)?;
            let queue = cluster.queue("all");
            let ending = old.sign("client", SOON)?;
            start_fleet(&cluster, &front, &queue, &old, &ending).await?;
            a_client_without_a_certificate_is_refused(&cluster, &front).await?;
            a_certificate_expiry_is_reported(&cluster, &ending).await?;

            let before = cluster.workers_run(1).await?;
            let load = Load::start(&cluster.temporal, &queue, 0).await?;

            // Both sides trust both authorities while the certificates change.
            let client = new.sign("client", LONG)?;
            let both = format!("{}{}", old.certificate, new.certificate);
            let replaced = Instant::now();
            secret(&cluster, "temporal-ca", &[("ca.crt", &both)]).await?;
            client_secret(&cluster, "temporal-client", &client).await?;
            let of_workers = before.addresses();
            let by = |workers: bool| {
                front.count(|seen| {
                    seen.client.as_ref() == Some(&client.der)
                        && of_workers.contains(&seen.peer) == workers
                })
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
            cluster
                .condition_is("CertificateExpiring", "False", "CertificatesValid")
                .await?;
            the_metric_says(&cluster, &client).await?;

            // The kubelet updates mounted files when it next syncs a pod, at least once a minute; a
            // change of the pod triggers a sync.
            cluster.kubectl(&["annotate", "pods", "--all", "example.com/look=now"])?;
            cluster.log_says("TLS files have changed").await?;
            println!(
                "until the worker had the new files: {:.1} s",
                replaced.elapsed().as_secs_f64()
            );
            load.stop().await?;

            // Then the old certificates go: the server has a new certificate and trusts only the
            // new authority.
            front.switch_to(new.server(&[&new])?);
            let order = json!({"total": 100});
            let last = cluster.temporal.orders(&queue, 1000..1003, &order)?;
            cluster.temporal.results_at_once(&last).await?;
            assert!(by(true) > 0, "the workers presented the new certificate");
            cluster
                .condition_is("ScalingActive", "True", "Active")
                .await?;
            cluster.untouched(&before, "new certificates").await
        },
    )
    .await;
}

/// A condition and a metric show when the client certificate expires; the fleet keeps working.
async fn a_certificate_expiry_is_reported(
    cluster: &TestCluster,
    ending: &Signed,
) -> anyhow::Result<()> {
    let condition = cluster
        .condition_is("CertificateExpiring", "True", "ExpiresSoon")
        .await?;
    let when = format!("expires at {}", ending.ends);
    for part in [
        "client certificate",
        "Secret temporal-client",
        when.as_str(),
        "renew it in the Secret",
    ] {
        assert!(condition.message.contains(part), "{}", condition.message);
    }
    the_metric_says(cluster, ending).await?;
    cluster
        .condition_is("ScalingActive", "True", "Active")
        .await
        .map(drop)
}

/// Waits until the operator's metrics show when this client certificate expires.
async fn the_metric_says(cluster: &TestCluster, client: &Signed) -> anyhow::Result<()> {
    let of_client = [("certificate", "client"), ("secret", "temporal-client")];
    eventually(&format!("the metric says {}", client.ends), || async {
        let metric = "taskqueue_operator_certificate_expiry_timestamp_seconds";
        let Some(seconds) = cluster.series(metric, &of_client)? else {
            return Ok(Err("there is no such series".to_owned()));
        };
        let since_1970 = Duration::try_from_secs_f64(seconds)?;
        let expiry = Timestamp::UNIX_EPOCH + since_1970;
        Ok(if expiry == client.ends {
            Ok(())
        } else {
            Err(format!("the metric has {expiry}"))
        })
    })
    .await
}

/// A fleet with one worker and a shared connection, with this client certificate.
async fn start_fleet(
    cluster: &TestCluster,
    front: &Front,
    queue: &str,
    authority: &Authority,
    client: &Signed,
) -> anyhow::Result<()> {
    secret(
        cluster,
        "temporal-ca",
        &[("ca.crt", &authority.certificate)],
    )
    .await?;
    client_secret(cluster, "temporal-client", client).await?;
    let tls = json!({
        "caSecretRef": {"name": "temporal-ca"},
        "clientCertificateSecretRef": {"name": "temporal-client"},
    });
    cluster
        .share_connection("shared", front.connection(&tls))
        .await?;
    let mut spec = one_queue(queue, 1, 1, &json!({}));
    spec["connectionRef"] = json!({"name": "shared"});
    spec.as_object_mut()
        .context("a spec is an object")?
        .remove("connection");
    cluster.apply(spec).await?;
    cluster.condition_is("Ready", "True", "Available").await?;
    cluster
        .condition_is("ScalingActive", "True", "Active")
        .await
        .map(drop)
}

async fn a_client_without_a_certificate_is_refused(
    cluster: &TestCluster,
    front: &Front,
) -> anyhow::Result<()> {
    let mut spec = one_queue(&cluster.queue("other"), 0, 1, &json!({}));
    spec["connection"] = front.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
    let fleet = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
        "metadata": {"name": "bare"}, "spec": spec,
    });
    let api = cluster.api::<TaskQueueWorker>();
    api.patch(
        "bare",
        &PatchParams::apply("cluster-test"),
        &Patch::Apply(&fleet),
    )
    .await?;
    eventually(
        "a fleet without a client certificate reports that",
        || async {
            let conditions = api
                .get("bare")
                .await?
                .status
                .map(|status| status.conditions)
                .unwrap_or_default();
            let is_reported = conditions.iter().any(|condition| {
                condition.type_ == "ScalingActive"
                    && condition.status != "True"
                    && condition.reason.starts_with("Temporal")
            });
            Ok(if is_reported {
                Ok(())
            } else {
                Err(format!("{conditions:?}"))
            })
        },
    )
    .await
}
