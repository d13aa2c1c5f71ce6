//! Which HTTP proxy leads to an API server, by the rules of kubectl. Reads environment variables;
//! the rest is pure. [`tunnel`] opens the connections.
//!
//! A proxy's URL may contain a password: nothing here prints or quotes one.

pub mod tunnel;

use std::fmt;
use std::net::IpAddr;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use taskqueue_api::validate::no_proxy;

/// What the URL of a proxy must be, and what to do if it is not.
pub const REMEDY: &str = "the proxy (proxy-url of the kubeconfig, HTTPS_PROXY, HTTP_PROXY or \
                          ALL_PROXY) must be an HTTP proxy, http://HOST:PORT or \
                          http://USER:PASSWORD@HOST:PORT, with a character such as @ in the \
                          password written as %40; to reach the API server without it, add the \
                          server's host to NO_PROXY or remove proxy-url";

/// An HTTP proxy.
#[derive(Clone)]
pub struct Proxy {
    /// Its URL, without credentials.
    url: Uri,
    /// What the header Proxy-Authorization must hold, if the URL had credentials.
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Parses a URL; without a scheme it is that of an HTTP proxy. `None` if it is no HTTP proxy.
    pub fn parse(url: &str) -> Option<Self> {
        let any: Uri = "http://server".parse().ok()?;
        let parsed = Matcher::builder().all(url).build().intercept(&any)?;
        let url = parsed.uri();
        let authority = url.authority()?.as_str();
        // An @ is left of a password that has one; what is before it would be half of that.
        let is_plain = !authority.is_empty() && !authority.contains('@');
        (url.scheme_str() == Some("http") && is_plain).then(|| Self {
            url: url.clone(),
            authorization: parsed.basic_auth().cloned(),
        })
    }
}

/// Shows the host and port.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address(&self.url))
    }
}

/// The URL of a proxy is not of the form that [`REMEDY`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{REMEDY}")]
pub struct InvalidProxy;

/// The variables of the environment that choose a proxy. As with curl, the name in capitals goes
/// before the one in small letters; an empty variable is not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `HTTPS_PROXY`, for servers with https.
    https: Option<String>,
    /// `HTTP_PROXY`, for servers with http.
    http: Option<String>,
    /// `ALL_PROXY`, for servers without one of their own.
    all: Option<String>,
    /// `NO_PROXY`: the servers that are reached directly, separated by commas.
    no: Option<String>,
}

impl ProxyVariables {
    /// Reads the environment.
    pub fn of_environment() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables with `value`.
    pub fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let first = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            let mut values = names.iter().filter_map(|name| value(name));
            values.find(|value| !value.is_empty())
        };
        Self {
            https: first("HTTPS_PROXY"),
            http: first("HTTP_PROXY"),
            all: first("ALL_PROXY"),
            no: first("NO_PROXY"),
        }
    }

    /// The URL of the proxy for a server; `None` if it is reached directly, as everything on this
    /// host is.
    ///
    /// # Errors
    /// If the variable does not name an HTTP proxy.
    pub fn proxy_for(&self, server: &Uri) -> Result<Option<Uri>, InvalidProxy> {
        let of_scheme = match server.scheme_str() {
            Some("http") => &self.http,
            _ => &self.https,
        };
        let proxy = of_scheme.as_ref().or(self.all.as_ref());
        match proxy {
            Some(url) if !is_local(server) && !self.excludes(server) => url_of(url).map(Some),
            _ => Ok(None),
        }
    }

    fn excludes(&self, server: &Uri) -> bool {
        let entries = self.no.as_deref().unwrap_or_default().split(',');
        no_proxy::excludes(entries, &address(server))
    }
}

/// The URL of an HTTP proxy, with its credentials.
///
/// # Errors
/// If the text is none.
pub fn url_of(text: &str) -> Result<Uri, InvalidProxy> {
    Proxy::parse(text).ok_or(InvalidProxy)?;
    let scheme = if text.contains("://") { "" } else { "http://" };
    format!("{scheme}{text}").parse().map_err(|_| InvalidProxy)
}

/// The host and port of a URL; without a port, that of its scheme.
pub fn address(url: &Uri) -> String {
    let port = url.port_u16().unwrap_or(match url.scheme_str() {
        Some("http") => 80,
        _ => 443,
    });
    format!("{}:{port}", url.host().unwrap_or_default())
}

/// Whether a server is on this host.
fn is_local(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let ip = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variable = (&'static str, &'static str);

    fn variables(set: &[Variable]) -> ProxyVariables {
        ProxyVariables::read(|name| {
            let found = set.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn proxy_for(set: &[Variable], server: &str) -> Option<String> {
        let server = server.parse().unwrap();
        let found = variables(set).proxy_for(&server).unwrap();
        found.map(|url| url.to_string())
    }

    #[test]
    fn the_variables_choose_the_proxy_by_the_scheme_and_the_host_of_the_server() {
        const SERVER: &str = "https://api.example.com:6443";
        const P: Variable = ("HTTPS_PROXY", "http://proxy:3128");
        let table: [(&[Variable], &str, Option<&str>); 18] = [
            (&[], SERVER, None),
            (&[P], SERVER, Some("http://proxy:3128/")),
            (
                &[("https_proxy", "http://a:1")],
                SERVER,
                Some("http://a:1/"),
            ),
            (
                &[("HTTPS_PROXY", ""), ("https_proxy", "a:1")],
                SERVER,
                Some("http://a:1/"),
            ),
            (
                &[("ALL_PROXY", "http://a:1"), P],
                SERVER,
                Some("http://proxy:3128/"),
            ),
            (&[("all_proxy", "http://a:1")], SERVER, Some("http://a:1/")),
            (&[("HTTP_PROXY", "http://a:1")], SERVER, None),
            (
                &[P, ("http_proxy", "http://a:1")],
                "http://h:8080",
                Some("http://a:1/"),
            ),
            (&[P], "http://h:8080", None),
            (&[P, ("NO_PROXY", "other, .example.com")], SERVER, None),
            (
                &[P, ("no_proxy", "api.example.com:443")],
                SERVER,
                Some("http://proxy:3128/"),
            ),
            (
                &[P, ("NO_PROXY", "cluster.local")],
                "https://api.svc.cluster.local",
                None,
            ),
            (&[P, ("NO_PROXY", "10.0.0.0/8")], "https://10.96.0.1", None),
            (
                &[P, ("NO_PROXY", "fd00::/8")],
                "https://[fd00::1]:6443",
                None,
            ),
            (&[P, ("NO_PROXY", "*")], SERVER, None),
            (&[P], "https://127.0.0.1:6443", None),
            (&[P], "https://[::1]:6443", None),
            (&[P], "https://localhost:6443", None),
        ];
        for (set, server, expected) in table {
            let found = proxy_for(set, server);
            assert_eq!(found.as_deref(), expected, "{set:?} for {server}");
        }
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused_only_where_it_is_needed() {
        let server = "https://api.example.com".parse().unwrap();
        for url in [
            "socks5://a:1",
            "https://a:1",
            "http://",
            "http://u:p@ss@a:1",
            "a b",
        ] {
            let refused = variables(&[("HTTPS_PROXY", url)]).proxy_for(&server);
            assert_eq!(refused, Err(InvalidProxy), "{url}");
            let direct = [("HTTPS_PROXY", url), ("NO_PROXY", "example.com")];
            assert_eq!(variables(&direct).proxy_for(&server), Ok(None), "{url}");
        }
    }

    #[test]
    fn the_credentials_of_a_proxy_are_sent_and_not_shown() {
        let proxy = Proxy::parse("http://user:a%40word@proxy:3128").unwrap();
        let sent = proxy.authorization.clone().unwrap();
        assert_eq!(sent, "Basic dXNlcjphQHdvcmQ=");
        assert_eq!(format!("{proxy} {sent:?}"), "proxy:3128 Sensitive");
    }
}
