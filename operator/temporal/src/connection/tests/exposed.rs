//! No message contains any part of a Secret, however the Secret was mangled on its way.

use std::error::Error as _;

use proptest::prelude::*;
use taskqueue_testkit::exposure::exposed;

use super::*;
use crate::pem::tests::{base64, pem};

/// What tools do to text, and people to files.
#[derive(Debug, Clone)]
enum Mangle {
    /// Every line break is replaced by this.
    LineBreaks(&'static str),
    /// Cut off at this thousandth of the length.
    Truncated(usize),
    /// Preceded by this text.
    Before(&'static str),
    Base64,
    /// One byte is lost, at this thousandth of the length.
    Lost(usize),
    /// The text twice in a row.
    Twice,
    Replaced(&'static str, &'static str),
    Der,
}

impl Mangle {
    fn on(&self, bytes: &[u8], der: &[u8]) -> Vec<u8> {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let at = |thousandth: usize| bytes.len() * thousandth / 1_000;
        match self {
            Self::LineBreaks(other) => text().replace('\n', other).into_bytes(),
            Self::Truncated(place) => bytes[..at(*place)].to_vec(),
            Self::Before(garbage) => [garbage.as_bytes(), bytes].concat(),
            Self::Base64 => base64(bytes).into_bytes(),
            Self::Lost(place) => {
                let mut less = bytes.to_vec();
                if !less.is_empty() {
                    less.remove(at(*place).min(less.len() - 1));
                }
                less
            }
            Self::Twice => [bytes, bytes].concat(),
            Self::Replaced(from, to) => text().replace(from, to).into_bytes(),
            Self::Der => der.to_vec(),
        }
    }
}

fn mangle() -> impl Strategy<Value = Mangle> {
    let line_break =
        prop::sample::select(vec!["\\n", "\\r\\n", " ", "", "\r\n", "\r", "\n\n", "\t"]);
    let garbage = prop::sample::select(vec![
        "\u{feff}",
        "key: ",
        "  ",
        "\"",
        "garbage\n",
        "\0",
        "-----",
    ]);
    let replaced = prop::sample::select(vec![
        ("-----BEGIN ", "-----BEGIN"),
        ("-----\n", "----\n"),
        ("-----\n", "\n"),
        ("-----END ", "-----BEGIN "),
        ("-----END ", "-----END X"),
        ("PRIVATE KEY", "CERTIFICATE"),
        ("CERTIFICATE", "PRIVATE KEY"),
        ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        ("PRIVATE KEY", "EC PRIVATE KEY"),
        ("PRIVATE KEY", "RSA PRIVATE KEY"),
        ("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n"),
        ("-----", "\u{2014}"),
        ("A", "%"),
        ("=", ""),
    ]);
    prop_oneof![
        line_break.prop_map(Mangle::LineBreaks),
        (0..1_000_usize).prop_map(Mangle::Truncated),
        garbage.prop_map(Mangle::Before),
        Just(Mangle::Base64),
        (0..1_000_usize).prop_map(Mangle::Lost),
        Just(Mangle::Twice),
        replaced.prop_map(|(from, to)| Mangle::Replaced(from, to)),
        Just(Mangle::Der),
    ]
}

/// Random bytes or a real key, under a label that may be wrong.
#[derive(Debug, Clone)]
struct Material {
    der: Vec<u8>,
    text: Vec<u8>,
}

fn material() -> impl Strategy<Value = Material> {
    let invented = prop::collection::vec(any::<u8>(), 64..400);
    let real = prop::sample::select(vec![
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ])
    .prop_map(|algorithm| {
        rcgen::KeyPair::generate_for(algorithm)
            .unwrap()
            .serialize_der()
    });
    let label = prop::sample::select(vec![
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "CERTIFICATE",
        "PUBLIC KEY",
    ]);
    (
        prop_oneof![invented, real],
        label,
        prop::collection::vec(mangle(), 0..3),
    )
        .prop_map(|(der, label, mangles)| {
            let whole = pem(label, &der).into_bytes();
            let text = mangles
                .iter()
                .fold(whole, |text, mangle| mangle.on(&text, &der));
            Material { der, text }
        })
}

/// Everything that can be printed of a result.
fn printed(outcome: &Result<ResolvedConnection, ConnectionError>) -> String {
    match outcome {
        Ok(connection) => format!("{connection:?} {connection:#?}"),
        Err(error) => {
            assert!(error.source().is_none(), "{error:?}");
            format!("{error} {error:?} {error:#?}")
        }
    }
}

/// For each field that holds a Secret, a connection with the material there and good values
/// elsewhere.
fn connections(material: &[u8]) -> [ConnectionFields; 6] {
    let (certificate, key) = issued();
    let with_api_key = ConnectionFields {
        api_key: Some(Secret::new(material)),
        tls: Some(Tls::default()),
        ..plain("temporal:7233")
    };
    let with_ca = ConnectionFields {
        tls: Some(Tls {
            ca_pem: Some(material.to_vec()),
            ..Tls::default()
        }),
        ..plain("temporal:7233")
    };
    [
        mutual(certificate, material.to_vec()),
        mutual(material.to_vec(), key),
        with_ca,
        with_api_key,
        through("proxy:3128", material, b"password"),
        through("proxy:3128", b"user", material),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_message_contains_a_part_of_a_key_or_a_certificate(material in material()) {
        let body = base64(&material.der);
        for fields in connections(&material.text) {
            let shown = format!("{} {fields:?}", printed(&ResolvedConnection::new(fields.clone())));
            let found = exposed(&[&material.der, body.as_bytes()], &shown);
            prop_assert_eq!(found, None, "{}", shown);
        }
    }

    #[test]
    fn no_message_contains_a_part_of_an_api_key(
        key in "[!-~]{16,80}",
        before in prop::sample::select(vec!["", "Bearer ", "\u{feff}", "\n", "\0", "-----BEGIN "]),
        after in prop::sample::select(vec!["", "\n", " x", "\r\n", "\u{e4}", "\n\n"]),
    ) {
        let material = format!("{before}{key}{after}");
        for fields in connections(material.as_bytes()) {
            let shown = format!("{} {fields:?}", printed(&ResolvedConnection::new(fields.clone())));
            let found = exposed(&[key.as_bytes()], &shown);
            prop_assert_eq!(found, None, "{}", shown);
        }
    }
}
