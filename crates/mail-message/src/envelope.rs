/// The IMAP ENVELOPE (RFC 9051 §7.5.2): what a mailbox list shows of a message, as it stands in the header.
///
/// Texts are unfolded but not decoded: encoded words (RFC 2047) and 8-bit octets stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The Date field's text.
    pub date: Option<Vec<u8>>,
    /// The Subject field's text.
    pub subject: Option<Vec<u8>>,
    /// From; an empty list is encoded as NIL, here and below.
    pub from: Vec<EnvelopeAddress>,
    /// Sender, or From where the field is missing or empty.
    pub sender: Vec<EnvelopeAddress>,
    /// Reply-To, or From where the field is missing or empty.
    pub reply_to: Vec<EnvelopeAddress>,
    /// To.
    pub to: Vec<EnvelopeAddress>,
    /// Cc.
    pub cc: Vec<EnvelopeAddress>,
    /// Bcc.
    pub bcc: Vec<EnvelopeAddress>,
    /// The In-Reply-To field's text.
    pub in_reply_to: Option<Vec<u8>>,
    /// The Message-ID field's text.
    pub message_id: Option<Vec<u8>>,
}

/// One `address` of an ENVELOPE; `None` is NIL.
///
/// A group starts with an entry whose host is `None` and whose mailbox is the group's name, and ends with one
/// that is `None` throughout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvelopeAddress {
    /// The display name, or the comment behind an address that has none.
    pub name: Option<Vec<u8>>,
    /// The obsolete source route.
    pub adl: Option<Vec<u8>>,
    /// The local part, or a group's name.
    pub mailbox: Option<Vec<u8>>,
    /// The domain.
    pub host: Option<Vec<u8>>,
}
