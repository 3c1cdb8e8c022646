//! Aggregate reports of DMARC, from what was seen to the host of who asks for them.

use mail_auth::report::{DmarcResult, Record, Report};
use mail_reports::{Observer, Reports};
use testkit::TestDns;

use crate::host::Host;
use crate::peer::{Manner, Peer, listeners};

const ZONE: &str = "
one.test. A 127.0.0.2
asks.test. MX 10 one.test.
allows.test. MX 10 one.test.
forbids.test. MX 10 one.test.
_dmarc.asks.test. TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@asks.test,mailto:a@allows.test!10m,mailto:b@forbids.test\"
asks.test._report._dmarc.allows.test. TXT \"v=DMARC1\"
_dmarc.small.test. TXT \"v=DMARC1; p=none; rua=mailto:dmarc@small.test!1\"
_dmarc.silent.test. TXT \"v=DMARC1; p=none\"
";

/// Two messages of each domain, seen yesterday, and one of today.
fn observe(host: &Host, domains: &[&str]) {
    let record = |domain: &str| {
        let record = Record::new().with_source_ip("192.0.2.1".parse().unwrap());
        record.with_header_from(domain).with_dmarc_dkim_result(DmarcResult::Fail)
    };
    let see = |domain: &str, count| {
        let observer = Observer::open(&host.config.reports_file()).unwrap();
        (0..count).for_each(|_| observer.see(domain, &record(domain)));
    };
    domains.iter().for_each(|domain| see(domain, 2));
    let connection = rusqlite::Connection::open(host.config.reports_file()).unwrap();
    connection.execute("UPDATE observed SET day = day - 1", []).unwrap();
    see("asks.test", 1);
}

/// RFC 7489 §7.1, §7.2
#[tokio::test]
async fn each_domain_that_asks_for_it_gets_one_report_of_a_day_that_is_over() {
    let dns = tokio::task::spawn_blocking(|| TestDns::start(ZONE)).await.unwrap().unwrap();
    let [listener] = listeners(&["127.0.0.2"]).await.try_into().unwrap();
    let mut host = Host::new(None);
    host.config.dns = dns.config();
    host.config.relay.direct = true;
    host.config.relay.port = listener.local_addr().unwrap().port();
    let mut peer = Peer::at(listener, Manner::Willing);
    observe(&host, &["sub.asks.test", "small.test", "silent.test", "none.test"]);
    let running = host.run();
    host.config.reports.dmarc_from = None;
    running.stop().await;
    assert!(peer.received_already().is_none(), "off unless the config says from whom");

    host.config.reports.dmarc_from = Some("reports@example.org".parse().unwrap());
    let running = host.run();
    let (first, second) = (peer.next().await, peer.next().await);
    let mut to = [first.to.clone(), second.to].concat();
    to.sort();
    assert_eq!(to, ["a@allows.test", "dmarc@asks.test"], "who has not said that it takes them gets none");
    assert_eq!(first.from, "reports@example.org");
    let report = Report::parse_rfc5322(first.text.as_bytes(), 1 << 20).unwrap();
    assert_eq!(report.domain(), "asks.test", "where the record is");
    let records: Vec<_> = report.records().iter().map(|it| (it.header_from(), it.count())).collect();
    assert_eq!(records, [("sub.asks.test", 2)]);
    assert_eq!(report.date_range_end() - report.date_range_begin(), 86_399);
    running.stop().await;

    let left = Reports::open(&host.config.reports_file()).unwrap();
    assert!(left.observed(jiff::Timestamp::now(), 10).unwrap().is_empty(), "each is told once");
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    assert_eq!(left.observed(tomorrow, 10).unwrap().len(), 1, "today is not over");
}
