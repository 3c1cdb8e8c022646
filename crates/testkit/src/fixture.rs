use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use mail_config::{
    CertificateFiles, Config, DmarcObedience, DnsList, FullMailbox, GreylistConfig, ListKind, ListSubject,
    Listener, RelayClient, RelayOrigin, SmtpRole, TlsMode,
};
use mail_directory::{Directory, QuotaSetting};
use mail_store::Store;
use mail_types::{Address, Flags, MailboxName, Network, Secret};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use server_core::{Drain, Limits, ServerContext, TlsContext, bind};
use tempfile::TempDir;

use crate::{Security, TestDns};

/// A domain of its own, `example.org`, in a folder that goes with it.
#[derive(Debug)]
pub struct Fixture {
    /// Change it before [`Fixture::start`].
    pub config: Config,
    /// The accounts.
    pub directory: Directory,
    /// Their mail.
    pub store: Arc<Store>,
    /// What clients must trust.
    pub ca: CertificateDer<'static>,
    /// What an SMTP server's listeners are for.
    role: SmtpRole,
    /// Who says by the PROXY protocol whom it brings.
    pub(crate) proxies: Vec<Network>,
    dns: Option<TestDns>,
    _folder: TempDir,
}

/// A server running in this process until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it takes clients in the clear.
    pub plain: SocketAddr,
    /// Where it takes clients under TLS.
    pub tls: SocketAddr,
    drain: Drain,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

impl Server {
    /// Has it finish what is in flight, and stop.
    pub fn begin_to_drain(&self) {
        self.drain.begin();
    }

    /// Where it takes clients of this kind.
    #[must_use]
    pub const fn address(&self, security: Security) -> SocketAddr {
        match security {
            Security::Plain => self.plain,
            Security::Tls => self.tls,
        }
    }
}

impl Fixture {
    /// With the accounts alice and bob, a certificate for `localhost`, and no mail. Blocks.
    ///
    /// # Errors
    /// What the file system, the directory or the store says.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = Config::new("mail.example.org".parse()?, folder.path().to_owned());
        let (ca, files) = certificate(folder.path())?;
        config.tls.certificates = vec![files];
        let directory = Directory::open(&config.directory_file())?;
        directory.add_domain(&"example.org".parse()?)?;
        let store = Store::open(&config.mail_dir())?;
        let fixture = Self {
            config,
            directory,
            store,
            ca,
            role: SmtpRole::Mx,
            proxies: Vec::new(),
            dns: None,
            _folder: folder,
        };
        fixture.add_user("alice")?;
        fixture.add_user("bob")?;
        Ok(fixture)
    }

    /// Adds the account `name`, whose password is `<name>-secret`. Blocks.
    ///
    /// # Errors
    /// What the directory or the store says.
    pub fn add_user(&self, name: &str) -> Result<()> {
        let address = address(name)?;
        self.directory.add_account(&address, &Secret::new(format!("{name}-secret")))?;
        Ok(self.store.create_account(&address)?)
    }

    /// Says how much an account may hold. Blocks.
    ///
    /// # Errors
    /// What the directory says.
    pub fn set_quota(&self, user: &str, setting: QuotaSetting) -> Result<()> {
        Ok(self.directory.set_quota(&address(user)?, setting)?)
    }

    /// Makes a mailbox. Blocks.
    ///
    /// # Errors
    /// What the store says.
    pub fn add_mailbox(&self, user: &str, mailbox: &str) -> Result<()> {
        let name = mailbox.parse::<MailboxName>().map_err(|error| anyhow!("{mailbox}: {error}"))?;
        Ok(self.store.account(&address(user)?)?.create(&name, None)?)
    }

    /// Puts a message into a mailbox. Blocks.
    ///
    /// # Errors
    /// What the store says.
    pub fn add_message(&self, user: &str, mailbox: &str, message: &[u8]) -> Result<()> {
        let name = mailbox.parse::<MailboxName>().map_err(|error| anyhow!("{mailbox}: {error}"))?;
        let mailbox = self.store.account(&address(user)?)?.open(&name)?;
        let mut append = mailbox.append(Flags::default(), None)?;
        std::io::Write::write_all(&mut append, message)?;
        append.commit()?;
        Ok(())
    }

    /// Starts a DNS server with these records (see [`TestDns::start`]), has it asked, and trusts nobody any more. Blocks.
    ///
    /// # Errors
    /// It can't be started.
    pub fn serve_dns(&mut self, records: &str) -> Result<()> {
        let dns = TestDns::start(records)?;
        self.config.dns = dns.config();
        self.config.smtp.verdicts.trusted.clear();
        self.config.smtp.verdicts.tarpit = Duration::ZERO;
        self.dns = Some(dns);
        Ok(())
    }

    /// Changes the SMTP server's part of the config: `role`, or a limit by its key.
    ///
    /// # Errors
    /// There is no such key, or it has no such value.
    pub fn set_smtp(&mut self, key: &str, value: &str) -> Result<()> {
        let smtp = &mut self.config.smtp;
        let milliseconds = || Ok::<_, anyhow::Error>(Duration::from_millis(value.parse()?));
        match (key, value) {
            ("full_mailbox", "reject") => self.config.quota.full = FullMailbox::Reject,
            ("role", "mx") => self.role = SmtpRole::Mx,
            ("role", "submission") => self.role = SmtpRole::Submission,
            ("role", "lmtp") => self.role = SmtpRole::Lmtp,
            ("trusted", _) => {
                // Asks no DNS for what it does not trust.
                smtp.verdicts.enabled = false;
                smtp.verdicts.trusted = vec![value.parse()?];
            }
            ("xclient", _) => smtp.xclient.push(value.parse()?),
            ("proxies", _) => self.proxies.push(value.parse()?),
            ("relay_client", network) => {
                let client = self.config.smtp.relay_clients.len();
                self.config.smtp.relay_clients.push(relay_client(client, network)?);
            }
            ("max_connections_per_address", _) => {
                self.config.limits.max_connections_per_address = value.parse()?;
            }
            ("max_connections_per_network", _) => {
                self.config.limits.max_connections_per_network = value.parse()?;
            }
            ("max_login_failures_per_address", _) => {
                self.config.limits.max_login_failures_per_address = value.parse()?;
            }
            ("max_message_size", _) => smtp.max_message_size = value.parse()?,
            ("max_recipients", _) => smtp.max_recipients = value.parse()?,
            ("max_errors", _) => smtp.max_errors = value.parse()?,
            ("max_junk_commands", _) => smtp.max_junk_commands = value.parse()?,
            ("max_hops", _) => smtp.max_hops = value.parse()?,
            ("command_timeout", _) => smtp.command_timeout = milliseconds()?,
            ("check_from", _) => smtp.check_from = value.parse()?,
            ("data_timeout", _) => smtp.data_timeout = milliseconds()?,
            ("dmarc", "quarantine") => smtp.verdicts.dmarc = DmarcObedience::Quarantine,
            ("dmarc", "none") => smtp.verdicts.dmarc = DmarcObedience::Record,
            ("arc_sealer", sealer) => smtp.verdicts.arc_sealers.push(sealer.to_owned()),
            ("help", help) => smtp.verdicts.help = Some(help.to_owned()),
            ("refuse_score", _) => smtp.verdicts.refuse_score = value.parse()?,
            ("block_list", zone) => smtp.verdicts.lists.push(list(zone, ListKind::Block)?),
            ("per_address", _) => smtp.rates.per_address = value.parse()?,
            ("messages_per_account", _) => smtp.rates.messages_per_account = value.parse()?,
            ("per_message", _) => smtp.rates.per_message = value.parse()?,
            ("max_held_back_messages", _) => smtp.max_held_back.messages = Some(value.parse()?),
            ("max_held_back_size", _) => smtp.max_held_back.storage = Some(value.parse()?),
            ("hide_client", _) => smtp.hide_client = value.parse()?,
            ("per_account", _) => smtp.rates.per_account = value.parse()?,
            ("greylist", _) => {
                smtp.greylist =
                    GreylistConfig { enabled: true, delay: milliseconds()?, ..GreylistConfig::default() }
            }
            ("urgent_sender", domain) => smtp.greylist.urgent_senders.push(domain.to_owned()),
            ("allow_list", zone) => smtp.verdicts.lists.push(list(zone, ListKind::Allow)?),
            _ => bail!("no such setting: {key} {value}"),
        }
        Ok(())
    }

    /// What was delivered to an account (`bob`, or `bob/Junk` for another mailbox than INBOX) and not yet seen by any reader, oldest
    /// first. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn delivered(&self, user: &str) -> Result<Vec<Vec<u8>>> {
        let (user, mailbox) =
            user.split_once('/').map_or((user, None), |(user, mailbox)| (user, Some(mailbox)));
        let maildir = self.config.mail_dir().join("example.org").join(user).join("Maildir");
        let new = match mailbox {
            Some(mailbox) => maildir.join(mailbox.parse::<MailboxName>()?.to_maildir()).join("new"),
            None => maildir.join("new"),
        };
        let mut files =
            std::fs::read_dir(new)?.map(|entry| entry.map(|it| it.path())).collect::<Result<Vec<_>, _>>()?;
        files.sort();
        files.iter().map(|file| Ok(std::fs::read(file)?)).collect()
    }

    /// Removes a message's file, as another program may. Blocks.
    ///
    /// # Errors
    /// There is no such file, or the file system says no.
    pub fn remove_file(&self, user: &str, mailbox: &str, uid: u32) -> Result<()> {
        let mark = format!(",U={uid},");
        for entry in std::fs::read_dir(self.cur(user, mailbox))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(&mark) {
                return Ok(std::fs::remove_file(entry.path())?);
            }
        }
        bail!("no file has the UID {uid}")
    }

    /// Makes a mailbox's files such that to open one is an error for everybody, root included. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make_unreadable(&self, user: &str, mailbox: &str) -> Result<()> {
        let cur = self.cur(user, mailbox);
        std::fs::rename(&cur, cur.with_extension("away"))?;
        // A link to itself: ELOOP.
        Ok(std::os::unix::fs::symlink(&cur, &cur)?)
    }

    fn cur(&self, user: &str, mailbox: &str) -> PathBuf {
        let maildir = self.config.mail_dir().join("example.org").join(user).join("Maildir");
        let folder = if mailbox == "INBOX" { maildir } else { maildir.join(format!(".{mailbox}")) };
        folder.join("cur")
    }

    /// Starts a server's `run` on two free loopback ports, one with STARTTLS and one under TLS.
    ///
    /// # Errors
    /// The sockets or the certificate can't be had.
    pub fn start<F, S, E>(&self, run: F) -> Result<Server>
    where
        F: FnOnce(ServerContext, Vec<server_core::BoundListener>) -> S,
        S: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let listener = |name: &str, tls| Listener {
            name: name.to_owned(),
            addresses: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            tls,
            role: self.role,
            proxies: self.proxies.clone(),
        };
        let listeners = [listener("plain", TlsMode::StartTls), listener("tls", TlsMode::Implicit)];
        let sockets = bind(&listeners).map_err(|errors| anyhow!("{errors:?}"))?;
        let mut addresses = sockets.iter().map(|bound| bound.socket.local_addr());
        let plain = addresses.next().context("no socket")??;
        let tls = addresses.next().context("no socket")??;
        let drain = Drain::new();
        let context = ServerContext {
            config: Arc::new(self.config.clone()),
            tls: TlsContext::load(&self.config.tls)?,
            limits: Limits::open_for(&self.config),
            drain: drain.clone(),
            metrics: Default::default(),
        };
        tokio::spawn(run(context, sockets));
        Ok(Server { plain, tls, drain })
    }
}

/// A list of which each entry alone sends a message to Junk.
fn list(zone: &str, kind: ListKind) -> Result<DnsList> {
    let answers = vec!["127.0.0.0/16".parse()?];
    Ok(DnsList { zone: zone.to_owned(), kind, subject: ListSubject::Address, answers, weight: 5 })
}

/// Machines that may send as whoever is in example.org, two recipients at a time and three in an hour, 1000 octets.
fn relay_client(number: usize, network: &str) -> Result<RelayClient> {
    let (networks, senders) = (vec![network.parse()?], vec!["@example.org".parse()?]);
    Ok(RelayClient {
        name: format!("machines{number}"),
        from: RelayOrigin::Networks { networks, senders, allow_plaintext: false },
        max_message_size: Some(1000),
        recipients_per_message: Some(2),
        recipients_per_hour: Some(3),
        messages_per_hour: None,
    })
}

fn address(name: &str) -> Result<Address> {
    Ok(Address::new(name, "example.org".parse()?)?)
}

/// Makes a certificate authority and has it sign a certificate for `localhost`.
fn certificate(folder: &Path) -> Result<(CertificateDer<'static>, CertificateFiles)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let signed = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let files = CertificateFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, signed.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    Ok((issuer.der().clone(), files))
}
