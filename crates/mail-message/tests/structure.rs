//! Every entity's bytes lie where the structure says, on sound mail, on odd mail and on noise.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use mail_message::{BodyStructure, Content};
use proptest::prelude::*;

/// The tree as `type/subtype[body]`, a multipart's parts in parentheses.
fn show(message: &[u8], part: &BodyStructure) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = format!("{}/{}", text(&part.media_type), text(&part.subtype));
    match &part.content {
        Content::Basic => format!("{name}[{}]", text(&message[part.body.clone()])),
        Content::Text { lines } => format!("{name}[{}]{lines}", text(&message[part.body.clone()])),
        Content::Message { structure, .. } => format!("{name}<{}>", show(message, structure)),
        Content::Multipart { parts } => {
            let parts: Vec<_> = parts.iter().map(|part| show(message, part)).collect();
            format!("{name}({})", parts.join(" "))
        }
    }
}

#[track_caller]
fn check(message: &str, expected: &str) {
    assert_eq!(show(message.as_bytes(), &BodyStructure::parse(message.as_bytes())), expected, "{message:?}");
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";

#[test]
fn single_parts_default_to_plain_text() {
    check("Subject: x\r\n\r\na\r\nb\r\n", "text/plain[a\r\nb\r\n]2");
    check("Subject: x", "text/plain[]0");
    check("", "text/plain[]0");
    check("Content-Type: nonsense\r\n\r\na", "text/plain[a]0");
    check("Content-Type: image/png\r\n\r\na", "image/png[a]");
}

#[test]
fn the_line_end_before_a_boundary_belongs_to_it() {
    check(
        &format!("{MIXED}pre\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\r\n--b--\r\nepilogue"),
        "multipart/mixed(text/plain[one]0 text/plain[two\r\n]1)",
    );
    check(&format!("{MIXED}--b\n\none\n--b--\n"), "multipart/mixed(text/plain[one]0)");
}

#[test]
fn the_line_end_of_a_header_before_a_boundary_belongs_to_the_boundary() {
    let message = format!("{MIXED}--b\r\nX: y\r\n--b\r\nX: y\r\n\r\n--b\r\n\r\n--b--\r\n");
    let structure = BodyStructure::parse(message.as_bytes());
    let header = |number: u32| &message[structure.part(&[number]).unwrap().header.clone()];
    assert_eq!((header(1), header(2), header(3)), ("X: y", "X: y\r\n", ""));
}

#[test]
fn what_ends_with_its_header_has_an_empty_body() {
    for (kind, expected) in [
        ("message/rfc822", "message/rfc822<text/plain[]0>"),
        ("multipart/mixed; boundary=i", "multipart/mixed(text/plain[]0)"),
        ("image/png", "image/png[]"),
    ] {
        check(
            &format!("{MIXED}--b\r\nContent-Type: {kind}\r\n--b--\r\n"),
            &format!("multipart/mixed({expected})"),
        );
    }
}

#[test]
fn odd_multiparts_still_have_parts() {
    check(&format!("{MIXED}--b\r\n\r\nno end"), "multipart/mixed(text/plain[no end]0)");
    check(&format!("{MIXED}--b\r\n\r\n1\r\n--b"), "multipart/mixed(text/plain[1]0)");
    check(&format!("{MIXED}nothing"), "multipart/mixed(text/plain[]0)");
    check(&format!("{MIXED}--b--\r\n"), "multipart/mixed(text/plain[]0)");
    check(&format!("{MIXED}--b\r\nX: y\r\n--b--\r\n"), "multipart/mixed(text/plain[]0)");
    check("Content-Type: multipart/mixed\r\n\r\na", "text/plain[a]0");
}

#[test]
fn an_outer_boundary_ends_the_inner_parts() {
    check(
        &format!(
            "{MIXED}--b\r\nContent-Type: multipart/alternative; boundary=\"b2 x\"\r\n\r\n--b2 x\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\n"
        ),
        "multipart/mixed(multipart/alternative(text/plain[1]0) text/plain[2]0)",
    );
}

#[test]
fn messages_are_read() {
    check("Content-Type: message/rfc822\r\n\r\nSubject: i\r\n\r\nx", "message/rfc822<text/plain[x]0>");
    check(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==",
        "message/rfc822<text/plain[]0>",
    );
    check(
        "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: i\r\n\r\nx\r\n--d--\r\n",
        "multipart/digest(message/rfc822<text/plain[x]0>)",
    );
}

#[test]
fn parts_are_found_by_their_numbers() {
    let message = format!(
        "{MIXED}--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninner\r\n--b--\r\n"
    );
    let structure = BodyStructure::parse(message.as_bytes());
    let body = |number: &[u32]| structure.part(number).map(|part| &message[part.body.clone()]);
    assert_eq!(structure.part(&[]), Some(&structure));
    assert_eq!(body(&[1]), Some("one"));
    assert_eq!(body(&[2]), Some("Subject: in\r\n\r\ninner"));
    assert_eq!(body(&[2, 1]), Some("inner"));
    for missing in [&[0][..], &[3], &[1, 1], &[2, 0], &[2, 2], &[2, 1, 1]] {
        assert_eq!(body(missing), None, "{missing:?}");
    }
    let inner = structure.part(&[2]).and_then(BodyStructure::message).unwrap();
    assert_eq!(&message[inner.header.clone()], "Subject: in\r\n\r\n");
    assert_eq!(structure.message(), None);
}

#[test]
fn parts_and_depth_are_bounded() {
    let many = format!("{MIXED}{}", "--b\r\n\r\nx\r\n".repeat(100_000));
    let Content::Multipart { parts } = BodyStructure::parse(many.as_bytes()).content else { panic!() };
    assert!(parts.len() <= 10_000);
    let deep: String = (0..10_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=\"{n}.\"\r\n\r\n--{n}.\r\n"))
        .collect();
    BodyStructure::parse(deep.as_bytes());
    BodyStructure::parse("Content-Type: message/rfc822\r\n\r\n".repeat(10_000).as_bytes());
}

fn lies_within(part: &BodyStructure, length: usize) {
    assert!(part.header.start <= part.header.end && part.header.end <= part.body.start);
    assert!(part.body.start <= part.body.end && part.body.end <= length);
    let inside = |child: &BodyStructure| {
        assert!(
            child.header.start >= part.body.start && child.body.end <= part.body.end.max(child.body.start)
        );
        lies_within(child, length);
    };
    match &part.content {
        Content::Multipart { parts } => parts.iter().for_each(inside),
        Content::Message { structure, .. } => lies_within(structure, length),
        Content::Basic | Content::Text { .. } => {}
    }
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        lies_within(&BodyStructure::parse(&bytes), bytes.len());
    }

    #[test]
    fn shuffled_mail_never_panics(lines in proptest::collection::vec(prop_oneof![
        Just("--b\r\n"), Just("--c\r\n"), Just("--b--\r\n"), Just("--c--\n"), Just("\r\n"), Just("x\n"), Just("\r"),
        Just("Content-Type: multipart/mixed; boundary=b\r\n"), Just("Content-Type: multipart/digest; boundary=c\r\n"),
        Just("Content-Type: message/rfc822\r\n"), Just("Content-Transfer-Encoding: base64\r\n"),
    ], 0..40)) {
        let message = lines.concat();
        lies_within(&BodyStructure::parse(message.as_bytes()), message.len());
    }
}
