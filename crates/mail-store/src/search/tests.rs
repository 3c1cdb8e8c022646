//! Index and scan together find what a scan finds, whatever happens to the index.

use std::io::Write as _;
use std::path::Path;

use mail_message::fuzzy::{FuzzyNeedle, Nearness, SeenWords};
use mail_message::search::SearchedMessage;
use mail_types::{Address, MailboxName};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use proptest::sample::select;

use super::*;
use crate::index::MessageRow;
use crate::{Mailbox, Store, StoreError};

mod summaries;

/// What is hard to find or hard to ask for: letters that fold to others, borders, FTS5's language.
const PIECES: &[&str] = &[
    "a",
    "b",
    "B",
    "ab",
    "aB",
    " ",
    "k",
    "\u{212a}",
    "\u{17f}",
    "ß",
    "ẞ",
    "ss",
    "Σ",
    "σ",
    "ς",
    "ΟΔΟΣ",
    "é",
    "e\u{301}",
    "\u{301}",
    "İ",
    "ı",
    "i",
    "日本語",
    "日",
    "本",
    "語",
    "😀",
    "👩\u{200d}👧",
    "\"",
    "\"\"",
    "'",
    "*",
    "^",
    ":",
    "(",
    ")",
    "{",
    "-",
    "+",
    "AND",
    " OR ",
    "NOT",
    "NEAR(a b)",
    "header : ",
    "body",
    "\0",
    "\u{1f}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10ffff}",
    "\r\n",
    "\r\n ",
    "<b>",
    "</b>",
    "&uuml;",
    "=?utf-8?q?=C3=9F?=",
    "=?utf-8?b?zqM=?=",
    "=",
];

fn text(most: usize) -> impl Strategy<Value = String> {
    vec(select(PIECES), 0..most).prop_map(|pieces| pieces.concat())
}

fn message() -> impl Strategy<Value = String> {
    let plain = (text(4), text(12)).prop_map(|(subject, body)| format!("Subject: {subject}\r\n\r\n{body}"));
    let html = (text(4), text(12)).prop_map(|(subject, body)| {
        format!("Subject: {subject}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{body}</p>")
    });
    let parts = (text(3), text(8), text(3), text(8)).prop_map(|(name, body, subject, inner)| {
        format!(
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; name=\"{name}\"\r\n\r\n{body}\r\n\
             --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: {subject}\r\n\r\n{inner}\r\n--x--\r\n"
        )
    });
    prop_oneof![plain, html, parts, Just(String::new())]
}

fn row(uid: usize) -> MessageRow {
    MessageRow {
        uid: u32::try_from(uid).unwrap(),
        base: format!("{uid}.host"),
        info: String::new(),
        extra: String::new(),
        seconds: 1,
        offset_minutes: 0,
        wire: 1,
        mod_seq: 1,
        saved: None,
    }
}

fn texts_of(message: &str) -> texts::Texts {
    texts::Texts::of(&SearchedMessage::new(message.as_bytes().to_vec())).unwrap()
}

/// An index of these messages, with UIDs from 1.
fn indexed(home: &Path, messages: &[String]) -> (Search, Vec<MessageRow>) {
    std::fs::write(home.join("lock"), "").unwrap();
    let search = Search::new(home);
    let rows: Vec<MessageRow> = (1..=messages.len()).map(row).collect();
    let database = Database::open(home).unwrap();
    let add = |(row, message): (&MessageRow, &String)| {
        database.add(row, texts::Texts::of(&SearchedMessage::new(message.clone().into_bytes())).as_ref())
    };
    database.transaction(true, || rows.iter().zip(messages).try_for_each(add)).unwrap();
    (search, rows)
}

/// Searches a mailbox of these messages with `act`, and again, now that it remembers.
fn over<T: PartialEq + std::fmt::Debug>(rows: &[MessageRow], act: impl Fn(&Haystack<'_>) -> T) -> T {
    let remembered = Remembered::default();
    let (answer, again) =
        (over_remembered(&remembered, rows, &act), over_remembered(&remembered, rows, &act));
    assert_eq!(answer, again);
    answer
}

fn over_remembered<T>(remembered: &Remembered, rows: &[MessageRow], act: impl Fn(&Haystack<'_>) -> T) -> T {
    let uid_next = Uid::try_from(rows.last().map_or(1, |row| row.uid + 1)).unwrap();
    act(&Haystack { uid_next, messages: rows.len(), remembered, rows: &|| rows.to_vec() })
}

fn scan(message: &[u8], needle: &Needle, within: Within) -> bool {
    let message = SearchedMessage::new(message.to_vec());
    match within {
        Within::Body => message.body_holds(needle),
        Within::Text => message.text_holds(needle),
    }
}

#[track_caller]
fn check(search: &Search, rows: &[MessageRow], messages: &[String], needle: &str) {
    let wanted = Needle::new(needle);
    for within in [Within::Body, Within::Text] {
        let answer = over(rows, |mailbox| search.answer(mailbox, &wanted, within));
        for (row, message) in rows.iter().zip(messages) {
            let known = answer.holds(Uid::try_from(row.uid).unwrap());
            let scanned = scan(message.as_bytes(), &wanted, within);
            assert!(known.is_none_or(|it| it == scanned), "{needle:?} {within:?} in {message:?}: {known:?}");
            let is_known = needle.is_empty() || texts::is_beyond(wanted.mapped()) || known.is_some();
            let is_long = needle.chars().count() > LONGEST;
            assert!(is_known || is_long, "{needle:?} {within:?} is not known in {message:?}");
        }
    }
}

#[track_caller]
fn check_fuzzy(search: &Search, rows: &[MessageRow], messages: &[String], needle: &str) {
    let wanted = FuzzyNeedle::new(needle);
    for within in [Within::Body, Within::Text] {
        let answer = over(rows, |mailbox| search.fuzzy_answer(mailbox, &wanted, within));
        let exact = over(rows, |mailbox| search.answer(mailbox, wanted.exact(), within));
        let mut seen = SeenWords::default();
        for (row, message) in rows.iter().zip(messages) {
            let uid = Uid::try_from(row.uid).unwrap();
            let mut nearness = Nearness::new(&wanted, &mut seen);
            SearchedMessage::new(message.clone().into_bytes()).nears(within, &mut nearness);
            let (known, scanned) = (answer.score(uid), nearness.score());
            assert!(
                known.is_none_or(|it| it == scanned),
                "{needle:?} {within:?} in {message:?}: {known:?}, {scanned:?}"
            );
            assert_eq!(known.is_some(), exact.holds(uid).is_some(), "{needle:?} {within:?} in {message:?}");
            assert_eq!(scanned == Some(100), scan(message.as_bytes(), wanted.exact(), within));
        }
    }
}

fn fast_dir() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    tempfile::tempdir_in(if in_memory.is_dir() { in_memory } else { Path::new(".") }).unwrap()
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn what_the_index_knows_is_what_a_scan_finds(messages in vec(message(), 1..6), needles in vec(text(5), 24)) {
        let dir = fast_dir();
        let (search, rows) = indexed(dir.path(), &messages);
        for needle in needles.iter().map(String::as_str).chain(PIECES.iter().copied()) {
            check(&search, &rows, &messages, needle);
            check_fuzzy(&search, &rows, &messages, needle);
        }
        // Each text's own pieces, its ends included.
        for folded in messages.iter().map(|message| texts::Texts::of(&SearchedMessage::new(message.clone().into_bytes())).unwrap()) {
            let letters: Vec<char> = folded.body.chars().collect();
            for size in 1..5 {
                for needle in letters.windows(size).step_by(3) {
                    check(&search, &rows, &messages, &needle.iter().collect::<String>());
                }
            }
        }
    }
}

/// A word, and what typing errors and endings make of it.
fn word() -> impl Strategy<Value = String> {
    (
        select(&["invoice", "receive", "caf\u{e9}", "help", "order"][..]),
        0..4_usize,
        select(&["", "s", "ing"][..]),
    )
        .prop_map(|(word, left_out, ending)| {
            let all = word.chars().enumerate().filter(|(at, _)| left_out == 0 || *at != left_out);
            all.map(|(_, letter)| letter).chain(ending.chars()).collect()
        })
}

fn sentence() -> impl Strategy<Value = String> {
    vec(word(), 1..5).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn a_fuzzy_search_finds_by_the_index_what_a_scan_finds_and_all_that_an_exact_one_does(
        texts in vec((sentence(), sentence()), 1..8), needles in vec(sentence(), 8)
    ) {
        let dir = fast_dir();
        let messages: Vec<String> =
            texts.iter().map(|(subject, body)| format!("Subject: {subject}\r\n\r\n{body}\r\n")).collect();
        let (search, rows) = indexed(dir.path(), &messages);
        for needle in &needles {
            check_fuzzy(&search, &rows, &messages, needle);
        }
    }
}

#[test]
fn a_long_needle_is_looked_for_by_its_beginning() {
    let dir = fast_dir();
    let start = "x".repeat(LONGEST);
    let messages = [format!("\r\n{start}abc"), format!("\r\n{start}abd"), "\r\nxyz".to_owned()];
    let (search, rows) = indexed(dir.path(), &messages);
    let needle = format!("{start}abc");
    check(&search, &rows, &messages, &needle);
    let answer = over(&rows, |mailbox| search.answer(mailbox, &Needle::new(&needle), Within::Body));
    let known: Vec<_> = rows.iter().map(|row| answer.holds(Uid::try_from(row.uid).unwrap())).collect();
    assert_eq!(known, [None, None, Some(false)]);
}

#[test]
fn a_message_of_too_much_text_is_left_to_the_scan() {
    let dir = fast_dir();
    let messages = [format!("\r\n{}", "long ".repeat(500_000)), "\r\nshort".to_owned()];
    let (search, rows) = indexed(dir.path(), &messages);
    let answer = over(&rows, |mailbox| search.answer(mailbox, &Needle::new("ort"), Within::Body));
    assert_eq!(answer.holds(Uid::MIN), None);
    assert_eq!(answer.holds(Uid::try_from(2).unwrap()), Some(true));
}

#[test]
fn messages_are_found_among_those_of_other_mailboxes_however_many_lie_between() {
    let dir = fast_dir();
    std::fs::write(dir.path().join("lock"), "").unwrap();
    let database = Database::open(dir.path()).unwrap();
    let rows: Vec<MessageRow> = (0..400).map(|number| row(number * 7919 % 1000)).collect();
    let known = || rows.iter().filter(|row| row.uid % 5 != 0);
    database.transaction(true, || known().try_for_each(|row| database.add(row, None))).unwrap();
    let ones = rows.iter().step_by(50).cloned();
    let doubles = rows.iter().take(3).chain(rows.iter().take(3)).cloned();
    let mut others = rows.clone();
    others.iter_mut().for_each(|row| row.wire = 2);
    for asked in [rows.clone(), ones.collect(), doubles.collect(), others, Vec::new()] {
        let each: Vec<_> = asked.iter().map(|row| database.document(row).unwrap()).collect();
        assert_eq!(database.documents(&asked).unwrap(), each);
    }
}

#[test]
fn what_is_dropped_while_two_threads_look_is_not_taken_for_a_message_without_the_text() {
    let dir = fast_dir();
    let messages: Vec<String> = (0..10).map(|number| format!("\r\nwords {number}")).collect();
    let (search, rows) = indexed(dir.path(), &messages);
    let wanted = Needle::new("words");
    assert!(search.helper.lock().unwrap().is_none());
    check(&search, &rows, &messages, "words");
    assert!(search.helper.lock().unwrap().is_some(), "another thread has looked too");
    let other = Database::open(dir.path()).unwrap();
    let helper = std::cell::Cell::new(Some(search.helper.lock().unwrap()));
    let drop_last = || {
        let last = other.last_id().unwrap();
        other.transaction(true, || other.drop_document(last)).unwrap();
        drop(helper.take());
        rows.clone()
    };
    let remembered = Remembered::default();
    let uid_next = Uid::try_from(11).unwrap();
    let mailbox = Haystack { uid_next, messages: 10, remembered: &remembered, rows: &drop_last };
    let answer = search.answer(&mailbox, &wanted, Within::Text);
    let holds = |answer: &TextAnswer| {
        rows.iter().map(|row| answer.holds(Uid::try_from(row.uid).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(holds(&answer), [Some(true); 10], "as it was when the search began");
    let again = over_remembered(&remembered, &rows, |mailbox| search.answer(mailbox, &wanted, Within::Text));
    assert_eq!(holds(&again), [&[Some(true); 9][..], &[None]].concat());
}

#[test]
fn the_messages_in_the_index_are_looked_up_anew_when_one_came_or_went_there_or_in_the_mailbox() {
    let dir = fast_dir();
    let messages = ["\r\nwords", "\r\nother words", "\r\nmore words"].map(str::to_owned);
    let (search, rows) = indexed(dir.path(), &messages);
    let (wanted, remembered) = (Needle::new("words"), Remembered::default());
    let database = Database::open(dir.path()).unwrap();
    let known = |rows: &[MessageRow]| {
        let answer = over_remembered(&remembered, rows, |it| search.answer(it, &wanted, Within::Text));
        (1..=4).map(|uid| answer.holds(Uid::try_from(uid).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(known(&rows), [Some(true), Some(true), Some(true), None]);
    let fewer: Vec<_> = rows.iter().filter(|row| row.uid != 2).cloned().collect();
    assert_eq!(known(&fewer), [Some(true), None, Some(true), None], "expunged");
    let more: Vec<_> = rows.iter().cloned().chain([row(4)]).collect();
    assert_eq!(known(&more), [Some(true), Some(true), Some(true), None], "not yet in the index");
    database.transaction(true, || database.add(&row(4), Some(&texts_of("\r\nnothing")))).unwrap();
    assert_eq!(known(&more), [Some(true), Some(true), Some(true), Some(false)], "in the index");
    database.transaction(true, || database.drop_document(1)).unwrap();
    assert_eq!(known(&more), [None, Some(true), Some(true), Some(false)], "gone from the index");
}

#[test]
fn what_could_not_be_read_of_a_mailbox_is_not_remembered() {
    let dir = fast_dir();
    let (search, rows) = indexed(dir.path(), &["\r\nwords".to_owned()]);
    let (wanted, remembered) = (Needle::new("words"), Remembered::default());
    let uid_next = Uid::try_from(2).unwrap();
    let unread = Haystack { uid_next, messages: 1, remembered: &remembered, rows: &Vec::new };
    assert_eq!(search.answer(&unread, &wanted, Within::Text).holds(Uid::MIN), None);
    let answer = over_remembered(&remembered, &rows, |it| search.answer(it, &wanted, Within::Text));
    assert_eq!(answer.holds(Uid::MIN), Some(true));
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Arc<Store>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self { dir, store }
    }

    fn owner() -> Address {
        "bob@example.org".parse().unwrap()
    }

    fn account(&self) -> Arc<Account> {
        self.store.account(&Self::owner()).unwrap()
    }

    fn open(&self, name: &str) -> Arc<Mailbox> {
        self.account().open(&name.parse().unwrap()).unwrap()
    }

    fn deliver(&self, text: &str) {
        let mut delivery = self.store.deliver(&[Self::owner().into()]).unwrap();
        delivery.write_all(text.as_bytes()).unwrap();
        delivery.commit().into_iter().for_each(|result| result.unwrap());
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("example.org/bob/search.sqlite")
    }

    /// Does at once what the indexer does by and by.
    fn index(&self) {
        let account = self.account();
        let pass = || {
            let (database, mut pass) = account.search().begin_pass(&account)?;
            while pass.advance(&account, &database)? {}
            Ok::<_, StoreError>(())
        };
        // The indexer itself may be at it, and damage that shows only now costs one more try.
        let mut tries = (0..10).map(|_| pass());
        assert!(tries.any(|it| it.is_ok()), "the index doesn't come back");
    }

    fn holds(&self, mailbox: &str, needle: &str) -> Vec<Option<bool>> {
        let mailbox = self.open(mailbox);
        let answer = mailbox.find_text(&Needle::new(needle), Within::Text);
        mailbox.snapshot().uids().to_vec().iter().map(|uid| answer.holds(*uid)).collect()
    }

    fn documents(&self) -> Vec<i64> {
        Database::open(&self.dir.path().join("example.org/bob")).unwrap().dead(|_| false).unwrap()
    }
}

#[test]
fn moves_renames_flags_and_a_lost_index_have_nothing_indexed_again() {
    let all = Fixture::new();
    (0..3).for_each(|number| all.deliver(&format!("Subject: {number}\n\nsome words\n")));
    let inbox = all.open("INBOX");
    all.index();
    let documents = all.documents();
    assert_eq!(documents.len(), 3);
    inbox.move_to(&[Uid::MIN], &all.open("Archive")).unwrap();
    let seen = [mail_types::Flag::Seen].into_iter().collect();
    inbox.store(&[Uid::try_from(2).unwrap()], &crate::FlagChange::Add(seen)).unwrap();
    let name = |name: &str| name.parse::<MailboxName>().unwrap();
    all.account().rename(&name("Archive"), &name("Old")).unwrap();
    std::fs::remove_file(all.file().with_file_name("index.sqlite")).unwrap();
    assert_eq!(all.holds("INBOX", "some words"), [Some(true); 2]);
    assert_eq!(all.holds("Old", "Subject: 0"), [Some(true)]);
    all.index();
    assert_eq!(all.documents(), documents);
}

#[test]
fn what_is_expunged_is_dropped() {
    let all = Fixture::new();
    (0..3).for_each(|number| all.deliver(&format!("Subject: {number}\n\nwords\n")));
    let inbox = all.open("INBOX");
    all.index();
    inbox.expunge(&[Uid::MIN]).unwrap();
    *all.account().search().swept.lock().unwrap() = None;
    all.index();
    assert_eq!(all.documents().len(), 2);
    assert_eq!(all.holds("INBOX", "words"), [Some(true); 2]);
}

#[test]
fn an_index_that_was_deleted_cut_or_filled_with_noise_comes_back() {
    let all = Fixture::new();
    (0..40).for_each(|number| all.deliver(&format!("Subject: {number}\n\nwords of {number}.\n")));
    all.open("INBOX");
    let size = || usize::try_from(std::fs::metadata(all.file()).unwrap().len()).unwrap();
    let noise = |size: usize| (0..size).map(|it| (it * 7919 % 251) as u8).collect::<Vec<_>>();
    let cut = |size: u64| {
        std::fs::File::options().write(true).open(all.file()).unwrap().set_len(size).unwrap();
    };
    let harms: [&dyn Fn(); 5] = [
        &|| std::fs::remove_file(all.file()).unwrap(),
        &|| cut(0),
        &|| cut(5000),
        &|| std::fs::write(all.file(), noise(size())).unwrap(),
        &|| std::fs::write(all.file(), "short").unwrap(),
    ];
    for (number, harm) in harms.iter().enumerate() {
        all.index();
        let as_known = |known: &Option<bool>, is: bool| known.is_none_or(|it| it == is);
        assert_eq!(all.holds("INBOX", "of 7."), (0..40).map(|it| Some(it == 7)).collect::<Vec<_>>());
        harm();
        let known = all.holds("INBOX", "of 7.");
        assert!(
            known.iter().enumerate().all(|(it, known)| as_known(known, it == 7)),
            "harm {number}: {known:?}"
        );
    }
}

#[test]
fn an_index_damaged_at_random_never_says_what_is_not_so() {
    let all = Fixture::new();
    (0..40).for_each(|number| all.deliver(&format!("Subject: {number}\n\nwords of {number}.\n")));
    all.open("INBOX");
    for seed in 0..60 {
        all.index();
        let what = crate::tests::damage::damage(&all.file(), &mut fastrand::Rng::with_seed(seed));
        for needle in ["of 7.", "words", "of", "nowhere"] {
            let is_in = |number: usize| format!("words of {number}.").contains(needle);
            let known = all.holds("INBOX", needle);
            let wrong =
                known.iter().enumerate().find(|(it, known)| known.is_some_and(|known| known != is_in(*it)));
            assert_eq!(wrong, None, "seed {seed}, {what}: {needle}");
        }
    }
}
