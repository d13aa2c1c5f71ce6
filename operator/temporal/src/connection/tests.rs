//! Which connections are accepted, and that no secret is printed.

use super::*;
use crate::pem::Block;
use crate::pem::tests::pem;

mod exposed;

fn plain(address: &str) -> ConnectionFields {
    ConnectionFields {
        address: address.to_owned(),
        temporal_namespace: "default".to_owned(),
        ..ConnectionFields::default()
    }
}

fn issued() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["client.test".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (
        certificate.pem().into_bytes(),
        key.serialize_pem().into_bytes(),
    )
}

fn mutual(certificate_pem: Vec<u8>, key_pem: Vec<u8>) -> ConnectionFields {
    let client = ClientCertificate {
        certificate_pem,
        key_pem: Secret::new(key_pem),
    };
    ConnectionFields {
        tls: Some(Tls {
            client: Some(client),
            ..Tls::default()
        }),
        ..plain("temporal:7233")
    }
}

#[test]
fn an_address_is_only_host_and_port() {
    for good in [
        "temporal.svc:7233",
        "10.0.0.1:1",
        "[::1]:7233",
        "a:80",
        "a:443",
    ] {
        let connection = ResolvedConnection::new(plain(good)).unwrap();
        assert_eq!(connection.address(), good);
        assert_eq!(connection.target().scheme(), "http");
    }
    for bad in [
        "",
        "temporal",
        ":7233",
        "temporal:",
        "temporal:0",
        "temporal:99999",
        "http://a:1",
        "u@a:1",
        "a:1/x",
        "a b:1",
    ] {
        let refused = ResolvedConnection::new(plain(bad));
        assert_eq!(
            refused,
            Err(ConnectionError::Address {
                address: bad.to_owned()
            })
        );
    }
}

#[test]
fn an_api_key_without_tls_is_refused() {
    let fields = ConnectionFields {
        api_key: Some(Secret::new("k")),
        ..plain("a:1")
    };
    assert_eq!(
        ResolvedConnection::new(fields.clone()),
        Err(ConnectionError::ApiKeyWithoutTls)
    );
    let fields = ConnectionFields {
        tls: Some(Tls::default()),
        ..fields
    };
    let connection = ResolvedConnection::new(fields.clone()).unwrap();
    assert_eq!(connection.target().scheme(), "https");
    let fields = ConnectionFields {
        api_key: Some(Secret::new("a\nb")),
        ..fields
    };
    assert_eq!(
        ResolvedConnection::new(fields),
        Err(ConnectionError::ApiKey(ApiKeyError::Space))
    );
}

#[test]
fn each_problem_of_an_api_key_is_named() {
    for (key, error) in [
        ("", ApiKeyError::Empty),
        ("\n", ApiKeyError::Empty),
        ("Bearer abc", ApiKeyError::Bearer),
        ("abc def", ApiKeyError::Space),
        ("abc\r\ndef", ApiKeyError::Space),
        ("schlüssel", ApiKeyError::Characters),
        ("abc\u{7f}", ApiKeyError::Characters),
        ("-----BEGIN PRIVATE KEY-----", ApiKeyError::Pem),
    ] {
        let fields = ConnectionFields {
            api_key: Some(Secret::new(key)),
            tls: Some(Tls::default()),
            ..plain("a:1")
        };
        let refused = ResolvedConnection::new(fields);
        assert_eq!(refused, Err(ConnectionError::ApiKey(error)), "{key:?}");
    }
}

#[test]
fn the_newline_after_an_api_key_is_not_part_of_it() {
    let fields = ConnectionFields {
        api_key: Some(Secret::new("key\n")),
        tls: Some(Tls::default()),
        ..plain("a:1")
    };
    let connection = ResolvedConnection::new(fields).unwrap();
    assert_eq!(connection.api_key(), Some("key".to_owned()));
}

/// A connection through a proxy with these credentials.
fn through(address: &str, username: &[u8], password: &[u8]) -> ConnectionFields {
    ConnectionFields {
        proxy: Some(Proxy {
            address: address.to_owned(),
            credentials: Some(ProxyCredentials {
                username: Secret::new(username),
                password: Secret::new(password),
            }),
        }),
        ..plain("temporal:7233")
    }
}

#[test]
fn each_problem_of_a_proxy_is_named() {
    for address in [
        "proxy",
        "http://proxy:3128",
        "user@proxy:3128",
        "unix:/proxy.sock",
    ] {
        let refused = ResolvedConnection::new(through(address, b"user", b"password"));
        let address = address.to_owned();
        assert_eq!(refused, Err(ConnectionError::ProxyAddress { address }));
    }
    let (username, password) = (SecretPart::ProxyUsername, SecretPart::ProxyPassword);
    for (part, value, error) in [
        (username, &b""[..], ProxyCredentialError::Empty),
        (username, b"\n", ProxyCredentialError::Empty),
        (username, b"a:b", ProxyCredentialError::Colon),
        (username, b"a\r\nX: y", ProxyCredentialError::Characters),
        (password, b"", ProxyCredentialError::Empty),
        (password, b"a\nb", ProxyCredentialError::Characters),
        (password, b"\xff", ProxyCredentialError::Characters),
    ] {
        let fields = if part == username {
            through("proxy:3128", value, b"password")
        } else {
            through("proxy:3128", b"user", value)
        };
        let refused = ResolvedConnection::new(fields).unwrap_err();
        assert_eq!(refused, ConnectionError::ProxyCredential { part, error });
        assert_eq!(refused.part(), Some(part));
    }
}

#[test]
fn the_newline_after_a_password_is_not_part_of_it_and_a_colon_is() {
    let connection = ResolvedConnection::new(through("proxy:3128", b"user\n", b" a:b@c/%\n"));
    assert_eq!(
        connection.unwrap().proxy_credentials(),
        Some(("user".to_owned(), " a:b@c/%".to_owned()))
    );
}

#[test]
fn certificate_and_key_must_belong_together() {
    let (certificate, key) = issued();
    let (_, other_key) = issued();
    assert!(ResolvedConnection::new(mutual(certificate.clone(), key.clone())).is_ok());
    let refused = |certificate: &[u8], key: &[u8]| {
        ResolvedConnection::new(mutual(certificate.to_vec(), key.to_vec())).unwrap_err()
    };
    let of = |part, error| ConnectionError::Pem { part, error };
    assert_eq!(
        refused(&certificate, &other_key),
        ConnectionError::KeyMismatch
    );
    let (another, _) = issued();
    let chain = [another, certificate.clone()].concat();
    assert_eq!(refused(&chain, &key), ConnectionError::ChainOrder);
    assert_eq!(
        refused(&certificate, &certificate),
        of(SecretPart::ClientKey, PemError::Instead(Block::Certificate))
    );
    assert_eq!(
        refused(b"nothing", b""),
        of(SecretPart::ClientCertificate, PemError::NoBlock)
    );
    // A certificate that cannot be read is not a mismatch.
    let damaged = pem("CERTIFICATE", b"no certificate");
    assert_eq!(
        refused(damaged.as_bytes(), &key),
        of(
            SecretPart::ClientCertificate,
            PemError::UnreadableCertificate
        )
    );
}

#[test]
fn an_error_is_one_sentence_with_the_part_and_the_remedy() {
    let (certificate, key) = issued();
    let key = String::from_utf8(key).unwrap().replace('\n', " ");
    let refused = ResolvedConnection::new(mutual(certificate, key.into_bytes())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the client key has lost its line breaks, which became \\n, spaces or nothing; store the \
         unchanged file, for example with kubectl create secret and --from-file"
    );
    assert_eq!(refused.part(), Some(SecretPart::ClientKey));
}

#[test]
fn debug_output_contains_no_secret() {
    let (certificate, key) = issued();
    let fields = ConnectionFields {
        api_key: Some(Secret::new("open-sesame")),
        ..mutual(certificate, key.clone())
    };
    let text = format!(
        "{fields:?} {:?}",
        ResolvedConnection::new(fields.clone()).unwrap()
    );
    let key_line = String::from_utf8(key)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .to_owned();
    assert!(
        !text.contains("open-sesame") && !text.contains(&key_line),
        "{text}"
    );
    let key_bytes = format!("{:?}", fields.tls.unwrap().client.unwrap().key_pem.expose());
    assert!(!text.contains(&key_bytes));
}

#[test]
fn any_change_of_the_credential_changes_its_id() {
    let (certificate, key) = issued();
    let base = mutual(certificate, key);
    let tls = base.tls.clone().unwrap();
    let variants = [
        plain("temporal:7233"),
        base.clone(),
        ConnectionFields {
            tls: Some(Tls {
                client: None,
                ..tls.clone()
            }),
            ..base.clone()
        },
        ConnectionFields {
            tls: Some(Tls {
                server_name: Some("x".to_owned()),
                ..tls.clone()
            }),
            ..base.clone()
        },
        ConnectionFields {
            tls: Some(Tls {
                ca_pem: Some(vec![1]),
                ..tls
            }),
            ..base.clone()
        },
        ConnectionFields {
            api_key: Some(Secret::new("a")),
            ..base.clone()
        },
        ConnectionFields {
            api_key: Some(Secret::new("b")),
            ..base.clone()
        },
        ConnectionFields {
            proxy: Some(Proxy {
                address: "proxy:3128".to_owned(),
                credentials: None,
            }),
            ..plain("temporal:7233")
        },
        through("proxy:3128", b"a", b"b"),
        through("proxy:3128", b"a", b"c"),
        through("proxy:3129", b"a", b"b"),
    ];
    let prints: std::collections::BTreeSet<_> = variants.iter().map(CredentialId::of).collect();
    assert_eq!(prints.len(), variants.len());
    assert_eq!(
        CredentialId::of(&base),
        CredentialId::of(&ConnectionFields {
            address: "elsewhere:1".to_owned(),
            ..base
        })
    );
}
