//! What is asked of a real DNS server.
#![allow(missing_docs)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use mail_config::DnsConfig;
use mail_dns::{Dns, LookupError, MailHost, MailHosts};
use testkit::TestDns;

const ZONE: &str = r#"
two.test. MX 20 Second.two.test.
two.test. MX 10 first.two.test.
null.test. MX 0 .
odd.test. MX 0 .
odd.test. MX 10 mx.odd.test.
bare.test. A 192.0.2.1
bare.test. AAAA 2001:db8::1
six.test. AAAA 2001:db8::6
text.test. TXT "no address here"
parts.test. TXT "one " "record"
1.2.0.192.in-addr.arpa. PTR Mail.bare.test.
2.0.0.127.list.test. A 127.0.0.2
2.0.0.127.list.test. A 127.0.0.4
"#;

async fn dns() -> Result<(TestDns, Dns)> {
    let server = tokio::task::spawn_blocking(|| TestDns::start(ZONE)).await??;
    let dns = Dns::new(&server.config())?;
    Ok((server, dns))
}

#[tokio::test]
async fn a_domains_mail_hosts_are_told_in_the_order_of_preference() -> Result<()> {
    let (_server, dns) = dns().await?;
    let host = |preference, name: &str| MailHost { preference, name: name.to_owned() };
    let two = MailHosts::Hosts(vec![host(10, "first.two.test"), host(20, "second.two.test")]);
    assert_eq!(dns.mail_hosts("two.test").await?, two);
    let odd = MailHosts::Hosts(vec![host(10, "mx.odd.test")]);
    assert_eq!(dns.mail_hosts("odd.test").await?, odd);
    assert_eq!(dns.mail_hosts("null.test").await?, MailHosts::Null);
    assert_eq!(dns.mail_hosts("bare.test").await?, MailHosts::Itself);
    assert_eq!(dns.mail_hosts("six.test").await?, MailHosts::Itself);
    assert_eq!(dns.mail_hosts("text.test").await?, MailHosts::Nothing);
    assert_eq!(dns.mail_hosts("there-is-none.test").await?, MailHosts::Nothing);
    Ok(())
}

#[tokio::test]
async fn no_such_name_is_told_from_no_such_record_and_from_no_answer() -> Result<()> {
    let (_server, dns) = dns().await?;
    assert_eq!(dns.addresses("there-is-none.test").await, Err(LookupError::NoSuchName));
    assert_eq!(dns.addresses("text.test").await, Err(LookupError::NoRecords));
    assert_eq!(dns.addresses(&"x".repeat(64)).await, Err(LookupError::NotAName));
    let broken = dns.addresses("anything.broken").await.unwrap_err();
    assert!(broken.is_temporary() && matches!(broken, LookupError::Failed(_)), "{broken:?}");
    assert!(dns.mail_hosts("anything.broken").await.unwrap_err().is_temporary());
    assert!(dns.entries("2.0.0.127.broken").await.unwrap_err().is_temporary());
    Ok(())
}

#[tokio::test]
async fn addresses_names_texts_and_entries_are_found() -> Result<()> {
    let (_server, dns) = dns().await?;
    let both: [std::net::IpAddr; 2] = ["192.0.2.1".parse()?, "2001:db8::1".parse()?];
    assert_eq!(dns.addresses("BARE.test.").await?, both);
    assert_eq!(dns.names("192.0.2.1".parse()?).await?, ["mail.bare.test"]);
    assert_eq!(dns.texts("parts.test").await?, [b"one record"]);
    let mut listed = dns.entries("2.0.0.127.list.test").await?;
    listed.sort();
    assert_eq!(listed, [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 4)]);
    assert_eq!(dns.entries("3.0.0.127.list.test").await?, [Ipv4Addr::UNSPECIFIED; 0]);
    Ok(())
}

#[tokio::test]
async fn an_answer_is_kept_for_the_process() -> Result<()> {
    let (server, dns) = dns().await?;
    assert_eq!(dns.mail_hosts("null.test").await?, MailHosts::Null);
    assert!(dns.addresses("there-is-none.test").await.is_err());
    drop(server);
    assert_eq!(dns.clone().mail_hosts("null.test").await?, MailHosts::Null);
    assert_eq!(dns.addresses("there-is-none.test").await, Err(LookupError::NoSuchName));
    Ok(())
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_time_limit_and_no_more() -> Result<()> {
    let silent = UdpSocket::bind("127.0.0.1:0")?;
    let servers: Vec<SocketAddr> = vec![silent.local_addr()?];
    let timeout = Duration::from_millis(400);
    let dns = Dns::new(&DnsConfig { servers, timeout, ..DnsConfig::default() })?;
    let begun = Instant::now();
    assert!(dns.addresses("bare.test").await.unwrap_err().is_temporary());
    assert!(begun.elapsed() < timeout * 3, "{:?}", begun.elapsed());
    Ok(())
}
