//! Unusable files: the error says what is wrong and repeats nothing of their content.

use rcgen::{CertificateParams, KeyPair};
use taskqueue_testkit::exposure::exposed;
use tempfile::TempDir;

use super::*;

/// A temporary folder, removed at the end of the test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The error for a certificate and a key.
    fn problem(&self, certificate: &str, key: &str) -> String {
        let (at, of) = (self.0.path().join("tls.crt"), self.0.path().join("tls.key"));
        std::fs::write(&at, certificate).unwrap();
        std::fs::write(&of, key).unwrap();
        let settings = TlsSettings {
            client: Some((Pem::File(at), Pem::File(of))),
            ..TlsSettings::default()
        };
        let error = TlsFiles::load(&settings).unwrap_err();
        format!("{error} {error:?}")
    }

    /// The error for a certificate and a key that are given as values.
    fn problem_of_values(certificate: &str, key: &str) -> String {
        let value = |text: &str| Pem::Value(text.as_bytes().to_vec());
        let settings = TlsSettings {
            client: Some((value(certificate), value(key))),
            ..TlsSettings::default()
        };
        let error = TlsFiles::load(&settings).unwrap_err();
        format!("{error} {error:?}")
    }

    /// The error for a CA.
    fn problem_of_ca(&self, ca: &str) -> String {
        let at = self.0.path().join("ca.crt");
        std::fs::write(&at, ca).unwrap();
        let settings = TlsSettings {
            ca: Some(Pem::File(at)),
            ..TlsSettings::default()
        };
        let error = TlsFiles::load(&settings).unwrap_err();
        format!("{error} {error:?}")
    }
}

#[test]
fn what_is_wrong_with_a_key_is_said_by_kind_and_nothing_of_it_is_shown() {
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let (der, pem) = (key.serialize_der(), key.serialize_pem());
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let lost = "has lost its line breaks";
    for (mangled, expected) in [
        (pem.replace('\n', "\\n"), lost),
        (pem.replace('\n', " "), lost),
        (pem.replace('\n', ""), lost),
        (pem.replacen("-----\n", "-----", 1), lost),
        (pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted"),
        (String::new(), "is empty"),
        (body.clone(), "holds no PEM private key"),
        (pem[..pem.len() / 2].to_owned(), "holds no PEM private key"),
        (
            pem.replace("PRIVATE KEY", "CERTIFICATE"),
            "holds no PEM private key",
        ),
        (
            pem.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
            "is damaged, or of a type",
        ),
        (
            KeyPair::generate().unwrap().serialize_pem(),
            "does not belong to the key",
        ),
    ] {
        let mut texts = vec![files.problem(&certificate, &mangled)];
        assert!(texts[0].contains(expected), "{expected}: {}", texts[0]);
        texts.push(files.problem(&mangled, &pem));
        texts.push(Files::problem_of_values(&certificate, &mangled));
        assert!(texts[2].contains(expected), "{expected}: {}", texts[2]);
        assert!(texts[2].starts_with("TEMPORAL_TLS_CLIENT_CERT_DATA holds a value "));
        texts.push(files.problem_of_ca(&mangled));
        for text in texts {
            assert_eq!(exposed(&[&der, body.as_bytes()], &text), None, "{text}");
        }
    }
    let damaged = certificate.replace(&certificate[60..80], "AAAAAAAAAAAAAAAAAAAA");
    let message = files.problem(&damaged, &pem);
    assert!(
        message.contains("a certificate that cannot be read"),
        "{message}"
    );
}
