use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a server may take for a line.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In the clear.
    Plain,
    /// Under TLS from the first byte.
    Tls,
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// One connection to a server.
pub(crate) struct Client {
    stream: Box<dyn Bytes>,
    input: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        security: Security,
        ca: &CertificateDer<'static>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let client = Self { stream: Box::new(stream), input: Vec::new() };
        match security {
            Security::Plain => Ok(client),
            Security::Tls => client.secure(ca).await,
        }
    }

    /// Negotiates TLS on the open connection.
    pub(crate) async fn secure(self, ca: &CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost")?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, self.stream);
        let stream = timeout(PATIENCE, handshake).await.context("no TLS handshake in time")??;
        Ok(Self { stream: Box::new(stream), input: Vec::new() })
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) -> Result<()> {
        self.stream.write_all(octets).await?;
        Ok(self.stream.flush().await?)
    }

    /// The server's next line without its CRLF; `None` once it has closed the connection.
    pub(crate) async fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.input.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.truncate(end);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            match read.context("the server sends nothing")? {
                Ok(0) | Err(_) if self.input.is_empty() => return Ok(None),
                Ok(0) | Err(_) => bail!("half a line: {:?}", String::from_utf8_lossy(&self.input)),
                Ok(_) => {}
            }
        }
    }
}
