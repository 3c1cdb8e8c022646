use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, Bytes};
use mail_dkim::{SignError, Signers};
use mail_message::HeaderText;
use mail_message::transport::seven_bit;
use mail_types::Address;
use smtp_proto::Body;
use tokio::io::{AsyncReadExt, AsyncSeekExt as _, Chain};
use tokio_util::either::Either;

use crate::Content;
use crate::checked::{Checked, Flaw, Whole, is_intact};

/// Octets in which a Return-Path field at a file's start must end.
const HEAD: usize = 4096;

/// Octets of a header in which Delivered-To fields are looked for; ours stand at its beginning.
const MAX_HEADER: u64 = 256 * 1024;

/// Octets read at once.
const BLOCK: usize = 64 * 1024;

/// Extensions that a message needs on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// Its header, or that of a part or of a message within it, is not ASCII, and its sender has said so. RFC 6531 §3.2.
    ///
    /// Deviates: §3.2 has mail of which its sender has not said so go to nobody who does not offer SMTPUTF8. Programs that don't know of it have
    /// always sent such, and all servers pass it on; a host that were asked for SMTPUTF8 would return it where the host behind does not offer that.
    pub(crate) smtputf8: bool,
    /// It is not ASCII (RFC 6152), or no lines (RFC 3030).
    pub(crate) body: Body,
}

/// A queued message, ready for reading, without the Return-Path that a local delivery may have put at its start.
#[derive(Debug)]
pub(crate) struct MessageFile {
    source: Source,
    start: u64,
    size: u64,
    is_binary: bool,
    /// What stands before it on its way, once that is made, and what makes it.
    signatures: Arc<OnceLock<Bytes>>,
    origin: Origin,
}

/// Who answers for a message, and how.
#[derive(Debug, Clone, Default)]
pub(crate) enum Origin {
    /// Others, and nothing is to be said of it.
    #[default]
    Others,
    /// It was written here, and is signed. RFC 6376.
    Here(Arc<Signers>),
    /// Others, and where an address of ours sends it on it is sealed, with what the host of this name has found out. RFC 8617.
    Passed(Arc<Signers>, Arc<str>),
}

#[derive(Debug)]
enum Source {
    File(File, Whole),
    Memory(Bytes),
}

/// A message as it goes on its way, being read.
pub(crate) type Octets = Chain<Cursor<Bytes>, Either<Checked<tokio::fs::File>, Cursor<Bytes>>>;

impl MessageFile {
    /// The CRC-32 of the octets is known, or they are taken for right. What is in memory is compared with it now, a file whenever it is read to its
    /// end: see [`Self::flaw`]. Blocks.
    pub(crate) fn new(content: Content, checksum: Option<u32>) -> io::Result<Self> {
        Ok(match content {
            Content::File(file) => {
                let mut head = Vec::new();
                (&file).take(HEAD as u64).read_to_end(&mut head)?;
                head.truncate(return_path_length(&head));
                let start = head.len() as u64;
                let size = file.metadata()?.len().saturating_sub(start);
                Self::unsigned(Source::File(file, Whole::new(&head, size, checksum)), start, size)
            }
            Content::Memory(octets) => {
                let octets = octets.into_inner();
                if !is_intact(&octets, checksum) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, Flaw::Altered));
                }
                Self::in_memory(octets)
            }
        })
    }

    /// What was found to be wrong with its file when that was read.
    pub(crate) fn flaw(&self) -> Option<&Flaw> {
        match &self.source {
            Source::File(_, whole) => whole.flaw(),
            Source::Memory(_) => None,
        }
    }

    /// Reads it to its end, if it is a file, so that it is known whether anything is wrong with it. Blocks.
    pub(crate) fn verify(&self) -> io::Result<()> {
        match &self.source {
            Source::File(..) => io::copy(&mut self.reader()?, &mut io::sink()).map(drop),
            Source::Memory(_) => Ok(()),
        }
    }

    fn in_memory(mut octets: Bytes) -> Self {
        let head = octets.get(..HEAD).unwrap_or(&octets);
        octets.advance(return_path_length(head));
        let size = octets.len() as u64;
        Self::unsigned(Source::Memory(octets), 0, size)
    }

    /// The same, of which it is known what octets it holds.
    pub(crate) fn of(self, body: Body) -> Self {
        Self { is_binary: body == Body::Binary, ..self }
    }

    /// True if its octets need be no lines. RFC 3030 §3.
    pub(crate) const fn is_binary(&self) -> bool {
        self.is_binary
    }

    fn unsigned(source: Source, start: u64, size: u64) -> Self {
        Self { source, start, size, is_binary: false, signatures: Arc::default(), origin: Origin::Others }
    }

    /// The same, to be signed or sealed where it leaves.
    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Octets of the message as it goes on its way; without signatures that are still to be made.
    pub(crate) fn size(&self) -> u64 {
        self.size + self.signatures().len() as u64
    }

    fn signatures(&self) -> Bytes {
        self.signatures.get().cloned().unwrap_or_default()
    }

    /// True if it must be signed or sealed before it goes.
    pub(crate) fn lacks_signatures(&self) -> bool {
        !matches!(self.origin, Origin::Others) && self.signatures.get().is_none()
    }

    /// Signs or seals it if that is still to be done, where there are keys for whom it is from or who sends it on. Blocks.
    pub(crate) fn sign(&self) -> Result<(), SignError> {
        if !self.lacks_signatures() {
            return Ok(());
        }
        let message = || Ok::<_, io::Error>(BufReader::with_capacity(BLOCK, self.reader()?));
        let signatures = match &self.origin {
            Origin::Others => None,
            Origin::Here(signers) => signers.sign(message()?)?,
            Origin::Passed(signers, hostname) => signers.seal(message()?, hostname)?,
        };
        self.signatures.get_or_init(|| signatures.unwrap_or_default().into());
        Ok(())
    }

    /// True if its sender would rather have it go without TLS than not at all: its header says `TLS-Required: No`. RFC 8689 §3. Blocks.
    pub(crate) fn waives_tls(&self) -> io::Result<bool> {
        let values = self.field_values("tls-required")?;
        Ok(matches!(values.as_slice(), [value] if value.eq_ignore_ascii_case("no")))
    }

    /// The message in 7-bit MIME, to be signed anew; `None` if it can't be converted without a loss. Blocks, and has all of it in memory.
    pub(crate) fn in_seven_bit(&self) -> io::Result<Option<Self>> {
        let mut message = Vec::new();
        self.reader()?.read_to_end(&mut message)?;
        let Some(converted) = seven_bit(&message) else { return Ok(None) };
        let mut file = tempfile::tempfile()?;
        file.write_all(&converted)?;
        file.rewind()?;
        let size = converted.len() as u64;
        let file = Self::unsigned(Source::File(file, Whole::new(b"", size, None)), 0, size);
        Ok(Some(file.with_origin(self.origin.clone())))
    }

    /// What a server must offer so that the message, if it is made of lines, can be sent to it as it is, its sender having `declared` that it is
    /// internationalized or not. Blocks.
    pub(crate) fn needs(&self, declared: bool) -> io::Result<Needs> {
        let message = || Ok::<_, io::Error>(BufReader::with_capacity(BLOCK, self.reader()?));
        if is_ascii(message()?)? {
            return Ok(Needs::default());
        }
        let smtputf8 = declared && HeaderText::of(&mut message()?)? != HeaderText::Ascii;
        Ok(Needs { smtputf8, body: Body::EightBit })
    }

    /// The addresses of ours that it has gone through, in lower case: its Delivered-To fields. Blocks.
    pub(crate) fn delivered_to(&self) -> io::Result<Vec<Address>> {
        let values = self.field_values("delivered-to")?;
        Ok(values
            .iter()
            .filter_map(|value| value.parse::<Address>().ok())
            .map(|it| it.to_lowercase())
            .collect())
    }

    /// The values of the fields of this name, each in one line. Blocks.
    fn field_values(&self, name: &str) -> io::Result<Vec<String>> {
        let mut head = Vec::new();
        self.reader()?.take(MAX_HEADER).read_to_end(&mut head)?;
        let end = memchr::memmem::find(&head, b"\r\n\r\n").unwrap_or(head.len());
        let header = String::from_utf8_lossy(head.get(..end).unwrap_or_default());
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        let fields = unfolded.split("\r\n").filter_map(|line| line.split_once(':'));
        let values = fields.filter(|(found, _)| found.trim_end().eq_ignore_ascii_case(name));
        Ok(values.map(|(_, value)| value.trim().to_owned()).collect())
    }

    /// From the message's first octet on. Blocks.
    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.source {
            Source::File(file, whole) => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(self.start))?;
                Box::new(whole.of(file))
            }
            Source::Memory(octets) => Box::new(octets.as_ref()),
        })
    }

    /// The same message; where it is a file, the two share their position.
    pub(crate) fn again(&self) -> io::Result<Self> {
        let (signatures, origin) = (Arc::clone(&self.signatures), self.origin.clone());
        let source = match &self.source {
            Source::File(file, whole) => Source::File(file.try_clone()?, whole.clone()),
            Source::Memory(octets) => Source::Memory(octets.clone()),
        };
        Ok(Self { source, signatures, origin, ..*self })
    }

    /// From the message's first octet on, for reading without blocking. One at a time: of a file they share the position.
    pub(crate) async fn reopen(&self) -> io::Result<Octets> {
        let octets = match &self.source {
            Source::File(file, whole) => {
                let mut file = tokio::fs::File::from_std(file.try_clone()?);
                file.seek(SeekFrom::Start(self.start)).await?;
                Either::Left(whole.of(file))
            }
            Source::Memory(octets) => Either::Right(Cursor::new(octets.clone())),
        };
        Ok(AsyncReadExt::chain(Cursor::new(self.signatures()), octets))
    }
}

fn is_ascii(mut octets: impl BufRead) -> io::Result<bool> {
    loop {
        let block = octets.fill_buf()?;
        let length = block.len();
        if length == 0 || !block.is_ascii() {
            return Ok(length == 0);
        }
        octets.consume(length);
    }
}

/// How many octets at a file's start are a Return-Path field, which only the final delivery writes: RFC 5321 §4.4.
pub(crate) fn return_path_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"return-path:";
    if !head.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        return 0;
    }
    let mut end = 0;
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        if end > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            return end;
        }
        end += line.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_path_at_the_start_is_found() {
        assert_eq!(return_path_length(b"Return-Path: <a@b>\r\nSubject: x\r\n"), 20);
        assert_eq!(return_path_length(b"RETURN-PATH:\r\n <a@b>\r\nSubject: x\r\n"), 22);
        assert_eq!(return_path_length(b"Subject: x\r\nReturn-Path: <a@b>\r\n"), 0);
        assert_eq!(return_path_length(b""), 0);
    }

    #[track_caller]
    fn check_needs(message: impl AsRef<[u8]>, is_utf8: bool, eight_bit: bool) {
        let message = message.as_ref();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, message).unwrap();
        file.rewind().unwrap();
        for content in [Content::File(file), Content::Memory(Cursor::new(message.to_owned().into()))] {
            let file = MessageFile::new(content, None).unwrap();
            let body = if eight_bit { Body::EightBit } else { Body::SevenBit };
            for declared in [true, false] {
                let expected = Needs { smtputf8: is_utf8 && declared, body };
                assert_eq!(file.needs(declared).unwrap(), expected, "{:.40}", message.escape_ascii());
            }
        }
    }

    /// RFC 6531 §3.2: at any level within its MIME structure.
    #[test]
    fn a_message_needs_smtputf8_for_the_header_of_a_part_or_of_a_message_within_it() {
        let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
        check_needs(
            format!("{head}Content-Disposition: inline; filename=\"Grüße\"\r\n\r\nx\r\n--b--\r\n"),
            true,
            true,
        );
        check_needs(
            format!("{head}Content-Type: message/rfc822\r\n\r\nSubject: Grüße\r\n\r\nx\r\n--b--\r\n"),
            true,
            true,
        );
        check_needs(format!("{head}\r\nGrüße\r\n--b--\r\n"), false, true);
    }

    /// What is no UTF-8 either: who has said that it is internationalized is held to that.
    #[test]
    fn a_header_in_another_charset_makes_no_internationalized_mail() {
        let file = MessageFile::new(
            Content::Memory(Cursor::new(b"Subject: Gr\xfc\xdfe\r\n\r\nx\r\n"[..].into())),
            None,
        )
        .unwrap();
        let expected = Needs { smtputf8: false, body: Body::EightBit };
        assert_eq!(file.needs(false).unwrap(), expected);
        assert!(file.needs(true).unwrap().smtputf8);
    }

    #[test]
    fn what_a_message_needs_is_seen_in_its_header_and_its_body() {
        check_needs("Subject: x\r\n\r\nplain\r\n", false, false);
        check_needs("Subject: x\r\n\r\n\r\nhallo, Grüße\r\n", false, true);
        check_needs("Subject: Grüße\r\n\r\nplain\r\n", true, true);
        check_needs("Return-Path: <josé@x.org>\r\nSubject: x\r\n\r\nplain\r\n", false, false);
        check_needs("", false, false);
        let long = format!("Subject: x\r\n\r\n{}", "x".repeat(3 * BLOCK));
        check_needs(&long, false, false);
        check_needs(format!("{long}é"), false, true);
        check_needs(format!("X: {}é\r\n\r\nx", "x".repeat(3 * BLOCK)), true, true);
    }
}
