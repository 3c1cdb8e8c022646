//! Whole IMAP commands out of bytes: lines with their literals attached, each bounded by a limit.
//!
//! The framer knows of the grammar only what frames it: a line that ends in `{n}` or `{n+}` is followed by a literal
//! (RFC 3501 §4.3, RFC 7888, `~{n}` by RFC 3516 §7), and what APPEND and REPLACE store is handed on in pieces, never gathered
//! in memory.

mod literal;

use bytes::{Buf, Bytes, BytesMut};

pub use literal::Literal;
use literal::{Announced, MAX_ANNOUNCEMENT, announced, is_message_of_append, is_url};

/// What a client may send at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImapLimits {
    /// Octets of a command outside its literals.
    pub max_line: usize,
    /// Octets of all literals of one command together, the message of APPEND not counted.
    pub max_literals: usize,
    /// Octets of one literal of the message of APPEND.
    pub max_append: u64,
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Longer than [`ImapLimits::max_line`].
    LineTooLong,
    /// Its literals are larger than [`ImapLimits::max_literals`].
    LiteralTooBig,
    /// A message larger than [`ImapLimits::max_append`]: `NO [TOOBIG]`.
    MessageTooBig,
}

/// What the bytes amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole command without its last CRLF; each literal stands in it as `{n}`, CRLF and its octets.
    Command(Bytes),
    /// The client waits to send a literal: answer `+` and a text.
    Continue,
    /// An APPEND or REPLACE up to its message, or the first part of it that is a literal, which is to be taken by
    /// [`ImapFramer::message`]; then [`Event::AppendMore`] or [`Event::AppendEnd`] follows, or [`Event::Refused`].
    Append {
        /// The command without the literal's announcement.
        head: Bytes,
        /// What is announced.
        literal: Literal,
    },
    /// Another message of the same APPEND (RFC 3502), or another part of it (RFC 4469), to be taken as the first one.
    AppendMore {
        /// What stood between the literals, without the literal's announcement.
        head: Bytes,
        /// What is announced.
        literal: Literal,
    },
    /// What stood behind the last literal of APPEND.
    AppendEnd(Bytes),
    /// The command was left out; go on with the next one.
    Refused {
        /// Its tag, where there was one.
        tag: Option<Bytes>,
        /// Why.
        refusal: Refusal,
    },
    /// The client sends so much that leaving it out would be no use: close the connection.
    Flood,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Lines are gathered.
    Line,
    /// So many octets of a literal are still to come.
    Literal(usize),
    /// So many octets of APPEND's message are still to come.
    Message(u64),
    /// The rest of APPEND's line is to come.
    AppendEnd,
    /// The rest of a line is left out.
    SkipLine(Skip),
    /// So many octets of a literal, and the line behind it, are left out.
    SkipLiteral(Skip, u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Skip {
    tag: Option<Bytes>,
    refusal: Refusal,
}

/// Splits a client's bytes into [`Event`]s. Holds nothing between commands.
#[derive(Debug)]
pub struct ImapFramer {
    limits: ImapLimits,
    state: State,
    /// The command as gathered so far; empty for a command of one line.
    gathered: BytesMut,
    /// Octets of literals within `gathered`.
    literals: usize,
    /// Part of a message has been announced, and the command has not ended.
    in_append: bool,
    /// Octets of the buffer that hold no LF.
    scanned: usize,
}

impl ImapFramer {
    /// Ready for the first command.
    #[must_use]
    pub fn new(limits: ImapLimits) -> Self {
        Self {
            limits,
            state: State::Line,
            gathered: BytesMut::new(),
            literals: 0,
            in_append: false,
            scanned: 0,
        }
    }

    /// Allows so much from now on.
    pub const fn limit(&mut self, limits: ImapLimits) {
        self.limits = limits;
    }

    /// The next event in `buffer`, whose octets are taken out; `None` if more must be read first.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Option<Event> {
        loop {
            match std::mem::replace(&mut self.state, State::Line) {
                State::Line => match self.line(buffer)? {
                    Some(event) => return Some(event),
                    None => continue,
                },
                State::Literal(missing) => {
                    let here = missing.min(buffer.len());
                    self.gathered.extend_from_slice(&buffer.split_to(here));
                    if here < missing {
                        self.state = State::Literal(missing - here);
                        return None;
                    }
                    if self.in_append {
                        self.state = State::AppendEnd;
                    }
                }
                State::Message(missing) => {
                    self.state = State::Message(missing);
                    return None;
                }
                State::AppendEnd => {
                    if let Some(event) = self.append_end(buffer)? {
                        return Some(event);
                    }
                }
                State::SkipLine(skip) => {
                    let event = self.skip_line(skip, buffer)?;
                    if let Some(event) = event {
                        return Some(event);
                    }
                }
                State::SkipLiteral(skip, missing) => {
                    let here = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.len());
                    buffer.advance(here);
                    let missing = missing.saturating_sub(here as u64);
                    if missing > 0 {
                        self.state = State::SkipLiteral(skip, missing);
                        return None;
                    }
                    self.state = State::SkipLine(skip);
                }
            }
        }
    }

    /// The next piece of APPEND's message in `buffer`; `None` if it is empty or the message is complete.
    pub fn message(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let State::Message(missing) = self.state else { return None };
        let here = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.len());
        let missing = missing.saturating_sub(here as u64);
        self.state = if missing == 0 { State::AppendEnd } else { State::Message(missing) };
        (here > 0).then(|| buffer.split_to(here).freeze())
    }

    /// Octets of APPEND's message that are still to come.
    #[must_use]
    pub const fn message_missing(&self) -> u64 {
        match self.state {
            State::Message(missing) => missing,
            State::Line
            | State::Literal(_)
            | State::AppendEnd
            | State::SkipLine(_)
            | State::SkipLiteral(..) => 0,
        }
    }

    /// Gives up the APPEND whose message the client waits to send: it is told NO instead of `+` and sends nothing.
    pub fn refuse_message(&mut self) {
        self.take_gathered();
        self.state = State::Line;
    }

    /// True between two commands.
    #[must_use]
    pub fn is_between_commands(&self) -> bool {
        self.state == State::Line && self.gathered.is_empty()
    }

    /// Takes one line from the buffer; `Some(None)` says to look again.
    fn line(&mut self, buffer: &mut BytesMut) -> Option<Option<Event>> {
        let line = self.gathered.len().saturating_sub(self.literals);
        let Some(end) = self.find_line_end(buffer) else {
            if line.saturating_add(buffer.len()) > self.limits.max_line {
                let skip = self.skip(buffer, Refusal::LineTooLong);
                self.state = State::SkipLine(skip);
                return Some(None);
            }
            return None;
        };
        if line.saturating_add(end) > self.limits.max_line {
            let skip = self.skip(buffer, Refusal::LineTooLong);
            self.state = State::SkipLine(skip);
            return Some(None);
        }
        let text = take_line(buffer, end);
        match announced(&text) {
            None => Some(Some(self.complete(text))),
            Some(literal) => Some(self.announce(&text, literal)),
        }
    }

    fn complete(&mut self, text: BytesMut) -> Event {
        if self.gathered.is_empty() {
            return Event::Command(text.freeze());
        }
        let mut command = self.take_gathered();
        command.extend_from_slice(&text);
        Event::Command(command.freeze())
    }

    fn take_gathered(&mut self) -> BytesMut {
        self.literals = 0;
        self.in_append = false;
        std::mem::take(&mut self.gathered)
    }

    /// Decides about the literal that a line announces.
    fn announce(&mut self, text: &[u8], announced: Announced) -> Option<Event> {
        let Announced { length, literal } = announced;
        self.gathered.extend_from_slice(text.get(..text.len().saturating_sub(length)).unwrap_or_default());
        let is_of_append = self.in_append || is_message_of_append(&self.gathered);
        if is_of_append && !is_url(&self.gathered, self.in_append) {
            return self.announce_message(literal);
        }
        let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
        if self.literals.saturating_add(size) > self.limits.max_literals {
            return self.refuse_literal(literal, Refusal::LiteralTooBig);
        }
        let tilde = if literal.binary { "~" } else { "" };
        self.gathered.extend_from_slice(format!("{tilde}{{{size}}}\r\n").as_bytes());
        self.literals += size;
        self.state = State::Literal(size);
        literal.synchronising.then_some(Event::Continue)
    }

    fn announce_message(&mut self, literal: Literal) -> Option<Event> {
        if literal.size > self.limits.max_append {
            return self.refuse_literal(literal, Refusal::MessageTooBig);
        }
        let is_first = !self.in_append;
        let head = self.take_gathered().freeze();
        self.in_append = true;
        self.state = if literal.size == 0 { State::AppendEnd } else { State::Message(literal.size) };
        Some(if is_first { Event::Append { head, literal } } else { Event::AppendMore { head, literal } })
    }

    /// A client that waits for `+` sends nothing more of a command that is refused; another one's literal is left out.
    fn refuse_literal(&mut self, literal: Literal, refusal: Refusal) -> Option<Event> {
        let command = self.take_gathered();
        let tag = tag_of(&command);
        if literal.synchronising {
            return Some(Event::Refused { tag, refusal });
        }
        if literal.size > self.limits.max_append.saturating_mul(4) {
            return Some(Event::Flood);
        }
        self.state = State::SkipLiteral(Skip { tag, refusal }, literal.size);
        None
    }

    fn skip(&mut self, buffer: &BytesMut, refusal: Refusal) -> Skip {
        let gathered = self.take_gathered();
        let command: &[u8] = if gathered.is_empty() { buffer } else { &gathered };
        // Only a word that has ended is a tag: of one that is still to come, what is here would be another.
        let head = command.get(..self.limits.max_line).unwrap_or(command);
        let has_ended = head.iter().any(|c| matches!(c, b' ' | b'\r' | b'\n'));
        Skip { tag: tag_of(head).filter(|_| has_ended), refusal }
    }

    /// Leaves out the rest of a line; `Some(None)` says to look again.
    fn skip_line(&mut self, skip: Skip, buffer: &mut BytesMut) -> Option<Option<Event>> {
        let Some(end) = self.find_line_end(buffer) else {
            // The end of what is here may be the beginning of a literal's announcement.
            buffer.advance(buffer.len().saturating_sub(MAX_ANNOUNCEMENT));
            self.scanned = buffer.len();
            self.state = State::SkipLine(skip);
            return None;
        };
        let text = take_line(buffer, end);
        let literal = announced(&text).map(|it| it.literal);
        match literal.filter(|literal| !literal.synchronising) {
            Some(literal) if literal.size > self.limits.max_append.saturating_mul(4) => {
                Some(Some(Event::Flood))
            }
            Some(literal) => {
                self.state = State::SkipLiteral(skip, literal.size);
                Some(None)
            }
            None => Some(Some(Event::Refused { tag: skip.tag, refusal: skip.refusal })),
        }
    }

    /// Takes what follows a literal of APPEND; `Some(None)` says to look again.
    fn append_end(&mut self, buffer: &mut BytesMut) -> Option<Option<Event>> {
        let before = self.gathered.len().saturating_sub(self.literals);
        let end = self.find_line_end(buffer);
        if before.saturating_add(end.unwrap_or(buffer.len())) > self.limits.max_line {
            return Some(Some(Event::Flood));
        }
        let Some(end) = end else {
            self.state = State::AppendEnd;
            return None;
        };
        let text = take_line(buffer, end);
        Some(match announced(&text) {
            Some(literal) => self.announce(&text, literal),
            None => {
                let mut rest = self.take_gathered();
                rest.extend_from_slice(&text);
                Some(Event::AppendEnd(rest.freeze()))
            }
        })
    }

    /// The length of the first line in `buffer`, its LF included. Each octet is looked at once.
    fn find_line_end(&mut self, buffer: &BytesMut) -> Option<usize> {
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        match memchr::memchr(b'\n', unseen) {
            Some(position) => {
                let end = self.scanned + position + 1;
                self.scanned = 0;
                Some(end)
            }
            None => {
                self.scanned = buffer.len();
                None
            }
        }
    }
}

/// Takes a line of `end` octets out and strips its CRLF, or the bare LF that some clients send.
fn take_line(buffer: &mut BytesMut, end: usize) -> BytesMut {
    let mut line = buffer.split_to(end);
    line.truncate(end.saturating_sub(1));
    if line.last() == Some(&b'\r') {
        line.truncate(line.len() - 1);
    }
    line
}

/// The tag before the first space, where it is one. RFC 3501 §9, `tag`.
#[must_use]
pub fn tag_of(command: &[u8]) -> Option<Bytes> {
    let end = command.iter().position(|c| matches!(c, b' ' | b'\r' | b'\n')).unwrap_or(command.len());
    let tag = command.get(..end.min(256))?;
    let tag_char = |c: &u8| c.is_ascii_graphic() && !b"(){%*\"\\+".contains(c);
    (!tag.is_empty() && tag.len() == end && tag.iter().all(tag_char)).then(|| Bytes::copy_from_slice(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ImapLimits = ImapLimits { max_line: 64, max_literals: 32, max_append: 100 };

    /// Every event in `input`, which comes in pieces of `piece` octets.
    fn events(input: &[u8], piece: usize) -> Vec<Event> {
        let mut framer = ImapFramer::new(LIMITS);
        let mut buffer = BytesMut::new();
        let mut events = Vec::new();
        let mut message = BytesMut::new();
        for piece in input.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                if let Some(piece) = framer.message(&mut buffer) {
                    message.extend_from_slice(&piece);
                    continue;
                }
                match framer.next(&mut buffer) {
                    Some(event) => events.push(event),
                    None => break,
                }
            }
        }
        if !message.is_empty() {
            events.push(command(&message));
        }
        events
    }

    fn command(text: &[u8]) -> Event {
        Event::Command(Bytes::copy_from_slice(text))
    }

    fn refused(tag: &'static str, refusal: Refusal) -> Event {
        Event::Refused { tag: Some(Bytes::from_static(tag.as_bytes())), refusal }
    }

    #[track_caller]
    fn check(input: &[u8], expected: &[Event]) {
        for piece in [1, 2, 7, input.len().max(1)] {
            assert_eq!(events(input, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_line_is_a_command() {
        check(b"a NOOP\r\nb NOOP\n", &[command(b"a NOOP"), command(b"b NOOP")]);
    }

    #[test]
    fn literals_are_attached_to_their_command() {
        check(
            b"a LOGIN {4}\r\nb{9} {3+}\r\nx\r\n\r\nb NOOP\r\n",
            &[Event::Continue, command(b"a LOGIN {4}\r\nb{9} {3}\r\nx\r\n"), command(b"b NOOP")],
        );
        check(b"a LOGIN {0+}\r\n \"\"\r\n", &[command(b"a LOGIN {0}\r\n \"\"")]);
    }

    #[test]
    fn the_message_of_append_is_handed_on_in_pieces() {
        let append = |head: &'static [u8], synchronising| Event::Append {
            head: Bytes::from_static(head),
            literal: Literal { size: 3, synchronising, binary: false },
        };
        check(
            b"a append INBOX (\\Seen) {3+}\r\nabc\r\nb NOOP\r\n",
            &[
                append(b"a append INBOX (\\Seen) ", false),
                Event::AppendEnd(Bytes::new()),
                command(b"b NOOP"),
                command(b"abc"),
            ],
        );
        check(
            b"a APPEND {5+}\r\nINBOX {3}\r\nabc\r\n",
            &[append(b"a APPEND {5}\r\nINBOX ", true), Event::AppendEnd(Bytes::new()), command(b"abc")],
        );
    }

    #[test]
    fn an_append_may_have_several_messages() {
        let more = |head: &'static [u8], size, synchronising| Event::AppendMore {
            head: Bytes::from_static(head),
            literal: Literal { size, synchronising, binary: false },
        };
        let literal = Literal { size: 3, synchronising: false, binary: false };
        let first = Event::Append { head: Bytes::from_static(b"a APPEND x "), literal };
        check(
            b"a APPEND x {3+}\r\nabc (\\Seen) {2}\r\nde {0+}\r\n\r\n",
            &[
                first.clone(),
                more(b" (\\Seen) ", 2, true),
                more(b" ", 0, false),
                Event::AppendEnd(Bytes::new()),
                command(b"abcde"),
            ],
        );
        let refused = Event::Refused { tag: None, refusal: Refusal::MessageTooBig };
        check(
            b"a APPEND x {3+}\r\nabc {101}\r\nb NOOP\r\n",
            &[first, refused, command(b"b NOOP"), command(b"abc")],
        );
    }

    #[test]
    fn a_url_of_catenate_is_no_part_of_the_message() {
        let text = |size| Literal { size, synchronising: false, binary: false };
        let url = Bytes::from_static(b"a APPEND x CATENATE (URL {2}\r\n/x TEXT ");
        check(
            b"a APPEND x CATENATE (URL {2}\r\n/x TEXT {3+}\r\nabc URL {2+}\r\n/y TEXT {1+}\r\nd url {2+}\r\n/z)\r\nb NOOP\r\n",
            &[
                Event::Continue,
                Event::Append { head: url, literal: text(3) },
                Event::AppendMore { head: Bytes::from_static(b" URL {2}\r\n/y TEXT "), literal: text(1) },
                Event::AppendEnd(Bytes::from_static(b" url {2}\r\n/z)")),
                command(b"b NOOP"),
                command(b"abcd"),
            ],
        );
        let append = Event::Append { head: Bytes::from_static(b"a APPEND URL "), literal: text(1) };
        check(b"a APPEND URL {1+}\r\nx\r\n", &[append, Event::AppendEnd(Bytes::new()), command(b"x")]);
    }

    #[test]
    fn replace_names_a_message_before_its_mailbox() {
        let literal = Literal { size: 2, synchronising: false, binary: true };
        for head in ["a REPLACE 4 {1}\r\nx ", "a uid replace 4 (x ", "a REPLACE 4 x (\\Seen) "] {
            let line = format!("{head}~{{2+}}\r\n\0y\r\n");
            let append = Event::Append { head: Bytes::from(head.to_owned()), literal };
            let mut events = vec![append, Event::AppendEnd(Bytes::new()), command(b"\0y")];
            if head.contains('{') {
                events.insert(0, Event::Continue);
            }
            check(line.as_bytes(), &events);
        }
    }

    #[test]
    fn what_is_too_long_is_left_out_and_the_next_command_is_found() {
        let long = format!("a NOOP {}\r\nb NOOP\r\n", "x".repeat(100));
        check(long.as_bytes(), &[refused("a", Refusal::LineTooLong), command(b"b NOOP")]);
        let long = format!("a NOOP {} {{3+}}\r\nx\r\n\r\nb NOOP\r\n", "x".repeat(100));
        check(long.as_bytes(), &[refused("a", Refusal::LineTooLong), command(b"b NOOP")]);
    }

    #[test]
    fn a_literal_too_big_is_refused_before_it_is_sent_or_left_out() {
        check(b"a LOGIN {33}\r\nb NOOP\r\n", &[refused("a", Refusal::LiteralTooBig), command(b"b NOOP")]);
        let skipped = format!("a LOGIN {{33+}}\r\n{} x\r\nb NOOP\r\n", "\n".repeat(33));
        check(skipped.as_bytes(), &[refused("a", Refusal::LiteralTooBig), command(b"b NOOP")]);
        check(b"a APPEND x {101}\r\nb NOOP\r\n", &[refused("a", Refusal::MessageTooBig), command(b"b NOOP")]);
        assert_eq!(events(b"a APPEND x {99999999999+}\r\n", 99), [Event::Flood]);
    }

    #[test]
    fn a_tag_is_named_only_where_there_is_one() {
        assert_eq!(tag_of(b"A1 NOOP").as_deref(), Some(&b"A1"[..]));
        for none in [&b""[..], b" NOOP", b"+ x", b"* x", b"a\xff x"] {
            assert_eq!(tag_of(none), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_events(
            input in proptest::collection::vec(proptest::sample::select(b"a {3+}\r\n\"APPEND~URL( x12".to_vec()), 0..300),
            piece in 1_usize..20,
        ) {
            let (whole, pieces) = (events(&input, input.len().max(1)), events(&input, piece));
            proptest::prop_assert_eq!(whole, pieces);
        }
    }
}
