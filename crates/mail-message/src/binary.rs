//! Bodies without their transfer encoding, and with one where they must have it. RFC 3516.

use std::borrow::Cow;
use std::ops::Range;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use crate::header::fields;
use crate::transport::base64_lines;
use crate::{BodyStructure, Content};

/// The body of a part, as it was before it was encoded for transfer; multiparts and messages are never encoded (RFC 2045 §6.4).
/// `None` if it is encoded in a way that is not known, or not as its encoding prescribes.
#[must_use]
pub fn decoded<'a>(message: &'a [u8], part: &BodyStructure) -> Option<Cow<'a, [u8]>> {
    let body = message.get(part.body.clone())?;
    let is_composite = matches!(part.content, Content::Multipart { .. } | Content::Message { .. });
    match part.encoding.to_ascii_lowercase().as_slice() {
        b"7bit" | b"8bit" | b"binary" => Some(body.into()),
        b"base64" | b"quoted-printable" if is_composite => Some(body.into()),
        b"base64" => base64_decode(body).map(Cow::Owned),
        b"quoted-printable" => quoted_printable_decode(body).map(Cow::Owned),
        _ => None,
    }
}

/// The message with those of its binary bodies in base64 that hold a NUL, so that any IMAP client can be sent it. `None` if a NUL
/// stands elsewhere, where nothing can be done without a loss.
#[must_use]
pub fn without_nuls(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 2);
    let mut copied = 0;
    for part in binary_parts(&BodyStructure::parse(message)) {
        let header = message.get(part.header.clone())?;
        let field = fields(header).find(|field| field.is("Content-Transfer-Encoding"))?;
        let at = |offset: usize| part.header.start + offset;
        out.extend_from_slice(message.get(copied..at(field.range.start))?);
        out.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n");
        out.extend_from_slice(message.get(at(field.range.end)..part.body.start)?);
        base64_lines(message.get(part.body.clone())?, &mut out);
        copied = part.body.end;
    }
    out.extend_from_slice(message.get(copied..)?);
    memchr::memchr(0, &out).is_none().then_some(out)
}

/// A leaf whose encoding is `binary`.
struct BinaryPart {
    header: Range<usize>,
    body: Range<usize>,
}

/// Ascending. The parser bounds their depth.
fn binary_parts(part: &BodyStructure) -> Vec<BinaryPart> {
    match &part.content {
        Content::Multipart { parts } => parts.iter().flat_map(binary_parts).collect(),
        Content::Message { structure, .. } => binary_parts(structure),
        Content::Basic | Content::Text { .. } => {
            let is_binary = part.encoding.eq_ignore_ascii_case(b"binary");
            let leaf = BinaryPart { header: part.header.clone(), body: part.body.clone() };
            is_binary.then_some(leaf).into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header;

    #[track_caller]
    fn check(encoding: &str, body: &str, expected: Option<&[u8]>) {
        let message = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n{body}");
        let structure = BodyStructure::parse(message.as_bytes());
        assert_eq!(decoded(message.as_bytes(), &structure).as_deref(), expected, "{encoding}");
    }

    #[test]
    fn every_encoding_is_undone() {
        check("base64", "AGEA\r\nYg==\r\n", Some(b"\0a\0b"));
        check("Quoted-Printable", "a=3D=\r\nb =C3=A9\r\n", Some("a=b é\r\n".as_bytes()));
        check("8bit", "é", Some("é".as_bytes()));
        check("x-uuencode", "x", None);
        check("base64", "!!!", None);
    }

    #[test]
    fn a_message_in_a_message_stays_as_it_is() {
        let message = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx";
        let structure = BodyStructure::parse(message);
        assert_eq!(decoded(message, &structure).as_deref(), Some(&b"Subject: in\r\n\r\nx"[..]));
        // RFC 3516 §4.3: but what nobody knows how to decode is refused.
        let message =
            b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: x-odd\r\n\r\nSubject: in\r\n\r\nx";
        assert_eq!(decoded(message, &BodyStructure::parse(message)), None);
    }

    #[test]
    fn binary_bodies_become_base64_and_nothing_else_changes() {
        let before = [
            &b"From: a\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\npre\r\n--x\r\n\r\ntext\r\n--x\r\n"[..],
            b"content-transfer-encoding:\r\n binary\r\nContent-Type: image/png\r\n\r\n\0\r\n\0--x\r\n--x--\r\n",
        ]
        .concat();
        let after = [
            &b"From: a\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\npre\r\n--x\r\n\r\ntext\r\n--x\r\n"
                [..],
            b"Content-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\nAA0KAC0teA==\r\n--x--\r\n",
        ]
        .concat();
        let encoded = without_nuls(&before).unwrap();
        assert_eq!(String::from_utf8_lossy(&encoded), String::from_utf8_lossy(&after));
        let (old, new) = (BodyStructure::parse(&before), BodyStructure::parse(&encoded));
        let part = |octets, structure: &BodyStructure| {
            decoded(octets, structure.part(&[2]).unwrap()).map(Cow::into_owned)
        };
        assert_eq!(part(&encoded, &new), part(&before, &old));
        assert_eq!(header::count(&encoded, "From"), 1);
    }

    #[test]
    fn a_nul_in_a_header_or_in_text_can_not_be_encoded() {
        assert_eq!(without_nuls(b"Subject: \0\r\n\r\nx"), None);
        assert_eq!(without_nuls(b"Subject: s\r\n\r\n\0"), None);
        let long = [&b"Content-Transfer-Encoding: binary\r\n\r\n"[..], &[0; 1000]].concat();
        let encoded = without_nuls(&long).unwrap();
        assert!(encoded.split(|c| *c == b'\n').all(|line| line.len() <= 77));
    }
}
