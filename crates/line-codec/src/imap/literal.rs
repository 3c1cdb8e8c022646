//! What announces a literal, and what a literal is for.

/// A literal of a message that is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// Octets.
    pub size: u64,
    /// True if the client waits for `+` before it sends them.
    pub synchronising: bool,
    /// `literal8`: there may be NULs in it. RFC 3516 §4.4.
    pub binary: bool,
}

/// The end of a line, as far as it announces a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    /// Octets of the announcement itself, `{12+}` or `~{12}`.
    pub(super) length: usize,
    pub(super) literal: Literal,
}

/// Longer announcements than this name no size that fits 64 bits.
pub(super) const MAX_ANNOUNCEMENT: usize = 24;

/// `literal = "{" number ["+"] "}" CRLF`, at the end of a line (RFC 7888 §4), or with a `~` before it (RFC 3516 §7).
pub(super) fn announced(line: &[u8]) -> Option<Announced> {
    let inside = line.strip_suffix(b"}")?;
    let from = inside.len().saturating_sub(MAX_ANNOUNCEMENT);
    let open = from + memchr::memrchr(b'{', inside.get(from..)?)?;
    let digits = inside.get(open + 1..)?;
    let (digits, synchronising) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (digits, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let binary = line.get(..open)?.last() == Some(&b'~');
    let length = line.len() - open + usize::from(binary);
    Some(Announced { length, literal: Literal { size, synchronising, binary } })
}

/// True if `command` is an APPEND, REPLACE or UID REPLACE that has its mailbox already, so that the literal announced next
/// belongs to the message.
pub(super) fn is_message_of_append(command: &[u8]) -> bool {
    let (_, rest) = split_word(command);
    let (verb, rest) = split_word(rest);
    let (verb, rest) = if verb.eq_ignore_ascii_case(b"UID") { split_word(rest) } else { (verb, rest) };
    if verb.eq_ignore_ascii_case(b"REPLACE") {
        return !split_word(rest).1.is_empty();
    }
    verb.eq_ignore_ascii_case(b"APPEND") && !rest.is_empty()
}

/// The first word, and what stands behind the spaces after it.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let (word, rest) = text.split_at(text.iter().position(|c| *c == b' ').unwrap_or(text.len()));
    let spaces = rest.iter().take_while(|c| **c == b' ').count();
    (word, rest.get(spaces..).unwrap_or_default())
}

/// True if the literal announced next is a URL of CATENATE (RFC 4469 §5).
pub(super) fn is_url(command: &[u8], in_append: bool) -> bool {
    const LIST: &[u8] = b"CATENATE (";
    let words = command.strip_suffix(b" ").and_then(|text| text.split_last_chunk::<4>());
    let is_url = words.is_some_and(|(_, [before, word @ ..])| {
        matches!(before, b' ' | b'(') && word.eq_ignore_ascii_case(b"URL")
    });
    is_url && (in_append || command.windows(LIST.len()).any(|it| it.eq_ignore_ascii_case(LIST)))
}
