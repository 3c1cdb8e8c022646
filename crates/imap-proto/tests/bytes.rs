//! Whatever a client sends is parsed or refused.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use imap_proto::Request;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn any_arguments_are_parsed_or_refused(
        verb in proptest::sample::select(vec!["FETCH 1", "UID FETCH 1 FLAGS (", "SELECT x (QRESYNC", "STORE 1 (", "SEARCH MODSEQ", "SEARCH", "STORE 1 FLAGS", "APPEND", "LIST", "ID", "LOGIN"]),
        arguments in "[ ()\"a-zA-Z0-9.{}\\[\\]<>*%\\\\\r\n]{0,60}",
    ) {
        let _ = Request::parse(format!("a {verb} {arguments}").as_bytes());
    }

    #[test]
    fn a_quoted_string_is_read_as_it_was_written(text in "[^\r\n\0]{1,60}") {
        let line = format!("a LOGIN {} x", imap_proto::quoted(&text));
        let command = Request::parse(line.as_bytes()).unwrap().command;
        let is_same = matches!(&command, imap_proto::Command::Login { username, .. } if *username == text);
        prop_assert!(is_same, "{command:?}");
    }
}
