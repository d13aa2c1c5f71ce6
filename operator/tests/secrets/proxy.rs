//! Two HTTP proxies: one opens tunnels, the other refuses every user name and password.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxies {
    /// The address of the one that opens tunnels.
    pub(crate) open: String,
    /// The address of the one that refuses.
    pub(crate) closed: String,
    /// The requests that they got.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxies {
    pub(crate) fn were_given(&self, username: &str, password: &str) -> bool {
        let basic = STANDARD.encode(format!("{username}:{password}"));
        let requests = self.requests.lock().unwrap();
        !requests.is_empty() && requests.iter().all(|request| request.contains(&basic))
    }
}

pub(crate) async fn start() -> Proxies {
    let requests = Arc::default();
    Proxies {
        open: serve(true, Arc::clone(&requests)).await,
        closed: serve(false, Arc::clone(&requests)).await,
        requests,
    }
}

async fn serve(opens: bool, requests: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, opens, Arc::clone(&requests)));
        }
    });
    address
}

async fn answer(mut client: TcpStream, opens: bool, requests: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let server = head.split(' ').nth(1).unwrap().to_owned();
    requests.lock().unwrap().push(head);
    if !opens {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        client.write_all(answer).await.ok();
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .ok();
}
