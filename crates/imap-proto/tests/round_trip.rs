//! Commands written as the grammar says come back as the value that was written.
#![allow(clippy::unwrap_used, missing_docs)]

use imap_proto::{
    Command, FetchItem, FetchModifiers, Header, MessageSet, Request, SearchKey, Section, SectionText,
    StatusItem, StoreMode, string,
};
use mail_types::{Flag, Flags, MailboxName, SeqSet, Uid, UidSet};
use proptest::prelude::*;

/// A value, and how it is written.
type Written<T> = (T, Vec<u8>);

#[track_caller]
fn comes_back(written: &[u8], command: &Command) -> Result<(), TestCaseError> {
    let line = [b"a ", written].concat();
    let shown = line.escape_ascii().to_string();
    let parsed = Request::parse(&line).map(|request| request.command);
    prop_assert_eq!(parsed.as_ref(), Ok(command), "{}", shown);
    Ok(())
}

fn uids() -> impl Strategy<Value = UidSet> {
    proptest::collection::btree_set(1_u32.., 1..9)
        .prop_map(|uids| UidSet::from_ascending(uids.into_iter().map(|uid| Uid::try_from(uid).unwrap())))
}

fn numbers() -> impl Strategy<Value = SeqSet> {
    proptest::collection::btree_set(1_u32..50, 1..9)
        .prop_map(|all| SeqSet::from_ascending(all.into_iter().map(|number| number.try_into().unwrap())))
}

fn message_set() -> impl Strategy<Value = Written<MessageSet>> {
    prop_oneof![
        numbers().prop_map(|set| (MessageSet::Seq(set.clone()), set.to_string().into_bytes())),
        uids().prop_map(|set| (MessageSet::Uid(set.clone()), set.to_string().into_bytes())),
        any::<bool>().prop_map(|uid| (MessageSet::Saved(uid), b"$".to_vec())),
    ]
}

/// Without NUL, which no string holds.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[ -~]{0,20}".prop_map(String::into_bytes), proptest::collection::vec(1_u8.., 0..20)]
}

fn plain_key() -> impl Strategy<Value = Written<SearchKey>> {
    let not = |key| SearchKey::Not(Box::new(key));
    let new = SearchKey::And(vec![SearchKey::Recent, not(SearchKey::Flag(Flag::Seen))]);
    proptest::sample::select(vec![
        (SearchKey::All, "ALL"),
        (SearchKey::Flag(Flag::Answered), "answered"),
        (not(SearchKey::Flag(Flag::Draft)), "UNDRAFT"),
        (SearchKey::Recent, "RECENT"),
        (new, "NEW"),
        (SearchKey::Keyword("$Junk".parse().unwrap()), "KEYWORD $Junk"),
        (SearchKey::Before(8433), "BEFORE 2-Feb-1993"),
        (SearchKey::SentSince(8433), "SENTSINCE \"2-Feb-1993\""),
        (SearchKey::Older(60), "OLDER 60"),
        (SearchKey::Larger(u64::MAX), "LARGER 18446744073709551615"),
        (SearchKey::ModSeq(620), "MODSEQ \"/flags/\\\\draft\" all 620"),
        (SearchKey::Saved, "$"),
    ])
    .prop_map(|(key, text)| (key, text.as_bytes().to_vec()))
}

fn key() -> impl Strategy<Value = Written<SearchKey>> {
    let text = |name: &'static [u8], octets: &[u8]| [name, b" ", &string(octets)].concat();
    let leaf = prop_oneof![
        plain_key(),
        octets().prop_map(move |it| (SearchKey::Body(it.clone()), text(b"BODY", &it))),
        octets().prop_map(move |it| (SearchKey::Address(Header::From, it.clone()), text(b"FROM", &it))),
        octets()
            .prop_map(move |it| (SearchKey::Header("X-Y".to_owned(), it.clone()), text(b"HEADER X-Y", &it))),
        uids().prop_map(|set| (SearchKey::Uid(set.clone()), format!("UID {set}").into_bytes())),
        numbers().prop_map(|set| (SearchKey::Seq(set.clone()), set.to_string().into_bytes())),
    ];
    leaf.prop_recursive(6, 30, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|(key, text)| (SearchKey::Not(Box::new(key)), [b"NOT ", text.as_slice()].concat())),
            inner.clone().prop_map(|(key, text)| {
                (SearchKey::Fuzzy(Box::new(key)), [b"FUZZY ", text.as_slice()].concat())
            }),
            (inner.clone(), inner.clone()).prop_map(|((one, left), (other, right))| {
                (
                    SearchKey::Or(Box::new(one), Box::new(other)),
                    [b"OR ", left.as_slice(), b" ", &right].concat(),
                )
            }),
            proptest::collection::vec(inner, 2..4).prop_map(|all| {
                let (keys, texts): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                (SearchKey::And(keys), [b"(", texts.join(&b' ').as_slice(), b")"].concat())
            }),
        ]
    })
}

fn section() -> impl Strategy<Value = Written<Section>> {
    let names = || proptest::collection::vec("[A-Za-z-]{1,12}", 1..4);
    let text = prop_oneof![
        Just((None, String::new())),
        Just((Some(SectionText::Header), "HEADER".to_owned())),
        Just((Some(SectionText::Text), "text".to_owned())),
        names().prop_map(|it| {
            let text = format!("HEADER.FIELDS ({})", it.join(" "));
            (Some(SectionText::HeaderFields(it)), text)
        }),
        names().prop_map(|it| {
            let text = format!("HEADER.FIELDS.NOT ({})", it.join(" "));
            (Some(SectionText::HeaderFieldsNot(it)), text)
        }),
    ];
    (proptest::collection::vec(1_u32.., 0..5), text).prop_map(|(part, (text, written))| {
        let mut path: Vec<String> = part.iter().map(u32::to_string).collect();
        path.extend((!written.is_empty()).then_some(written));
        (Section { part, text }, path.join(".").into_bytes())
    })
}

fn item() -> impl Strategy<Value = Written<FetchItem>> {
    let plain = proptest::sample::select(vec![
        (FetchItem::Uid, "UID"),
        (FetchItem::Flags, "flags"),
        (FetchItem::InternalDate, "INTERNALDATE"),
        (FetchItem::Size, "RFC822.SIZE"),
        (FetchItem::Envelope, "ENVELOPE"),
        (FetchItem::Body, "BODY"),
        (FetchItem::BodyStructure, "BODYSTRUCTURE"),
        (FetchItem::Rfc822Header, "RFC822.HEADER"),
        (FetchItem::ModSeq, "MODSEQ"),
        (FetchItem::Preview { lazy: true }, "PREVIEW (LAZY)"),
        (FetchItem::BinarySize(vec![1, 2]), "BINARY.SIZE[1.2]"),
    ]);
    let partial = proptest::option::of((any::<u32>(), 1_u32..));
    let body = (any::<bool>(), section(), partial).prop_map(|(peek, (section, text), partial)| {
        let name: &[u8] = if peek { b"BODY.PEEK[" } else { b"BODY[" };
        let range = partial.map(|(first, most)| format!("<{first}.{most}>")).unwrap_or_default();
        (FetchItem::Section { peek, section, partial }, [name, &text, b"]", range.as_bytes()].concat())
    });
    prop_oneof![plain.prop_map(|(item, text)| (item, text.as_bytes().to_vec())), body]
}

const fn uid(set: &MessageSet) -> &'static str {
    if set.is_uid() { "UID " } else { "" }
}

proptest! {
    #[test]
    fn fetch((set, numbers) in message_set(), items in proptest::collection::vec(item(), 1..5)) {
        let (items, texts): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let written = [uid(&set).as_bytes(), b"FETCH ", &numbers, b" (", &texts.join(&b' '), b")"].concat();
        comes_back(&written, &Command::Fetch(set, items, FetchModifiers::default()))?;
    }

    #[test]
    fn search(by_uid: bool, (key, text) in key()) {
        let written = [if by_uid { "UID SEARCH " } else { "SEARCH " }.as_bytes(), &text].concat();
        let Ok(Command::Search(request)) = Request::parse(&[b"a ", written.as_slice()].concat()).map(|it| it.command) else {
            return Err(TestCaseError::fail(written.escape_ascii().to_string()));
        };
        prop_assert_eq!((request.uid, request.key), (by_uid, key), "{}", written.escape_ascii().to_string());
    }

    #[test]
    fn store(
        (set, numbers) in message_set(),
        mode in proptest::sample::select(vec![(StoreMode::Add, "+"), (StoreMode::Remove, "-"), (StoreMode::Replace, "")]),
        silent: bool,
        unchanged_since in proptest::option::of(0..=i64::MAX as u64),
        system in 0_u8..32,
        keywords in proptest::collection::hash_set("[a-z$]{1,9}", 0..4),
    ) {
        let flags = Flags::from_parts(system, keywords.iter().map(|it| it.parse().unwrap()));
        let condition = unchanged_since.map(|it| format!(" (UNCHANGEDSINCE {it})")).unwrap_or_default();
        let (mode, sign) = mode;
        let end = if silent { ".SILENT" } else { "" };
        let numbers = String::from_utf8(numbers).unwrap();
        let written = format!("{}STORE {numbers}{condition} {sign}FLAGS{end} ({flags})", uid(&set));
        comes_back(written.as_bytes(), &Command::Store { set, unchanged_since, mode, silent, flags })?;
    }

    #[test]
    fn status_and_copy(name in "[ -.0-~é台&]{1,20}", (set, numbers) in message_set()) {
        let Ok(name) = name.parse::<MailboxName>() else { return Ok(()) };
        let mailbox = string(name.to_mutf7().as_bytes());
        let written = [b"STATUS ", mailbox.as_slice(), b" (MESSAGES DELETED-STORAGE DELETED)"].concat();
        let items = vec![StatusItem::Messages, StatusItem::DeletedStorage, StatusItem::Deleted];
        comes_back(&written, &Command::Status(name.clone(), items))?;
        let written = [uid(&set).as_bytes(), b"COPY ", &numbers, b" ", &mailbox].concat();
        comes_back(&written, &Command::Copy(set, name))?;
    }
}
