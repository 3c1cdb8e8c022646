//! Reports over a log on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::Path;

use jiff::tz::TimeZone;
use mail_config::Config;
use mail_events::{
    Attempt, AttemptOutcome, By, Event, EventLog, Figures, Message, MessageOutcome, Queued, QueuedWhy,
    Reader, Refusal, Report, ReportFilter, Stage,
};

fn config(folder: &Path) -> Config {
    Config::new("mail.example.org".parse().unwrap(), folder.to_owned())
}

fn message(id: &str, account: Option<&str>, peer: &str, recipients: &[&str]) -> Message {
    Message {
        id: id.to_owned(),
        listener: "submission".to_owned(),
        peer: peer.to_owned(),
        helo: "client".to_owned(),
        protocol: "ESMTPSA".to_owned(),
        tls: None,
        account: account.map(ToOwned::to_owned),
        sender: "News@example.org".to_owned(),
        recipients: recipients.iter().map(|it| (*it).to_owned()).collect(),
        accounts: Vec::new(),
        remote: Vec::new(),
        message_id: None,
        size: 1000,
        verdict: None,
        outcome: MessageOutcome::Accepted,
        reply: "250 2.0.0 OK".to_owned(),
        queue_id: Some(format!("Q{id}")),
        milliseconds: 7,
    }
}

fn attempt(queue_id: &str, recipient: &str, outcome: AttemptOutcome, text: &str) -> Event {
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    Event::Attempt(Box::new(Attempt {
        queue_id: queue_id.to_owned(),
        sender: "news@example.org".to_owned(),
        recipient: recipient.to_owned(),
        attempt: 1,
        outcome,
        host: Some("mx.example.com".to_owned()),
        status,
        text: text.to_owned(),
        class: None,
        next: None,
        seconds: 3,
    }))
}

fn refusal(recipient: &str) -> Event {
    Event::Refusal(Box::new(Refusal {
        id: "R1".to_owned(),
        listener: "smtp".to_owned(),
        peer: "198.51.100.7".to_owned(),
        helo: "x".to_owned(),
        tls: None,
        account: None,
        stage: Stage::Rcpt,
        sender: String::new(),
        recipient: Some(recipient.to_owned()),
        reply: "550 5.1.1 No such user here".to_owned(),
    }))
}

/// The queue's segment is older than that of the server that brought the messages.
fn log(folder: &Path) -> Reader {
    let config = config(folder);
    let queue = EventLog::open(&config, "queue").unwrap();
    queue.note(attempt("Q1", "a@Example.com", AttemptOutcome::Deferred, "450 4.2.0 Greylisted"));
    queue.note(attempt("Q1", "a@Example.com", AttemptOutcome::Delivered, "250 2.0.0 OK"));
    queue.note(attempt("Q1", "b@example.net", AttemptOutcome::Bounced, "550 5.1.1 Nobody"));
    queue.note(attempt("Q2", "c@example.com", AttemptOutcome::Delivered, "250 2.0.0 OK"));
    queue.note(attempt("Q3", "d@example.com", AttemptOutcome::Delivered, "250 2.0.0 OK"));
    queue.note(Event::Queued(Box::new(Queued {
        queue_id: "Q3".to_owned(),
        parent: "Q2".to_owned(),
        why: QueuedWhy::Forward,
        sender: "news@example.org".to_owned(),
        recipients: vec!["d@example.com".to_owned()],
        size: None,
    })));
    drop(queue);
    let smtp = EventLog::open(&config, "smtp").unwrap();
    let both = ["a@Example.com", "b@example.net"];
    smtp.note(Event::Message(Box::new(message("1", Some("crm@example.org"), "192.0.2.1", &both))));
    smtp.note(Event::Message(Box::new(message("2", None, "192.0.2.9", &["c@example.com"]))));
    smtp.note(refusal("nobody@example.org"));
    drop(smtp);
    Reader::open(&config.events_dir()).unwrap()
}

fn figures(received: u64, sent: u64, deferred: u64, bounced: u64, refused: u64) -> Figures {
    Figures { received, sent, deferred, bounced, refused }
}

#[track_caller]
fn check(reader: &Reader, by: By, filter: &ReportFilter, expected: &[(Option<&str>, Figures)]) -> Report {
    let report = reader.report(by, filter, &TimeZone::UTC).unwrap();
    let found: Vec<(Option<&str>, Figures)> =
        report.lines.iter().map(|line| (line.name.as_deref(), line.figures)).collect();
    assert_eq!(found, expected);
    report
}

#[test]
fn what_came_of_mail_is_counted_by_whatever_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let reader = log(folder.path());
    let all = ReportFilter::default();
    let domains = [
        (Some("example.com"), figures(2, 3, 1, 0, 0)),
        (Some("example.net"), figures(1, 0, 0, 1, 0)),
        (Some("example.org"), figures(0, 0, 0, 0, 1)),
    ];
    let report = check(&reader, By::Domain, &all, &domains);
    assert_eq!(report.total, figures(3, 3, 1, 1, 1));
    let reasons: Vec<String> = report.lines[1].reasons.iter().map(|(reason, _)| reason.to_string()).collect();
    assert_eq!(reasons, ["5.1.1 no such mailbox"]);
    assert_eq!(report.lines[1].text.as_deref(), Some("550 5.1.1 Nobody"));
    let senders = [(Some("news@example.org"), figures(3, 3, 1, 1, 0)), (Some(""), figures(0, 0, 0, 0, 1))];
    check(&reader, By::Sender, &all, &senders);
    let reasons = [
        (Some("5.1.1 no such mailbox"), figures(0, 0, 0, 1, 1)),
        (Some("4.2.0 mailbox"), figures(0, 0, 1, 0, 0)),
    ];
    // A detail of 0 says less than the reply code.
    let reasons = [reasons[0], (Some("450 mailbox unavailable for now"), reasons[1].1)];
    check(&reader, By::Reason, &all, &reasons);
    let report = reader.report(By::Message, &all, &TimeZone::UTC).unwrap();
    let first = report.lines.iter().find(|line| line.name.as_deref() == Some("Q1")).unwrap();
    assert_eq!((first.figures, first.sender.as_deref()), (figures(2, 1, 1, 1, 0), Some("news@example.org")));
    let report = reader.report(By::Day, &all, &TimeZone::UTC).unwrap();
    assert_eq!(report.lines.iter().map(|line| line.figures.total()).sum::<u64>(), 9);
}

#[test]
fn who_sends_through_us_has_lines_of_its_own_by_account_or_address() {
    let folder = tempfile::tempdir().unwrap();
    let reader = log(folder.path());
    let clients = [
        (Some("crm@example.org"), figures(2, 1, 1, 1, 0)),
        // What was forwarded counts for who had brought it.
        (Some("192.0.2.9"), figures(1, 2, 0, 0, 0)),
        (Some("198.51.100.7"), figures(0, 0, 0, 0, 1)),
    ];
    check(&reader, By::Client, &ReportFilter::default(), &clients);
    let of_account = ReportFilter { account: Some("CRM@example.org".parse().unwrap()), ..Default::default() };
    let domains =
        [(Some("example.com"), figures(1, 1, 1, 0, 0)), (Some("example.net"), figures(1, 0, 0, 1, 0))];
    check(&reader, By::Domain, &of_account, &domains);
    let of_network = ReportFilter { address: Some("192.0.2.0/24".parse().unwrap()), ..Default::default() };
    assert_eq!(reader.report(By::Day, &of_network, &TimeZone::UTC).unwrap().total, figures(3, 3, 1, 1, 0));
}

#[test]
fn a_report_is_of_the_time_the_sender_and_the_domain_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let reader = log(folder.path());
    let total = |filter: &ReportFilter| reader.report(By::Day, filter, &TimeZone::UTC).unwrap().total;
    let now = jiff::Timestamp::now();
    let later = now + jiff::SignedDuration::from_hours(1);
    assert_eq!(total(&ReportFilter { since: Some(later), ..Default::default() }).total(), 0);
    assert_eq!(total(&ReportFilter { until: Some(later), ..Default::default() }).total(), 9);
    assert_eq!(
        total(&ReportFilter { until: Some("2020-01-01T00:00:00Z".parse().unwrap()), ..Default::default() })
            .total(),
        0
    );
    let of = |sender: &str| ReportFilter { sender: Some(sender.parse().unwrap()), ..Default::default() };
    assert_eq!(total(&of("@EXAMPLE.org")).total(), 8);
    assert_eq!(total(&of("alice@example.org")).total(), 0);
    let to = ReportFilter { domain: Some("Example.NET".parse().unwrap()), ..Default::default() };
    assert_eq!(total(&to), figures(1, 0, 0, 1, 0));
}

#[test]
fn more_groups_than_are_kept_lose_their_names_and_none_of_their_figures() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let log = EventLog::open(&config, "queue").unwrap();
    for number in 0..25_000 {
        let recipient = format!("x@d{number}.example");
        log.note(attempt("Q", &recipient, AttemptOutcome::Delivered, "250 2.0.0 OK"));
        if number % 100 == 0 {
            log.note(attempt("Q", "x@much.example", AttemptOutcome::Delivered, "250 2.0.0 OK"));
        }
    }
    drop(log);
    let reader = Reader::open(&config.events_dir()).unwrap();
    let report = reader.report(By::Domain, &ReportFilter::default(), &TimeZone::UTC).unwrap();
    assert!(report.lines.len() <= 20_000);
    assert_eq!(report.total.sent, 25_250);
    assert_eq!((report.lines[0].name.as_deref(), report.lines[0].figures.sent), (Some("much.example"), 250));
    let lines: u64 = report.lines.iter().map(|line| line.figures.sent).sum();
    assert_eq!(lines + report.others.sent, 25_250);
}
