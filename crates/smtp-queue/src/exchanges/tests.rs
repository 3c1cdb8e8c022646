//! Against a real DNS server.

use std::net::Ipv4Addr;

use anyhow::Result;
use testkit::TestDns;

use super::*;

const ZONE: &str = "
two.test. MX 20 b.test.
two.test. MX 10 a.test.
equal.test. MX 10 a.test.
equal.test. MX 10 b.test.
equal.test. MX 10 c.test.
a.test. A 192.0.2.1
a.test. A 192.0.2.2
a.test. AAAA 2001:db8::1
b.test. A 192.0.2.3
c.test. AAAA 2001:db8::3
bare.test. A 192.0.2.9
alias.test. CNAME two.test.
led.test. MX 10 pointer.test.
pointer.test. CNAME b.test.
null.test. MX 0 .
text.test. TXT nothing
nowhere.test. MX 10 there-is-none.test.
half.test. MX 10 there-is-none.test.
half.test. MX 20 b.test.
dark.test. MX 10 mx.broken.
dim.test. MX 10 mx.broken.
dim.test. MX 20 b.test.
unspecified.test. MX 10 zero.test.
zero.test. A 0.0.0.0
backup.test. MX 10 a.test.
backup.test. MX 20 US.example.org.
backup.test. MX 20 b.test.
backup.test. MX 30 c.test.
by-address.test. MX 10 b.test.
by-address.test. MX 20 ours.test.
ours.test. A 127.0.0.7
best.test. MX 10 us.example.org.
best.test. MX 20 a.test.
";

/// A host named us.example.org that takes mail at 127.0.0.7.
async fn exchanges() -> Result<(TestDns, Exchanges)> {
    let server = tokio::task::spawn_blocking(|| TestDns::start(ZONE)).await??;
    let mut config = Config::new("us.example.org".parse()?, "/nowhere".into());
    config.dns = server.config();
    let listener = config.smtp.listeners.iter_mut().find(|listener| listener.role == SmtpRole::Mx).unwrap();
    listener.addresses = vec![SocketAddr::from((Ipv4Addr::new(127, 0, 0, 7), 25))];
    Ok((server, Exchanges::new(&config)?))
}

async fn found(exchanges: &Exchanges, domain: &str) -> Vec<String> {
    match exchanges.candidates(&domain.parse().unwrap()).await {
        Ok(candidates) => candidates.iter().map(|it| format!("{} {}", it.host, it.address)).collect(),
        Err(Outcome::Failed(diagnosis)) => vec![format!("- {}", diagnosis.status)],
        Err(Outcome::Deferred(diagnosis)) => vec![format!("~ {}", diagnosis.status)],
        Err(Outcome::Delivered(..)) => panic!("{domain}"),
    }
}

const A: [&str; 3] = ["a.test 192.0.2.1:25", "a.test 192.0.2.2:25", "a.test [2001:db8::1]:25"];
const B: &str = "b.test 192.0.2.3:25";

fn sorted(mut found: Vec<String>) -> Vec<String> {
    found.sort();
    found
}

/// RFC 5321 §5.1.
#[tokio::test]
async fn all_addresses_of_all_hosts_come_in_the_order_of_preference_and_families_in_turn() -> Result<()> {
    let (_server, exchanges) = exchanges().await?;
    for domain in ["two.test", "alias.test"] {
        let found = found(&exchanges, domain).await;
        assert!(found[0].starts_with("a.test 192.") && found[3] == B, "{domain}: {found:?}");
        assert_eq!(found[1], A[2], "{domain}: {found:?}");
        assert_eq!(sorted(found), [&A[..], &[B]].concat());
    }
    assert_eq!(found(&exchanges, "bare.test").await, ["bare.test 192.0.2.9:25"]);
    assert_eq!(found(&exchanges, "led.test").await, ["pointer.test 192.0.2.3:25"]);
    Ok(())
}

#[tokio::test]
async fn hosts_of_the_same_preference_take_turns() -> Result<()> {
    let (_server, exchanges) = exchanges().await?;
    let mut first = std::collections::HashSet::new();
    for _ in 0..200 {
        let found = found(&exchanges, "equal.test").await;
        assert_eq!(found.len(), 5);
        first.insert(found[0].split(' ').next().unwrap().to_owned());
    }
    assert_eq!(first.len(), 3, "{first:?}");
    Ok(())
}

/// RFC 7505; RFC 5321 §5.1: what is not there is told from what is not known.
#[tokio::test]
async fn a_domain_that_takes_no_mail_fails_and_one_that_is_not_known_now_waits() -> Result<()> {
    let (_server, exchanges) = exchanges().await?;
    for (domain, expected) in [
        ("null.test", "- 5.1.10"),
        ("there-is-none.test", "- 5.1.2"),
        ("text.test", "- 5.1.2"),
        ("nowhere.test", "- 5.4.4"),
        ("unspecified.test", "- 5.4.4"),
        ("anything.broken", "~ 4.4.3"),
        ("dark.test", "~ 4.4.3"),
        ("half.test", B),
        ("dim.test", B),
    ] {
        assert_eq!(found(&exchanges, domain).await, [expected], "{domain}");
    }
    Ok(())
}

/// RFC 5321 §5.1.
#[tokio::test]
async fn a_loop_is_found_by_our_name_and_by_our_address() -> Result<()> {
    let (_server, exchanges) = exchanges().await?;
    assert_eq!(sorted(found(&exchanges, "backup.test").await), A);
    assert_eq!(found(&exchanges, "by-address.test").await, [B]);
    for domain in ["best.test", "ours.test", "[127.0.0.7]", "[IPv6:::ffff:127.0.0.7]"] {
        assert_eq!(found(&exchanges, domain).await, ["- 5.4.6"], "{domain}");
    }
    Ok(())
}

#[tokio::test]
async fn a_listener_at_every_address_is_at_this_machines() -> Result<()> {
    let (_server, mut exchanges) = exchanges().await?;
    exchanges.us.listeners = vec!["0.0.0.0:25".parse()?];
    assert!(exchanges.us.is_at("127.0.0.1".parse()?));
    assert!(!exchanges.us.is_at("192.0.2.1".parse()?));
    exchanges.us.listeners = Vec::new();
    assert!(!exchanges.us.is_at("127.0.0.1".parse()?));
    Ok(())
}

/// RFC 5321 §4.1.3.
#[tokio::test]
async fn an_address_literal_is_the_host_at_that_address() -> Result<()> {
    let (_server, exchanges) = exchanges().await?;
    assert_eq!(found(&exchanges, "[192.0.2.5]").await, ["192.0.2.5 192.0.2.5:25"]);
    assert_eq!(found(&exchanges, "[IPv6:2001:db8::5]").await, ["2001:db8::5 [2001:db8::5]:25"]);
    for nobodys in ["[0.0.0.0]", "[224.0.0.1]", "[255.255.255.255]", "[IPv6:ff02::1]"] {
        assert_eq!(found(&exchanges, nobodys).await, ["- 5.1.2"], "{nobodys}");
    }
    Ok(())
}
