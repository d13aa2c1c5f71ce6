//! TLS to Temporal through a proxy that requires client certificates: the mounted files, a CA that
//! does not match, and certificates that change while the worker runs.

use std::path::{Path, PathBuf};

use order_worker::domain::order::{OrderInput, OrderState};
use taskqueue_worker::testing::{Authority, Proxy, SERVER_NAME, temporal};

use crate::support::{Shop, Worker, eventually, start};

/// The three files that the operator mounts.
struct Files(PathBuf);

impl Files {
    fn write(&self, ca: &str, client: &(String, String)) {
        std::fs::write(self.0.join("ca.crt"), ca).unwrap();
        std::fs::write(self.0.join("tls.key"), &client.1).unwrap();
        std::fs::write(self.0.join("tls.crt"), &client.0).unwrap();
    }

    fn variables(dir: &Path, port: u16) -> [(&'static str, String); 5] {
        let path = |name: &str| dir.join(name).display().to_string();
        [
            ("TEMPORAL_ADDRESS", format!("127.0.0.1:{port}")),
            ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME.to_owned()),
            ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", path("ca.crt")),
            ("TEMPORAL_TLS_CLIENT_CERT_PATH", path("tls.crt")),
            ("TEMPORAL_TLS_CLIENT_KEY_PATH", path("tls.key")),
        ]
    }
}

async fn worker(shop: &Shop, port: u16) -> Worker {
    let mut variables = shop.variables();
    for (name, value) in Files::variables(shop.dir.path(), port) {
        variables.insert(name.to_owned(), value);
    }
    let log = shop
        .dir
        .path()
        .join(format!("tls-{}.log", uuid::Uuid::new_v4().simple()));
    start(log, &variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_without_a_restart() {
    let shop = Shop::open("tls").await;
    let (old, new) = (Authority::new(), Authority::new());
    let proxy = Proxy::start(old.server(), temporal()).await;
    let files = Files(shop.dir.path().to_owned());

    // With a CA that did not sign the server's certificate, the worker is not ready and says why.
    files.write(&new.ca, &old.sign("worker"));
    let refused = worker(&shop, proxy.port).await;
    refused.says("invalid peer certificate").await;
    assert_eq!(refused.status("/readyz").await, 503);
    refused.drain().await;

    files.write(&old.ca, &old.sign("worker"));
    let worker = worker(&shop, proxy.port).await.wait_ready().await;
    assert_eq!(
        shop.run(OrderInput::new("tls-1", 100)).await.state,
        OrderState::Completed
    );

    // A half-written file changes nothing. Then both CAs are trusted and the client certificate is
    // new.
    std::fs::write(shop.dir.path().join("ca.crt"), "half").unwrap();
    worker.says("keeping the last TLS files").await;
    files.write(&format!("{}{}", old.ca, new.ca), &new.sign("worker"));
    worker.says("TLS files have changed").await;
    proxy.switch_to(new.server());
    assert_eq!(
        shop.run(OrderInput::new("tls-2", 100)).await.state,
        OrderState::Completed
    );
    assert_eq!(worker.status("/readyz").await, 200);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_alone_and_an_api_key_are_enough() {
    let shop = Shop::open("tls-key").await;
    let authority = Authority::new();
    let proxy = Proxy::start(authority.open_server(), temporal()).await;
    let dir = shop.dir.path();
    std::fs::write(dir.join("ca.crt"), &authority.ca).unwrap();
    std::fs::write(dir.join("api-key"), "secret-key\n").unwrap();
    let mut variables = shop.variables();
    let path = |name: &str| dir.join(name).display().to_string();
    for (name, value) in [
        ("TEMPORAL_ADDRESS", format!("127.0.0.1:{}", proxy.port)),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME.to_owned()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", path("ca.crt")),
        ("TEMPORAL_API_KEY_FILE", path("api-key")),
    ] {
        variables.insert(name.to_owned(), value);
    }
    let worker = start(dir.join("tls-key.log"), &variables).await;
    let worker = worker.wait_ready().await;
    let result = shop.run(OrderInput::new("tls-key-1", 100)).await;
    assert_eq!(result.state, OrderState::Completed);
    std::fs::write(dir.join("api-key"), "another-key\n").unwrap();
    eventually("the new key is read", async || {
        let log = worker.log();
        log.contains("the API key has changed").then_some(())
    })
    .await;
    let result = shop.run(OrderInput::new("tls-key-2", 100)).await;
    assert_eq!(result.state, OrderState::Completed);
    let log = worker.drain().await;
    assert!(
        !log.contains("secret-key") && !log.contains("another-key"),
        "{log}"
    );
}
