use std::ops::Range;

use crate::Envelope;

/// A MIME parameter: its name, and its value without quoting. RFC 2231 names (`name*0*`) are passed on raw.
pub type Param = (Vec<u8>, Vec<u8>);

/// One MIME entity, the whole message or a part of it: what BODYSTRUCTURE says of it (RFC 9051 §7.5.2) and where
/// its bytes lie in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyStructure {
    /// Its header, with the empty line that ends it.
    pub header: Range<usize>,
    /// Its body, without the line end that belongs to the boundary behind it. Its length is BODYSTRUCTURE's size.
    pub body: Range<usize>,
    /// The media type, such as `text`.
    pub media_type: Vec<u8>,
    /// The media subtype, such as `plain`.
    pub subtype: Vec<u8>,
    /// Content-Type's parameters in their order; text without a charset has `us-ascii` added.
    pub params: Vec<Param>,
    /// Content-ID.
    pub id: Option<Vec<u8>>,
    /// Content-Description.
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding, `7bit` where none is given.
    pub encoding: Vec<u8>,
    /// Content-MD5.
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition.
    pub disposition: Option<Disposition>,
    /// Content-Language's tags; an empty list is encoded as NIL.
    pub language: Vec<Vec<u8>>,
    /// Content-Location.
    pub location: Option<Vec<u8>>,
    /// What kind of body it has.
    pub content: Content,
}

impl BodyStructure {
    /// The size of the body in octets, in its transfer encoding.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Whether its octets are not those of what is in it. RFC 2046 §5.2.1 forbids that of a message.
    pub(crate) fn is_encoded(&self) -> bool {
        [&b"base64"[..], b"quoted-printable"].iter().any(|it| self.encoding.eq_ignore_ascii_case(it))
    }

    /// The part with this number, such as `[1, 2]` for 1.2 (RFC 3501 §6.4.5). No number at all is the message itself.
    pub fn part(&self, number: &[u32]) -> Option<&Self> {
        let Some((first, rest)) = number.split_first() else { return Some(self) };
        let mut found = self.part_of_message(*first)?;
        for number in rest {
            found = match &found.content {
                Content::Multipart { parts } => nth(parts, *number)?,
                Content::Message { structure, .. } => structure.part_of_message(*number)?,
                Content::Basic | Content::Text { .. } => return None,
            };
        }
        Some(found)
    }

    /// A message that is no multipart has one part, 1: its body.
    fn part_of_message(&self, number: u32) -> Option<&Self> {
        match &self.content {
            Content::Multipart { parts } => nth(parts, number),
            Content::Basic | Content::Text { .. } | Content::Message { .. } => (number == 1).then_some(self),
        }
    }

    /// The message that this part encapsulates: what HEADER and TEXT behind its number mean (RFC 3501 §6.4.5).
    pub fn message(&self) -> Option<&Self> {
        match &self.content {
            Content::Message { structure, .. } => Some(structure),
            Content::Basic | Content::Text { .. } | Content::Multipart { .. } => None,
        }
    }
}

/// Parts count from 1.
fn nth(parts: &[BodyStructure], number: u32) -> Option<&BodyStructure> {
    parts.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

/// What BODYSTRUCTURE says beyond the common fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// `body-type-basic`
    Basic,
    /// `body-type-text`
    Text {
        /// Line ends in the body.
        lines: usize,
    },
    /// `body-type-msg`: an encapsulated message.
    Message {
        /// Its envelope.
        envelope: Box<Envelope>,
        /// Its own structure.
        structure: Box<BodyStructure>,
        /// Line ends in the body.
        lines: usize,
    },
    /// `body-type-mpart`; where a mailer wrote no part at all, one empty text part stands in its place,
    /// as the grammar asks for at least one.
    Multipart {
        /// Its parts.
        parts: Vec<BodyStructure>,
    },
}

/// Content-Disposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition {
    /// `attachment` or `inline`, as written.
    pub kind: Vec<u8>,
    /// Its parameters in their order.
    pub params: Vec<Param>,
}
