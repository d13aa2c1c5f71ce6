//! Describes the errors of the database driver for people. Pure.
//!
//! The driver's own text may quote the URL, or the key in a file that the URL names.

use sqlx::migrate::MigrateError;

use super::pool::CONNECTION_TIMEOUT;

/// Describes an error without repeating any settings.
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(_) => {
            "a parameter of its URL, or the file of its sslkey or sslcert, cannot be used; a PEM \
             file may have lost its line breaks"
                .to_owned()
        }
        sqlx::Error::Tls(cause) => match cause.downcast_ref::<rustls::Error>() {
            Some(cause) => format!("TLS to it fails: {cause}"),
            None => {
                "TLS to it fails: the file of its sslcert or sslrootcert cannot be used".to_owned()
            }
        },
        sqlx::Error::PoolTimedOut => {
            let seconds = CONNECTION_TIMEOUT.as_secs();
            format!("it has given no connection within {seconds} s")
        }
        other => other.to_string(),
    }
}

/// Describes an error of a migration without repeating any settings.
pub fn describe_migration(error: &MigrateError) -> String {
    match error {
        MigrateError::Execute(error) => describe(error),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use taskqueue_testkit::exposure::exposed;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::Store;

    /// A server that accepts TLS and then stays silent.
    async fn offers_tls() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 8];
                stream.read_exact(&mut request).await.ok();
                stream.write_all(b"S").await.ok();
            }
        });
        port
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_is_described_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("postgres://orders@127.0.0.1:{port}/x");
        let store = Store::open(&url, 1).await.unwrap();
        let error = store.migrate().await.unwrap_err();
        assert_eq!(
            describe_migration(&error),
            "it has given no connection within 20 s"
        );
    }

    #[tokio::test]
    async fn a_key_that_the_driver_cannot_read_is_not_shown() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let (der, pem) = (key.serialize_der(), key.serialize_pem());
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let port = offers_tls().await;
        for line_break in ["\\n", " ", ""] {
            let broken = pem.replace('\n', line_break);
            for (cert, key) in [(&certificate, &broken), (&broken, &pem)] {
                let url = format!(
                    "postgres://orders:a-password-of-some-length@127.0.0.1:{port}/x?sslmode=require&sslcert={}&sslkey={}",
                    file("tls.crt", cert),
                    file("tls.key", key)
                );
                let store = Store::open(&url, 1).await.unwrap();
                let error = store.migrate().await.unwrap_err();
                let text = describe_migration(&error);
                assert!(text.contains("cannot be used"), "{text}");
                let secrets = [&*der, body.as_bytes(), b"a-password-of-some-length"];
                assert_eq!(exposed(&secrets, &text), None, "{text}");
            }
        }
    }
}
