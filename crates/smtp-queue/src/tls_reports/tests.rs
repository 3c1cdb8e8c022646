//! Against a real DNS server, a real queue and a real web server.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use mail_dns::Dns;
use mail_parser::{MessageParser, MimeHeaders as _};
use mail_trust::{Applied, Failed, Failure, Kind, Session};
use serde_json::Value;
use testkit::{TestAuthority, TestDns, TestWeb};

use super::*;

struct World {
    queue: Arc<Queue>,
    trust: Arc<Trust>,
    reports: TlsReports,
    web: TestWeb,
    _dns: TestDns,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Result<Self> {
        let authority = TestAuthority::new()?;
        let web = TestWeb::start(authority.identity(&["web.test"])?.acceptor).await?;
        let zone = format!(
            "web.test. A 127.0.0.1\n_smtp._tls.d.test. TXT \"v=TLSRPTv1; rua=mailto:tls@d.test,https://web.test:{}/reports\"\n",
            web.address.port()
        );
        let dns = spawn_blocking(move || TestDns::start(&zone)).await??;
        let folder = tempfile::tempdir()?;
        let mut config = Config::new("mail.us.test".parse()?, folder.path().to_owned());
        config.dns = dns.config();
        config.relay.security.ca_file = Some(authority.ca_file.clone());
        config.relay.tls_reports.from = Some("postmaster@us.test".parse()?);
        let queue = Queue::open(&config.queue_dir())?;
        let trust = Arc::new(Trust::open(&config, &Dns::new(&config.dns)?)?);
        let reports = TlsReports::of(&config).context("no reports")?;
        Ok(Self { queue, trust, reports, web, _dns: dns, _folder: folder })
    }

    fn note(&self, domain: &str, failure: Option<&Failure>) {
        let applied = Applied {
            policy_type: "sts".to_owned(),
            policy_string: vec!["version: STSv1".to_owned(), "mode: enforce".to_owned()],
            policy_domain: domain.to_owned(),
            mx_host: vec![format!("*.{domain}")],
        };
        let failed = failure.map(|it| Failed::of(it, "mx.d.test", None, "192.0.2.1".parse().ok()));
        self.trust.note(Session { domain: domain.to_owned(), applied, failed });
    }
}

fn unpacked(octets: &[u8]) -> Result<Value> {
    let mut json = String::new();
    flate2::read::GzDecoder::new(octets).read_to_string(&mut json)?;
    Ok(serde_json::from_str(&json)?)
}

/// RFC 8460 §4.4, §5.3, §5.4
#[tokio::test]
async fn a_day_is_reported_once_when_it_is_over_by_mail_and_by_post() -> Result<()> {
    let world = World::new().await?;
    world.web.answer("web.test/reports", "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    let expired = Failure::new(Kind::CertificateExpired, "it is over".to_owned());
    for failure in [None, None, Some(&expired)] {
        world.note("d.test", failure);
        world.note("unwilling.test", failure);
    }
    world.trust.write_results()?;
    let now = Timestamp::now();
    world.reports.send(&world.queue, &world.trust, now).await;
    assert_eq!(world.queue.summary()?.messages, 0, "the day is not over");

    let later = now + SignedDuration::from_hours(29);
    for _ in 0..2 {
        world.reports.send(&world.queue, &world.trust, later).await;
        assert_eq!(world.queue.summary()?.messages, 1);
    }
    assert!(world.trust.reports(later, 10)?.is_empty(), "nobody wants the other one");

    let id = world.queue.list(None, 10)?.first().context("no message")?.clone();
    assert_eq!((id.sender.as_ref(), id.handling.is_ours), (None, true));
    assert_eq!(id.recipients.first().context("nobody")?.address.to_string(), "tls@d.test");
    let mut text = Vec::new();
    crate::message_file::MessageFile::new(world.queue.content(&id.id)?, None)?
        .reader()?
        .read_to_end(&mut text)?;
    let mail = MessageParser::default().parse(&text).context("no message")?;
    let field = |name: &str| mail.header_raw(name).unwrap_or_default().trim().to_owned();
    assert_eq!(
        (field("TLS-Report-Domain"), field("TLS-Report-Submitter")),
        ("d.test".into(), "us.test".into())
    );
    assert_eq!((field("TLS-Required"), field("From")), ("No".into(), "<postmaster@us.test>".into()));
    let kind = mail.content_type().context("no type")?;
    assert_eq!((kind.subtype(), kind.attribute("report-type")), (Some("report"), Some("tlsrpt")));
    let part =
        mail.parts.iter().find(|it| it.content_type().is_some_and(|it| it.subtype() == Some("tlsrpt+gzip")));
    let report = unpacked(part.context("no report")?.contents())?;
    let summary = report.pointer("/policies/0/summary").context("no summary")?;
    assert_eq!(summary["total-successful-session-count"], 2);
    assert_eq!(summary["total-failure-session-count"], 1);
    assert_eq!(
        report.pointer("/policies/0/failure-details/0/result-type"),
        Some(&"certificate-expired".into())
    );
    assert_eq!(report["contact-info"], "postmaster@us.test");

    let posted = world.web.requests();
    assert_eq!(posted.len(), 1, "{posted:?}");
    assert_eq!((posted[0].method.as_str(), posted[0].path.as_str()), ("POST", "/reports"));
    assert!(posted[0].header.contains(&"content-type: application/tlsrpt+gzip".to_owned()), "{posted:?}");
    assert_eq!(unpacked(&posted[0].body)?, report);
    Ok(())
}

#[tokio::test]
async fn what_was_counted_is_added_up_over_a_restart() -> Result<()> {
    let world = World::new().await?;
    world.note("d.test", None);
    world.trust.write_results()?;
    world.note("d.test", None);
    world.note("d.test", None);
    world.trust.write_results()?;
    world.trust.write_results()?;
    let reports = world.trust.reports(Timestamp::now() + SignedDuration::from_hours(25), 10)?;
    let counts: Vec<u64> = reports.iter().flat_map(|it| &it.sessions).map(|(_, _, count)| *count).collect();
    assert_eq!(counts, [3]);
    Ok(())
}
