//! When the milters are asked.

use mail_directory::{DirectoryError, Reached, Resolution, Sender};
use mail_types::Address;
use smtp_proto::{Command, ParseError, RcptParameters, Recipient, Reply};
use tracing::{Instrument as _, warn};

use super::{Facts, Mail, Milters, RecipientFacts, Ruled, Ruling, Tls};
use crate::connection::Dialogue;
use crate::incoming::{Incoming, trouble};
use crate::receive::cipher_suite;
use crate::transaction::Transaction;

impl Dialogue {
    /// A client has connected: its greeting, unless milters refuse it.
    pub(crate) async fn welcome(&mut self) -> Reply {
        let role = self.connection.listener.role;
        let Some(mut milters) = Milters::new(&self.shared.config, role) else { return self.greeting() };
        let facts = self.client_facts().await;
        let ruling = milters.connect(&facts).await;
        self.milters = Some(Box::new(milters));
        let Ruling::Refuse(refusal) = ruling else { return self.greeting() };
        self.is_turned_away = true;
        // RFC 5321 §3.1, §4.2.
        let text = refusal.text().join(" ");
        if refusal.class() == 4 { Reply::new(421, "4.7.1", text) } else { Reply::new(554, "5.7.1", text) }
    }

    /// What milters make of the reply to a command that is about no message, or about a recipient who is refused.
    pub(crate) async fn ask_about_command(&mut self, line: &[u8], reply: Reply) -> Reply {
        let Some(mut milters) = self.milters.take() else { return reply };
        let command = Command::parse(line);
        let ruling = match &command {
            Ok(Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_)) if !reply.is_negative() => {
                let facts = self.client_facts().await;
                milters.greet(&facts).await
            }
            Err(ParseError::UnknownCommand) => milters.unknown(line).await,
            Ok(Command::Rcpt { to: Recipient::Address(address), parameters }) if reply.is_negative() => {
                if let Some(facts) = self.facts.as_ref().filter(|_| !milters.has_refused) {
                    let (address, parameters) = (address.clone(), words(parameters));
                    let refusal = Some(reply.clone());
                    let recipient = RecipientFacts { address, is_here: false, refusal, parameters };
                    milters.refused_recipient(facts, &recipient).await;
                }
                Ruling::GoOn
            }
            _ => Ruling::GoOn,
        };
        milters.has_refused = false;
        self.milters = Some(milters);
        let Ruling::Refuse(refusal) = ruling else { return reply };
        if command.is_ok() {
            // Deviates: RFC 5321 §4.1.4 would have the transaction go on, which is over when the milters are asked.
            self.session.ungreet();
        }
        refusal
    }

    /// A transaction has begun, if `reply` says so: the reply of the milters then, if they refuse it.
    pub(crate) async fn ask_about_sender(&mut self, reply: Reply) -> Reply {
        if reply.is_negative() || self.shared.config.smtp.milters.is_empty() {
            return reply;
        }
        let role = self.connection.listener.role;
        let milters = self.milters.take().map(|milters| *milters);
        let Some(mut milters) = milters.or_else(|| Milters::new(&self.shared.config, role)) else {
            return reply;
        };
        let facts = self.facts().await;
        let ruling = milters.mail(&facts).await;
        self.milters = Some(Box::new(milters));
        match ruling {
            Ruling::GoOn => {
                self.facts = Some(Box::new(facts));
                reply
            }
            Ruling::Refuse(refusal) => {
                self.session.reset();
                refusal
            }
        }
    }

    /// Why the milters don't want this recipient, who would be taken otherwise, if that is so.
    pub(crate) async fn ask_about_recipient(
        &mut self,
        address: &Address,
        parameters: &RcptParameters,
        resolution: &Resolution,
    ) -> Option<Reply> {
        let (milters, facts) = (self.milters.as_mut()?, self.facts.as_ref()?);
        let is_here = match resolution {
            Resolution::Ours(_) => true,
            Resolution::Foreign if self.session.is_ours() => false,
            // Refused anyway.
            Resolution::Foreign
            | Resolution::UnknownUser
            | Resolution::Disabled
            | Resolution::SenderRefused
            | Resolution::MayNotPost
            | Resolution::NoReturn => return None,
        };
        let (address, parameters) = (address.clone(), words(parameters));
        let recipient = RecipientFacts { address, is_here, refusal: None, parameters };
        match milters.recipient(facts, &recipient).await {
            Ruling::GoOn => None,
            Ruling::Refuse(refusal) => {
                milters.has_refused = true;
                Some(refusal)
            }
        }
    }

    /// Why the milters don't want the data, if that is so.
    pub(crate) async fn ask_about_data(&mut self) -> Option<Reply> {
        let (milters, facts) = (self.milters.as_mut()?, self.facts.as_ref()?);
        match milters.data(facts).await {
            Ruling::GoOn => None,
            Ruling::Refuse(refusal) => Some(refusal),
        }
    }

    /// A message is whole, and not refused: shows it to the milters, and does what they want.
    pub(crate) async fn filter(&mut self, mut incoming: Incoming, mut mail: Mail) -> Incoming {
        let (Some(milters), Some(facts)) = (&mut self.milters, &self.facts) else { return incoming };
        let span = incoming.span.clone();
        let mut ruled = milters.message(&mut mail, facts).instrument(span).await;
        if ruled.changes_transaction() && ruled.refusal.is_none() {
            match self.rewritten(incoming.transaction(), &ruled).await {
                Some(transaction) if transaction.recipients.is_empty() => ruled.is_discarded = true,
                Some(transaction) => incoming.set_transaction(transaction),
                None => ruled.refusal = Some(trouble()),
            }
        }
        incoming.take_back(mail, &ruled);
        incoming
    }

    /// The transaction with the sender and the recipients that milters want; `None` if the directory could not be asked.
    async fn rewritten(&self, before: &Transaction, ruled: &Ruled) -> Option<Transaction> {
        let from = ruled.from.clone().unwrap_or_else(|| before.from.clone());
        let (sender, standing) = (from.clone(), self.standing());
        let mut transaction = Transaction::new(from, before.parameters.clone(), before.began);
        let is_kept = |address: &Address| !ruled.deleted.iter().any(|deleted| is_same(deleted, address));
        let is_new = |address: &&Address| !before.recipients.iter().any(|known| is_same(known, address));
        let kept = before.recipients.iter().zip(&before.wishes).filter(|(address, _)| is_kept(address));
        let wanted: Vec<(Address, RcptParameters)> = kept
            .map(|(address, wishes)| (address.clone(), wishes.clone()))
            .chain(
                ruled.added.iter().filter(is_new).map(|address| (address.clone(), RcptParameters::default())),
            )
            .collect();
        let delimiter = self.shared.config.smtp.recipient_delimiter;
        let resolved = self.ask(move |directory| {
            let resolve = |(address, wishes): (Address, RcptParameters)| {
                let sender = Sender { address: sender.as_ref(), standing };
                let resolution = directory.resolve(&address, sender, delimiter)?;
                Ok::<_, DirectoryError>((address, wishes, resolution))
            };
            wanted.into_iter().map(resolve).collect::<Result<Vec<_>, _>>()
        });
        for (address, wishes, resolution) in resolved.await? {
            let reached = match resolution {
                Resolution::Ours(reached) => reached,
                Resolution::Foreign => Reached { remote: vec![address.clone()], ..Reached::default() },
                Resolution::UnknownUser
                | Resolution::Disabled
                | Resolution::SenderRefused
                | Resolution::MayNotPost
                | Resolution::NoReturn => {
                    warn!(%address, "a milter adds a recipient that takes no mail here");
                    continue;
                }
            };
            if !transaction.add(address, &wishes, reached) {
                warn!("a milter adds too many recipients");
            }
        }
        Some(transaction)
    }

    /// The transaction is over.
    pub(crate) async fn end_with_milters(&mut self) {
        if self.facts.take().is_some()
            && let Some(milters) = &mut self.milters
        {
            milters.end().await;
        }
    }

    /// The connection is over, or somebody else's from now on.
    pub(crate) async fn leave_milters(&mut self) {
        self.facts = None;
        if let Some(milters) = self.milters.take() {
            milters.quit().await;
        }
    }

    async fn facts(&mut self) -> Facts {
        let id = self.trace_id();
        let facts = self.client_facts().await;
        let transaction = self.session.transaction();
        Facts {
            sender: transaction.and_then(|it| it.from.clone()),
            parameters: transaction.map(|it| words(&it.parameters)).unwrap_or_default(),
            id,
            ..facts
        }
    }

    /// What can be told of the client before there is a message.
    async fn client_facts(&self) -> Facts {
        let peer = self.connection.peer;
        let name = self.shared.verdicts.client_name(peer.ip().to_canonical()).await;
        let session = &self.session;
        let login = session.login().cloned().zip(self.mechanism);
        Facts {
            hostname: self.shared.config.hostname.to_ascii(),
            listener: self.connection.listener.name.clone(),
            local: self.connection.local,
            peer,
            name,
            helo: session.greeting().map(|greeting| greeting.name.clone()).unwrap_or_default(),
            tls: self.tls(),
            login,
            sender: None,
            parameters: Vec::new(),
            id: String::new(),
        }
    }

    fn tls(&self) -> Option<Tls> {
        let cipher = cipher_suite(&self.connection.stream)?;
        let version = self.connection.stream.tls_version()?;
        // The suites in use have one of these.
        let bits = if cipher.contains("AES_128") { 128 } else { 256 };
        Some(Tls { version: version.to_owned(), cipher, bits })
    }
}

fn is_same(a: &Address, b: &Address) -> bool {
    a.to_string().eq_ignore_ascii_case(&b.to_string())
}

/// ESMTP parameters, each for itself.
fn words(parameters: &impl ToString) -> Vec<String> {
    parameters.to_string().split_whitespace().map(ToOwned::to_owned).collect()
}
