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
use mail_events::{AttemptOutcome, Event, EventError, Reader, Story};
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
        let trace = Reader::open(&self.events)?.trace(&complaint.message_id, MAX_STORIES)?;
        let sent_to: BTreeSet<Address> =
            trace.stories.iter().flat_map(|story| sent(story, &complaint.message_id)).collect();
        let recipient = match &complaint.recipient {
            Some(recipient) => sent_to.get(&recipient.to_lowercase()),
            // Who alone got it is who complains, though the report does not say so.
            None => sent_to.first().filter(|_| sent_to.len() == 1),
        };
        Ok(recipient.cloned().ok_or("the event log knows of no such message from here to that recipient"))
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

/// To whom elsewhere a message went that an account of ours has sent, in lower case.
fn sent(story: &Story, message_id: &str) -> Vec<Address> {
    let ours = story.entries.iter().find_map(|entry| {
        let Event::Message(it) = &entry.event else { return None };
        let is_ours = it.account.is_some() && it.message_id.as_deref() == Some(message_id);
        it.queue_id.as_deref().filter(|_| is_ours)
    });
    let delivered = story.entries.iter().filter_map(|entry| {
        let Event::Attempt(it) = &entry.event else { return None };
        let is_of_it = it.outcome == AttemptOutcome::Delivered && ours == Some(it.queue_id.as_str());
        it.recipient.parse::<Address>().ok().filter(|_| is_of_it && it.host.is_some())
    });
    delivered.map(|it| it.to_lowercase()).collect()
}
