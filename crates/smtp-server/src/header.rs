use mail_types::Address;

use crate::policy::{Claim, claims};

/// Octets of a line after which it can be no field: its name would be longer than any line may be (RFC 5322 §2.1.1).
const MAX_NAME: usize = 998;
/// Octets kept of the Message-ID field.
const MAX_MESSAGE_ID: usize = 1000;
/// Octets kept of From fields, for whom they name.
const MAX_FROM: usize = 64 * 1024;

/// The header of a message as it passes by, in pieces of any size: what must not stand in it is left out, what it
/// holds is noted. It is never gathered in memory.
#[derive(Debug)]
pub(crate) struct HeaderFilter {
    is_submission: bool,
    /// Our own name, in which nobody else may say what was found out.
    own: Option<String>,
    at: At,
    /// The start of a line that may still be anything.
    start: Vec<u8>,
    /// What becomes of the field that the last line belongs to.
    field: Field,
    /// A field of which it isn't clear yet whose results it gives: its name, and what came of its value.
    open: Vec<u8>,
    /// The output so far was taken away: what is missing can't stand before it any more.
    is_drained: bool,
    pub(crate) seen: Seen,
}

/// What the header holds.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    fields: usize,
    /// Received fields: the hosts that the message passed.
    pub(crate) received: usize,
    pub(crate) date: bool,
    pub(crate) message_id: bool,
    /// What the first Message-ID field says, folded as it came.
    id: Vec<u8>,
    /// Whom a submission says it is from.
    pub(crate) from: Captured,
    /// Who sends it on, if that is so. RFC 5322 §3.6.6.
    pub(crate) resent_from: Captured,
    /// Who says to have sent a submission.
    pub(crate) sender: Captured,
    /// Whom nobody else is to see.
    pub(crate) bcc: Captured,
    /// The addresses that it has gone through.
    pub(crate) delivered_to: Captured,
    has_list_field: bool,
    /// What a Precedence field says, as far as it matters.
    precedence: Vec<u8>,
}

/// The fields of one name, each called `From`, folded as they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) fields: Vec<u8>,
    /// There was more than is kept.
    pub(crate) is_cut: bool,
}

impl Seen {
    /// The Message-ID, with its angle brackets; without them where the field has none.
    pub(crate) fn id(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.id);
        let inner = text.find('<').and_then(|start| {
            let end = text.get(start..)?.find('>')?;
            text.get(start..=start + end)
        });
        let id = inner.unwrap_or(&text).split_whitespace().collect::<String>();
        (!id.is_empty()).then_some(id)
    }
}

impl Seen {
    fn add_precedence(&mut self, octets: &[u8]) {
        /// Octets that say enough.
        const MOST: usize = 32;
        let room = MOST.saturating_sub(self.precedence.len());
        self.precedence.extend_from_slice(octets.get(..room).unwrap_or(octets));
    }

    /// True if it says that it went to many people: List-Id (RFC 2919), List-Unsubscribe (RFC 2369), `Precedence: bulk`, `list` or `junk`.
    pub(crate) fn is_bulk(&self) -> bool {
        let word = self.precedence.trim_ascii();
        self.has_list_field || [&b"bulk"[..], b"list", b"junk"].iter().any(|it| it.eq_ignore_ascii_case(word))
    }
}

impl Captured {
    /// The addresses in fields that hold nothing else, in lower case.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        let lines = self.fields.split(|octet| *octet == b'\n');
        let text = |line: &[u8]| Some(str::from_utf8(line).ok()?.split_once(':')?.1.trim().to_owned());
        lines.filter_map(move |line| Some(text(line)?.parse::<Address>().ok()?.to_lowercase()))
    }

    /// As fields of this name, each with its line end; empty if there is more than is kept.
    pub(crate) fn as_fields(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.fields);
        let mut fields = String::new();
        for line in text.lines().filter(|_| !self.is_cut) {
            match line.strip_prefix("From:") {
                Some(value) => fields.extend([name, ":", value]),
                None => fields.push_str(line),
            }
            fields.push_str("\r\n");
        }
        fields
    }

    fn add(&mut self, octets: &[u8]) {
        self.is_cut |= self.fields.len() + octets.len() > MAX_FROM;
        if !self.is_cut {
            self.fields.extend_from_slice(octets);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Line,
    Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Keep,
    From,
    ResentFrom,
    MessageId,
    DeliveredTo,
    Precedence,
    /// Left out, to be put back if it is true.
    Sender,
    /// Left out, but for who sends it.
    Bcc,
    /// Results: kept unless they are given in our name.
    Results,
    LeaveOut,
}

/// What a line turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Field,
    Continuation,
    /// `From `, with which an mbox file begins a message.
    Mbox,
    /// The empty line between header and body.
    End,
    /// No part of a header: the body begins without an empty line.
    Stray,
}

impl HeaderFilter {
    /// Before the first octet. What is said in the name of `own` is left out: RFC 8601 §5.
    pub(crate) fn new(is_submission: bool, own: Option<String>) -> Self {
        Self {
            is_submission,
            own,
            at: At::LineStart,
            start: Vec::new(),
            field: Field::Keep,
            open: Vec::new(),
            is_drained: false,
            seen: Seen::default(),
        }
    }

    /// Passes on what `piece` holds of the header, and gives the rest of it, which is body. `missing` tells, from what
    /// was seen, which fields are to be added: before all others as long as `output` has them still, else behind them.
    pub(crate) fn pass<'a>(
        &mut self,
        mut piece: &'a [u8],
        output: &mut Vec<u8>,
        missing: impl Fn(&Seen) -> String,
    ) -> &'a [u8] {
        while !piece.is_empty() {
            piece = match self.at {
                At::Body => return piece,
                At::Line => self.pass_line(piece, output),
                At::LineStart => self.look_at(piece, output, &missing),
            };
        }
        piece
    }

    /// The message is over: so is its header, had it no body.
    pub(crate) fn finish(&mut self, output: &mut Vec<u8>, missing: impl Fn(&Seen) -> String) {
        if self.at == At::LineStart && !self.start.is_empty() {
            self.end(Kind::Stray, output, &missing);
        }
        if self.at == At::Body {
            return;
        }
        self.settle(output);
        let is_written = !matches!(self.field, Field::LeaveOut | Field::Sender | Field::Bcc);
        if self.at == At::Line && is_written && self.is_drained {
            output.extend_from_slice(b"\r\n");
        }
        self.place(&missing(&self.seen), output);
        self.at = At::Body;
    }

    /// True once the body has begun.
    pub(crate) fn is_over(&self) -> bool {
        self.at == At::Body
    }

    /// The caller takes the output away.
    pub(crate) fn drain(&mut self, output: &mut Vec<u8>) -> Vec<u8> {
        self.is_drained = true;
        std::mem::take(output)
    }

    fn place(&self, missing: &str, output: &mut Vec<u8>) {
        let at = if self.is_drained { output.len() } else { 0 };
        output.splice(at..at, missing.bytes());
    }

    /// Passes on the rest of a line.
    fn pass_line<'a>(&mut self, piece: &'a [u8], output: &mut Vec<u8>) -> &'a [u8] {
        let end = memchr::memchr(b'\n', piece).map(|position| position + 1);
        let (line, rest) = piece.split_at_checked(end.unwrap_or(piece.len())).unwrap_or((piece, &[]));
        self.write(line, output);
        if end.is_some() {
            self.at = At::LineStart;
        }
        rest
    }

    fn write(&mut self, octets: &[u8], output: &mut Vec<u8>) {
        match self.field {
            Field::LeaveOut | Field::Sender | Field::Bcc => {}
            Field::Results => self.weigh(octets, output),
            Field::Keep
            | Field::From
            | Field::ResentFrom
            | Field::MessageId
            | Field::DeliveredTo
            | Field::Precedence => output.extend_from_slice(octets),
        }
        self.capture(octets);
    }

    /// Takes more of a field that gives results, until it is clear whose they are.
    fn weigh(&mut self, octets: &[u8], output: &mut Vec<u8>) {
        self.open.extend_from_slice(octets);
        self.decide(false, output);
    }

    /// The field before this is over.
    fn settle(&mut self, output: &mut Vec<u8>) {
        if self.field == Field::Results {
            self.decide(true, output);
        }
    }

    fn decide(&mut self, is_whole: bool, output: &mut Vec<u8>) {
        let colon = memchr::memchr(b':', &self.open).map_or(0, |colon| colon + 1);
        let value = self.open.get(colon..).unwrap_or_default();
        match claims(value, is_whole, self.own.as_deref().unwrap_or_default()) {
            Claim::Open => {}
            Claim::Ours => {
                self.open.clear();
                self.field = Field::LeaveOut;
            }
            Claim::Others => {
                output.append(&mut self.open);
                self.field = Field::Keep;
            }
        }
    }

    fn capture(&mut self, octets: &[u8]) {
        match self.field {
            Field::From => self.seen.from.add(octets),
            Field::ResentFrom => self.seen.resent_from.add(octets),
            Field::MessageId => {
                let room = MAX_MESSAGE_ID.saturating_sub(self.seen.id.len());
                self.seen.id.extend_from_slice(octets.get(..room).unwrap_or(octets));
            }
            Field::DeliveredTo => self.seen.delivered_to.add(octets),
            Field::Precedence => self.seen.add_precedence(octets),
            Field::Sender => self.seen.sender.add(octets),
            Field::Bcc => self.seen.bcc.add(octets),
            Field::Keep | Field::Results | Field::LeaveOut => {}
        }
    }

    /// Takes octets of a line's start until it is clear what the line is.
    fn look_at<'a>(
        &mut self,
        piece: &'a [u8],
        output: &mut Vec<u8>,
        missing: &impl Fn(&Seen) -> String,
    ) -> &'a [u8] {
        let mut rest = piece;
        while let Some((octet, behind)) = rest.split_first() {
            self.start.push(*octet);
            rest = behind;
            let Some(kind) = self.kind() else { continue };
            match kind {
                Kind::Field => self.begin_field(output),
                Kind::Continuation => self.keep(self.field, output),
                Kind::Mbox => {
                    output.extend_from_slice(b"X-Mailbox-Line: ");
                    self.keep(Field::Keep, output);
                }
                Kind::End | Kind::Stray => self.end(kind, output, missing),
            }
            break;
        }
        rest
    }

    /// What the line is; `None` if more of it must be seen.
    fn kind(&self) -> Option<Kind> {
        let (last, before) = self.start.split_last()?;
        let is_first = self.seen.fields == 0;
        match (*last, before) {
            (b' ' | b'\t', []) => Some(if is_first { Kind::Stray } else { Kind::Continuation }),
            (b' ', b"From" | b">From") if is_first => Some(Kind::Mbox),
            (b'\r', []) => None,
            (b'\n', b"\r") => Some(Kind::End),
            (b':', [_, ..]) => Some(Kind::Field),
            // RFC 5322 §4.5.8: blanks between the name and its colon.
            (b' ' | b'\t', [_, ..]) if self.start.len() <= MAX_NAME => None,
            (33..=126, [] | [.., 33..=126]) if *last != b':' && self.start.len() <= MAX_NAME => None,
            _ => Some(Kind::Stray),
        }
    }

    fn begin_field(&mut self, output: &mut Vec<u8>) {
        self.settle(output);
        self.seen.fields += 1;
        let name = self.start.strip_suffix(b":").unwrap_or_default().trim_ascii_end().to_ascii_lowercase();
        let field = match name.as_slice() {
            // RFC 5321 §4.4: there shall be one, ours.
            b"return-path" => Field::LeaveOut,
            // RFC 5322 §3.6.3: not for the others to see.
            b"bcc" if self.is_submission => Field::Bcc,
            b"resent-bcc" if self.is_submission => Field::LeaveOut,
            b"authentication-results" if self.own.is_some() => Field::Results,
            b"x-mailstead-verdict" if self.own.is_some() => Field::LeaveOut,
            b"from" if self.is_submission => Field::From,
            b"resent-from" if self.is_submission => Field::ResentFrom,
            b"message-id" if !self.seen.message_id => Field::MessageId,
            b"delivered-to" => Field::DeliveredTo,
            b"precedence" => Field::Precedence,
            b"sender" if self.is_submission => Field::Sender,
            _ => Field::Keep,
        };
        self.seen.received += usize::from(name == b"received");
        self.seen.has_list_field |= name == b"list-id" || name == b"list-unsubscribe";
        self.seen.date |= name == b"date";
        self.seen.message_id |= name == b"message-id";
        self.field = field;
        self.at = At::Line;
        let start = std::mem::take(&mut self.start);
        match field {
            Field::LeaveOut | Field::Sender | Field::Bcc => {}
            Field::Results => self.open = start,
            Field::Keep
            | Field::From
            | Field::ResentFrom
            | Field::MessageId
            | Field::DeliveredTo
            | Field::Precedence => output.extend_from_slice(&start),
        }
        if !matches!(field, Field::MessageId | Field::Precedence) {
            self.capture(b"From:");
        }
    }

    /// Goes on in a line of which the start is known.
    fn keep(&mut self, field: Field, output: &mut Vec<u8>) {
        self.seen.fields = self.seen.fields.max(1);
        self.field = field;
        self.at = At::Line;
        let start = std::mem::take(&mut self.start);
        self.write(&start, output);
    }

    /// Ends the header. A body that follows without an empty line gets one where it would run into our own fields.
    fn end(&mut self, kind: Kind, output: &mut Vec<u8>, missing: &impl Fn(&Seen) -> String) {
        self.settle(output);
        self.place(&missing(&self.seen), output);
        if kind == Kind::Stray && (self.seen.fields == 0 || self.is_submission) {
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(&std::mem::take(&mut self.start));
        self.at = At::Body;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `message` behind the filter, fed in pieces of every size: they must all give the same.
    #[track_caller]
    fn filter(is_submission: bool, message: &str) -> (String, Seen) {
        let missing = |seen: &Seen| if seen.date { String::new() } else { "Date: now\r\n".to_owned() };
        let own = Some("mail.example.org".to_owned());
        let pass = |size: usize| {
            let (mut filter, mut output) = (HeaderFilter::new(is_submission, own.clone()), Vec::new());
            for piece in message.as_bytes().chunks(size) {
                let body = filter.pass(piece, &mut output, missing);
                output.extend_from_slice(body);
            }
            filter.finish(&mut output, missing);
            (String::from_utf8(output).unwrap(), filter.seen)
        };
        let (whole, seen) = pass(message.len().max(1));
        for size in [1, 2, 3, 7] {
            assert_eq!(pass(size).0, whole, "in pieces of {size}");
        }
        (whole, seen)
    }

    #[track_caller]
    fn check(message: &str, expected: &str) {
        assert_eq!(filter(true, message).0, expected);
    }

    #[test]
    fn what_is_missing_stands_before_the_header() {
        check("Subject: a\r\n\r\nb\r\n\r\nc", "Date: now\r\nSubject: a\r\n\r\nb\r\n\r\nc");
        check("date : x\r\n\r\nb", "date : x\r\n\r\nb");
        check("Subject: a\r\n\r\nDate: b", "Date: now\r\nSubject: a\r\n\r\nDate: b");
        check("\r\nbody", "Date: now\r\n\r\nbody");
        check("Subject: a\r\n", "Date: now\r\nSubject: a\r\n");
        check("Subject: a", "Date: now\r\nSubject: a");
        check("", "Date: now\r\n");
    }

    #[test]
    fn what_is_missing_stands_behind_a_header_too_long_to_be_held() {
        for (rest, end) in [("\r\n\r\nbody", "\r\nDate: now\r\n\r\nbody"), ("", "\r\nDate: now\r\n")] {
            let (mut filter, mut output) = (HeaderFilter::new(true, None), Vec::new());
            let missing = |_: &Seen| "Date: now\r\n".to_owned();
            filter.pass(b"Subject: a", &mut output, missing);
            let mut message = filter.drain(&mut output);
            let body = filter.pass(rest.as_bytes(), &mut output, missing);
            output.extend_from_slice(body);
            filter.finish(&mut output, missing);
            message.extend_from_slice(&output);
            assert_eq!(String::from_utf8(message).unwrap(), format!("Subject: a{end}"));
        }
    }

    #[test]
    fn a_body_without_a_header_does_not_become_one() {
        check("hello world: x\r\n", "Date: now\r\n\r\nhello world: x\r\n");
        check(" hello\r\n", "Date: now\r\n\r\n hello\r\n");
        check(": x\r\n", "Date: now\r\n\r\n: x\r\n");
        check("hello", "Date: now\r\n\r\nhello");
        check(&"x".repeat(2000), &format!("Date: now\r\n\r\n{}", "x".repeat(2000)));
        check("A: b\r\nhello\r\nBcc: c\r\n", "Date: now\r\nA: b\r\n\r\nhello\r\nBcc: c\r\n");
        check("From a@b.c Mon\r\nA: b\r\n", "Date: now\r\nX-Mailbox-Line: From a@b.c Mon\r\nA: b\r\n");
    }

    #[test]
    fn return_path_and_bcc_go_with_all_their_lines() {
        let message = "Return-Path: <a@b.c>\r\nA: b\r\n\tc\r\nBCC: d,\r\n e\r\nDate: x\r\n\r\nBcc: f";
        check(message, "A: b\r\n\tc\r\nDate: x\r\n\r\nBcc: f");
        let (received, _) = filter(false, message);
        assert_eq!(received, "A: b\r\n\tc\r\nBCC: d,\r\n e\r\nDate: x\r\n\r\nBcc: f");
    }

    #[test]
    fn what_is_said_in_our_name_goes_and_what_others_say_stays() {
        let ours = "Authentication-Results: mail.example.org; spf=pass\r\n";
        let folded = "authentication-results :\r\n (x)\r\n\tMail.Example.Org\r\n\t; spf=pass\r\n";
        let others = "Authentication-Results:\r\n mx.example.net; spf=pass\r\n\tx=y\r\n";
        let verdict = "X-Mailstead-Verdict: accept;\r\n\tscore=0\r\n";
        let message = format!("Date: x\r\n{ours}{others}{verdict}A: b\r\n c\r\n{folded}\r\n{ours}");
        check(&message, &format!("Date: x\r\n{others}A: b\r\n c\r\n\r\n{ours}"));
        check("Date: x\r\nAuthentication-Results: mail.example.org", "Date: x\r\n");
        check("Date: x\r\nAuthentication-Results: mx.a.test", "Date: x\r\nAuthentication-Results: mx.a.test");
    }

    #[test]
    fn the_sender_field_of_a_submission_is_taken_out_whole() {
        let (text, seen) = filter(true, "Date: x\r\nSENDER : a\r\n\t<b@c.d>\r\nA: b\r\n\r\nSender: e");
        assert_eq!(text, "Date: x\r\nA: b\r\n\r\nSender: e");
        assert_eq!(seen.sender.as_fields("Sender"), "Sender: a\r\n\t<b@c.d>\r\n");
        let (_, seen) = filter(true, "Sender: a\r\nsender:b\r\n From: c\r\n\r\n");
        assert_eq!(seen.sender.as_fields("Sender"), "Sender: a\r\nSender:b\r\n From: c\r\n");
        let (text, _) = filter(false, "Date: x\r\nSender: a\r\n\r\n");
        assert_eq!(text, "Date: x\r\nSender: a\r\n\r\n");
    }

    #[test]
    fn only_fields_of_the_header_are_counted() {
        let hops = "Received: a\r\n".repeat(3);
        let (_, seen) = filter(true, &format!("{hops}Message-Id: z\r\n\r\n{hops}"));
        assert_eq!((seen.received, seen.date, seen.message_id), (3, false, true));
    }

    #[test]
    fn what_went_to_many_says_so() {
        let is_bulk =
            |header: &str| filter(false, &format!("Date: x\r\n{header}\r\n\r\nList-Id: x")).1.is_bulk();
        for bulk in [
            "List-Unsubscribe: <mailto:x>",
            "LIST-ID : <a.b>",
            "Precedence: Bulk",
            "precedence:\r\n list",
            "Precedence: junk ",
        ] {
            assert!(is_bulk(bulk), "{bulk}");
        }
        for personal in [
            "Subject: List-Id",
            "Precedence: first-class",
            "Precedence: bulky",
            "X-List-Id: x",
            "List-Post: <mailto:x>",
        ] {
            assert!(!is_bulk(personal), "{personal}");
        }
    }

    #[test]
    fn the_first_message_id_is_known_without_what_folds_it() {
        let id = |header: &str| filter(false, header).1.id();
        let folded = "Message-ID :\r\n\t<a@b\r\n .c> (x)\r\nMessage-ID: <d@e>\r\n\r\n";
        assert_eq!(id(folded).as_deref(), Some("<a@b.c>"));
        assert_eq!(id("message-id: plain\r\n").as_deref(), Some("plain"));
        assert_eq!(id("Message-ID:\r\n\r\nMessage-ID: <a@b>"), None);
        assert!(
            id(&format!("Message-ID: <{}>\r\n", "x".repeat(5000)))
                .is_some_and(|id| id.len() <= MAX_MESSAGE_ID)
        );
    }

    #[test]
    fn all_from_fields_are_captured_up_to_a_bound() {
        let (_, seen) = filter(true, "FROM : x\r\n\ty\r\nA: b\r\nfrom:z\r\nResent-From: w\r\n\r\nFrom: v");
        assert_eq!(seen.from.fields, b"From: x\r\n\ty\r\nFrom:z\r\n");
        assert_eq!(seen.resent_from.fields, b"From: w\r\n");
        let (_, seen) = filter(true, &format!("From: {}\r\n\r\n", "x,".repeat(MAX_FROM)));
        assert!(seen.from.is_cut && seen.from.fields.len() <= MAX_FROM);
    }
}
