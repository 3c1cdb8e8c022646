//! The look-ups of one transaction, on their way while the dialogue goes on.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use mail_auth::SpfResult;
use smtp_proto::Reply;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::Verdicts;
use super::client::{Client, ClientFindings, MailDomain};
use super::greylist::{Caller, Greylist, Standing};
use super::judge::{Outcome, Verdict};
use super::original::{Digest, Original};
use super::rates::Source;
use crate::blocking::blocking;

/// What was begun at MAIL. Dropped, it is asked no further.
#[derive(Debug)]
pub(crate) struct Checks {
    verdicts: Arc<Verdicts>,
    client: Client,
    sender_domain: Asked<MailDomain>,
    findings: Asked<ClientFindings>,
    /// What the greylist knows of the sender, once it has been asked.
    standing: Option<Standing>,
}

/// An answer, or the wait for it.
#[derive(Debug)]
enum Asked<T> {
    Waiting(AbortOnDropHandle<T>),
    Known(T),
}

impl<T> Asked<T> {
    /// The answer; `None` if what asked has failed.
    async fn get(&mut self) -> Option<&T> {
        if let Self::Waiting(asked) = self {
            *self = Self::Known(asked.await.ok()?);
        }
        match self {
            Self::Known(answer) => Some(answer),
            Self::Waiting(_) => None,
        }
    }
}

impl Checks {
    /// Begins them.
    pub(crate) fn begin(verdicts: &Arc<Verdicts>, client: Client) -> Self {
        let (asked, about) = (Arc::clone(verdicts), client.clone());
        let findings = tokio::spawn(async move { asked.look_at_client(&about).await });
        let sender_domain = if verdicts.config.sender_domain {
            let (asked, about) = (Arc::clone(verdicts), client.clone());
            let asked = tokio::spawn(async move { asked.look_at_sender_domain(&about).await });
            Asked::Waiting(AbortOnDropHandle::new(asked))
        } else {
            Asked::Known(MailDomain::Fine)
        };
        Self {
            verdicts: Arc::clone(verdicts),
            client,
            sender_domain,
            findings: Asked::Waiting(AbortOnDropHandle::new(findings)),
            standing: None,
        }
    }

    /// Why this recipient is not taken from this sender, whoever it is, if that is so.
    pub(crate) async fn refusal(&mut self) -> Option<Reply> {
        if let Some(refusal) = self.domain_refusal().await {
            return Some(refusal);
        }
        if let Some(refusal) = self.refusal_by_rate() {
            return Some(refusal);
        }
        match self.standing().await {
            Standing::New => Some(self.come_again()),
            Standing::Known | Standing::KnownDomain => None,
        }
    }

    /// Why no more is taken from this sender in this hour.
    pub(crate) fn refusal_by_rate(&self) -> Option<Reply> {
        let (ip, domain) = (self.client.ip, self.client.sender_domain());
        let source = self.verdicts.rates.stranger(ip, domain, Instant::now());
        source.map(|source| too_much(&source))
    }

    async fn domain_refusal(&mut self) -> Option<Reply> {
        let found = self.sender_domain.get().await.copied().unwrap_or(MailDomain::Unknown);
        let domain = self.client.sender_domain().unwrap_or_default();
        match found {
            MailDomain::Fine => None,
            // RFC 3463 §3.2.
            MailDomain::Missing => Some(Verdicts::reply(
                550,
                "5.1.8",
                &format!(
                    "The sender's domain {domain} has no mail server and no address: nobody there could get an answer"
                ),
            )),
            // RFC 7505 §4.2.
            MailDomain::Null => Some(Verdicts::reply(
                550,
                "5.7.27",
                &format!(
                    "The sender's domain {domain} says that it takes no mail (null MX): nobody there could get an answer"
                ),
            )),
            MailDomain::Unknown => Some(Verdicts::reply(
                451,
                "4.4.3",
                &format!(
                    "The DNS does not tell now whether the sender's domain {domain} exists; try again later"
                ),
            )),
        }
    }

    /// What the greylist knows of the sender; it is asked once in a transaction.
    async fn standing(&mut self) -> Standing {
        if let Some(standing) = self.standing {
            return standing;
        }
        let mut standing = Standing::Known;
        if let Some(greylist) = self.verdicts.greylist.clone() {
            let caller = Caller::new(self.client.ip, self.client.from.as_ref());
            standing = in_greylist(greylist, move |it| it.arrived(&caller, Timestamp::now()))
                .await
                .unwrap_or(standing);
        }
        if standing == Standing::KnownDomain && self.passes_spf().await {
            self.proved().await;
            standing = Standing::Known;
        }
        self.standing = Some(standing);
        standing
    }

    async fn passes_spf(&mut self) -> bool {
        let spf = self.findings.get().await.and_then(|findings| findings.mail_spf.as_ref());
        spf.is_some_and(|spf| spf.result() == SpfResult::Pass)
    }

    /// The sender has proved who it is.
    async fn proved(&self) {
        if let Some(greylist) = self.verdicts.greylist.clone() {
            let caller = Caller::new(self.client.ip, self.client.from.as_ref());
            in_greylist(greylist, move |it| it.proved(&caller, Timestamp::now())).await;
        }
    }

    /// RFC 6647 §5.1.
    fn come_again(&self) -> Reply {
        let delay = self.verdicts.greylist.as_ref().map(|greylist| greylist.delay()).unwrap_or_default();
        let text = format!("You are not known here yet: try again in {delay} (greylisting)");
        Verdicts::reply(451, "4.7.1", &text)
    }

    /// Goes on with the message.
    pub(crate) fn of_message(self) -> MessageCheck {
        MessageCheck { checks: self, original: Original::new(), prepared: None }
    }
}

/// The checks of a message that is coming in.
#[derive(Debug)]
pub(crate) struct MessageCheck {
    checks: Checks,
    original: Original,
    prepared: Option<AbortOnDropHandle<()>>,
}

impl MessageCheck {
    /// Takes the next octets as they came; false if the header is too long to be one. Computes, and does not wait.
    pub(crate) fn add(&mut self, piece: &[u8]) -> bool {
        self.original.add(piece)
    }

    /// Begins to ask for the keys once the header is there.
    pub(crate) fn prepare(&mut self) {
        if self.prepared.is_none()
            && let Some(header) = self.original.header()
        {
            let digest = Digest::of_header(header);
            let verdicts = Arc::clone(&self.checks.verdicts);
            let asked = tokio::spawn(async move { verdicts.prepare(&digest).await });
            self.prepared = Some(AbortOnDropHandle::new(asked));
        }
    }

    /// The message is whole: what is found, and what becomes of it. `None` if the checks have failed themselves.
    pub(crate) async fn conclude(self) -> Option<Verdict> {
        let mut checks = self.checks;
        let digest = self.original.finish();
        let findings = checks.findings.get().await?.clone();
        let mut message = checks.verdicts.look_at_message(&digest, &checks.client, &findings).await;
        let mut verdict = checks.verdicts.judge(&checks.client, &findings, &message);
        if checks.standing == Some(Standing::KnownDomain) && !matches!(verdict.outcome, Outcome::Refuse(_)) {
            let domain = checks.client.sender_domain().unwrap_or_default();
            if message.is_signed_by(&domain) {
                checks.proved().await;
            } else {
                verdict.outcome = Outcome::Refuse(checks.come_again());
            }
        }
        if let Some(record) = message.record.take() {
            checks.verdicts.observe(*record, &verdict.outcome);
        }
        Some(verdict)
    }
}

/// The refusal of who sends too much.
pub(crate) fn too_much(source: &Source) -> Reply {
    Reply::new(450, "4.7.1", format!("Too much mail from {source} in an hour; try again later"))
}

/// Asks or tells the greylist off the async threads; `None` if that failed, for which nobody has to wait.
pub(crate) async fn in_greylist<T, F>(greylist: Arc<Greylist>, work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce(&Greylist) -> Result<T, rusqlite::Error> + Send + 'static,
{
    match blocking(move || work(&greylist)).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            warn!(%error, "the greylist can't be asked");
            None
        }
        Err(error) => {
            warn!(%error, "the greylist can't be asked");
            None
        }
    }
}
