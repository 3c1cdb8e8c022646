use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A web server that speaks HTTPS on a loopback port of its own. What it has no page for is answered 404.
#[derive(Debug)]
pub struct TestWeb {
    /// Where it answers.
    pub address: SocketAddr,
    state: Arc<State>,
    work: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// By host and path: the whole answer.
    pages: Mutex<HashMap<String, String>>,
    requests: Mutex<Vec<WebRequest>>,
}

/// What it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRequest {
    /// GET or POST.
    pub method: String,
    /// Without the port.
    pub host: String,
    /// Where on it.
    pub path: String,
    /// The header's lines, in lower case.
    pub header: Vec<String>,
    /// What was sent.
    pub body: Vec<u8>,
}

impl TestWeb {
    /// Starts it.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(acceptor: TlsAcceptor) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, state) = (listener.local_addr()?, Arc::new(State::default()));
        let shared = Arc::clone(&state);
        let work = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                // Who does not trust it goes.
                tokio::spawn(async move { state.answer(acceptor, stream).await.ok() });
            }
        });
        Ok(Self { address, state, work })
    }

    /// Puts a page there, such as `mta-sts.a.test/.well-known/mta-sts.txt`.
    pub fn put(&self, place: &str, kind: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        self.answer(place, &format!("{head}{body}"));
    }

    /// Has a whole answer given there.
    pub fn answer(&self, place: &str, answer: &str) {
        lock(&self.state.pages).insert(place.to_owned(), answer.to_owned());
    }

    /// What it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<WebRequest> {
        lock(&self.state.requests).clone()
    }
}

impl State {
    async fn answer(&self, acceptor: TlsAcceptor, stream: TcpStream) -> Result<()> {
        let mut stream = BufStream::new(acceptor.accept(stream).await?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut words = lines.first().context("no request")?.split(' ');
        let (method, path) = (words.next().context("no method")?, words.next().context("no path")?);
        let header: Vec<String> = lines.iter().skip(1).map(|line| line.to_lowercase()).collect();
        let field = |name: &str| header.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let host = field("host:").context("no host")?;
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let mut body = vec![0; field("content-length:").map_or(Ok(0), str::parse)?];
        stream.read_exact(&mut body).await?;
        let answer = lock(&self.pages).get(&format!("{host}{path}")).cloned();
        let answer =
            answer.unwrap_or_else(|| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned());
        let request = WebRequest {
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            header: header.clone(),
            body,
        };
        lock(&self.requests).push(request);
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        Ok(())
    }
}

impl Drop for TestWeb {
    fn drop(&mut self) {
        self.work.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
