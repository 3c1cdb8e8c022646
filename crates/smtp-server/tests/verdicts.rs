//! What is found out about messages of any size, and what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mail_auth::report::{ActionDisposition, DmarcResult};
use mail_config::Config;
use mail_dkim::{Keys, Record, Signers};
use mail_events::{Attempt, AttemptOutcome, Event, EventLog, Message, MessageOutcome};
use smtp_queue::Suppression;
use testkit::{Fixture, Security, Server};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

const GOOD: &str = "good.test. MX 10 mx.good.test.\ngood.test. TXT \"v=spf1 ip4:127.0.0.1 -all\"\nmx.good.test. A 127.0.0.1\n";

async fn server(records: String) -> (Fixture, Server) {
    let fixture = tokio::task::spawn_blocking(move || {
        let mut fixture = Fixture::new().unwrap();
        fixture.serve_dns(&records).unwrap();
        fixture
    });
    let fixture = fixture.await.unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    (fixture, server)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(server: &Server) -> Self {
        Self::connect_from(server, "127.0.0.1").await
    }

    async fn connect_from(server: &Server, ip: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(server.address(Security::Plain)).await.unwrap();
        let mut client = Self(BufReader::new(stream));
        assert!(client.reply().await.starts_with("220 "));
        assert!(client.say("HELO mx.good.test").await.starts_with("250 "));
        client
    }

    async fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    /// Sends a message, given with its lines ended by CRLF, to bob.
    async fn send(&mut self, message: &str) -> String {
        self.send_from("good.test", message).await
    }

    async fn send_from(&mut self, domain: &str, message: &str) -> String {
        assert!(self.say(&format!("MAIL FROM:<a@{domain}>")).await.starts_with("250 "));
        assert!(self.say("RCPT TO:<bob@example.org>").await.starts_with("250 "));
        assert!(self.say("DATA").await.starts_with("354 "));
        self.0.write_all(message.as_bytes()).await.unwrap();
        self.say(".").await
    }
}

fn run(mut command: Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a key in `folder`, and gives the record of its public part.
fn make_key(folder: &Path) -> String {
    let key = folder.join("key");
    let mut command = Command::new("openssl");
    command.args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048");
    run(command, "");
    let mut command = Command::new("openssl");
    command.args(["rsa", "-pubout", "-in"]).arg(&key);
    let text = run(command, "");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("-----")).collect();
    format!("s._domainkey.good.test. TXT \"v=DKIM1; p={}\"\n", lines.join("\" \""))
}

fn sign(folder: &Path, message: &str) -> String {
    let mut command = Command::new("/usr/bin/dkimsign");
    command.args(["--bcanon", "relaxed", "s", "good.test"]).arg(folder.join("key"));
    run(command, message)
}

/// RFC 7489 §7.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_out_is_counted_for_the_domain_that_asks_for_a_report() {
    let zone = format!(
        "{GOOD}_dmarc.good.test. TXT \"v=DMARC1; p=reject; rua=mailto:d@good.test\"\n\
         _dmarc.bad.test. TXT \"v=DMARC1; p=reject; rua=mailto:d@bad.test\"\n\
         _dmarc.silent.test. TXT \"v=DMARC1; p=none\"\n"
    );
    let fixture = tokio::task::spawn_blocking(move || {
        let mut fixture = Fixture::new().unwrap();
        fixture.serve_dns(&zone).unwrap();
        fixture.config.reports.dmarc_from = Some("reports@example.org".parse().unwrap());
        fixture
    });
    let fixture = fixture.await.unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    let mut client = Client::connect(&server).await;
    for (domain, reply) in
        [("good.test", "250 "), ("good.test", "250 "), ("bad.test", "550 "), ("silent.test", "250 ")]
    {
        let message =
            format!("From: a@{domain}\r\nSubject: x\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n\r\nx\r\n");
        let answer = client.send(&message).await;
        assert!(answer.starts_with(reply), "{domain}: {answer}");
    }
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let reports = mail_reports::Reports::open(&fixture.config.reports_file()).unwrap();
    let started = Instant::now();
    let observed = loop {
        let observed = reports.observed(tomorrow, 10).unwrap();
        if observed.len() >= 2 {
            break observed;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let domains: Vec<&str> = observed.iter().map(|it| it.domain.as_str()).collect();
    assert_eq!(domains, ["bad.test", "good.test"]);
    let of = |place: usize| reports.records(observed.get(place).unwrap()).unwrap();
    let [bad, good] = [of(0), of(1)].map(|records| <[_; 1]>::try_from(records).unwrap());
    assert_eq!((good[0].count(), good[0].dmarc_spf_result()), (2, DmarcResult::Pass));
    assert_eq!((bad[0].count(), bad[0].action_disposition()), (1, ActionDisposition::Reject));
    assert_eq!((bad[0].dmarc_spf_result(), bad[0].envelope_from()), (DmarcResult::Fail, "good.test"));
    assert_eq!(bad[0].source_ip(), "127.0.0.1".parse().ok());
}

/// A message is held back until it is judged, in pieces of 256 KiB: one around and one far above that, whole and unchanged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_message_of_any_size_is_verified_and_stored_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let key = make_key(folder.path());
    let (fixture, server) =
        server(format!("{GOOD}{key}_dmarc.good.test. TXT \"v=DMARC1; p=reject\"\n")).await;
    let mut client = Client::connect(&server).await;
    for (number, lines) in [1, 3_300, 3_360, 3_400, 40_000].into_iter().enumerate() {
        let header =
            format!("From: a@good.test\r\nSubject: {lines}\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n");
        let body: String = (0..lines).map(|line| format!("{line:07}  {}\r\n", "x".repeat(69))).collect();
        let signed = sign(folder.path(), &format!("{header}\r\n{body}"));
        assert!(client.send(&signed).await.starts_with("250 "), "{lines} lines");
        let delivered = fixture.delivered("bob").unwrap();
        assert_eq!(delivered.len(), number + 1);
        let stored = delivered
            .iter()
            .map(|it| String::from_utf8_lossy(it))
            .find(|it| it.contains(&format!("Subject: {lines}\r\n")))
            .unwrap();
        assert!(
            stored.contains("\tdkim=pass header.d=good.test header.s=s header.a=rsa-sha256 header.b="),
            "{lines} lines"
        );
        assert!(stored.contains("\tdmarc=pass (p=reject) header.from=good.test\r\n"), "{lines} lines");
        assert!(stored.ends_with(&signed), "{lines} lines are stored otherwise");
        assert!(
            stored.starts_with("Return-Path: <a@good.test>\r\nAuthentication-Results: mail.example.org;\r\n")
        );
    }
    // Nothing of what waited is left, nor is there anything of a message that is refused.
    let changed = sign(folder.path(), "From: a@good.test\r\n\r\nx\r\n")
        .replace("\r\nx\r\n", &format!("\r\n{}\r\n", "y\r\n".repeat(200_000)));
    assert!(client.send(&changed).await.starts_with("250 "), "SPF passes");
    let left = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".tmp");
    assert_eq!(std::fs::read_dir(&fixture.config.data_dir).unwrap().flatten().filter(left).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_longer_than_a_piece_is_refused() {
    let (fixture, server) = server(GOOD.to_owned()).await;
    let mut client = Client::connect(&server).await;
    let header = format!("From: a@good.test\r\n{}", format!("X: {}\r\n", "x".repeat(900)).repeat(400));
    assert!(client.send(&format!("{header}\r\nHello.\r\n")).await.starts_with("554 5.3.4 "));
    assert!(client.send("From: a@good.test\r\n\r\nHello.\r\n").await.starts_with("250 "));
    assert_eq!(fixture.delivered("bob").unwrap().len(), 1);
}

/// No wrong accept, no refusal for good, and no longer than the look-ups may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_that_never_answers_defers_mail_within_its_time_limit() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.config.dns.servers = vec![silent.local_addr().unwrap()];
    fixture.config.dns.timeout = Duration::from_millis(500);
    fixture.config.smtp.verdicts.trusted.clear();
    let server = fixture.start(smtp_server::run).unwrap();
    let mut client = Client::connect(&server).await;
    let begun = Instant::now();
    assert!(client.say("MAIL FROM:<a@good.test>").await.starts_with("250 "));
    assert!(client.say("RCPT TO:<bob@example.org>").await.starts_with("451 4.4.3 "));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Clients that are trusted, as those of this machine are by default, are asked for nothing: the DNS may be dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_of_this_machine_asks_the_dns_for_nothing() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.config.dns.servers = vec![silent.local_addr().unwrap()];
    let server = fixture.start(smtp_server::run).unwrap();
    let mut client = Client::connect(&server).await;
    assert!(client.send("From: a@good.test\r\n\r\nHello.\r\n").await.starts_with("250 "));
    let mut packet = [0; 512];
    assert!(silent.try_recv(&mut packet).is_err(), "a look-up was made");
}

/// Who is known from one network needn't wait in another, if it proves who it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_greylist_spares_known_domains_that_spf_or_dkim_prove() {
    let folder = tempfile::tempdir().unwrap();
    let key = make_key(folder.path());
    let records = format!(
        "good.test. MX 10 mx.good.test.\ngood.test. TXT \"v=spf1 ip4:127.0.5.0/24 -all\"\nmx.good.test. A 127.0.0.1\n{key}"
    );
    let fixture = tokio::task::spawn_blocking(move || {
        let mut fixture = Fixture::new().unwrap();
        fixture.serve_dns(&records).unwrap();
        fixture.set_smtp("greylist", "0").unwrap();
        fixture.config.smtp.verdicts.weights.spf_fail = 0;
        fixture
    });
    let fixture = fixture.await.unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    let plain = "From: a@good.test\r\n\r\nHello.\r\n";
    let mut home = Client::connect(&server).await;
    assert!(home.say("MAIL FROM:<a@good.test>").await.starts_with("250 "));
    assert!(home.say("RCPT TO:<bob@example.org>").await.starts_with("451 4.7.1 "));
    assert!(home.say("RSET").await.starts_with("250 "));
    assert!(home.send(plain).await.starts_with("250 "), "it has come again");
    let mut allowed = Client::connect_from(&server, "127.0.5.1").await;
    assert!(allowed.send(plain).await.starts_with("250 "), "SPF proves it");
    let mut elsewhere = Client::connect_from(&server, "127.0.6.1").await;
    assert!(elsewhere.send(plain).await.starts_with("451 4.7.1 "), "nothing proves it");
    let mut signer = Client::connect_from(&server, "127.0.7.1").await;
    assert!(signer.send(&sign(folder.path(), plain)).await.starts_with("250 "), "DKIM proves it");
    assert!(signer.send(plain).await.starts_with("250 "), "it is known there from then on");
    assert_eq!(fixture.delivered("bob").unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_refusals_are_held_back() {
    let mut fixture = tokio::task::spawn_blocking(|| {
        let mut fixture = Fixture::new().unwrap();
        fixture.serve_dns(GOOD).unwrap();
        fixture
    })
    .await
    .unwrap();
    fixture.config.smtp.verdicts.tarpit = Duration::from_millis(300);
    let server = fixture.start(smtp_server::run).unwrap();
    let mut client = Client::connect(&server).await;
    assert!(client.say("MAIL FROM:<a@good.test>").await.starts_with("250 "));
    let begun = Instant::now();
    assert!(client.say("RCPT TO:<nobody@example.org>").await.starts_with("550 5.1.1 "));
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

/// RFC 8058 §4: what our own signatures say of them, by our own verifier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_signatures_cover_the_fields_by_which_one_leaves_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, domain) = (Keys::new(folder.path().to_owned()), "good.test".parse().unwrap());
    let generation = keys.generate(&domain, jiff::civil::date(2026, 11, 28)).unwrap();
    let record = |it: &Record| format!("{}. TXT {}\n", it.name, it.in_zone_file());
    let records: String = keys.records(&domain, &generation.name).unwrap().iter().map(record).collect();
    let (fixture, server) = server(format!("{GOOD}{records}")).await;
    let fields = "List-Unsubscribe: <https://good.test/u?AbC>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    let plain =
        format!("From: a@good.test\r\nTo: bob@example.org\r\n{fields}Subject: news\r\n\r\nHello.\r\n");
    let signed = Signers::new(keys).sign(plain.as_bytes()).unwrap().unwrap() + &plain;
    let mut client = Client::connect(&server).await;
    let mut results = Vec::new();
    for message in [
        signed.clone(),
        signed.replace("AbC", "AbD"),
        signed.replace("Subject: news", "List-Unsubscribe: <https://evil.test>\r\nSubject: news"),
    ] {
        assert!(client.send(&message).await.starts_with("250 "));
        let stored = fixture.delivered("bob").unwrap().pop().unwrap();
        let stored = String::from_utf8(stored).unwrap();
        assert!(stored.ends_with(&message), "{stored}");
        results.push((stored.matches("\tdkim=pass").count(), stored.matches("\tdkim=fail").count()));
    }
    assert_eq!(results, [(2, 0), (0, 2), (0, 2)]);
}

/// Notes that alice's message `<id@example.org>` went to these.
fn note_sent(log: &EventLog, id: &str, recipients: &[&str]) {
    let owned = || recipients.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let queue_id = format!("Q{id}");
    log.note(Event::Message(Box::new(Message {
        id: id.to_owned(),
        listener: "submission".to_owned(),
        peer: "192.0.2.1".to_owned(),
        helo: "client".to_owned(),
        protocol: "ESMTPSA".to_owned(),
        tls: None,
        account: Some("alice@example.org".to_owned()),
        sender: "alice@example.org".to_owned(),
        recipients: owned(),
        accounts: Vec::new(),
        remote: owned(),
        message_id: Some(format!("<{id}@example.org>")),
        size: 100,
        verdict: None,
        outcome: MessageOutcome::Accepted,
        reply: "250".to_owned(),
        queue_id: Some(queue_id.clone()),
        milliseconds: 1,
    })));
    for recipient in owned() {
        log.note(Event::Attempt(Box::new(Attempt {
            queue_id: queue_id.clone(),
            sender: "alice@example.org".to_owned(),
            recipient,
            attempt: 1,
            outcome: AttemptOutcome::Delivered,
            host: Some("mx".to_owned()),
            status: "2.0.0".to_owned(),
            text: "250 OK".to_owned(),
            class: None,
            next: None,
            seconds: 1,
        })));
    }
}

fn feedback(from: &str, kind: &str, recipient: Option<&str>, id: &str) -> String {
    let recipient = recipient.map(|it| format!("Original-Rcpt-To: <{it}>\r\n")).unwrap_or_default();
    format!(
        "From: fbl@{from}\r\nSubject: FW: Buy\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: {kind}\r\nUser-Agent: Reporter/1\r\nVersion: 1\r\n{recipient}\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <{id}@example.org>\r\n\r\nBuy.\r\n--b--\r\n"
    )
}

/// Once all reports that came are read: who is suppressed.
async fn suppressed(config: &Config) -> Vec<String> {
    let started = Instant::now();
    while std::fs::read_dir(config.reports_dir()).unwrap().next().is_some() {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let list = Suppression::open(&config.suppression_file(), &config.queue.suppression).unwrap();
    list.list(jiff::Timestamp::now()).unwrap().into_iter().map(|it| it.address).collect()
}

/// RFC 5965 §8.2: nobody gets others onto the suppression list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_complains_gets_no_more_bulk_mail_and_nobody_complains_for_others() {
    let domain = |name: &str| {
        format!(
            "{name} MX 10 mx.good.test.\n{name} TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc.{name} TXT \"v=DMARC1; p=none\"\n"
        )
    };
    let zone =
        ["good.test.", "evil.test.", "feedback.test."].map(domain).concat() + "mx.good.test. A 127.0.0.1\n";
    let fixture = tokio::task::spawn_blocking(move || {
        let mut fixture = Fixture::new().unwrap();
        fixture.serve_dns(&zone).unwrap();
        fixture.config.reports.addresses = vec!["bob@example.org".parse().unwrap()];
        fixture.config.reports.complaints_from = vec!["feedback.test".parse().unwrap()];
        let log = EventLog::open(&fixture.config, "test").unwrap();
        note_sent(&log, "two", &["bob@good.test", "carol@other.test"]);
        note_sent(&log, "one", &["dave@other.test"]);
        fixture
    });
    let fixture = fixture.await.unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    let mut client = Client::connect(&server).await;
    let cases = [
        // Nothing proves the author, whoever has sent it.
        ("evil.test", "good.test", "abuse", Some("bob@good.test"), "two"),
        // It speaks for none but its own.
        ("evil.test", "evil.test", "abuse", Some("carol@other.test"), "two"),
        ("good.test", "good.test", "abuse", None, "one"),
        // No such message has gone, or not there.
        ("good.test", "good.test", "abuse", Some("bob@good.test"), "three"),
        ("good.test", "good.test", "abuse", Some("erin@good.test"), "two"),
        ("feedback.test", "feedback.test", "abuse", Some("erin@other.test"), "two"),
        ("feedback.test", "feedback.test", "abuse", None, "two"),
        // No complaint.
        ("good.test", "good.test", "not-spam", Some("bob@good.test"), "two"),
    ];
    for (sender, from, kind, recipient, id) in cases {
        let reply = client.send_from(sender, &feedback(from, kind, recipient, id)).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(suppressed(&fixture.config).await, [""; 0]);
    for (domain, recipient, id) in [
        ("good.test", Some("Bob@good.test"), "two"),
        ("feedback.test", Some("carol@other.test"), "two"),
        ("feedback.test", None, "one"),
    ] {
        assert!(
            client.send_from(domain, &feedback(domain, "abuse", recipient, id)).await.starts_with("250 ")
        );
    }
    assert_eq!(suppressed(&fixture.config).await, ["bob@good.test", "carol@other.test", "dave@other.test"]);
}
