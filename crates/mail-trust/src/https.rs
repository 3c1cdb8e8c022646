//! Requests to the web servers of other domains, bounded in time and size.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use mail_dns::{Dns, LookupError};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Authorities, AuthoritiesError};

/// How long connecting with one address may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take in all. RFC 8461 §3.3.
const WHOLE: Duration = Duration::from_secs(60);
/// Octets of an answer. RFC 8461 §3.3.
const MAX_BODY: usize = 64 * 1024;
/// Addresses tried.
const MAX_ADDRESSES: usize = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// The name has no address, or it is not known now.
    #[error("{host} can't be looked up: {source}")]
    Name {
        /// Whose.
        host: String,
        /// What the DNS says.
        source: LookupError,
    },
    /// No address took the connection.
    #[error("can't connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// The server does not prove its name, or can't speak TLS.
    #[error("the TLS handshake with {0} failed: {1}")]
    Tls(String, io::Error),
    /// The dialogue.
    #[error("the server does not speak HTTP as it should: {0}")]
    Http(String),
    /// What it answered. No redirection is followed.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// Its answer is of another type than `text/plain`.
    #[error("the server's answer is no plain text but {0}")]
    Type(String),
    /// It takes too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It is no URL that can be sent to.
    #[error("{0} is no address of the form https://host/path")]
    Url(String),
}

/// A client for HTTPS.
#[derive(Clone)]
pub struct Https {
    dns: Dns,
    connector: TlsConnector,
    port: u16,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Https {
    /// One that trusts these authorities, and asks for this port where none is named: 443 everywhere but in tests.
    ///
    /// # Errors
    /// [`AuthoritiesError::Tls`].
    pub fn new(dns: Dns, authorities: &Authorities, port: u16) -> Result<Self, AuthoritiesError> {
        Ok(Self { dns, connector: authorities.connector()?, port })
    }

    /// The plain text at `path` of a host. Only an answer of 200 is one.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn text(&self, host: &str, path: &str) -> Result<String, HttpsError> {
        let request =
            |builder: hyper::http::request::Builder| builder.method(Method::GET).body(Full::default());
        let answered = timeout(WHOLE, self.exchange(host, self.port, path, request)).await;
        let (head, body) = answered.map_err(|_| HttpsError::TimedOut(WHOLE))??;
        if head.status() != StatusCode::OK {
            return Err(HttpsError::Status(head.status()));
        }
        let kind = head
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|it| it.to_str().ok())
            .unwrap_or("nothing said");
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
            return Err(HttpsError::Type(kind.to_owned()));
        }
        String::from_utf8(body.to_vec()).map_err(|_| HttpsError::Http("its text is not UTF-8".to_owned()))
    }

    /// Sends something to a URL. Any answer of 2xx will do.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn post(&self, url: &str, kind: &'static str, body: Vec<u8>) -> Result<(), HttpsError> {
        let unusable = || HttpsError::Url(url.to_owned());
        let uri: hyper::Uri = url.parse().map_err(|_| unusable())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(unusable)?;
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let port = uri.port_u16().unwrap_or(self.port);
        let request = |builder: hyper::http::request::Builder| {
            builder.method(Method::POST).header(header::CONTENT_TYPE, kind).body(Full::from(body))
        };
        let answered = timeout(WHOLE, self.exchange(host, port, path, request)).await;
        let (head, _) = answered.map_err(|_| HttpsError::TimedOut(WHOLE))??;
        if head.status().is_success() { Ok(()) } else { Err(HttpsError::Status(head.status())) }
    }

    /// One request and its answer over a connection of its own.
    async fn exchange(
        &self,
        host: &str,
        port: u16,
        path: &str,
        make: impl FnOnce(hyper::http::request::Builder) -> hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<(Response<()>, Bytes), HttpsError> {
        let stream = self.connect(host, port).await?;
        let failed = |error: hyper::Error| HttpsError::Http(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let authority = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        let builder = Request::builder()
            .uri(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("Mailstead/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        let request = make(builder).map_err(|error| HttpsError::Http(error.to_string()))?;
        let answer = async {
            let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
            Ok((Response::from_parts(head, ()), whole(body).await?))
        };
        let driver = async {
            drop(connection.await);
            // What came of it is in the answer.
            std::future::pending().await
        };
        tokio::select! { answer = answer => answer, never = driver => never }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, HttpsError> {
        let unknown = |source| HttpsError::Name { host: host.to_owned(), source };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| unknown(LookupError::NotAName))?;
        let mut trouble = unknown(LookupError::NoRecords);
        for address in self.dns.addresses(host).await.map_err(unknown)?.into_iter().take(MAX_ADDRESSES) {
            let address = SocketAddr::new(address, port);
            let connected = timeout(CONNECT, TcpStream::connect(address)).await;
            let stream = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => stream,
                Err(error) => {
                    trouble = HttpsError::Connect(address, error);
                    continue;
                }
            };
            let secured = timeout(CONNECT, self.connector.connect(name.clone(), stream)).await;
            match secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) => trouble = HttpsError::Tls(host.to_owned(), error),
            }
        }
        Err(trouble)
    }
}

async fn whole(body: Incoming) -> Result<Bytes, HttpsError> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    Ok(body.map_err(|error| HttpsError::Http(error.to_string()))?.to_bytes())
}
