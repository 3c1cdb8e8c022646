//! What milters hear, and what becomes of what they say. The milter is a script at the other end of a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mail_config::{Milter, MilterAddress, MilterDefault, SmtpRole};
use testkit::{Fixture, Security, Server, Transcript};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// What the milter answers to a command, given its letter and its data.
type Answers = Arc<dyn Fn(u8, &[u8]) -> Vec<Vec<u8>> + Send + Sync>;

/// A milter, and what it has heard.
#[derive(Clone)]
struct Script {
    heard: Arc<Mutex<Vec<String>>>,
    /// Of the negotiation.
    steps: u32,
    answers: Answers,
    /// It closes the connection at the end of a message.
    leaves: bool,
}

impl Script {
    fn new(steps: u32, answers: impl Fn(u8, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { heard: Arc::default(), steps, answers: Arc::new(answers), leaves: false }
    }

    /// Listens on a port.
    async fn start(&self) -> MilterAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = MilterAddress::Inet("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script.clone().serve(stream));
            }
        });
        address
    }

    async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(self, mut stream: S) {
        while let Ok(length) = stream.read_u32().await {
            let mut packet = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut packet).await.unwrap();
            let (code, data) = (packet[0], &packet[1..]);
            self.heard.lock().unwrap().push(shown(code, data));
            let answers = match code {
                b'O' => vec![[&b"O\0\0\0\x06\0\0\x01\xFF"[..], &self.steps.to_be_bytes()].concat()],
                b'D' | b'A' => Vec::new(),
                b'Q' => return,
                _ => (self.answers)(code, data),
            };
            for answer in answers {
                stream.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
            if code == b'E' && self.leaves {
                return;
            }
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A packet in one line; what is another each time is left out.
fn shown(code: u8, data: &[u8]) -> String {
    let code = char::from(code);
    match code {
        'O' => "O".to_owned(),
        'D' => {
            let texts: Vec<_> = data[1..].split(|octet| *octet == 0).map(String::from_utf8_lossy).collect();
            let varies = |name: &str| ["i", "v", "{daemon_port}", "{client_port}"].contains(&name);
            let pairs = texts.chunks_exact(2).filter(|pair| !varies(&pair[0]));
            let pairs: Vec<String> = pairs.map(|pair| format!("{}={}", pair[0], pair[1])).collect();
            format!("D{} {}", char::from(data[0]), pairs.join(" ")).trim_end().to_owned()
        }
        'C' => {
            // The port is another each time.
            let name = data.split(|octet| *octet == 0).next().unwrap();
            let behind = &data[name.len() + 4..];
            format!(
                "C{} {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(behind).trim_end_matches('\0')
            )
        }
        _ => {
            let text = String::from_utf8_lossy(data);
            format!("{code}{}", text.trim_end_matches('\0').replace('\0', "|").escape_debug())
        }
    }
}

fn go_on(_: u8, _: &[u8]) -> Vec<Vec<u8>> {
    vec![b"c".to_vec()]
}

fn milter(address: MilterAddress) -> Milter {
    Milter {
        name: "script".to_owned(),
        address,
        roles: vec![SmtpRole::Mx],
        default: MilterDefault::TempFail,
        connect_timeout: Duration::from_secs(30),
        command_timeout: Duration::from_secs(30),
        content_timeout: Duration::from_secs(30),
        junk: vec![("X-Spam".to_owned(), "Yes".to_owned())],
    }
}

async fn fixture(milters: Vec<Milter>) -> (Fixture, Server) {
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.config.smtp.milters = milters;
    let server = fixture.start(smtp_server::run).unwrap();
    (fixture, server)
}

async fn talk(fixture: &Fixture, server: &Server, dialogue: &str) {
    let dialogue = format!("S: 220...\nC: HELO client.test\nS: 250...\n{dialogue}");
    let transcript = Transcript::parse(&dialogue).unwrap();
    transcript.run(fixture, server, Security::Plain).await.unwrap();
}

/// A message to Bob with this reply to each command.
fn message(mail: &str, rcpt: &str, data: &str) -> String {
    let steps = [("MAIL FROM:<a@b.test> SIZE=99", mail), ("RCPT TO:<bob@example.org>", rcpt), ("DATA", data)];
    let mut dialogue = String::from("C: RSET\nS: 250...\n");
    for (command, reply) in steps {
        dialogue.push_str(&format!("C: {command}\nS: {reply}...\n"));
        if reply.starts_with(['4', '5']) {
            return dialogue;
        }
    }
    dialogue + "C: From: a@b.test\nC: Subject: a\nC: \tb\nC:\nC: hello\nC: ..dot\nC: .\n"
}

/// One that is taken.
fn taken() -> String {
    message("250", "250", "354") + "S: 250...\n"
}

fn delivered(fixture: &Fixture, mailbox: &str) -> Vec<String> {
    let files = fixture.delivered(mailbox).unwrap_or_default();
    files.into_iter().map(|file| String::from_utf8(file).unwrap()).collect()
}

#[tokio::test]
async fn a_milter_hears_of_a_message_what_postfix_tells_it() {
    let script = Script::new(0, go_on);
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &(taken() + &taken() + "C: QUIT\nS: 221...\n")).await;
    let first = "O
DC j=mail.example.org _=localhost [127.0.0.1] {daemon_name}=plain {daemon_addr}=127.0.0.1 {client_addr}=127.0.0.1 {client_name}=localhost {client_ptr}=localhost
Clocalhost 127.0.0.1
DH
Hclient.test
";
    let each = "DM {mail_addr}=a@b.test {mail_host}=b.test {mail_mailer}=smtp
M<a@b.test>|SIZE=99
DR {rcpt_addr}=bob@example.org {rcpt_host}=example.org {rcpt_mailer}=local
R<bob@example.org>
DT
T
LFrom|a@b.test
LSubject|a\\n\\tb
DN
N
Bhello\\r\\n.dot\\r\\n
DE
E
";
    let end = "Q";
    // Quitting waits for nobody.
    while script.heard().last().is_none_or(|last| last != end) {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.heard().join("\n"), format!("{first}{each}{each}{end}"));
    assert_eq!(delivered(&fixture, "bob").len(), 2);
}

#[tokio::test]
async fn what_a_milter_does_not_want_is_left_out_and_where_it_is_silent_nobody_waits() {
    // No HELO, no body, no end of the header, no DATA; silent to everything but the end.
    let script = Script::new(0x02 | 0x10 | 0x40 | 0x200 | 0x0F_F080, |code, _| match code {
        b'E' => vec![b"p".to_vec(), b"c".to_vec()],
        _ => Vec::new(),
    });
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &taken()).await;
    let commands: String = script.heard().iter().filter_map(|packet| packet.chars().next()).collect();
    assert_eq!(commands.replace('D', ""), "OCMRLLE");
}

/// Says this to a command, and lets everything else go on.
fn says(to: u8, answer: &[u8]) -> impl Fn(u8, &[u8]) -> Vec<Vec<u8>> + use<> {
    let answer = answer.to_vec();
    move |code, _| vec![if code == to { answer.clone() } else { b"c".to_vec() }]
}

#[tokio::test]
async fn a_milter_refuses_at_every_step_in_its_own_words() {
    let sent = |last: &str| message("250", "250", "354") + &format!("S: {last}...\n");
    let cases: [(u8, &[u8], String); 9] = [
        (b'M', b"y553 5.7.1 not you 100%%\0", message("553 5.7.1 not you 100%", "", "")),
        (b'R', b"t", message("250", "451 4.7.1", "")),
        // RFC 2034 §4: every refusal has a status, of its own class.
        (b'R', b"y550 not her\0", message("250", "550 5.7.1 not her", "")),
        (b'L', b"y450-5.1.1 not\r\n450 now\0", sent("450-4.7.1 not") + "S: 450 4.7.1 now\n"),
        (b'T', b"r", message("250", "250", "550 5.7.1")),
        (b'L', b"y554 5.7.1 no such field\0", sent("554 5.7.1 no such field")),
        (b'N', b"r", sent("550 5.7.1")),
        (b'B', b"t", sent("451 4.7.1")),
        (b'E', b"y451-4.7.1 come\r\n451 4.7.1 again\0", sent("451-4.7.1 come") + "S: 451 4.7.1 again\n"),
    ];
    for (code, answer, dialogue) in cases {
        let script = Script::new(0, says(code, answer));
        let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
        // Twice: the next message is asked about anew.
        talk(&fixture, &server, &format!("{dialogue}{dialogue}")).await;
        assert!(delivered(&fixture, "bob").is_empty(), "{}", char::from(code));
    }
}

/// What the client hears from the beginning on.
async fn talk_from_the_greeting(script: &Script, dialogue: &str) {
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    Transcript::parse(dialogue).unwrap().run(&fixture, &server, Security::Plain).await.unwrap();
}

/// RFC 5321 §3.1: who is not greeted may only quit.
#[tokio::test]
async fn a_milter_refuses_a_connection() {
    let script = Script::new(0, says(b'C', b"y550 5.7.1 not from there\0"));
    let refused =
        "S: 554 5.7.1 not from there\nC: EHLO x\nS: 503 5.5.1...\nC: MAIL FROM:<>\nS: 503 5.5.1...\n";
    talk_from_the_greeting(&script, &format!("{refused}C: QUIT\nS: 221...\nS: <close>\n")).await;
    let script = Script::new(0, says(b'C', b"t"));
    talk_from_the_greeting(&script, "S: 421 4.7.1...\nS: <close>\n").await;
    // It may not do more than look.
    for answer in [b"d", b"a", b"c"] {
        let script = Script::new(0, says(b'C', answer));
        talk_from_the_greeting(&script, "S: 220...\nC: HELO x\nS: 250...\n").await;
    }
}

/// RFC 5321 §4.1.4: where a name is refused, the one before it holds.
#[tokio::test]
async fn a_milter_refuses_a_name_and_hears_the_next_one() {
    let script = Script::new(0, |code, data| match (code, data) {
        (b'H', b"bad.test\0") => vec![b"y550 5.7.1 no such name\0".to_vec()],
        _ => vec![b"c".to_vec()],
    });
    let dialogue = "S: 220...\nC: EHLO bad.test\nS: 550 5.7.1 no such name\nC: MAIL FROM:<>\nS: 503 5.5.1...\n\
        C: HELO good.test\nS: 250...\nC: MAIL FROM:<>\nS: 250...\nC: HELO good.test\nS: 250...\nC: EHLO bad.test\nS: 550 5.7.1 no such name\nC: MAIL FROM:<>\nS: 250...\n";
    talk_from_the_greeting(&script, dialogue).await;
    let commands: Vec<String> = script.heard().into_iter().filter(|it| !it.starts_with('D')).collect();
    let expected = [
        "O",
        "Clocalhost 127.0.0.1",
        "Hbad.test",
        "Hgood.test",
        "M<>",
        "A",
        "Hgood.test",
        "Hbad.test",
        // It is told again for whom the message comes.
        "Hgood.test",
        "M<>",
    ];
    assert_eq!(commands, expected);
}

#[tokio::test]
async fn a_milter_hears_of_lines_that_are_no_commands_if_it_wants_to() {
    for (steps, reply, is_heard) in [(0, "550 5.5.1 not here", true), (0x100, "500 5.5.2...", false)] {
        let script = Script::new(steps, says(b'U', b"y550 5.5.1 not here\0"));
        let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
        // What is known and wrong is no such line.
        talk(&fixture, &server, &format!("C: XPERT 1\nS: {reply}\nC: MAIL\nS: 501 5.5.4...\n")).await;
        assert_eq!(script.heard().contains(&"UXPERT 1".to_owned()), is_heard);
        assert_eq!(script.heard().iter().filter(|it| it.starts_with('U')).count(), usize::from(is_heard));
    }
}

#[tokio::test]
async fn a_milter_hears_of_refused_recipients_if_it_wants_to() {
    for (steps, is_heard) in [(0x800, true), (0, false)] {
        // Whatever it says to that.
        let script = Script::new(steps, |code, data| match (code, data) {
            (b'R', b"<nobody@example.org>\0") => vec![b"r".to_vec()],
            _ => vec![b"c".to_vec()],
        });
        let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
        let refused = "C: MAIL FROM:<a@b.test>\nS: 250...\nC: RCPT TO:<nobody@example.org>\nS: 550 5.1.1 No such user...\n";
        talk(&fixture, &server, &format!("{refused}C: RCPT TO:<bob@example.org>\nS: 250...\n")).await;
        let heard = script.heard().join("\n");
        assert_eq!(heard.contains("\nR<nobody@example.org>\n"), is_heard, "{heard}");
        assert_eq!(heard.contains(" {rcpt_host}=5.1.1 {rcpt_mailer}=error\n"), is_heard, "{heard}");
        assert!(heard.ends_with("{rcpt_mailer}=local\nR<bob@example.org>"), "{heard}");
    }
}

#[tokio::test]
async fn a_milter_that_refuses_a_recipient_is_not_told_of_it_again() {
    let script = Script::new(0x800, says(b'R', b"r"));
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &message("250", "550 5.7.1", "")).await;
    assert_eq!(script.heard().iter().filter(|it| it.starts_with('R')).count(), 1);
}

#[tokio::test]
async fn a_milter_that_asks_for_time_gets_it_at_every_step() {
    let script = Script::new(0, |_, _| vec![b"p".to_vec(), b"p".to_vec(), b"c".to_vec()]);
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &taken()).await;
    assert_eq!(delivered(&fixture, "bob").len(), 1);
}

#[tokio::test]
async fn a_milter_that_closes_has_the_connection_closed() {
    let script = Script::new(0, says(b'R', b"4"));
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &(message("250", "421 4.7.1", "") + "S: <close>\n")).await;
}

#[tokio::test]
async fn a_milter_changes_header_body_sender_and_recipients() {
    let script = Script::new(0, |code, _| match code {
        b'E' => vec![
            b"hX-Added\0at the end\0".to_vec(),
            b"i\0\0\0\0X-Top\0above all\0".to_vec(),
            b"i\0\0\0\x01X-First\0below ours\0".to_vec(),
            b"m\0\0\0\x01Subject\0changed\n\ttoo\0".to_vec(),
            b"m\0\0\0\x01X-Gone\0\0".to_vec(),
            b"bnew\n".to_vec(),
            b"b.body\r\n".to_vec(),
            b"e<other@b.test>\0".to_vec(),
            b"+<alice@example.org>\0".to_vec(),
            b"-<bob@example.org>\0".to_vec(),
            b"c".to_vec(),
        ],
        _ => vec![b"c".to_vec()],
    });
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &taken()).await;
    assert!(delivered(&fixture, "bob").is_empty());
    let [stored] = delivered(&fixture, "alice").try_into().unwrap();
    let (header, body) = stored.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "new\r\n.body\r\n");
    assert!(header.starts_with("Return-Path: <other@b.test>\r\nX-Top: above all\r\nReceived: "), "{header}");
    let behind =
        "\r\nX-First: below ours\r\nFrom: a@b.test\r\nSubject: changed\r\n\ttoo\r\nX-Added: at the end";
    assert!(header.ends_with(behind), "{header}");
}

#[tokio::test]
async fn what_a_milter_finds_to_be_junk_goes_to_junk_and_the_senders_word_counts_nothing() {
    let at_the_end = |answer: &'static [u8]| {
        Script::new(0, move |code, _| match code {
            b'E' => vec![answer.to_vec(), b"c".to_vec()],
            _ => vec![b"c".to_vec()],
        })
    };
    for (answer, word) in [(&b"hX-Spam\0yes, it is\0"[..], "junk"), (b"qa virus\0", "quarantine")] {
        let script = at_the_end(answer);
        let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
        talk(&fixture, &server, &taken()).await;
        let [stored] = delivered(&fixture, "bob/Junk").try_into().unwrap();
        let field = format!("X-Mailstead-Verdict: junk;\r\n\tscript={word}\r\n");
        assert!(stored.contains(&field), "{stored}");
    }
    let script = Script::new(0, go_on);
    let (fine, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fine, &server, &taken().replace("C: Subject: a\n", "C: X-Spam: Yes\nC: Subject: a\n")).await;
    assert_eq!(delivered(&fine, "bob").len(), 1);
}

#[tokio::test]
async fn what_a_milter_discards_or_gives_to_nobody_is_taken_and_gone() {
    let at_the_end = |code: u8, _: &[u8]| match code {
        b'E' => vec![b"-<BOB@example.org>\0".to_vec(), b"c".to_vec()],
        _ => vec![b"c".to_vec()],
    };
    let scripts =
        [Script::new(0, says(b'M', b"d")), Script::new(0, says(b'B', b"d")), Script::new(0, at_the_end)];
    for script in scripts {
        let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
        talk(&fixture, &server, &(taken() + &taken())).await;
        assert!(delivered(&fixture, "bob").is_empty());
    }
}

#[tokio::test]
async fn a_milter_that_is_content_hears_no_more_of_a_message() {
    let script = Script::new(0, says(b'M', b"a"));
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &(taken() + &taken())).await;
    let commands: String = script.heard().iter().filter_map(|packet| packet.chars().next()).collect();
    assert!(commands.replace('D', "").starts_with("OCHMAM"), "{commands}");
    assert_eq!(delivered(&fixture, "bob").len(), 2);
}

#[tokio::test]
async fn milters_are_asked_in_order_and_each_sees_what_those_before_it_have_changed() {
    let first = Script::new(0, |code, _| match code {
        b'E' => vec![b"i\0\0\0\x01X-By\0first\0".to_vec(), b"bother\r\n".to_vec(), b"c".to_vec()],
        _ => vec![b"c".to_vec()],
    });
    let second = Script::new(0, go_on);
    let milters = vec![milter(first.start().await), milter(second.start().await)];
    let (fixture, server) = fixture(milters).await;
    talk(&fixture, &server, &taken()).await;
    let heard = second.heard().join("\n");
    assert!(heard.contains("LX-By|first\nLFrom|a@b.test\n") && heard.contains("\nBother\\r\\n\n"), "{heard}");
}

/// A port where nobody listens.
async fn nowhere() -> MilterAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    MilterAddress::Inet("127.0.0.1".to_owned(), listener.local_addr().unwrap().port())
}

#[tokio::test]
async fn a_milter_that_is_down_is_answered_for_as_the_config_says() {
    let cases = [
        (MilterDefault::TempFail, message("451 4.7.1", "", ""), 0),
        (MilterDefault::Reject, message("550 5.7.1", "", ""), 0),
        (MilterDefault::Accept, taken(), 1),
    ];
    for (default, dialogue, count) in cases {
        let milters = vec![Milter { default, ..milter(nowhere().await) }];
        let (fixture, server) = fixture(milters).await;
        talk(&fixture, &server, &dialogue).await;
        assert_eq!(delivered(&fixture, "bob").len(), count, "{default:?}");
    }
}

#[tokio::test]
async fn a_milter_that_fails_in_the_midst_changes_nothing_and_is_asked_again_about_the_next_message() {
    // It says what is no reply, what is out of place, and half of what it has to say.
    for (to, answer) in [(b'E', &b"?"[..]), (b'B', b"hX-Spam\0Yes\0"), (b'E', b"hX-Spam\0Yes\0")] {
        let script = Script::new(0, says(to, answer));
        let content_timeout = Duration::from_millis(50);
        let strict = Milter { content_timeout, ..milter(script.start().await) };
        let (refusing, server) = fixture(vec![strict.clone()]).await;
        let refused = message("250", "250", "354") + "S: 451 4.7.1...\n";
        talk(&refusing, &server, &format!("{refused}{refused}")).await;
        let lax = Milter { default: MilterDefault::Accept, ..strict };
        let (taking, server) = fixture(vec![lax]).await;
        talk(&taking, &server, &taken()).await;
        let [stored] = delivered(&taking, "bob").try_into().unwrap();
        assert!(!stored.contains("X-Spam"), "{stored}");
        assert_eq!(script.heard().iter().filter(|packet| *packet == "O").count(), 3);
    }
}

#[tokio::test]
async fn a_milter_that_has_left_between_two_messages_is_connected_to_anew() {
    let script = Script { leaves: true, ..Script::new(0, go_on) };
    let (fixture, server) = fixture(vec![milter(script.start().await)]).await;
    talk(&fixture, &server, &taken().repeat(3)).await;
    assert_eq!(delivered(&fixture, "bob").len(), 3);
    assert_eq!(script.heard().iter().filter(|packet| *packet == "Clocalhost 127.0.0.1").count(), 3);
}

#[tokio::test]
async fn milters_are_for_the_listeners_that_they_are_for() {
    let milters = vec![Milter { roles: vec![SmtpRole::Submission], ..milter(nowhere().await) }];
    let (fixture, server) = fixture(milters).await;
    talk(&fixture, &server, &taken()).await;
    assert_eq!(delivered(&fixture, "bob").len(), 1);
}

#[tokio::test]
async fn a_long_message_goes_to_a_unix_socket_and_is_stored_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // Silent to pieces of the body.
    let script = Script::new(0x8_0000, |code, _| match code {
        b'B' => Vec::new(),
        b'E' => vec![b"hX-Seen\0all\0".to_vec(), b"c".to_vec()],
        _ => vec![b"c".to_vec()],
    });
    let served = script.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        served.serve(stream).await;
    });
    let (fixture, server) = fixture(vec![milter(MilterAddress::Unix(path))]).await;
    let mut stream = TcpStream::connect(server.address(Security::Plain)).await.unwrap();
    let body = format!("{}\r\n", "x".repeat(998)).repeat(2000);
    let text = format!("Subject: long\r\n\r\n{body}");
    let envelope = "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@example.org>\r\n";
    stream.write_all(format!("{envelope}BDAT {} LAST\r\n{text}", text.len()).as_bytes()).await.unwrap();
    let mut replies = Vec::new();
    while !String::from_utf8_lossy(&replies).contains("250 2.0.0 The message is safe") {
        assert!(stream.read_buf(&mut replies).await.unwrap() > 0, "{}", String::from_utf8_lossy(&replies));
    }
    let [stored] = delivered(&fixture, "bob").try_into().unwrap();
    assert!(stored.ends_with(&format!("Subject: long\r\nX-Seen: all\r\n\r\n{body}")));
    let pieces = script.heard().into_iter().filter(|it| it.starts_with('B'));
    assert_eq!(pieces.map(|it| it.matches('x').count()).sum::<usize>(), 998 * 2000);
}
