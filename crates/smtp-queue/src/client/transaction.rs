//! One message to some recipients over a ready connection: MAIL, RCPT, DATA or BDAT. Pure.

use std::collections::VecDeque;

use mail_types::Address;

use super::extensions::Extensions;
use super::reply::Reply;
use crate::message::with_ascii_domain;
use crate::{Diagnosis, Status};

/// What is to be sent to whom.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) sender: Option<Address>,
    pub(crate) recipients: Vec<Address>,
    /// Octets on the wire, before dot-stuffing.
    pub(crate) size: u64,
    pub(crate) smtputf8: bool,
    pub(crate) eight_bit: bool,
}

/// What came of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered(Diagnosis),
    Deferred(Diagnosis),
    Failed(Diagnosis),
}

/// How the message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
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
    SendBody(Body),
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
    outcomes: Vec<Option<Outcome>>,
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
}

impl Transaction {
    /// Begins; `reset` says that the last transaction on this connection was left open.
    pub(crate) fn new(host: &str, outgoing: &Outgoing, extensions: &Extensions, reset: bool) -> Self {
        let mut transaction = Self {
            host: host.to_owned(),
            pipelining: extensions.pipelining,
            chunking: extensions.chunking,
            outcomes: vec![None; outgoing.recipients.len()],
            accepted: Vec::new(),
            unsent: VecDeque::new(),
            awaited: VecDeque::new(),
            phase: Phase::Envelope,
            data_open: false,
            complete: false,
            usable: true,
            answered: false,
        };
        match obstacle(outgoing, extensions) {
            Some(diagnosis) => {
                transaction.settle_all(&Outcome::Failed(diagnosis));
                transaction.phase = Phase::Done;
            }
            None => transaction.plan(outgoing, extensions, reset),
        }
        transaction
    }

    fn plan(&mut self, outgoing: &Outgoing, extensions: &Extensions, reset: bool) {
        let utf8 = extensions.smtputf8 && needs_smtputf8(outgoing);
        if reset {
            self.unsent.push_back((Awaited::Reset, "RSET\r\n".to_owned()));
        }
        self.unsent.push_back((Awaited::Mail, mail_command(outgoing, extensions, utf8)));
        for (place, recipient) in outgoing.recipients.iter().enumerate() {
            if utf8 || recipient.local_part().is_ascii() {
                let command = format!("RCPT TO:<{}>\r\n", path(recipient, utf8));
                self.unsent.push_back((Awaited::Recipient(place), command));
            } else {
                self.settle(place, Outcome::Failed(no_smtputf8()));
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
            self.awaited.push_back(Awaited::Body);
            return Step::SendBody(match (self.accepted.is_empty(), self.chunking) {
                (true, _) => Body::Empty,
                (false, true) => Body::Chunk,
                (false, false) => Body::Dotted,
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
        self.answered |= reply.code != 421;
        let Some(awaited) = self.awaited.pop_front() else { return };
        // RFC 5321 §3.8: the server is closing.
        if reply.code == 421 {
            return self.abandon(reply.diagnosis(&self.host));
        }
        match (awaited, reply.class()) {
            (Awaited::Reset, _) | (Awaited::Mail, 2) => {}
            (Awaited::Mail, _) => self.mail_refused(reply),
            (Awaited::Recipient(place), _) => self.recipient_answered(place, reply),
            (Awaited::Data, 3) => self.data_open = true,
            (Awaited::Data, 4 | 5) => self.settle_accepted(reply),
            (Awaited::Body, 2 | 4 | 5) => {
                self.settle_accepted(reply);
                self.complete = true;
            }
            // Whatever it means, the message is not delivered and the dialogue is out of step.
            (Awaited::Data | Awaited::Body, _) => self.abandon(reply.diagnosis(&self.host)),
        }
    }

    fn mail_refused(&mut self, reply: &Reply) {
        self.settle_all(&outcome(reply, &self.host));
        self.unsent.clear();
    }

    fn recipient_answered(&mut self, place: usize, reply: &Reply) {
        match (reply.class(), reply.code) {
            (2, _) => {
                // After a refused MAIL the outcome stands already.
                if self.outcomes.get(place).is_some_and(Option::is_none) {
                    self.accepted.push(place);
                }
            }
            // RFC 5321 §4.5.3.1.10: too many recipients, in the words of old servers.
            (_, 552) => {
                let diagnosis = reply.diagnosis(&self.host);
                let status = diagnosis.status.with_class(4);
                self.settle(place, Outcome::Deferred(Diagnosis { status, ..diagnosis }));
            }
            (_, _) => self.settle(place, outcome(reply, &self.host)),
        }
    }

    fn settle_accepted(&mut self, reply: &Reply) {
        let outcome = outcome(reply, &self.host);
        for place in std::mem::take(&mut self.accepted) {
            self.settle(place, outcome.clone());
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

    /// True if the server has answered anything but that it is closing.
    pub(crate) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// True if the connection may carry another transaction.
    pub(crate) const fn is_usable(&self) -> bool {
        self.usable
    }

    /// True if the server may hold an open transaction, to be reset before the next one.
    pub(crate) const fn is_open(&self) -> bool {
        self.answered && !self.complete
    }

    /// The outcomes, in the order of the recipients.
    pub(crate) fn finish(self) -> Vec<Outcome> {
        let unknown = Diagnosis { status: Status::new(4, 5, 0), host: None, text: "not tried".to_owned() };
        self.outcomes.into_iter().map(|it| it.unwrap_or_else(|| Outcome::Deferred(unknown.clone()))).collect()
    }
}

/// Why this server can't be given the message, whatever it says.
fn obstacle(outgoing: &Outgoing, extensions: &Extensions) -> Option<Diagnosis> {
    let ours = |status, text: String| Some(Diagnosis { status, host: None, text });
    if extensions.is_too_large(outgoing.size) {
        let limit = extensions.size.unwrap_or_default();
        let text = format!("the message has {} octets, the server takes at most {limit}", outgoing.size);
        return ours(Status::new(5, 3, 4), text);
    }
    if outgoing.eight_bit && !extensions.eight_bit_mime {
        // RFC 6152 §3: not to be sent as it is.
        let text = "the message has 8-bit content, which the server does not take".to_owned();
        return ours(Status::new(5, 6, 3), text);
    }
    let sender_needs = outgoing.sender.as_ref().is_some_and(|it| !it.local_part().is_ascii());
    ((outgoing.smtputf8 || sender_needs) && !extensions.smtputf8).then(no_smtputf8)
}

/// RFC 6531 §3.5
fn no_smtputf8() -> Diagnosis {
    let text = "the server does not take internationalized mail (SMTPUTF8)".to_owned();
    Diagnosis { status: Status::new(5, 6, 7), host: None, text }
}

fn needs_smtputf8(outgoing: &Outgoing) -> bool {
    let needs = |address: &Address| !address.local_part().is_ascii();
    outgoing.smtputf8 || outgoing.sender.as_ref().is_some_and(needs) || outgoing.recipients.iter().any(needs)
}

fn mail_command(outgoing: &Outgoing, extensions: &Extensions, utf8: bool) -> String {
    let sender = outgoing.sender.as_ref().map(|it| path(it, utf8)).unwrap_or_default();
    let mut command = format!("MAIL FROM:<{sender}>");
    if extensions.size.is_some() {
        command.push_str(&format!(" SIZE={}", outgoing.size));
    }
    if outgoing.eight_bit {
        command.push_str(" BODY=8BITMIME");
    }
    if utf8 {
        command.push_str(" SMTPUTF8");
    }
    command + "\r\n"
}

fn path(address: &Address, utf8: bool) -> String {
    if utf8 { address.to_string() } else { with_ascii_domain(address) }
}

fn outcome(reply: &Reply, host: &str) -> Outcome {
    let diagnosis = reply.diagnosis(host);
    match reply.class() {
        2 => Outcome::Delivered(diagnosis),
        5 => Outcome::Failed(diagnosis),
        // A class that makes no sense here is the server's confusion.
        _ => Outcome::Deferred(Diagnosis { status: diagnosis.status.with_class(4), ..diagnosis }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(recipients: &[&str]) -> Outgoing {
        Outgoing {
            sender: Some("alice@example.org".parse().unwrap()),
            recipients: recipients.iter().map(|it| it.parse().unwrap()).collect(),
            size: 100,
            smtputf8: false,
            eight_bit: false,
        }
    }

    fn all() -> Extensions {
        Extensions {
            pipelining: true,
            chunking: true,
            eight_bit_mime: true,
            smtputf8: true,
            size: Some(1000),
            ..plain()
        }
    }

    fn pipelining() -> Extensions {
        Extensions { pipelining: true, ..plain() }
    }

    fn plain() -> Extensions {
        Extensions::default()
    }

    /// Plays a whole transaction and returns what was sent, a body as `[form]`, and the outcomes: `+`, `~` and `-` with the text.
    fn play(outgoing: &Outgoing, extensions: &Extensions, replies: &[&str]) -> (String, Vec<String>) {
        let mut transaction = Transaction::new("mx", outgoing, extensions, false);
        let (mut sent, mut replies) = (String::new(), replies.iter());
        loop {
            match transaction.next() {
                Step::Send(lines) => sent.push_str(&lines.replace("\r\n", "|")),
                Step::SendBody(body) => sent.push_str(&format!("[{body:?}]")),
                Step::Read(_) => {
                    let (code, text) = replies.next().unwrap().split_at(3);
                    let lines = vec![text.trim().to_owned()];
                    transaction.replied(&Reply { code: code.parse().unwrap(), lines });
                }
                Step::Done => break,
            }
        }
        assert_eq!(replies.next(), None, "a reply was not awaited");
        let outcomes = transaction.finish().into_iter().map(|outcome| match outcome {
            Outcome::Delivered(diagnosis) => format!("+ {}", diagnosis.text),
            Outcome::Deferred(diagnosis) => format!("~ {} {}", diagnosis.status, diagnosis.text),
            Outcome::Failed(diagnosis) => format!("- {} {}", diagnosis.status, diagnosis.text),
        });
        (sent, outcomes.collect())
    }

    #[test]
    fn without_pipelining_each_command_waits() {
        let (sent, outcomes) =
            play(&outgoing(&["b@x.org"]), &plain(), &["250 ok", "250 ok", "354 go", "250 queued as 1"]);
        assert_eq!(sent, "MAIL FROM:<alice@example.org>|RCPT TO:<b@x.org>|DATA|[Dotted]");
        assert_eq!(outcomes, ["+ 250 queued as 1"]);
    }

    #[test]
    fn each_recipient_has_its_own_outcome() {
        let outgoing = outgoing(&["a@x.org", "b@x.org", "c@x.org", "d@x.org"]);
        let replies = ["250 ok", "250 ok", "550 5.1.1 who?", "451 4.7.1 greylisted", "552 too many"];
        let expected =
            ["+ 250 done", "- 5.1.1 550 5.1.1 who?", "~ 4.7.1 451 4.7.1 greylisted", "~ 4.0.0 552 too many"];
        let chunk = play(&outgoing, &all(), &[&replies[..], &["250 done"]].concat());
        assert!(chunk.0.ends_with("RCPT TO:<d@x.org>|[Chunk]"), "{}", chunk.0);
        assert_eq!(chunk.1, expected);
        let piped = play(&outgoing, &pipelining(), &[&replies[..], &["354 go", "250 done"]].concat());
        assert!(piped.0.ends_with("RCPT TO:<d@x.org>|DATA|[Dotted]"), "{}", piped.0);
        assert_eq!(piped.1, expected);
        let plain = play(&outgoing, &plain(), &[&replies[..], &["354 go", "250 done"]].concat());
        assert_eq!(plain.1, expected);
    }

    #[test]
    fn data_taken_for_nobody_gets_nothing() {
        let (sent, outcomes) = play(
            &outgoing(&["a@x.org"]),
            &pipelining(),
            &["250 ok", "550 who?", "354 go", "554 no recipients"],
        );
        assert!(sent.ends_with("DATA|[Empty]"), "{sent}");
        assert_eq!(outcomes, ["- 5.0.0 550 who?"]);
        let (sent, _) = play(&outgoing(&["a@x.org"]), &all(), &["250 ok", "550 who?"]);
        assert!(!sent.contains('['), "{sent}");
    }

    #[test]
    fn a_refused_sender_settles_all() {
        let outgoing = outgoing(&["a@x.org", "b@x.org"]);
        let refused = ["- 5.7.1 553 5.7.1 not you", "- 5.7.1 553 5.7.1 not you"];
        let replies = ["553 5.7.1 not you", "503 no MAIL", "250 odd", "503 no RCPT"];
        assert_eq!(play(&outgoing, &pipelining(), &replies).1, refused);
        assert_eq!(play(&outgoing, &plain(), &replies[..1]).1, refused);
    }

    #[test]
    fn a_server_that_closes_is_tried_again() {
        let outgoing = outgoing(&["a@x.org", "b@x.org"]);
        let (_, outcomes) = play(&outgoing, &pipelining(), &["250 ok", "550 5.1.1 who?", "421 4.3.2 bye"]);
        assert_eq!(outcomes, ["- 5.1.1 550 5.1.1 who?", "~ 4.3.2 421 4.3.2 bye"]);
    }

    #[test]
    fn only_the_reply_to_the_message_itself_is_a_delivery() {
        let one = outgoing(&["a@x.org"]);
        for (replies, expected) in [
            (&["250 ok", "250 ok", "250 what"][..], "~ 4.0.0 250 what"),
            (&["250 ok", "250 ok", "354 go", "354 go"], "~ 4.0.0 354 go"),
            (&["250 ok", "250 ok", "354 go", "452 4.3.1 full"], "~ 4.3.1 452 4.3.1 full"),
            (&["250 ok", "250 ok", "354 go", "554 5.7.1 spam"], "- 5.7.1 554 5.7.1 spam"),
            (&["354 ok", "250 ok", "503 no"], "~ 4.0.0 354 ok"),
        ] {
            assert_eq!(play(&one, &pipelining(), replies).1, [expected]);
        }
    }

    #[test]
    fn extensions_are_used_where_they_are_offered() {
        let mut message = outgoing(&["josé@bücher.example"]);
        message.eight_bit = true;
        let (sent, _) = play(&message, &all(), &["250 ok", "250 ok", "250 ok"]);
        assert!(sent.starts_with("MAIL FROM:<alice@example.org> SIZE=100 BODY=8BITMIME SMTPUTF8|"), "{sent}");
        assert!(sent.contains("RCPT TO:<josé@bücher.example>"), "{sent}");
        let (sent, _) =
            play(&outgoing(&["b@bücher.example"]), &plain(), &["250 ok", "250 ok", "354 go", "250 ok"]);
        assert!(sent.contains("RCPT TO:<b@xn--bcher-kva.example>"), "{sent}");
        let bounce = Outgoing { sender: None, ..outgoing(&["b@x.org"]) };
        assert!(
            play(&bounce, &all(), &["250 ok", "250 ok", "250 ok"]).0.starts_with("MAIL FROM:<> SIZE=100|")
        );
    }

    #[test]
    fn what_the_server_can_not_take_fails_without_a_try() {
        let refused = |message: &Outgoing, extensions: &Extensions| {
            let (sent, outcomes) = play(message, extensions, &[]);
            assert_eq!(sent, "");
            outcomes.into_iter().map(|it| it.get(..7).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let one = outgoing(&["b@x.org"]);
        assert_eq!(refused(&Outgoing { size: 1001, ..one.clone() }, &all()), ["- 5.3.4"]);
        assert_eq!(refused(&Outgoing { eight_bit: true, ..one.clone() }, &plain()), ["- 5.6.3"]);
        assert_eq!(refused(&Outgoing { smtputf8: true, ..one }, &plain()), ["- 5.6.7"]);
        assert_eq!(refused(&outgoing(&["josé@x.org"]), &plain()), ["- 5.6.7"]);
        let (sent, outcomes) = play(
            &outgoing(&["josé@x.org", "b@x.org"]),
            &pipelining(),
            &["250 ok", "250 ok", "354 go", "250 ok"],
        );
        assert!(!sent.contains("jos"), "{sent}");
        assert!(outcomes[0].starts_with("- 5.6.7") && outcomes[1].starts_with('+'));
    }

    #[test]
    fn a_lost_connection_leaves_settled_recipients_alone() {
        let mut transaction =
            Transaction::new("mx", &outgoing(&["a@x.org", "b@x.org"]), &pipelining(), false);
        let Step::Send(_) = transaction.next() else { panic!() };
        for code in [250, 550] {
            transaction.replied(&Reply { code, lines: vec![String::new()] });
        }
        transaction.abandon(Diagnosis { status: Status::new(4, 4, 2), host: None, text: "lost".to_owned() });
        assert_eq!(transaction.next(), Step::Done);
        assert!(!transaction.is_usable());
        let outcomes = transaction.finish();
        assert!(matches!(outcomes[..], [Outcome::Failed(_), Outcome::Deferred(_)]));
    }
}
