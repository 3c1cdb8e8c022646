//! The parts of a message that FETCH names: `BODY[1.2.HEADER.FIELDS (From)]<0.100>` and its like. RFC 3501 §6.4.5.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use imap_proto::{FetchItem, Part, Section, SectionText, body, envelope, nstring, part_number};
use mail_message::{BodyStructure, Envelope, binary, header, preview};

/// The name that `item` has in the answer.
pub(crate) fn name(item: &FetchItem) -> Cow<'static, str> {
    let name = match item {
        FetchItem::Uid => "UID",
        FetchItem::Flags => "FLAGS",
        FetchItem::InternalDate => "INTERNALDATE",
        FetchItem::Size => "RFC822.SIZE",
        FetchItem::ModSeq => "MODSEQ",
        FetchItem::Envelope => "ENVELOPE",
        FetchItem::Body => "BODY",
        FetchItem::BodyStructure => "BODYSTRUCTURE",
        FetchItem::Section { section, partial, .. } => return section.response_name(*partial).into(),
        FetchItem::Binary { part, partial, .. } => {
            let origin = partial.map(|(first, _)| format!("<{first}>")).unwrap_or_default();
            return format!("BINARY[{}]{origin}", part_number(part)).into();
        }
        FetchItem::BinarySize(part) => return format!("BINARY.SIZE[{}]", part_number(part)).into(),
        FetchItem::Rfc822 => "RFC822",
        FetchItem::Rfc822Header => "RFC822.HEADER",
        FetchItem::Rfc822Text => "RFC822.TEXT",
        FetchItem::EmailId => "EMAILID",
        FetchItem::ThreadId => "THREADID",
        FetchItem::SaveDate => "SAVEDATE",
        FetchItem::Preview { .. } => "PREVIEW",
    };
    name.into()
}

/// Why an item can't be answered.
#[derive(Debug)]
pub(crate) enum Unwritten {
    Io(io::Error),
    /// BINARY of a part whose transfer encoding can't be undone. RFC 3516 §4.3.
    UnknownEncoding,
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes BINARY or BINARY.SIZE; false if the transfer encoding can't be undone, then nothing is written. A part that does not
/// exist is NIL, and of no size.
pub(crate) fn write_binary(
    out: &mut Vec<u8>,
    item: &FetchItem,
    octets: &[u8],
    structure: Option<&BodyStructure>,
) -> bool {
    let (FetchItem::Binary { part, .. } | FetchItem::BinarySize(part)) = item else { return true };
    let decoded = match decoded(part, octets, structure) {
        None => None,
        Some(None) => return false,
        Some(Some(decoded)) => Some(decoded),
    };
    out.extend_from_slice(name(item).as_bytes());
    out.push(b' ');
    match (item, decoded) {
        (FetchItem::Binary { partial, .. }, Some(decoded)) => literal8(out, cut(&decoded, *partial)),
        (FetchItem::Binary { .. }, None) => out.extend_from_slice(b"NIL"),
        (_, decoded) => {
            let size = decoded.map_or(0, |decoded| decoded.len());
            out.extend_from_slice(size.to_string().as_bytes());
        }
    }
    true
}

/// The message itself, or a part of it without its transfer encoding; `Some(None)` if that can't be undone.
fn decoded<'a>(
    part: &Part,
    octets: &'a [u8],
    structure: Option<&BodyStructure>,
) -> Option<Option<Cow<'a, [u8]>>> {
    if part.is_empty() {
        return Some(Some(octets.into()));
    }
    structure?.part(part).map(|part| binary::decoded(octets, part))
}

/// What holds a NUL can only be a `literal8`, and nothing else needs one.
fn literal8(out: &mut Vec<u8>, octets: &[u8]) {
    let tilde = if octets.contains(&0) { "~" } else { "" };
    out.extend_from_slice(format!("{tilde}{{{}}}\r\n", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}

/// Writes one item that is made of a message's octets.
pub(crate) fn write(out: &mut Vec<u8>, item: &FetchItem, octets: &[u8], structure: Option<&BodyStructure>) {
    out.extend_from_slice(name(item).as_bytes());
    out.push(b' ');
    let split = || octets.split_at_checked(header::header_end(octets));
    match item {
        FetchItem::Envelope => envelope(out, &Envelope::parse(octets)),
        FetchItem::Body | FetchItem::BodyStructure => {
            if let Some(structure) = structure {
                body(out, structure, *item == FetchItem::BodyStructure);
            }
        }
        FetchItem::Section { section, partial, .. } => {
            let found = find(section, octets, structure);
            literal(out, found.as_deref().map(|found| cut(found, *partial)));
        }
        FetchItem::Rfc822 => literal(out, Some(octets)),
        FetchItem::Rfc822Header => literal(out, split().map(|(header, _)| header)),
        FetchItem::Rfc822Text => literal(out, split().map(|(_, text)| text)),
        FetchItem::Preview { .. } => {
            let preview = structure.map(|structure| preview(octets, structure));
            out.extend_from_slice(&nstring(preview.as_ref().map(String::as_bytes)));
        }
        // What is made of a message's octets is always known once they are read.
        FetchItem::EmailId | FetchItem::ThreadId | FetchItem::SaveDate => out.extend_from_slice(b"NIL"),
        FetchItem::Binary { .. }
        | FetchItem::BinarySize(_)
        | FetchItem::Uid
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::Size
        | FetchItem::ModSeq => {}
    }
}

/// Writes an item of which the answer, or the header that it is taken from, was kept.
pub(crate) fn write_kept(out: &mut Vec<u8>, item: &FetchItem, kept: &[u8]) {
    if let FetchItem::Section { .. } = item {
        return write(out, item, kept, None);
    }
    out.extend_from_slice(name(item).as_bytes());
    out.push(b' ');
    out.extend_from_slice(kept);
}

/// A part that does not exist is NIL.
fn literal(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    let Some(octets) = octets else { return out.extend_from_slice(b"NIL") };
    out.extend_from_slice(format!("{{{}}}\r\n", octets.len()).as_bytes());
    let start = out.len();
    out.extend_from_slice(octets);
    mask_nuls(out.get_mut(start..).unwrap_or_default());
}

/// Puts 0x80 in the place of each NUL, as Dovecot does: no literal may hold one (`CHAR8`, RFC 3501 §9).
pub(crate) fn mask_nuls(octets: &mut [u8]) {
    // Without a branch: many octets at a time.
    for octet in octets {
        *octet |= u8::from(*octet == 0) << 7;
    }
}

/// `<first.most>`: a first octet past the end gives the empty string.
pub(crate) fn cut(octets: &[u8], partial: Option<(u32, u32)>) -> &[u8] {
    let Some((first, most)) = partial else { return octets };
    let rest = octets.get(first as usize..).unwrap_or_default();
    rest.get(..most as usize).unwrap_or(rest)
}

/// The octets of a section.
pub(crate) fn find<'a>(
    section: &Section,
    octets: &'a [u8],
    structure: Option<&BodyStructure>,
) -> Option<Cow<'a, [u8]>> {
    let range = match &section.text {
        None if section.part.is_empty() => 0..octets.len(),
        None => structure?.part(&section.part)?.body.clone(),
        Some(SectionText::Mime) => structure?.part(&section.part)?.header.clone(),
        Some(SectionText::Text) => message(section, octets, structure)?.1,
        Some(SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)) => {
            message(section, octets, structure)?.0
        }
    };
    let found = octets.get(range)?;
    let is_in = |names: &[String], field: &header::Field<'_>| names.iter().any(|name| field.is(name));
    Some(match &section.text {
        Some(SectionText::HeaderFields(names)) => header::select(found, |field| is_in(names, field)).into(),
        Some(SectionText::HeaderFieldsNot(names)) => {
            header::select(found, |field| !is_in(names, field)).into()
        }
        Some(SectionText::Mime | SectionText::Header | SectionText::Text) | None => found.into(),
    })
}

/// Header and body of the message that HEADER and TEXT mean: the whole one, or that which the part encapsulates.
fn message(
    section: &Section,
    octets: &[u8],
    structure: Option<&BodyStructure>,
) -> Option<(Range<usize>, Range<usize>)> {
    if section.part.is_empty() {
        let split = header::header_end(octets);
        return Some((0..split, split..octets.len()));
    }
    let message = structure?.part(&section.part)?.message()?;
    Some((message.header.clone(), message.body.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: a@b\r\nSubject: s\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\n\r\none\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninner\r\n--x--\r\n";

    #[track_caller]
    fn check(part: &[u32], text: Option<SectionText>, expected: Option<&str>) {
        let section = Section { part: part.to_vec(), text };
        let structure = BodyStructure::parse(MESSAGE);
        let found = find(&section, MESSAGE, Some(&structure));
        assert_eq!(found.as_deref().map(|it| std::str::from_utf8(it).unwrap()), expected);
    }

    #[test]
    fn sections_are_found_at_any_depth() {
        check(&[1], None, Some("one"));
        check(&[1], Some(SectionText::Mime), Some("\r\n"));
        check(&[1], Some(SectionText::Header), None);
        check(&[2], Some(SectionText::Header), Some("Subject: in\r\n\r\n"));
        check(&[2], Some(SectionText::Text), Some("inner"));
        check(&[2, 1], None, Some("inner"));
        check(&[2, 2], None, None);
        check(&[3], None, None);
        let names = || vec!["subject".to_owned()];
        check(&[], Some(SectionText::HeaderFields(names())), Some("Subject: s\r\n\r\n"));
        check(
            &[],
            Some(SectionText::HeaderFieldsNot(names())),
            Some("From: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"),
        );
    }

    #[test]
    fn no_literal_holds_a_nul() {
        let mut out = Vec::new();
        write(&mut out, &FetchItem::Rfc822Text, b"Subject: s\r\n\r\na\0b", None);
        assert_eq!(out, b"RFC822.TEXT {3}\r\na\x80b");
    }

    #[test]
    fn a_partial_past_the_end_is_empty() {
        let cut = |partial| cut(b"12345", Some(partial));
        assert_eq!(cut((1, 2)), b"23");
        assert_eq!(cut((4, 9)), b"5");
        assert_eq!(cut((9, 9)), b"");
    }
}
