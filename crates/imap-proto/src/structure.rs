//! ENVELOPE and BODYSTRUCTURE as FETCH answers them. RFC 3501 §7.4.2.

use mail_message::{BodyStructure, Content, Disposition, Envelope, EnvelopeAddress, Param};

use crate::encode::{nstring, string};

/// Writes an ENVELOPE.
pub fn envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.push(b'(');
    out.extend(nstring(envelope.date.as_deref()));
    out.push(b' ');
    out.extend(nstring(envelope.subject.as_deref()));
    for list in
        [&envelope.from, &envelope.sender, &envelope.reply_to, &envelope.to, &envelope.cc, &envelope.bcc]
    {
        out.push(b' ');
        addresses(out, list);
    }
    for text in [&envelope.in_reply_to, &envelope.message_id] {
        out.push(b' ');
        out.extend(nstring(text.as_deref()));
    }
    out.push(b')');
}

/// `"(" 1*address ")" / nil`
fn addresses(out: &mut Vec<u8>, list: &[EnvelopeAddress]) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in list {
        let parts = [&address.name, &address.adl, &address.mailbox, &address.host];
        parenthesised(out, parts.map(|part| nstring(part.as_deref())));
    }
    out.push(b')');
}

fn parenthesised(out: &mut Vec<u8>, values: impl IntoIterator<Item = Vec<u8>>) {
    out.push(b'(');
    for (position, value) in values.into_iter().enumerate() {
        if position > 0 {
            out.push(b' ');
        }
        out.extend(value);
    }
    out.push(b')');
}

/// Writes `BODY` (`extended` false) or `BODYSTRUCTURE`. The depth is bounded by the parser that made `body`.
pub fn body(out: &mut Vec<u8>, body: &BodyStructure, extended: bool) {
    out.push(b'(');
    match &body.content {
        Content::Multipart { parts } => multipart(out, body, parts, extended),
        Content::Basic | Content::Text { .. } | Content::Message { .. } => one_part(out, body, extended),
    }
    out.push(b')');
}

/// `body-type-mpart`
fn multipart(out: &mut Vec<u8>, whole: &BodyStructure, parts: &[BodyStructure], extended: bool) {
    for part in parts {
        body(out, part, extended);
    }
    out.push(b' ');
    out.extend(string(&whole.subtype));
    if extended {
        out.push(b' ');
        params(out, &whole.params);
        extension(out, whole);
    }
}

/// `body-type-1part`
fn one_part(out: &mut Vec<u8>, part: &BodyStructure, extended: bool) {
    out.extend(string(&part.media_type));
    out.push(b' ');
    out.extend(string(&part.subtype));
    out.push(b' ');
    params(out, &part.params);
    for text in [&part.id, &part.description] {
        out.push(b' ');
        out.extend(nstring(text.as_deref()));
    }
    out.push(b' ');
    out.extend(string(&part.encoding));
    out.extend_from_slice(format!(" {}", part.size()).as_bytes());
    match &part.content {
        Content::Text { lines } => out.extend_from_slice(format!(" {lines}").as_bytes()),
        Content::Message { envelope: inner, structure, lines } => {
            out.push(b' ');
            envelope(out, inner);
            out.push(b' ');
            body(out, structure, extended);
            out.extend_from_slice(format!(" {lines}").as_bytes());
        }
        Content::Basic | Content::Multipart { .. } => {}
    }
    if extended {
        out.push(b' ');
        out.extend(nstring(part.md5.as_deref()));
        extension(out, part);
    }
}

/// Disposition, language and location: the end of `body-ext-1part` and `body-ext-mpart`.
fn extension(out: &mut Vec<u8>, part: &BodyStructure) {
    out.push(b' ');
    disposition(out, part.disposition.as_ref());
    out.push(b' ');
    if part.language.is_empty() {
        out.extend_from_slice(b"NIL");
    } else {
        parenthesised(out, part.language.iter().map(|language| string(language)));
    }
    out.push(b' ');
    out.extend(nstring(part.location.as_deref()));
}

/// `body-fld-dsp`
fn disposition(out: &mut Vec<u8>, disposition: Option<&Disposition>) {
    let Some(disposition) = disposition else {
        out.extend_from_slice(b"NIL");
        return;
    };
    out.push(b'(');
    out.extend(string(&disposition.kind));
    out.push(b' ');
    params(out, &disposition.params);
    out.push(b')');
}

/// `body-fld-param`
fn params(out: &mut Vec<u8>, params: &[Param]) {
    if params.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    parenthesised(out, params.iter().flat_map(|(name, value)| [string(name), string(value)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(media_type: &str, content: Content) -> BodyStructure {
        let (media_type, subtype) = media_type.split_once('/').unwrap();
        BodyStructure {
            header: 0..10,
            body: 10..22,
            media_type: media_type.into(),
            subtype: subtype.into(),
            params: vec![(b"charset".to_vec(), b"us-ascii".to_vec())],
            id: None,
            description: Some(b"a \"b\"".to_vec()),
            encoding: b"7bit".to_vec(),
            md5: None,
            disposition: None,
            language: Vec::new(),
            location: None,
            content,
        }
    }

    #[track_caller]
    fn check(structure: &BodyStructure, extended: bool, expected: &str) {
        let mut out = Vec::new();
        body(&mut out, structure, extended);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_text_part_tells_its_lines() {
        let text = part("text/plain", Content::Text { lines: 2 });
        let basic = r#"("text" "plain" ("charset" "us-ascii") NIL "a \"b\"" "7bit" 12 2"#;
        check(&text, false, &format!("{basic})"));
        check(&text, true, &format!("{basic} NIL NIL NIL NIL)"));
    }

    #[test]
    fn parts_stand_side_by_side_without_a_space() {
        let parts = vec![part("image/png", Content::Basic), part("image/gif", Content::Basic)];
        let image =
            |kind: &str| format!(r#"("image" "{kind}" ("charset" "us-ascii") NIL "a \"b\"" "7bit" 12)"#);
        let whole = part("multipart/mixed", Content::Multipart { parts });
        check(&whole, false, &format!(r#"({}{} "mixed")"#, image("png"), image("gif")));
    }

    #[test]
    fn empty_lists_of_an_envelope_are_nil() {
        let mut out = Vec::new();
        envelope(&mut out, &Envelope { subject: Some(b"hi".to_vec()), ..Envelope::default() });
        assert_eq!(out, br#"(NIL "hi" NIL NIL NIL NIL NIL NIL NIL NIL)"#);
    }
}
