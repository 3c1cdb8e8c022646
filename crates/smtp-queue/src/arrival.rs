use std::sync::Arc;

use jiff::Timestamp;
use mail_types::{Address, Domain, Language};
use smtp_proto::OriginalRecipient;

use crate::dsn::{Action, Report, Reported, Returned};
use crate::local::delivered_locally;
use crate::{Handling, Queue, QueueError, QueueId};

/// A message that has reached its recipients without having been in the queue, of which its sender wants to hear that.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Ours.
    pub hostname: &'a Domain,
    /// Where the message does not say in which language its sender reads.
    pub language: Language,
    /// Whom it tells.
    pub sender: &'a Address,
    /// By which the sender knows the message.
    pub envelope_id: Option<&'a str>,
    /// The message came with SMTPUTF8.
    pub smtputf8: bool,
    /// When it came.
    pub arrived: Timestamp,
    /// How it was to be handled.
    pub handling: &'a Handling,
    /// The message or its beginning, of which the header is returned.
    pub message: &'a [u8],
    /// At least one.
    pub receipts: &'a [Receipt],
}

/// What its sender is to hear of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// As the client named it.
    pub recipient: Address,
    /// Whom the sender has named.
    pub original: Option<OriginalRecipient>,
    /// What became of it.
    pub action: Action,
}

impl Queue {
    /// Queues a notification of success, RFC 3461 §5.2.3, durably. Blocks.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn report(self: &Arc<Self>, arrival: &Arrival<'_>) -> Result<QueueId, QueueError> {
        let mut writer = self.add()?;
        let now = Timestamp::now();
        let recipients: Vec<Reported> = arrival.receipts.iter().map(|it| it.reported(now)).collect();
        let report = Report {
            hostname: arrival.hostname,
            sender: arrival.sender,
            queue_id: None,
            envelope_id: arrival.envelope_id,
            arrived: arrival.arrived,
            now,
            until: None,
            recipients: &recipients,
            returned: Some(&Returned::header_of(arrival.message)),
            handling: arrival.handling,
            utf8: arrival.smtputf8,
            language: arrival.language,
            unique: &writer.id().0.clone(),
        };
        let text = report.compose();
        let envelope = report.envelope(&text);
        writer.write_message(&text)?;
        writer.commit(&envelope)
    }
}

impl Receipt {
    fn reported(&self, now: Timestamp) -> Reported {
        Reported {
            recipient: self.recipient.clone(),
            original: self.original.clone(),
            action: self.action,
            diagnosis: delivered_locally(),
            last_attempt: Some(now),
            expired: false,
        }
    }
}
