use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use mail_directory::{Forwarding, Limit, Posting, QuotaSetting, Refusal};
use mail_types::Network;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::pattern::{Bindings, fill, matches};
use crate::{Fixture, Security, Server};

/// A golden dialogue.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    users: Vec<String>,
    mailboxes: Vec<(String, String)>,
    messages: Vec<GivenMessage>,
    aliases: Vec<(String, Vec<String>)>,
    settings: Vec<(String, String)>,
    quotas: Vec<(String, QuotaSetting)>,
    /// By whom, and whose mail.
    refusals: Vec<(Option<String>, String)>,
    disabled: Vec<String>,
    /// As whom an account may send.
    rights: Vec<(String, Vec<String>)>,
    /// The list; its owner, who may post, its members.
    lists: Vec<(String, Vec<String>)>,
    /// Whose mail goes on, to whom, and whether it stays as well.
    forwards: Vec<(String, Vec<String>, bool)>,
    dns: String,
    plain_only: bool,
    /// The client behind the proxy through which all come.
    proxied: Option<IpAddr>,
    rule: Option<LineRule>,
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
    Compress { client: usize },
    Close { client: usize },
    Mail { user: String, expected: Mail },
    Remove { user: String, mailbox: String, uid: u32 },
    Unreadable { user: String, mailbox: String },
    Drain,
}

/// What an INBOX is to hold.
#[derive(Debug, Clone)]
enum Mail {
    /// So many messages.
    Count(usize),
    /// The newest has a line like this.
    Has(String),
    /// The newest has no line like this.
    Lacks(String),
}

/// What a proxy says of this client: the PROXY protocol, version 1.
fn proxy_header(client: IpAddr) -> String {
    let (family, server) = if client.is_ipv4() { ("TCP4", "198.51.100.1") } else { ("TCP6", "2001:db8::1") };
    format!("PROXY {family} {client} {server} 54321 25\r\n")
}

/// A number, or `any`.
fn limit(text: &str) -> Result<Limit> {
    if text == "any" { Ok(Limit::Unlimited) } else { Ok(Limit::AtMost(text.parse()?)) }
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// A line that is no step, by its number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parsed = Self::default();
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
            ["mailbox", mailbox, "of", user] => {
                self.mailboxes.push(((*user).to_owned(), (*mailbox).to_owned()));
            }
            ["over", "plain"] => self.plain_only = true,
            ["through", "a", "proxy", "from", client] => self.proxied = Some(client.parse()?),
            ["alias", alias, "to", targets @ ..] => {
                self.aliases.push(((*alias).to_owned(), targets.iter().map(|it| (*it).to_owned()).collect()));
            }
            ["refusal", "of", sender, by @ ..] => {
                let by = match by {
                    [] => None,
                    ["by", account] => Some((*account).to_owned()),
                    _ => bail!("refusal of SENDER by ACCOUNT"),
                };
                self.refusals.push((by, (*sender).to_owned()));
            }
            ["list", list, "of", owner, "for", posting, "with", members @ ..] => {
                let words = [owner, posting].into_iter().chain(members).map(|it| (*it).to_owned());
                self.lists.push(((*list).to_owned(), words.collect()));
            }
            ["forward", "of", account, "to", targets @ .., "with", copy] => {
                let targets = targets.iter().map(|it| (*it).to_owned()).collect();
                self.forwards.push(((*account).to_owned(), targets, *copy == "copy"));
            }
            ["right", "of", account, "to", "send", "as", senders @ ..] => {
                let senders = senders.iter().map(|it| (*it).to_owned()).collect();
                self.rights.push(((*account).to_owned(), senders));
            }
            ["no", "mail", "for", user] => self.disabled.push((*user).to_owned()),
            ["quota", "of", user, storage, "octets", messages, "messages"] => {
                let setting = QuotaSetting { storage: limit(storage)?, messages: limit(messages)? };
                self.quotas.push(((*user).to_owned(), setting));
            }
            ["dns", ..] => {
                let record = given.trim_start().strip_prefix("dns ").unwrap_or_default();
                self.dns.push_str(&format!("{record}\n"));
            }
            ["smtp", key, value] => self.settings.push(((*key).to_owned(), (*value).to_owned())),
            _ => bail!("this can't be given"),
        }
        Ok(())
    }

    /// Makes what is given. Blocks.
    ///
    /// # Errors
    /// What the directory or the store says.
    pub fn prepare(&self, fixture: &mut Fixture) -> Result<()> {
        for user in self.users.iter().filter(|user| !["alice", "bob"].contains(&user.as_str())) {
            fixture.add_user(user)?;
        }
        for (user, mailbox) in &self.mailboxes {
            fixture.add_mailbox(user, mailbox)?;
        }
        for message in &self.messages {
            fixture.add_message(&message.user, &message.mailbox, &message.text)?;
        }
        for (alias, targets) in &self.aliases {
            let targets = targets.iter().map(|it| it.parse()).collect::<Result<Vec<_>, _>>()?;
            fixture.directory.add_alias(&alias.parse()?, &targets)?;
        }
        for (account, sender) in &self.refusals {
            let account = account.as_ref().map(|account| account.parse()).transpose()?;
            fixture.directory.refuse(&Refusal { account, sender: sender.parse()? })?;
        }
        for (list, words) in &self.lists {
            let [owner, posting, members @ ..] = words.as_slice() else { bail!("whose list?") };
            let (list, posting) =
                (list.parse()?, posting.parse::<Posting>().map_err(|error| anyhow!(error))?);
            let members = members.iter().map(|it| it.parse()).collect::<Result<Vec<_>, _>>()?;
            fixture.directory.add_list(&list, &owner.parse()?, posting)?;
            fixture.directory.add_members(&list, &members)?;
        }
        for (account, targets, keeps_copy) in &self.forwards {
            let targets = targets.iter().map(|it| it.parse()).collect::<Result<Vec<_>, _>>()?;
            let forwarding = Forwarding { targets, keeps_copy: *keeps_copy };
            fixture.directory.set_forwarding(&account.parse()?, &forwarding)?;
        }
        for (account, senders) in &self.rights {
            let senders = senders.iter().map(|it| it.parse()).collect::<Result<Vec<_>, _>>()?;
            fixture.directory.set_send_rights(&account.parse()?, &senders)?;
        }
        for user in &self.disabled {
            fixture.directory.set_receives(&user.parse()?, false)?;
        }
        for (user, setting) in &self.quotas {
            fixture.set_quota(user, *setting)?;
        }
        if !self.dns.is_empty() {
            fixture.serve_dns(&self.dns)?;
        }
        if self.proxied.is_some() {
            fixture.proxies.push(Network::of(Ipv4Addr::LOCALHOST.into(), 32));
        }
        self.settings.iter().try_for_each(|(key, value)| fixture.set_smtp(key, value))
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
            header: self.proxied.map(proxy_header).unwrap_or_default(),
            rule: self.rule,
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
            Self::Expect { .. }
            | Self::Send { .. }
            | Self::Secure { .. }
            | Self::Compress { .. }
            | Self::Close { .. }
            | Self::Mail { .. }
            | Self::Remove { .. }
            | Self::Unreadable { .. }
            | Self::Drain => None,
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
    if rest == "DEFLATE" {
        return Ok(Step::Compress { client });
    }
    if line == "drain" {
        return Ok(Step::Drain);
    }
    let (kind, text) = rest.split_once(':').context("no step")?;
    let text = text.strip_prefix(' ').unwrap_or(text);
    match (kind, text) {
        ("C", "<close>") => Ok(Step::Close { client }),
        ("C", text) => Ok(Step::Send { client, octets: format!("{text}\r\n").into_bytes(), fill: true }),
        ("C-raw", text) => Ok(Step::Send { client, octets: unescape(text)?, fill: false }),
        ("S", text) => Ok(Step::Expect { client, line: text.to_owned() }),
        ("mail", text) => {
            let (user, expected) = text.split_once(' ').context("whose mail?")?;
            Ok(Step::Mail { user: user.to_owned(), expected: expected_mail(expected)? })
        }
        ("remove" | "unreadable", text) => store_step(kind, text),
        _ => bail!("no step"),
    }
}

/// What happens to the files: `remove: UID 1 in INBOX of alice`, `unreadable: INBOX of alice`.
fn store_step(kind: &str, text: &str) -> Result<Step> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match (kind, words.as_slice()) {
        ("remove", ["UID", uid, "in", mailbox, "of", user]) => {
            Ok(Step::Remove { user: (*user).to_owned(), mailbox: (*mailbox).to_owned(), uid: uid.parse()? })
        }
        ("unreadable", [mailbox, "of", user]) => {
            Ok(Step::Unreadable { user: (*user).to_owned(), mailbox: (*mailbox).to_owned() })
        }
        _ => bail!("which files?"),
    }
}

fn expected_mail(text: &str) -> Result<Mail> {
    match text.split_once(' ') {
        None => Ok(Mail::Count(text.parse()?)),
        Some(("has", line)) => Ok(Mail::Has(line.to_owned())),
        Some(("lacks", line)) => Ok(Mail::Lacks(line.to_owned())),
        Some(_) => bail!("no step"),
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
    /// What each client begins with.
    header: String,
    rule: Option<LineRule>,
    clients: HashMap<usize, Client>,
    bindings: Bindings,
    log: String,
}

impl Play<'_> {
    async fn client(&mut self, number: usize) -> Result<&mut Client> {
        if !self.clients.contains_key(&number) {
            let address = self.server.address(self.security);
            let client = Client::connect(address, self.security, &self.fixture.ca, &self.header).await?;
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
            Some(Step::Compress { client }) => {
                self.client(client).await?.compress();
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
            Some(Step::Drain) => {
                self.server.begin_to_drain();
                Ok(())
            }
            Some(Step::Mail { user, expected }) => self.look(&user, &expected),
            Some(Step::Remove { user, mailbox, uid }) => self.fixture.remove_file(&user, &mailbox, uid),
            Some(Step::Unreadable { user, mailbox }) => self.fixture.make_unreadable(&user, &mailbox),
            None => Ok(()),
        }
    }

    /// Looks into the INBOX of `user`.
    fn look(&mut self, user: &str, expected: &Mail) -> Result<()> {
        let messages = self.fixture.delivered(user)?;
        let newest = messages.last().map(|it| String::from_utf8_lossy(it).into_owned()).unwrap_or_default();
        let bindings = &mut self.bindings;
        let mut has = |line: &str| newest.split("\r\n").any(|it| matches(line, it, bindings));
        let fulfilled = match expected {
            Mail::Count(count) => messages.len() == *count,
            Mail::Has(line) => has(line),
            Mail::Lacks(line) => !has(line),
        };
        if fulfilled {
            return Ok(());
        }
        bail!(
            "expected {expected:?} of {user}\n     got {} messages, the newest of them\n{newest}",
            messages.len()
        )
    }

    /// Reads one line and strikes out what it fulfils.
    async fn expect(&mut self, group: &mut Vec<Step>) -> Result<()> {
        let Some(Step::Expect { client, line: first }) = group.first().cloned() else {
            bail!("nothing expected")
        };
        let line = self.client(client).await?.line().await?;
        let line = line.unwrap_or_else(|| "<close>".to_owned());
        let _ = writeln!(self.log, "{client}S: {line}");
        if let Some(fault) = self.rule.and_then(|rule| rule(&line)) {
            bail!("{fault}: {line:?}");
        }
        let bindings = &mut self.bindings;
        let found = group.iter().position(|step| match step {
            Step::Expect { line: expected, .. } => matches(expected, &line, bindings),
            Step::Send { .. }
            | Step::Secure { .. }
            | Step::Compress { .. }
            | Step::Close { .. }
            | Step::Mail { .. }
            | Step::Remove { .. }
            | Step::Unreadable { .. }
            | Step::Drain => false,
        });
        match found {
            Some(position) => drop(group.remove(position)),
            None => bail!("expected {first:?}\n     got {line:?}"),
        }
        Ok(())
    }
}

/// Dialogues held at one time.
const AT_ONCE: usize = 6;

/// What is wrong with a line of the server's in itself, whatever a transcript expects.
pub type LineRule = fn(&str) -> Option<&'static str>;

/// Runs every transcript of `folder`, over plain TCP and over TLS, each against a server of its own. Every line of the server's
/// keeps to `rule`.
///
/// # Errors
/// Every dialogue that differs.
pub async fn run_folder<F, S, E>(folder: &Path, rule: LineRule, run: F) -> Result<()>
where
    F: Fn(server_core::ServerContext, Vec<server_core::BoundListener>) -> S + Clone + Send + 'static,
    S: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let (mut dialogues, mut failures) = (JoinSet::new(), String::new());
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let transcript = Transcript::parse(&text).with_context(|| file.display().to_string())?;
        for security in [Security::Plain, Security::Tls] {
            if security == Security::Tls && transcript.plain_only {
                continue;
            }
            let name = format!("{} ({security:?})", file.display());
            let (mut transcript, run, slots) = (transcript.clone(), run.clone(), Arc::clone(&slots));
            transcript.rule = Some(rule);
            dialogues.spawn(async move {
                let _slot = slots.acquire_owned().await?;
                hold(transcript, security, run).await.context(name)
            });
        }
    }
    while let Some(held) = dialogues.join_next().await {
        if let Err(error) = held? {
            let _ = writeln!(failures, "{error:?}\n");
        }
    }
    if files.is_empty() || !failures.is_empty() {
        bail!("{} transcripts\n{failures}", files.len())
    } else {
        Ok(())
    }
}

async fn hold<F, S, E>(transcript: Transcript, security: Security, run: F) -> Result<()>
where
    F: FnOnce(server_core::ServerContext, Vec<server_core::BoundListener>) -> S,
    S: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let (transcript, fixture) = tokio::task::spawn_blocking(move || {
        let mut fixture = Fixture::new()?;
        transcript.prepare(&mut fixture)?;
        anyhow::Ok((transcript, fixture))
    })
    .await??;
    let server = fixture.start(run)?;
    transcript.run(&fixture, &server, security).await
}
