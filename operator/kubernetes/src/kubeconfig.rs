//! Finds out how to reach Kubernetes: by a kubeconfig, or in a pod by its ServiceAccount. Reads
//! files and environment variables.
//!
//! The errors of the libraries below quote lines that they cannot parse. Those may contain a key or
//! a token, so errors from here name only the kind of failure.

use kube::Config;
use kube::config::{KubeConfigOptions, KubeconfigError};

/// The configuration for a context of the kubeconfig. Without `context`: for the current context of
/// the kubeconfig, or else for the ServiceAccount of the pod.
///
/// # Errors
/// If neither can be used.
pub async fn config(context: Option<&str>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = match (Config::from_kubeconfig(&options).await, context) {
        (Ok(config), _) => config,
        (Err(error), Some(context)) => {
            anyhow::bail!(
                "cannot use the context {context:?} of the kubeconfig: {}",
                unread(&error)
            )
        }
        (Err(error), None) => Config::incluster().map_err(|in_cluster| {
            anyhow::anyhow!(
                "cannot read a kubeconfig; set KUBECONFIG: {}; and this is not a pod: {in_cluster}",
                unread(&error)
            )
        })?,
    };
    config.apply_debug_overrides();
    Ok(config)
}

fn unread(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("line {} is not valid in a kubeconfig", at.line()),
            None => "it is not a kubeconfig".to_owned(),
        },
        KubeconfigError::ParseCertificates(_) => "its certificate-authority is not PEM".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;
    use taskqueue_testkit::exposure::exposed;

    use super::*;
    use crate::client::client;

    fn key() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    }

    fn shown(error: &anyhow::Error) -> String {
        format!("{error} {error:#} {error:?}")
    }

    #[tokio::test]
    async fn an_unusable_key_in_a_kubeconfig_is_not_printed() {
        let certificate = {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec!["client.test".to_owned()];
            let parameters = rcgen::CertificateParams::new(names).unwrap();
            parameters.self_signed(&key).unwrap().pem()
        };
        for lost in ["\\n", " ", ""] {
            let key = key();
            let body = key.lines().nth(1).unwrap().to_owned();
            let encode = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
            let yaml = serde_json::json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {
                    "client-certificate-data": encode(&certificate),
                    "client-key-data": encode(&key.replace('\n', lost)),
                }}],
            });
            let kubeconfig = Kubeconfig::from_yaml(&yaml.to_string()).unwrap();
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            _ = rustls::crypto::ring::default_provider().install_default();
            let Err(refused) = client(config.unwrap()) else {
                panic!("a key without line breaks was taken")
            };
            let text = shown(&refused);
            assert!(text.contains("line breaks may have been lost"), "{text}");
            assert_eq!(exposed(&[body.as_bytes()], &text), None, "{text}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_not_printed() {
        let password = "a-password-that-nobody-may-see";
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.proxy_url = Some(
            format!("http://user:{password}@proxy:3128")
                .parse()
                .unwrap(),
        );
        let Err(refused) = client(config) else {
            panic!("a proxy was taken")
        };
        let text = shown(&refused);
        assert!(text.contains("a proxy"), "{text}");
        assert_eq!(exposed(&[password.as_bytes()], &text), None, "{text}");
    }

    #[test]
    fn an_invalid_kubeconfig_is_not_quoted() {
        let token = "a-token-that-nobody-may-see";
        let yaml = format!("apiVersion: v1\nusers:\n- name: u\n  user: {{token: {token}\n");
        let refused = Kubeconfig::from_yaml(&yaml).unwrap_err();
        let text = unread(&refused);
        assert_eq!(exposed(&[token.as_bytes()], &text), None, "{text}");
        assert!(text.starts_with("line "), "{text}");
    }
}
