//! Finds out how to reach Kubernetes: by a kubeconfig, or in a pod by its ServiceAccount. Reads
//! files and environment variables.
//!
//! The errors of the libraries below quote lines that they cannot parse. Those may contain a key or
//! a token, so errors from here name only the kind of failure.

use std::path::PathBuf;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::proxy::{self, ProxyVariables};

/// What a person chooses instead of the kubeconfig's defaults, with the flags of kubectl.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The file. Default: those of `KUBECONFIG`, or else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context. Default: the current one.
    pub context: Option<String>,
    /// The cluster. Default: that of the context.
    pub cluster: Option<String>,
    /// The user. Default: that of the context.
    pub user: Option<String>,
    /// Whom to impersonate. Default: nobody, or whom the kubeconfig's user names.
    pub impersonate: Option<String>,
    /// The groups to impersonate with that.
    pub impersonate_groups: Vec<String>,
}

impl Selection {
    /// Whether it needs a kubeconfig: a ServiceAccount does not do.
    fn needs_kubeconfig(&self) -> bool {
        let names = [&self.context, &self.cluster, &self.user];
        self.kubeconfig.is_some() || names.into_iter().any(Option::is_some)
    }

    fn impersonate(&self, config: &mut Config) {
        let Some(user) = self.impersonate.clone() else {
            return;
        };
        let groups = self.impersonate_groups.clone();
        config.auth_info.impersonate = Some(user);
        config.auth_info.impersonate_groups = (!groups.is_empty()).then_some(groups);
    }
}

/// The configuration for the selected context, cluster and user of the kubeconfig. With none
/// selected: for the current context, or else for the ServiceAccount of the pod.
///
/// The kubeconfig's `proxy-url` and the environment's variables choose the proxy, as with kubectl.
/// In a pod, the API server is always reached directly.
///
/// # Errors
/// If neither can be used.
pub async fn config(selection: &Selection) -> anyhow::Result<Config> {
    let read = match &selection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let read = match read {
        Ok(kubeconfig) => of(kubeconfig, selection, &ProxyVariables::of_environment()).await,
        Err(error) => Err(anyhow::Error::msg(unread(&error))),
    };
    let error = match read {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    if selection.needs_kubeconfig() {
        anyhow::bail!("cannot use the kubeconfig: {error}");
    }
    let mut config = Config::incluster().map_err(|in_cluster| {
        anyhow::anyhow!(
            "cannot read a kubeconfig; set KUBECONFIG: {error}; and this is not a pod: {in_cluster}"
        )
    })?;
    config.apply_debug_overrides();
    selection.impersonate(&mut config);
    Ok(config)
}

/// The configuration for what is selected of this kubeconfig.
async fn of(
    kubeconfig: Kubeconfig,
    selection: &Selection,
    variables: &ProxyVariables,
) -> anyhow::Result<Config> {
    check_names(&kubeconfig, selection)?;
    let options = KubeConfigOptions {
        context: selection.context.clone(),
        cluster: selection.cluster.clone(),
        user: selection.user.clone(),
    };
    let proxy = proxy_url(&kubeconfig, selection);
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| anyhow::Error::msg(unread(&error)))?;
    config.apply_debug_overrides();
    selection.impersonate(&mut config);
    // kube reads the environment as well, but not NO_PROXY.
    config.proxy_url = match proxy {
        Some(url) => Some(proxy::url_of(&url)?),
        None => variables.proxy_for(&config.cluster_url)?,
    };
    Ok(config)
}

/// Checks that everything selected is there: without a user, kube would send no credentials.
fn check_names(kubeconfig: &Kubeconfig, selection: &Selection) -> anyhow::Result<()> {
    let contexts = kubeconfig.contexts.iter().map(|named| &named.name);
    let clusters = kubeconfig.clusters.iter().map(|named| &named.name);
    let users = kubeconfig.auth_infos.iter().map(|named| &named.name);
    check_name("context", selection.context.as_ref(), contexts)?;
    check_name("cluster", selection.cluster.as_ref(), clusters)?;
    check_name("user", selection.user.as_ref(), users)
}

fn check_name<'a>(
    kind: &str,
    selected: Option<&String>,
    mut names: impl Iterator<Item = &'a String>,
) -> anyhow::Result<()> {
    match selected {
        Some(selected) if !names.any(|name| name == selected) => Err(anyhow::anyhow!(
            "it has no {kind} {selected:?}; `kubectl config get-{kind}s` lists them"
        )),
        _ => Ok(()),
    }
}

/// The `proxy-url` of the selected cluster.
fn proxy_url(kubeconfig: &Kubeconfig, selection: &Selection) -> Option<String> {
    let context = selection.context.as_ref();
    let context = context.or(kubeconfig.current_context.as_ref())?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| named.name == *context)?;
    let cluster = selection.cluster.as_ref();
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
        KubeconfigError::ReadConfig(error, path) => {
            format!("{} cannot be read: {error}", path.display())
        }
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
            let refused = of(
                kubeconfig(Some(&url)),
                &Selection::default(),
                &ProxyVariables::default(),
            )
            .await;
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
            let config = of(
                kubeconfig(proxy),
                &Selection::default(),
                &variables(no_proxy),
            )
            .await;
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

    /// Two contexts; the current one is `a`.
    fn two() -> Kubeconfig {
        let yaml = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [
                {"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "shop"}},
                {"name": "b", "context": {"cluster": "b", "user": "b"}},
            ],
            "clusters": [
                {"name": "a", "cluster": {"server": "https://a.example.com"}},
                {"name": "b", "cluster": {
                    "server": "https://b.example.com", "proxy-url": "http://proxy:1",
                }},
            ],
            "users": [
                {"name": "a", "user": {"username": "a"}},
                {"name": "b", "user": {"username": "b", "as": "jane", "as-groups": ["x"]}},
            ],
        });
        Kubeconfig::from_yaml(&yaml.to_string()).unwrap()
    }

    /// Server, proxy, namespace, user, and who is impersonated in which groups.
    async fn resolved(selection: Selection) -> String {
        let config = of(two(), &selection, &ProxyVariables::default()).await;
        let config = match config {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        let auth = config.auth_info;
        format!(
            "{} {} {} {} {:?} {:?}",
            config.cluster_url,
            config
                .proxy_url
                .map(|url| url.to_string())
                .unwrap_or_default(),
            config.default_namespace,
            auth.username.unwrap(),
            auth.impersonate,
            auth.impersonate_groups,
        )
    }

    #[tokio::test]
    async fn a_selection_goes_before_the_defaults_of_the_kubeconfig() {
        let some = |name: &str| Some(name.to_owned());
        let selected = [
            Selection::default(),
            Selection {
                context: some("b"),
                ..Selection::default()
            },
            Selection {
                cluster: some("b"),
                ..Selection::default()
            },
            Selection {
                user: some("b"),
                impersonate: some("joe"),
                ..Selection::default()
            },
            Selection {
                impersonate: some("joe"),
                impersonate_groups: vec!["y".to_owned(), "z".to_owned()],
                ..Selection::default()
            },
            Selection {
                context: some("c"),
                ..Selection::default()
            },
            Selection {
                cluster: some("c"),
                ..Selection::default()
            },
            Selection {
                user: some("c"),
                ..Selection::default()
            },
        ];
        let mut found = Vec::new();
        for selection in selected {
            found.push(resolved(selection).await);
        }
        assert_eq!(
            found,
            [
                "https://a.example.com/  shop a None None",
                r#"https://b.example.com/ http://proxy:1/ default b Some("jane") Some(["x"])"#,
                "https://b.example.com/ http://proxy:1/ shop a None None",
                r#"https://a.example.com/  shop b Some("joe") None"#,
                r#"https://a.example.com/  shop a Some("joe") Some(["y", "z"])"#,
                "it has no context \"c\"; `kubectl config get-contexts` lists them",
                "it has no cluster \"c\"; `kubectl config get-clusters` lists them",
                "it has no user \"c\"; `kubectl config get-users` lists them",
            ]
        );
    }
}
