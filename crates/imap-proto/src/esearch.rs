//! ESEARCH: a search of several mailboxes. RFC 7377 §4, with the mailboxes as RFC 5465 §8 names them.

use mail_types::MailboxName;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::combinator::{map, opt, value};
use nom::sequence::{preceded, terminated};

use crate::SearchRequest;
use crate::expected::Noun;
use crate::grammar::{Parsed, list1, mailbox, sp};
use crate::search::search_program;

/// `filter-mailboxes`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxFilter {
    /// `selected`
    Selected,
    /// `inboxes`: those that new mail comes to.
    Inboxes,
    /// `personal`: all of the user's own.
    Personal,
    /// `subscribed`
    Subscribed,
    /// `subtree`: these and all below them.
    Subtree(Vec<MailboxName>),
    /// `subtree-one`: these and those right below them.
    SubtreeOne(Vec<MailboxName>),
    /// `mailboxes`: these.
    Mailboxes(Vec<MailboxName>),
}

/// `"ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program`. No scope option is defined.
pub(crate) fn esearch<const UTF8: bool>(input: &[u8]) -> Parsed<'_, (Vec<MailboxFilter>, SearchRequest)> {
    let sources = preceded((tag_no_case("IN"), sp), list1(Noun::MailboxSource, filter_mailboxes::<UTF8>));
    let request = map(search_program, |request| SearchRequest { uid: true, ..request });
    map((opt(terminated(sources, sp)), request), |(sources, request)| {
        (sources.unwrap_or_else(|| vec![MailboxFilter::Selected]), request)
    })
    .parse(input)
}

pub(crate) fn filter_mailboxes<const UTF8: bool>(input: &[u8]) -> Parsed<'_, MailboxFilter> {
    alt((
        value(MailboxFilter::Selected, tag_no_case("selected")),
        value(MailboxFilter::Inboxes, tag_no_case("inboxes")),
        value(MailboxFilter::Personal, tag_no_case("personal")),
        value(MailboxFilter::Subscribed, tag_no_case("subscribed")),
        map(
            preceded((tag_no_case("subtree-one"), sp), one_or_more_mailbox::<UTF8>),
            MailboxFilter::SubtreeOne,
        ),
        map(preceded((tag_no_case("subtree"), sp), one_or_more_mailbox::<UTF8>), MailboxFilter::Subtree),
        map(preceded((tag_no_case("mailboxes"), sp), one_or_more_mailbox::<UTF8>), MailboxFilter::Mailboxes),
    ))
    .parse(input)
}

/// `one-or-more-mailbox = mailbox / many-mailboxes`
fn one_or_more_mailbox<const UTF8: bool>(input: &[u8]) -> Parsed<'_, Vec<MailboxName>> {
    if input.starts_with(b"(") {
        list1(Noun::Mailbox, mailbox::<UTF8>).parse(input)
    } else {
        map(mailbox::<UTF8>, |it| vec![it]).parse(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::accepted;
    use crate::{Command, SearchKey};

    fn parsed(line: &str) -> Option<(Vec<MailboxFilter>, SearchRequest)> {
        let command = accepted(line)?;
        let Command::Esearch(sources, request) = command else { panic!("{command:?}") };
        Some((sources, request))
    }

    #[test]
    fn the_standards_examples_are_understood() {
        let name = |text: &str| vec![text.parse::<MailboxName>().unwrap()];
        let (sources, request) =
            parsed("ESEARCH IN (mailboxes \"folder1\" subtree \"folder2\") unseen").unwrap();
        assert_eq!(
            sources,
            [MailboxFilter::Mailboxes(name("folder1")), MailboxFilter::Subtree(name("folder2"))]
        );
        assert!(request.uid && request.returns.is_none());
        let (sources, _) =
            parsed("ESEARCH IN (inboxes personal subscribed subtree-one (a b)) subject \"chad\"").unwrap();
        let both = [name("a"), name("b")].concat();
        let expected = [
            MailboxFilter::Inboxes,
            MailboxFilter::Personal,
            MailboxFilter::Subscribed,
            MailboxFilter::SubtreeOne(both),
        ];
        assert_eq!(sources, expected);
        let (sources, request) = parsed("ESEARCH RETURN (COUNT) CHARSET UTF-8 ALL").unwrap();
        assert_eq!((sources, request.key), (vec![MailboxFilter::Selected], SearchKey::All));
        assert!(request.returns.is_some_and(|it| it.count));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for line in [
            "ESEARCH IN () ALL",
            "ESEARCH IN (selected-delayed) ALL",
            "ESEARCH IN (mailboxes) ALL",
            "ESEARCH IN (mailboxes ()) ALL",
            "ESEARCH IN (personal)",
            "ESEARCH",
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
