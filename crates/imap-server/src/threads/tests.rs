use proptest::prelude::*;

use super::*;

/// `id<references "subject"@date`, of which all but the id may be missing; a subject that begins with `Re: ` is a reply's.
fn member(text: &str) -> Member {
    let (front, date) = text.split_once('@').unwrap_or((text, "0"));
    let (front, subject) = front.split_once('"').unwrap_or((front, ""));
    let (id, references) = front.split_once('<').unwrap_or((front, ""));
    let subject = subject.trim_end_matches('"');
    let base = subject.strip_prefix("Re: ");
    Member {
        id: id.trim().bytes().next().map(u64::from),
        references: references.trim().bytes().map(u64::from).collect(),
        subject: base.unwrap_or(subject).to_owned(),
        is_reply: base.is_some(),
        date: date.parse().unwrap(),
    }
}

fn members(texts: &[&str]) -> Vec<Member> {
    texts.iter().map(|text| member(text)).collect()
}

fn written(threads: &Threads) -> String {
    let mut out = Vec::new();
    threads.write(&mut out, |out, at| out.extend((at + 1).to_string().bytes()));
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn by_references(texts: &[&str], expected: &str) {
    assert_eq!(written(&Threads::by_references(&members(texts))), expected, "{texts:?}");
}

#[test]
fn replies_hang_below_what_they_reply_to() {
    by_references(&["a", "b<a", "c<ab", "d<a"], "(1 (2 3)(4))");
    by_references(&["c<ab", "b<a", "a"], "(3 2 1)");
    by_references(&["a", "b"], "(1)(2)");
}

/// RFC 5256 §4: the tree of the example beside the THREAD response.
#[test]
fn threads_are_written_as_the_standard_shows_them() {
    let mut children = vec![Vec::new(); 97];
    children[3] = vec![6];
    children[6] = vec![4, 44];
    children[4] = vec![23];
    children[44] = vec![7];
    children[7] = vec![96];
    let roots = vec![Root::Message(2), Root::Message(3), Root::Dummy(vec![3, 5])];
    let mut out = Vec::new();
    Threads { roots, children }.write(&mut out, |out, at| out.extend(at.to_string().bytes()));
    assert_eq!(out, b"(2)(3 6 (4 23)(44 7 96))((3 6 (4 23)(44 7 96))(5))");
}

#[test]
fn what_is_not_there_holds_its_children_together() {
    by_references(&["b<a", "c<a"], "((1)(2))");
    by_references(&["b<a"], "(1)");
    by_references(&["c<ab", "d<ab", "e<a"], "((1)(2)(3))");
    by_references(&["a", "c<ab", "d<ab"], "(1 (2)(3))");
}

#[test]
fn a_link_of_others_gives_way_to_the_message_itself() {
    // Another says that b follows a; b itself says that it follows x.
    by_references(&["c<ab", "a", "b<x", "x"], "(2)(4 3 1)");
    // Nobody else may change it then.
    by_references(&["b<x", "x", "a", "c<ab"], "(2 1 4)(3)");
    // A message that names no parent has none, whatever those before it said.
    by_references(&["c<ab", "a", "b"], "(2)(3 1)");
}

#[test]
fn no_link_closes_a_circle() {
    by_references(&["a<b", "b<a"], "(2 1)");
    by_references(&["a<a"], "(1)");
    by_references(&["a<c", "b<a", "c<b"], "(3 1 2)");
    by_references(&["x<aba"], "(1)");
}

#[test]
fn of_two_messages_with_one_id_the_first_has_it() {
    by_references(&["a", "a", "b<a"], "(1 3)(2)");
    by_references(&["", "", "b"], "(1)(2)(3)");
}

#[test]
fn siblings_and_threads_come_by_date_then_as_in_the_mailbox() {
    by_references(&["a@5", "b<a@9", "c<a@7", "d@1", "e@5"], "(4)(1 (3)(2))(5)");
    by_references(&["b<a@9", "c<a@2", "d@3"], "((2)(1))(3)");
}

#[test]
fn threads_of_one_subject_are_merged() {
    // A reply hangs below what is none.
    by_references(&["a\"s\"@1", "b\"Re: s\"@2"], "(1 2)");
    by_references(&["b\"Re: s\"@1", "a\"s\"@2"], "(2 1)");
    // Otherwise they are siblings.
    by_references(&["a\"s\"@1", "b\"s\"@2"], "((1)(2))");
    by_references(&["a\"Re: s\"@1", "b\"Re: s\"@2", "c\"s\"@3", "d\"s\"@4"], "((3 (1)(2))(4))");
    // What is missing takes all of them.
    by_references(&["b<a\"s\"@1", "c<a\"s\"@2", "d\"s\"@0"], "((3)(1)(2))");
    by_references(&["b<a\"s\"@1", "c<a\"s\"@2", "e<d\"s\"@3", "f<d\"x\"@4"], "((1)(2)(3)(4))");
    // No subject is none.
    by_references(&["a", "b"], "(1)(2)");
    // The thread's subject is that of its first message.
    by_references(&["a\"s\"", "b<a\"t\"", "c\"t\""], "(1 2)(3)");
}

#[test]
fn refs_looks_at_no_subject_and_puts_the_newest_thread_last() {
    let check = |texts: &[&str], expected: &str| {
        assert_eq!(written(&Threads::by_references_alone(&members(texts))), expected, "{texts:?}");
    };
    check(&["a\"s\"@1", "b\"Re: s\"@2"], "(1)(2)");
    check(&["a@1", "b@2", "c<a@3"], "(2)(1 3)");
    check(&["b<x@1", "c<x@4", "d@3"], "(3)((1)(2))");
}

#[test]
fn ordered_subject_puts_all_below_the_first() {
    let check = |texts: &[&str], expected: &str| {
        assert_eq!(written(&Threads::by_subject(&members(texts))), expected, "{texts:?}");
    };
    check(&["a\"t\"@3", "b\"s\"@2", "c\"Re: s\"@1", "d\"s\"@4"], "(3 (2)(4))(1)");
    check(&["a\"s\"@1", "b\"s\"@1"], "(1 2)");
    check(&["a@2", "b@1"], "(2 1)");
    check(&[], "");
}

#[test]
fn a_thread_may_be_as_deep_as_the_mailbox_is_long() {
    let member = |at: u64| Member { id: Some(at + 1), references: [at].into(), ..Member::default() };
    for order in [(0..200_000).collect::<Vec<_>>(), (0..200_000).rev().collect()] {
        let members: Vec<Member> = order.into_iter().map(member).collect();
        let threads = Threads::by_references(&members);
        assert_eq!(threads.roots.len(), 1);
        let out = written(&threads);
        assert_eq!(out.bytes().filter(|it| *it == b' ').count(), 199_999);
    }
}

proptest! {
    /// Whatever messages say of each other, each stands in the threads once.
    #[test]
    fn every_message_is_in_one_place(texts in proptest::collection::vec("[a-e]?<[a-e]{0,4}\"(Re: )?[s-t]?\"@[0-9]", 0..12)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let members = members(&texts);
        let all = [Threads::by_references(&members), Threads::by_references_alone(&members), Threads::by_subject(&members)];
        for threads in all {
            let mut seen = Vec::new();
            let mut out = Vec::new();
            threads.write(&mut out, |_, at| seen.push(at));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..members.len()).collect::<Vec<_>>());
            let (open, closed) = (out.iter().filter(|it| **it == b'(').count(), out.iter().filter(|it| **it == b')').count());
            prop_assert_eq!(open, closed);
        }
    }
}
