//! The sandbox's certificate authority, the certificates that it signs, and the kubeconfigs that
//! use them. Writes files below the state folder; talks to nobody.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};

use crate::{
    error::{Attempt, Result},
    files,
    net::{API_SERVICE, NODE_ADDRESS},
    paths::Paths,
};

/// A client of the Kubernetes API: file name, user, group.
const CLIENTS: [(&str, &str, Option<&str>); 8] = [
    ("admin", "sandbox-admin", Some("system:masters")),
    (
        "kubelet-client",
        "sandbox-kubelet-client",
        Some("system:masters"),
    ),
    ("node", "system:node:local", Some("system:nodes")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("proxy", "system:kube-proxy", None),
    ("coredns", "sandbox:coredns", None),
    ("prometheus", "sandbox:prometheus", None),
];

/// Makes the authority and everything that it signs, unless an earlier run has.
pub(crate) fn ensure(paths: &Paths) -> Result<()> {
    let folder = paths.pki();
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(());
    }
    files::make_folder(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
        .attempt(|| format!("restricting access to {}", folder.display()))?;
    let authority = authority(&folder)?;
    let names = [
        "127.0.0.1",
        API_SERVICE,
        NODE_ADDRESS,
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut serving = CertificateParams::new(names.map(str::to_owned))?;
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(
        &authority,
        serving,
        "kube-apiserver",
        None,
        &folder,
        "apiserver",
    )?;
    for (file, user, group) in CLIENTS {
        let mut client = CertificateParams::default();
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(&authority, client, user, group, &folder, file)?;
        let inside = kubeconfig(&folder, file, "https://127.0.0.1:6443");
        files::write_json(&folder.join(format!("{file}.kubeconfig")), &inside)?;
    }
    let accounts = KeyPair::generate()?;
    files::write_file(
        &folder.join("accounts.key"),
        accounts.serialize_pem().as_bytes(),
    )?;
    files::write_file(
        &folder.join("accounts.pub"),
        accounts.public_key_pem().as_bytes(),
    )?;
    files::write_file(&complete, b"")
}

/// A kubeconfig (JSON is YAML too) for the client certificate `client` and a server at this
/// address.
pub(crate) fn kubeconfig(pki: &Path, client: &str, server: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sandbox",
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": client}}],
        "clusters": [{"name": "sandbox", "cluster": {
            "server": server,
            "certificate-authority": pki.join("ca.crt"),
        }}],
        "users": [{"name": client, "user": {
            "client-certificate": pki.join(format!("{client}.crt")),
            "client-key": pki.join(format!("{client}.key")),
        }}],
    })
}

fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "taskqueue sandbox");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    validity(&mut params);
    let certificate = params.self_signed(&key)?;
    files::write_file(&folder.join("ca.crt"), certificate.pem().as_bytes())?;
    Ok(Issuer::new(params, key))
}

fn sign(
    authority: &Issuer<'_, KeyPair>,
    mut params: CertificateParams,
    name: &str,
    group: Option<&str>,
    folder: &Path,
    file: &str,
) -> Result<()> {
    let key = KeyPair::generate()?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    validity(&mut params);
    let certificate = params.signed_by(&key, authority)?;
    files::write_file(
        &folder.join(format!("{file}.crt")),
        certificate.pem().as_bytes(),
    )?;
    files::write_file(
        &folder.join(format!("{file}.key")),
        key.serialize_pem().as_bytes(),
    )
}

/// A sandbox is local and short-lived; with a fixed long validity, no clock can make it stop
/// working.
fn validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NODE;

    #[test]
    fn a_kubeconfig_names_the_server_and_the_files_of_one_client() {
        assert_eq!(
            kubeconfig(Path::new("/s/pki"), "admin", "https://127.0.0.1:16443"),
            json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
                "contexts": [{
                    "name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"},
                }],
                "clusters": [{"name": "sandbox", "cluster": {
                    "server": "https://127.0.0.1:16443",
                    "certificate-authority": "/s/pki/ca.crt"}}],
                "users": [{"name": "admin", "user": {
                    "client-certificate": "/s/pki/admin.crt", "client-key": "/s/pki/admin.key"}}],
            })
        );
    }

    #[test]
    fn the_node_certificate_is_for_the_node_of_this_cluster() {
        assert!(
            CLIENTS
                .iter()
                .any(|(_, user, _)| *user == format!("system:node:{NODE}"))
        );
    }

    #[test]
    fn certificates_are_created_once_and_readable_only_by_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_owned();
        let paths = Paths {
            name: crate::paths::Name::default(),
            cache: state.clone(),
            state,
        };
        ensure(&paths).unwrap();
        let first = fs::read_to_string(paths.pki().join("ca.crt")).unwrap();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        ensure(&paths).unwrap();
        assert_eq!(
            fs::read_to_string(paths.pki().join("ca.crt")).unwrap(),
            first
        );
        let mode = fs::metadata(paths.pki()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
