//! SORT and THREAD. RFC 5256 §5, RFC 5957 §5, RFC 5267 §5, RFC 6203 §7.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::combinator::{map, opt, value};
use nom::sequence::{preceded, terminated};

use crate::SearchRequest;
use crate::expected::Noun;
use crate::grammar::{Parsed, list1, sp, text};
use crate::search::{search_keys, search_returns};

/// What messages are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// `ARRIVAL`: the internal date.
    Arrival,
    /// `CC`: the local part of the first address.
    Cc,
    /// `DATE`: the sent date.
    Date,
    /// `DISPLAYFROM`: what is shown of the first address. RFC 5957.
    DisplayFrom,
    /// `DISPLAYTO`: the same of To. RFC 5957.
    DisplayTo,
    /// `FROM`: the local part of the first address.
    From,
    /// `RELEVANCY`: what is nearest to a FUZZY key first. RFC 6203 §6.
    Relevancy,
    /// `SIZE`
    Size,
    /// `SUBJECT`: the base subject.
    Subject,
    /// `TO`: the local part of the first address.
    To,
}

/// `sort-criterion = ["REVERSE" SP] sort-key`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    /// By what.
    pub key: SortKey,
    /// The greatest first.
    pub reverse: bool,
}

/// `thread-alg`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    /// `ORDEREDSUBJECT`
    OrderedSubject,
    /// `REFERENCES`
    References,
    /// `REFS`: as REFERENCES, but the subject says nothing and the thread with the newest message comes last.
    /// draft-ietf-morg-inthread.
    Refs,
}

/// SORT's criteria, and what is searched for.
pub(crate) fn sort(uid: bool, input: &[u8]) -> Parsed<'_, (Vec<SortCriterion>, SearchRequest)> {
    let (input, returns) = opt(terminated(search_returns, sp)).parse(input)?;
    let criteria = list1(Noun::SortCriterion, sort_criterion);
    let (input, criteria) = terminated(criteria, sp).parse(input)?;
    let (input, request) = search_criteria(uid, input)?;
    let (returns, updates) = returns.unzip();
    Ok((input, (criteria, SearchRequest { returns, updates: updates.unwrap_or_default(), ..request })))
}

/// `"THREAD" SP thread-alg SP search-criteria`
pub(crate) fn thread(uid: bool, input: &[u8]) -> Parsed<'_, (ThreadAlgorithm, SearchRequest)> {
    let algorithm = alt((
        value(ThreadAlgorithm::OrderedSubject, tag_no_case("ORDEREDSUBJECT")),
        value(ThreadAlgorithm::References, tag_no_case("REFERENCES")),
        value(ThreadAlgorithm::Refs, tag_no_case("REFS")),
    ));
    (terminated(algorithm, sp), move |input| search_criteria(uid, input)).parse(input)
}

fn sort_criterion(input: &[u8]) -> Parsed<'_, SortCriterion> {
    let key = alt((
        value(SortKey::Arrival, tag_no_case("ARRIVAL")),
        value(SortKey::Cc, tag_no_case("CC")),
        value(SortKey::Date, tag_no_case("DATE")),
        value(SortKey::DisplayFrom, tag_no_case("DISPLAYFROM")),
        value(SortKey::DisplayTo, tag_no_case("DISPLAYTO")),
        value(SortKey::From, tag_no_case("FROM")),
        value(SortKey::Relevancy, tag_no_case("RELEVANCY")),
        value(SortKey::Size, tag_no_case("SIZE")),
        value(SortKey::Subject, tag_no_case("SUBJECT")),
        value(SortKey::To, tag_no_case("TO")),
    ));
    let reverse = map(opt((tag_no_case("REVERSE"), sp)), |it| it.is_some());
    map((reverse, key), |(reverse, key)| SortCriterion { key, reverse }).parse(input)
}

/// `search-criteria = charset 1*(SP search-key)`
fn search_criteria(uid: bool, input: &[u8]) -> Parsed<'_, SearchRequest> {
    map((text, preceded(sp, search_keys)), move |(charset, key)| SearchRequest {
        uid,
        returns: None,
        charset: Some(charset),
        key,
        updates: Vec::new(),
    })
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::accepted;
    use crate::{Command, SearchKey};

    #[test]
    fn sort_and_thread_of_the_standards_examples() {
        let Some(Command::Sort(criteria, request)) = accepted("UID SORT (SUBJECT REVERSE DATE) UTF-8 ALL")
        else {
            panic!("not SORT")
        };
        let criterion = |key, reverse| SortCriterion { key, reverse };
        assert_eq!(criteria, [criterion(SortKey::Subject, false), criterion(SortKey::Date, true)]);
        assert_eq!((request.uid, request.returns, request.key), (true, None, SearchKey::All));
        assert_eq!(request.charset.as_deref(), Some("UTF-8"));
        let Some(Command::Sort(_, request)) =
            accepted("SORT RETURN () (REVERSE DATE) utf-8 UNDELETED UNKEYWORD $Junk")
        else {
            panic!("not SORT")
        };
        assert!(request.returns.is_some_and(|it| it.all));
        for (name, expected) in [
            ("ORDEREDSUBJECT", ThreadAlgorithm::OrderedSubject),
            ("references", ThreadAlgorithm::References),
            ("REFS", ThreadAlgorithm::Refs),
        ] {
            let Some(Command::Thread(algorithm, request)) =
                accepted(&format!("THREAD {name} US-ASCII TEXT gewp"))
            else {
                panic!("not THREAD")
            };
            assert_eq!((algorithm, request.uid), (expected, false));
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for line in [
            "SORT (SUBJECT) UTF-8",
            "SORT () UTF-8 ALL",
            "SORT SUBJECT UTF-8 ALL",
            "SORT (REVERSE) UTF-8 ALL",
            "SORT (REVERSE REVERSE DATE) UTF-8 ALL",
            "SORT (SUBJECTS) UTF-8 ALL",
            "THREAD REFERENCES UTF-8",
            "THREAD JWZ UTF-8 ALL",
            "THREAD REFERENCES",
        ] {
            assert_eq!(accepted(line), None, "{line}");
        }
    }
}
