use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::client::Client;
use crate::pattern::{Bindings, fill, matches};
use crate::{Fixture, Security, Server};

/// A golden dialogue.
#[derive(Debug, Clone)]
pub struct Transcript {
    users: Vec<String>,
    messages: Vec<GivenMessage>,
    plain_only: bool,
    steps: Vec<(usize, Step)>,
}

#[derive(Debug, Clone)]
struct GivenMessage {
    user: String,
    mailbox: String,
    text: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Send { client: usize, octets: Vec<u8>, fill: bool },
    Expect { client: usize, line: String },
    Secure { client: usize },
    Close { client: usize },
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// A line that is no step, by its number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parsed =
            Self { users: Vec::new(), messages: Vec::new(), plain_only: false, steps: Vec::new() };
        for (position, line) in text.lines().enumerate() {
            let number = position + 1;
            parsed.line(number, line).with_context(|| format!("line {number}: {line}"))?;
        }
        Ok(parsed)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(text) = line.strip_prefix('|') {
            let message = self.messages.last_mut().context("a text without a message")?;
            message.text.extend_from_slice(text.as_bytes());
            message.text.extend_from_slice(b"\r\n");
            return Ok(());
        }
        if let Some(given) = line.strip_prefix("given:") {
            return self.given(given);
        }
        self.steps.push((number, step(line)?));
        Ok(())
    }

    fn given(&mut self, given: &str) -> Result<()> {
        let words: Vec<&str> = given.split_whitespace().collect();
        match words.as_slice() {
            ["user", name] => self.users.push((*name).to_owned()),
            ["message", "in", mailbox, "of", user] => self.messages.push(GivenMessage {
                user: (*user).to_owned(),
                mailbox: (*mailbox).to_owned(),
                text: Vec::new(),
            }),
            ["over", "plain"] => self.plain_only = true,
            _ => bail!("this can't be given"),
        }
        Ok(())
    }

    /// Makes what is given. Blocks.
    ///
    /// # Errors
    /// What the directory or the store says.
    pub fn prepare(&self, fixture: &Fixture) -> Result<()> {
        for user in self.users.iter().filter(|user| !["alice", "bob"].contains(&user.as_str())) {
            fixture.add_user(user)?;
        }
        for message in &self.messages {
            fixture.add_message(&message.user, &message.mailbox, &message.text)?;
        }
        Ok(())
    }

    /// Holds the dialogue with `server`.
    ///
    /// # Errors
    /// The dialogue up to the first line that differs.
    pub async fn run(&self, fixture: &Fixture, server: &Server, security: Security) -> Result<()> {
        let mut play = Play {
            fixture,
            server,
            security,
            clients: HashMap::new(),
            bindings: Bindings::new(),
            log: String::new(),
        };
        let mut steps = self.steps.iter().peekable();
        while let Some((number, step)) = steps.next() {
            // Untagged lines that stand together may come in any order.
            let mut group = vec![step.clone()];
            while let (Some(client), Some((_, next))) = (step.untagged(), steps.peek()) {
                if next.untagged() != Some(client) {
                    break;
                }
                group.push(next.clone());
                steps.next();
            }
            play.perform(group).await.with_context(|| format!("at line {number}, after\n{}", play.log))?;
        }
        Ok(())
    }
}

impl Step {
    /// The client, if this expects an untagged line.
    fn untagged(&self) -> Option<usize> {
        match self {
            Self::Expect { client, line } if line.starts_with("* ") => Some(*client),
            Self::Expect { .. } | Self::Send { .. } | Self::Secure { .. } | Self::Close { .. } => None,
        }
    }
}

fn step(line: &str) -> Result<Step> {
    let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (number, rest) = line.split_at(digits);
    let client = if number.is_empty() { 1 } else { number.parse()? };
    if rest == "TLS" {
        return Ok(Step::Secure { client });
    }
    let (kind, text) = rest.split_once(':').context("no step")?;
    let text = text.strip_prefix(' ').unwrap_or(text);
    match (kind, text) {
        ("C", "<close>") => Ok(Step::Close { client }),
        ("C", text) => Ok(Step::Send { client, octets: format!("{text}\r\n").into_bytes(), fill: true }),
        ("C-raw", text) => Ok(Step::Send { client, octets: unescape(text)?, fill: false }),
        ("S", text) => Ok(Step::Expect { client, line: text.to_owned() }),
        _ => bail!("no step"),
    }
}

/// The octets of a `C-raw:` line.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        octets.push(match chars.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('\\') => b'\\',
            Some('x') => u8::from_str_radix(&chars.by_ref().take(2).collect::<String>(), 16)?,
            _ => bail!("an unknown escape"),
        });
    }
    Ok(octets)
}

/// A dialogue in progress.
struct Play<'a> {
    fixture: &'a Fixture,
    server: &'a Server,
    security: Security,
    clients: HashMap<usize, Client>,
    bindings: Bindings,
    log: String,
}

impl Play<'_> {
    async fn client(&mut self, number: usize) -> Result<&mut Client> {
        if !self.clients.contains_key(&number) {
            let address = self.server.address(self.security);
            let client = Client::connect(address, self.security, &self.fixture.ca).await?;
            self.clients.insert(number, client);
        }
        self.clients.get_mut(&number).context("no such client")
    }

    async fn perform(&mut self, mut group: Vec<Step>) -> Result<()> {
        match group.first().cloned() {
            Some(Step::Send { client, octets, fill: filled }) => {
                let octets = if filled {
                    fill(&String::from_utf8_lossy(&octets), &self.bindings).into_bytes()
                } else {
                    octets
                };
                let _ = writeln!(self.log, "{client}C: {}", String::from_utf8_lossy(&octets).trim_end());
                self.client(client).await?.send(&octets).await
            }
            Some(Step::Secure { client }) => {
                let open = self.clients.remove(&client).context("no connection to secure")?;
                self.clients.insert(client, open.secure(&self.fixture.ca).await?);
                Ok(())
            }
            Some(Step::Close { client }) => {
                self.clients.remove(&client);
                Ok(())
            }
            Some(Step::Expect { .. }) => {
                while !group.is_empty() {
                    self.expect(&mut group).await?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Reads one line and strikes out what it fulfils.
    async fn expect(&mut self, group: &mut Vec<Step>) -> Result<()> {
        let Some(Step::Expect { client, line: first }) = group.first().cloned() else {
            bail!("nothing expected")
        };
        let line = self.client(client).await?.line().await?;
        let line = line.unwrap_or_else(|| "<close>".to_owned());
        let _ = writeln!(self.log, "{client}S: {line}");
        let bindings = &mut self.bindings;
        let found = group.iter().position(|step| match step {
            Step::Expect { line: expected, .. } => matches(expected, &line, bindings),
            Step::Send { .. } | Step::Secure { .. } | Step::Close { .. } => false,
        });
        match found {
            Some(position) => drop(group.remove(position)),
            None => bail!("expected {first:?}\n     got {line:?}"),
        }
        Ok(())
    }
}

/// Runs every transcript of `folder`, over plain TCP and over TLS, each against a server of its own.
///
/// # Errors
/// Every dialogue that differs.
pub async fn run_folder<F, S, E>(folder: &Path, run: F) -> Result<()>
where
    F: Fn(server_core::ServerContext, Vec<server_core::BoundListener>) -> S,
    S: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut failures = String::new();
    for file in &files {
        let transcript =
            Transcript::parse(&std::fs::read_to_string(file)?).with_context(|| file.display().to_string())?;
        for security in [Security::Plain, Security::Tls] {
            if security == Security::Tls && transcript.plain_only {
                continue;
            }
            let fixture = Fixture::new()?;
            transcript.prepare(&fixture)?;
            let server = fixture.start(&run)?;
            if let Err(error) = transcript.run(&fixture, &server, security).await {
                let _ = writeln!(failures, "{} ({security:?}): {error:?}\n", file.display());
            }
        }
    }
    if files.is_empty() || !failures.is_empty() {
        bail!("{} transcripts\n{failures}", files.len())
    } else {
        Ok(())
    }
}
