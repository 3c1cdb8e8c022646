//! The parts of a message that FETCH names: `BODY[1.2.HEADER.FIELDS (From)]<0.100>` and its like. RFC 3501 §6.4.5.

use std::borrow::Cow;
use std::ops::Range;

use imap_proto::{FetchItem, Section, SectionText, body, envelope};
use mail_message::{BodyStructure, Content, Envelope, header};

/// True if the MIME structure must be known for `item`.
pub(crate) fn needs_structure(item: &FetchItem) -> bool {
    match item {
        FetchItem::Body | FetchItem::BodyStructure => true,
        FetchItem::Section { section, .. } => !section.part.is_empty(),
        FetchItem::Uid
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::Size
        | FetchItem::Envelope
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text => false,
    }
}

/// The name that `item` has in the answer.
pub(crate) fn name(item: &FetchItem) -> String {
    match item {
        FetchItem::Uid => "UID".to_owned(),
        FetchItem::Flags => "FLAGS".to_owned(),
        FetchItem::InternalDate => "INTERNALDATE".to_owned(),
        FetchItem::Size => "RFC822.SIZE".to_owned(),
        FetchItem::Envelope => "ENVELOPE".to_owned(),
        FetchItem::Body => "BODY".to_owned(),
        FetchItem::BodyStructure => "BODYSTRUCTURE".to_owned(),
        FetchItem::Section { section, partial, .. } => section.response_name(*partial),
        FetchItem::Rfc822 => "RFC822".to_owned(),
        FetchItem::Rfc822Header => "RFC822.HEADER".to_owned(),
        FetchItem::Rfc822Text => "RFC822.TEXT".to_owned(),
    }
}

/// Writes one item that is made of a message's octets.
pub(crate) fn write(out: &mut Vec<u8>, item: &FetchItem, octets: &[u8], structure: Option<&BodyStructure>) {
    out.extend_from_slice(name(item).as_bytes());
    out.push(b' ');
    let whole = |part: Option<Range<usize>>| part.and_then(|part| octets.get(part)).map(Cow::Borrowed);
    let split = header::header_end(octets);
    match item {
        FetchItem::Envelope => envelope(out, &Envelope::parse(octets)),
        FetchItem::Body | FetchItem::BodyStructure => {
            if let Some(structure) = structure {
                body(out, structure, *item == FetchItem::BodyStructure);
            }
        }
        FetchItem::Section { section, partial, .. } => {
            let found = find(section, octets, structure);
            literal(out, found.map(|found| cut(found, *partial)));
        }
        FetchItem::Rfc822 => literal(out, whole(Some(0..octets.len()))),
        FetchItem::Rfc822Header => literal(out, whole(Some(0..split))),
        FetchItem::Rfc822Text => literal(out, whole(Some(split..octets.len()))),
        FetchItem::Uid | FetchItem::Flags | FetchItem::InternalDate | FetchItem::Size => {}
    }
}

/// A part that does not exist is NIL.
fn literal(out: &mut Vec<u8>, octets: Option<Cow<'_, [u8]>>) {
    match octets {
        None => out.extend_from_slice(b"NIL"),
        Some(octets) => {
            out.extend_from_slice(format!("{{{}}}\r\n", octets.len()).as_bytes());
            out.extend_from_slice(&octets);
        }
    }
}

/// `<first.most>`: a first octet past the end gives the empty string.
fn cut(octets: Cow<'_, [u8]>, partial: Option<(u32, u32)>) -> Cow<'_, [u8]> {
    let Some((first, most)) = partial else { return octets };
    let first = (first as usize).min(octets.len());
    let last = first.saturating_add(most as usize).min(octets.len());
    Cow::Owned(octets.get(first..last).unwrap_or_default().to_vec())
}

/// The octets of a section.
fn find<'a>(section: &Section, octets: &'a [u8], structure: Option<&BodyStructure>) -> Option<Cow<'a, [u8]>> {
    let (header, body, mime) = ranges(section, octets, structure)?;
    let slice = |range: Option<Range<usize>>| range.and_then(|range| octets.get(range));
    let found = match &section.text {
        None if section.part.is_empty() => octets,
        None => slice(mime.map(|(_, body)| body))?,
        Some(SectionText::Mime) => slice(mime.map(|(header, _)| header))?,
        Some(SectionText::Header) => slice(header)?,
        Some(SectionText::Text) => slice(body)?,
        Some(SectionText::HeaderFields(names)) => return Some(fields(slice(header)?, names, true).into()),
        Some(SectionText::HeaderFieldsNot(names)) => {
            return Some(fields(slice(header)?, names, false).into());
        }
    };
    Some(Cow::Borrowed(found))
}

/// Header and body of the message that a section means, and header and body of the part itself.
type Ranges = (Option<Range<usize>>, Option<Range<usize>>, Option<(Range<usize>, Range<usize>)>);

fn ranges(section: &Section, octets: &[u8], structure: Option<&BodyStructure>) -> Option<Ranges> {
    if section.part.is_empty() {
        let split = header::header_end(octets);
        return Some((Some(0..split), Some(split..octets.len()), None));
    }
    let part = part(structure?, &section.part)?;
    let mime = Some((part.header.clone(), part.body.clone()));
    Some(match &part.content {
        Content::Message { structure, .. } => {
            (Some(structure.header.clone()), Some(structure.body.clone()), mime)
        }
        Content::Basic | Content::Text { .. } | Content::Multipart { .. } => (None, None, mime),
    })
}

/// The part with this path.
fn part<'a>(message: &'a BodyStructure, path: &[u32]) -> Option<&'a BodyStructure> {
    let (first, rest) = path.split_first()?;
    let mut found = part_of_message(message, *first)?;
    for number in rest {
        found = match &found.content {
            Content::Multipart { parts } => parts.get((*number as usize).checked_sub(1)?)?,
            Content::Message { structure, .. } => part_of_message(structure, *number)?,
            Content::Basic | Content::Text { .. } => return None,
        };
    }
    Some(found)
}

/// A message that is no multipart has one part, 1: its body.
fn part_of_message(message: &BodyStructure, number: u32) -> Option<&BodyStructure> {
    match &message.content {
        Content::Multipart { parts } => parts.get((number as usize).checked_sub(1)?),
        Content::Basic | Content::Text { .. } | Content::Message { .. } => (number == 1).then_some(message),
    }
}

/// The fields that are (or are not) in `names`, as they stand in the header, and the empty line.
fn fields(header: &[u8], names: &[String], wanted: bool) -> Vec<u8> {
    let mut found = Vec::new();
    for field in header::fields(header) {
        if names.iter().any(|name| field.is(name)) == wanted {
            found.extend_from_slice(header.get(field.range).unwrap_or_default());
        }
    }
    found.extend_from_slice(b"\r\n");
    found
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
    fn a_partial_past_the_end_is_empty() {
        let cut = |partial| cut(Cow::Borrowed(b"12345"), Some(partial)).into_owned();
        assert_eq!(cut((1, 2)), b"23");
        assert_eq!(cut((4, 9)), b"5");
        assert_eq!(cut((9, 9)), b"");
    }
}
