//! What commands say of mod-sequences: CONDSTORE and QRESYNC. RFC 7162 §7.

use mail_types::{Bound, Number, NumberSet, SeqSet, UidSet, UidValidity};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::char;
use nom::combinator::{map, map_opt, opt, value, verify};
use nom::sequence::{delimited, preceded};

use crate::expected::Noun;
use crate::grammar::{Parsed, decimal, list1, number, sequence_set, sp, string};
use crate::search::{PartialRange, partial_range};

/// `select-params`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectParams {
    /// `CONDSTORE`
    pub condstore: bool,
    /// `QRESYNC`
    pub qresync: Option<Qresync>,
}

/// What a client knows of a mailbox from an earlier connection. RFC 7162 §3.2.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qresync {
    /// The generation of the UIDs that it knows.
    pub uid_validity: UidValidity,
    /// Up to here it knows all that happened.
    pub mod_seq: u64,
    /// The UIDs that it knows; all that were ever given when `None`.
    pub known: Option<UidSet>,
    /// Some sequence numbers and the UIDs that they had, pair by pair, ascending.
    pub sample: Option<(SeqSet, UidSet)>,
}

/// `fetch-modifiers`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchModifiers {
    /// `CHANGEDSINCE`: only messages with a higher mod-sequence.
    pub changed_since: Option<u64>,
    /// `VANISHED`: which of the messages named are gone, too.
    pub vanished: bool,
    /// `PARTIAL`: only some of the messages named, by their position. RFC 9394 §3.3.
    pub partial: Option<PartialRange>,
}

/// `mod-sequence-valzer`, of 63 bits. 0 is let pass everywhere: iOS sends `CHANGEDSINCE 0`.
fn mod_seq(input: &[u8]) -> Parsed<'_, u64> {
    verify(decimal::<u64>, |it| i64::try_from(*it).is_ok()).parse(input)
}

/// `"(" select-param *(SP select-param) ")"`
pub(crate) fn select_params(input: &[u8]) -> Parsed<'_, SelectParams> {
    let param = alt((
        map(qresync, |qresync| SelectParams { condstore: true, qresync: Some(qresync) }),
        value(SelectParams { condstore: true, qresync: None }, tag_no_case("CONDSTORE")),
    ));
    map(list1(Noun::SelectParameter, param), |params| SelectParams {
        condstore: true,
        qresync: params.into_iter().find_map(|param| param.qresync),
    })
    .parse(input)
}

/// `"QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"`
fn qresync(input: &[u8]) -> Parsed<'_, Qresync> {
    let uid_validity = map_opt(number, |number| UidValidity::try_from(number).ok());
    let known = opt(preceded(sp, without_star));
    let sample = opt(preceded(sp, seq_match_data));
    let arguments = (uid_validity, preceded(sp, mod_seq), known, sample);
    let list = delimited((char('('), opt(sp)), arguments, (opt(sp), char(')')));
    map(preceded((tag_no_case("QRESYNC"), sp), list), |(uid_validity, mod_seq, known, sample)| Qresync {
        uid_validity,
        mod_seq,
        known,
        sample,
    })
    .parse(input)
}

/// `seq-match-data = "(" known-sequence-set SP known-uid-set ")"`: both ascend, and pair.
fn seq_match_data(input: &[u8]) -> Parsed<'_, (SeqSet, UidSet)> {
    let sets = (without_star, preceded(sp, without_star));
    let pairs = |(numbers, uids): &(SeqSet, UidSet)| {
        let count = ascending_count(numbers);
        count.is_some() && count == ascending_count(uids)
    };
    verify(delimited(char('('), sets, char(')')), pairs).parse(input)
}

fn without_star<T: Number>(input: &[u8]) -> Parsed<'_, NumberSet<T>> {
    let has_star = |(a, b): &(Bound<T>, Bound<T>)| matches!((a, b), (Bound::Star, _) | (_, Bound::Star));
    verify(sequence_set, |set: &NumberSet<T>| !set.ranges().iter().any(has_star)).parse(input)
}

/// How many numbers a set without `*` has; `None` if they don't ascend.
fn ascending_count<T: Number>(set: &NumberSet<T>) -> Option<u64> {
    let (mut last, mut count) = (0, 0);
    for range in set.ranges() {
        let (Bound::Number(first), Bound::Number(end)) = range else { return None };
        if first.value() <= last || end < first {
            return None;
        }
        count += u64::from(end.value() - first.value()) + 1;
        last = end.value();
    }
    Some(count)
}

/// `"(" fetch-modifier *(SP fetch-modifier) ")"`. RFC 4466 §2.4.
pub(crate) fn fetch_modifiers(input: &[u8]) -> Parsed<'_, FetchModifiers> {
    let none = FetchModifiers::default();
    let changed_since = preceded((tag_no_case("CHANGEDSINCE"), sp), mod_seq);
    let partial = preceded((tag_no_case("PARTIAL"), sp), partial_range);
    let modifier = alt((
        map(changed_since, move |mod_seq| FetchModifiers { changed_since: Some(mod_seq), ..none }),
        map(partial, move |range| FetchModifiers { partial: Some(range), ..none }),
        value(FetchModifiers { vanished: true, ..none }, tag_no_case("VANISHED")),
    ));
    map(list1(Noun::FetchModifier, modifier), |modifiers| FetchModifiers {
        changed_since: modifiers.iter().find_map(|it| it.changed_since),
        vanished: modifiers.iter().any(|it| it.vanished),
        partial: modifiers.iter().find_map(|it| it.partial),
    })
    .parse(input)
}

/// `"(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")"`: a modifier of STORE.
pub(crate) fn store_modifiers(input: &[u8]) -> Parsed<'_, u64> {
    let unchanged_since = preceded((tag_no_case("UNCHANGEDSINCE"), sp), mod_seq);
    delimited((char('('), opt(sp)), unchanged_since, (opt(sp), char(')'))).parse(input)
}

/// What follows `MODSEQ` in SEARCH: `[entry-name SP entry-type-req SP] mod-sequence-valzer`. A message has one mod-sequence for
/// all its flags, so which is meant means nothing (RFC 7162 §3.1.5).
pub(crate) fn search_mod_seq(input: &[u8]) -> Parsed<'_, u64> {
    let name = verify(string, |name: &[u8]| name.starts_with(b"/flags/"));
    let kind = alt((tag_no_case("priv"), tag_no_case("shared"), tag_no_case("all")));
    preceded(opt((name, sp, kind, sp)), mod_seq).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::{parsed, refused};
    use crate::{Command, SearchKey, StatusItem};

    #[track_caller]
    fn select(input: &str) -> Option<SelectParams> {
        select_params(input.as_bytes()).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, params)| params)
    }

    #[test]
    fn select_takes_condstore_and_qresync() {
        assert_eq!(select("(condstore)"), Some(SelectParams { condstore: true, qresync: None }));
        let all = select("(QRESYNC (67890007 90060115194045000 1:29997 (5000,9990:9999 15000,29970:29979)))");
        let qresync = all.unwrap().qresync.unwrap();
        assert_eq!(qresync.uid_validity.value(), 67_890_007);
        assert_eq!(
            (qresync.mod_seq, qresync.known.unwrap().to_string()),
            (90_060_115_194_045_000, "1:29997".to_owned())
        );
        assert_eq!(qresync.sample.unwrap().1.to_string(), "15000,29970:29979");
        for short in
            ["(QRESYNC (1 2))", "(QRESYNC (1 2 3))", "(QRESYNC (1 2 (3 4)))", "(CONDSTORE QRESYNC (1 2))"]
        {
            assert!(select(short).unwrap().qresync.is_some(), "{short}");
        }
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for refused in [
            "()",
            "(NONSENSE)",
            "(QRESYNC)",
            "(QRESYNC (0 1))",
            "(QRESYNC (1 9223372036854775808))",
            "(QRESYNC (1 2 1:*))",
            "(QRESYNC (1 2 1:9 (1:2 3)))",
            "(QRESYNC (1 2 1:9 (2,1 3,4)))",
            "(QRESYNC (1 2 1:9 (1 *)))",
        ] {
            assert_eq!(select(refused), None, "{refused}");
        }
    }

    #[test]
    fn fetch_store_and_search_take_mod_sequences() {
        let (_, modifiers) = fetch_modifiers(b"(CHANGEDSINCE 0 VANISHED)").unwrap();
        assert_eq!(modifiers, FetchModifiers { changed_since: Some(0), vanished: true, partial: None });
        assert!(fetch_modifiers(b"(CHANGEDSINCE)").is_err());
        assert_eq!(store_modifiers(b"(unchangedsince 12)").unwrap().1, 12);
        assert!(store_modifiers(b"(UNCHANGEDSINCE -1)").is_err());
        assert_eq!(search_mod_seq(b"\"/flags/\\\\draft\" all 620162338").unwrap().1, 620_162_338);
        assert_eq!(search_mod_seq(b"5").unwrap().1, 5);
        assert!(search_mod_seq(b"\"/other\" all 5").is_err());
        assert!(search_mod_seq(b"\"/flags/x\" 5").is_err());
    }

    /// RFC 7162 §7.
    #[test]
    fn mod_sequences_stand_in_their_places() {
        let Command::Fetch(_, items, modifiers) =
            parsed("a UID FETCH 1:* (UID FLAGS MODSEQ) (CHANGEDSINCE 12345 VANISHED)")
        else {
            panic!("FETCH")
        };
        assert_eq!((items.len(), modifiers.changed_since, modifiers.vanished), (3, Some(12345), true));
        let Command::Store { unchanged_since, silent, .. } =
            parsed("a STORE 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted)")
        else {
            panic!("STORE")
        };
        assert_eq!((unchanged_since, silent), (Some(320_162_338), true));
        let search = "a SEARCH RETURN (ALL) OR NOT MODSEQ 7 MODSEQ \"/flags/\\\\draft\" all 620162338";
        let Command::Search(search) = parsed(search) else { panic!("SEARCH") };
        assert!(search.key.any(&|key| *key == SearchKey::ModSeq(620_162_338)));
        assert_eq!(
            parsed("a STATUS x (UIDNEXT HIGHESTMODSEQ)"),
            Command::Status("x".parse().unwrap(), vec![StatusItem::UidNext, StatusItem::HighestModSeq])
        );
        let Command::Examine(_, params) = parsed("a EXAMINE \"a b\" (CONDSTORE)") else { panic!("EXAMINE") };
        assert!(params.condstore);
        refused("a SELECT x CONDSTORE");
        refused("a FETCH 1 FLAGS (NONSENSE)");
        refused("a STORE 1 (UNCHANGEDSINCE x) FLAGS ()");
    }
}
