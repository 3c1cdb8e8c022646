//! Mail hosts that must prove who they are, found through a real DNS server, their policies served over real HTTPS.

mod refusing;
mod reported;
mod require_tls;

use std::net::Ipv4Addr;

use anyhow::Result;
use mail_config::DnsConfig;
use testkit::{TestAuthority, TestDns, TestIdentity, TestResolver, TestWeb};
use tokio::task::spawn_blocking;

use super::*;

/// Addresses of the two mail hosts of d.test.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const ZONE: &str = "
d.test. MX 10 first.d.test.
d.test. MX 20 second.d.test.
first.d.test. A 127.0.0.2
second.d.test. A 127.0.0.3
_mta-sts.d.test. TXT \"v=STSv1; id=1;\"
mta-sts.d.test. A 127.0.0.1
";

/// The domain d.test, its policy, and us.
struct World {
    authority: TestAuthority,
    relay: Relay,
    listeners: Vec<TcpListener>,
    _web: TestWeb,
    _names: Box<dyn std::any::Any>,
    _folder: tempfile::TempDir,
}

/// Listeners at the addresses of the two mail hosts, on one port.
async fn listeners() -> Result<(Vec<TcpListener>, u16)> {
    for _ in 0..20 {
        let first = TcpListener::bind((FIRST, 0)).await?;
        let port = first.local_addr()?.port();
        if let Ok(second) = TcpListener::bind((SECOND, port)).await {
            return Ok((vec![first, second], port));
        }
    }
    anyhow::bail!("no port is free at both addresses")
}

impl World {
    async fn with_policy(mode: &str, hosts: &[&str]) -> Result<Self> {
        let dns = spawn_blocking(|| TestDns::start(ZONE)).await??;
        let (listeners, port) = listeners().await?;
        let (config, authority) = (dns.config(), TestAuthority::new()?);
        Self::new(mode, hosts, (listeners, port), authority, config, Box::new(dns)).await
    }

    /// The domain has signed names, TLSA records of the mail hosts among them: `{port}` stands for their port.
    async fn with_records(
        authority: TestAuthority,
        records: &str,
        policy: (&str, &[&str]),
        forged: Option<(String, String)>,
    ) -> Result<Self> {
        let (listeners, port) = listeners().await?;
        let signed = format!("{ZONE}{}", records.replace("{port}", &port.to_string()));
        let unsigned =
            format!("d MX 10 first\nfirst A 127.0.0.2\n_{port}._tcp.first TLSA 3 1 1 {}\n", "0".repeat(64));
        let start = move || {
            let forged: Vec<_> = forged.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
            TestResolver::start(&signed, &unsigned, &forged)
        };
        let resolver = spawn_blocking(start).await??;
        let config = resolver.config();
        let (mode, hosts) = policy;
        Self::new(mode, hosts, (listeners, port), authority, config, Box::new(resolver)).await
    }

    async fn new(
        mode: &str,
        hosts: &[&str],
        (listeners, port): (Vec<TcpListener>, u16),
        authority: TestAuthority,
        dns: DnsConfig,
        names: Box<dyn std::any::Any>,
    ) -> Result<Self> {
        let web = TestWeb::start(authority.identity(&["mta-sts.d.test"])?.acceptor).await?;
        let hosts: String = hosts.iter().map(|host| format!("mx: {host}\n")).collect();
        let policy = format!("version: STSv1\nmode: {mode}\n{hosts}max_age: 86400\n");
        web.put("mta-sts.d.test/.well-known/mta-sts.txt", "text/plain", &policy);
        let folder = tempfile::tempdir()?;
        let mut config = Config::new("us.example.org".parse()?, folder.path().to_owned());
        config.dns = dns;
        config.relay.port = port;
        config.relay.security.ca_file = Some(authority.ca_file.clone());
        config.relay.security.https_port = web.address.port();
        let relay = Relay::new(&config)?;
        Ok(Self { authority, relay, listeners, _web: web, _names: names, _folder: folder })
    }

    /// The next mail host plays this script at each connection.
    fn host(&mut self, identity: Option<TestIdentity>, scripts: Vec<Vec<String>>) -> Server {
        Server::on(self.listeners.remove(0), identity.map(|it| it.acceptor), scripts)
    }

    async fn send(&self) -> String {
        self.send_to("d.test").await
    }

    async fn send_to(&self, domain: &str) -> String {
        let message = message(MESSAGE);
        let outgoing = Outgoing::plain("alice@example.org", &["bob@d.test"], message.size());
        let destination = Way::MailHosts(domain.parse().unwrap()).into();
        send_to(&self.relay, &destination, &outgoing, &message).await.concat()
    }
}

const STARTTLS: [&str; 6] =
    ["> 220 mx", "< EHLO us.example.org", "> 250-mx", "> 250 STARTTLS", "< STARTTLS", "> 220 go"];
const TAKES: [&str; 6] = [
    "< MAIL FROM:<alice@example.org>",
    "> 250 ok",
    "< RCPT TO:<bob@d.test>",
    "> 250 ok",
    "< DATA",
    "> 354 go",
];

/// A mail host that takes the message, after `before`.
fn takes(before: &[&str], reply: &str) -> Vec<String> {
    let mut whole = script(&[before, &TAKES].concat());
    whole.extend([format!("= {STUFFED}"), format!("> 250 {reply}")]);
    whole
}

fn under_tls() -> Vec<&'static str> {
    [&STARTTLS[..], &["TLS", "< EHLO us.example.org", "> 250 mx"]].concat()
}

/// A mail host to which TLS is spoken, and nothing else but farewell.
fn not_trusted() -> Vec<String> {
    script(&[&STARTTLS[..], &["TLS", "< QUIT", "> 221 bye"]].concat())
}

/// RFC 8461 §4.1, §4.2
#[tokio::test]
async fn a_mail_host_that_proves_its_name_gets_the_mail_by_tls() -> Result<()> {
    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let identity = world.authority.identity(&["first.d.test"])?;
    let first = world.host(Some(identity), vec![takes(&under_tls(), "secure")]);
    assert_eq!(world.send().await, "+ 250 secure");
    first.end().await;
    Ok(())
}

/// RFC 8461 §5: in "enforce" the next host is tried.
#[tokio::test]
async fn a_mail_host_that_does_not_prove_its_name_is_passed_over_for_the_next() -> Result<()> {
    let stranger = TestAuthority::new()?.identity(&["first.d.test"])?;
    let refused = |reply: &str| script(&["> 220 mx", "< EHLO us.example.org", reply, "< QUIT", "> 221 bye"]);
    let cases = |world: &World| {
        Ok::<_, anyhow::Error>([
            (Some(world.authority.expired(&["first.d.test"])?), not_trusted()),
            (Some(world.authority.identity(&["other.d.test"])?), not_trusted()),
            (Some(stranger.clone()), not_trusted()),
            (None, refused("> 250 mx")),
            (None, refused("> 502 5.5.1 what?")),
        ])
    };
    let count = cases(&World::with_policy("enforce", &["*.d.test"]).await?)?.len();
    for case in 0..count {
        let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
        let (identity, script) = cases(&world)?[case].clone();
        let second = world.authority.identity(&["second.d.test"])?;
        let first = world.host(identity, vec![script]);
        let second = world.host(Some(second), vec![takes(&under_tls(), "second")]);
        assert_eq!(world.send().await, "+ 250 second", "{case}");
        first.end().await;
        second.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_message_waits_where_no_mail_host_proves_what_the_policy_demands_and_it_is_told_why() -> Result<()>
{
    let mut world = World::with_policy("enforce", &["first.d.test"]).await?;
    let expired = world.authority.expired(&["first.d.test"])?;
    let first = world.host(Some(expired), vec![not_trusted()]);
    let sent = world.send().await;
    assert!(
        sent.starts_with("~ 4.7.5 second.d.test is no mail host that the domain's MTA-STS policy names"),
        "{sent}"
    );
    first.end().await;

    let mut world = World::with_policy("enforce", &["second.d.test"]).await?;
    drop(world.listeners.remove(0));
    let expired = world.authority.expired(&["second.d.test"])?;
    let second = world.host(Some(expired), vec![not_trusted()]);
    let sent = world.send().await;
    for part in ["~ 4.7.5 second.d.test", "the domain's MTA-STS policy requires: certificate-expired: "] {
        assert!(sent.contains(part), "{part}: {sent}");
    }
    second.end().await;

    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let plain = script(&["> 220 mx", "< EHLO us.example.org", "> 250 mx", "< QUIT", "> 221 bye"]);
    let servers = [world.host(None, vec![plain.clone()]), world.host(None, vec![plain])];
    let sent = world.send().await;
    assert!(sent.starts_with("~ 4.7.10 second.d.test"), "{sent}");
    assert!(sent.ends_with("does not offer STARTTLS, which the domain's MTA-STS policy requires"), "{sent}");
    for server in servers {
        server.end().await;
    }
    Ok(())
}

/// RFC 8461 §5: in "testing" the mail is delivered all the same.
#[tokio::test]
async fn a_policy_in_testing_holds_nothing_up() -> Result<()> {
    for hosts in [["first.d.test"], ["second.d.test"]] {
        let mut world = World::with_policy("testing", &hosts).await?;
        let expired = world.authority.expired(&["first.d.test"])?;
        let first = world.host(Some(expired), vec![takes(&under_tls(), "tested")]);
        assert_eq!(world.send().await, "+ 250 tested", "{hosts:?}");
        first.end().await;
    }
    let mut world = World::with_policy("testing", &["*.d.test"]).await?;
    let plain = ["> 220 mx", "< EHLO us.example.org", "> 250 mx"];
    let first = world.host(None, vec![takes(&plain, "plain")]);
    assert_eq!(world.send().await, "+ 250 plain");
    first.end().await;
    Ok(())
}

#[tokio::test]
async fn without_a_policy_any_certificate_will_do_and_none_at_all() -> Result<()> {
    let mut world = World::with_policy("none", &[]).await?;
    let expired = world.authority.expired(&["elsewhere.test"])?;
    let first = world.host(Some(expired), vec![takes(&under_tls(), "any")]);
    assert_eq!(world.send().await, "+ 250 any");
    first.end().await;
    Ok(())
}

/// A TLSA record of the first mail host, for a server that shows this.
fn record(shown: &TestIdentity, kind: (u8, u8, u8)) -> String {
    format!("_{{port}}._tcp.first.d.test. TLSA {}\n", shown.tlsa(0, kind).unwrap())
}

/// RFC 7672 §3.1.1; RFC 8461 §2: DANE goes before MTA-STS.
#[tokio::test]
async fn a_certificate_that_the_tlsa_record_names_is_enough_whatever_the_policy_says() -> Result<()> {
    let authority = TestAuthority::new()?;
    let shown = TestAuthority::new()?.expired(&["else.test"])?;
    let records = record(&shown, (3, 1, 1));
    let mut world = World::with_records(authority, &records, ("enforce", &["other.test"]), None).await?;
    let first = world.host(Some(shown), vec![takes(&under_tls(), "named")]);
    assert_eq!(world.send().await, "+ 250 named");
    first.end().await;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_the_tlsa_record_does_not_name_leads_to_the_next_host_or_to_waiting() -> Result<()>
{
    let authority = TestAuthority::new()?;
    let (named, shown) = (authority.identity(&["first.d.test"])?, authority.identity(&["first.d.test"])?);
    let records = record(&named, (3, 1, 1));
    let mut world = World::with_records(authority, &records, ("enforce", &["first.d.test"]), None).await?;
    let second = world.listeners.remove(1);
    let first = world.host(Some(shown), vec![not_trusted()]);
    let sent = world.send().await;
    assert!(sent.starts_with("~ 4.7.5 second.d.test is no mail host"), "{sent}");
    first.end().await;
    drop(second);

    let authority = TestAuthority::new()?;
    let shown = authority.identity(&["first.d.test"])?;
    let mut world = World::with_records(authority, &records, ("none", &[]), None).await?;
    let first = world.host(Some(shown), vec![not_trusted()]);
    let plain = ["> 220 mx", "< EHLO us.example.org", "> 250 mx"];
    let second = world.host(None, vec![takes(&plain, "second")]);
    assert_eq!(world.send().await, "+ 250 second", "it has no TLSA records");
    first.end().await;
    second.end().await;

    let mut world = World::with_records(TestAuthority::new()?, &records, ("none", &[]), None).await?;
    drop(world.listeners.remove(1));
    let plain = script(&["> 220 mx", "< EHLO us.example.org", "> 250 mx", "< QUIT", "> 221 bye"]);
    let first = world.host(None, vec![plain]);
    world.send().await;
    first.end().await;
    Ok(())
}

/// RFC 7672 §2.2: what can't be used asks for TLS, whoever it is.
#[tokio::test]
async fn tlsa_records_that_can_not_be_used_ask_for_tls_all_the_same() -> Result<()> {
    let authority = TestAuthority::new()?;
    let shown = TestAuthority::new()?.expired(&["else.test"])?;
    let records = record(&shown, (1, 1, 1));
    let mut world = World::with_records(authority, &records, ("none", &[]), None).await?;
    let first = world.host(Some(shown), vec![takes(&under_tls(), "secret")]);
    assert_eq!(world.send().await, "+ 250 secret");
    first.end().await;

    let mut world = World::with_records(TestAuthority::new()?, &records, ("none", &[]), None).await?;
    let plain = script(&["> 220 mx", "< EHLO us.example.org", "> 250 mx", "< QUIT", "> 221 bye"]);
    let first = world.host(None, vec![plain]);
    let served = takes(&["> 220 mx", "< EHLO us.example.org", "> 250 mx"], "second");
    let second = world.host(None, vec![served]);
    assert_eq!(world.send().await, "+ 250 second");
    first.end().await;
    second.end().await;
    Ok(())
}

/// RFC 7672 §2.2: never in the clear, since nobody knows what the records would say.
#[tokio::test]
async fn a_host_whose_tlsa_records_are_forged_is_not_even_connected_with() -> Result<()> {
    let records = "_{port}._tcp.first.d.test. TLSA 3 1 1 ".to_owned()
        + &"11".repeat(32)
        + "\n_{port}._tcp.second.d.test. TLSA 3 1 1 "
        + &"11".repeat(32)
        + "\n";
    let forged = Some(("11".repeat(32), "22".repeat(32)));
    let world = World::with_records(TestAuthority::new()?, &records, ("none", &[]), forged).await?;
    let sent = world.send().await;
    assert!(sent.starts_with("~ 4.4.3 the TLSA records of second.d.test can't be known: "), "{sent}");
    for listener in &world.listeners {
        let nobody = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(nobody.is_err(), "somebody came to {listener:?}");
    }
    Ok(())
}

/// RFC 7672 §2.1.1: what is not signed says nothing.
#[tokio::test]
async fn tlsa_records_of_a_zone_that_is_not_signed_are_nothing() -> Result<()> {
    let mut world = World::with_records(TestAuthority::new()?, "", ("none", &[]), None).await?;
    let plain = ["> 220 mx", "< EHLO us.example.org", "> 250 mx"];
    let first = world.host(None, vec![takes(&plain, "plain")]);
    assert_eq!(world.send_to("d.unsigned").await, "+ 250 plain");
    first.end().await;
    Ok(())
}
