use smtp_proto::{Body, RcptParameters, Return};

use super::*;

fn outgoing(recipients: &[&str]) -> Outgoing {
    Outgoing::plain("alice@example.org", recipients, 100)
}

fn all() -> Extensions {
    Extensions {
        pipelining: true,
        chunking: true,
        eight_bit_mime: true,
        smtputf8: true,
        size: Some(1000),
        ..plain()
    }
}

fn pipelining() -> Extensions {
    Extensions { pipelining: true, ..plain() }
}

fn plain() -> Extensions {
    Extensions::default()
}

/// Plays a whole transaction and returns what was sent, a body as `[form]`, and the outcomes: `+`, `~` and `-` with the text.
fn play(outgoing: &Outgoing, extensions: &Extensions, replies: &[&str]) -> (String, Vec<String>) {
    let (transaction, sent) = played(outgoing, extensions, replies);
    let outcomes = transaction.finish().into_iter().map(|outcome| match outcome {
        Outcome::Delivered(diagnosis, _) => format!("+ {}", diagnosis.text),
        Outcome::Deferred(diagnosis) => format!("~ {} {}", diagnosis.status, diagnosis.text),
        Outcome::Failed(diagnosis) => format!("- {} {}", diagnosis.status, diagnosis.text),
    });
    (sent, outcomes.collect())
}

fn played(outgoing: &Outgoing, extensions: &Extensions, replies: &[&str]) -> (Transaction, String) {
    let mut transaction = Transaction::new("mx", outgoing, extensions, true, false);
    let (mut sent, mut replies) = (String::new(), replies.iter());
    loop {
        match transaction.next() {
            Step::Send(lines) => sent.push_str(&lines.replace("\r\n", "|")),
            Step::SendBody(body) => sent.push_str(&format!("[{body:?}]")),
            Step::Read(_) => {
                transaction.replied(&Reply::parse(&[replies.next().unwrap()]).unwrap());
            }
            Step::Done => break,
        }
    }
    assert_eq!(replies.next(), None, "a reply was not awaited");
    (transaction, sent)
}

#[test]
fn without_pipelining_each_command_waits() {
    let (sent, outcomes) =
        play(&outgoing(&["b@x.org"]), &plain(), &["250 ok", "250 ok", "354 go", "250 queued as 1"]);
    assert_eq!(sent, "MAIL FROM:<alice@example.org>|RCPT TO:<b@x.org>|DATA|[Dotted]");
    assert_eq!(outcomes, ["+ 250 queued as 1"]);
}

#[test]
fn each_recipient_has_its_own_outcome() {
    let outgoing = outgoing(&["a@x.org", "b@x.org", "c@x.org", "d@x.org"]);
    let replies = ["250 ok", "250 ok", "550 5.1.1 who?", "451 4.7.1 greylisted", "552 too many"];
    let expected =
        ["+ 250 done", "- 5.1.1 550 5.1.1 who?", "~ 4.7.1 451 4.7.1 greylisted", "~ 4.0.0 552 too many"];
    let chunk = play(&outgoing, &all(), &[&replies[..], &["250 done"]].concat());
    assert!(chunk.0.ends_with("RCPT TO:<d@x.org>|[Chunk]"), "{}", chunk.0);
    assert_eq!(chunk.1, expected);
    let piped = play(&outgoing, &pipelining(), &[&replies[..], &["354 go", "250 done"]].concat());
    assert!(piped.0.ends_with("RCPT TO:<d@x.org>|DATA|[Dotted]"), "{}", piped.0);
    assert_eq!(piped.1, expected);
    let plain = play(&outgoing, &plain(), &[&replies[..], &["354 go", "250 done"]].concat());
    assert_eq!(plain.1, expected);
}

/// RFC 3030 §2: then comes a reset, since the server may wait for more of it.
#[test]
fn a_transaction_is_open_behind_a_chunk_that_was_refused() {
    let is_open = |extensions: &Extensions, replies: &[&str]| {
        played(&outgoing(&["a@x.org"]), extensions, replies).0.is_open()
    };
    assert!(is_open(&all(), &["250 ok", "250 ok", "554 5.6.0 not this"]));
    assert!(!is_open(&all(), &["250 ok", "250 ok", "250 done"]));
    assert!(!is_open(&plain(), &["250 ok", "250 ok", "354 go", "554 5.6.0 not this"]));
}

/// RFC 2033 §4.2
#[test]
fn lmtp_answers_the_message_for_each_recipient_that_it_took() {
    let outgoing = outgoing(&["a@x.org", "b@x.org", "c@x.org"]);
    let replies = ["250 ok", "250 ok", "550 5.1.1 who?", "250 ok"];
    let ends = ["452 4.2.2 full", "250 done"];
    let expected = ["~ 4.2.2 452 4.2.2 full", "- 5.1.1 550 5.1.1 who?", "+ 250 done"];
    let dotted = Extensions { lmtp: true, ..pipelining() };
    let replies_to_data = [&replies[..], &["354 go"], &ends].concat();
    assert_eq!(play(&outgoing, &dotted, &replies_to_data).1, expected);
    let chunk = Extensions { lmtp: true, ..all() };
    assert_eq!(play(&outgoing, &chunk, &[&replies[..], &ends].concat()).1, expected);
}

#[test]
fn data_taken_for_nobody_gets_nothing() {
    let (sent, outcomes) =
        play(&outgoing(&["a@x.org"]), &pipelining(), &["250 ok", "550 who?", "354 go", "554 no recipients"]);
    assert!(sent.ends_with("DATA|[Empty]"), "{sent}");
    assert_eq!(outcomes, ["- 5.0.0 550 who?"]);
    let (sent, _) = play(&outgoing(&["a@x.org"]), &all(), &["250 ok", "550 who?"]);
    assert!(!sent.contains('['), "{sent}");
}

#[test]
fn a_refused_sender_settles_all() {
    let outgoing = outgoing(&["a@x.org", "b@x.org"]);
    let refused = ["- 5.7.1 553 5.7.1 not you", "- 5.7.1 553 5.7.1 not you"];
    let replies = ["553 5.7.1 not you", "503 no MAIL", "250 odd", "503 no RCPT"];
    assert_eq!(play(&outgoing, &pipelining(), &replies).1, refused);
    assert_eq!(play(&outgoing, &plain(), &replies[..1]).1, refused);
}

#[test]
fn a_server_that_closes_is_tried_again() {
    let outgoing = outgoing(&["a@x.org", "b@x.org"]);
    let (_, outcomes) = play(&outgoing, &pipelining(), &["250 ok", "550 5.1.1 who?", "421 4.3.2 bye"]);
    assert_eq!(outcomes, ["- 5.1.1 550 5.1.1 who?", "~ 4.3.2 421 4.3.2 bye"]);
}

#[test]
fn only_the_reply_to_the_message_itself_is_a_delivery() {
    let one = outgoing(&["a@x.org"]);
    for (replies, expected) in [
        (&["250 ok", "250 ok", "250 what"][..], "~ 4.0.0 250 what"),
        (&["250 ok", "250 ok", "354 go", "354 go"], "~ 4.0.0 354 go"),
        (&["250 ok", "250 ok", "354 go", "452 4.3.1 full"], "~ 4.3.1 452 4.3.1 full"),
        (&["250 ok", "250 ok", "354 go", "554 5.7.1 spam"], "- 5.7.1 554 5.7.1 spam"),
        (&["354 ok", "250 ok", "503 no"], "~ 4.0.0 354 ok"),
    ] {
        assert_eq!(play(&one, &pipelining(), replies).1, [expected]);
    }
}

#[test]
fn extensions_are_used_where_they_are_offered() {
    let mut message = outgoing(&["josé@bücher.example"]);
    message.body = Body::EightBit;
    let (sent, _) = play(&message, &all(), &["250 ok", "250 ok", "250 ok"]);
    assert!(sent.starts_with("MAIL FROM:<alice@example.org> SIZE=100 BODY=8BITMIME SMTPUTF8|"), "{sent}");
    assert!(sent.contains("RCPT TO:<josé@bücher.example>"), "{sent}");
    let (sent, _) =
        play(&outgoing(&["b@bücher.example"]), &plain(), &["250 ok", "250 ok", "354 go", "250 ok"]);
    assert!(sent.contains("RCPT TO:<b@xn--bcher-kva.example>"), "{sent}");
    let bounce = Outgoing { sender: None, ..outgoing(&["b@x.org"]) };
    assert!(play(&bounce, &all(), &["250 ok", "250 ok", "250 ok"]).0.starts_with("MAIL FROM:<> SIZE=100|"));
}

/// RFC 3461 §5.2.1, §5.2.2
#[test]
fn what_the_sender_wants_to_hear_goes_to_servers_that_report() {
    let mut message = outgoing(&["b@x.org", "c@x.org"]);
    (message.ret, message.envelope_id) = (Some(Return::Headers), Some("a=b".to_owned()));
    message.recipients[0].parameters =
        RcptParameters { notify: "SUCCESS,DELAY".parse().ok(), original: "rfc822;B+40x.org".parse().ok() };
    let dsn = Extensions { dsn: true, ..plain() };
    let (sent, _) = play(&message, &dsn, &["250 ok", "250 ok", "250 ok", "354 go", "250 ok"]);
    let expected = "MAIL FROM:<alice@example.org> RET=HDRS ENVID=a+3Db|\
        RCPT TO:<b@x.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B@x.org|RCPT TO:<c@x.org>|DATA|[Dotted]";
    assert_eq!(sent, expected);
    let (sent, _) = play(&message, &plain(), &["250 ok", "250 ok", "250 ok", "354 go", "250 ok"]);
    assert_eq!(sent, "MAIL FROM:<alice@example.org>|RCPT TO:<b@x.org>|RCPT TO:<c@x.org>|DATA|[Dotted]");
    for (extensions, action) in [(dsn, None), (plain(), Some(Action::Relayed))] {
        let transaction = Transaction::new("mx", &message, &extensions, true, false);
        let outcome = transaction.outcome(&Reply::parse(&["250 ok"]).unwrap());
        assert!(
            matches!(outcome, Outcome::Delivered(_, found) if found.map(|it| it.action) == action),
            "{outcome:?}"
        );
    }
}

/// RFC 8689 §4.2.1, §5
#[test]
fn what_must_go_over_tls_goes_to_verified_servers_that_see_to_it() {
    let message = Outgoing { require_tls: true, ..outgoing(&["b@x.org"]) };
    let offered = Extensions { require_tls: true, ..plain() };
    let obstacle = |message: &Outgoing, extensions: &Extensions, verified| {
        message.obstacle(extensions, verified).map(|diagnosis| diagnosis.status.to_string())
    };
    assert_eq!(obstacle(&message, &offered, true), None);
    assert_eq!(obstacle(&message, &offered, false).as_deref(), Some("5.7.10"));
    assert_eq!(obstacle(&message, &plain(), true).as_deref(), Some("5.7.30"));
    let (sent, _) = play(&message, &offered, &["250 ok", "250 ok", "354 go", "250 ok"]);
    assert!(sent.starts_with("MAIL FROM:<alice@example.org> REQUIRETLS|"), "{sent}");
    let report = Outgoing { sender: None, ..message };
    assert_eq!(obstacle(&report, &plain(), false), None);
    assert!(play(&report, &offered, &["250 ok", "250 ok", "354 go", "250 ok"]).0.contains("<> REQUIRETLS|"));
}

/// RFC 2852 §4, RFC 6710 §4
#[test]
fn what_is_left_of_the_time_and_the_priority_go_on() {
    let by = |text: &str| Outgoing {
        deliver_by: Some(text.parse().unwrap()),
        priority: Some("4".parse().unwrap()),
        ..outgoing(&["b@x.org"])
    };
    let offered = Extensions { deliver_by: Some(60), priorities: true, ..plain() };
    let replies = ["250 ok", "250 ok", "354 go", "250 ok"];
    let (sent, _) = play(&by("60;R"), &offered, &replies);
    assert!(sent.starts_with("MAIL FROM:<alice@example.org> BY=60;R MT-PRIORITY=4|"), "{sent}");
    assert!(play(&by("-7;N"), &offered, &replies).0.contains(" BY=-7;N "));
    let (sent, _) = play(&by("60;N"), &plain(), &replies);
    assert!(sent.starts_with("MAIL FROM:<alice@example.org>|"), "{sent}");
    // RFC 6710 §4.2: the priority is said also where it is that of all others.
    let (sent, _) = play(&outgoing(&["b@x.org"]), &offered, &replies);
    assert!(sent.starts_with("MAIL FROM:<alice@example.org> MT-PRIORITY=0|"), "{sent}");
    for (message, extensions) in [(by("59;R"), &offered), (by("60;R"), &plain())] {
        let (sent, outcomes) = play(&message, extensions, &[]);
        assert!(sent.is_empty() && outcomes[0].starts_with("- 5.4.7 "), "{outcomes:?}");
    }
    // A host that reports, but is not bound by the time, or of which the sender wants to hear in any case.
    let dsn = Extensions { dsn: true, ..offered };
    let unbound = Extensions { deliver_by: None, ..dsn.clone() };
    let silent = Extensions { dsn: false, ..dsn.clone() };
    for (message, extensions, is_certain) in [
        (by("60;N"), &dsn, None),
        (by("60;N"), &unbound, Some(true)),
        (by("-1;N"), &unbound, None),
        (by("60;N"), &silent, Some(false)),
        (by("60;NT"), &dsn, Some(true)),
        (by("60;RT"), &dsn, Some(true)),
    ] {
        let transaction = Transaction::new("mx", &message, extensions, true, false);
        let outcome = transaction.outcome(&Reply::parse(&["250 ok"]).unwrap());
        let told = is_certain.map(|is_certain| Told { action: Action::Relayed, is_certain });
        assert!(matches!(outcome, Outcome::Delivered(_, found) if found == told), "{outcome:?}");
    }
    // A host that is not bound by the time is asked to tell of delays: RFC 2852 §4.1.4.2.
    for (wish, asked) in [
        (None, " NOTIFY=FAILURE,DELAY"),
        (Some("SUCCESS"), " NOTIFY=SUCCESS,DELAY"),
        (Some("NEVER"), " NOTIFY=NEVER"),
    ] {
        let mut message = by("60;N");
        message.recipients[0].parameters.notify = wish.map(|it| it.parse().unwrap());
        let (sent, _) = play(&message, &unbound, &replies);
        assert!(sent.contains(&format!("RCPT TO:<b@x.org>{asked}|")), "{sent}");
        let (sent, _) = play(&message, &dsn, &replies);
        assert!(!sent.contains("DELAY"), "{sent}");
    }
}

#[test]
fn what_the_server_can_not_take_fails_without_a_try() {
    let refused = |message: &Outgoing, extensions: &Extensions| {
        let (sent, outcomes) = play(message, extensions, &[]);
        assert_eq!(sent, "");
        outcomes.into_iter().map(|it| it.get(..7).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let one = outgoing(&["b@x.org"]);
    assert_eq!(refused(&Outgoing { size: 1001, ..one.clone() }, &all()), ["- 5.3.4"]);
    assert_eq!(refused(&Outgoing { body: Body::EightBit, ..one.clone() }, &plain()), ["- 5.6.3"]);
    assert_eq!(refused(&Outgoing { smtputf8: true, ..one.clone() }, &plain()), ["- 5.6.9"]);
    assert_eq!(refused(&Outgoing { sender: "é@x.org".parse().ok(), ..one }, &plain()), ["- 5.6.7"]);
    assert_eq!(refused(&outgoing(&["josé@x.org"]), &plain()), ["- 5.6.7"]);
    let both = Outgoing { smtputf8: true, ..outgoing(&["josé@x.org"]) };
    assert_eq!(refused(&both, &plain()), ["- 5.6.7"]);
    let (sent, outcomes) =
        play(&outgoing(&["josé@x.org", "b@x.org"]), &pipelining(), &["250 ok", "250 ok", "354 go", "250 ok"]);
    assert!(!sent.contains("jos"), "{sent}");
    assert!(outcomes[0].starts_with("- 5.6.7") && outcomes[1].starts_with('+'));
}

/// RFC 6531 §3.4
#[test]
fn smtputf8_is_asked_for_where_the_message_or_an_address_needs_it() {
    let utf8 = Extensions { smtputf8: true, ..pipelining() };
    let replies = ["250 ok", "250 ok", "354 go", "250 ok"];
    let one = outgoing(&["b@x.org"]);
    for (message, told) in [
        (Outgoing { smtputf8: true, ..one.clone() }, true),
        (Outgoing { sender: "é@x.org".parse().ok(), ..one.clone() }, true),
        (outgoing(&["josé@x.org"]), true),
        (one, false),
    ] {
        let (sent, _) = play(&message, &utf8, &replies);
        assert_eq!(sent.contains(" SMTPUTF8|"), told, "{sent}");
    }
}

/// RFC 3461 §6.3 (h)
#[test]
fn the_server_is_known_of_which_a_message_is_kept() {
    let mut transaction =
        Transaction::new("mx", &Outgoing { smtputf8: true, ..outgoing(&["b@x.org"]) }, &plain(), true, false);
    assert_eq!(transaction.next(), Step::Done);
    let outcomes = transaction.finish();
    let [Outcome::Failed(diagnosis)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((diagnosis.host.as_deref(), diagnosis.tried.as_deref()), (None, Some("mx")));
}

#[test]
fn a_lost_connection_leaves_settled_recipients_alone() {
    let mut transaction =
        Transaction::new("mx", &outgoing(&["a@x.org", "b@x.org"]), &pipelining(), true, false);
    let Step::Send(_) = transaction.next() else { panic!() };
    for code in ["250", "550"] {
        transaction.replied(&Reply::parse(&[code]).unwrap());
    }
    transaction.abandon(Diagnosis::ours(Status::new(4, 4, 2), "lost"));
    assert_eq!(transaction.next(), Step::Done);
    assert!(!transaction.is_usable());
    let outcomes = transaction.finish();
    assert!(matches!(outcomes[..], [Outcome::Failed(_), Outcome::Deferred(_)]));
}

/// RFC 5321 §4.1.4: MAIL in a transaction that is still open would be refused for good.
#[test]
fn what_the_last_message_left_open_is_reset_whatever_becomes_of_the_next_one() {
    let mut refused = Transaction::new("mx", &outgoing(&["b@x.org"]), &all(), true, false);
    let reply = |text: &str| Reply::parse(&[text]).unwrap();
    assert!(matches!(refused.next(), Step::Send(_)));
    refused.replied(&reply("250 ok"));
    refused.replied(&reply("550 5.1.1 who?"));
    assert_eq!((refused.next(), refused.is_open()), (Step::Done, true));
    let big = Outgoing::plain("alice@example.org", &["b@x.org"], 1001);
    let mut unsent = Transaction::new("mx", &big, &all(), true, refused.is_open());
    assert_eq!((unsent.next(), unsent.is_open()), (Step::Done, true));
    let mut next = Transaction::new("mx", &outgoing(&["b@x.org"]), &all(), true, unsent.is_open());
    assert!(matches!(next.next(), Step::Send(lines) if lines.starts_with("RSET\r\nMAIL FROM:")));
    ["250 ok", "250 ok", "250 ok"].iter().for_each(|text| next.replied(&reply(text)));
    assert!(matches!(next.next(), Step::SendBody(Form::Chunk)));
    next.replied(&reply("250 done"));
    assert!(!next.is_open());
}
