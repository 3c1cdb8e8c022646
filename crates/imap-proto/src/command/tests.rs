use super::*;
use crate::{AppendStep, Header, Section, SectionText, SortKey};

#[track_caller]
pub(crate) fn parsed(line: &str) -> Command {
    Request::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

/// A command without its tag; `None` if it is refused.
pub(crate) fn accepted(line: &str) -> Option<Command> {
    Request::parse(format!("a {line}").as_bytes()).ok().map(|request| request.command)
}

#[track_caller]
pub(crate) fn refused(line: &str) {
    let error = Request::parse(line.as_bytes()).unwrap_err();
    assert!(matches!(error, ParseError::Arguments { .. }), "{line}: {error:?}");
}

fn name(name: &str) -> MailboxName {
    name.parse().unwrap()
}

#[test]
fn commands_of_one_word_take_no_arguments() {
    assert_eq!(parsed("a noop"), Command::Noop);
    assert_eq!(parsed("a NOOP "), Command::Noop);
    assert_eq!(parsed("a LOGIN bob {2}\r\nx "), parsed("a LOGIN bob \"x \""));
    refused("a NOOP x");
    assert_eq!(parsed("a compress Deflate"), Command::Compress);
    refused("a COMPRESS GZIP");
}

/// RFC 5255 §3.5
#[test]
fn languages_are_ranges_in_any_number() {
    let language = |ranges: &[&str]| {
        Command::Language(ranges.iter().map(|range| LanguageRange::new(range).unwrap()).collect())
    };
    assert_eq!(parsed("A003 LANGUAGE"), language(&[]));
    assert_eq!(parsed("a LANGUAGE "), language(&[]));
    assert_eq!(parsed("C001 LANGUAGE DE"), language(&["DE"]));
    assert_eq!(parsed("D003 LANGUAGE \"default\""), language(&["default"]));
    assert_eq!(parsed("E001 LANGUAGE FR-CA {5}\r\nEN-CA *"), language(&["FR-CA", "EN-CA", "*"]));
    refused("a LANGUAGE (DE)");
}

#[test]
fn what_is_no_command_is_told_from_wrong_arguments() {
    assert_eq!(Request::parse(b""), Err(ParseError::NoTag));
    assert_eq!(Request::parse(b"* NOOP"), Err(ParseError::NoTag));
    assert!(matches!(Request::parse(b"a"), Err(ParseError::UnknownCommand(_))));
    assert!(matches!(Request::parse(b"a UID NOOP"), Err(ParseError::UnknownCommand(_))));
    refused("a SELECT");
    refused("a LOGIN bob");
    assert!(matches!(Request::parse(b"a SELECT a//b"), Err(ParseError::Name(_, MailboxNameError::Empty))));
}

#[test]
fn a_refusal_says_what_was_expected_and_where() {
    for (line, why) in [
        ("a NOOP x", "expected the end of the command at octet 8"),
        ("a SELECT", "expected a mailbox name at octet 9"),
        ("a LOGIN bob", "expected a space at octet 12"),
        ("a LANGUAGE pt_BR", "expected a language such as pt-BR at octet 12"),
        ("a LANGUAGE pt pt_BR", "expected a language such as pt-BR at octet 15"),
        ("a STATUS x (FOO)", "expected a STATUS item at octet 13"),
        ("a STATUS x (UNSEEN FOO)", "expected a STATUS item or \")\" at octet 20"),
        ("a CREATE x (USE (\\Sent FOO))", "expected a special use or \")\" at octet 24"),
        ("a LIST (FOO) \"\" *", "expected a LIST option or \")\" at octet 9"),
        ("a FETCH x FLAGS", "expected message numbers at octet 9"),
        ("a FETCH 1:2 FOO ", "expected a FETCH item at octet 13"),
        ("a UID FETCH 1 (FLAGS BODY[FOO])", "expected a FETCH item or \")\" at octet 26"),
        ("a STORE 1 +FLAGS (\\Recent)", "expected flags that a client may set at octet 18"),
        ("a SEARCH OR SEEN FOO", "expected a search key at octet 18"),
        ("a SEARCH SINCE 31-Feb-1994", "expected a date as 1-Feb-2026 at octet 16"),
        ("a UID SEARCH UID", "expected a space at octet 17"),
    ] {
        assert_eq!(Request::parse(line.as_bytes()).unwrap_err().to_string(), why, "{line}");
    }
}

#[test]
fn strings_are_atoms_quoted_or_literals() {
    let login = Command::Login { username: "b\"o\\b".to_owned(), password: Secret::new("x\r\ny".to_owned()) };
    assert_eq!(parsed("a LOGIN \"b\\\"o\\\\b\" {4}\r\nx\r\ny"), login);
    let select = |text| Command::Select(name(text), SelectParams::default());
    assert_eq!(parsed("a SELECT {5}\r\ninbox"), select("INBOX"));
    assert_eq!(parsed("a SELECT &U,BTFw-"), select("台北"));
    assert_eq!(parsed("a CREATE Lists/"), Command::Create(name("Lists"), Vec::new()));
    refused("a SELECT \"x");
    refused("a SELECT {9}\r\nx");
}

#[test]
fn id_takes_nil_and_an_empty_list() {
    assert_eq!(parsed("a ID NIL"), Command::Id(Vec::new()));
    assert_eq!(parsed("a ID ()"), Command::Id(Vec::new()));
    assert_eq!(
        parsed("a ID (\"name\" \"x\" \"version\" NIL)"),
        Command::Id(vec![(b"name".to_vec(), Some(b"x".to_vec())), (b"version".to_vec(), None)])
    );
}

#[test]
fn fetch_takes_every_item() {
    let Command::Fetch(MessageSet::Uid(set), items, _) = parsed(
        "a UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (From \"To\")]<0.100> BODY[1.2.MIME] RFC822.PEEK)",
    ) else {
        panic!("not UID FETCH");
    };
    assert_eq!(set.to_string(), "1:*");
    let section = |peek, part: &[u32], text, partial| FetchItem::Section {
        peek,
        section: Section { part: part.to_vec(), text },
        partial,
    };
    let fields = SectionText::HeaderFields(vec!["From".to_owned(), "To".to_owned()]);
    assert_eq!(
        items,
        [
            FetchItem::Uid,
            FetchItem::Flags,
            section(true, &[], Some(fields), Some((0, 100))),
            section(false, &[1, 2], Some(SectionText::Mime), None),
            section(true, &[], None, None),
        ]
    );
    for line in ["a FETCH 1 FULL", "a FETCH 1 RFC822.SIZE", "a FETCH 2:4 (BODY BODYSTRUCTURE)"] {
        parsed(line);
    }
    for line in ["a FETCH 0 FLAGS", "a FETCH 1 BODY[MIME]", "a FETCH 1 BODY[]<0.0>", "a FETCH 1 ()"] {
        refused(line);
    }
}

#[test]
fn a_section_is_answered_under_the_name_it_was_asked_by() {
    for section in ["BODY[]", "BODY[1.2]", "BODY[TEXT]", "BODY[4.HEADER.FIELDS (From X-Y)]", "BODY[1.MIME]"] {
        let Command::Fetch(_, items, _) = parsed(&format!("a FETCH 1 {section}")) else { panic!("FETCH") };
        let [FetchItem::Section { section: found, .. }] = items.as_slice() else { panic!("section") };
        assert_eq!(found.response_name(None), section);
    }
}

#[test]
fn search_keys_nest_to_a_limit() {
    let Command::Search(search) =
        parsed("a SEARCH CHARSET UTF-8 OR (SEEN LARGER 5) NOT SUBJECT {2}\r\nhi 1:3")
    else {
        panic!("SEARCH")
    };
    assert_eq!(search.charset.as_deref(), Some("UTF-8"));
    assert!(matches!(search.key, SearchKey::And(keys) if keys.len() == 2));
    parsed("a UID SEARCH SINCE 1-Feb-1994 NOT FROM \"Smith\" HEADER X-TUID \"\" UNKEYWORD $Junk");
    let too_deep = |line: String| Request::parse(line.as_bytes()).unwrap_err();
    let expected = ParseError::TooDeep(Tag::new(b"a").unwrap());
    assert_eq!(too_deep(format!("a SEARCH {}ALL{}", "(".repeat(200), ")".repeat(200))), expected);
    assert_eq!(too_deep(format!("a SEARCH {}ALL", "NOT ".repeat(20_000))), expected);
    parsed(&format!("a SEARCH {}ALL", "NOT ".repeat(100)));
    refused("a SEARCH");
    refused("a SEARCH SINCE 31-Feb-1994");
}

#[test]
fn search_says_what_is_to_be_returned() {
    let returns = |line: &str| {
        let Command::Search(search) = parsed(line) else { panic!("SEARCH") };
        search.returns
    };
    assert_eq!(returns("a SEARCH ALL"), None);
    let all = SearchReturns { all: true, ..SearchReturns::default() };
    assert_eq!(returns("a SEARCH RETURN () ALL"), Some(all));
    let save = SearchReturns { min: true, save: true, ..SearchReturns::default() };
    assert_eq!(returns("a UID SEARCH return (save MIN) CHARSET UTF-8 UID $ $"), Some(save));
    for set in ["a FETCH $ FLAGS", "a UID STORE $ FLAGS ()", "a UID EXPUNGE $", "a MOVE $ Trash"] {
        parsed(set);
    }
    refused("a SEARCH RETURN (NONSENSE) ALL");
    refused("a FETCH $,1 FLAGS");
}

/// RFC 6203 §3 to §6: the standard's own examples.
#[test]
fn fuzzy_stands_before_any_key_and_asks_for_relevancy() {
    let of = |line: &str| {
        let command = parsed(line);
        let (Command::Search(search) | Command::Sort(_, search)) = command else { panic!("{line}") };
        (search.key, search.returns)
    };
    let subject = |text: &str| SearchKey::Address(Header::Subject, text.into());
    let fuzzy = |key| SearchKey::Fuzzy(Box::new(key));
    assert_eq!(of("A1 SEARCH FUZZY (SUBJECT \"IMAP break\")").0, fuzzy(subject("IMAP break")));
    let from = SearchKey::Address(Header::From, "user@example.com".into());
    assert_eq!(
        of("A2 SEARCH FUZZY SUBJECT work FROM user@example.com").0,
        SearchKey::And(vec![fuzzy(subject("work")), from])
    );
    let returns = SearchReturns { relevancy: true, all: true, ..SearchReturns::default() };
    assert_eq!(of("B1 SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT \"Helo\"").1, Some(returns));
    parsed("a SEARCH FUZZY (FROM \"Dave\" SINCE 21-Jan-2009 BEFORE 24-Jan-2009)");
    parsed("a SEARCH FUZZY (LARGER 900000 SMALLER 1100000)");
    parsed("a SEARCH SUBJECT \"xyz\" FUZZY ANSWERED");
    let line = "C2 SORT RETURN (RELEVANCY ALL) (REVERSE RELEVANCY) UTF-8 FUZZY TEXT \"Helo\"";
    let Command::Sort(criteria, _) = parsed(line) else { panic!("SORT") };
    assert_eq!(criteria, [SortCriterion { key: SortKey::Relevancy, reverse: true }]);
    let returns = of("C3 SORT RETURN (PARTIAL 1:10) (RELEVANCY) UTF-8 FUZZY TEXT \"World\"").1.unwrap();
    assert!(returns.partial.is_some() && !returns.relevancy);
    for line in ["a SEARCH FUZZY", "a SEARCH FUZZY ()", "a SEARCH RETURN (RELEVANCE) ALL"] {
        refused(line);
    }
}

#[test]
fn append_takes_flags_and_a_date() {
    let Command::Append(AppendRequest { script, replaces: None, .. }) =
        parsed("a APPEND Drafts (\\Seen) \" 7-Feb-1994 21:52:25 -0800\" ")
    else {
        panic!("APPEND")
    };
    let [AppendStep::Begin { flags, date }] = script.steps.as_slice() else { panic!("no message") };
    assert_eq!(flags.to_string(), "\\Seen");
    assert_eq!(crate::internal_date(date.unwrap()), "\"07-Feb-1994 21:52:25 -0800\"");
}

#[test]
fn replace_names_one_message() {
    for line in ["a REPLACE 4 Drafts (\\Seen) ", "a UID REPLACE * Drafts CATENATE (URL /x/;UID=1)"] {
        let Command::Append(AppendRequest { replaces, .. }) = parsed(line) else { panic!("{line}") };
        assert_eq!(replaces.unwrap().is_uid(), line.contains("UID "), "{line}");
    }
    refused("a REPLACE 4:5 Drafts ");
    refused("a REPLACE Drafts ");
}

#[test]
fn binary_names_parts_only() {
    for item in ["BINARY[]", "BINARY.PEEK[1.2]<0.100>", "BINARY.SIZE[3]", "binary[2]"] {
        parsed(&format!("a FETCH 1 {item}"));
    }
    for item in ["BINARY", "BINARY[HEADER]", "BINARY[1.MIME]", "BINARY.SIZE[1]<0.1>", "BINARY.PEEK.SIZE[1]"] {
        refused(&format!("a FETCH 1 {item}"));
    }
}
