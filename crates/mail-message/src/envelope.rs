use crate::address_list;
use crate::header::{self, Field};
use crate::scanner::Allowance;

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

impl Envelope {
    /// Reads the envelope from the header block that `header` starts with.
    pub fn parse(header: &[u8]) -> Self {
        Self::parse_within(header, &mut Allowance::default())
    }

    pub(crate) fn parse_within(header: &[u8], allowance: &mut Allowance) -> Self {
        let mut envelope = Self::default();
        for field in header::fields(header) {
            envelope.add(&field, allowance);
        }
        envelope.default_senders();
        envelope
    }

    /// Of address fields all count. Of a text field that should stand only once the last does: it is the one that a
    /// DKIM signature covers (RFC 6376 §5.4.2), others may have been put on top of it.
    fn add(&mut self, field: &Field<'_>, allowance: &mut Allowance) {
        let text = |slot: &mut Option<Vec<u8>>| *slot = Some(field.value());
        let mut list = |slot: &mut Vec<EnvelopeAddress>| {
            slot.extend(address_list::parse(&field.value(), allowance));
        };
        match field.name.to_ascii_lowercase().as_slice() {
            b"date" => text(&mut self.date),
            b"subject" => text(&mut self.subject),
            b"in-reply-to" => text(&mut self.in_reply_to),
            b"message-id" => text(&mut self.message_id),
            b"from" => list(&mut self.from),
            b"sender" => list(&mut self.sender),
            b"reply-to" => list(&mut self.reply_to),
            b"to" => list(&mut self.to),
            b"cc" => list(&mut self.cc),
            b"bcc" => list(&mut self.bcc),
            _ => {}
        }
    }

    /// RFC 9051 §7.5.2: an absent or empty Sender or Reply-To is From.
    fn default_senders(&mut self) {
        for slot in [&mut self.sender, &mut self.reply_to] {
            if slot.is_empty() {
                slot.clone_from(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_and_reply_to_default_to_from() {
        let envelope = Envelope::parse(b"From: a@b\r\nSender:\r\nReply-To: r@s\r\nSubject: x\r\n y\r\n\r\n");
        assert_eq!(envelope.sender, envelope.from);
        assert_eq!(envelope.reply_to[0].mailbox.as_deref(), Some(&b"r"[..]));
        assert_eq!(envelope.subject.as_deref(), Some(&b"x y"[..]));
        assert_eq!(envelope.date, None);
    }

    #[test]
    fn of_repeated_fields_the_last_text_and_all_addresses_count() {
        let envelope = Envelope::parse(b"Subject: forged\r\nTo: a@b\r\nSubject: signed\r\nTo: c@d\r\n\r\n");
        assert_eq!(envelope.subject.as_deref(), Some(&b"signed"[..]));
        assert_eq!(envelope.to.len(), 2);
    }

    #[test]
    fn encoded_words_and_8_bit_octets_stay() {
        let envelope = Envelope::parse(b"Subject: =?utf-8?q?=C3=BC?= \xfc\r\n");
        assert_eq!(envelope.subject.as_deref(), Some(&b"=?utf-8?q?=C3=BC?= \xfc"[..]));
    }
}
