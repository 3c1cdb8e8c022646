//! Who complains about bulk mail of ours gets no more of it.
//!
//! A complaint is obeyed if three things hold, so that nobody puts others' addresses on the list: the report is proven to come from a domain
//! (DMARC, or that domain's signature); that domain speaks for the recipient, which is in it or below it, or the operator has named the domain;
//! and the event log knows that an account of ours sent the message, by its Message-ID, to that recipient.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use mail_config::Config;
use mail_events::{AttemptOutcome, Event, EventError, Reader, Traced};
use mail_reports::{Obey, ProvenComplaint};
use mail_types::{Address, Domain};
use smtp_queue::Suppression;
use tracing::info;

/// Messages of one Message-ID that are looked at.
const MAX_STORIES: usize = 20;

/// Who obeys complaints.
#[derive(Debug)]
pub(super) struct Complaints {
    list: Arc<Suppression>,
    events: PathBuf,
    /// Domains that are believed about recipients elsewhere.
    believed: Vec<Domain>,
}

impl Complaints {
    pub(super) fn new(config: &Config, list: Arc<Suppression>) -> Self {
        Self { list, events: config.events_dir(), believed: config.reports.complaints_from.clone() }
    }

    /// Why the complaint is not obeyed, or who complains.
    fn judge(&self, complaint: &ProvenComplaint) -> Result<Result<Address, &'static str>, EventError> {
        // RFC 5965 §7.3, RFC 6430: the other kinds say nothing of what the recipient wants.
        if !matches!(complaint.kind, "abuse" | "fraud") {
            return Ok(Err("it is of another kind"));
        }
        let is_believed = self.believed.iter().any(|domain| is_within(&complaint.reporter, domain));
        let speaks_for =
            |recipient: &Address| is_believed || is_within(recipient.domain(), &complaint.reporter);
        if !complaint.recipient.as_ref().map_or(is_believed, speaks_for) {
            return Ok(Err(
                "who reports it does not speak for the recipient; see complaints_from in [reports]",
            ));
        }
        let reader = Reader::open(&self.events)?;
        let sent = reader.look_for(&complaint.message_id, MAX_STORIES)?;
        let recipient = who_got_it(&sent, &complaint.message_id, complaint.recipient.as_ref())?;
        Ok(recipient.ok_or("the event log knows of no such message from here to that recipient"))
    }
}

impl Obey for Complaints {
    fn obey(&self, complaint: &ProvenComplaint) -> Result<(), Box<dyn Error + Send + Sync>> {
        let ProvenComplaint { reporter, kind, message_id, .. } = complaint;
        match self.judge(complaint)? {
            Ok(recipient) => {
                let text = format!("{kind}, reported by {reporter}");
                self.list.complained(&recipient, &text, Timestamp::now())?;
                info!(%recipient, %reporter, message_id, "who has complained is on the suppression list now");
            }
            Err(why) => info!(%reporter, message_id, why, "a complaint changes nothing"),
        }
        Ok(())
    }
}

/// True if `inner` is `outer` or below it.
fn is_within(inner: &Domain, outer: &Domain) -> bool {
    let before = inner.as_str().strip_suffix(outer.as_str());
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The recipient elsewhere, in lower case, if it got a message of this Message-ID that an account of ours has sent. Where a report does not name it, who
/// alone got that is who complains.
fn who_got_it(
    sent: &Traced<'_>,
    message_id: &str,
    named: Option<&Address>,
) -> Result<Option<Address>, EventError> {
    let mut ours = BTreeSet::new();
    sent.each(|_, entry| {
        if let Event::Message(it) = entry.event
            && it.account.is_some()
            && it.message_id.as_deref() == Some(message_id)
        {
            ours.extend(it.queue_id);
        }
    })?;
    let named = named.map(Address::to_lowercase);
    let (mut found, mut are_several) = (None, false);
    sent.each(|_, entry| {
        let Event::Attempt(it) = entry.event else { return };
        let is_of_it =
            it.outcome == AttemptOutcome::Delivered && it.host.is_some() && ours.contains(&it.queue_id);
        let recipient = it.recipient.parse::<Address>().ok().filter(|_| is_of_it);
        let Some(recipient) = recipient.map(|it| it.to_lowercase()) else { return };
        if named.as_ref().is_none_or(|named| *named == recipient) {
            are_several |= found.replace(recipient.clone()).is_some_and(|before| before != recipient);
        }
    })?;
    Ok(found.filter(|_| !are_several))
}
