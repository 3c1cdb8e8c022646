//! The look-ups of one transaction, on their way while the dialogue goes on.

use std::sync::Arc;

use smtp_proto::Reply;
use tokio_util::task::AbortOnDropHandle;

use super::Verdicts;
use super::client::{Client, ClientFindings, SenderDomain};
use super::judge::Verdict;
use super::original::{Digest, Original};

/// What was begun at MAIL. Dropped, it is asked no further.
#[derive(Debug)]
pub(crate) struct Checks {
    verdicts: Arc<Verdicts>,
    client: Client,
    sender_domain: Asked<SenderDomain>,
    findings: AbortOnDropHandle<ClientFindings>,
}

/// An answer, or the wait for it.
#[derive(Debug)]
enum Asked<T> {
    Waiting(AbortOnDropHandle<T>),
    Known(T),
}

impl Checks {
    /// Begins them.
    pub(crate) fn begin(verdicts: &Arc<Verdicts>, client: Client) -> Self {
        let (asked, about) = (Arc::clone(verdicts), client.clone());
        let findings =
            AbortOnDropHandle::new(tokio::spawn(async move { asked.look_at_client(&about).await }));
        let sender_domain = if verdicts.config.sender_domain {
            let (asked, about) = (Arc::clone(verdicts), client.clone());
            Asked::Waiting(AbortOnDropHandle::new(tokio::spawn(async move {
                asked.look_at_sender_domain(&about).await
            })))
        } else {
            Asked::Known(SenderDomain::Fine)
        };
        Self { verdicts: Arc::clone(verdicts), client, sender_domain, findings }
    }

    /// Why no recipient is taken from this sender, if that is so.
    pub(crate) async fn refusal(&mut self) -> Option<Reply> {
        let found = match &mut self.sender_domain {
            Asked::Waiting(asked) => asked.await.unwrap_or(SenderDomain::Unknown),
            Asked::Known(found) => *found,
        };
        self.sender_domain = Asked::Known(found);
        let domain = self.client.sender_domain().unwrap_or_default();
        match found {
            SenderDomain::Fine => None,
            // RFC 3463 §3.2.
            SenderDomain::Missing => Some(self.verdicts.reply(
                550,
                "5.1.8",
                &format!("The sender's domain {domain} has no mail server and no address: nobody there could get an answer"),
            )),
            // RFC 7505 §4.2.
            SenderDomain::Null => Some(self.verdicts.reply(
                550,
                "5.7.27",
                &format!("The sender's domain {domain} says that it takes no mail (null MX): nobody there could get an answer"),
            )),
            SenderDomain::Unknown => Some(self.verdicts.reply(
                451,
                "4.4.3",
                &format!("The DNS does not tell now whether the sender's domain {domain} exists; try again later"),
            )),
        }
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
        let Checks { verdicts, client, findings, .. } = self.checks;
        let digest = self.original.finish();
        let findings = findings.await.ok()?;
        let message = verdicts.look_at_message(&digest, &client, &findings).await;
        Some(verdicts.judge(&client, &findings, &message))
    }
}
