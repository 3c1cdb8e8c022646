//! Commands come back as they were sent, and no bytes are more than an answer.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use jiff::Timestamp;
use mail_types::Address;
use proptest::prelude::*;
use smtp_proto::{
    Body, ByMode, Command, DeliverBy, Hold, MailParameters, Notify, OriginalRecipient, Priority,
    RcptParameters, Recipient, Return, Xclient,
};

fn address() -> impl Strategy<Value = Address> {
    let local_part = prop_oneof!["[a-zA-Z0-9.+=_-]{1,20}", "[ -~é✉]{1,20}"];
    let domain = prop_oneof!["[a-z]{1,9}(\\.[a-z][a-z0-9]{0,9}){0,3}", Just("[192.0.2.1]".to_owned())];
    (local_part, domain).prop_filter_map("no address", |(local_part, domain)| {
        Address::new(&local_part, domain.parse().ok()?).ok()
    })
}

fn parameters() -> impl Strategy<Value = MailParameters> {
    let body = prop_oneof![Just(Body::SevenBit), Just(Body::EightBit), Just(Body::Binary)];
    let ret = prop::option::of(prop_oneof![Just(Return::Full), Just(Return::Headers)]);
    let by =
        (1..1_000_000_000_i32, any::<(bool, bool)>()).prop_map(|(seconds, (is_return, trace))| DeliverBy {
            seconds: if is_return { seconds } else { -seconds },
            mode: if is_return { ByMode::Return } else { ByMode::Notify },
            trace,
        });
    let moment = (0..4_000_000_000_i64).prop_map(|it| Hold::Until(Timestamp::from_second(it).unwrap()));
    let hold = prop_oneof![(1..1_000_000_000_u32).prop_map(Hold::For), moment];
    let priority = (-9..=9_i64).prop_map(|it| Priority::try_from(it).unwrap());
    let timing = (any::<bool>(), prop::option::of(by), prop::option::of(priority), prop::option::of(hold));
    (any::<Option<u64>>(), body, any::<bool>(), ret, prop::option::of("[ -~]{1,30}"), timing).prop_map(
        |(size, body, smtputf8, ret, envelope_id, (require_tls, deliver_by, priority, hold))| {
            MailParameters { size, body, smtputf8, ret, envelope_id, require_tls, deliver_by, priority, hold }
        },
    )
}

fn rcpt_parameters() -> impl Strategy<Value = RcptParameters> {
    let wanted =
        any::<(bool, bool, bool)>().prop_map(|(success, failure, delay)| match (success, failure, delay) {
            (false, false, false) => Notify::Never,
            (success, failure, delay) => Notify::On { success, failure, delay },
        });
    let of_others = ("[a-tv-z][a-z0-9-]{1,9}", "[ -~]{1,30}");
    let of_others = of_others.prop_map(|(kind, address)| (kind, address, false));
    let of_utf8 = "[a-z+=é✉]{1,30}@é\\.org".prop_map(|address| ("utf-8".to_owned(), address, false));
    let malformed = "[!-<>-~]{0,20}\\+[!-<>-~]{0,20}".prop_map(|address| ("utf-8".to_owned(), address, true));
    let original = prop_oneof![of_others, of_utf8, malformed]
        .prop_map(|(kind, address, is_malformed)| OriginalRecipient { kind, address, is_malformed });
    (prop::option::of(wanted), prop::option::of(original))
        .prop_map(|(notify, original)| RcptParameters { notify, original })
}

fn client() -> impl Strategy<Value = Xclient> {
    let name = || prop::option::of("[!-~é]{1,20}".prop_filter("not known", |it| !it.starts_with('[')));
    let end = || (any::<Option<std::net::IpAddr>>(), any::<Option<u16>>());
    (end(), end(), name(), name()).prop_map(|((address, port), (called, called_port), helo, login)| Xclient {
        address,
        port,
        called,
        called_port,
        helo,
        login,
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        "[!-~]{1,30}".prop_map(Command::Ehlo),
        "[!-~]{1,30}".prop_map(Command::Helo),
        "[!-~]{1,30}".prop_map(Command::Lhlo),
        (prop::option::of(address()), parameters())
            .prop_map(|(from, parameters)| Command::Mail { from, parameters }),
        (address(), rcpt_parameters())
            .prop_map(|(address, parameters)| Command::Rcpt { to: Recipient::Address(address), parameters }),
        rcpt_parameters().prop_map(|parameters| Command::Rcpt { to: Recipient::Postmaster, parameters }),
        any::<(u64, bool)>().prop_map(|(size, last)| Command::Bdat { size, last }),
        "[A-Z0-9-]{1,20}".prop_map(|mechanism| Command::Auth { mechanism, initial: None }),
        client().prop_map(|client| Command::Xclient(Box::new(client))),
        prop::sample::select(vec![
            Command::Data,
            Command::Rset,
            Command::Noop,
            Command::Quit,
            Command::Vrfy,
            Command::Expn,
            Command::Help,
            Command::NotOffered("ETRN"),
            Command::StartTls,
        ]),
    ]
}

proptest! {
    #[test]
    fn a_command_comes_back_as_it_was_sent(command in command()) {
        let line = command.to_string();
        prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{}", line);
    }

    #[test]
    fn case_and_blanks_at_the_end_mean_nothing(command in command(), blanks in "[ \t]{0,3}") {
        let line = command.to_string();
        let (verb, rest) = line.split_at(4);
        let line = format!("{}{rest}{blanks}", verb.to_ascii_lowercase());
        prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{}", line);
    }

    #[test]
    fn any_bytes_are_an_answer(
        verb in prop::sample::select(vec!["", "MAIL FROM:<", "RCPT TO:<", "MAIL FROM:<> ", "BDAT ", "AUTH ", "EHLO "]),
        line in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let _ = Command::parse(&[verb.as_bytes(), &line].concat());
    }

    #[test]
    fn any_text_is_an_answer(line in "(MAIL FROM:|RCPT TO:|BDAT |AUTH )[ -~é]{0,60}") {
        if let Ok(command) = Command::parse(line.as_bytes()) {
            prop_assert!(!command.to_string().is_empty());
        }
    }
}

#[test]
fn what_auth_carries_is_never_shown() {
    let command = Command::parse(b"AUTH PLAIN AGJvYgBzZWNyZXQ=").unwrap();
    assert_eq!(command.to_string(), "AUTH PLAIN …");
}
