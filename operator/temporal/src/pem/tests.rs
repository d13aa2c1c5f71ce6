//! Each kind of mistake gets its own name. The keys have the form that their labels promise, but
//! most of their content is made up: unsupported types are recognized by the identifiers in them.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;

/// DER tags that appear in private keys.
mod tag {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const CONTEXT_0: u8 = 0xa0;
}

/// PEM with lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// Base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|three| {
            let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            (0..4).map(move |at| {
                if at > three.len() {
                    '='
                } else {
                    char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63])
                }
            })
        })
        .collect()
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(tag::SEQUENCE, &parts.concat())
}

/// A PKCS#8 key whose secret part is made up.
fn pkcs8(algorithm: &[&[u8]], secret: &[u8]) -> String {
    let identifiers: Vec<Vec<u8>> = algorithm
        .iter()
        .map(|oid| value(tag::OBJECT_IDENTIFIER, oid))
        .collect();
    let der = sequence(&[
        &value(tag::INTEGER, &[0]),
        &value(tag::SEQUENCE, &identifiers.concat()),
        &value(tag::OCTET_STRING, secret),
    ]);
    pem("PRIVATE KEY", &der)
}

fn rsa(bits: usize) -> Vec<u8> {
    let modulus = [vec![0], vec![0xa5; bits / 8]].concat();
    sequence(&[&value(tag::INTEGER, &[0]), &value(tag::INTEGER, &modulus)])
}

fn of_key<T: AsRef<[u8]>>(text: T) -> Option<PemError> {
    signing_key(text.as_ref()).err()
}

fn of_certificate<T: AsRef<[u8]>>(text: T) -> Option<PemError> {
    check_authorities(text.as_ref()).err()
}

fn key() -> String {
    KeyPair::generate().unwrap().serialize_pem()
}

fn certificate() -> String {
    let key = KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    parameters.self_signed(&key).unwrap().pem()
}

#[test]
fn every_supported_key_type_that_can_be_generated_here_is_accepted() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap().serialize_pem();
        assert_eq!(of_key(&key), None, "{algorithm:?}");
        let crlf = key.replace('\n', "\r\n");
        assert_eq!(of_key(&crlf), None, "{algorithm:?}");
        let after_a_certificate = format!("# mine\n{}{key}", certificate());
        assert_eq!(of_key(&after_a_certificate), None, "{algorithm:?}");
    }
}

#[test]
fn each_kind_of_damage_to_a_pem_text_is_named() {
    for (text, check) in [
        (key(), of_key::<Vec<u8>> as fn(Vec<u8>) -> Option<PemError>),
        (certificate(), of_certificate::<Vec<u8>>),
    ] {
        let trimmed = text.trim();
        let utf16: Vec<u8> = [0xfeff]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let lines: Vec<&str> = trimmed.lines().collect();
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        for (mangled, error) in [
            (Vec::new(), PemError::Empty),
            (b" \r\n\t".to_vec(), PemError::Empty),
            (utf16, PemError::Utf16),
            (format!("\u{feff}{text}").into(), PemError::ByteOrderMark),
            (base64(text.as_bytes()).into(), PemError::EncodedTwice),
            (b"hunter2".to_vec(), PemError::NoBlock),
            (
                lines[1..lines.len() - 1].join("\n").into(),
                PemError::NoBlock,
            ),
            (
                trimmed.replace('\n', "\\n").into(),
                PemError::LineBreaksLost,
            ),
            (
                trimmed.replace('\n', "\\r\\n").into(),
                PemError::LineBreaksLost,
            ),
            (
                format!("{}\n", trimmed.replace('\n', " ")).into(),
                PemError::LineBreaksLost,
            ),
            (trimmed.replace('\n', "").into(), PemError::LineBreaksLost),
            (
                format!("{first}\n{}", lines[1..].concat()).into(),
                PemError::LineBreaksLost,
            ),
            (
                trimmed.replace("-----\n", " ").into(),
                PemError::LineBreaksLost,
            ),
            (
                text.replace("-----B", "  -----B").into(),
                PemError::DamagedMarker,
            ),
            (
                text.replace("-----E", "  -----E").into(),
                PemError::DamagedMarker,
            ),
            (
                text.replacen("-----\n", "----\n", 1).into(),
                PemError::DamagedMarker,
            ),
            (
                text.replacen("-----\n", "------\n", 1).into(),
                PemError::DamagedMarker,
            ),
            (text.replace(last, "").into(), PemError::NoEnd),
            (
                text.replace("-----END ", "-----END OTHER ").into(),
                PemError::NoEnd,
            ),
            (text.replace(lines[1], "%%%%").into(), PemError::NotBase64),
        ] {
            let shown = String::from_utf8_lossy(&mangled).into_owned();
            assert_eq!(check(mangled), Some(error), "{shown}");
        }
    }
}

#[test]
fn a_pem_block_of_the_wrong_kind_is_named() {
    let (key, certificate) = (key(), certificate());
    let parameters = pem("EC PARAMETERS", &[6, 1, 1]);
    for (text, found) in [
        (certificate.clone(), Block::Certificate),
        (
            pem("OPENSSH PRIVATE KEY", b"openssh-key-v1"),
            Block::OpenSshKey,
        ),
        (pem("PUBLIC KEY", &[0x30]), Block::PublicKey),
        (pem("CERTIFICATE REQUEST", &[0x30]), Block::Request),
        (format!("{certificate}{parameters}"), Block::Parameters),
        (pem("PKCS7", &[0x30]), Block::Other),
    ] {
        assert_eq!(of_key(&text), Some(PemError::Instead(found)), "{text}");
    }
    let instead = PemError::Instead(Block::PrivateKey);
    assert_eq!(of_certificate(&key), Some(instead));
    assert_eq!(
        of_certificate(pem("ENCRYPTED PRIVATE KEY", &[0x30])),
        Some(instead)
    );
    assert_eq!(
        certificates(pem("CERTIFICATE", b"no certificate").as_bytes()).map(|all| all.len()),
        Ok(1)
    );
    assert_eq!(
        of_certificate(pem("CERTIFICATE", b"no certificate")),
        Some(PemError::UnreadableCertificate)
    );
    assert_eq!(of_key(sequence(&[&[2, 1, 0]])), Some(PemError::Binary));
    assert_eq!(of_key([0x30, 0x82, 0xff, 0xfe]), Some(PemError::Binary));
}

#[test]
fn encrypted_keys_are_named() {
    let old = pem("RSA PRIVATE KEY", &[7; 100]).replacen(
        "-----\n",
        "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011\n\n",
        1,
    );
    for text in [pem("ENCRYPTED PRIVATE KEY", &[7; 100]), old] {
        assert_eq!(of_key(&text), Some(PemError::Encrypted), "{text}");
    }
}

#[test]
fn unsupported_key_types_are_named() {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
    let secret = [9; 66];
    let on_curve = |curve: &[u8]| pkcs8(&[EC, curve], &secret);
    let sec1 = sequence(&[
        &value(tag::INTEGER, &[1]),
        &value(tag::OCTET_STRING, &secret),
        &value(tag::CONTEXT_0, &value(tag::OBJECT_IDENTIFIER, P521)),
    ]);
    for (text, key_type) in [
        (on_curve(P521), KeyType::P521),
        (pem("EC PRIVATE KEY", &sec1), KeyType::P521),
        (on_curve(&[0x2b, 0x81, 4, 0, 33]), KeyType::P224),
        (on_curve(&[0x2b, 0x81, 4, 0, 10]), KeyType::Secp256k1),
        (
            on_curve(&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7]),
            KeyType::Brainpool,
        ),
        (on_curve(&[1, 2, 3]), KeyType::OtherCurve),
        (pkcs8(&[&[0x2b, 0x65, 113]], &secret), KeyType::Ed448),
        (pkcs8(&[&[0x2b, 0x65, 110]], &secret), KeyType::KeyAgreement),
        (
            pkcs8(&[&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1]], &secret),
            KeyType::Dsa,
        ),
        (pem("DSA PRIVATE KEY", &rsa(2048)), KeyType::Dsa),
        (
            pkcs8(
                &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10]],
                &rsa(2048),
            ),
            KeyType::RsaPss,
        ),
        (
            pkcs8(&[&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x12]], &secret),
            KeyType::MlDsa,
        ),
        (pkcs8(&[&[1, 2, 3]], &secret), KeyType::Other),
        (pem("RSA PRIVATE KEY", &rsa(1024)), KeyType::RsaOfOtherSize),
        (pkcs8(&[RSA], &rsa(8192)), KeyType::RsaOfOtherSize),
    ] {
        let error = PemError::UnsupportedKey(key_type);
        assert_eq!(of_key(&text), Some(error), "{text}");
    }
    // Of a supported type, but not a valid key.
    for text in [
        pem("RSA PRIVATE KEY", &rsa(2048)),
        on_curve(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
        pkcs8(&[&[0x2b, 0x65, 112]], &[1, 2]),
        pem("PRIVATE KEY", b"no key"),
        pem("EC PRIVATE KEY", &[0x30]),
    ] {
        assert_eq!(of_key(&text), Some(PemError::UnreadableKey), "{text}");
    }
}

#[test]
fn a_message_names_the_remedy() {
    let error = PemError::UnsupportedKey(KeyType::P521);
    assert_eq!(
        error.to_string(),
        "is an ECDSA key on P-521, which is not supported; use RSA of 2048 to 4096 bits, ECDSA on \
         P-256 or P-384, or Ed25519"
    );
    assert_eq!(
        PemError::Instead(Block::Certificate).to_string(),
        "contains a certificate instead"
    );
}
