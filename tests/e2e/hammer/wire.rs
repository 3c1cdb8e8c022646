//! A connection to an IMAP server, and its responses taken apart.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::PATIENCE;

/// Flags without `\Recent`, which only one session has.
pub(crate) type Flags = BTreeSet<String>;

/// Lines kept for the report of a failure.
const KEPT: usize = 60;

/// One response: its text with `{…}` where literals were, and the literals.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) text: String,
    pub(crate) literals: Vec<Vec<u8>>,
}

/// What a FETCH response tells.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) uid: Option<u32>,
    pub(crate) flags: Option<Flags>,
    pub(crate) size: Option<usize>,
    pub(crate) date: Option<String>,
    pub(crate) literal: Option<Vec<u8>>,
}

/// What a response says.
#[derive(Debug)]
pub(crate) enum Said {
    Exists(usize),
    Expunge(usize),
    Fetch(usize, Fetched),
    Search(Vec<u32>),
    Bye,
    /// A response code, as `COPYUID 5 1 2`, or other data.
    Other(String),
}

pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    last: VecDeque<String>,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut this = Self { stream: BufReader::new(stream), last: VecDeque::new() };
        this.response(PATIENCE)?.context("no greeting")?;
        Ok(this)
    }

    fn keep(&mut self, line: String) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// What was said last, both ways.
    pub(crate) fn transcript(&self) -> String {
        self.last.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        let shown = text.split("\r\n").next().unwrap_or_default();
        self.keep(format!("C: {shown}"));
        Ok(self.stream.get_mut().write_all(text.as_bytes())?)
    }

    /// The next response; `None` if none begins within `patience`.
    pub(crate) fn response(&mut self, patience: Duration) -> Result<Option<Response>> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        match self.stream.fill_buf() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
            Ok([]) => bail!("the server closed the connection"),
            Ok(_) => self.stream.get_ref().set_read_timeout(Some(PATIENCE))?,
        }
        let mut response = Response { text: String::new(), literals: Vec::new() };
        loop {
            self.stream.read_line(&mut response.text)?;
            let text = response.text.strip_suffix("\r\n").context("half a line")?.to_owned();
            response.text = text;
            let Some(size) = literal_size(&response.text) else { break };
            let mut literal = vec![0; size];
            self.stream.read_exact(&mut literal)?;
            response.literals.push(literal);
        }
        self.keep(format!("S: {}", response.text));
        Ok(Some(response))
    }
}

/// The octets that follow a line's end.
fn literal_size(text: &str) -> Option<usize> {
    text.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

impl Response {
    /// Untagged data; an error for what no server may say.
    pub(crate) fn said(&self) -> Result<Said> {
        let data = self.text.strip_prefix("* ").with_context(|| format!("unexpected: {}", self.text))?;
        if let Some((number, rest)) = data.split_once(' ')
            && let Ok(number) = number.parse()
        {
            return Ok(match rest.split(' ').next().unwrap_or_default() {
                "EXISTS" => Said::Exists(number),
                "EXPUNGE" => Said::Expunge(number),
                "FETCH" => Said::Fetch(number, self.fetched()?),
                _ => Said::Other(data.to_owned()),
            });
        }
        if let Some(numbers) = data.strip_prefix("SEARCH") {
            return Ok(Said::Search(numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>()?));
        }
        if data.starts_with("BYE") {
            return Ok(Said::Bye);
        }
        let code = data.strip_prefix("OK [").and_then(|rest| rest.split_once(']'));
        Ok(Said::Other(code.map_or(data, |(code, _)| code).to_owned()))
    }

    fn fetched(&self) -> Result<Fetched> {
        let between = |from: &str, to: char| Some(self.text.split_once(from)?.1.split_once(to)?.0);
        let number = |key: &str| {
            let digits = between(key, ' ').or_else(|| between(key, ')'));
            digits.map(|it| it.trim_end_matches(')').parse::<usize>()).transpose()
        };
        let flags = between("FLAGS (", ')').map(|flags| {
            let flags = flags.split_whitespace().filter(|flag| *flag != "\\Recent");
            flags.map(str::to_owned).collect()
        });
        Ok(Fetched {
            uid: number("UID ")?.map(u32::try_from).transpose()?,
            flags,
            size: number("RFC822.SIZE ")?,
            date: between("INTERNALDATE \"", '"').map(str::to_owned),
            literal: self.literals.first().cloned(),
        })
    }
}

/// The numbers of a set, as `1:3,7`.
pub(crate) fn numbers(set: &str) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in set.split(',') {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>()?, last.parse::<u32>()?);
        numbers.extend(first.min(last)..=first.max(last));
    }
    Ok(numbers)
}
