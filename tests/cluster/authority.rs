//! Certificate authorities for the tests, the certificates that they sign, and the Secrets that
//! bring these to the operator and the workers.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};

use crate::harness::{OPERATOR_NAMESPACE, TestCluster};

/// The name in the server's certificate. It is not a DNS name.
pub(crate) const SERVER: &str = "temporal.test";
/// The validity of a certificate where it does not matter.
pub(crate) const LONG: Duration = Duration::from_hours(365 * 24);

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A signed certificate and its key.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    /// The end of its validity, in whole seconds.
    pub(crate) ends: Timestamp,
}

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// Signs a certificate for a name, valid since long ago and for `valid` from now.
    pub(crate) fn sign(&self, name: &str, valid: Duration) -> anyhow::Result<Signed> {
        let ends = Timestamp::from_second((Timestamp::now() + valid).as_second())?;
        let since_1970 = Duration::from_secs(ends.as_second().unsigned_abs());
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            ends,
        })
    }

    /// The configuration of a server with a certificate of this authority. Requires a client
    /// certificate of one of the authorities in `clients`, unless that is empty.
    pub(crate) fn server(&self, clients: &[&Self]) -> anyhow::Result<Arc<ServerConfig>> {
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
        let signed = self.sign(SERVER, LONG)?;
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes())?;
        let mut config = builder.with_single_cert(vec![signed.der], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Creates or replaces an Opaque Secret.
pub(crate) async fn secret(
    cluster: &TestCluster,
    name: &str,
    data: &[(&str, &str)],
) -> anyhow::Result<()> {
    let data: Value = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), json!(text)))
        .collect();
    apply(cluster, name, "Opaque", &data).await
}

/// Creates or replaces a Secret with a client's certificate and key.
pub(crate) async fn client_secret(
    cluster: &TestCluster,
    name: &str,
    signed: &Signed,
) -> anyhow::Result<()> {
    let data = json!({"tls.crt": signed.certificate, "tls.key": signed.key});
    apply(cluster, name, "kubernetes.io/tls", &data).await
}

/// Creates or replaces a Secret with a user name and a password.
pub(crate) async fn basic_auth_secret(
    cluster: &TestCluster,
    name: &str,
    username: &str,
    password: &str,
) -> anyhow::Result<()> {
    let data = json!({"username": username, "password": password});
    apply(cluster, name, "kubernetes.io/basic-auth", &data).await
}

/// Creates a Secret in the operator's namespace with a client's certificate and key, and with an
/// API key as `api-key`. It goes with the test's namespace.
pub(crate) async fn operator_secret(
    cluster: &TestCluster,
    name: &str,
    ca: &str,
    signed: &Signed,
    api_key: &str,
) -> anyhow::Result<()> {
    let data = json!({
        "ca.crt": ca, "tls.crt": signed.certificate, "tls.key": signed.key, "api-key": api_key,
    });
    let metadata = json!({"name": name, "ownerReferences": [cluster.owner().await?]});
    let api = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    apply_to(&api, name, &metadata, "kubernetes.io/tls", &data).await
}

async fn apply(cluster: &TestCluster, name: &str, type_: &str, data: &Value) -> anyhow::Result<()> {
    apply_to(&cluster.api(), name, &json!({"name": name}), type_, data).await
}

async fn apply_to(
    api: &Api<Secret>,
    name: &str,
    metadata: &Value,
    type_: &str,
    data: &Value,
) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": type_,
        "stringData": data,
    });
    let params = PatchParams::apply("cluster-test").force();
    api.patch(name, &params, &Patch::Apply(&object)).await?;
    Ok(())
}
