//! How to reach Temporal, with the rules of Temporal's own configuration ("environment
//! configuration", as in its CLI and SDKs): the variables `TEMPORAL_*`, on top of a profile in a
//! configuration file. What would have no effect, or would send a key in clear text, is refused
//! instead of ignored. Reads the configuration file, if there is one.

use std::collections::HashMap;
use std::path::PathBuf;

use temporalio_client::Url;
use temporalio_client::tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use temporalio_common::envconfig::{
    ClientConfigProfile, ClientConfigTLS, ConfigError, DataSource, LoadClientConfigProfileOptions,
    load_client_config_profile,
};

use super::credentials::{ApiKey, Headers, Pem, ProxySettings, TlsSettings};
use crate::environment::{Environment, SettingError};

const PROXY_ADDRESS: &str = "TASKQUEUE_PROXY_ADDRESS";
const PROXY_USERNAME: &str = "TASKQUEUE_PROXY_USERNAME";
const PROXY_PASSWORD: &str = "TASKQUEUE_PROXY_PASSWORD";

/// How to reach Temporal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporalSettings {
    /// `TEMPORAL_ADDRESS`, host:port, default `localhost:7233`.
    pub address: String,
    /// `TEMPORAL_NAMESPACE`, default `default`.
    pub temporal_namespace: String,
    /// Present if `TEMPORAL_TLS` or another `TEMPORAL_TLS_*` is set, or an API key.
    pub tls: Option<TlsSettings>,
    /// `TEMPORAL_API_KEY_FILE` (reloaded; the operator sets it) or `TEMPORAL_API_KEY`.
    pub api_key: Option<ApiKey>,
    /// `TEMPORAL_GRPC_META_*`.
    pub headers: Headers,
    /// `TASKQUEUE_PROXY_*`: the proxy to connect through. `HTTPS_PROXY` is not read.
    pub proxy: Option<ProxySettings>,
}

impl TemporalSettings {
    /// Reads the settings of the connection.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let profile = profile(environment)?;
        let api_key = api_key(environment, &profile)?;
        Ok(Self {
            tls: tls(environment, profile.tls, api_key.is_some())?,
            api_key,
            address: address(profile.address)?,
            temporal_namespace: profile.namespace.unwrap_or_else(|| "default".to_owned()),
            headers: headers(profile.grpc_meta)?,
            proxy: proxy(environment)?,
        })
    }
}

/// The profile of the configuration file with the variables applied.
fn profile(environment: &Environment) -> Result<ClientConfigProfile, SettingError> {
    for name in ["CLIENT_CERT", "CLIENT_KEY", "SERVER_CA_CERT"] {
        let (path, data) = (
            format!("TEMPORAL_TLS_{name}_PATH"),
            format!("TEMPORAL_TLS_{name}_DATA"),
        );
        if environment.get(&path).is_some() && environment.get(&data).is_some() {
            let problem = format!("is set together with {path}; set one of them");
            return Err(SettingError::new(&data, problem));
        }
    }
    let variables: HashMap<String, String> = environment
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // The default file is below the home directory of a person.
    let has_file = ["TEMPORAL_CONFIG_FILE", "XDG_CONFIG_HOME", "HOME"]
        .iter()
        .any(|name| environment.get(name).is_some());
    let options = LoadClientConfigProfileOptions::builder()
        .disable_file(!has_file)
        .build();
    load_client_config_profile(options, Some(&variables)).map_err(|error| match error {
        ConfigError::ProfileNotFound(_) => SettingError::new(
            "TEMPORAL_PROFILE",
            "names a profile that the configuration file (TEMPORAL_CONFIG_FILE) does not have",
        ),
        // These errors name variables only.
        ConfigError::InvalidConfig(why) => SettingError::new(
            "TEMPORAL_CONFIG_FILE",
            format!("contradicts the environment: {why}"),
        ),
        // These errors quote the file, which may contain a key.
        ConfigError::LoadError(_) => SettingError::new(
            "TEMPORAL_CONFIG_FILE",
            "cannot be used: the configuration file is not readable TOML with profiles",
        ),
    })
}

fn address(configured: Option<String>) -> Result<String, SettingError> {
    let address = configured.unwrap_or_else(|| "localhost:7233".to_owned());
    // gRPC's name of the resolver that is used in any case. The operator passes it on to workers.
    let address = address
        .strip_prefix("dns:///")
        .unwrap_or(&address)
        .to_owned();
    if !is_address(&address) {
        return Err(SettingError::new(
            "TEMPORAL_ADDRESS",
            "must be host:port, without a scheme",
        ));
    }
    Ok(address)
}

/// Whether a text is host:port.
fn is_address(text: &str) -> bool {
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|p| p > 0)
    });
    valid && Url::parse(&format!("http://{text}")).is_ok()
}

/// The headers, each without the newline that some tools add. An error names the variable, also if
/// the header comes from the configuration file.
fn headers(configured: HashMap<String, String>) -> Result<Headers, SettingError> {
    let checked = configured.into_iter().map(|(name, value)| {
        let mistake = |problem: &str| {
            let variable = name.to_ascii_uppercase().replace('-', "_");
            SettingError::new(&format!("TEMPORAL_GRPC_META_{variable}"), problem)
        };
        if name.parse::<AsciiMetadataKey>().is_err() {
            return Err(mistake("does not end with the name of a text header"));
        }
        let value = value.trim_end_matches(['\r', '\n']).to_owned();
        if value.parse::<AsciiMetadataValue>().is_err() {
            return Err(mistake("must be one line of visible ASCII"));
        }
        Ok((name, value))
    });
    checked.collect::<Result<_, _>>().map(Headers)
}

/// The proxy, whose user name and password need each other.
fn proxy(environment: &Environment) -> Result<Option<ProxySettings>, SettingError> {
    let missing = |missing: &str, given: &str| {
        SettingError::new(
            missing,
            format!("is missing; it goes together with {given}"),
        )
    };
    let username = proxy_credential(environment, PROXY_USERNAME)?;
    let password = proxy_credential(environment, PROXY_PASSWORD)?;
    if username.as_ref().is_some_and(|name| name.contains(':')) {
        return Err(SettingError::new(
            PROXY_USERNAME,
            "must not contain a colon",
        ));
    }
    let credentials = match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => Some((username, password)),
        (Some(_), None) => return Err(missing(PROXY_PASSWORD, PROXY_USERNAME)),
        (None, Some(_)) => return Err(missing(PROXY_USERNAME, PROXY_PASSWORD)),
    };
    match environment.get(PROXY_ADDRESS) {
        None if credentials.is_some() => Err(missing(PROXY_ADDRESS, PROXY_USERNAME)),
        None => Ok(None),
        Some(address) if is_address(address) => Ok(Some(ProxySettings {
            address: address.to_owned(),
            credentials,
        })),
        Some(_) => Err(SettingError::new(
            PROXY_ADDRESS,
            "must be host:port, without a scheme",
        )),
    }
}

/// A user name or a password, without the newline that some tools add.
fn proxy_credential(environment: &Environment, name: &str) -> Result<Option<String>, SettingError> {
    environment.parse(name, "must be one line of text", |value| {
        let value = value.trim_end_matches(['\r', '\n']);
        let is_line = !value.is_empty() && !value.contains(char::is_control);
        is_line.then(|| value.to_owned())
    })
}

fn api_key(
    environment: &Environment,
    profile: &ClientConfigProfile,
) -> Result<Option<ApiKey>, SettingError> {
    if let Some(path) = environment.get("TEMPORAL_API_KEY_FILE") {
        return Ok(Some(ApiKey::File(PathBuf::from(path))));
    }
    let Some(key) = profile.api_key.as_deref().map(str::trim) else {
        return Ok(None);
    };
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SettingError::new(
            "TEMPORAL_API_KEY",
            "must be visible ASCII without spaces",
        ));
    }
    Ok(Some(ApiKey::Value(key.to_owned())))
}

fn tls(
    environment: &Environment,
    configured: Option<ClientConfigTLS>,
    has_api_key: bool,
) -> Result<Option<TlsSettings>, SettingError> {
    // Temporal's configuration ignores a value that is not a boolean.
    environment.boolean("TEMPORAL_TLS")?;
    environment.boolean("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION")?;
    let Some(configured) = configured else {
        return Ok(has_api_key.then(TlsSettings::default));
    };
    if configured.disable_host_verification {
        return Err(SettingError::new(
            "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
            "is not supported; set TEMPORAL_TLS_SERVER_NAME to the name in the certificate",
        ));
    }
    let off = configured.disabled == Some(true);
    let tls = TlsSettings {
        server_name: configured.server_name,
        client: client(
            configured.client_cert.map(pem),
            configured.client_key.map(pem),
        )?,
        ca: configured.server_ca_cert.map(pem),
    };
    if off && has_api_key {
        return Err(SettingError::new(
            if environment.get("TEMPORAL_API_KEY_FILE").is_some() {
                "TEMPORAL_API_KEY_FILE"
            } else {
                "TEMPORAL_API_KEY"
            },
            "needs TLS, or the key would be sent in clear text; set TEMPORAL_TLS to true",
        ));
    }
    if off && tls != TlsSettings::default() {
        return Err(SettingError::new(
            "TEMPORAL_TLS",
            "is false although other TEMPORAL_TLS_* are set",
        ));
    }
    Ok((!off).then_some(tls))
}

/// The client certificate and its key, which need each other.
fn client(cert: Option<Pem>, key: Option<Pem>) -> Result<Option<(Pem, Pem)>, SettingError> {
    let missing = |missing: &str, given: &str, source: &Pem| {
        let suffix = match source {
            Pem::File(_) => "PATH",
            Pem::Value(_) => "DATA",
        };
        SettingError::new(
            &format!("TEMPORAL_TLS_CLIENT_{missing}_{suffix}"),
            format!("is missing; it goes together with TEMPORAL_TLS_CLIENT_{given}_{suffix}"),
        )
    };
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (Some(cert), None) => Err(missing("KEY", "CERT", &cert)),
        (None, Some(key)) => Err(missing("CERT", "KEY", &key)),
    }
}

fn pem(source: DataSource) -> Pem {
    match source {
        DataSource::Path(path) => Pem::File(PathBuf::from(path)),
        DataSource::Data(bytes) => Pem::Value(bytes),
        // The SDK may add sources. What this one is, only a newer version of this crate knows.
        _ => Pem::Value(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TemporalSettings, SettingError> {
        TemporalSettings::from_environment(&pairs.iter().copied().collect())
    }

    fn mistake(pairs: &[(&str, &str)]) -> String {
        read(pairs).unwrap_err().to_string()
    }

    #[test]
    fn without_variables_it_is_a_server_on_this_machine() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.address, "localhost:7233");
        assert_eq!(settings.temporal_namespace, "default");
        assert_eq!((settings.tls, settings.api_key), (None, None));
    }

    #[test]
    fn an_address_may_name_the_resolver_that_is_used_anyway() {
        for address in ["temporal:7233", "temporal.svc.:7233", "[::1]:7233"] {
            let named = format!("dns:///{address}");
            for written in [address, &named] {
                let settings = read(&[("TEMPORAL_ADDRESS", written)]).unwrap();
                assert_eq!(settings.address, address);
            }
        }
    }

    #[test]
    fn a_mistake_is_one_sentence_that_names_the_variable() {
        assert_eq!(
            mistake(&[("TEMPORAL_ADDRESS", "http://t:7233")]),
            "TEMPORAL_ADDRESS must be host:port, without a scheme"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_TLS_CLIENT_CERT_PATH", "/a")]),
            "TEMPORAL_TLS_CLIENT_KEY_PATH is missing; it goes together with \
             TEMPORAL_TLS_CLIENT_CERT_PATH"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_TLS_CLIENT_KEY_DATA", "pem")]),
            "TEMPORAL_TLS_CLIENT_CERT_DATA is missing; it goes together with \
             TEMPORAL_TLS_CLIENT_KEY_DATA"
        );
        assert_eq!(
            mistake(&[
                ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/a"),
                ("TEMPORAL_TLS_SERVER_CA_CERT_DATA", "pem"),
            ]),
            "TEMPORAL_TLS_SERVER_CA_CERT_DATA is set together with \
             TEMPORAL_TLS_SERVER_CA_CERT_PATH; set one of them"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_TLS", "on")]),
            "TEMPORAL_TLS must be true or false"
        );
        assert_eq!(
            mistake(&[
                ("TEMPORAL_TLS", "false"),
                ("TEMPORAL_TLS_SERVER_NAME", "temporal"),
            ]),
            "TEMPORAL_TLS is false although other TEMPORAL_TLS_* are set"
        );
    }

    #[test]
    fn an_api_key_turns_tls_on_and_is_never_printed() {
        for pairs in [
            &[("TEMPORAL_API_KEY", "secret")][..],
            &[("TEMPORAL_API_KEY", "secret"), ("TEMPORAL_TLS", "true")],
        ] {
            let settings = read(pairs).unwrap();
            assert_eq!(settings.api_key, Some(ApiKey::Value("secret".to_owned())));
            assert_eq!(settings.tls, Some(TlsSettings::default()));
            assert!(!format!("{settings:?}").contains("secret"));
        }
        assert_eq!(
            mistake(&[("TEMPORAL_API_KEY", "secret"), ("TEMPORAL_TLS", "false")]),
            "TEMPORAL_API_KEY needs TLS, or the key would be sent in clear text; set TEMPORAL_TLS \
             to true"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_API_KEY_FILE", "/key"), ("TEMPORAL_TLS", "0")]),
            "TEMPORAL_API_KEY_FILE needs TLS, or the key would be sent in clear text; set \
             TEMPORAL_TLS to true"
        );
    }

    #[test]
    fn a_proxy_has_an_address_and_its_password_is_never_printed() {
        let settings = read(&[
            ("TASKQUEUE_PROXY_ADDRESS", "proxy:3128"),
            ("TASKQUEUE_PROXY_USERNAME", "user"),
            ("TASKQUEUE_PROXY_PASSWORD", "a:secret\n"),
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(
            settings.proxy,
            Some(ProxySettings {
                address: "proxy:3128".to_owned(),
                credentials: Some(("user".to_owned(), "a:secret".to_owned())),
            })
        );
        for (pairs, expected) in [
            (
                &[("TASKQUEUE_PROXY_ADDRESS", "http://proxy:3128")][..],
                "TASKQUEUE_PROXY_ADDRESS must be host:port, without a scheme",
            ),
            (
                &[("TASKQUEUE_PROXY_USERNAME", "user")],
                "TASKQUEUE_PROXY_PASSWORD is missing; it goes together with \
                 TASKQUEUE_PROXY_USERNAME",
            ),
            (
                &[
                    ("TASKQUEUE_PROXY_USERNAME", "user"),
                    ("TASKQUEUE_PROXY_PASSWORD", "secret"),
                ],
                "TASKQUEUE_PROXY_ADDRESS is missing; it goes together with \
                 TASKQUEUE_PROXY_USERNAME",
            ),
            (
                &[
                    ("TASKQUEUE_PROXY_USERNAME", "us:er"),
                    ("TASKQUEUE_PROXY_PASSWORD", "secret"),
                ],
                "TASKQUEUE_PROXY_USERNAME must not contain a colon",
            ),
            (
                &[("TASKQUEUE_PROXY_PASSWORD", "two\nlines")],
                "TASKQUEUE_PROXY_PASSWORD must be one line of text",
            ),
        ] {
            assert_eq!(mistake(pairs), expected);
        }
    }

    #[test]
    fn a_header_is_one_line_and_its_value_is_never_printed() {
        let settings = read(&[("TEMPORAL_GRPC_META_AUTHORIZATION", "Bearer secret\n")]).unwrap();
        assert_eq!(settings.headers.0["authorization"], "Bearer secret");
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(
            mistake(&[("TEMPORAL_GRPC_META_X_TOKEN", "sec\nret")]),
            "TEMPORAL_GRPC_META_X_TOKEN must be one line of visible ASCII"
        );
        for name in ["TEMPORAL_GRPC_META_X_BIN", "TEMPORAL_GRPC_META_X Y"] {
            let message = mistake(&[(name, "secret")]);
            assert_eq!(
                message,
                format!("{name} does not end with the name of a text header")
            );
        }
    }

    #[test]
    fn tls_is_on_as_soon_as_one_of_its_variables_is_set() {
        let settings = read(&[("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/ca.crt")]).unwrap();
        let ca = Some(Pem::File(PathBuf::from("/ca.crt")));
        assert_eq!(
            settings.tls,
            Some(TlsSettings {
                ca,
                ..TlsSettings::default()
            })
        );
        let settings = read(&[
            ("TEMPORAL_TLS_CLIENT_CERT_DATA", "cert"),
            ("TEMPORAL_TLS_CLIENT_KEY_DATA", "the key"),
        ])
        .unwrap();
        let client = (
            Pem::Value(b"cert".to_vec()),
            Pem::Value(b"the key".to_vec()),
        );
        assert!(!format!("{settings:?}").contains("the key"));
        assert_eq!(settings.tls.unwrap().client, Some(client));
    }

    #[test]
    fn a_profile_of_the_configuration_file_is_the_base_of_the_variables() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("temporal.toml");
        let text = "[profile.prod]\naddress = \"prod:7233\"\nnamespace = \"shop\"\napi_key = \"k\"";
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let named = |profile| {
            read(&[
                ("TEMPORAL_CONFIG_FILE", &file),
                ("TEMPORAL_PROFILE", profile),
                ("TEMPORAL_NAMESPACE", "other"),
                ("TEMPORAL_GRPC_META_TENANT_ID", "t-1"),
            ])
        };
        let settings = named("prod").unwrap();
        assert_eq!(settings.address, "prod:7233");
        assert_eq!(settings.temporal_namespace, "other");
        assert_eq!(settings.tls, Some(TlsSettings::default()));
        assert_eq!(settings.headers.0["tenant-id"], "t-1");
        assert_eq!(named("stage").unwrap_err().variable, "TEMPORAL_PROFILE");
        std::fs::write(&file, "api_key = \"sec").unwrap();
        let message = named("prod").unwrap_err().to_string();
        assert!(
            message.starts_with("TEMPORAL_CONFIG_FILE ") && !message.contains("sec"),
            "{message}"
        );
    }
}
