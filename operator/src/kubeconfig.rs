//! Finds out how to reach Kubernetes: by a kubeconfig, or in a pod by its ServiceAccount. Reads
//! files and environment variables.
//!
//! The errors of the libraries below quote lines that they cannot parse. Those may contain a key or
//! a token, so errors from here name only the kind of failure.

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::proxy::{self, ProxyVariables};

/// The configuration for a context of the kubeconfig. Without `context`: for the current context of
/// the kubeconfig, or else for the ServiceAccount of the pod.
///
/// The kubeconfig's `proxy-url` and the environment's variables choose the proxy, as with kubectl.
/// In a pod, the API server is always reached directly.
///
/// # Errors
/// If neither can be used.
pub async fn config(context: Option<&str>) -> anyhow::Result<Config> {
    let read = match Kubeconfig::read() {
        Ok(kubeconfig) => of(kubeconfig, context, &ProxyVariables::of_environment()).await,
        Err(error) => Err(anyhow::Error::msg(unread(&error))),
    };
    match (read, context) {
        (Ok(config), _) => Ok(config),
        (Err(error), Some(context)) => Err(anyhow::anyhow!(
            "cannot use the context {context:?} of the kubeconfig: {error}"
        )),
        (Err(error), None) => Config::incluster().map_err(|in_cluster| {
            anyhow::anyhow!(
                "cannot read a kubeconfig; set KUBECONFIG: {error}; and this is not a pod: \
                 {in_cluster}"
            )
        }),
    }
}

/// The configuration for a context of this kubeconfig.
async fn of(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
    variables: &ProxyVariables,
) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let proxy = proxy_url(&kubeconfig, &options);
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| anyhow::Error::msg(unread(&error)))?;
    config.apply_debug_overrides();
    // kube reads the environment as well, but not NO_PROXY.
    config.proxy_url = match proxy {
        Some(url) => Some(proxy::url_of(&url)?),
        None => variables.proxy_for(&config.cluster_url)?,
    };
    Ok(config)
}

/// The `proxy-url` of the cluster that the options choose.
fn proxy_url(kubeconfig: &Kubeconfig, options: &KubeConfigOptions) -> Option<String> {
    let context = options.context.as_ref();
    let context = context.or(kubeconfig.current_context.as_ref())?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| named.name == *context)?;
    let cluster = options.cluster.as_ref();
    let cluster = cluster.or(context.context.as_ref().map(|context| &context.cluster))?;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| named.name == *cluster)?;
    let url = cluster.cluster.as_ref()?.proxy_url.clone();
    url.filter(|url| !url.is_empty())
}

fn unread(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("line {} is not valid in a kubeconfig", at.line()),
            None => "it is not a kubeconfig".to_owned(),
        },
        KubeconfigError::ParseCertificates(_) => "its certificate-authority is not PEM".to_owned(),
        // A proxy URL may contain a password.
        KubeconfigError::ParseProxyUrl(_) => proxy::REMEDY.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn the_password_of_an_unusable_proxy_is_not_printed() {
        let password = "a-password-that-nobody-may-see";
        for url in [
            "socks5://user:PASSWORD@proxy:1080",
            "http://user:PASSWORD%@pro xy",
        ] {
            let url = url.replace("PASSWORD", password);
            let refused = of(kubeconfig(Some(&url)), None, &ProxyVariables::default()).await;
            let Err(refused) = refused else {
                panic!("a proxy was taken: {url}")
            };
            let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
            config.proxy_url = url.parse().ok();
            let refused_by_client = config.proxy_url.is_some().then(|| client(config).err());
            let by_client = refused_by_client.map(|error| shown(&error.unwrap()));
            let text = shown(&refused) + &by_client.unwrap_or_default();
            assert!(text.contains("must be an HTTP proxy"), "{text}");
            assert_eq!(exposed(&[password.as_bytes()], &text), None, "{text}");
        }
    }

    fn kubeconfig(proxy: Option<&str>) -> Kubeconfig {
        let yaml = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": "https://api.example.com", "proxy-url": proxy,
            }}],
            "users": [],
        });
        Kubeconfig::from_yaml(&yaml.to_string()).unwrap()
    }

    #[tokio::test]
    async fn the_proxy_of_a_kubeconfig_goes_before_that_of_the_environment() {
        let variables = |no: &'static str| {
            ProxyVariables::read(move |name| match name {
                "HTTPS_PROXY" => Some("http://environment:1".to_owned()),
                "NO_PROXY" => Some(no.to_owned()),
                _ => None,
            })
        };
        let own = Some("http://own:1");
        for (proxy, no_proxy, expected) in [
            (None, "", Some("http://environment:1/")),
            (None, ".example.com", None),
            (Some(""), "", Some("http://environment:1/")),
            (own, "", Some("http://own:1/")),
            // As with kubectl: whoever writes it into the kubeconfig means this server.
            (own, ".example.com", Some("http://own:1/")),
        ] {
            let config = of(kubeconfig(proxy), None, &variables(no_proxy)).await;
            let chosen = config.unwrap().proxy_url.map(|url| url.to_string());
            assert_eq!(chosen.as_deref(), expected, "{proxy:?} {no_proxy:?}");
        }
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
