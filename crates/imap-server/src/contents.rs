//! A message's file, of which only that is read which the items of a FETCH need.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use imap_proto::{FetchItem, Section, SectionText};
use mail_message::{BodyStructure, header};
use mail_store::{ContentHash, Mailbox, MessageFile, StoreError, Summary};
use mail_types::Uid;

use crate::answer::Output;
use crate::section::{self, Unwritten};
use crate::summaries::summary;

/// Octets from which on a literal is sent straight from its file.
const LARGE: u64 = 128 * 1024;

/// What an item needs of a message's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Nothing,
    Header,
    /// The message itself or its text, which stand in the file as they are sent.
    Stretch,
    /// All of it, taken apart.
    Structure,
}

fn need(item: &FetchItem) -> Need {
    match item {
        FetchItem::Uid
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::SaveDate
        | FetchItem::Size
        | FetchItem::ModSeq => Need::Nothing,
        FetchItem::Envelope | FetchItem::Rfc822Header | FetchItem::ThreadId => Need::Header,
        FetchItem::Rfc822 | FetchItem::Rfc822Text => Need::Stretch,
        FetchItem::Preview { lazy: true } => Need::Nothing,
        FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::EmailId
        | FetchItem::Binary { .. }
        | FetchItem::BinarySize(_)
        | FetchItem::Preview { lazy: false } => Need::Structure,
        FetchItem::Section { section: Section { part, text }, .. } if part.is_empty() => match text {
            None | Some(SectionText::Text) => Need::Stretch,
            Some(_) => Need::Header,
        },
        FetchItem::Section { .. } => Need::Structure,
    }
}

/// A message, as far as it was read.
#[derive(Debug)]
pub(crate) enum Contents {
    Unread,
    /// Its header; the rest is taken from the file.
    File {
        file: Arc<File>,
        size: u64,
        header: Vec<u8>,
    },
    /// Its header or all of it.
    Read {
        octets: Vec<u8>,
        structure: Option<Box<BodyStructure>>,
        /// The hash of its file, if that was asked for.
        content: Option<ContentHash>,
    },
}

impl Contents {
    /// Reads what `items` need. Blocks.
    pub(crate) fn open<'a>(
        items: impl Iterator<Item = &'a FetchItem> + Clone,
        mailbox: &Mailbox,
        uid: Uid,
    ) -> Result<Self, StoreError> {
        let need = items.clone().map(need).max().unwrap_or(Need::Nothing);
        if need == Need::Nothing {
            return Ok(Self::Unread);
        }
        let file = mailbox.open_message(uid)?;
        Self::read(file, need, items).map_err(|error| unreadable(uid, error))
    }

    fn read<'a>(
        mut file: MessageFile,
        need: Need,
        mut items: impl Iterator<Item = &'a FetchItem>,
    ) -> io::Result<Self> {
        if need == Need::Structure {
            let content =
                items.any(|it| *it == FetchItem::EmailId).then(|| file.content_hash()).transpose()?;
            let octets = file.read()?;
            let structure = Some(Box::new(BodyStructure::parse(&octets)));
            return Ok(Self::Read { octets, structure, content });
        }
        if need == Need::Stretch && file.file_size != file.wire_size {
            return Ok(Self::Read { octets: file.read()?, structure: None, content: None });
        }
        let header = if items.all(is_whole) {
            Vec::new()
        } else {
            let lines = header::read(&mut file.file)?;
            file.on_the_wire(lines)
        };
        if need == Need::Header {
            return Ok(Self::Read { octets: header, structure: None, content: None });
        }
        Ok(Self::File { file: Arc::new(file.file), size: file.file_size, header })
    }

    /// What is to be kept of the message, as far as it was read.
    pub(crate) fn summary(&self) -> Option<Summary> {
        match self {
            Self::Unread => None,
            Self::File { header, .. } => Some(summary(header, None)),
            Self::Read { octets, structure, content } => {
                Some(Summary { content: *content, ..summary(octets, structure.as_deref()) })
            }
        }
    }

    /// Writes an item that is made of a message's octets.
    pub(crate) fn write(&self, item: &FetchItem, out: &mut Output) -> Result<(), Unwritten> {
        match self {
            Self::Unread => {
                section::write(out.buffer(), item, &[], None);
                Ok(())
            }
            Self::Read { octets, structure, content: _ }
                if matches!(item, FetchItem::Binary { .. } | FetchItem::BinarySize(_)) =>
            {
                let written = section::write_binary(out.buffer(), item, octets, structure.as_deref());
                if written { Ok(()) } else { Err(Unwritten::UnknownEncoding) }
            }
            Self::Read { octets, structure, content: _ } => {
                section::write(out.buffer(), item, octets, structure.as_deref());
                Ok(())
            }
            Self::File { file, size, header } => match need(item) {
                Need::Stretch => {
                    let from = if is_whole(item) { 0 } else { header.len() as u64 };
                    Ok(write_stretch(item, file, cut(from..*size, item), out)?)
                }
                Need::Nothing | Need::Header | Need::Structure => {
                    section::write(out.buffer(), item, header, None);
                    Ok(())
                }
            },
        }
    }
}

pub(crate) fn unreadable(uid: Uid, source: io::Error) -> StoreError {
    StoreError::Io { context: "reading", path: format!("the message with UID {uid}").into(), source }
}

/// True if the item needs no header to be found.
fn is_whole(item: &FetchItem) -> bool {
    match item {
        FetchItem::Section { section, .. } => *section == Section::default(),
        FetchItem::Rfc822
        | FetchItem::Uid
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::SaveDate
        | FetchItem::Size
        | FetchItem::ModSeq => true,
        FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Binary { .. }
        | FetchItem::BinarySize(_)
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text
        | FetchItem::EmailId
        | FetchItem::ThreadId
        | FetchItem::Preview { .. } => false,
    }
}

/// The part of a stretch that the item's `<first.most>` wants: a first octet past the end gives the empty string.
fn cut(stretch: Range<u64>, item: &FetchItem) -> Range<u64> {
    let FetchItem::Section { partial: Some((first, most)), .. } = item else { return stretch };
    let first = stretch.start.saturating_add(u64::from(*first)).min(stretch.end);
    first..first.saturating_add(u64::from(*most)).min(stretch.end)
}

fn write_stretch(item: &FetchItem, file: &Arc<File>, range: Range<u64>, out: &mut Output) -> io::Result<()> {
    let size = range.end.saturating_sub(range.start);
    out.text(format_args!("{} {{{size}}}\r\n", section::name(item)));
    if size >= LARGE {
        out.file(Arc::clone(file), range);
        return Ok(());
    }
    out.read(file, range)
}

#[cfg(test)]
mod tests {
    use imap_proto::{Command, Request};

    use super::*;
    use crate::answer::Piece;

    /// The pieces of the answer to `items` about a message of `text`, of which `wire` octets go over the wire.
    #[track_caller]
    fn answered(text: &[u8], wire: u64, items: &str) -> Vec<Piece> {
        let request = Request::parse(format!("a FETCH 1 {items}").as_bytes()).unwrap();
        let Command::Fetch(_, items, _) = request.command else { panic!("not FETCH") };
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, text, 0).unwrap();
        let file = MessageFile { file, file_size: text.len() as u64, wire_size: wire };
        let need = items.iter().map(need).max().unwrap();
        let contents = Contents::read(file, need, items.iter()).unwrap();
        let mut out = Output::new(imap_proto::Language::Unchosen);
        for item in &items {
            contents.write(item, &mut out).unwrap();
        }
        out.take()
    }

    #[track_caller]
    fn check(text: &str, wire: u64, items: &str, expected: &str) {
        let pieces = answered(text.as_bytes(), wire, items);
        let [Piece::Octets(octets)] = pieces.as_slice() else { panic!("{items}: {pieces:?}") };
        assert_eq!(String::from_utf8_lossy(octets), expected, "{items}");
    }

    const SMALL: &str = "Subject: s\r\nTo: t\r\n\r\nbody";

    #[test]
    fn every_stretch_is_cut_from_the_file() {
        check(SMALL, 25, "BODY[]<20.100>", "BODY[]<20> {5}\r\n\nbody");
        check(SMALL, 25, "BODY[]<25.1>", "BODY[]<25> {0}\r\n");
        check(SMALL, 25, "RFC822.TEXT", "RFC822.TEXT {4}\r\nbody");
        let with_nul = answered(b"\r\na\0b", 5, "RFC822.TEXT");
        assert!(matches!(with_nul.as_slice(), [Piece::Octets(it)] if it == b"RFC822.TEXT {3}\r\na\x80b"));
        check(
            SMALL,
            25,
            "(BODY[TEXT]<1.2> BODY[HEADER])",
            "BODY[TEXT]<1> {2}\r\nodBODY[HEADER] {21}\r\nSubject: s\r\nTo: t\r\n\r\n",
        );
        check(SMALL, 25, "RFC822", "RFC822 {25}\r\nSubject: s\r\nTo: t\r\n\r\nbody");
    }

    /// RFC 8970 §4.1: NIL only where LAZY allows it.
    #[test]
    fn a_lazy_preview_reads_nothing() {
        check(SMALL, 25, "(BODY[] PREVIEW (LAZY))", &format!("BODY[] {{25}}\r\n{SMALL}PREVIEW NIL"));
        check(SMALL, 25, "PREVIEW", "PREVIEW \"body\"");
        check(SMALL, 25, "(BODY[TEXT] PREVIEW)", "BODY[TEXT] {4}\r\nbodyPREVIEW \"body\"");
    }

    #[test]
    fn what_another_program_wrote_goes_out_with_crlf() {
        let text = SMALL.replace('\r', "");
        check(&text, 25, "BODY[]<20.100>", "BODY[]<20> {5}\r\n\nbody");
        check(&text, 25, "BODY[HEADER.FIELDS (To)]", "BODY[HEADER.FIELDS (To)] {9}\r\nTo: t\r\n\r\n");
    }

    #[test]
    fn a_large_message_is_never_read_for_a_part_of_it() {
        let text = [SMALL.as_bytes(), &vec![b'x'; 1 << 20]].concat();
        let size = text.len() as u64;
        let pieces = answered(&text, size, "(BODY[HEADER.FIELDS (To)] BODY[]<4.200000>)");
        let [Piece::Octets(before), Piece::File(_, range), Piece::Octets(after)] = pieces.as_slice() else {
            panic!("{pieces:?}")
        };
        assert!(before.ends_with(b"BODY[]<4> {200000}\r\n") && after.is_empty());
        assert_eq!(*range, 4..200_004);
        let Contents::File { header, .. } = contents(&text, "BODY[HEADER]") else { panic!("all was read") };
        assert_eq!(header.len(), 21);
    }

    fn contents(text: &[u8], item: &str) -> Contents {
        let request = Request::parse(format!("a FETCH 1 ({item} BODY[])").as_bytes()).unwrap();
        let Command::Fetch(_, items, _) = request.command else { panic!("not FETCH") };
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, text, 0).unwrap();
        let size = text.len() as u64;
        let file = MessageFile { file, file_size: size, wire_size: size };
        Contents::read(file, Need::Stretch, items.iter()).unwrap()
    }

    #[test]
    fn a_header_longer_than_the_first_look_is_found() {
        let text = format!("X: {}\r\nTo: t\r\n\r\nbody", "y".repeat(100_000));
        let size = text.len() as u64;
        check(&text, size, "BODY[HEADER.FIELDS (To)]", "BODY[HEADER.FIELDS (To)] {9}\r\nTo: t\r\n\r\n");
        check("To: t", 5, "BODY[HEADER]", "BODY[HEADER] {5}\r\nTo: t");
    }
}
