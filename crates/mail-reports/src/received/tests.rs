use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use mail_auth::report::{PolicyPublished, Record};

use super::*;

/// As mail brings a packed file.
fn message(content_type: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let mut message = format!(
        "From: noreply@reporter.test\r\nTo: reports@example.org\r\nSubject: Report\r\nMIME-Version: 1.0\r\n\
         Content-Type: {content_type}; name=\"{name}\"\r\nContent-Transfer-Encoding: binary\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n"
    )
    .into_bytes();
    message.extend_from_slice(content);
    message
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

fn base64_message(content_type: &str, name: &str, packed: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    let alphabet: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in packed.chunks(3) {
        let octets = [three[0], three.get(1).copied().unwrap_or(0), three.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, octets[0], octets[1], octets[2]]);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let symbol = if place <= three.len() { char::from(alphabet[index as usize]) } else { '=' };
            write!(text, "{symbol}").unwrap();
        }
        if text.len() % 78 == 76 {
            text.push_str("\r\n");
        }
    }
    let message = message(content_type, name, text.as_bytes());
    String::from_utf8(message).unwrap().replace("Encoding: binary", "Encoding: base64").into_bytes()
}

fn dmarc() -> DmarcReport {
    let record = |source: &str, count, passed| {
        let result = if passed { DmarcResult::Pass } else { DmarcResult::Fail };
        Record::new()
            .with_source_ip(source.parse().unwrap())
            .with_count(count)
            .with_header_from("Example.org")
            .with_dmarc_dkim_result(result)
            .with_dmarc_spf_result(DmarcResult::Fail)
            .with_action_disposition(if passed { ActionDisposition::Pass } else { ActionDisposition::Reject })
    };
    DmarcReport::new()
        .with_policy_published(PolicyPublished {
            domain: "example.org".to_owned(),
            ..PolicyPublished::default()
        })
        .with_org_name("Reporter")
        .with_report_id("r-1")
        .with_date_range_begin(1_800_000_000)
        .with_date_range_end(1_800_086_400)
        .with_record(record("192.0.2.1", 7, true))
        .with_record(record("198.51.100.9", 2, false))
}

/// RFC 7489 §7.2, appendix C
#[test]
fn a_dmarc_report_is_read_however_it_is_packed() {
    let xml = dmarc().to_xml();
    let whole = dmarc().to_rfc5322("reporter.test", "noreply@reporter.test", ["r@example.org"].into_iter());
    let messages = [
        whole.unwrap().into_bytes(),
        base64_message("application/gzip", "a!b!1!2.xml.gz", &gzip(xml.as_bytes())),
        base64_message("application/octet-stream", "a!b!1!2.xml.gz", &gzip(xml.as_bytes())),
        message("text/xml", "a!b!1!2.xml", xml.as_bytes()),
    ];
    for message in messages {
        let received = Received::parse(&message).unwrap();
        assert_eq!((received.organization.as_str(), received.report_id.as_str()), ("Reporter", "r-1"));
        assert_eq!(received.span, (1_800_000_000, 1_800_086_400));
        let row = |source: &str, count, disposition, dkim| DmarcRow {
            domain: "example.org".to_owned(),
            source: source.to_owned(),
            count,
            disposition,
            dkim,
            spf: "fail",
        };
        let rows = vec![row("192.0.2.1", 7, "pass", "pass"), row("198.51.100.9", 2, "reject", "fail")];
        assert_eq!(received.content, Content::Dmarc(rows));
    }
}

/// RFC 8460 appendix B
const TLS: &str = r#"{"organization-name":"Company-X",
"date-range":{"start-datetime":"2026-04-01T00:00:00Z","end-datetime":"2026-04-01T23:59:59Z"},
"contact-info":"sts-reporting@company-x.example","report-id":"5065427c","policies":[{
"policy":{"policy-type":"sts","policy-string":["version: STSv1"],"policy-domain":"Company-Y.example","mx-host":["*.mail.company-y.example"]},
"summary":{"total-successful-session-count":5326,"total-failure-session-count":303},
"failure-details":[{"result-type":"certificate-expired","sending-mta-ip":"2001:db8:abcd:0012::1","receiving-mx-hostname":"mx1.mail.company-y.example","failed-session-count":100},
{"result-type":"starttls-not-supported","sending-mta-ip":"2001:db8:abcd:0013::1","failed-session-count":200}]}]}"#;

#[test]
fn a_tls_report_is_read_with_the_reasons_of_what_failed() {
    for message in [
        base64_message("application/tlsrpt+gzip", "a!b!1!2.json.gz", &gzip(TLS.as_bytes())),
        base64_message("application/tlsrpt+json", "a!b!1!2.json", TLS.as_bytes()),
    ] {
        let received = Received::parse(&message).unwrap();
        let Content::Tls(rows) = received.content else { panic!("{:?}", received.content) };
        let rows: Vec<_> = rows.iter().map(|it| (it.result.as_str(), it.succeeded, it.failed)).collect();
        assert_eq!(
            rows,
            [("", 5326, 3), ("certificate-expired", 0, 100), ("starttls-not-supported", 0, 200)]
        );
    }
}

/// RFC 5965 appendix B.2
const COMPLAINT: &str = "From: <abusedesk@provider.test>\r\nTo: <abuse@example.org>\r\nSubject: FW: Earn money\r\n\
MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n\
--b\r\nContent-Type: text/plain\r\n\r\nThis is an email abuse report.\r\n\
--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n\
Original-Mail-From: <news@example.org>\r\nOriginal-Rcpt-To: <user@provider.test>\r\nArrival-Date: Thu, 8 Mar 2026 14:00:00 EDT\r\n\
Reporting-MTA: dns; mail.provider.test\r\nSource-IP: 192.0.2.1\r\nReported-Domain: example.org\r\n\r\n\
--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: <news@example.org>\r\nTo: <user@provider.test>\r\nMessage-ID: <n1@example.org>\r\nSubject: Earn money\r\n\r\nSpam\r\n--b--\r\n";

#[test]
fn a_complaint_is_read_with_who_complains_and_of_whom() {
    let received = Received::parse(COMPLAINT.as_bytes()).unwrap();
    assert_eq!(received.organization, "mail.provider.test");
    let Content::Complaint(complaint) = received.content else { panic!("{:?}", received.content) };
    let expected = Complaint {
        kind: "abuse",
        recipient: "user@provider.test".to_owned(),
        sender: "news@example.org".to_owned(),
        source: "192.0.2.1".to_owned(),
        domain: "example.org".to_owned(),
        message_id: Some("n1@example.org".to_owned()),
    };
    assert_eq!(*complaint, expected);
}

#[test]
fn what_unpacks_to_more_than_a_report_is_not_read_further() {
    let bomb = gzip(&vec![b' '; MAX_UNPACKED + 1]);
    for (content_type, name) in [("application/gzip", "a.xml.gz"), ("application/tlsrpt+gzip", "a.json.gz")] {
        let refused = Received::parse(&base64_message(content_type, name, &bomb)).unwrap_err().to_string();
        assert!(refused.contains("unpacks to more than"), "{refused}");
    }
}

#[test]
fn what_is_no_report_is_said() {
    for message in ["", "Subject: hello\r\n\r\nno report", "Content-Type: application/gzip\r\n\r\nbroken"] {
        assert!(matches!(Received::parse(message.as_bytes()), Err(ReportError::NoReport(_))), "{message}");
    }
    let mut random = 0x1234_5678_u32;
    for length in 0..2000 {
        let octets = (0..length % 300).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        });
        let _ = Received::parse(&message("application/zip", "x.zip", &octets.collect::<Vec<u8>>()));
    }
}
