//! One message to some recipients over a ready connection: MAIL, RCPT, DATA or BDAT. Pure.

use std::collections::VecDeque;

use smtp_proto::Reply;

use super::extensions::Extensions;
use super::outgoing::{Outgoing, no_smtputf8};
use crate::dsn::Action;
use crate::{Diagnosis, Status};

/// What is to be told of a delivery, since nobody behind us tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) action: Action,
    /// The sender hears of it unless it wants to hear nothing, RFC 2852 §4.1.4: else only where it asks for it.
    pub(crate) is_certain: bool,
}

/// What came of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With what is to be told, if anything is.
    Delivered(Diagnosis, Option<Told>),
    Deferred(Diagnosis),
    Failed(Diagnosis),
}

/// RFC 3463 §3.5: bad connection.
pub(crate) const LOST: Status = Status::new(4, 4, 2);

impl Outcome {
    /// Why it is to be tried again, if it is.
    pub(crate) const fn deferral(&self) -> Option<&Diagnosis> {
        match self {
            Self::Deferred(diagnosis) => Some(diagnosis),
            Self::Delivered(..) | Self::Failed(_) => None,
        }
    }

    /// True if the host fell silent, or closed the connection.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Deferred(diagnosis) if diagnosis.host.is_none() && diagnosis.status == LOST)
    }
}

/// How the message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Dot-stuffed, ended by a dot.
    Dotted,
    /// As it is, after `BDAT size LAST`.
    Chunk,
    /// Nothing but the final dot: every recipient was refused, but the server took DATA. RFC 2920 §3.1.
    Empty,
}

/// The reply awaited, which decides how long. RFC 5321 §4.5.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Reset,
    Mail,
    /// By its place.
    Recipient(usize),
    Data,
    /// The last one.
    Body,
}

/// What the connection must do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send these lines.
    Send(String),
    /// Read a reply, then call [`Transaction::replied`].
    Read(Awaited),
    /// Send the message.
    SendBody(Form),
    /// See [`Transaction::finish`].
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Envelope,
    Body,
    Done,
}

#[derive(Debug)]
pub(crate) struct Transaction {
    host: String,
    pipelining: bool,
    chunking: bool,
    /// Each recipient has a reply of its own behind the message: RFC 2033 §4.2.
    lmtp: bool,
    outcomes: Vec<Option<Outcome>>,
    /// What is to be told when the server has taken the message.
    told: Option<Told>,
    /// Accepted by RCPT; their outcome is the last reply's.
    accepted: Vec<usize>,
    unsent: VecDeque<(Awaited, String)>,
    awaited: VecDeque<Awaited>,
    phase: Phase,
    /// DATA was answered with 354.
    data_open: bool,
    /// The body was answered: nothing is left open at the server.
    complete: bool,
    usable: bool,
    answered: bool,
    /// The last transaction on this connection was left open.
    was_open: bool,
}

impl Transaction {
    /// Begins; `verified` tells of the server's name, and `reset` that the last transaction on this connection was left open.
    pub(crate) fn new(
        host: &str,
        outgoing: &Outgoing,
        extensions: &Extensions,
        verified: bool,
        reset: bool,
    ) -> Self {
        // By LMTP mail is delivered, not handed on.
        let action = if extensions.lmtp { Action::Delivered } else { Action::Relayed };
        let is_certain = !extensions.lmtp && outgoing.has_to_be_told(extensions);
        // A server that reports does so itself: RFC 3461 §5.2.1, §5.2.2 (b).
        let is_told = is_certain || !extensions.dsn;
        let mut transaction = Self {
            host: host.to_owned(),
            pipelining: extensions.pipelining,
            chunking: extensions.chunking,
            lmtp: extensions.lmtp,
            outcomes: vec![None; outgoing.recipients.len()],
            told: is_told.then_some(Told { action, is_certain }),
            accepted: Vec::new(),
            unsent: VecDeque::new(),
            awaited: VecDeque::new(),
            phase: Phase::Envelope,
            data_open: false,
            complete: false,
            usable: true,
            answered: false,
            was_open: reset,
        };
        match outgoing.obstacle(extensions, verified) {
            Some(diagnosis) => {
                transaction.settle_all(&Outcome::Failed(diagnosis.at(host)));
                transaction.phase = Phase::Done;
            }
            None => transaction.plan(outgoing, extensions, reset),
        }
        transaction
    }

    fn plan(&mut self, outgoing: &Outgoing, extensions: &Extensions, reset: bool) {
        let utf8 = extensions.smtputf8 && outgoing.asks_for_smtputf8();
        if reset {
            self.unsent.push_back((Awaited::Reset, "RSET\r\n".to_owned()));
        }
        self.unsent.push_back((Awaited::Mail, outgoing.mail_command(extensions, utf8)));
        for (place, recipient) in outgoing.recipients.iter().enumerate() {
            if utf8 || recipient.address.local_part().is_ascii() {
                self.unsent.push_back((
                    Awaited::Recipient(place),
                    outgoing.rcpt_command(recipient, extensions, utf8),
                ));
            } else {
                self.settle(place, Outcome::Failed(no_smtputf8().at(&self.host)));
            }
        }
        if self.outcomes.iter().all(Option::is_some) {
            self.unsent.clear();
            self.phase = Phase::Done;
        } else if self.pipelining && !self.chunking {
            self.unsent.push_back((Awaited::Data, "DATA\r\n".to_owned()));
        }
    }

    /// What to do now.
    pub(crate) fn next(&mut self) -> Step {
        if !self.unsent.is_empty() && (self.pipelining || self.awaited.is_empty()) {
            return Step::Send(self.take_unsent());
        }
        if let Some(awaited) = self.awaited.front() {
            return Step::Read(*awaited);
        }
        match self.phase {
            Phase::Envelope => self.after_envelope(),
            Phase::Body | Phase::Done => Step::Done,
        }
    }

    /// All that may be sent without waiting.
    fn take_unsent(&mut self) -> String {
        let most = if self.pipelining { self.unsent.len() } else { 1 };
        let (awaited, lines): (Vec<_>, Vec<_>) = self.unsent.drain(..most).unzip();
        self.awaited.extend(awaited);
        lines.concat()
    }

    fn after_envelope(&mut self) -> Step {
        if self.data_open || (self.chunking && !self.accepted.is_empty()) {
            self.phase = Phase::Body;
            let replies = if self.lmtp { self.accepted.len().max(1) } else { 1 };
            self.awaited.extend(std::iter::repeat_n(Awaited::Body, replies));
            return Step::SendBody(match (self.accepted.is_empty(), self.chunking) {
                (true, _) => Form::Empty,
                (false, true) => Form::Chunk,
                (false, false) => Form::Dotted,
            });
        }
        if !self.accepted.is_empty() && !self.pipelining {
            self.awaited.push_back(Awaited::Data);
            return Step::Send("DATA\r\n".to_owned());
        }
        self.phase = Phase::Done;
        Step::Done
    }

    /// Advances by one reply.
    pub(crate) fn replied(&mut self, reply: &Reply) {
        self.answered |= reply.code() != 421;
        let Some(awaited) = self.awaited.pop_front() else { return };
        // RFC 5321 §3.8: the server is closing.
        if reply.code() == 421 {
            return self.abandon(Diagnosis::said(&self.host, reply));
        }
        match (awaited, reply.class()) {
            (Awaited::Reset, _) | (Awaited::Mail, 2) => {}
            (Awaited::Mail, _) => self.mail_refused(reply),
            (Awaited::Recipient(place), _) => self.recipient_answered(place, reply),
            (Awaited::Data, 3) => self.data_open = true,
            (Awaited::Data, 4 | 5) => self.settle_accepted(reply),
            (Awaited::Body, 2 | 4 | 5) if self.lmtp => self.settle_next(reply),
            (Awaited::Body, 2 | 4 | 5) => {
                self.settle_accepted(reply);
                // RFC 3030 §2: what comes behind a chunk that was refused is a reset.
                self.complete = reply.class() == 2 || !self.chunking;
            }
            // Whatever it means, the message is not delivered and the dialogue is out of step.
            (Awaited::Data | Awaited::Body, _) => self.abandon(Diagnosis::said(&self.host, reply)),
        }
    }

    fn mail_refused(&mut self, reply: &Reply) {
        self.settle_all(&self.outcome(reply));
        self.unsent.clear();
    }

    fn recipient_answered(&mut self, place: usize, reply: &Reply) {
        match (reply.class(), reply.code()) {
            (2, _) => {
                // After a refused MAIL the outcome stands already.
                if self.outcomes.get(place).is_some_and(Option::is_none) {
                    self.accepted.push(place);
                }
            }
            // RFC 5321 §4.5.3.1.10: too many recipients, in the words of old servers. Whatever status says something else: a mailbox that is full may
            // have room again, and Postfix waits for that too.
            (_, 552) => {
                let diagnosis = Diagnosis::said(&self.host, reply);
                let status = diagnosis.status.with_class(4);
                self.settle(place, Outcome::Deferred(Diagnosis { status, ..diagnosis }));
            }
            (_, _) => self.settle(place, self.outcome(reply)),
        }
    }

    fn settle_accepted(&mut self, reply: &Reply) {
        let outcome = self.outcome(reply);
        for place in std::mem::take(&mut self.accepted) {
            self.settle(place, outcome.clone());
        }
    }

    /// RFC 2033 §4.2: in the order in which the recipients were accepted.
    fn settle_next(&mut self, reply: &Reply) {
        if !self.accepted.is_empty() {
            let (place, outcome) = (self.accepted.remove(0), self.outcome(reply));
            self.settle(place, outcome);
        }
        self.complete = self.accepted.is_empty();
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        let diagnosis = Diagnosis::said(&self.host, reply);
        match reply.class() {
            2 => Outcome::Delivered(diagnosis, self.told),
            5 => Outcome::Failed(diagnosis),
            // A class that makes no sense here is the server's confusion.
            _ => Outcome::Deferred(Diagnosis { status: diagnosis.status.with_class(4), ..diagnosis }),
        }
    }

    /// The first word on a recipient counts.
    fn settle(&mut self, place: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(place) {
            slot.get_or_insert(outcome);
        }
    }

    fn settle_all(&mut self, outcome: &Outcome) {
        for slot in &mut self.outcomes {
            slot.get_or_insert_with(|| outcome.clone());
        }
    }

    /// The connection failed or is being closed: what is not settled is to be tried again.
    pub(crate) fn abandon(&mut self, diagnosis: Diagnosis) {
        let status = diagnosis.status.with_class(4);
        self.settle_all(&Outcome::Deferred(Diagnosis { status, ..diagnosis }));
        self.unsent.clear();
        self.awaited.clear();
        self.phase = Phase::Done;
        self.usable = false;
    }

    /// True if the server owes us a reply.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// True if the message was being sent, or is.
    pub(crate) fn is_at_body(&self) -> bool {
        self.phase == Phase::Body
    }

    /// True if the server has answered anything but that it is closing.
    pub(crate) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// True if something is to be said to the server at all.
    pub(crate) fn is_begun(&self) -> bool {
        self.phase != Phase::Done
    }

    /// True if the connection may carry another transaction.
    pub(crate) const fn is_usable(&self) -> bool {
        self.usable
    }

    /// True if the server may hold an open transaction, to be reset before the next one: this one or, if of this one nothing was sent, the last.
    pub(crate) const fn is_open(&self) -> bool {
        if self.answered { !self.complete } else { self.was_open }
    }

    /// The outcomes, in the order of the recipients.
    pub(crate) fn finish(self) -> Vec<Outcome> {
        let unknown = Diagnosis::ours(Status::new(4, 5, 0), "not tried");
        self.outcomes.into_iter().map(|it| it.unwrap_or_else(|| Outcome::Deferred(unknown.clone()))).collect()
    }
}

#[cfg(test)]
mod tests;
