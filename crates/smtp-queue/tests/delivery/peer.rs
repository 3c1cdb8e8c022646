use mail_config::{RelayTls, Smarthost};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::host::PATIENCE;

/// A message as the server got it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

/// A server that (if it is willing) takes everything, but refuses `no@` for good and `later@` for now, and never answers `stall@`.
pub(crate) struct Peer {
    pub(crate) port: u16,
    received: UnboundedReceiver<Received>,
}

/// What else a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Willing,
    /// Willing, and reports deliveries itself (DSN): shows what RCPT asks for before the message's text.
    Reporting,
    /// Willing, and takes messages as chunks (BDAT).
    Chunking,
    /// Willing, and takes UTF-8: shows what MAIL asks for before the message's text.
    International,
    /// Answers the connection with 421.
    Busy,
    /// Defers every recipient.
    Grudging,
    /// Offers TLS and breaks it off.
    Clumsy,
    /// Takes connections and says nothing.
    Silent,
    /// Closes the connection without a word on the message it got.
    Vanishing,
}

/// One listener at each of these addresses, all at the same port.
pub(crate) async fn listeners(addresses: &[&str]) -> Vec<TcpListener> {
    'ports: loop {
        let mut listeners: Vec<TcpListener> = Vec::new();
        for address in addresses {
            let port = listeners.first().map_or(0, |first| first.local_addr().unwrap().port());
            match TcpListener::bind(format!("{address}:{port}")).await {
                Ok(listener) => listeners.push(listener),
                Err(_) => continue 'ports,
            }
        }
        return listeners;
    }
}

impl Peer {
    pub(crate) async fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), Manner::Willing)
    }

    pub(crate) fn at(listener: TcpListener, manner: Manner) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner, sender.clone()));
            }
        });
        Self { port, received }
    }

    pub(crate) async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.received.recv()).await.expect("nothing was delivered").unwrap()
    }

    /// What was received and not yet asked for.
    pub(crate) fn received_already(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }

    /// How much that is.
    pub(crate) fn received_already_count(&self) -> usize {
        self.received.len()
    }

    pub(crate) fn smarthost(&self) -> Smarthost {
        Self::smarthost_at(self.port)
    }

    pub(crate) fn smarthost_at(port: u16) -> Smarthost {
        Smarthost {
            host: "127.0.0.1".to_owned(),
            port,
            socket: None,
            lmtp: false,
            tls: RelayTls::None,
            ca_file: None,
            credentials: None,
        }
    }
}

/// What one offers that takes UTF-8.
const INTERNATIONAL: &str = "250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8";

async fn serve(stream: TcpStream, manner: Manner, received: UnboundedSender<Received>) -> Option<()> {
    let mut stream = BufStream::new(stream);
    let mut message = Received::default();
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Busy => return answer(&mut stream, "421 4.3.2 too busy").await,
        Manner::Willing
        | Manner::Reporting
        | Manner::Chunking
        | Manner::International
        | Manner::Grudging
        | Manner::Clumsy
        | Manner::Vanishing => {
            answer(&mut stream, "220 peer").await?;
        }
    }
    loop {
        let line = read_line(&mut stream).await?;
        let (verb, argument) = line.split_once(['<', ' ']).unwrap_or((&line, ""));
        let path = argument.split(['<', '>']).find(|it| it.contains('@')).unwrap_or_default().to_owned();
        let reply = match verb {
            "EHLO" if manner == Manner::Clumsy => "250-peer\r\n250 STARTTLS",
            "EHLO" if manner == Manner::Reporting => "250-peer\r\n250-PIPELINING\r\n250 DSN",
            "EHLO" if manner == Manner::Chunking => "250-peer\r\n250-PIPELINING\r\n250 CHUNKING",
            "EHLO" if manner == Manner::International => INTERNATIONAL,
            "EHLO" => "250-peer\r\n250 PIPELINING",
            "STARTTLS" => {
                answer(&mut stream, "220 go").await?;
                stream.read_u8().await.ok()?;
                return answer(&mut stream, "no TLS after all").await;
            }
            "RCPT" if manner == Manner::Grudging => "451 4.7.1 come back later",
            "MAIL" => {
                (message.from, message.to) = (path, Vec::new());
                if manner == Manner::International {
                    message.text = format!("{line}\n");
                }
                "250 ok"
            }
            "RCPT" if path.starts_with("no@") => "550 5.1.1 no such user",
            "RCPT" if path.starts_with("later@") => "451 4.2.0 come back later",
            "RCPT" if path.starts_with("stall@") => std::future::pending().await,
            "RCPT" => {
                if manner == Manner::Reporting {
                    message.text.push_str(&format!("{line}\n"));
                }
                message.to.push(path);
                "250 ok"
            }
            "DATA" if message.to.is_empty() => "554 5.5.1 no recipients",
            "DATA" => {
                answer(&mut stream, "354 go").await?;
                message.text.push_str(&read_message(&mut stream).await?);
                received.send(std::mem::take(&mut message)).ok()?;
                if manner == Manner::Vanishing {
                    return None;
                }
                "250 2.0.0 taken"
            }
            "BDAT" => {
                message.text.push_str(&read_chunk(&mut stream, argument).await?);
                received.send(std::mem::take(&mut message)).ok()?;
                "250 2.0.0 taken"
            }
            _ => "250 ok",
        };
        answer(&mut stream, reply).await?;
    }
}

async fn answer(stream: &mut BufStream<TcpStream>, reply: &str) -> Option<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn read_line(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await.ok()?;
    (length > 0).then(|| line.trim_end().to_owned())
}

/// RFC 3030 §2: the whole message, as one chunk.
async fn read_chunk(stream: &mut BufStream<TcpStream>, argument: &str) -> Option<String> {
    let mut chunk = vec![0; argument.trim_end_matches(" LAST").parse().ok()?];
    stream.read_exact(&mut chunk).await.ok()?;
    String::from_utf8(chunk).ok()
}

async fn read_message(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n.\r\n") {
        stream.read_line(&mut text).await.ok().filter(|length| *length > 0)?;
    }
    Some(text)
}
