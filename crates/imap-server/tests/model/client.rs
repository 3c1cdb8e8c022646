//! A client on the wire: lines out, answers in.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How many lines of a dialogue are told where it came to a failure.
const TOLD: usize = 150;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    tags: u32,
    /// The last lines, in both directions.
    dialogue: VecDeque<String>,
}

/// What a command was answered with.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Each with its literals.
    pub(crate) untagged: Vec<String>,
    /// Behind the tag.
    pub(crate) tagged: String,
}

impl Client {
    /// As alice.
    pub(crate) fn log_in(address: SocketAddr) -> Self {
        Self::log_in_as(address, "alice")
    }

    pub(crate) fn log_in_as(address: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream: BufReader::new(stream), tags: 0, dialogue: VecDeque::new() };
        client.line();
        assert!(client.run(&format!("LOGIN {name} {name}-secret")).tagged.starts_with("OK"));
        client
    }

    /// One line with the literals in it, and what follows these.
    pub(crate) fn line(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "closed after {whole}");
            whole.push_str(line.trim_end_matches(['\r', '\n']));
            let Some(size) = literal(&whole) else {
                self.note("S", &whole);
                return whole;
            };
            let mut content = vec![0; size];
            self.stream.read_exact(&mut content).unwrap();
            whole.push_str(&String::from_utf8(content).unwrap());
        }
    }

    pub(crate) fn send_line(&mut self, line: &str) {
        self.note("C", line);
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Its tag.
    pub(crate) fn send(&mut self, command: &str) -> String {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send_line(&format!("{tag} {command}"));
        tag
    }

    pub(crate) fn finish(&mut self, tag: &str) -> Reply {
        let mut reply = Reply::default();
        loop {
            let line = self.line();
            if let Some(rest) = line.strip_prefix(tag).and_then(|it| it.strip_prefix(' ')) {
                rest.clone_into(&mut reply.tagged);
                return reply;
            }
            reply.untagged.push(line);
        }
    }

    pub(crate) fn run(&mut self, command: &str) -> Reply {
        let tag = self.send(command);
        self.finish(&tag)
    }

    fn note(&mut self, who: &str, line: &str) {
        if self.dialogue.len() >= TOLD {
            self.dialogue.pop_front();
        }
        self.dialogue.push_back(format!("{who}: {line:?}"));
    }
}

/// What came to a failure is told to its end.
impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines: Vec<String> = self.dialogue.drain(..).collect();
            println!("a client's last lines:\n{}", lines.join("\n"));
        }
    }
}

fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}
