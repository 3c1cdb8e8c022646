//! Whether a message holds the texts that SEARCH asks for (RFC 3501 §6.4.4): found in the decoded text, in any case.

use mail_parser::{DateTime, MessageParser, PartType};

use crate::header;

/// A text that is looked for.
#[derive(Debug, Clone)]
pub struct Needle {
    folded: String,
}

impl Needle {
    /// The text, in any case.
    pub fn new(text: &str) -> Self {
        Self { folded: text.to_lowercase() }
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.folded)
    }
}

/// Whether a field `name` holds the text. The empty text is in every field that exists.
pub fn header_holds(message: &[u8], name: &str, needle: &Needle) -> bool {
    header::fields(message).any(|field| field.is(name) && needle.is_in(&decoded(&field.value())))
}

/// Whether a text part holds the text, or an encapsulated message its header or a text part of it.
pub fn body_holds(message: &[u8], needle: &Needle) -> bool {
    if needle.folded.is_empty() {
        return true;
    }
    let Some(message) = MessageParser::default().parse(message) else { return false };
    message.parts.iter().any(|part| match &part.body {
        PartType::Text(text) | PartType::Html(text) => needle.is_in(text),
        PartType::Message(inner) => text_holds(inner.raw_message(), needle),
        PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => false,
    })
}

/// Whether the header or the body holds the text.
pub fn text_holds(message: &[u8], needle: &Needle) -> bool {
    let in_field = |field: header::Field<'_>| {
        needle.is_in(&decoded(&field.value())) || needle.is_in(&String::from_utf8_lossy(field.raw_value))
    };
    header::fields(message).any(in_field) || body_holds(message, needle)
}

/// The Date field's day on the calendar, its time and zone left out, in days since 1970-01-01.
pub fn sent_day(message: &[u8]) -> Option<i64> {
    let value = header::find(message, "Date")?.value();
    let date = DateTime::parse_rfc822(&format!("{}\r\n", String::from_utf8_lossy(&value)))?;
    Some(date.to_timestamp_local().div_euclid(86_400))
}

/// A field's text with its encoded words (RFC 2047) decoded.
fn decoded(value: &[u8]) -> String {
    let header = [b"Subject: ", value, b"\r\n\r\n"].concat();
    let parsed = MessageParser::default().parse_headers(&header);
    let decoded = parsed.as_ref().and_then(|message| message.subject());
    decoded.map_or_else(|| String::from_utf8_lossy(value).into_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: =?utf-8?q?J=C3=BCrgen?= <j@x.org>\r\nSubject: Plan\r\nX-TUID: abc\r\n\
        Date: Thu, 1 Jan 1970 23:59:00 -0800\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n";

    #[test]
    fn texts_are_found_decoded_and_in_any_case() {
        assert!(header_holds(MESSAGE, "from", &Needle::new("JÜRGEN")));
        assert!(header_holds(MESSAGE, "X-TUID", &Needle::new("abc")));
        assert!(header_holds(MESSAGE, "subject", &Needle::new("")));
        assert!(!header_holds(MESSAGE, "Cc", &Needle::new("")));
        assert!(body_holds(MESSAGE, &Needle::new("grüße")));
        assert!(!body_holds(MESSAGE, &Needle::new("plan")));
        assert!(text_holds(MESSAGE, &Needle::new("plan")));
    }

    #[test]
    fn the_day_of_sending_leaves_out_time_and_zone() {
        assert_eq!(sent_day(MESSAGE), Some(0));
        assert_eq!(sent_day(b"Subject: x\r\n\r\n"), None);
    }
}
