//! Dialogues over real sockets: order, policy, submission into the queue, smuggling, chunks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mail_config::{Config, Listener, SmtpRole, TlsMode};
use mail_directory::Directory;
use mail_types::Secret;
use server_core::{Drain, Limits, ServerContext, bind};
use smtp_queue::Queue;

struct Server {
    folder: tempfile::TempDir,
    mx: SocketAddr,
    submission: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn listener(name: &str, role: SmtpRole) -> Listener {
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    Listener { name: name.to_owned(), addresses, tls: TlsMode::None, role }
}

fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new("mail.example.org".parse().unwrap(), folder.path().to_owned());
    config.smtp.listeners =
        vec![listener("smtp", SmtpRole::Mx), listener("submission", SmtpRole::Submission)];
    let directory = Directory::open(&config.directory_file()).unwrap();
    directory.add_domain(&"example.org".parse().unwrap()).unwrap();
    directory.add_account(&"bob@example.org".parse().unwrap(), &Secret::new("secret".to_owned())).unwrap();
    let sockets = bind(&config.smtp.listeners).unwrap();
    let at = |index: usize| sockets.get(index).unwrap().socket.local_addr().unwrap();
    let (mx, submission) = (at(0), at(1));
    let limits = Limits::new(&config.limits);
    let context = ServerContext { config: Arc::new(config), tls: None, limits, drain: Drain::new() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(smtp_server::run(context, sockets));
    Server { folder, mx, submission, _runtime: runtime }
}

/// Sends everything at once (PIPELINING), ends with QUIT, and returns the codes of all replies.
fn codes(address: SocketAddr, input: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(input.as_bytes()).unwrap();
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).unwrap();
    let last = |line: &&str| line.get(3..4) == Some(" ");
    output.lines().filter(last).map(|line| line.get(..3).unwrap().to_owned()).collect()
}

/// `AUTH PLAIN` as bob with the right password.
const LOGIN: &str = "EHLO x\r\nAUTH PLAIN AGJvYkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n";

#[test]
fn the_mx_port_is_no_open_relay_and_knows_its_users() {
    let server = server();
    let input = "RCPT TO:<bob@example.org>\r\nEHLO x\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n\
        RCPT TO:<nobody@example.org>\r\nRCPT TO:<BOB+x@example.org>\r\nRCPT TO:<postmaster>\r\nMAIL FROM:<>\r\n\
        RSET\r\nDATA\r\nMAIL FROM:<a@b.org>\r\nDATA\r\nVRFY bob\r\nEXPN bob\r\nAUTH PLAIN AAAA\r\nXYZZY\r\nNO\nOP\r\n";
    assert_eq!(
        codes(server.mx, input),
        [
            "220", "503", "250", "250", "550", "550", "250", "250", "503", "250", "503", "250", "554", "252",
            "502", "502", "500", "500", "500", "221"
        ]
    );
}

#[test]
fn submission_wants_a_login_and_the_senders_own_address() {
    let server = server();
    assert_eq!(
        codes(server.submission, "EHLO x\r\nMAIL FROM:<bob@example.org>\r\n"),
        ["220", "250", "530", "221"]
    );
    let wrong = "EHLO x\r\nAUTH PLAIN AGJvYgB4\r\nAUTH LOGIN\r\n*\r\nAUTH CRAM-MD5\r\nAUTH PLAIN !\r\n";
    assert_eq!(codes(server.submission, wrong), ["220", "250", "535", "334", "501", "504", "501", "221"]);
    let steps = "EHLO x\r\nAUTH LOGIN\r\nYm9i\r\nc2VjcmV0\r\nMAIL FROM:<eve@example.org>\r\nMAIL FROM:<>\r\n";
    assert_eq!(codes(server.submission, steps), ["220", "250", "334", "334", "235", "553", "250", "221"]);
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
    queue.open_message(&queued.first().unwrap().id).unwrap().read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("Received: from x ([127.0.0.1])\r\n\tby mail.example.org with ESMTPA id "),
        "{text}"
    );
    assert!(text.contains("\r\n\tfor <c@d.org>;\r\n") && text.contains("\r\nDate: "), "{text}");
    assert!(text.contains("\r\nMessage-ID: <") && text.ends_with("\r\nSubject: a\r\n\r\n.dot\r\n"), "{text}");
}

#[test]
fn a_chunked_message_is_one_message() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    let input = format!(
        "{LOGIN}BDAT 3\r\nabcMAIL FROM:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\nBDAT 14\r\nSubject: b\r\n\r\nDATA\r\nBDAT 4 LAST\r\n.c\r\n"
    );
    let replies = codes(server.submission, &input);
    assert_eq!(replies, ["220", "250", "235", "503", "250", "250", "250", "503", "250", "221"]);
    let mut text = String::new();
    let queued = queue.list(None, 10).unwrap();
    queue.open_message(&queued.first().unwrap().id).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\nSubject: b\r\n\r\n.c\r\n"), "{text}");
}

#[test]
fn nothing_is_smuggled_behind_a_false_end_of_data() {
    let server = server();
    let queue = Queue::open(&server.folder.path().join("queue")).unwrap();
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n"] {
        let input = format!(
            "{LOGIN}MAIL FROM:<bob@example.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\nSubject: a\r\n\r\nx{end}MAIL FROM:<bob@example.org>\r\n.\r\n"
        );
        let replies = codes(server.submission, &input);
        assert_eq!(replies, ["220", "250", "235", "250", "250", "354", "554", "221"], "{end:?}");
    }
    assert!(queue.list(None, 10).unwrap().is_empty());
}
