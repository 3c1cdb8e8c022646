//! A few words of a message, for lists of messages. RFC 8970 §3.

use std::borrow::Cow;

use crate::header::{line_at, slice};
use crate::{BodyStructure, Content, text};

/// Characters of the longest preview.
const MOST: usize = 200;
/// Octets of a part, in its transfer encoding, that are looked at: markup and quotes before the first words take less.
const LOOKED_AT: usize = 64 * 1024;
/// Parts within parts that are looked into for words.
const DEPTH: usize = 16;
/// An attribution line, `On … wrote:`, may be broken into as many lines.
const ATTRIBUTION_LINES: usize = 3;

/// The first words that a message's author wrote, in plain text without line ends, at most 200 characters. Markup, quoted
/// text and signatures are left out; where there is nothing but quoted text, it is that. Empty where there is no text, and
/// where the text is encrypted.
pub fn preview(message: &[u8], structure: &BodyStructure) -> String {
    let Some(part) = first_text(structure, 0) else { return String::new() };
    let text = text_of(message, part);
    if text.trim_start().starts_with("-----BEGIN PGP MESSAGE-----") {
        return String::new();
    }
    let written = folded(&written(&text));
    if written.is_empty() { folded(&unquoted(&text)) } else { written }
}

/// The part that is shown first. Of alternatives plain text is taken, which needs no markup taken out.
fn first_text(part: &BodyStructure, depth: usize) -> Option<&BodyStructure> {
    let is = |name: &[u8]| part.subtype.eq_ignore_ascii_case(name);
    match &part.content {
        Content::Text { .. } => is_shown(part).then_some(part),
        Content::Multipart { .. } if is(b"encrypted") || depth == DEPTH => None,
        Content::Multipart { parts } => {
            let plain = |part: &&BodyStructure| part.subtype.eq_ignore_ascii_case(b"plain");
            let mut texts = parts.iter().filter_map(|part| first_text(part, depth + 1));
            if is(b"alternative") {
                let texts: Vec<_> = texts.collect();
                texts.iter().copied().find(plain).or_else(|| texts.first().copied())
            } else {
                texts.next()
            }
        }
        Content::Basic | Content::Message { .. } => None,
    }
}

/// Text that is written for people, and not a file that was attached.
fn is_shown(part: &BodyStructure) -> bool {
    let is_attached = part.disposition.as_ref().is_some_and(|it| it.kind.eq_ignore_ascii_case(b"attachment"));
    let subtypes = [&b"plain"[..], b"html", b"enriched"];
    !is_attached && subtypes.iter().any(|it| part.subtype.eq_ignore_ascii_case(it))
}

/// The beginning of a part's text, what is to be seen of HTML.
fn text_of<'a>(message: &'a [u8], part: &BodyStructure) -> Cow<'a, str> {
    let mut part = part.clone();
    let body = slice(message, part.body.clone());
    if body.len() > LOOKED_AT {
        // Whole lines, so that no transfer encoding is cut.
        let mut end = 0;
        while let Some(line) = line_at(body, end).filter(|line| line.end <= LOOKED_AT) {
            end = line.end;
        }
        part.body.end = part.body.start + if end == 0 { LOOKED_AT } else { end };
    }
    text::of_part(message, &part).pop().unwrap_or_default()
}

/// The lines that the author wrote, above the signature: without quoted ones, the line that says whom they quote, and what
/// OpenPGP puts around a signed text.
fn written(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).take_while(|line| *line != "--").collect();
    let mut kept = Vec::with_capacity(lines.len());
    let mut rest = lines.as_slice();
    if rest.iter().find(|line| !line.is_empty()) == Some(&"-----BEGIN PGP SIGNED MESSAGE-----") {
        let header_end = rest.iter().skip_while(|line| line.is_empty()).position(|line| line.is_empty());
        rest = header_end.and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    while let Some((line, below)) = rest.split_first() {
        rest = match attribution(rest) {
            _ if line.starts_with('>') => below,
            Some(lines) => rest.get(lines..).unwrap_or_default(),
            None if is_separator(line) => break,
            None => {
                kept.push(*line);
                below
            }
        };
    }
    kept.join("\n")
}

/// What is below is another message, or a signature of OpenPGP.
fn is_separator(line: &str) -> bool {
    line.starts_with("-----Original Message-----") || line.starts_with("-----BEGIN PGP SIGNATURE-----")
}

/// How many lines say whom the quoted lines below them quote.
fn attribution(lines: &[&str]) -> Option<usize> {
    let first = lines.first().filter(|line| !line.is_empty())?;
    // Other languages than English begin otherwise: then it is one line.
    let most = if first.starts_with("On ") { ATTRIBUTION_LINES } else { 1 };
    let length = 1 + lines.iter().take(most).position(|line| line.ends_with(':'))?;
    let below = lines.iter().skip(length).find(|line| !line.is_empty())?;
    below.starts_with('>').then_some(length)
}

fn unquoted(text: &str) -> String {
    text.lines().map(|line| line.trim_start_matches(['>', ' '])).collect::<Vec<_>>().join("\n")
}

/// On one line, single blanks between the words, without characters that show nothing, at most as long as a preview may be.
fn folded(text: &str) -> String {
    let mut folded = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace()) {
        let visible = |c: &char| !c.is_control() && !is_invisible(*c);
        let mut word = word.chars().filter(visible).peekable();
        if word.peek().is_none() {
            continue;
        }
        let blank = if folded.is_empty() { None } else { Some(' ') };
        for c in blank.into_iter().chain(word) {
            if length == MOST {
                return folded.trim_end().to_owned();
            }
            folded.push(c);
            length += 1;
        }
    }
    folded
}

/// What newsletters fill the line behind their first words with.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fffc}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let message = message.replace('\n', "\r\n");
        let structure = BodyStructure::parse(message.as_bytes());
        assert_eq!(preview(message.as_bytes(), &structure), expected, "{message}");
    }

    #[test]
    fn words_are_decoded_and_their_blanks_folded() {
        check("Subject: s\n\n  Hello,\n\n\tBob!  \n", "Hello, Bob!");
        check(
            "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=\n=DFe",
            "Gr\u{fc}\u{df}e",
        );
        check("\na\u{200c}\u{a0}\u{200b}\u{feff} b\u{7}", "a b");
        check("\n", "");
        check("", "");
    }

    #[test]
    fn no_preview_is_longer_than_two_hundred_characters() {
        check(&format!("\n{}", "\u{e9}".repeat(300)), &"\u{e9}".repeat(200));
        check(&format!("\n{} b", "a".repeat(199)), &"a".repeat(199));
        check(&format!("\n{}", "abc ".repeat(100_000)), "abc ".repeat(50).trim_end());
    }

    #[test]
    fn of_html_it_is_what_is_to_be_seen() {
        check(
            "Content-Type: text/html\n\n<html><head><title>T</title></head><style>p {}</style><p>Gr&uuml;&szlig;e,<br>A &amp; <b>B</b></p>",
            "Gr\u{fc}\u{df}e, A & B",
        );
    }

    #[test]
    fn plain_text_is_preferred_to_html_and_files_are_passed_over() {
        check(
            "Content-Type: multipart/mixed; boundary=a\n\n\
             --a\nContent-Type: text/plain\nContent-Disposition: attachment\n\nfile\n\
             --a\nContent-Type: image/png\n\npixels\n\
             --a\nContent-Type: multipart/alternative; boundary=b\n\n\
             --b\nContent-Type: text/html\n\n<p>html\n--b\nContent-Type: text/plain\n\nplain\n--b--\n--a--\n",
            "plain",
        );
        check("Content-Type: message/rfc822\n\nSubject: s\n\nforwarded\n", "");
    }

    #[test]
    fn quotes_and_signatures_are_left_out() {
        check("\nOn Monday,\nAlice <a@b>\nwrote:\n\n> What?\n> When?\n\nSoon.\n-- \nBob\n", "Soon.");
        check("\nAm 1.1. schrieb Alice:\n> Was?\n\nBald.\n", "Bald.");
        check("\nYes.\n\n-----Original Message-----\nFrom: a\n", "Yes.");
        check("\nTo do:\n\nread\n", "To do: read");
        check("\n> only\n>> quoted\n", "only quoted");
    }

    #[test]
    fn of_what_is_encrypted_there_is_none() {
        check("\n-----BEGIN PGP MESSAGE-----\n\nhQEM\n", "");
        check(
            "Content-Type: multipart/encrypted; boundary=a\n\n--a\nContent-Type: text/plain\n\nVersion: 1\n--a--\n",
            "",
        );
        check(
            "\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSigned.\n-----BEGIN PGP SIGNATURE-----\n\nx\n",
            "Signed.",
        );
    }
}
