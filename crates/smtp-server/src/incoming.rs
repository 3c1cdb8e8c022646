mod filtered;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use jiff::Timestamp;
use mail_config::show_size;
use mail_events::MessageOutcome;
use mail_reports::Kept;
use mail_store::Append;
use smtp_proto::{Body, Reply};
use smtp_queue::QueueId;
use tracing::{Span, error};

use crate::bounces::Bounce;
use crate::files::{Destinations, FileError, Files, Nature};
use crate::header::{HeaderFilter, Seen};
use crate::milter::Body as MessageBody;
use crate::note::{self, Told, forward_of};
use crate::policy::{MAX_HEADER, MessageCheck, Outcome, Verdict};
use crate::quota::Quotas;
use crate::rights::SendRights;
use crate::session::too_much_held_back;
use crate::trace::Trace;
use crate::transaction::Transaction;

/// What is gathered in memory before it goes to disk.
pub(crate) const PIECE: usize = 256 * 1024;

/// What a message may be at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// Received fields.
    pub(crate) hops: usize,
    /// Octets.
    pub(crate) size: u64,
}

/// One message on its way from the socket to the disk.
pub(crate) struct Incoming {
    to: Destinations,
    transaction: Transaction,
    trace: Trace,
    limits: MessageLimits,
    quotas: Quotas,
    rights: Option<SendRights>,
    verdict: Verdicted,
    /// All that is logged of the message is in it.
    pub(crate) span: Span,
    /// Its name in the queue.
    queue_id: Option<QueueId>,
    pub(crate) piece: BytesMut,
    header: HeaderFilter,
    /// The header as it goes to disk, held until it is whole or longer than a piece.
    held: Vec<u8>,
    /// Its beginning, for a report of the delivery.
    returned: Vec<u8>,
    files: Option<Files>,
    size: u64,
    last_octet: u8,
    has_bare: bool,
    /// What it holds, whatever its sender has declared.
    holds: Body,
    /// A milter wants it to be held in the queue.
    is_held: bool,
    /// A milter wants it to be thrown away.
    is_discarded: bool,
    refusal: Option<Reply>,
}

/// What a message's verdict has come to. It stands before all else in the file, so nothing is written there before it is known.
enum Verdicted {
    /// Nothing is to be found out.
    Never,
    /// The message is looked at as it comes; what of its body is more than a piece waits in a file without a name.
    Awaited { check: Option<Box<MessageCheck>>, folder: PathBuf, body: Option<File> },
    /// The message is whole, and judged, if there was something to find out.
    Known { verdict: Option<Box<Verdict>>, body: MessageBody },
}

impl Incoming {
    pub(crate) fn new(
        to: Destinations,
        transaction: Transaction,
        trace: Trace,
        limits: MessageLimits,
        quotas: Quotas,
        rights: Option<SendRights>,
    ) -> Self {
        let header = HeaderFilter::new(trace.is_submission, trace.own_results.clone());
        Self {
            span: note::span(&trace, &transaction),
            queue_id: None,
            to,
            transaction,
            trace,
            limits,
            quotas,
            rights,
            verdict: Verdicted::Never,
            piece: BytesMut::new(),
            header,
            held: Vec::new(),
            returned: Vec::new(),
            files: None,
            size: 0,
            last_octet: b'\n',
            has_bare: false,
            holds: Body::SevenBit,
            is_held: false,
            is_discarded: false,
            refusal: None,
        }
    }

    /// Has the message looked at, if there is something to find out, and all of it awaited before it goes to its files. `folder` is on
    /// the disk where messages are.
    pub(crate) fn await_whole(mut self, check: Option<MessageCheck>, folder: PathBuf) -> Self {
        self.verdict = Verdicted::Awaited { check: check.map(Box::new), folder, body: None };
        self
    }

    /// Begins what look-ups the header asks for. Call it on the async side.
    pub(crate) fn prepare(&mut self) {
        if let Verdicted::Awaited { check: Some(check), .. } = &mut self.verdict {
            check.prepare();
        }
    }

    /// True if [`Self::conclude`] has something to do.
    pub(crate) const fn awaits_verdict(&self) -> bool {
        matches!(self.verdict, Verdicted::Awaited { .. }) && self.refusal.is_none()
    }

    /// The message is whole: has the last piece looked at too. It stays here, to go to disk behind the verdict. Computes.
    pub(crate) fn look_at_rest(&mut self) {
        if let Verdicted::Awaited { check: Some(check), .. } = &mut self.verdict
            && !check.add(&self.piece)
        {
            self.refuse(header_too_long());
        }
    }

    /// Waits for what is found out about the message, behind [`Self::look_at_rest`].
    pub(crate) async fn conclude(&mut self) {
        let Verdicted::Awaited { check, body, .. } = std::mem::replace(&mut self.verdict, Verdicted::Never)
        else {
            return;
        };
        let mut verdict = match check {
            Some(check) => match check.conclude().await {
                Some(verdict) => Some(Box::new(verdict)),
                None => return self.refuse(trouble()),
            },
            None => None,
        };
        if let Some(verdict) = verdict.as_mut().filter(|_| self.transaction.is_for_postmaster()) {
            verdict.take_anyway();
        }
        if let Some(Outcome::Refuse(reply)) = verdict.as_ref().map(|verdict| &verdict.outcome) {
            self.refuse(reply.clone());
        }
        self.verdict = Verdicted::Known { verdict, body: MessageBody::new(body, Vec::new()) };
    }

    /// Refuses the message once all of it has been read; the first reason counts.
    pub(crate) fn refuse(&mut self, reply: Reply) {
        self.refusal.get_or_insert(reply);
        self.files = None;
    }

    pub(crate) const fn recipients(&self) -> usize {
        self.transaction.recipients.len()
    }

    /// Why the message is refused, if it is so already.
    pub(crate) const fn refusal(&self) -> Option<&Reply> {
        self.refusal.as_ref()
    }

    pub(crate) fn is_piece_full(&self) -> bool {
        self.piece.len() >= PIECE
    }

    /// Brings what has been gathered to disk. Blocks.
    pub(crate) fn spill(&mut self) {
        let _in_span = self.span.clone().entered();
        let piece = std::mem::take(&mut self.piece);
        self.take(&piece);
        self.piece = piece;
        self.piece.clear();
    }

    fn take(&mut self, piece: &[u8]) {
        self.inspect(piece);
        if self.size > self.limits.size {
            self.refuse(too_big(self.limits.size));
        }
        if let Verdicted::Awaited { check: Some(check), .. } = &mut self.verdict
            && !check.add(piece)
        {
            self.refuse(header_too_long());
        }
        if self.refusal.is_none() {
            self.write(piece).unwrap_or_else(|error| self.fail(&error));
        }
    }

    /// Looks for a CR or LF that stands alone. RFC 5321 §2.3.8.
    fn inspect(&mut self, piece: &[u8]) {
        self.size += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.holds = self.holds.max(Body::of(piece));
        self.has_bare |= has_bare(self.last_octet, piece);
        self.last_octet = piece.last().copied().unwrap_or(self.last_octet);
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), FileError> {
        let missing = |seen: &_| missing(seen, &self.trace, &self.transaction, self.rights.as_ref());
        let body = self.header.pass(piece, &mut self.held, missing);
        if self.header.seen.received > self.limits.hops {
            // RFC 5321 §6.3.
            self.refuse(Reply::new(554, "5.4.6", "The message goes round in a loop: it has passed too many hosts; look for forwarding that leads back here"));
            return Ok(());
        }
        match &mut self.verdict {
            Verdicted::Awaited { folder, body: waiting, .. } => {
                self.to.store.check_disk(body.len() as u64)?;
                put_by(waiting, folder, body)?;
                if self.held.len() > MAX_HEADER {
                    self.refuse(header_too_long());
                }
                Ok(())
            }
            Verdicted::Never | Verdicted::Known { .. } => {
                if self.header.is_over() || self.held.len() >= PIECE {
                    self.release()?;
                }
                self.files()?.write(body)
            }
        }
    }

    fn release(&mut self) -> Result<(), FileError> {
        let held = self.header.drain(&mut self.held);
        self.files()?.write(&held)?;
        if self.returned.is_empty() && !self.transaction.receipts.is_empty() {
            self.returned = held;
        }
        self.bring_back()
    }

    /// Has what waited for the verdict follow the header.
    fn bring_back(&mut self) -> Result<(), FileError> {
        let Verdicted::Known { body, .. } = &mut self.verdict else { return Ok(()) };
        let body = std::mem::take(body);
        let files = self.files()?;
        body.each(|block| files.write(block))
    }

    /// What has been found out about it.
    fn verdict(&self) -> Option<&Verdict> {
        match &self.verdict {
            Verdicted::Known { verdict, .. } => verdict.as_deref(),
            Verdicted::Never | Verdicted::Awaited { .. } => None,
        }
    }

    fn files(&mut self) -> Result<&mut Files, FileError> {
        if self.files.is_none() {
            let verdict = self.verdict();
            let is_junk = verdict.is_some_and(|verdict| verdict.outcome == Outcome::Junk);
            let is_proven = verdict.is_none_or(|verdict| verdict.is_sender_proven);
            self.transaction.settle(is_junk, is_proven);
            let mut files = Files::open(&self.to, &self.transaction, &self.trace, self.verdict())?;
            if let Some(copy) = self.rights.as_ref().and_then(|rights| rights.copy(&self.quotas)) {
                let fields = self.header.seen.bcc.as_fields("Bcc") + &self.trace.received(&self.transaction);
                files.keep_copy(copy, fields.as_bytes());
            }
            self.files = Some(files);
        }
        self.files.as_mut().ok_or_else(|| io::Error::other("no file is open").into())
    }

    fn fail(&mut self, error: &FileError) {
        // Of a disk that has no room for mail the log has been told.
        if !error.is_full() || self.to.store.check_disk(0).is_ok() {
            error!(id = self.trace.id, %error, "the message can't be stored");
        }
        self.refuse(if error.is_full() { full() } else { trouble() });
    }

    /// Makes the message durable, and says so: nothing else may say 250 to it. Blocks.
    pub(crate) fn finish(mut self) -> Reply {
        let _in_span = self.span.clone().entered();
        self.spill();
        if (self.has_bare || self.last_octet == b'\r') && !self.transaction.is_binary() {
            self.refuse(bare_cr_or_lf());
        }
        if self.transaction.handling().is_over(Timestamp::now()) {
            // RFC 2852 §4.1.3.
            let text = "The time for its delivery is over (BY), and it is to be returned then";
            self.refuse(Reply::new(554, "5.4.7", text));
        }
        if self.refusal.is_none() && !self.is_discarded {
            self.commit().unwrap_or_else(|error| self.fail(&error));
        }
        let reply = self.refusal.take().unwrap_or_else(|| Reply::new(250, "2.0.0", "The message is safe"));
        self.tell(Some(&reply));
        reply
    }

    /// The client leaves in the midst of it.
    pub(crate) fn lose(&mut self) {
        let _in_span = self.span.clone().entered();
        self.size += u64::try_from(self.piece.len()).unwrap_or_default();
        self.tell(None);
    }

    /// Notes what became of the message, and what its client was told.
    fn tell(&self, reply: Option<&Reply>) {
        let verdict = self.verdict();
        let outcome = match (reply.map(Reply::class), verdict.map(|verdict| &verdict.outcome)) {
            (None, _) => MessageOutcome::Lost,
            (Some(5), _) => MessageOutcome::Refused,
            (Some(4), _) => MessageOutcome::Deferred,
            _ if self.is_discarded => MessageOutcome::Discarded,
            (_, Some(Outcome::Junk)) => MessageOutcome::Junk,
            (_, _) => MessageOutcome::Accepted,
        };
        let told = Told {
            trace: &self.trace,
            transaction: &self.transaction,
            seen: &self.header.seen,
            size: self.size,
            verdict: verdict.map(|verdict| verdict.summary.as_str()),
            queue_id: self.queue_id.as_ref(),
            outcome,
            reply,
        };
        told.log(&self.span);
        if outcome.is_refusal() {
            self.to.events.note_refusal(told.peer(), || told.event());
        } else {
            self.to.events.note(told.event());
        }
    }

    fn commit(&mut self) -> Result<(), FileError> {
        let missing = |seen: &_| missing(seen, &self.trace, &self.transaction, self.rights.as_ref());
        self.header.finish(&mut self.held, missing);
        self.release()?;
        if self.goes_round() {
            self.refuse(Reply::new(554, "5.4.6", "The message goes round in a loop"));
            return Ok(());
        }
        let rights = self.rights.as_ref();
        if !rights.map_or(Ok(true), |rights| rights.allow(&self.header.seen))? {
            self.refuse(Reply::new(
                550,
                "5.7.1",
                "The From field names an address that is not yours: send from an address of your account",
            ));
            return Ok(());
        }
        let is_bulk = self.is_bulk();
        if let Some(refusal) = self.refusal_of_bulk(is_bulk) {
            self.refuse(refusal);
            return Ok(());
        }
        // What goes elsewhere too is not held up by who is full here.
        if self.transaction.stays_here()
            && !self.quotas.may_deliver(self.transaction.accounts.iter(), self.size)?
        {
            let is_as_declared =
                self.transaction.parameters.size.is_some_and(|declared| self.size <= declared);
            self.refuse(if is_as_declared { self.quotas.full_after_all() } else { self.quotas.full() });
            return Ok(());
        }
        let held_back = Arc::clone(&self.to.held_back);
        let _turn = self.transaction.parameters.hold.map(|_| held_back.turn());
        if !self.may_be_held_back()? {
            self.refuse(too_much_held_back());
            return Ok(());
        }
        let body = self.holds.max(self.transaction.parameters.body);
        if let Some(mut files) = self.files.take() {
            let copy = files.take_copy();
            let (report, bounce) = (self.keep_report(&files), self.bounce(&files));
            let nature = Nature { is_held: self.is_held, is_bulk };
            let queued = files.commit(&self.transaction, body, &self.trace, nature)?;
            report.into_iter().for_each(Kept::read_soon);
            if let Some(bounce) = bounce {
                let list = self.to.suppressed.list().map(Arc::as_ref);
                self.to.bounces.note(bounce, &self.trace.id, list, &self.to.events);
            }
            self.queue_id = queued.elsewhere;
            save(copy);
            for (onward, id) in self.transaction.forwards.iter().zip(&queued.onward) {
                self.to.events.note(forward_of(&self.trace, &onward.forward, id, self.size));
            }
        }
        self.to.report(&self.transaction, &self.trace, &self.returned);
        Ok(())
    }

    /// False if it is to be held back, and its sender holds back too much for that: now that its size is known.
    fn may_be_held_back(&self) -> Result<bool, FileError> {
        let is_held_back = self.transaction.parameters.hold.is_some();
        let held_back = &self.to.held_back;
        let admits = || held_back.admits(&self.to.queue, &self.trace.origin(), self.size, Timestamp::now());
        Ok(!is_held_back || admits()?)
    }

    /// The bounce of one recipient's mail, if it is one and no junk.
    fn bounce(&self, files: &Files) -> Option<Bounce> {
        let is_junk = self.verdict().is_some_and(|verdict| verdict.outcome == Outcome::Junk);
        let (sender, recipient) = self.to.bounces.returned(&self.transaction).filter(|_| !is_junk)?;
        Some(Bounce { sender, recipient, file: files.read_delivered()? })
    }

    /// A message to an address for reports is kept to be read as one. What went to Junk is most probably none.
    fn keep_report(&self, files: &Files) -> Option<Kept> {
        let verdict = self.verdict();
        let is_junk = verdict.is_some_and(|verdict| verdict.outcome == Outcome::Junk);
        let is_meant = !is_junk && self.to.reports.are_for(&self.transaction.recipients);
        let reporter = verdict.and_then(|verdict| verdict.author.as_deref());
        self.to.reports.keep(files.delivered().filter(|_| is_meant)?, &self.trace.id, reporter)
    }

    /// Why bulk mail of one of ours reaches nobody. Where it reaches some, the queue tells of the others.
    fn refusal_of_bulk(&self, is_bulk: bool) -> Option<Reply> {
        if self.trace.is_ours() && is_bulk { self.to.suppressed.refusal(&self.transaction) } else { None }
    }

    /// True if it says so, or all mail of who sends it is, or goes to very many. Counts it.
    fn is_bulk(&self) -> bool {
        let suppressed = &self.to.suppressed;
        let recipients = self.transaction.remote.len();
        let are_many = self.trace.user().is_some_and(|user| suppressed.are_many(&user, recipients));
        let account = self.trace.account.as_ref();
        are_many || self.header.seen.is_bulk() || account.is_some_and(|it| suppressed.is_bulk(it))
    }

    /// True if it has gone through an address of ours before that it would go through again. RFC 5321 §6.3.
    fn goes_round(&self) -> bool {
        let passed = || self.header.seen.delivered_to.addresses();
        !self.transaction.forwards.is_empty()
            && passed().any(|it| self.transaction.forwards.iter().any(|onward| onward.forward.via == it))
    }
}

/// Saves the copy for who sends it. The message is on its way: to refuse it now would double it.
fn save(copy: Option<Append>) {
    if let Some(Err(error)) = copy.map(Append::commit_saved) {
        error!(%error, "no copy of a sent message can be saved");
    }
}

/// True if a CR or LF stands alone in `piece`, which follows the octet `last`. A CR at its end may yet get its LF.
fn has_bare(last: u8, piece: &[u8]) -> bool {
    // Where the octet behind the last CR stands, if that is yet to be seen.
    let (mut expected, mut is_bare) = ((last == b'\r').then_some(0), false);
    for position in memchr::memchr2_iter(b'\r', b'\n', piece) {
        let is_end = piece.get(position) == Some(&b'\n');
        is_bare |= if is_end { expected != Some(position) } else { expected.is_some() };
        expected = (!is_end).then_some(position + 1);
    }
    is_bare || expected.is_some_and(|expected| expected < piece.len())
}

/// The fields that are to be added.
fn missing(seen: &Seen, trace: &Trace, transaction: &Transaction, rights: Option<&SendRights>) -> String {
    let utf8 = transaction.parameters.smtputf8;
    let sender = rights.map(|rights| rights.sender_field(seen, utf8)).unwrap_or_default();
    trace.missing(seen, transaction) + &sender
}

/// Appends to a file that nobody sees and that is gone with its handle.
fn put_by(waiting: &mut Option<File>, folder: &Path, octets: &[u8]) -> io::Result<()> {
    if octets.is_empty() {
        return Ok(());
    }
    if waiting.is_none() {
        *waiting = Some(tempfile::tempfile_in(folder)?);
    }
    waiting.as_mut().map_or(Ok(()), |file| file.write_all(octets))
}

fn header_too_long() -> Reply {
    // Not 552, which would say that the message is longer than was declared: RFC 1870 §6.3.
    Reply::new(554, "5.3.4", "The header is too long: name fewer recipients in it, or put less into it")
}

/// `limit` in octets.
pub(crate) fn too_big(limit: u64) -> Reply {
    let text = format!("The message is too big: {} at most; send it in parts, or a link", show_size(limit));
    Reply::new(552, "5.3.4", text)
}

pub(crate) fn bare_cr_or_lf() -> Reply {
    Reply::new(554, "5.6.0", "A CR or LF stands alone; lines end in CRLF")
}

pub(crate) fn full() -> Reply {
    Reply::new(452, "4.3.1", "The disk is full; try again later")
}

pub(crate) fn trouble() -> Reply {
    Reply::new(451, "4.3.0", "A temporary failure; try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5321 §2.3.8, octet by octet.
    fn has_bare_by_octet(text: &[u8]) -> bool {
        text.iter().enumerate().any(|(at, octet)| match octet {
            b'\r' => text.get(at + 1).is_some_and(|next| *next != b'\n'),
            b'\n' => at.checked_sub(1).and_then(|before| text.get(before)) != Some(&b'\r'),
            _ => false,
        })
    }

    #[test]
    fn a_bare_cr_or_lf_is_found_wherever_pieces_end() {
        let texts = (0..3_usize.pow(6)).map(|number| {
            let octet = |place| b"x\r\n"[number / 3_usize.pow(place) % 3];
            (0..6).map(octet).collect::<Vec<u8>>()
        });
        for text in texts {
            for (first, second) in (0..=text.len()).map(|cut| text.split_at(cut)) {
                let last = first.last().copied().unwrap_or(b'\n');
                let found = has_bare(b'\n', first) || has_bare(last, second);
                assert_eq!(found, has_bare_by_octet(&text), "{text:?} after {}", first.len());
            }
        }
    }
}
