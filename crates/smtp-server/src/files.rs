use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mail_directory::DirectoryError;
use mail_events::EventLog;
use mail_store::{Append, Delivery, Store, StoreError};
use mail_types::{Address, Domain, Language, LocalRecipient};
use smtp_queue::{Arrival, Body, Envelope, Handling, Queue, QueueError, QueueId, QueueWriter};
use tracing::{error, warn};

use crate::bounces::Bounces;
use crate::held_back::HeldBack;
use crate::note::report_of;
use crate::policy::{Outcome, Verdict};
use crate::quota::QuotaError;
use crate::reports::Reports;
use crate::suppressed::Suppressed;
use crate::trace::Trace;
use crate::transaction::Transaction;

/// How long the deliverer leaves a queued message alone whose local part is being delivered.
const GRACE: Duration = Duration::from_secs(300);

/// Where messages go.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    pub(crate) store: Arc<Store>,
    pub(crate) queue: Arc<Queue>,
    /// Where it is noted what became of them.
    pub(crate) events: Arc<EventLog>,
    /// Ours, for reports.
    pub(crate) hostname: Domain,
    /// Of reports, where a message does not say another.
    pub(crate) language: Language,
    /// Where others' reports go, besides.
    pub(crate) reports: Reports,
    /// Whose mail came back, by the address to which it did.
    pub(crate) bounces: Bounces,
    /// Who gets no bulk mail, and what is such.
    pub(crate) suppressed: Suppressed,
    /// How much of it may wait until its senders want it to go.
    pub(crate) held_back: Arc<HeldBack>,
}

impl Destinations {
    /// Tells the sender of a stored message what it wants to hear. Blocks.
    pub(crate) fn report(&self, transaction: &Transaction, trace: &Trace, header: &[u8]) {
        // RFC 3461 §6.1: nothing is reported to nobody.
        let Some(sender) = transaction.from.as_ref().filter(|_| !transaction.receipts.is_empty()) else {
            return;
        };
        let arrival = Arrival {
            hostname: &self.hostname,
            language: self.language,
            sender,
            envelope_id: transaction.parameters.envelope_id.as_deref(),
            smtputf8: transaction.parameters.smtputf8,
            arrived: trace.at,
            handling: &transaction.handling(),
            message: header,
            receipts: &transaction.receipts,
        };
        // The message is stored: to refuse it now would double it.
        match self.queue.report(&arrival) {
            Ok(id) => self.events.note(report_of(trace, sender, &id)),
            Err(error) => error!(id = trace.id, %error, "the report of a delivery can't be queued"),
        }
    }
}

/// A message that can't be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

impl FileError {
    /// There is no room left: 452 instead of 451.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Queue(error) => error.is_full(),
            Self::Store(error) => error.is_full(),
            Self::Io(error) => disk_room::is_full(error),
            Self::Directory(_) | Self::Quota(_) => false,
        }
    }
}

/// A message being written for the accounts here and for the queue. Dropped uncommitted, it leaves nothing. All calls block.
#[derive(Debug)]
pub(crate) struct Files {
    queue: Arc<Queue>,
    delivery: Option<Delivery>,
    /// For those elsewhere, if there are any.
    queued: Option<QueueWriter>,
    /// One for each that goes on in the name of an address of ours.
    forwards: Vec<QueueWriter>,
    /// For who sends it.
    sent: Option<Append>,
}

impl Files {
    /// Opens them, and begins each with our own fields. RFC 8601 §4: results stand above the Received field of who found them.
    pub(crate) fn open(
        to: &Destinations,
        transaction: &Transaction,
        trace: &Trace,
        verdict: Option<&Verdict>,
    ) -> Result<Self, FileError> {
        let mut files = Self {
            queue: Arc::clone(&to.queue),
            delivery: None,
            queued: None,
            forwards: Vec::new(),
            sent: None,
        };
        if !transaction.accounts.is_empty() {
            let recipients: Vec<LocalRecipient> = transaction.accounts.iter().cloned().collect();
            let is_junk = verdict.is_some_and(|verdict| verdict.outcome == Outcome::Junk);
            let mut delivery = if is_junk {
                let accounts: Vec<Address> = recipients.into_iter().map(|it| it.account).collect();
                to.store.deliver_junk(&accounts)?
            } else {
                to.store.deliver(&recipients)?
            };
            if transaction.is_binary() {
                delivery.keep_octets();
            }
            delivery.write_all(Trace::return_path(transaction).as_bytes())?;
            files.delivery = Some(delivery);
        }
        if !transaction.remote.is_empty() {
            files.queued = Some(to.queue.add()?);
        }
        for onward in &transaction.forwards {
            let mut writer = to.queue.add()?;
            writer.write_all(onward.forward.fields().as_bytes())?;
            files.forwards.push(writer);
        }
        files.write(verdict.map(|verdict| verdict.fields.as_bytes()).unwrap_or_default())?;
        files.write(trace.received(transaction).as_bytes())?;
        Ok(files)
    }

    /// Has a copy written for who sends it, which begins with these fields.
    pub(crate) fn keep_copy(&mut self, copy: Append, fields: &[u8]) {
        self.sent = Some(copy);
        self.write_copy(fields);
    }

    /// A copy that can't be written stops no message.
    fn write_copy(&mut self, piece: &[u8]) {
        if let Some(sent) = &mut self.sent
            && let Err(error) = sent.write_all(piece)
        {
            error!(%error, "no copy of a sent message can be saved");
            self.sent = None;
        }
    }

    /// The copy for who sends it, as far as it is written.
    pub(crate) fn take_copy(&mut self) -> Option<Append> {
        self.sent.take()
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), FileError> {
        self.write_copy(piece);
        if let Some(delivery) = &mut self.delivery {
            delivery.write_all(piece)?;
        }
        for queued in self.queued.iter_mut().chain(&mut self.forwards) {
            queued.write_all(piece)?;
        }
        Ok(())
    }

    /// The file for the accounts here, complete once it is committed.
    pub(crate) fn delivered(&self) -> Option<&Path> {
        self.delivery.as_ref().map(Delivery::path)
    }

    /// The same for reading then, whoever has moved it by that time.
    pub(crate) fn read_delivered(&self) -> Option<fs::File> {
        let file = self.delivery.as_ref()?.reader();
        file.inspect_err(|error| warn!(%error, "what is delivered can't be read")).ok()
    }

    /// Makes the message durable for all its recipients, or for none of them, so that a client that tries again doubles
    /// nothing. The names in the queue, as far as it goes there.
    ///
    /// What is to be held waits in the queue for an operator.
    pub(crate) fn commit(
        self,
        transaction: &Transaction,
        body: Body,
        trace: &Trace,
        nature: Nature,
    ) -> Result<QueueIds, FileError> {
        let Nature { is_held, is_bulk } = nature;
        let origin = trace.origin();
        let handling = Handling { is_ours: trace.is_ours(), is_bulk, ..transaction.handling() };
        let is_elsewhere = self.queued.is_some();
        let elsewhere = self.queued.map(|writer| (writer, transaction.envelope(&origin, body, handling)));
        let onward = self.forwards.into_iter().zip(&transaction.forwards);
        let onward =
            onward.map(|(writer, onward)| (writer, transaction.envelope_of(onward, &origin, body, handling)));
        let queued: Vec<(QueueWriter, Envelope)> = elsewhere.into_iter().chain(onward).collect();
        let delivery = self.delivery;
        if queued.is_empty() {
            return delivery.map_or(Ok(()), |it| deliver(it, transaction)).map(|()| QueueIds::default());
        }
        if delivery.is_none() && !is_held {
            return Ok(QueueIds::of(self.queue.commit_all(queued, Duration::ZERO)?, is_elsewhere));
        }
        // Until the delivery has succeeded the deliverer leaves them alone, so that they can be taken back.
        let ids = self.queue.commit_all(queued, GRACE)?;
        let mut to_hold = ids.iter().filter(|_| is_held);
        let held = to_hold.try_for_each(|id| self.queue.hold(Some(id)).map(drop));
        let delivered = held
            .map_err(FileError::from)
            .and_then(|()| delivery.map_or(Ok(()), |it| deliver(it, transaction)));
        for id in &ids {
            let done = match &delivered {
                Ok(()) if is_held => Ok(1),
                Ok(()) => self.queue.retry(Some(id)),
                Err(_) => self.queue.remove(Some(id)),
            };
            if let Err(error) = done {
                warn!(%id, %error, "a queued message can't be changed; it is sent in {GRACE:?}");
            }
        }
        delivered.map(|()| QueueIds::of(ids, is_elsewhere))
    }
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Nature {
    /// It waits in the queue for an operator.
    pub(crate) is_held: bool,
    /// It went to many people.
    pub(crate) is_bulk: bool,
}

/// The names of a message in the queue.
#[derive(Debug, Default)]
pub(crate) struct QueueIds {
    /// For those elsewhere.
    pub(crate) elsewhere: Option<QueueId>,
    /// For each that goes on in the name of an address of ours.
    pub(crate) onward: Vec<QueueId>,
}

impl QueueIds {
    /// The first one may be for those elsewhere.
    fn of(ids: Vec<QueueId>, is_elsewhere: bool) -> Self {
        let mut ids = ids.into_iter();
        Self { elsewhere: if is_elsewhere { ids.next() } else { None }, onward: ids.collect() }
    }
}

fn deliver(delivery: Delivery, transaction: &Transaction) -> Result<(), FileError> {
    delivery.commit_all().map_err(|(position, error)| {
        let recipient = transaction.accounts.iter().nth(position).filter(|_| !error.is_full());
        if let Some(recipient) = recipient {
            error!(account = %recipient.account, %error, "the message can't be delivered");
        }
        error.into()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use mail_directory::Reached;
    use smtp_proto::RcptParameters;

    use super::*;

    fn destinations(folder: &Path) -> Destinations {
        let store = Store::open(&folder.join("mail")).unwrap();
        let queue = Queue::open(&folder.join("queue")).unwrap();
        let hostname = "mail.example.org".parse().unwrap();
        let events = Arc::new(EventLog::off());
        let reports = Reports::default();
        Destinations {
            store,
            queue,
            events,
            hostname,
            language: Language::English,
            reports,
            bounces: Bounces::default(),
            suppressed: Suppressed::default(),
            held_back: Arc::default(),
        }
    }

    /// Writes a message to these accounts and to one address elsewhere.
    fn send(to: &Destinations, accounts: &[&str]) -> Result<(), FileError> {
        let mut transaction =
            Transaction::new(None, smtp_proto::MailParameters::default(), Timestamp::UNIX_EPOCH);
        let recipient: Address = "list@example.org".parse().unwrap();
        let accounts = accounts.iter().map(|account| account.parse::<Address>().unwrap().into()).collect();
        let remote = vec!["far@example.net".parse().unwrap()];
        let reached = Reached { accounts, remote, ..Reached::default() };
        assert!(transaction.add(recipient, &RcptParameters::default(), reached));
        let trace = Trace {
            id: "1".to_owned(),
            at: Timestamp::now(),
            hostname: "mail.example.org".to_owned(),
            greeting: "client".to_owned(),
            peer: "192.0.2.1".to_owned(),
            protocol: "ESMTP".to_owned(),
            cipher: None,
            listener: "smtp".to_owned(),
            account: None,
            machine: None,
            is_submission: false,
            hides_client: false,
            own_results: None,
        };
        let opened = Files::open(to, &transaction, &trace, None)?;
        opened.commit(&transaction, Body::SevenBit, &trace, Nature::default()).map(drop)
    }

    fn delivered(folder: &Path, user: &str) -> usize {
        fs::read_dir(folder.join("mail/example.org").join(user).join("Maildir/new")).unwrap().count()
    }

    #[test]
    fn what_is_delivered_here_is_sent_on_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let to = destinations(folder.path());
        send(&to, &["bob@example.org"]).unwrap();
        assert_eq!(delivered(folder.path(), "bob"), 1);
        let queued = to.queue.list(None, 10).unwrap();
        let due = queued.first().unwrap().recipients.first().unwrap().next_attempt.unwrap();
        assert!(due <= Timestamp::now());
    }

    #[test]
    fn what_cannot_be_delivered_to_one_is_delivered_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let to = destinations(folder.path());
        for account in ["alice@example.org", "bob@example.org", "carol@example.org"] {
            to.store.create_account(&account.parse().unwrap()).unwrap();
        }
        let new = folder.path().join("mail/example.org/bob/Maildir/new");
        fs::remove_dir(&new).unwrap();
        fs::write(&new, "in the way").unwrap();
        assert!(send(&to, &["alice@example.org", "bob@example.org", "carol@example.org"]).is_err());
        let [alice, carol] = ["alice", "carol"].map(|user| delivered(folder.path(), user));
        assert_eq!((alice, carol), (0, 0), "a client that tries again would double it");
        assert!(to.queue.list(None, 10).unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let full = |kind: io::ErrorKind| FileError::from(io::Error::from(kind)).is_full();
        assert!(full(io::ErrorKind::StorageFull) && full(io::ErrorKind::QuotaExceeded));
        assert!(!full(io::ErrorKind::PermissionDenied));
    }
}
