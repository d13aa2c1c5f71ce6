//! The API server's end of a port-forward, for servers on loopback: web socket messages that begin
//! with the number of a channel, 0 for the bytes of the port, 1 for what is wrong with it.

use futures::SinkExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The subprotocol that the node of a pod speaks.
pub const PROTOCOL: &str = "v4.channel.k8s.io";

/// Accepts the port-forward that the request with this head asks for, in a subprotocol, and says
/// that the port is open.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    head: &str,
    protocol: &str,
    port: u16,
) -> WebSocketStream<S> {
    let mut lines = head.lines();
    let key = lines.find_map(|line| line.strip_prefix("sec-websocket-key: "));
    let accepted = derive_accept_key(key.unwrap().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accepted}\r\nsec-websocket-protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let [low, high] = port.to_le_bytes();
    for channel in [0, 1] {
        // Fails if the client has not liked the answer.
        let begun = socket.send(Message::binary(vec![channel, low, high])).await;
        begun.ok();
    }
    socket
}

/// A message on a channel.
pub fn message(channel: u8, text: &str) -> Message {
    Message::binary([&[channel], text.as_bytes()].concat())
}
