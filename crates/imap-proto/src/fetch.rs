//! What FETCH can ask for. RFC 3501 §6.4.5.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::char;
use nom::combinator::{map, opt, value, verify};
use nom::multi::separated_list1;
use nom::sequence::{delimited, pair, preceded, separated_pair};

use crate::encode;
use crate::expected::Noun;
use crate::grammar::{Mismatch, Parsed, expect, list1, name, number, sp};

/// The path to a part, `1.2.3`; empty for the message itself.
pub type Part = Vec<u32>;

/// Deeper paths than any message has.
const MAX_PART_DEPTH: usize = 100;

/// One item of FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// `UID`
    Uid,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `MODSEQ`. RFC 7162 §3.1.4.2.
    ModSeq,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`: the structure without extension data
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `BODY[section]<partial>`
    Section {
        /// True if `\Seen` stays as it is.
        peek: bool,
        /// Which part of the message.
        section: Section,
        /// The first octet and the most octets.
        partial: Option<(u32, u32)>,
    },
    /// `BINARY[part]<partial>`: without its transfer encoding. RFC 3516 §4.2.
    Binary {
        /// True if `\Seen` stays as it is.
        peek: bool,
        /// Which part of the message.
        part: Part,
        /// The first octet and the most octets.
        partial: Option<(u32, u32)>,
    },
    /// `BINARY.SIZE[part]`. RFC 3516 §4.2.
    BinarySize(Part),
    /// `RFC822`: as `BODY[]`, under its own name
    Rfc822,
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]`
    Rfc822Header,
    /// `RFC822.TEXT`: as `BODY[TEXT]`
    Rfc822Text,
    /// `EMAILID`. RFC 8474.
    EmailId,
    /// `THREADID`. RFC 8474.
    ThreadId,
    /// `SAVEDATE`. RFC 8514.
    SaveDate,
    /// `PREVIEW`. RFC 8970.
    Preview {
        /// True if NIL will do where it is not known without delay.
        lazy: bool,
    },
}

/// `section-spec`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Which part.
    pub part: Part,
    /// What of it; `None` for all of its body.
    pub text: Option<SectionText>,
}

/// `section-text`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (…)`
    HeaderFields(Vec<String>),
    /// `HEADER.FIELDS.NOT (…)`
    HeaderFieldsNot(Vec<String>),
    /// `TEXT`
    Text,
    /// `MIME`, only with a part
    Mime,
}

impl FetchItem {
    /// True if answering it sets `\Seen`.
    #[must_use]
    pub const fn sets_seen(&self) -> bool {
        match self {
            Self::Section { peek, .. } | Self::Binary { peek, .. } => !*peek,
            Self::Rfc822 | Self::Rfc822Text => true,
            Self::Uid
            | Self::Flags
            | Self::InternalDate
            | Self::Size
            | Self::ModSeq
            | Self::Envelope
            | Self::Body
            | Self::BodyStructure
            | Self::BinarySize(_)
            | Self::Rfc822Header
            | Self::EmailId
            | Self::ThreadId
            | Self::SaveDate
            | Self::Preview { .. } => false,
        }
    }
}

/// A part's number as it is written, `1.2`.
#[must_use]
pub fn part_number(part: &[u32]) -> String {
    part.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

impl Section {
    /// The name under which the answer shows it, `BODY[1.HEADER]<0>`.
    #[must_use]
    pub fn response_name(&self, partial: Option<(u32, u32)>) -> String {
        let part = part_number(&self.part);
        let dot = if part.is_empty() || self.text.is_none() { "" } else { "." };
        let text = self.text.as_ref().map(SectionText::encode).unwrap_or_default();
        let origin = partial.map(|(first, _)| format!("<{first}>")).unwrap_or_default();
        format!("BODY[{part}{dot}{text}]{origin}")
    }
}

impl SectionText {
    fn encode(&self) -> String {
        let list =
            |fields: &[String]| fields.iter().map(|it| encode::astring(it)).collect::<Vec<_>>().join(" ");
        match self {
            Self::Header => "HEADER".to_owned(),
            Self::HeaderFields(fields) => format!("HEADER.FIELDS ({})", list(fields)),
            Self::HeaderFieldsNot(fields) => format!("HEADER.FIELDS.NOT ({})", list(fields)),
            Self::Text => "TEXT".to_owned(),
            Self::Mime => "MIME".to_owned(),
        }
    }
}

/// `"ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")"`
pub(crate) fn fetch_items(input: &[u8]) -> Parsed<'_, Vec<FetchItem>> {
    let list = list1(Noun::FetchItem, fetch_att);
    expect(Noun::FetchItem, alt((list, map(fetch_att, |item| vec![item]), fetch_macro))).parse(input)
}

fn fetch_macro(input: &[u8]) -> Parsed<'_, Vec<FetchItem>> {
    let fast = vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size];
    let mut all = fast.clone();
    all.push(FetchItem::Envelope);
    let mut full = all.clone();
    full.push(FetchItem::Body);
    alt((value(all, tag_no_case("ALL")), value(full, tag_no_case("FULL")), value(fast, tag_no_case("FAST"))))
        .parse(input)
}

/// `fetch-att`. `RFC822.PEEK` is no standard, but Outlook sends it.
pub(crate) fn fetch_att(input: &[u8]) -> Parsed<'_, FetchItem> {
    let whole = FetchItem::Section { peek: true, section: Section::default(), partial: None };
    alt((
        body_section,
        binary,
        value(FetchItem::Envelope, tag_no_case("ENVELOPE")),
        value(FetchItem::Flags, tag_no_case("FLAGS")),
        value(FetchItem::InternalDate, tag_no_case("INTERNALDATE")),
        value(FetchItem::Size, tag_no_case("RFC822.SIZE")),
        value(FetchItem::ModSeq, tag_no_case("MODSEQ")),
        value(FetchItem::Rfc822Header, tag_no_case("RFC822.HEADER")),
        value(FetchItem::Rfc822Text, tag_no_case("RFC822.TEXT")),
        value(whole, tag_no_case("RFC822.PEEK")),
        value(FetchItem::Rfc822, tag_no_case("RFC822")),
        value(FetchItem::BodyStructure, tag_no_case("BODYSTRUCTURE")),
        value(FetchItem::Body, tag_no_case("BODY")),
        value(FetchItem::Uid, tag_no_case("UID")),
        value(FetchItem::EmailId, tag_no_case("EMAILID")),
        value(FetchItem::ThreadId, tag_no_case("THREADID")),
        value(FetchItem::SaveDate, tag_no_case("SAVEDATE")),
        preview,
    ))
    .parse(input)
}

/// `"PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]`, `preview-mod = "LAZY"`. RFC 8970 §6.
fn preview(input: &[u8]) -> Parsed<'_, FetchItem> {
    let modifiers = list1(Noun::Lazy, tag_no_case("LAZY"));
    map(preceded(tag_no_case("PREVIEW"), opt(preceded(sp, modifiers))), |it| FetchItem::Preview {
        lazy: it.is_some(),
    })
    .parse(input)
}

/// `"BODY" [".PEEK"] section [partial]`
fn body_section(input: &[u8]) -> Parsed<'_, FetchItem> {
    let section = delimited(char('['), section_spec, char(']'));
    map((peeking("BODY"), section, opt(partial)), |(peek, section, partial)| FetchItem::Section {
        peek,
        section,
        partial,
    })
    .parse(input)
}

/// `"BINARY" [".PEEK"] section-binary [partial] / "BINARY.SIZE" section-binary`. RFC 3516 §7.
fn binary(input: &[u8]) -> Parsed<'_, FetchItem> {
    let section = || delimited(char('['), map(opt(section_part), Option::unwrap_or_default), char(']'));
    let size = preceded(tag_no_case("BINARY.SIZE"), section());
    let content = map((peeking("BINARY"), section(), opt(partial)), |(peek, part, partial)| {
        FetchItem::Binary { peek, part, partial }
    });
    alt((map(size, FetchItem::BinarySize), content)).parse(input)
}

fn peeking<'a>(name: &'static str) -> impl Parser<&'a [u8], Output = bool, Error = Mismatch> {
    preceded(tag_no_case(name), map(opt(tag_no_case(".PEEK")), |peek| peek.is_some()))
}

/// `partial = "<" number "." nz-number ">"`
fn partial(input: &[u8]) -> Parsed<'_, (u32, u32)> {
    let most = verify(number, |most| *most > 0);
    delimited(char('<'), separated_pair(number, char('.'), most), char('>')).parse(input)
}

/// `section-spec = section-msgtext / (section-part ["." section-text])`, or nothing.
pub(crate) fn section_spec(input: &[u8]) -> Parsed<'_, Section> {
    let within = pair(section_part, opt(preceded(char('.'), section_text)));
    let of_message = verify(opt(section_text), |text| *text != Some(SectionText::Mime));
    alt((
        map(within, |(part, text)| Section { part, text }),
        map(of_message, |text| Section { part: Part::new(), text }),
    ))
    .parse(input)
}

/// `section-part = nz-number *("." nz-number)`
fn section_part(input: &[u8]) -> Parsed<'_, Part> {
    let nz_number = verify(number, |number| *number > 0);
    verify(separated_list1(char('.'), nz_number), |part: &Part| part.len() <= MAX_PART_DEPTH).parse(input)
}

/// `section-text = section-msgtext / "MIME"`
fn section_text(input: &[u8]) -> Parsed<'_, SectionText> {
    alt((
        map(preceded(tag_no_case("HEADER.FIELDS.NOT"), header_list), SectionText::HeaderFieldsNot),
        map(preceded(tag_no_case("HEADER.FIELDS"), header_list), SectionText::HeaderFields),
        value(SectionText::Header, tag_no_case("HEADER")),
        value(SectionText::Text, tag_no_case("TEXT")),
        value(SectionText::Mime, tag_no_case("MIME")),
    ))
    .parse(input)
}

/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`
fn header_list(input: &[u8]) -> Parsed<'_, Vec<String>> {
    preceded(opt(sp), list1(Noun::HeaderField, name)).parse(input)
}
