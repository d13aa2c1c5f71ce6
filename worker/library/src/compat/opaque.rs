//! Passes requests on as bytes, whatever they mean: those that activities send with the client of
//! their context (`ActivityContext::client`), and those of future versions of the SDK. Opens a
//! connection of its own when the first request comes.
//!
//! Needed because a client whose requests the proxy answers (`proxy`) sends none by itself, and the
//! SDK's connection offers typed methods only. Upstream: `Connection` (client/src/lib.rs) has no
//! access to its channel.

use std::sync::Arc;

use anyhow::Context;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use temporalio_client::callback_based::{GrpcRequest, GrpcSuccessResponse};
use temporalio_client::tonic::client::Grpc;
use temporalio_client::tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use temporalio_client::tonic::codegen::http::uri::PathAndQuery;
use temporalio_client::tonic::metadata::MetadataMap;
use temporalio_client::tonic::transport::{Channel, Endpoint, Uri};
use temporalio_client::tonic::{Extensions, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connection::{CONNECT_TIMEOUT, Connector};
use crate::settings::ProxySettings;
use crate::{tls, tunnel};

/// The largest answer that is accepted, as in the SDK's client.
const LARGEST_ANSWER: usize = 128 * 1024 * 1024;

/// A connection that passes requests on as bytes. Clones share it.
#[derive(Clone)]
pub(super) struct Opaque {
    channel: Channel,
    connector: Connector,
}

impl Opaque {
    /// Creates a connection with the settings and credentials of `connector`. Must be called within
    /// a tokio runtime. Does not connect yet.
    pub(super) fn new(connector: Connector) -> anyhow::Result<Self> {
        let address = connector.settings().address.clone();
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .context("TEMPORAL_ADDRESS is not an address")?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let proxy = connector.settings().proxy.clone();
        let (endpoint, tls) = match connector.tls_files() {
            None if proxy.is_none() => {
                let channel = endpoint.connect_lazy();
                return Ok(Self { channel, connector });
            }
            None => (endpoint, None),
            Some(files) => {
                let origin: Uri = format!("https://{}", connector.authority()).parse()?;
                let name = origin.host().context("the server has no name")?;
                // A certificate names an IPv6 address without brackets.
                let name = name.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(name)?;
                let tls = TlsConnector::from(Arc::new(tls::client_config(files)?));
                (endpoint.origin(origin), Some((name, tls)))
            }
        };
        let connect = tower::service_fn(move |_: Uri| {
            let (address, tls, proxy) = (address.clone(), tls.clone(), proxy.clone());
            async move {
                let stream = open(proxy.as_ref(), &address).await?;
                let stream: Box<dyn Stream> = match tls {
                    None => stream,
                    Some((name, tls)) => Box::new(tls.connect(name, stream).await?),
                };
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let channel = endpoint.connect_with_connector_lazy(connect);
        Ok(Self { channel, connector })
    }

    /// What it connects with.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a request and returns its answer.
    pub(super) async fn pass(&self, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
        let path = format!("/{}/{}", request.service, request.rpc);
        let path = PathAndQuery::try_from(path)
            .map_err(|_| Status::internal("the request's name is not a path"))?;
        let mut headers = MetadataMap::from_headers(request.headers);
        let settings = self.connector.settings();
        for (name, value) in &settings.headers.0 {
            add_header(&mut headers, name, value);
        }
        if let Some(key) = self.connector.current_key() {
            add_header(&mut headers, "authorization", &format!("Bearer {key}"));
        }
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(format!("not connected: {error}")))?;
        let request = Request::from_parts(headers, Extensions::new(), request.proto);
        let answer: Bytes = client.unary(request, path, AsBytes).await?.into_inner();
        Ok(GrpcSuccessResponse {
            headers: MetadataMap::new().into_headers(),
            proto: answer.into(),
        })
    }
}

/// A stream to the server: through a tunnel or not, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the server, through the proxy if there is one.
async fn open(proxy: Option<&ProxySettings>, address: &str) -> std::io::Result<Box<dyn Stream>> {
    if let Some(proxy) = proxy {
        let tunnel = tunnel::open(proxy, address).await;
        return Ok(Box::new(tunnel.map_err(std::io::Error::other)?));
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// Adds a header, unless the request has it.
fn add_header(headers: &mut MetadataMap, name: &str, value: &str) {
    use temporalio_client::tonic::metadata::{Ascii, MetadataKey};

    let name = name.parse::<MetadataKey<Ascii>>();
    if let (Ok(name), Ok(value)) = (name, value.parse())
        && !headers.contains_key(&name)
    {
        headers.insert(name, value);
    }
}

/// Leaves messages as they are.
#[derive(Clone, Copy)]
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, message);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length)))
    }
}
