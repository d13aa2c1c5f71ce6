//! Certificates generated for these tests, in every order and combination.

use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::*;
use crate::connection::{ClientCertificate, ConnectionFields, Secret, Tls};
use crate::pem::tests::pem;

const DAY: i64 = 86_400;
/// 2030-01-01.
const NOW: i64 = 1_893_456_000;

/// A certificate that expires `days` after [`NOW`], and its key.
fn certificate(name: &str, days: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["temporal".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, name.to_owned());
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let start = rcgen::date_time_ymd(2030, 1, 1);
    let seconds = std::time::Duration::from_secs(u64::from(days.unsigned_abs()) * 86_400);
    params.not_after = if days < 0 {
        start - seconds
    } else {
        start + seconds
    };
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    (made.pem(), key.serialize_pem())
}

fn connection(ca_pem: Option<String>, client: Option<(String, String)>) -> ResolvedConnection {
    ResolvedConnection::new(ConnectionFields {
        address: "temporal:7233".to_owned(),
        temporal_namespace: "default".to_owned(),
        tls: Some(Tls {
            ca_pem: ca_pem.map(String::into_bytes),
            server_name: None,
            client: client.map(|(certificate, key)| ClientCertificate {
                certificate_pem: certificate.into_bytes(),
                key_pem: Secret::new(key),
            }),
        }),
        ..ConnectionFields::default()
    })
    .unwrap()
}

/// The use, the days after [`NOW`] and the subject of each certificate that expires first.
fn found(connection: &ResolvedConnection) -> Vec<(&'static str, i64, String)> {
    expiries(connection, NOW)
        .into_iter()
        .map(|expiry| {
            let days = (expiry.not_after - NOW) / DAY;
            (expiry.used_as.as_str(), days, expiry.subject)
        })
        .collect()
}

#[test]
fn the_certificate_that_expires_first_counts_for_each_use() {
    let (leaf, key) = certificate("leaf", 90);
    let chain = format!("{leaf}{}", certificate("intermediate", 30).0);
    let bundle = format!("{}{}", certificate("one", 400).0, certificate("two", 300).0);
    assert_eq!(
        found(&connection(Some(bundle), Some((chain, key)))),
        [
            ("ca", 300, subject("two")),
            ("client", 30, subject("intermediate")),
        ]
    );
}

fn subject(name: &str) -> String {
    format!("CN={name}")
}

#[test]
fn an_expired_ca_counts_only_if_every_ca_has_expired() {
    let (old, new) = (certificate("old", -10).0, certificate("new", 40).0);
    assert_eq!(
        found(&connection(Some(format!("{old}{new}")), None)),
        [("ca", 40, subject("new"))]
    );
    assert_eq!(
        found(&connection(Some(old), None)),
        [("ca", -10, subject("old"))]
    );
}

#[test]
fn an_expired_client_certificate_is_reported() {
    let (leaf, key) = certificate("leaf", -1);
    assert_eq!(
        found(&connection(None, Some((leaf, key)))),
        [("client", -1, subject("leaf"))]
    );
}

#[test]
fn without_certificates_nothing_expires() {
    assert_eq!(found(&connection(None, None)), []);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(
        text in "\\PC{0,60}",
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let framed = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        drop(certificates(CertificateUse::Client, framed.as_bytes()));
        prop_assert_eq!(certificates(CertificateUse::Client, &bytes), []);
    }

    #[test]
    fn any_bytes_in_pem_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        lengths in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        // Nested sequences with wrong lengths.
        let framed: Vec<u8> =
            lengths.iter().flat_map(|length| [0x30, *length]).chain(bytes.clone()).collect();
        for der in [bytes, framed] {
            drop(certificates(CertificateUse::Client, pem("CERTIFICATE", &der).as_bytes()));
        }
    }

    /// Flips any single bit: what can still be read has the dates and names of a certificate.
    #[test]
    fn a_damaged_certificate_is_read_without_harm(
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let (text, _) = certificate("leaf", 90);
        let mut der = CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec();
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        drop(certificates(CertificateUse::Client, pem("CERTIFICATE", &der).as_bytes()));
    }
}

#[test]
fn the_last_second_is_read_in_both_forms_of_a_date() {
    // Years up to 2049 are written with two digits, later ones with four.
    for (year, seconds) in [
        (2049, 2_493_072_000),
        (2050, 2_524_608_000),
        (9999, 253_370_764_800),
    ] {
        let mut params = CertificateParams::new(vec!["temporal".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = certificates(CertificateUse::Authority, made.pem().as_bytes());
        let found: Vec<i64> = found.iter().map(|expiry| expiry.not_after).collect();
        assert_eq!(found, [seconds], "{year}");
    }
}

#[test]
fn a_subject_has_its_usual_parts_in_order() {
    let mut params = CertificateParams::new(vec!["temporal".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "CH"),
        (DnType::LocalityName, "Bern"),
        (DnType::OrganizationName, "Example"),
        (DnType::OrganizationalUnitName, "Orders"),
        (DnType::CommonName, "b\u{e4}r"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let found = certificates(CertificateUse::Client, made.pem().as_bytes());
    let subjects: Vec<&str> = found.iter().map(|expiry| &*expiry.subject).collect();
    assert_eq!(subjects, ["C=CH, O=Example, OU=Orders, CN=b\u{e4}r"]);
}
