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
