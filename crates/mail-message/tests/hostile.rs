//! Whatever the octets, reading them neither panics nor takes more than linear time, stack or memory.
//!
//! A quadratic reading of what is here would take minutes for each: no clock is needed to see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use mail_message::search::{Needle, SearchedMessage};
use mail_message::{BodyStructure, Content, Envelope, header};
use proptest::prelude::*;

/// Everything that is read of a message.
fn read_all(message: &[u8]) {
    Envelope::parse(message);
    let fields: usize = header::fields(message).map(|field| field.range.len()).sum();
    assert!(fields <= header::header_end(message));
    assert!(header::select(message, |field| field.is("to")).len() <= message.len());
    assert_eq!(header::read(&mut &*message).unwrap(), message[..header::header_end(message)]);
    let searched = SearchedMessage::new(message.to_vec());
    searched.sent_day();
    for needle in ["plan", "kiss", "gr\u{fc}n"].map(Needle::new) {
        searched.header_holds("Subject", &needle);
        searched.body_holds(&needle);
        searched.text_holds(&needle);
    }
}

const LENGTH: usize = 100_000;

/// A pattern again and again, as the value of each field with a grammar and as a body of each encoding.
fn read_many(pattern: &str) {
    let many = pattern.repeat(LENGTH / pattern.len());
    for name in
        ["From", "Subject", "Date", "Content-Type: a/b;x", "Content-Disposition: a;x", "Content-Language"]
    {
        read_all(format!("{name}: {many}\r\n\r\nbody").as_bytes());
    }
    for encoding in ["7bit", "base64", "quoted-printable"] {
        read_all(
            format!("Content-Type: text/html\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{many}")
                .as_bytes(),
        );
    }
    read_all(many.as_bytes());
}

#[test]
fn marks_of_addresses() {
    for pattern in
        ["(", "<", "<@", "<@a,", "a@", "@", "a ", ",", ";", "g:;", "\"", "\\", "<a@b", "a@b <", "[", "(a)<"]
    {
        read_many(pattern);
    }
}

#[test]
fn marks_of_fields() {
    for pattern in [
        "=?",
        "=?a?q?",
        "=?utf-8?q?=C3?= ",
        ";",
        ";a*0=b",
        ";a*1=b",
        "=",
        ";a=\"",
        " \r\n ",
        "\r\n ",
        "\r",
        "\0",
        ":",
        "\n",
        "a:\r\n",
    ] {
        read_many(pattern);
    }
}

#[test]
fn marks_of_bodies() {
    for pattern in
        ["<", "<!--", "&", "&#x41;", "<style>", "=3D", "=\r\n", "--\r\n", "\u{212a}", "\u{e9}", "kis"]
    {
        read_many(pattern);
    }
}

#[test]
fn nested_and_endless_parts() {
    let boundary =
        |n: usize| format!("Content-Type: multipart/mixed; boundary=\"{}\"\r\n\r\n", "b".repeat(n % 500));
    read_all((0..3000).map(boundary).collect::<String>().as_bytes());
    let opened = |n: usize| format!("Content-Type: multipart/mixed; boundary=\"{n}.\"\r\n\r\n--{n}.\r\n");
    read_all((0..5_000).map(opened).collect::<String>().as_bytes());
    read_all("Content-Type: message/rfc822\r\n\r\n".repeat(5_000).as_bytes());
    read_all(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            .repeat(2_000)
            .as_bytes(),
    );
    let head = "Content-Type: multipart/digest; boundary=b\r\n\r\n";
    for part in [
        "--b\r\n",
        "--b\r\n\r\n",
        "--b\r\n\r\nTo: a,b,c\r\n\r\n",
        "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
    ] {
        read_all(format!("{head}{}", part.repeat(LENGTH / part.len())).as_bytes());
    }
}

/// What takes memory: parts, addresses and parameters.
fn listed(part: &BodyStructure) -> usize {
    let inner = match &part.content {
        Content::Multipart { parts } => parts.iter().map(listed).sum(),
        Content::Message { envelope, structure, .. } => envelope.to.len() + listed(structure),
        Content::Basic | Content::Text { .. } => 0,
    };
    1 + part.params.len() + part.language.len() + inner
}

#[test]
fn what_a_message_lists_is_bounded() {
    let addresses = format!("To: {}\r\n\r\n", "a,".repeat(500_000));
    assert!(Envelope::parse(addresses.as_bytes()).to.len() <= 100_000);
    let params = format!(
        "Content-Type: a/b{}\r\nContent-Language: {}\r\n\r\n",
        ";a=".repeat(200_000),
        "a,".repeat(200_000)
    );
    assert!(listed(&BodyStructure::parse(params.as_bytes())) <= 100_100);
    let message = format!("--b\r\nContent-Type: message/rfc822\r\n\r\nTo: {}\r\n\r\n", "a,".repeat(1000));
    let messages = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", message.repeat(1000));
    assert!(listed(&BodyStructure::parse(messages.as_bytes())) <= 110_100);
}

proptest! {
    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn noise_in_a_message(pieces in proptest::collection::vec(prop_oneof![
        Just("From: ".to_owned()), Just("Date: ".to_owned()), Just("\r\n\r\n".to_owned()), Just("\r\n ".to_owned()),
        Just("--b\r\n".to_owned()), Just("Content-Type: multipart/mixed; boundary=b\r\n".to_owned()),
        Just("Content-Type: text/html; charset=iso-2022-jp\r\n".to_owned()), Just("=?utf-8?b?".to_owned()), Just("?=".to_owned()),
        Just("Content-Transfer-Encoding: base64\r\n".to_owned()), Just("Content-Transfer-Encoding: quoted-printable\r\n".to_owned()),
        Just("Content-Type: message/rfc822\r\n".to_owned()), "[ -~]{0,12}", "\\PC{0,6}", "[<>&;#x0-9!/=-]{0,9}",
    ], 0..40)) {
        read_all(pieces.concat().as_bytes());
    }
}
