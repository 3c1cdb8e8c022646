//! What the directory is asked about senders and recipients.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_directory::{Directory, DirectoryError, Reached, Resolution, Standing};
use mail_types::Address;
use smtp_proto::{RcptParameters, Recipient, Reply};
use smtp_queue::Suppression;
use tokio::time::timeout;
use tracing::{error, info};

use crate::ahead::{self, Ahead, Found, Question};
use crate::blocking::blocking;
use crate::connection::Dialogue;
use crate::incoming::trouble;
use crate::policy::{MailDomain, in_greylist, too_much};
use crate::quota::Quotas;
use crate::session::{is_fully_qualified, no_such_user};
use crate::suppressed::unwanted;
use crate::transaction::is_postmaster;

/// How long the DNS is waited for, in all, because of the domains of one message's recipients.
const DOMAINS: Duration = Duration::from_secs(2);

impl Dialogue {
    pub(crate) async fn check_sender(&mut self, account: Address, from: Address) -> Reply {
        let delimiter = self.shared.config.smtp.recipient_delimiter;
        let allowed = if mail_directory::is_own_address(&account, &from, delimiter) {
            Some(true)
        } else {
            self.ask(move |directory| directory.may_send_as(&account, &from, delimiter)).await
        };
        if allowed == Some(true) && self.session.asks_to_hold().is_some() {
            Box::pin(self.check_hold()).await
        } else {
            self.session.sender_checked(allowed)
        }
    }

    pub(crate) async fn check_recipient(
        &mut self,
        recipient: Recipient,
        parameters: &RcptParameters,
    ) -> Reply {
        let recipient = self.meant_by_literal(recipient).await;
        let known = self.ahead.take(&recipient);
        if let Some(refusal) = self.refusal_of_sender(&recipient).await {
            return refusal;
        }
        let found = match known {
            Some(found) => found,
            None => self.look_up(recipient).await,
        };
        match found {
            Found::Known(address, resolution) => {
                if matches!(resolution, Resolution::Foreign) {
                    if let Some(refusal) = Box::pin(self.refusal_of_domain(&address)).await {
                        return refusal;
                    }
                    self.note_correspondent(&address).await;
                }
                if self.facts.is_some()
                    && let Some(refusal) =
                        Box::pin(self.ask_about_recipient(&address, parameters, &resolution)).await
                {
                    return refusal;
                }
                self.session.recipient_checked(address, parameters, Some(resolution))
            }
            Found::Full(address) => {
                info!(%address, "recipient refused: the mailbox is full");
                self.quotas().full()
            }
            Found::Suppressed(text) => unwanted(&text),
            Found::Nobody => no_such_user(),
            Found::Trouble => trouble(),
        }
    }

    /// What is found out about the first of these, and about those behind it, where all that is asked for is in memory: the way to another
    /// thread and back takes much longer.
    fn look_into_memory(&mut self, recipients: &[Recipient]) -> Option<Found> {
        let (memory, default) = (self.shared.directory.in_memory()?, self.shared.config.quota.default);
        let asks_list = self.suppression().is_some();
        let plain = |recipient: &Recipient| {
            let Recipient::Address(address) = recipient else { return None };
            let resolution = if memory.is_foreign(address) {
                // Who is on the suppression list is not in memory.
                (!asks_list).then_some(Resolution::Foreign)?
            } else {
                let accounts = vec![memory.plain_account(address, default)?];
                Resolution::Ours(Reached { accounts, ..Reached::default() })
            };
            Some((recipient.clone(), Found::Known(address.clone(), resolution)))
        };
        let mut found = recipients.iter().map_while(plain);
        let (_, first) = found.next()?;
        self.ahead = Ahead::new(found.collect());
        Some(first)
    }

    /// Finds out about a recipient, and about those whose commands have come with its own. Milters are asked about each, who knows how
    /// long, so that each is looked up when its turn has come.
    async fn look_up(&mut self, recipient: Recipient) -> Found {
        let mut recipients = vec![recipient];
        if self.facts.is_none() {
            recipients.extend(ahead::recipients(&self.input));
        }
        if let Some(found) = self.look_into_memory(&recipients) {
            return found;
        }
        let question = Question {
            sender: self.session.sender().cloned().flatten(),
            standing: self.standing(),
            size: self.session.declared_size(),
            delimiter: self.shared.config.smtp.recipient_delimiter,
            quotas: self.quotas(),
            suppression: self.suppression(),
        };
        let found = self.ask(move |directory| {
            let moment = directory.moment()?;
            let found = recipients.into_iter().map(|it| {
                let found = question.ask(&moment, &it);
                (it, found)
            });
            Ok::<Vec<_>, DirectoryError>(found.collect())
        });
        let mut found = found.await.unwrap_or_default().into_iter();
        let first = found.next().map_or(Found::Trouble, |(_, found)| found);
        self.ahead = Ahead::new(found.collect());
        first
    }

    /// The suppression list, where it is obeyed for whatever comes.
    fn suppression(&self) -> Option<Arc<Suppression>> {
        let is_ours = self.session.is_ours();
        self.shared.to.suppressed.for_all_of(self.session.login()).filter(|_| is_ours)
    }

    /// Ours is who has logged in or is a machine that the config names, who comes by LMTP, and who comes from a machine that is trusted.
    pub(crate) fn standing(&self) -> Standing {
        let ip = self.connection.peer.ip().to_canonical();
        let is_trusted = || self.shared.config.smtp.verdicts.trusted.iter().any(|it| it.contains(ip));
        if self.comes_from_us() || is_trusted() { Standing::Ours } else { Standing::Stranger }
    }

    /// Why no recipient is taken from this sender now, if that is so.
    ///
    /// A postmaster is reached by everybody but who sends too much: RFC 5321 §4.5.1.
    async fn refusal_of_sender(&mut self, recipient: &Recipient) -> Option<Reply> {
        if let Some(user) = self.session.user() {
            let limits = self.session.limits().cloned();
            let (rates, limits, now) = (&self.shared.verdicts.rates, limits.as_deref(), Instant::now());
            if !self.session.is_counted() {
                if let Some(source) = rates.message(&user, limits, now) {
                    return Some(too_much(&source));
                }
                if let Some(transaction) = self.session.transaction_mut() {
                    transaction.is_counted = true;
                }
            }
            return rates.user(&user, limits, now).map(|source| too_much(&source));
        }
        let is_exempt = match recipient {
            Recipient::Postmaster => true,
            Recipient::Address(address) => is_postmaster(address),
        };
        let checks = self.checks.as_mut()?;
        if is_exempt { checks.refusal_by_rate() } else { checks.refusal().await }
    }

    /// Why nobody at this address elsewhere can get what one of ours sends, as far as the DNS tells at once: what it does not tell the queue
    /// finds out. Of clients in networks that are trusted it is not asked.
    async fn refusal_of_domain(&mut self, address: &Address) -> Option<Reply> {
        let (domain, ip) = (address.domain(), self.connection.peer.ip().to_canonical());
        let sender = self.session.sender()?.as_ref();
        let is_asked = self.session.is_ours()
            && is_fully_qualified(address)
            && !domain.is_literal()
            && self.shared.verdicts.concern(ip)
            && self.shared.config.relay.leads_to_mail_hosts(sender, domain);
        let left = DOMAINS.checked_sub(self.session.transaction()?.waited).filter(|_| is_asked)?;
        let (name, begun) = (domain.to_ascii(), Instant::now());
        let found = timeout(left, self.shared.verdicts.look_at_domain(&name)).await;
        self.session.transaction_mut()?.waited += begun.elapsed();
        match found.ok()? {
            // RFC 7504 §4, RFC 7505 §4.1.
            MailDomain::Null => {
                let text = format!("{name} takes no mail (null MX): look for a typing error in the address");
                Some(Reply::new(556, "5.1.10", text))
            }
            // RFC 3463 §3.2.
            MailDomain::Missing => {
                let text = format!(
                    "There is no domain {name} that takes mail: look for a typing error in the address"
                );
                Some(Reply::new(550, "5.1.2", text))
            }
            MailDomain::Fine | MailDomain::Unknown => None,
        }
    }

    /// One of our users writes to somebody, whose answer is not to be held up.
    async fn note_correspondent(&self, address: &Address) {
        if let Some(greylist) =
            self.shared.verdicts.greylist.clone().filter(|_| self.session.login().is_some())
        {
            let address = address.clone();
            in_greylist(greylist, move |it| it.written_to(&address, Timestamp::now())).await;
        }
    }

    pub(crate) fn quotas(&self) -> Quotas {
        Quotas {
            directory: Arc::clone(&self.shared.directory),
            store: Arc::clone(&self.shared.to.store),
            config: self.shared.config.quota.clone(),
        }
    }

    /// Asks the directory off the async threads; `None` if it could not be asked.
    pub(crate) async fn ask<T, E, F>(&self, question: F) -> Option<T>
    where
        T: Send + 'static,
        E: Error + Send + 'static,
        F: FnOnce(&Directory) -> Result<T, E> + Send + 'static,
    {
        let directory = Arc::clone(&self.shared.directory);
        match blocking(move || question(&directory)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                error!(%error, "the directory can't be asked");
                None
            }
            Err(error) => {
                error!(%error, "the directory can't be asked");
                None
            }
        }
    }
}
