//! `SMTP_URL`: the mail server, and how to open a connection that is ready for mails. Opens
//! sockets; lettre implements the protocol.
//!
//! Every failure here concerns the server or the settings, never a recipient.

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt::Display;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use tokio::net::TcpStream;

use super::unsent::Unsent;

/// Timeout of a connection to one address of the mail server.
const SMTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an `SMTP_URL` is invalid.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is not the URL of a mail server.
    #[error("it must be smtp://host:port or smtps://host:port")]
    Malformed,
    /// `?tls=` has an unknown value.
    #[error("tls must be required, opportunistic or none")]
    UnknownTls,
    /// The password would be sent without encryption.
    #[error(
        "its password could be read in transit: use smtps:// or ?tls=required, or say ?tls=none if \
         the network is trusted"
    )]
    PasswordInClear,
    /// The user or the password is not UTF-8.
    #[error("user and password must be UTF-8")]
    Login,
    /// TLS cannot be set up for this host, or there are no trusted certificates.
    #[error("TLS cannot be used: {0}")]
    Tls(Error),
}

/// The mail server of `SMTP_URL`.
#[derive(Debug)]
pub(super) struct Relay {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<Credentials>,
    hello: ClientId,
}

impl Relay {
    /// Parses `smtp://` (with `?tls=required` or `?tls=opportunistic` for STARTTLS) or `smtps://`,
    /// with or without `user:password@`. A password needs encryption, or `?tls=none`. A path is the
    /// client's name in the greeting.
    pub(super) fn from_url(url: &str) -> Result<Self, UrlError> {
        let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
        let host = url.host_str().ok_or(UrlError::Malformed)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let certified = || TlsParameters::new(host.clone()).map_err(UrlError::Tls);
        let tls = url.query_pairs().find(|(name, _)| name == "tls");
        let (tls, port) = match (url.scheme(), tls.as_ref().map(|(_, value)| &**value)) {
            // An attacker on the way can remove the offer to encrypt.
            ("smtp", None | Some("opportunistic")) if url.password().is_some() => {
                return Err(UrlError::PasswordInClear);
            }
            ("smtp", None | Some("none")) => (Tls::None, 25),
            ("smtp", Some("required")) => (Tls::Required(certified()?), 587),
            ("smtp", Some("opportunistic")) => (Tls::Opportunistic(certified()?), 587),
            ("smtp", Some(_)) => return Err(UrlError::UnknownTls),
            ("smtps", _) => (Tls::Wrapper(certified()?), 465),
            _ => return Err(UrlError::Malformed),
        };
        let login = match url.password() {
            None => None,
            Some(password) => Some(Credentials::new(
                decoded(url.username())?,
                decoded(password)?,
            )),
        };
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        let port = url.port().unwrap_or(port);
        Ok(Self {
            host,
            port,
            tls,
            login,
            hello,
        })
    }

    /// Opens a connection: greets, encrypts and logs in as the URL requires.
    pub(super) async fn connect(&self) -> Result<AsyncSmtpConnection, Unsent> {
        let mut connection = self.greeted().await?;
        let upgrade = match &self.tls {
            Tls::Required(tls) => Some(tls),
            Tls::Opportunistic(tls) if connection.can_starttls() => Some(tls),
            _ => None,
        };
        if let Some(tls) = upgrade {
            let upgraded = connection.starttls(tls.clone(), &self.hello).await;
            upgraded.map_err(|error| trouble("STARTTLS", &error))?;
        }
        if let Some(login) = &self.login {
            let known = connection.auth(DEFAULT_MECHANISMS, login).await;
            known.map_err(|error| trouble("the login", &error))?;
        }
        Ok(connection)
    }

    async fn greeted(&self) -> Result<AsyncSmtpConnection, Unsent> {
        let address = (&*self.host, self.port);
        let greeted = if let Tls::Wrapper(tls) = &self.tls {
            let (timeout, tls) = (Some(SMTP_TIMEOUT), Some(tls.clone()));
            AsyncSmtpConnection::connect_tokio1(address, timeout, &self.hello, tls, None).await
        } else {
            // lettre keeps Nagle's algorithm on and writes the end of a mail separately, so every
            // mail would wait 40 ms for the receiver's delayed acknowledgement.
            let unreachable =
                |error: std::io::Error| unavailable(format_args!("cannot be reached: {error}"));
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await
        };
        greeted.map_err(|error| trouble("the greeting", &error))
    }
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| UrlError::Login)
}

/// Leaves out the server's own text, which may repeat what was sent.
fn trouble(step: &str, error: &Error) -> Unsent {
    match (error.status(), error.source()) {
        (Some(code), _) => unavailable(format_args!("answered {code} to {step}")),
        (None, Some(source)) => unavailable(format_args!("cannot be used: {source}")),
        (None, None) => unavailable("cannot be used"),
    }
}

fn unavailable(what: impl Display) -> Unsent {
    Unsent::Unavailable(format!("the mail server of SMTP_URL {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Relay {
        Relay::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_says_where_and_how() {
        let at = |url: &str| {
            let relay = read(url);
            (relay.host, relay.port, format!("{:?}", relay.tls))
        };
        for (url, host, port, tls) in [
            ("smtp://mail", "mail", 25, "None"),
            ("smtp://mail:2525/", "mail", 2525, "None"),
            ("smtp://[::1]", "::1", 25, "None"),
            ("smtp://mail?tls=required", "mail", 587, "Required"),
            (
                "smtp://mail?tls=opportunistic",
                "mail",
                587,
                "Opportunistic",
            ),
            ("smtps://mail", "mail", 465, "Wrapper"),
            ("smtps://mail:1465", "mail", 1465, "Wrapper"),
        ] {
            assert_eq!(at(url), (host.to_owned(), port, tls.to_owned()), "{url}");
        }
    }

    #[test]
    fn a_login_is_decoded_and_a_path_is_the_name_to_greet_with() {
        let relay = read("smtps://me%40shop:p%2Fw%20d@mail/shop.example");
        let login = Credentials::new("me@shop".to_owned(), "p/w d".to_owned());
        assert!(relay.login.is_some_and(|given| given == login));
        assert_eq!(relay.hello, ClientId::Domain("shop.example".to_owned()));
        assert!(read("smtp://me@mail").login.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_said_at_the_start() {
        let problem = |url: &str| Relay::from_url(url).map(drop).unwrap_err().to_string();
        assert_eq!(
            problem("smtp://mail?tls=maybe"),
            "tls must be required, opportunistic or none"
        );
        assert_eq!(
            problem("smtps://a:%FF@mail"),
            "user and password must be UTF-8"
        );
        for url in ["smtp://a:b@mail", "smtp://a:b@mail?tls=opportunistic"] {
            assert_eq!(
                problem(url),
                "its password could be read in transit: use smtps:// or ?tls=required, or say \
                 ?tls=none if the network is trusted"
            );
        }
        assert!(read("smtp://a:b@mail?tls=none").login.is_some());
        assert!(read("smtp://a:b@mail?tls=required").login.is_some());
        for url in ["mail", "http://mail", "smtp:mail"] {
            assert_eq!(
                problem(url),
                "it must be smtp://host:port or smtps://host:port"
            );
        }
    }
}
