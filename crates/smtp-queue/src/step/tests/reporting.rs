//! Of reports to other domains, on TLS (RFC 8460) and of DMARC (RFC 7489): none is lost, and none goes out twice but what was out and not noted so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use mail_auth::report::Record;
use mail_config::{Config, DnsConfig};
use mail_dns::Dns;
use mail_reports::Observer;
use mail_trust::{Applied, Session, Trust};
use testkit::{TestAuthority, TestDns, TestWeb};
use tokio::task::spawn_blocking;

use super::{dies, instructions};
use crate::Queue;
use crate::aggregate::Aggregate;
use crate::step::Step;
use crate::tls_reports::TlsReports;

const DOMAINS: [&str; 3] = ["a.test", "b.test", "c.test"];
/// Whose certificates a process trusts.
const CA_FILE: &str = "ca.pem";

/// Which reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tls,
    Dmarc,
}

impl Kind {
    const fn test(self) -> &'static str {
        match self {
            Self::Tls => "reporting::sends_reports_on_tls",
            Self::Dmarc => "reporting::sends_reports_of_dmarc",
        }
    }

    /// Who gets one, by domain.
    const fn expected(self) -> [&'static str; 4] {
        match self {
            Self::Tls => ["a.test tls@a.test", "b.test /b.test", "b.test tls@b.test", "c.test /c.test"],
            Self::Dmarc => {
                ["a.test dmarc@a.test", "b.test dmarc@b.test", "b.test other@b.test", "c.test dmarc@c.test"]
            }
        }
    }

    /// Has something to be reported of each domain, of yesterday.
    fn see(self, config: &Config) {
        match self {
            Self::Tls => {
                let trust = Trust::open(config, &Dns::new(&config.dns).unwrap()).unwrap();
                for domain in DOMAINS {
                    let applied = Applied {
                        policy_type: "no-policy-found".to_owned(),
                        policy_string: Vec::new(),
                        policy_domain: domain.to_owned(),
                        mx_host: Vec::new(),
                    };
                    trust.note(Session { domain: domain.to_owned(), applied, failed: None });
                }
                trust.write_results().unwrap();
            }
            Self::Dmarc => {
                let observer = Observer::open(&config.reports_file()).unwrap();
                for domain in DOMAINS {
                    observer.see(
                        domain,
                        &Record::new().with_source_ip("192.0.2.1".parse().unwrap()).with_header_from(domain),
                    );
                }
            }
        }
    }

    /// Sends what is due after a day that is over.
    async fn send(self, config: &Config) {
        let queue = Queue::open(&config.queue_dir()).unwrap();
        let later = Timestamp::now() + SignedDuration::from_hours(29);
        match self {
            Self::Tls => {
                let trust = Arc::new(Trust::open(config, &Dns::new(&config.dns).unwrap()).unwrap());
                TlsReports::of(config).unwrap().send(&queue, &trust, later).await;
            }
            Self::Dmarc => {
                let aggregate = Aggregate::new(config, &queue).unwrap().unwrap();
                Arc::new(aggregate).send_due(later).await.unwrap();
            }
        }
    }
}

fn config(folder: &Path, dns: u16) -> Config {
    let mut config = Config::new("mail.us.test".parse().unwrap(), folder.to_owned());
    config.dns = DnsConfig { servers: vec![([127, 0, 0, 1], dns).into()], ..DnsConfig::default() };
    config.relay.security.ca_file = Some(folder.join(CA_FILE));
    config.reports.dmarc_from = Some("reports@us.test".parse().unwrap());
    config
}

#[tokio::test]
#[ignore = "the process that another test has die"]
async fn sends_reports_on_tls() {
    let Some((folder, port)) = instructions() else { return };
    Kind::Tls.send(&config(&folder, port)).await;
}

#[tokio::test]
#[ignore = "the process that another test has die"]
async fn sends_reports_of_dmarc() {
    let Some((folder, port)) = instructions() else { return };
    Kind::Dmarc.send(&config(&folder, port)).await;
}

/// What the domains say, and their web server.
struct World {
    dns: TestDns,
    authority: TestAuthority,
    web: TestWeb,
}

impl World {
    async fn new() -> Self {
        let authority = TestAuthority::new().unwrap();
        let web = TestWeb::start(authority.identity(&["web.test"]).unwrap().acceptor).await.unwrap();
        let post = |domain: &str| format!("https://web.test:{}/{domain}", web.address.port());
        let zone = format!(
            "web.test. A 127.0.0.1\n\
             _smtp._tls.a.test. TXT \"v=TLSRPTv1; rua=mailto:tls@a.test\"\n\
             _smtp._tls.b.test. TXT \"v=TLSRPTv1; rua=mailto:tls@b.test,{}\"\n\
             _smtp._tls.c.test. TXT \"v=TLSRPTv1; rua={}\"\n\
             _dmarc.a.test. TXT \"v=DMARC1; p=none; rua=mailto:dmarc@a.test\"\n\
             _dmarc.b.test. TXT \"v=DMARC1; p=none; rua=mailto:dmarc@b.test,mailto:other@b.test\"\n\
             _dmarc.c.test. TXT \"v=DMARC1; p=none; rua=mailto:dmarc@c.test\"\n",
            post("b.test"),
            post("c.test")
        );
        for domain in DOMAINS {
            web.answer(&format!("web.test/{domain}"), "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        }
        let dns = spawn_blocking(move || TestDns::start(&zone)).await.unwrap().unwrap();
        Self { dns, authority, web }
    }

    /// How often each has got its report: what is queued, and what the web server got since it had `before` requests.
    fn told(&self, config: &Config, before: usize) -> BTreeMap<String, usize> {
        let queued = Queue::open(&config.queue_dir()).unwrap().list(None, 100).unwrap();
        let mailed = queued.iter().flat_map(|message| &message.recipients).map(|it| {
            let address = it.address.to_string();
            format!("{} {address}", it.address.domain())
        });
        let posted = self.web.requests().split_off(before);
        let posted = posted.into_iter().map(|it| format!("{} {}", it.path.trim_start_matches('/'), it.path));
        let mut count = BTreeMap::new();
        mailed.chain(posted).for_each(|it| *count.entry(it).or_default() += 1);
        count
    }

    /// Has a process die at the step, each time that it is reached, and others go on. Tells how often that was.
    async fn dies_at(&self, kind: Kind, step: Step) -> usize {
        for times in 0.. {
            let folder = tempfile::tempdir().unwrap();
            std::fs::copy(&self.authority.ca_file, folder.path().join(CA_FILE)).unwrap();
            let config = config(folder.path(), self.dns.address.port());
            kind.see(&config);
            let (path, port, before) =
                (folder.path().to_owned(), self.dns.address.port(), self.web.requests().len());
            let died = spawn_blocking(move || dies(kind.test(), &path, port, (step, times)).0).await.unwrap();
            for _ in 0..2 {
                kind.send(&config).await;
            }
            let told = self.told(&config, before);
            let reached: Vec<&str> = told.keys().map(String::as_str).collect();
            assert_eq!(reached, kind.expected(), "{step:?} {times}: one is lost");
            // What is out when a process dies, and not forgotten, is that of one domain.
            let is_out = matches!(step, Step::Committed | Step::ReportOut);
            let mut again: Vec<&str> = told
                .iter()
                .filter(|(_, count)| **count > 1)
                .filter_map(|(to, _)| to.split(' ').next())
                .collect();
            again.dedup();
            assert!(again.len() <= usize::from(is_out && died), "{step:?} {times}: {told:?}");
            assert!(told.values().all(|count| *count <= 2), "{step:?} {times}: {told:?}");
            if !died {
                return times;
            }
        }
        0
    }
}

const STEPS: [Step; 5] =
    [Step::ReportMade, Step::Changed, Step::Committed, Step::ReportOut, Step::ReportForgotten];

#[tokio::test(flavor = "multi_thread")]
async fn no_report_on_tls_is_lost_wherever_a_process_dies_and_none_goes_twice_that_was_not_out() {
    let world = World::new().await;
    let mut times = Vec::new();
    // One after the other: the web server is one.
    for step in STEPS {
        times.push(world.dies_at(Kind::Tls, step).await);
    }
    // Three domains, of which two want mail and two are told by the web.
    assert_eq!(times, [3, 2, 2, 4, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_report_of_dmarc_is_lost_wherever_a_process_dies_and_none_goes_twice_that_was_not_out() {
    let world = World::new().await;
    let times = join_all(STEPS.map(|step| world.dies_at(Kind::Dmarc, step))).await;
    assert_eq!(times, [3; 5]);
}
