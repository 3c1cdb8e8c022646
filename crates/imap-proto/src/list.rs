//! LIST, plain (RFC 3501 §6.3.8) and extended (RFC 5258, RFC 6154 §2, RFC 5819, RFC 8440, RFC 9590), and LSUB.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::combinator::{cut, map, opt, value, verify};
use nom::sequence::{preceded, separated_pair, terminated};

use mail_types::MetadataEntry;

use crate::expected::Noun;
use crate::grammar::{Parsed, list_mailbox, list0, list1, sp, string};
use crate::metadata::entry;
use crate::status::{StatusItem, status_items};

/// What LIST is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// What the patterns are relative to.
    pub reference: Vec<u8>,
    /// The names wanted, at least one pattern.
    pub patterns: Vec<Vec<u8>>,
    /// Which of these; `None` in the plain form, where all are.
    pub select: Option<Vec<ListSelect>>,
    /// What to tell beside; `None` in the plain form.
    pub returns: Option<Vec<ListReturn>>,
}

impl ListRequest {
    /// True if the client used RFC 5258's form and so can read its answers.
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        self.select.is_some() || self.returns.is_some() || self.patterns.len() > 1
    }

    /// True if only such mailboxes are wanted.
    #[must_use]
    pub fn selects(&self, option: ListSelect) -> bool {
        self.select.as_ref().is_some_and(|options| options.contains(&option))
    }

    /// What STATUS is asked of each mailbox. RFC 5819.
    #[must_use]
    pub fn status(&self) -> Option<&[StatusItem]> {
        self.returns.iter().flatten().find_map(|option| match option {
            ListReturn::Status(items) => Some(items.as_slice()),
            ListReturn::Subscribed
            | ListReturn::Children
            | ListReturn::SpecialUse
            | ListReturn::MyRights
            | ListReturn::Metadata(_) => None,
        })
    }

    /// Which annotations are to be told of each mailbox. RFC 9590.
    #[must_use]
    pub fn metadata(&self) -> Option<&[MetadataEntry]> {
        self.returns.iter().flatten().find_map(|option| match option {
            ListReturn::Metadata(entries) => Some(entries.as_slice()),
            ListReturn::Subscribed
            | ListReturn::Children
            | ListReturn::SpecialUse
            | ListReturn::MyRights
            | ListReturn::Status(_) => None,
        })
    }

    /// True if this is to be told beside.
    #[must_use]
    pub fn returns(&self, option: &ListReturn) -> bool {
        self.returns.iter().flatten().any(|it| it == option)
    }
}

/// `list-select-opt`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSelect {
    /// `SUBSCRIBED`
    Subscribed,
    /// `REMOTE`: there are none, it selects nothing.
    Remote,
    /// `RECURSIVEMATCH`
    RecursiveMatch,
    /// `SPECIAL-USE`
    SpecialUse,
}

/// `return-option`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListReturn {
    /// `SUBSCRIBED`
    Subscribed,
    /// `CHILDREN`
    Children,
    /// `SPECIAL-USE`
    SpecialUse,
    /// `MYRIGHTS`. RFC 8440.
    MyRights,
    /// `STATUS`
    Status(Vec<StatusItem>),
    /// `METADATA`. RFC 9590.
    Metadata(Vec<MetadataEntry>),
}

/// `[SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`
pub(crate) fn list(input: &[u8]) -> Parsed<'_, ListRequest> {
    let arguments = (
        opt(terminated(select_options, sp)),
        terminated(reference, sp),
        patterns,
        opt(preceded(sp, returns)),
    );
    map(arguments, |(select, reference, patterns, returns)| ListRequest {
        reference,
        patterns,
        select,
        returns,
    })
    .parse(input)
}

/// `"LSUB" SP mailbox SP list-mailbox`
pub(crate) fn lsub(input: &[u8]) -> Parsed<'_, (Vec<u8>, Vec<u8>)> {
    separated_pair(reference, sp, list_mailbox).parse(input)
}

fn reference(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    alt((map(string, |it| it.into_owned()), list_mailbox)).parse(input)
}

/// `mbox-or-pat = list-mailbox / patterns`
fn patterns(input: &[u8]) -> Parsed<'_, Vec<Vec<u8>>> {
    let several = list1(Noun::Pattern, list_mailbox);
    alt((several, map(list_mailbox, |pattern| vec![pattern]))).parse(input)
}

/// `list-select-opts`; RECURSIVEMATCH needs an option that selects something (RFC 5258 §3.1).
fn select_options(input: &[u8]) -> Parsed<'_, Vec<ListSelect>> {
    let option = alt((
        value(ListSelect::Subscribed, tag_no_case("SUBSCRIBED")),
        value(ListSelect::Remote, tag_no_case("REMOTE")),
        value(ListSelect::RecursiveMatch, tag_no_case("RECURSIVEMATCH")),
        value(ListSelect::SpecialUse, tag_no_case("SPECIAL-USE")),
    ));
    let options = list0(Noun::ListOption, option);
    let is_base = |option: &ListSelect| matches!(option, ListSelect::Subscribed | ListSelect::SpecialUse);
    verify(options, |options: &Vec<ListSelect>| {
        !options.contains(&ListSelect::RecursiveMatch) || options.iter().any(is_base)
    })
    .parse(input)
}

/// `list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"`
fn returns(input: &[u8]) -> Parsed<'_, Vec<ListReturn>> {
    let option = alt((
        value(ListReturn::Subscribed, tag_no_case("SUBSCRIBED")),
        value(ListReturn::Children, tag_no_case("CHILDREN")),
        value(ListReturn::SpecialUse, tag_no_case("SPECIAL-USE")),
        value(ListReturn::MyRights, tag_no_case("MYRIGHTS")),
        map(preceded((tag_no_case("STATUS"), sp), status_items), ListReturn::Status),
        map(preceded((tag_no_case("METADATA"), sp), list1(Noun::Entry, entry)), ListReturn::Metadata),
    ));
    let options = list0(Noun::ListOption, option);
    preceded((tag_no_case("RETURN"), sp), cut(options)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(input: &str) -> ListRequest {
        let (rest, request) = list(input.as_bytes()).unwrap();
        assert!(rest.is_empty(), "{input}");
        request
    }

    #[test]
    fn the_plain_form_has_a_reference_and_one_pattern() {
        let request = parsed(r#""" %"#);
        assert_eq!(
            (request.reference.as_slice(), request.patterns.as_slice()),
            (&b""[..], &[b"%".to_vec()][..])
        );
        assert!(!request.is_extended());
    }

    #[test]
    fn the_extended_form_selects_and_returns() {
        let request = parsed(
            r#"(SUBSCRIBED recursivematch) "" ("a/%" b) RETURN (SPECIAL-USE MYRIGHTS STATUS (MESSAGES SIZE))"#,
        );
        assert_eq!(request.patterns.len(), 2);
        assert!(request.is_extended() && request.selects(ListSelect::RecursiveMatch));
        assert!(request.returns(&ListReturn::MyRights));
        assert!(request.returns(&ListReturn::SpecialUse) && !request.returns(&ListReturn::Children));
        assert_eq!(request.status(), Some(&[StatusItem::Messages, StatusItem::Size][..]));
        assert!(parsed(r#"() "" * RETURN ()"#).is_extended());
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for refused in [r#"(RECURSIVEMATCH) "" *"#, r#"(REMOTE RECURSIVEMATCH) "" *"#, r#"(NONSENSE) "" *"#] {
            assert!(list(refused.as_bytes()).is_err(), "{refused}");
        }
    }
}
