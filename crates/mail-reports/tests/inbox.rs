//! From a file that came to the table.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use mail_reports::{Choice, Inbox, Obey, ProvenComplaint, Reports};

fn dmarc(id: &str, count: u32) -> String {
    format!(
        "From: noreply@reporter.test\r\nSubject: Report\r\nMIME-Version: 1.0\r\nContent-Type: text/xml; name=\"r.xml\"\r\n\r\n\
         <?xml version=\"1.0\"?><feedback><report_metadata><org_name>Reporter</org_name><email>a@b.test</email>\
         <report_id>{id}</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>\
         <policy_published><domain>example.org</domain><p>none</p></policy_published>\
         <record><row><source_ip>192.0.2.1</source_ip><count>{count}</count><policy_evaluated><disposition>none</disposition>\
         <dkim>pass</dkim><spf>fail</spf></policy_evaluated></row><identifiers><header_from>example.org</header_from></identifiers>\
         <auth_results></auth_results></record></feedback>\r\n"
    )
}

fn all() -> Choice {
    Choice { limit: 100, ..Choice::default() }
}

/// Messages in the name of example.org that are known of, once there are `expected`.
fn wait_for(reports: &Reports, expected: u64) {
    let started = Instant::now();
    loop {
        let lines = reports.dmarc(&all()).unwrap();
        let count: u64 = lines.iter().map(|line| line.messages).sum();
        if count == expected {
            return;
        }
        assert!(count < expected && started.elapsed() < Duration::from_secs(60), "{lines:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join("inbox")).unwrap().count()
}

#[test]
fn what_came_is_read_once_whatever_happens_to_who_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let open = || Inbox::open(&path.join("inbox"), &path.join("reports.sqlite"), None).unwrap();
    let inbox = open();
    let reports = Reports::open(&path.join("reports.sqlite")).unwrap();
    fs::write(path.join("one"), dmarc("1", 3)).unwrap();
    fs::write(path.join("two"), dmarc("2", 4)).unwrap();
    inbox.keep(&path.join("one"), "m1", None).unwrap().read_soon();
    wait_for(&reports, 3);
    // The reporter had no reply, and sends it again.
    inbox.keep(&path.join("one"), "m2", None).unwrap().read_soon();
    // The message was refused after all.
    drop(inbox.keep(&path.join("two"), "m3", None).unwrap());
    fs::write(path.join("none"), "Subject: no report\r\n\r\n").unwrap();
    inbox.keep(&path.join("none"), "m4", None).unwrap().read_soon();
    inbox.keep(&path.join("two"), "m5", None).unwrap().read_soon();
    wait_for(&reports, 7);
    // What a crash left is read by the next process.
    fs::copy(path.join("one"), path.join("inbox/left")).unwrap();
    fs::write(path.join("three"), dmarc("3", 5)).unwrap();
    fs::copy(path.join("three"), path.join("inbox/left-too")).unwrap();
    let _next = open();
    wait_for(&reports, 12);
    let started = Instant::now();
    while files(path) > 0 {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(path.join("one").exists(), "the mail stays");
    let lines = reports.dmarc(&all()).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].dkim.as_str(), lines[0].spf.as_str(), lines[0].reporters.as_str()),
        ("pass", "fail", "Reporter")
    );
    let other = Choice { domain: Some("example.net".to_owned()), ..all() };
    assert!(reports.dmarc(&other).unwrap().is_empty());
}

fn complaint(recipient: &str, included: &str) -> String {
    format!(
        "From: fbl@reporter.test\r\nSubject: FW: Buy\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nThis is a complaint.\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: Reporter/1\r\nVersion: 1\r\n{recipient}\r\n\
         --b\r\n{included}\r\nFrom: news@example.org\r\nMessage-ID: <n1@example.org>\r\n\r\nBuy.\r\n--b--\r\n"
    )
}

/// Tells what it heard; the first time it fails.
#[derive(Debug)]
struct Ear(Sender<ProvenComplaint>, std::sync::atomic::AtomicBool);

impl Obey for Ear {
    fn obey(&self, complaint: &ProvenComplaint) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.send(complaint.clone())?;
        if self.1.swap(true, std::sync::atomic::Ordering::SeqCst) { Ok(()) } else { Err("not now".into()) }
    }
}

/// RFC 5965 §2, §8.1: what nobody has proven is kept, and obeyed by nobody; what can't be obeyed for now is not forgotten.
#[test]
fn only_proven_complaints_are_obeyed_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (ear, heard) = channel();
    let ear = Box::new(Ear(ear, false.into()));
    let inbox = Inbox::open(&path.join("inbox"), &path.join("reports.sqlite"), Some(ear)).unwrap();
    let reporter = "reporter.test".parse().unwrap();
    let send = |name: &str, text: &str, reporter| {
        fs::write(path.join(name), text).unwrap();
        inbox.keep(&path.join(name), name, reporter).unwrap().read_soon();
    };
    let whole = "Content-Type: message/rfc822\r\n";
    send("unproven", &complaint("Original-Rcpt-To: <bob@reporter.test>\r\n", whole), None);
    send("nameless", "From: a@reporter.test\r\n\r\nHello.\r\n", Some(&reporter));
    send("first", &complaint("Original-Rcpt-To: <bob@reporter.test>\r\n", whole), Some(&reporter));
    let timeout = Duration::from_secs(60);
    let first = heard.recv_timeout(timeout).unwrap();
    assert_eq!((first.kind, first.reporter.as_str()), ("abuse", "reporter.test"));
    assert_eq!(first.recipient, "bob@reporter.test".parse().ok());
    assert_eq!(first.message_id, "<n1@example.org>");
    // The header alone will do, and the recipient may be missing. The first is tried again with it.
    send("second", &complaint("", "Content-Type: text/rfc822-headers\r\n"), Some(&reporter));
    let mut others = [heard.recv_timeout(timeout).unwrap(), heard.recv_timeout(timeout).unwrap()];
    others.sort_by_key(|it| it.recipient.clone());
    assert_eq!(others[0], ProvenComplaint { recipient: None, ..first.clone() });
    assert_eq!(others[1], first);
    let started = Instant::now();
    while files(path) > 0 {
        assert!(started.elapsed() < timeout);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(heard.try_recv().is_err(), "of none it hears a third time, and of what is not proven never");
}

#[test]
fn a_database_that_is_damaged_is_set_aside_and_what_comes_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("reports.sqlite"), "this is no database").unwrap();
    let inbox = Inbox::open(&path.join("inbox"), &path.join("reports.sqlite"), None).unwrap();
    let reports = Reports::open(&path.join("reports.sqlite")).unwrap();
    fs::write(path.join("one"), dmarc("1", 7)).unwrap();
    inbox.keep(&path.join("one"), "m1", None).unwrap().read_soon();
    wait_for(&reports, 7);
    assert!(path.join("reports.sqlite.damaged").exists());
}
