//! What an mbox says of a message in lines of its header: flags and keywords.

use mail_types::{Flag, Flags, Keyword};

/// The lines that mail programs add to messages in an mbox, and that are not the messages' own.
const ADDED: [&str; 9] = [
    "Status",
    "X-Status",
    "X-Keywords",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Mozilla-Keys",
    "X-UID",
    "X-IMAP",
    "X-IMAPbase",
];

/// The lines that we write before a message's own, always all of them and in this order. Whoever finds them at the top knows
/// that whatever stands below is the message's, and that each line of it ended in one LF.
const OURS: [&str; 3] = ["Status", "X-Status", "X-Keywords"];

/// The letters of X-Status; in Status stands `R` for what was read, `O` for what is not new.
const LETTERS: [(Flag, char); 4] =
    [(Flag::Answered, 'A'), (Flag::Flagged, 'F'), (Flag::Draft, 'T'), (Flag::Deleted, 'D')];

/// Says whether a message has no line end at its end; written where it has none, and before a line of the same name.
const UNTERMINATED: &str = "X-Mailstead-Unterminated";

/// What the header of a message in an mbox holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MboxHeader {
    pub(super) flags: Flags,
    /// The message's own lines, with the empty one at the end.
    pub(super) own: Vec<u8>,
    /// Written by [`format()`]: quoted as mboxrd, each line ended by one LF.
    pub(super) is_ours: bool,
    /// The line end at its end is the mbox's.
    pub(super) is_unterminated: bool,
    pub(super) content_length: Option<usize>,
}

/// Splits a header into fields, each with the lines that continue it.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = 0;
        loop {
            end += memchr::memchr(b'\n', rest.get(end..)?).map_or(rest.len() - end, |at| at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, behind) = rest.split_at_checked(end).filter(|(field, _)| !field.is_empty())?;
        rest = behind;
        Some(field)
    })
}

/// The value of a field if it has this name.
pub(super) fn value<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let colon = memchr::memchr(b':', field)?;
    let found = field.get(..colon)?.trim_ascii_end();
    found
        .eq_ignore_ascii_case(name.as_bytes())
        .then(|| field.get(colon + 1..).unwrap_or_default().trim_ascii())
}

impl MboxHeader {
    pub(super) fn parse(header: &[u8]) -> Self {
        Self::ours(header).unwrap_or_else(|| Self::of_others(header))
    }

    fn ours(header: &[u8]) -> Option<Self> {
        let mut lines = header.split_inclusive(|octet| *octet == b'\n');
        let added: Vec<&[u8]> =
            OURS.iter().map_while(|name| lines.next().filter(|line| value(line, name).is_some())).collect();
        let length = (added.len() == OURS.len()).then(|| added.concat().len())?;
        let own = header.get(length..)?;
        let mark = lines.next().filter(|line| value(line, UNTERMINATED).is_some());
        Some(Self {
            flags: flags(&added),
            own: own.get(mark.map_or(0, <[u8]>::len)..)?.to_vec(),
            is_ours: true,
            is_unterminated: mark.and_then(|line| value(line, UNTERMINATED)) == Some(b"yes"),
            content_length: None,
        })
    }

    fn of_others(header: &[u8]) -> Self {
        let all: Vec<&[u8]> = fields(header).collect();
        let is_added = |field: &&&[u8]| ADDED.iter().any(|name| value(field, name).is_some());
        let own: Vec<&[u8]> = all.iter().filter(|field| !is_added(field)).copied().collect();
        let length = own.iter().find_map(|field| value(field, "Content-Length"));
        let length = length.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        Self {
            flags: flags(&all),
            own: own.concat(),
            is_ours: false,
            is_unterminated: false,
            content_length: length,
        }
    }
}

/// The lines before those of a message that begins with `start`.
pub(super) fn format(flags: &Flags, is_unterminated: bool, start: &[u8]) -> String {
    let letter = |(flag, letter): &(Flag, char)| flags.contains(*flag).then_some(*letter);
    let seen = if flags.contains(Flag::Seen) { "RO" } else { "O" };
    let letters: String = LETTERS.iter().filter_map(letter).collect();
    let keywords: Vec<&str> = flags.keywords().iter().map(Keyword::as_str).collect();
    let mut text = format!("Status: {seen}\nX-Status: {letters}\nX-Keywords: {}\n", keywords.join(" "));
    if is_unterminated || value(start, UNTERMINATED).is_some() {
        text += &format!("{UNTERMINATED}: {}\n", if is_unterminated { "yes" } else { "no" });
    }
    text
}

fn flags(fields: &[&[u8]]) -> Flags {
    let mut flags = Flags::new();
    for field in fields {
        let text = |name| value(field, name).map(String::from_utf8_lossy);
        if let Some(letters) = text("Status").or_else(|| text("X-Status")) {
            letters.chars().filter_map(flag_of).for_each(|flag| flags.insert(flag));
        } else if let Some(words) = text("X-Keywords").or_else(|| text("X-Mozilla-Keys")) {
            add_keywords(&mut flags, &words);
        } else if let Some(bits) =
            text("X-Mozilla-Status").and_then(|bits| u32::from_str_radix(&bits, 16).ok())
        {
            add_mozilla(&mut flags, bits);
        }
    }
    flags
}

fn flag_of(letter: char) -> Option<Flag> {
    let known = LETTERS.iter().copied().chain([(Flag::Seen, 'R')]);
    known.into_iter().find(|(_, known)| *known == letter).map(|(flag, _)| flag)
}

fn add_keywords(flags: &mut Flags, words: &str) {
    words
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .for_each(|it| flags.insert_keyword(it));
}

/// Thunderbird's bits. A message that it has deleted lies in its file until that is compacted.
fn add_mozilla(flags: &mut Flags, bits: u32) {
    let known = [(1, Flag::Seen), (2, Flag::Answered), (4, Flag::Flagged), (8, Flag::Deleted)];
    known.into_iter().filter(|(bit, _)| bits & bit != 0).for_each(|(_, flag)| flags.insert(flag));
    if bits & 0x1000 != 0 {
        add_keywords(flags, "$Forwarded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, flags: &str, own: &str) {
        let parsed = MboxHeader::parse(header.as_bytes());
        assert_eq!((parsed.flags.to_string().as_str(), std::str::from_utf8(&parsed.own)), (flags, Ok(own)));
    }

    #[test]
    fn flags_and_keywords_of_every_program_are_taken_and_their_lines_left_off() {
        check("Subject: a\nStatus: RO\nX-Status: AF\n\n", "\\Answered \\Flagged \\Seen", "Subject: a\n\n");
        check("X-Keywords: one\n two bad\"\nA: b\n\n", "one two", "A: b\n\n");
        check(
            "X-Mozilla-Status: 100b\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label1      \nA: b\n\n",
            "\\Answered \\Deleted \\Seen $Forwarded $label1",
            "A: b\n\n",
        );
        check("Subject: status: R\nX-Statuses: A\n\n", "", "Subject: status: R\nX-Statuses: A\n\n");
    }

    #[test]
    fn below_our_own_lines_everything_is_the_messages() {
        check("Status: O\nX-Status: \nX-Keywords: \nStatus: R\nX-UID: 7\n\n", "", "Status: R\nX-UID: 7\n\n");
        let header =
            b"Status: O\nX-Status: \nX-Keywords: \nX-Mailstead-Unterminated: yes\nContent-Length: 3\n\n";
        let parsed = MboxHeader::parse(header);
        assert!(parsed.is_ours && parsed.is_unterminated);
        assert_eq!((parsed.own.as_slice(), parsed.content_length), (&b"Content-Length: 3\n\n"[..], None));
    }
}
