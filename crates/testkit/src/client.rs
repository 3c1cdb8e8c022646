use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
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
    deflate: Option<(Compress, Decompress)>,
}

impl Client {
    /// Connects, and sends `header` before all else, TLS too.
    pub(crate) async fn connect(
        address: SocketAddr,
        security: Security,
        ca: &CertificateDer<'static>,
        header: &str,
    ) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(header.as_bytes()).await?;
        let client = Self { stream: Box::new(stream), input: Vec::new(), deflate: None };
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
        Ok(Self { stream: Box::new(stream), input: Vec::new(), deflate: None })
    }

    /// From now on both sides compress. RFC 4978.
    pub(crate) fn compress(&mut self) {
        self.deflate = Some((Compress::new(Compression::default(), false), Decompress::new(false)));
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) -> Result<()> {
        let mut deflated = Vec::with_capacity(octets.len() + 1024);
        match &mut self.deflate {
            Some((deflate, _)) => drop(deflate.compress_vec(octets, &mut deflated, FlushCompress::Sync)?),
            None => deflated.extend_from_slice(octets),
        }
        self.stream.write_all(&deflated).await?;
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
            let read = timeout(PATIENCE, self.read()).await;
            match read.context("the server sends nothing")? {
                Ok(0) | Err(_) if self.input.is_empty() => return Ok(None),
                Ok(0) | Err(_) => bail!("half a line: {:?}", String::from_utf8_lossy(&self.input)),
                Ok(_) => {}
            }
        }
    }

    /// Octets read; 0 at the end.
    async fn read(&mut self) -> std::io::Result<usize> {
        let Some((_, inflate)) = &mut self.deflate else {
            return self.stream.read_buf(&mut self.input).await;
        };
        let mut received = vec![0; 4096];
        let read = self.stream.read(&mut received).await?;
        let end = inflate.total_in() + read as u64;
        while inflate.total_in() < end {
            let at = read.saturating_sub(usize::try_from(end - inflate.total_in()).unwrap_or_default());
            self.input.reserve(4096);
            let rest = received.get(at..read).unwrap_or_default();
            inflate.decompress_vec(rest, &mut self.input, FlushDecompress::Sync)?;
        }
        Ok(read)
    }
}
