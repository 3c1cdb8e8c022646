use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long a client waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A connection, in clear or under TLS, read by lines.
pub(crate) struct Stream {
    inner: BufReader<Inner>,
    line: Vec<u8>,
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Inner {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Inner {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Stream {
    pub(crate) fn plain(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::over(Inner::Plain(stream)))
    }

    fn over(inner: Inner) -> Self {
        Self { inner: BufReader::with_capacity(64 << 10, inner), line: Vec::new() }
    }

    /// Goes over to TLS; nothing may be left unread.
    pub(crate) fn secure(self, config: &Arc<ClientConfig>) -> Result<Self> {
        let Inner::Plain(stream) = self.inner.into_inner() else { bail!("under TLS already") };
        let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        let mut tls = StreamOwned::new(connection, stream);
        tls.conn.complete_io(&mut tls.sock)?;
        Ok(Self::over(Inner::Tls(Box::new(tls))))
    }

    /// Waits for answers that long from now on; in clear only.
    pub(super) fn be_patient(&self, patience: Duration) -> Result<()> {
        match self.inner.get_ref() {
            Inner::Plain(stream) => Ok(stream.set_read_timeout(Some(patience))?),
            Inner::Tls(_) => Ok(()),
        }
    }

    pub(crate) fn send(&mut self, octets: &[u8]) -> Result<()> {
        let inner = self.inner.get_mut();
        inner.write_all(octets)?;
        Ok(inner.flush()?)
    }

    /// The next line, with its CRLF.
    pub(crate) fn line(&mut self) -> Result<&[u8]> {
        use std::io::BufRead as _;
        self.line.clear();
        if self.inner.read_until(b'\n', &mut self.line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(&self.line)
    }

    /// Passes over so many octets.
    pub(crate) fn skip(&mut self, octets: u64) -> Result<()> {
        std::io::copy(&mut (&mut self.inner).take(octets), &mut std::io::sink())?;
        Ok(())
    }
}
