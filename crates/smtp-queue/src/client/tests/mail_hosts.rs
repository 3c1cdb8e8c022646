//! Mail hosts that must prove who they are, found through a real DNS server, their policies served over real HTTPS.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use testkit::{TestAuthority, TestDns, TestIdentity, TestWeb};

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
    _dns: TestDns,
    _folder: tempfile::TempDir,
}

/// Listeners at the addresses of the two mail hosts, on one port.
async fn listeners() -> Result<Vec<TcpListener>> {
    for _ in 0..20 {
        let first = TcpListener::bind((FIRST, 0)).await?;
        let port = first.local_addr()?.port();
        if let Ok(second) = TcpListener::bind((SECOND, port)).await {
            return Ok(vec![first, second]);
        }
    }
    anyhow::bail!("no port is free at both addresses")
}

impl World {
    async fn with_policy(mode: &str, hosts: &[&str]) -> Result<Self> {
        let dns = tokio::task::spawn_blocking(|| TestDns::start(ZONE)).await??;
        let authority = TestAuthority::new()?;
        let web = TestWeb::start(authority.identity(&["mta-sts.d.test"])?.acceptor).await?;
        let hosts: String = hosts.iter().map(|host| format!("mx: {host}\n")).collect();
        let policy = format!("version: STSv1\nmode: {mode}\n{hosts}max_age: 86400\n");
        web.put("mta-sts.d.test/.well-known/mta-sts.txt", "text/plain", &policy);
        let (listeners, folder) = (listeners().await?, tempfile::tempdir()?);
        let mut config = Config::new("us.example.org".parse()?, folder.path().to_owned());
        config.dns = dns.config();
        config.relay.port = listeners.first().context("no listener")?.local_addr()?.port();
        config.relay.security.ca_file = Some(authority.ca_file.clone());
        config.relay.security.https_port = web.address.port();
        let relay = Relay::new(&config)?;
        Ok(Self { authority, relay, listeners, _web: web, _dns: dns, _folder: folder })
    }

    /// The next mail host plays this script at each connection.
    fn host(&mut self, identity: Option<TestIdentity>, scripts: Vec<Vec<String>>) -> Server {
        Server::on(self.listeners.remove(0), identity.map(|it| it.acceptor), scripts)
    }

    async fn send(&self) -> String {
        let message = message(MESSAGE);
        let outgoing = Outgoing::plain("alice@example.org", &["bob@d.test"], message.size());
        let destination = Way::MailHosts("d.test".parse().unwrap()).into();
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
