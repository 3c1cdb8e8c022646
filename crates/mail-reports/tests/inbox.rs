//! From a file that came to the table.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mail_reports::{Choice, Inbox, Reports};

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
    let open = || Inbox::open(&path.join("inbox"), &path.join("reports.sqlite")).unwrap();
    let inbox = open();
    let reports = Reports::open(&path.join("reports.sqlite")).unwrap();
    fs::write(path.join("one"), dmarc("1", 3)).unwrap();
    fs::write(path.join("two"), dmarc("2", 4)).unwrap();
    inbox.keep(&path.join("one"), "m1").unwrap().read_soon();
    wait_for(&reports, 3);
    // The reporter had no reply, and sends it again.
    inbox.keep(&path.join("one"), "m2").unwrap().read_soon();
    // The message was refused after all.
    drop(inbox.keep(&path.join("two"), "m3").unwrap());
    fs::write(path.join("none"), "Subject: no report\r\n\r\n").unwrap();
    inbox.keep(&path.join("none"), "m4").unwrap().read_soon();
    inbox.keep(&path.join("two"), "m5").unwrap().read_soon();
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
