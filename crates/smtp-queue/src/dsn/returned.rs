use std::io::{self, Read as _};

use mail_message::HeaderText;
use mail_types::Language;
use smtp_proto::Return;

use crate::message_file::MessageFile;

/// Messages up to this size are returned whole, of longer ones the header.
const MAX_WHOLE: u64 = 50 * 1024;

/// What is returned of the message.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(super) octets: Vec<u8>,
    header: usize,
    pub(super) whole: bool,
}

impl Returned {
    /// Reads the message, or only its header if it is long or no more is wanted. Blocks.
    pub(crate) fn read(message: &MessageFile, ret: Option<Return>) -> io::Result<Self> {
        let mut octets = Vec::new();
        message.reader()?.take(MAX_WHOLE).read_to_end(&mut octets)?;
        let mut returned = Self::of(octets);
        returned.whole = message.size() <= MAX_WHOLE && ret != Some(Return::Headers);
        returned.cut();
        Ok(returned)
    }

    /// The header of a message, of which this is the beginning.
    pub(crate) fn header_of(message: &[u8]) -> Self {
        let most = usize::try_from(MAX_WHOLE).unwrap_or(usize::MAX);
        let mut returned = Self::of(message.get(..most).unwrap_or(message).to_vec());
        returned.cut();
        returned
    }

    fn of(octets: Vec<u8>) -> Self {
        let header = header_length(&octets);
        Self { octets, header, whole: false }
    }

    fn cut(&mut self) {
        if !self.whole {
            self.octets.truncate(self.header);
        }
    }

    fn header(&self) -> &[u8] {
        self.octets.get(..self.header).unwrap_or_default()
    }

    /// RFC 6522 §4 and, where headers are not ASCII, that of a part or of a message within it among them, RFC 6533 §4. A whole message with a header
    /// that is not even UTF-8 is as little one of the old kind, which would have to be sent as it is.
    pub(super) fn media_type(&self) -> &'static str {
        // Reading from memory can't fail.
        let text = HeaderText::of(&mut self.octets.as_slice()).unwrap_or(HeaderText::Other);
        match (self.whole, text) {
            (true, HeaderText::Ascii) => "message/rfc822",
            (true, HeaderText::Utf8 | HeaderText::Other) => "message/global",
            (false, HeaderText::Ascii | HeaderText::Other) => "text/rfc822-headers",
            (false, HeaderText::Utf8) => "message/global-headers",
        }
    }

    pub(super) fn message_id(&self) -> Option<&str> {
        self.field("Message-ID").filter(|field| {
            field.starts_with('<') && field.ends_with('>') && field.is_ascii() && field.len() <= 250
        })
    }

    /// The language that its author reads or, where nothing says so, writes: the first of these fields that names one of ours.
    /// RFC 4021 §2.1.41, RFC 3282.
    pub(super) fn language(&self) -> Option<Language> {
        ["Accept-Language", "Content-Language"].iter().find_map(|name| {
            let tags =
                self.field(name)?.split(',').map(|tag| tag.split(';').next().unwrap_or_default().trim());
            tags.map(|tag| tag.split('-').next().unwrap_or_default()).find_map(Language::tagged)
        })
    }

    /// The first line of a field, by its name.
    fn field(&self, wanted: &str) -> Option<&str> {
        self.header().split(|octet| *octet == b'\n').find_map(|line| {
            let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    }
}

/// The header with the last field's line end, without the empty line.
fn header_length(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |end| end.saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_language(header: &str, expected: Option<Language>) {
        let returned =
            Returned::header_of(format!("Subject: x\r\n{header}\r\n\r\nContent-Language: en").as_bytes());
        assert_eq!(returned.language(), expected, "{header}");
    }

    #[test]
    fn the_language_is_that_of_the_message() {
        check_language("Content-Language: pt-PT", Some(Language::Portuguese));
        check_language("content-language: de, es", Some(Language::Spanish));
        check_language(
            "Content-Language: en-US\r\nAccept-Language: fr;q=1, pt-BR;q=0.5",
            Some(Language::Portuguese),
        );
        check_language("Content-Language: de", None);
        check_language("X: y", None);
    }
}
