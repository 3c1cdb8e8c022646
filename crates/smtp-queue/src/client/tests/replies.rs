//! Every reply that a server can give, and every way in which it can break, has a defined outcome that says why.

use super::*;

/// What a server says at each stage, octet by octet.
#[derive(Debug, Clone, Copy)]
struct Manner {
    greeting: &'static str,
    ehlo: &'static str,
    helo: &'static str,
    mail: &'static str,
    rcpt: &'static str,
    data: &'static str,
    end: &'static str,
}

/// It says nothing more, and keeps the connection.
const STALLS: &str = "(stalls)";
/// It closes the connection.
const CLOSES: &str = "(closes)";
/// A line of 100,000 octets, made when it is sent.
const LONG: &str = "(a long line)";
/// Lines without an end.
const ENDLESS: &str = "(endless)";

const WELL: Manner = Manner {
    greeting: "220 mx\r\n",
    ehlo: "250 mx\r\n",
    helo: "250 mx\r\n",
    mail: "250 ok\r\n",
    rcpt: "250 ok\r\n",
    data: "354 go\r\n",
    end: "250 taken\r\n",
};

/// Plays it on one connection after the other. With `pipelining` the last line of its reply to EHLO says so.
async fn serve(listener: TcpListener, manner: Manner, pipelining: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(BufStream::new(stream), manner, pipelining));
    }
}

async fn converse(
    mut stream: BufStream<tokio::net::TcpStream>,
    manner: Manner,
    pipelining: bool,
) -> Option<()> {
    say(&mut stream, manner.greeting).await?;
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        match line.get(..4).unwrap_or_default() {
            "EHLO" if pipelining && manner.ehlo == WELL.ehlo => {
                say(&mut stream, "250-mx\r\n250 PIPELINING\r\n").await?
            }
            "EHLO" => say(&mut stream, manner.ehlo).await?,
            "HELO" => say(&mut stream, manner.helo).await?,
            "MAIL" => say(&mut stream, manner.mail).await?,
            "RCPT" if line.contains("<second@") => say(&mut stream, "250 ok\r\n").await?,
            "RCPT" => say(&mut stream, manner.rcpt).await?,
            "DATA" => {
                say(&mut stream, manner.data).await?;
                if !manner.data.starts_with("354") {
                    continue;
                }
                while line != ".\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
                }
                say(&mut stream, manner.end).await?;
            }
            _ => say(&mut stream, "221 bye\r\n").await?,
        }
    }
}

/// `None` if that was the last word.
async fn say(stream: &mut BufStream<tokio::net::TcpStream>, words: &str) -> Option<()> {
    if let Some(first) = words.strip_suffix(STALLS) {
        stream.write_all(first.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        return std::future::pending().await;
    }
    let words = match words {
        CLOSES => return None,
        LONG => format!("250 {}\r\n", "x".repeat(100_000)),
        ENDLESS => "250-more\r\n".repeat(1000),
        other => other.to_owned(),
    };
    // Each character below U+0100 is one octet.
    let octets: Vec<u8> = words.chars().map(|it| u8::try_from(u32::from(it)).unwrap()).collect();
    stream.write_all(&octets).await.ok()?;
    stream.flush().await.ok()
}

/// What comes of mail for one or two recipients.
async fn outcomes(manner: Manner, pipelining: bool, recipients: &[&str]) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve(listener, manner, pipelining));
    let smarthost = Smarthost { host: "127.0.0.1".to_owned(), ..smarthost(port, RelayTls::None) };
    let mut relay = relay(smarthost);
    if format!("{manner:?}").contains(STALLS) {
        let short = Duration::from_millis(400);
        (relay.timeouts.command, relay.timeouts.data, relay.timeouts.end) = (short, short, short);
    }
    let outcomes = send(&relay, recipients).await;
    server.abort();
    outcomes
}

#[track_caller]
fn check(manner: Manner, pipelining: bool, found: &str, expected: &str) {
    let is_it = expected.split("...").all(|part| found.contains(part)) && found.starts_with(&expected[..1]);
    assert!(is_it, "{manner:?}, pipelining {pipelining}: {found:?}, expected {expected:?}");
}

async fn check_all(manners: &[(Manner, &str)]) {
    for pipelining in [false, true] {
        let sent = manners.iter().map(|(manner, _)| outcomes(*manner, pipelining, &["bob@x.org"]));
        let sent = futures_util::future::join_all(sent).await;
        for ((manner, expected), found) in manners.iter().zip(sent) {
            check(*manner, pipelining, &found[0], expected);
        }
    }
}

/// What is said before a transaction concerns no message: it is tried again.
#[tokio::test]
async fn what_a_server_says_before_mail_is_always_for_now() {
    let greeting = |greeting| Manner { greeting, ..WELL };
    let ehlo = |ehlo| Manner { ehlo, ..WELL };
    check_all(&[
        (WELL, "+ 250 taken"),
        (greeting("220\r\n"), "+ 250 taken"),
        (greeting("220-one\r\n220-\r\n220 three\r\n"), "+ 250 taken"),
        (greeting("220 caf\u{e9} \u{0} \u{1b}[31m\r\n"), "+ 250 taken"),
        (greeting("421 4.3.2 busy\r\n"), "~ 4.3.2 421 4.3.2 busy"),
        (greeting("450 later\r\n"), "~ 4.0.0 450 later"),
        (greeting("554 5.7.1 go away\r\n"), "~ 4.7.1 554 5.7.1 go away"),
        // RFC 7504: of a smarthost, which its operator has named, it is no word on the message.
        (greeting("521 no mail\r\n"), "~ 4.0.0 521 no mail"),
        (greeting("354 what?\r\n"), "~ 4.0.0 354 what?"),
        (greeting("HTTP/1.1 400 Bad Request\r\n"), "~ 4.5.0 ...something else than a reply"),
        (greeting("\r\n"), "~ 4.5.0 ...something else than a reply"),
        (greeting("22x mx\r\n"), "~ 4.5.0 ...something else than a reply"),
        (greeting("999 mx\r\n"), "~ 4.5.0 ...something else than a reply"),
        (greeting("\u{ff}\u{fe}\u{0}\r\n"), "~ 4.5.0 ...something else than a reply"),
        (greeting(LONG), "~ 4.5.0 ...endless"),
        (greeting(ENDLESS), "~ 4.5.0 ...endless"),
        (greeting(STALLS), "~ 4.4.2 ...no answer within"),
        (greeting("220-but never more\r\n(stalls)"), "~ 4.4.2 ...no answer within"),
        (greeting(CLOSES), "~ 4.4.2 ...closed"),
        (ehlo("502 what?\r\n"), "+ 250 taken"),
        (ehlo("421 bye\r\n"), "~ 4.0.0 421 bye"),
        (ehlo("451 later\r\n"), "~ 4.0.0 451 later"),
        (ehlo("354 go\r\n"), "~ 4.0.0 354 go"),
        (ehlo(CLOSES), "~ 4.4.2 ...closed"),
        (ehlo(STALLS), "~ 4.4.2 ...no answer within"),
        (ehlo(LONG), "~ 4.5.0 ...endless"),
        (Manner { ehlo: "500 no\r\n", helo: "550 5.7.1 no\r\n", ..WELL }, "~ 4.7.1 550 5.7.1 no"),
        (Manner { ehlo: "500 no\r\n", helo: CLOSES, ..WELL }, "~ 4.4.2 ...closed"),
    ])
    .await;
}

#[tokio::test]
async fn each_reply_in_a_transaction_has_an_outcome() {
    let mail = |mail| Manner { mail, ..WELL };
    let rcpt = |rcpt| Manner { rcpt, ..WELL };
    let data = |data| Manner { data, ..WELL };
    let end = |end| Manner { end, ..WELL };
    check_all(&[
        (mail("250\r\n"), "+ 250 taken"),
        (mail("451 4.7.1 greylisted\r\n"), "~ 4.7.1 451 4.7.1 greylisted"),
        (mail("550 5.7.1 not you\r\n"), "- 5.7.1 550 5.7.1 not you"),
        (mail("421 bye\r\n"), "~ 4.0.0 421 bye"),
        (mail("354 go\r\n"), "~ 4.0.0 354 go"),
        (mail("what?\r\n"), "~ 4.5.0 ...something else than a reply"),
        (mail(STALLS), "~ 4.4.2 ...no answer within"),
        (rcpt("450 4.2.0 later\r\n"), "~ 4.2.0 450 4.2.0 later"),
        (rcpt("452 4.5.3 too many\r\n"), "~ 4.5.3 452 4.5.3 too many"),
        (rcpt("552 too many\r\n"), "~ 4.0.0 552 too many"),
        (rcpt("552 5.5.3 too many\r\n"), "~ 4.5.3 552 5.5.3 too many"),
        (rcpt("552 5.2.2 full\r\n"), "~ 4.2.2 552 5.2.2 full"),
        (rcpt("550 5.1.1 who?\r\n"), "- 5.1.1 550 5.1.1 who?"),
        (rcpt("550\r\n"), "- 5.0.0 550"),
        (rcpt("550-first\r\n550 second\r\n"), "- 5.0.0 550 first second"),
        (rcpt("550 \u{0}\u{7} caf\u{e9}\r\n"), "- 5.0.0 550 ...caf"),
        (rcpt("251 will forward\r\n"), "+ 250 taken"),
        (rcpt("421 4.3.2 bye\r\n"), "~ 4.3.2 421 4.3.2 bye"),
        (rcpt("334 what?\r\n"), "~ 4.0.0 334 what?"),
        // The code decides, not the status that contradicts it: RFC 3463 §2.
        (rcpt("550 2.1.5 ok\r\n"), "- 5.0.0 550 ...2.1.5 ok"),
        (rcpt("550 4.2.2 full\r\n"), "- 5.0.0 550 ...4.2.2 full"),
        (rcpt("450 5.1.1 who?\r\n"), "~ 4.0.0 450 ...5.1.1 who?"),
        (rcpt(CLOSES), "~ 4.4.2 ...closed"),
        (rcpt(LONG), "~ 4.5.0 ...endless"),
        (rcpt(STALLS), "~ 4.4.2 ...no answer within"),
        (data("250 ok\r\n"), "~ 4.0.0 250 ok"),
        (data("451 4.3.0 later\r\n"), "~ 4.3.0 451 4.3.0 later"),
        (data("554 5.7.1 no\r\n"), "- 5.7.1 554 5.7.1 no"),
        (data("421 bye\r\n"), "~ 4.0.0 421 bye"),
        (data(CLOSES), "~ 4.4.2 ...closed"),
        (data(STALLS), "~ 4.4.2 ...no answer within"),
        (end("250\r\n"), "+ 250"),
        (end("250 5.7.1 taken after all\r\n"), "+ 250 5.7.1 taken after all"),
        (end("452 4.3.1 full\r\n"), "~ 4.3.1 452 4.3.1 full"),
        (end("554 5.7.1 spam\r\n"), "- 5.7.1 554 5.7.1 spam"),
        (end("550 4.7.1 spam\r\n"), "- 5.0.0 550 ...4.7.1 spam"),
        (end("421 4.3.2 going down\r\n"), "~ 4.3.2 421 4.3.2 going down"),
        (end("354 more?\r\n"), "~ 4.0.0 354 more?"),
        (end("taken\r\n"), "~ 4.5.0 ...something else than a reply"),
        (end(CLOSES), "~ 4.4.2 ...closed"),
        (end(STALLS), "~ 4.4.2 ...no answer within"),
        (end(LONG), "~ 4.5.0 ...endless"),
    ])
    .await;
}

/// RFC 5321 §4.5.3.1.10: who is too many waits for the next time, and the others have their mail.
#[tokio::test]
async fn one_recipients_reply_is_not_the_others() {
    for (rcpt, first) in [
        ("452 4.5.3 too many\r\n", "~ 4.5.3 452 4.5.3 too many"),
        ("550 5.1.1 who?\r\n", "- 5.1.1 550 5.1.1 who?"),
        ("450 later\r\n", "~ 4.0.0 450 later"),
    ] {
        for pipelining in [false, true] {
            let manner = Manner { rcpt, ..WELL };
            let found = outcomes(manner, pipelining, &["bob@x.org", "second@x.org"]).await;
            check(manner, pipelining, &found[0], first);
            check(manner, pipelining, &found[1], "+ 250 taken");
        }
    }
}

/// RFC 2033 §4.2: of whom nothing was said is tried again.
#[tokio::test]
async fn lmtp_replies_that_are_missing_are_for_now() {
    let whole = script(&[
        "> 220 lmtp",
        "< LHLO us.example.org",
        "> 250 lmtp",
        "< MAIL FROM:<alice@example.org>",
        "> 250 ok",
        "< RCPT TO:<a@x.org>",
        "> 250 ok",
        "< RCPT TO:<b@x.org>",
        "> 250 ok",
        "< DATA",
        "> 354 go",
        &format!("= {STUFFED}"),
        "> 250 first",
    ]);
    let server = Server::start(None, vec![whole]).await;
    let relay = relay(Smarthost { lmtp: true, ..smarthost(server.port, RelayTls::None) });
    let outcomes = send(&relay, &["a@x.org", "b@x.org"]).await;
    assert_eq!(outcomes[0], "+ 250 first");
    assert!(outcomes[1].starts_with("~ 4.4.2") && outcomes[1].contains("closed"), "{outcomes:?}");
    server.end().await;
}

/// A smarthost that does not take our password is the operator's to mend: mail waits.
#[tokio::test]
async fn a_password_that_is_refused_holds_mail_back() {
    for (reply, expected) in [
        ("535 5.7.8 wrong", "~ 4.7.8 535 5.7.8 wrong"),
        ("454 4.7.0 not now", "~ 4.7.0 454 4.7.0 not now"),
        ("250 what?", "+ 250 done"),
        // RFC 4954 §4: and it is told that no more is to come.
        ("334 more", "~ 4.0.0 334 more"),
    ] {
        let mut whole = script(&["> 220 mx", "< EHLO us.example.org", "> 250-mx", "> 250 AUTH PLAIN"]);
        whole.extend(["< AUTH PLAIN AGJvYgBodW50ZXIy".to_owned(), format!("> {reply}")]);
        if reply.starts_with("334") {
            whole.extend(script(&["< *", "> 501 5.7.0 cancelled"]));
        }
        if expected.starts_with('+') {
            whole.extend(script(&[
                "< MAIL FROM:<alice@example.org> AUTH=<>",
                "> 250 ok",
                "< RCPT TO:<bob@x.org>",
                "> 250 ok",
            ]));
            whole.extend(script(&["< DATA", "> 354 go", &format!("= {STUFFED}"), "> 250 done"]));
        }
        let server = Server::start(None, vec![whole]).await;
        let credentials = Some(("bob".to_owned(), Secret::new("hunter2".to_owned())));
        let host =
            Smarthost { host: "127.0.0.1".to_owned(), credentials, ..smarthost(server.port, RelayTls::None) };
        let outcomes = send(&relay(host), &["bob@x.org"]).await;
        assert_eq!(outcomes, [expected], "{reply}");
    }
}
