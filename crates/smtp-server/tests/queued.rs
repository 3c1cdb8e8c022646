//! What submission puts into the queue.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mail_config::{Config, Listener, RelayClient, RelayOrigin, SmtpRole, TlsMode};
use mail_directory::{Directory, Verp};
use mail_events::{By, Reader, ReportFilter};
use mail_types::Secret;
use server_core::{Drain, Limits, ServerContext, bind};
use smtp_proto::Return;
use smtp_queue::{Body, Queue, Suppression};

struct Server {
    folder: tempfile::TempDir,
    submission: SocketAddr,
    mx: SocketAddr,
    lmtp: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn listener(name: &str, role: SmtpRole) -> Listener {
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    Listener { name: name.to_owned(), addresses, tls: TlsMode::None, role, proxies: Vec::new() }
}

fn server() -> Server {
    server_with(|_| ())
}

fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new("mail.example.org".parse().unwrap(), folder.path().to_owned());
    config.smtp.listeners = vec![
        listener("submission", SmtpRole::Submission),
        listener("smtp", SmtpRole::Mx),
        listener("lmtp", SmtpRole::Lmtp),
    ];
    change(&mut config);
    let directory = Directory::open(&config.directory_file()).unwrap();
    directory.add_domain(&"example.org".parse().unwrap()).unwrap();
    directory.add_account(&"bob@example.org".parse().unwrap(), &Secret::new("secret".to_owned())).unwrap();
    let sockets = bind(&config.smtp.listeners).unwrap();
    let addresses: Vec<_> = sockets.iter().map(|it| it.socket.local_addr().unwrap()).collect();
    let [submission, mx, lmtp] = addresses.try_into().unwrap();
    let limits = Limits::new(&config.limits);
    let (config, drain, metrics) = (Arc::new(config), Drain::new(), Default::default());
    let context = ServerContext { config, tls: None, limits, drain, metrics };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(smtp_server::run(context, sockets));
    Server { folder, submission, mx, lmtp, _runtime: runtime }
}

/// Sends everything at once (PIPELINING), ends with QUIT, and returns the codes of all replies.
fn codes(address: SocketAddr, input: &str) -> Vec<String> {
    replies(address, input).iter().map(|line| line.get(..3).unwrap().to_owned()).collect()
}

/// The same with their texts, of several lines the last.
fn replies(address: SocketAddr, input: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(input.as_bytes()).unwrap();
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).unwrap();
    let last = |line: &&str| line.get(3..4) == Some(" ");
    output.lines().filter(last).map(str::to_owned).collect()
}

/// `AUTH PLAIN` as bob with the right password.
const LOGIN: &str = "EHLO x\r\nAUTH PLAIN AGJvYkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n";

/// RFC 2852 §4, §4.1.3: the time begins with MAIL, and what came too slowly is not delivered any more, here or elsewhere.
/// A session that has said its login and these commands, the last of them DATA, and has heard their replies.
fn up_to_data(server: &Server, commands: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.submission).unwrap();
    stream.write_all(format!("{LOGIN}{commands}").as_bytes()).unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("\r\n354 ") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        said.extend(octet);
    }
    stream
}

#[test]
fn a_message_whose_time_is_over_at_its_end_is_refused() {
    let server = server();
    let mail =
        "MAIL FROM:<bob@example.org> BY=1;R\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n";
    let mut stream = up_to_data(&server, mail);
    std::thread::sleep(Duration::from_secs(1));
    stream.write_all(b".\r\nQUIT\r\n").unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).unwrap();
    assert!(output.contains("\r\n554 5.4.7 The time for its delivery is over"), "{output}");
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    assert!(queue.list(None, 10).unwrap().is_empty());
}

/// RFC 3461 §5.2.1, §5.2.7: what the sender wants to hear stays with the message, and the name by which it knows a recipient.
#[test]
fn what_the_sender_wants_to_hear_is_queued_with_the_message() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let directory = Directory::open(&server.folder.path().join("directory.sqlite")).unwrap();
    directory.add_alias(&"all@example.org".parse().unwrap(), &["e@f.org".parse().unwrap()]).unwrap();
    let mail = "MAIL FROM:<bob@example.org> RET=HDRS ENVID=a+2Bb\r\nRCPT TO:<c@d.org> NOTIFY=NEVER\r\n\
        RCPT TO:<all@example.org> NOTIFY=DELAY\r\nRCPT TO:<e@f.org>\r\n";
    let replies = codes(server.submission, &format!("{LOGIN}{mail}DATA\r\nSubject: a\r\n\r\n.\r\n"));
    assert_eq!(replies.get(3..9).unwrap(), ["250", "250", "250", "250", "354", "250"]);
    let queued = queue.list(None, 10).unwrap();
    let message = queued.first().unwrap();
    assert_eq!((message.ret, message.envelope_id.as_deref()), (Some(Return::Headers), Some("a+b")));
    let kept: Vec<_> = message.recipients.iter().map(|it| it.parameters.to_string()).collect();
    assert_eq!(kept, [" NOTIFY=NEVER", " NOTIFY=FAILURE,DELAY ORCPT=rfc822;all@example.org"]);
}

/// The text of what is queued, oldest first.
fn queued(queue: &Queue) -> Vec<String> {
    let text = |message: &smtp_queue::QueuedMessage| {
        let mut text = String::new();
        queue.content(&message.id).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    queue.list(None, 10).unwrap().iter().map(text).collect()
}

/// RFC 3461 §5.2.3, §6.1, §6.2: by SMTP and by LMTP, for who asked, and to nobody that there is none.
#[test]
fn a_delivery_is_reported_to_who_asked_for_it() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let rcpt = "RCPT TO:<bob+x@example.org> NOTIFY=SUCCESS ORCPT=rfc822;Robert@example.org\r\n";
    let data = "DATA\r\nSubject: a\r\nContent-Language: es\r\n\r\nbody\r\n.\r\n";
    for (address, greeting) in [(server.mx, "EHLO"), (server.lmtp, "LHLO")] {
        let mail = "MAIL FROM:<carol@example.net> RET=FULL ENVID=E1\r\n";
        let replies = codes(address, &format!("{greeting} x\r\n{mail}{rcpt}{data}"));
        assert_eq!(replies.get(1..6).unwrap(), ["250", "250", "250", "354", "250"]);
        let [report] = queued(&queue).try_into().unwrap();
        let listed = queue.list(None, 10).unwrap();
        let message = listed.first().unwrap();
        assert_eq!((message.sender.as_ref(), message.body), (None, Body::SevenBit));
        let to: Vec<_> =
            message.recipients.iter().map(|it| format!("{}{}", it.address, it.parameters)).collect();
        assert_eq!(to, ["carol@example.net NOTIFY=NEVER"]);
        let group = "\r\nOriginal-Recipient: rfc822; Robert@example.org\r\n\
            Final-Recipient: rfc822; bob+x@example.org\r\nAction: delivered\r\nStatus: 2.1.5\r\n";
        assert!(report.contains(group) && report.contains("Original-Envelope-Id: E1\r\n"), "{report}");
        assert!(report.contains("text/rfc822-headers") && report.contains("Subject: a\r\n"), "{report}");
        assert!(!report.contains("body") && report.contains("Content-Language: es\r\n"), "{report}");
        queue.remove(None).unwrap();
    }
    // From nobody, and from who asked for something else.
    for mail in
        ["MAIL FROM:<>\r\n", "MAIL FROM:<carol@example.net>\r\nRCPT TO:<bob@example.org> NOTIFY=NEVER\r\n"]
    {
        let rcpt = if mail.contains("<>") { rcpt } else { "" };
        let replies = codes(server.mx, &format!("EHLO x\r\n{mail}{rcpt}{data}"));
        assert_eq!(replies.get(1..6).unwrap(), ["250", "250", "250", "354", "250"]);
        assert!(queued(&queue).is_empty());
    }
}

/// RFC 2045 §2.7, RFC 6152 §3: no line holds a NUL, whatever was declared, and however it came.
#[test]
fn a_message_with_a_nul_is_binary_on_its_way() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let mut stream = up_to_data(&server, "MAIL FROM:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n");
    stream.write_all(b"Subject: a\r\n\r\na\0b\r\n.\r\nQUIT\r\n").unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    let mail = "MAIL FROM:<bob@example.org> BODY=8BITMIME\r\nRCPT TO:<c@d.org>\r\nBDAT 4 LAST\r\n\r\na\0";
    assert!(
        codes(server.submission, &format!("{LOGIN}{mail}"))
            .get(3..6)
            .is_some_and(|codes| codes == ["250"; 3])
    );
    let listed = queue.list(None, 10).unwrap();
    assert_eq!(listed.iter().map(|it| it.body).collect::<Vec<_>>(), [Body::Binary; 2]);
}

/// RFC 3030 §3
#[test]
fn binary_mail_is_stored_and_queued_octet_by_octet() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let body = "Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\0\r.\r\n.\r\n\n";
    let header = "MIME-Version: 1.0\r\nSubject: a\r\n";
    let size = header.len() + body.len();
    let mail =
        "MAIL FROM:<bob@example.org> BODY=BINARYMIME\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\n";
    let replies = codes(server.submission, &format!("{LOGIN}{mail}BDAT {size} LAST\r\n{header}{body}"));
    assert_eq!(replies.get(3..7).unwrap(), ["250", "250", "250", "250"]);
    let listed = queue.list(None, 10).unwrap();
    assert_eq!(listed.first().unwrap().body, Body::Binary);
    let new = server.folder.path().join("mail/example.org/bob/Maildir/new");
    let file = std::fs::read_dir(new).unwrap().next().unwrap().unwrap().path();
    for text in [queued(&queue).pop().unwrap(), std::fs::read_to_string(file).unwrap()] {
        assert!(text.ends_with(&format!("{header}{body}")), "{text:?}");
    }
}

/// RFC 3461 §5.2.7.3 (c)
#[test]
fn an_alias_of_several_is_expanded_and_they_report_no_delivery() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let directory = Directory::open(&server.folder.path().join("directory.sqlite")).unwrap();
    let targets = ["bob@example.org", "e@f.org"].map(|it| it.parse().unwrap());
    directory.add_alias(&"all@example.org".parse().unwrap(), &targets).unwrap();
    let mail = "MAIL FROM:<carol@example.net>\r\nRCPT TO:<all@example.org> NOTIFY=SUCCESS,FAILURE\r\n";
    codes(server.mx, &format!("EHLO x\r\n{mail}DATA\r\nSubject: a\r\n\r\n.\r\n"));
    let listed = queue.list(None, 10).unwrap();
    let to: Vec<_> = listed.iter().flat_map(|it| &it.recipients).collect();
    let to: Vec<_> = to.iter().map(|it| format!("{}{}", it.address, it.parameters)).collect();
    let on = "e@f.org NOTIFY=FAILURE ORCPT=rfc822;all@example.org";
    assert_eq!(to, [on, "carol@example.net NOTIFY=NEVER"]);
    let report = queued(&queue).pop().unwrap();
    assert!(report.contains("Final-Recipient: rfc822; all@example.org\r\nAction: expanded\r\n"), "{report}");
}

#[test]
fn mail_for_elsewhere_is_queued_as_it_was_sent_behind_our_fields() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let mail = "MAIL FROM:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\n";
    let input = format!("{LOGIN}{mail}DATA\r\nSubject: a\r\n\r\n..dot\r\n.\r\n");
    let replies = codes(server.submission, &input);
    assert_eq!(replies.get(..7).unwrap(), ["220", "250", "235", "250", "250", "354", "250"]);
    let queued = queue.list(None, 10).unwrap();
    let mut text = String::new();
    queue.content(&queued.first().unwrap().id).unwrap().read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("Received: from x ([127.0.0.1])\r\n\tby mail.example.org with ESMTPA id "),
        "{text}"
    );
    assert!(text.contains("\r\n\tfor <c@d.org>;\r\n") && !text.contains("Return-Path"), "{text}");
    assert!(text.contains("\r\nFrom: bob@example.org\r\nDate: "), "{text}");
    assert!(text.contains("\r\nMessage-ID: <") && text.ends_with("\r\nSubject: a\r\n\r\n.dot\r\n"), "{text}");
}

/// Puts gone@d.org onto the suppression list.
fn suppress(server: &Server) {
    let list =
        Suppression::open(&server.folder.path().join("suppression.sqlite"), &Default::default()).unwrap();
    let said = format!("550 5.1.1 {}", "who? ".repeat(200));
    for _ in 0..2 {
        list.bounced(&"gone@d.org".parse().unwrap(), &said, jiff::Timestamp::now()).unwrap();
    }
}

/// RFC 5321 §4.2.5: what is known at RCPT is said there.
#[test]
fn who_sends_bulk_mail_only_is_told_at_once_who_gets_none() {
    let server = server_with(|config| config.queue.bulk = vec!["bob@example.org".parse().unwrap()]);
    suppress(&server);
    let mail =
        "MAIL FROM:<bob@example.org>\r\nRCPT TO:<Gone@d.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n\r\n.\r\n";
    let said = replies(server.submission, &format!("{LOGIN}{mail}"));
    let refusal = said.get(4).unwrap();
    assert!(refusal.starts_with("550 5.1.1 Gone@d.org is on the suppression list since 20"), "{refusal}");
    assert!(refusal.ends_with("`mailstead suppression remove Gone@d.org` lifts it"), "{refusal}");
    assert!(refusal.len() <= 510, "{refusal}");
    let codes: Vec<&str> = said.iter().filter_map(|line| line.get(..3)).collect();
    assert_eq!(codes.get(5..8).unwrap(), ["250", "354", "250"]);
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let queued = queue.list(None, 10).unwrap();
    assert_eq!(queued.first().unwrap().recipients.len(), 1);
}

/// That a domain is foreign is remembered from one recipient to the next; who is on the list is asked each time.
#[test]
fn who_sends_bulk_mail_only_is_told_so_also_where_the_domain_is_known() {
    let server = server_with(|config| config.queue.bulk = vec!["bob@example.org".parse().unwrap()]);
    suppress(&server);
    let first = "MAIL FROM:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\nRSET\r\n";
    let second = "MAIL FROM:<bob@example.org>\r\nRCPT TO:<e@d.org>\r\nRCPT TO:<gone@d.org>\r\n";
    let said = replies(server.submission, &format!("{LOGIN}{first}{second}"));
    let recipients: Vec<&str> = said.iter().filter_map(|line| line.get(..9)).skip(4).collect();
    assert_eq!(
        recipients.get(..5).unwrap(),
        ["250 2.1.5", "250 2.0.0", "250 2.1.0", "250 2.1.5", "550 5.1.1"]
    );
}

/// What the header makes bulk mail is known at its end: it is refused where it would reach nobody. What people write goes there.
#[test]
fn bulk_mail_that_would_reach_nobody_is_refused() {
    let server = server();
    suppress(&server);
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let send = |recipients: &[&str], header: &str| {
        let recipients: String = recipients.iter().map(|it| format!("RCPT TO:<{it}>\r\n")).collect();
        let mail = format!("MAIL FROM:<bob@example.org>\r\n{recipients}DATA\r\n{header}\r\n.\r\n");
        let said = replies(server.submission, &format!("{LOGIN}{mail}"));
        let last = said.get(said.len() - 2).unwrap().clone();
        (last, queue.remove(None).unwrap())
    };
    let list = "List-Unsubscribe: <https://example.org/u>\r\n";
    let (refusal, queued) = send(&["gone@d.org"], list);
    assert!(refusal.starts_with("550 5.1.1 gone@d.org is on the suppression list"), "{refusal}");
    assert_eq!(queued, 0);
    for (recipients, header) in [
        (&["gone@d.org"][..], "Subject: hello\r\n"),
        (&["gone@d.org", "c@d.org"], list),
        (&["gone@d.org", "bob@example.org"], list),
    ] {
        let (reply, queued) = send(recipients, header);
        assert!(reply.starts_with("250 2.0.0 ") && queued == 1, "{recipients:?} {header} {reply}");
    }
}

/// RFC 6409 §8: on port 25 too, and with lines of its own in the report.
#[test]
fn what_a_machine_sends_is_a_submission_in_its_name() {
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let senders = vec!["printers@example.org".parse().unwrap()];
    let server = server_with(|config| {
        config.smtp.relay_clients.push(RelayClient {
            name: "printers".to_owned(),
            from: RelayOrigin::Networks { networks, senders, allow_plaintext: false },
            max_message_size: None,
            recipients_per_message: None,
            recipients_per_hour: None,
            messages_per_hour: None,
        });
    });
    let mail = "MAIL FROM:<printers@example.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\nSubject: scan\r\nBcc: c@d.org\r\n\r\n.\r\n";
    let replies = codes(server.mx, &format!("EHLO x\r\n{mail}"));
    assert_eq!(replies.get(..6).unwrap(), ["220", "250", "250", "250", "354", "250"]);
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let listed = queue.list(None, 10).unwrap();
    let message = listed.first().unwrap();
    assert_eq!((message.origin.as_str(), message.handling.is_ours), ("printers", true));
    let text = queued(&queue).pop().unwrap();
    for field in [
        "\r\nDate: ",
        "\r\nMessage-ID: <",
        "\r\nFrom: printers@example.org\r\n",
        "by mail.example.org with ESMTP id",
    ] {
        assert!(text.contains(field), "{field} is missing: {text}");
    }
    assert!(!text.contains("Bcc"), "{text}");
    let by_client = ReportFilter { client: Some("Printers".to_owned()), ..ReportFilter::default() };
    let started = std::time::Instant::now();
    loop {
        let reader = Reader::open(&server.folder.path().join("events")).unwrap();
        let report = reader.report(By::Client, &by_client, &jiff::tz::TimeZone::UTC).unwrap();
        if let [line] = report.lines.as_slice() {
            break assert_eq!((line.name.as_deref(), line.figures.received), (Some("printers"), 1));
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{report:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_goes_to_many_in_a_short_time_is_bulk_mail() {
    let server = server_with(|config| config.queue.bulk_recipients = 2);
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let mail = |recipients: &[&str]| {
        let recipients: String = recipients.iter().map(|it| format!("RCPT TO:<{it}>\r\n")).collect();
        format!("MAIL FROM:<bob@example.org>\r\n{recipients}DATA\r\n\r\n.\r\n")
    };
    let here = mail(&["bob@example.org", "bob+x@example.org", "bob+y@example.org"]);
    let mails = here + &mail(&["c@d.org", "bob@example.org"]) + &mail(&["e@d.org"]) + &mail(&["f@d.org"]);
    codes(server.submission, &format!("{LOGIN}{mails}"));
    let is_bulk: Vec<bool> = queue.list(None, 10).unwrap().iter().map(|it| it.handling.is_bulk).collect();
    assert_eq!(is_bulk, [false, false, true], "those here don't count");
}

/// RFC 3464, and what a bounce comes to: a return address that says for whom it is (VERP).
#[test]
fn a_bounce_to_an_address_of_one_recipient_is_counted_for_it() {
    let server = server_with(|config| {
        config.queue.verp = vec!["@example.org".parse().unwrap()];
        config.queue.suppression.bounces = 1;
    });
    let key = server.folder.path().join("srs.key");
    let started = std::time::Instant::now();
    while !key.exists() {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let verp = Verp::open(&key, &["@example.org".parse().unwrap()], '+').unwrap();
    let own = |recipient: &str| {
        verp.sender(&"bob@example.org".parse().unwrap(), &recipient.parse().unwrap()).unwrap().to_string()
    };
    let bounce = |from: &str, to: &str, status: &str, said: &str| {
        let report = format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.d.org\r\n\r\n\
             Final-Recipient: rfc822; x@d.org\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {said}\r\n--b--\r\n"
        );
        let mail = format!("EHLO x\r\nMAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n{report}.\r\n");
        assert_eq!(codes(server.mx, &mail).get(1..6).unwrap(), ["250", "250", "250", "354", "250"], "{to}");
    };
    let gone = ("5.1.1", "550 5.1.1 user unknown");
    bounce("", &own("gone@d.org"), gone.0, gone.1);
    bounce("", &own("full@d.org"), "5.2.2", "552 5.2.2 over quota");
    // Not from nobody, and not an address that we have made.
    bounce("eve@evil.test", &own("said@d.org"), gone.0, gone.1);
    bounce("", &own("made@d.org").replace("made", "mad3"), gone.0, gone.1);
    bounce("", "bob+forged=d.org=aaaaaaaa@example.org", gone.0, gone.1);
    let new = server.folder.path().join("mail/example.org/bob/Maildir/new");
    assert_eq!(std::fs::read_dir(new).unwrap().count(), 5, "all are delivered to who sent them");
    let list =
        Suppression::open(&server.folder.path().join("suppression.sqlite"), &Default::default()).unwrap();
    let listed = list.list(jiff::Timestamp::now()).unwrap();
    assert_eq!(listed.iter().map(|it| it.address.as_str()).collect::<Vec<_>>(), ["gone@d.org"]);
    let bounced = || {
        let reader = Reader::open(&server.folder.path().join("events")).unwrap();
        let filter = ReportFilter { sender: "bob@example.org".parse().ok(), ..ReportFilter::default() };
        let report = reader.report(By::Reason, &filter, &jiff::tz::TimeZone::UTC).unwrap();
        report
            .lines
            .iter()
            .map(|it| (it.name.clone().unwrap_or_default(), it.figures.bounced))
            .collect::<Vec<_>>()
    };
    while bounced().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", bounced());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(bounced().iter().all(|(_, count)| *count == 1), "{:?}", bounced());
}

/// RFC 4865 §6: nobody gets more than the limit by sending several messages at once.
#[test]
fn what_is_held_back_is_counted_one_message_after_the_other() {
    let server = server_with(|config| config.smtp.max_held_back.messages = Some(1));
    let mail = "MAIL FROM:<bob@example.org> HOLDFOR=3600\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n";
    let begun: Vec<TcpStream> = (0..8).map(|_| up_to_data(&server, mail)).collect();
    let together = Barrier::new(begun.len());
    let end = |mut stream: TcpStream| {
        let mut said = String::new();
        together.wait();
        stream.write_all(b"Subject: a\r\n\r\n.\r\nQUIT\r\n").unwrap();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    let said: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = begun.into_iter().map(|stream| scope.spawn(|| end(stream))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let count = |start: &str| said.iter().filter(|it| it.contains(start)).count();
    assert_eq!((count("\r\n250 2.0.0 "), count("\r\n552 5.2.2 ")), (1, 7), "{said:?}");
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    assert_eq!(queue.summary().unwrap().messages, 1);
}
