use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mail_types::ChannelBindings;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::channel_binding::channel_bindings;
use crate::tls::Identity;

/// A connection's bytes, in the clear or under TLS.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<Secured>),
}

/// A connection under TLS, and what the server showed.
#[derive(Debug)]
pub struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    /// `None` if logins are not to be bound.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Secured {
    /// What was negotiated.
    #[must_use]
    pub fn negotiated(&self) -> &ServerConnection {
        self.stream.get_ref().1
    }
}

impl Stream {
    /// True under TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The version of TLS, as OpenSSL names it.
    #[must_use]
    pub fn tls_version(&self) -> Option<&'static str> {
        let Self::Tls(secured) = self else { return None };
        let version = secured.negotiated().protocol_version()?;
        Some(if version == rustls::ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" })
    }

    /// What a login can be bound to: under TLS 1.3, unless the operator does not want it.
    #[must_use]
    pub fn channel_bindings(&self) -> Option<ChannelBindings> {
        let Self::Tls(secured) = self else { return None };
        channel_bindings(secured.negotiated(), secured.identity.as_ref()?.end_point.as_ref())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(secured) => secured.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
        }
    }
}
