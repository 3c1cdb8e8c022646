//! What is encoded parses to the same value, and no bytes make a parser panic.
#![allow(clippy::unwrap_used, missing_docs)]

use mail_types::Secret;
use pop3_proto::{Command, MessageNumber, Response, ResponseCode};
use proptest::prelude::*;

fn message() -> impl Strategy<Value = MessageNumber> {
    (1..=u32::MAX).prop_map(|number| number.try_into().unwrap())
}

fn word() -> impl Strategy<Value = String> {
    "[!-~]{1,40}"
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Capa),
        Just(Command::Stls),
        Just(Command::AuthList),
        (word(), proptest::option::of(word()))
            .prop_map(|(mechanism, initial)| Command::Auth { mechanism, initial: initial.map(Secret::new) }),
        "[^\r\n]{1,40}".prop_map(Command::User),
        "[^\r\n]{1,40}".prop_map(|password| Command::Pass(Secret::new(password))),
        Just(Command::Utf8),
        proptest::option::of(word()).prop_map(Command::Lang),
        Just(Command::Stat),
        proptest::option::of(message()).prop_map(Command::List),
        proptest::option::of(message()).prop_map(Command::Uidl),
        message().prop_map(Command::Retr),
        (message(), any::<u64>()).prop_map(|(message, lines)| Command::Top { message, lines }),
        message().prop_map(Command::Dele),
        Just(Command::Rset),
        Just(Command::Noop),
        Just(Command::Quit),
    ]
}

fn code() -> impl Strategy<Value = Option<ResponseCode>> {
    proptest::option::of(prop_oneof![
        Just(ResponseCode::InUse),
        Just(ResponseCode::Auth),
        Just(ResponseCode::SysTemp),
        Just(ResponseCode::SysPerm),
        Just(ResponseCode::Utf8),
    ])
}

fn response() -> impl Strategy<Value = Response> {
    let text = "[a-zA-Zäß0-9.<]{0,40}";
    prop_oneof![
        text.prop_map(Response::ok),
        (code(), text).prop_map(|(code, text)| Response::Failed { code, text: text.into() }),
        "[a-zA-Z0-9+/]{0,40}=?".prop_map(Response::Challenge),
    ]
}

proptest! {
    #[test]
    fn a_command_survives_the_wire(command in command()) {
        let line = command.encode();
        prop_assert_eq!(Command::parse(line.strip_suffix(b"\r\n").unwrap()), Ok(command));
    }

    #[test]
    fn a_response_survives_the_wire(response in response()) {
        let line = String::from_utf8(response.encode()).unwrap();
        let line = line.strip_suffix("\r\n").unwrap();
        // An empty text behind a code keeps its space.
        prop_assert_eq!(Response::parse(line), Some(response));
    }

    #[test]
    fn bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Command::parse(&line);
        let _ = Response::parse(&String::from_utf8_lossy(&line));
    }
}
