//! Splits a message into its MIME entities, with the byte range of each.

use std::ops::Range;

use memchr::memchr_iter;

use crate::header::{self, is_empty_line, line_at, slice};
use crate::scanner::Allowance;
use crate::{BodyStructure, Content, Envelope, Param, mime_field, rfc2231};

/// How deep parts may lie in parts; what lies deeper is opaque.
const MAX_DEPTH: usize = 50;
/// How many parts a message may have; what comes behind is epilogue.
const MAX_PARTS: usize = 10_000;

impl BodyStructure {
    /// Reads the structure of a whole message. Work is linear in its length, memory is bounded by the part limit.
    pub fn parse(message: &[u8]) -> Self {
        let mut splitter = Splitter {
            bytes: message,
            at: 0,
            boundaries: Vec::new(),
            parts: 0,
            allowance: Allowance::default(),
        };
        splitter.entity(DefaultType::Text, 0).0
    }
}

/// What a part is that does not say: text, but a message in a digest (RFC 2046 §5.1.5).
#[derive(Clone, Copy, PartialEq, Eq)]
enum DefaultType {
    Text,
    Message,
}

/// What an entity ended at.
#[derive(Clone, Copy)]
enum End {
    /// The message's end.
    Message(usize),
    /// The boundary line at `start`, of the multipart at `level` of those open.
    Boundary { start: usize, level: usize, close: bool },
}

struct Splitter<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The open multiparts' boundaries, outermost first.
    boundaries: Vec<Vec<u8>>,
    parts: usize,
    allowance: Allowance,
}

impl Splitter<'_> {
    fn entity(&mut self, default: DefaultType, depth: usize) -> (BodyStructure, End) {
        self.parts += 1;
        let start = self.at;
        let ended = self.header();
        let header_end = ended.map_or(self.at, End::start);
        let mut part = read_header(slice(self.bytes, start..header_end), default, &mut self.allowance);
        let end = self.body(&mut part, ended, depth);
        let content_end = self.content_end(start, end);
        part.header = start..header_end.min(content_end);
        part.body = part.header.end..content_end;
        self.fill_in(&mut part);
        (part, end)
    }

    /// Moves behind the header; a boundary may end it before its empty line does.
    fn header(&mut self) -> Option<End> {
        while let Some(line) = line_at(self.bytes, self.at) {
            self.at = line.end;
            if is_empty_line(slice(self.bytes, line.clone())) {
                return None;
            }
            if let Some(end) = self.boundary(&line) {
                return Some(end);
            }
        }
        None
    }

    /// Moves behind the body; a part that `ended` with its header has an empty one.
    fn body(&mut self, part: &mut BodyStructure, ended: Option<End>, depth: usize) -> End {
        match (kind(part, depth), ended) {
            (Kind::Multipart(boundary), None) => self.multipart(part, boundary, depth),
            (Kind::Multipart(_), Some(end)) => {
                part.content = Content::Multipart { parts: Vec::new() };
                end
            }
            (Kind::Message, None) => self.message(part, depth),
            (Kind::Message, Some(end)) => {
                part.content = encapsulated(Envelope::default(), empty_text(end.start()));
                end
            }
            (Kind::Leaf, None) => self.skip_to_boundary(),
            (Kind::Leaf, Some(end)) => end,
        }
    }

    fn multipart(&mut self, part: &mut BodyStructure, boundary: Vec<u8>, depth: usize) -> End {
        let default = match part.subtype.eq_ignore_ascii_case(b"digest") {
            true => DefaultType::Message,
            false => DefaultType::Text,
        };
        let level = self.boundaries.len();
        self.boundaries.push(boundary);
        let mut parts = Vec::new();
        let mut end = self.skip_to_boundary();
        while end.opens(level) && self.parts < MAX_PARTS {
            let (child, child_end) = self.entity(default, depth + 1);
            parts.push(child);
            end = child_end;
        }
        self.boundaries.truncate(level);
        part.content = Content::Multipart { parts };
        match end.is_of(level) {
            true => self.skip_to_boundary(),
            false => end,
        }
    }

    fn message(&mut self, part: &mut BodyStructure, depth: usize) -> End {
        let (inner, end) = self.entity(DefaultType::Text, depth + 1);
        let header = slice(self.bytes, inner.header.clone());
        part.content = encapsulated(Envelope::parse_within(header, &mut self.allowance), inner);
        end
    }

    fn skip_to_boundary(&mut self) -> End {
        if self.boundaries.is_empty() {
            self.at = self.bytes.len();
        }
        while let Some(line) = line_at(self.bytes, self.at) {
            self.at = line.end;
            if let Some(end) = self.boundary(&line) {
                return end;
            }
        }
        End::Message(self.bytes.len())
    }

    /// Whether the line is a boundary of an open multipart: it starts with it (RFC 2046 §5.1.1), and the longest
    /// of those that match is meant. One that the message breaks off in opens no part.
    fn boundary(&self, line: &Range<usize>) -> Option<End> {
        let rest = slice(self.bytes, line.clone()).strip_prefix(b"--")?;
        let open = self.boundaries.iter().enumerate();
        let matching = open.filter(|(_, boundary)| rest.starts_with(boundary));
        let (level, boundary) = matching.max_by_key(|(_, boundary)| boundary.len())?;
        let close =
            rest.get(boundary.len()..).is_some_and(|rest| rest.starts_with(b"--")) || !rest.ends_with(b"\n");
        Some(End::Boundary { start: line.start, level, close })
    }

    /// Where the entity from `start` to `end` ends: the line end before a boundary belongs to the boundary (RFC 2046
    /// §5.1.1), even if it is that of a header line.
    fn content_end(&self, start: usize, end: End) -> usize {
        let content = slice(self.bytes, start..end.start());
        let length = match end {
            End::Message(_) => content.len(),
            End::Boundary { .. } => {
                let content = content.strip_suffix(b"\n").unwrap_or(content);
                content.strip_suffix(b"\r").unwrap_or(content).len()
            }
        };
        start + length
    }

    /// Sets what is known once the body's range is.
    fn fill_in(&self, part: &mut BodyStructure) {
        let end = part.body.end;
        if let Content::Message { structure, .. } = &mut part.content
            && structure.header.start > end
        {
            // A message that has no octet, since the empty line above it belongs to the boundary.
            structure.header = end..end;
            structure.body = end..end;
        }
        let line_ends = || memchr_iter(b'\n', slice(self.bytes, part.body.clone())).count();
        match &mut part.content {
            Content::Text { lines } | Content::Message { lines, .. } => *lines = line_ends(),
            Content::Multipart { parts } if parts.is_empty() => parts.push(empty_text(part.body.end)),
            Content::Multipart { .. } | Content::Basic => {}
        }
    }
}

impl End {
    fn start(self) -> usize {
        match self {
            Self::Message(start) | Self::Boundary { start, .. } => start,
        }
    }

    fn is_of(self, wanted: usize) -> bool {
        matches!(self, Self::Boundary { level, .. } if level == wanted)
    }

    fn opens(self, wanted: usize) -> bool {
        matches!(self, Self::Boundary { level, close: false, .. } if level == wanted)
    }
}

enum Kind {
    Multipart(Vec<u8>),
    Message,
    Leaf,
}

/// Decides how the body is read, and renames a type that cannot be read as what it says it is.
fn kind(part: &mut BodyStructure, depth: usize) -> Kind {
    if part.media_type.eq_ignore_ascii_case(b"multipart") {
        match boundary_param(&part.params) {
            Some(boundary) if depth < MAX_DEPTH => return Kind::Multipart(boundary),
            Some(_) => make_opaque(part),
            // RFC 2045 §5.2: what is not a valid Content-Type is plain text.
            None => make_plain(part),
        }
    } else if is_message(part) {
        if depth < MAX_DEPTH {
            return Kind::Message;
        }
        make_opaque(part);
    }
    Kind::Leaf
}

fn encapsulated(envelope: Envelope, structure: BodyStructure) -> Content {
    Content::Message { envelope: Box::new(envelope), structure: Box::new(structure), lines: 0 }
}

/// RFC 3501 knows the structure of no other: `message/global` comes with IMAP4rev2 (RFC 9051 §7.5.2).
fn is_message(part: &BodyStructure) -> bool {
    part.media_type.eq_ignore_ascii_case(b"message") && part.subtype.eq_ignore_ascii_case(b"rfc822")
}

pub(crate) fn boundary_param(params: &[Param]) -> Option<Vec<u8>> {
    let extended = || param(params, "boundary*").map(rfc2231::extended_value);
    let boundary = param(params, "boundary").map(<[u8]>::to_vec).or_else(extended)?;
    (!boundary.is_empty()).then_some(boundary)
}

/// The parameter `name`.
pub(crate) fn param<'a>(params: &'a [Param], name: &str) -> Option<&'a [u8]> {
    let found = params.iter().find(|(given, _)| given.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| value.as_slice())
}

fn make_opaque(part: &mut BodyStructure) {
    part.media_type = b"application".to_vec();
    part.subtype = b"octet-stream".to_vec();
    part.content = Content::Basic;
}

fn make_plain(part: &mut BodyStructure) {
    part.media_type = b"text".to_vec();
    part.subtype = b"plain".to_vec();
    part.params = vec![us_ascii()];
    part.content = Content::Text { lines: 0 };
}

/// The part that stands in a multipart that has none.
fn empty_text(at: usize) -> BodyStructure {
    let mut part = read_header(b"", DefaultType::Text, &mut Allowance::default());
    part.header = at..at;
    part.body = at..at;
    part
}

/// The Content-* fields of a header, the first of each; ranges are set by the caller.
fn read_header(bytes: &[u8], default: DefaultType, allowance: &mut Allowance) -> BodyStructure {
    let mut part = blank(default);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for field in header::fields(bytes).filter(|field| is_content_field(field.name)) {
        let name = field.name.to_ascii_lowercase();
        if !seen.contains(&name) {
            set_field(&mut part, &name, &field.value(), allowance);
            seen.push(name);
        }
    }
    set_content(&mut part);
    part
}

/// The names that say something; no others are kept, so that a header of many costs no more.
fn is_content_field(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"content-type",
        b"content-id",
        b"content-description",
        b"content-transfer-encoding",
        b"content-md5",
        b"content-disposition",
        b"content-language",
        b"content-location",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn set_field(part: &mut BodyStructure, name: &[u8], value: &[u8], allowance: &mut Allowance) {
    let text = || Some(value.to_vec());
    match name {
        b"content-type" => match mime_field::content_type(value, allowance) {
            Some((media_type, subtype, params)) => {
                (part.media_type, part.subtype, part.params) = (media_type, subtype, params);
            }
            None => make_plain(part),
        },
        b"content-id" => part.id = text(),
        b"content-description" => part.description = text(),
        b"content-transfer-encoding" => {
            part.encoding = mime_field::encoding(value).unwrap_or_else(|| b"7bit".to_vec());
        }
        b"content-md5" => part.md5 = text(),
        b"content-disposition" => part.disposition = mime_field::disposition(value, allowance),
        b"content-language" => part.language = mime_field::tags(value, allowance),
        b"content-location" => part.location = text(),
        _ => {}
    }
}

fn set_content(part: &mut BodyStructure) {
    if !part.media_type.eq_ignore_ascii_case(b"text") {
        part.content = Content::Basic;
        return;
    }
    part.content = Content::Text { lines: 0 };
    if param(&part.params, "charset").is_none() {
        part.params.push(us_ascii());
    }
}

fn us_ascii() -> Param {
    (b"charset".to_vec(), b"us-ascii".to_vec())
}

fn blank(default: DefaultType) -> BodyStructure {
    let (media_type, subtype) = match default {
        DefaultType::Text => (b"text".to_vec(), b"plain".to_vec()),
        DefaultType::Message => (b"message".to_vec(), b"rfc822".to_vec()),
    };
    BodyStructure {
        header: 0..0,
        body: 0..0,
        media_type,
        subtype,
        params: Vec::new(),
        id: None,
        description: None,
        encoding: b"7bit".to_vec(),
        md5: None,
        disposition: None,
        language: Vec::new(),
        location: None,
        content: Content::Basic,
    }
}
