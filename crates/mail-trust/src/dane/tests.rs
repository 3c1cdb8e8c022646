use anyhow::Result;
use mail_config::Config;
use testkit::{TestAuthority, TestIdentity, TestResolver};

use super::*;

fn record(text: &str) -> TlsaRecord {
    let mut words = text.split(' ');
    let mut number = || words.next().unwrap().parse::<u8>().unwrap();
    let (usage, selector, matching) = (number(), number(), number());
    let hex = words.next().unwrap();
    let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    TlsaRecord { usage, selector, matching, data: (0..hex.len()).step_by(2).map(octet).collect() }
}

/// What comes of what a server shows, by the records.
fn verdict(records: &[String], shown: &TestIdentity) -> String {
    let records = records.iter().map(|text| record(text)).collect();
    let names = vec!["mx.test".to_owned(), "d.test".to_owned()];
    match (Associations { records, names }).verify(&shown.chain) {
        Ok(()) => "good".to_owned(),
        Err(failure) => failure.kind.to_string(),
    }
}

/// RFC 7672 §3.1.1: whatever it is called, whoever has signed it and however old it is.
#[test]
fn a_certificate_that_the_records_name_is_good_and_another_is_not() -> Result<()> {
    let authority = TestAuthority::new()?;
    let (ours, other) = (authority.expired(&["else.test"])?, authority.identity(&["mx.test"])?);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let records = [ours.tlsa(0, (3, selector, matching)).unwrap()];
            assert_eq!(verdict(&records, &ours), "good", "3 {selector} {matching}");
            assert_eq!(verdict(&records, &other), "validation-failure", "3 {selector} {matching}");
            let both = [records[0].clone(), other.tlsa(0, (3, selector, matching)).unwrap()];
            assert_eq!(verdict(&both, &other), "good", "one of two, 3 {selector} {matching}");
        }
    }
    let empty = TestIdentity { chain: Vec::new(), ..ours.clone() };
    assert_eq!(verdict(&[ours.tlsa(0, (3, 1, 1)).unwrap()], &empty), "certificate-not-trusted");
    Ok(())
}

/// RFC 7672 §3.1.2: what an authority has signed must be in time, and for the host or the domain.
#[test]
fn an_authority_that_the_records_name_vouches_as_any_does() -> Result<()> {
    let (authority, stranger) = (TestAuthority::new()?, TestAuthority::new()?);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let kind = (2, selector, matching);
            let ours = authority.identity(&["mx.test"])?;
            let records = [ours.tlsa(1, kind).unwrap()];
            assert_eq!(verdict(&records, &ours), "good", "{kind:?}");
            assert_eq!(verdict(&records, &authority.identity(&["d.test"])?), "good", "{kind:?}");
            for (shown, expected) in [
                (authority.identity(&["else.test"])?, "certificate-host-mismatch"),
                (authority.expired(&["mx.test"])?, "certificate-expired"),
            ] {
                assert_eq!(verdict(&records, &shown), expected, "{kind:?}");
            }
            let forged = stranger.identity(&["mx.test"])?;
            assert!(
                ["validation-failure", "certificate-not-trusted"]
                    .contains(&verdict(&records, &forged).as_str())
            );
            // Who shows the authority's certificate has not been signed by it for that.
            let chain = vec![forged.chain[0].clone(), ours.chain[1].clone()];
            assert_eq!(
                verdict(&records, &TestIdentity { chain, ..forged }),
                "certificate-not-trusted",
                "{kind:?}"
            );
        }
    }
    // A whole certificate need not be shown.
    let ours = authority.identity(&["mx.test"])?;
    let alone = TestIdentity { chain: vec![ours.chain[0].clone()], ..ours.clone() };
    assert_eq!(verdict(&[ours.tlsa(1, (2, 0, 0)).unwrap()], &alone), "good");
    assert_eq!(verdict(&[ours.tlsa(1, (2, 1, 1)).unwrap()], &alone), "validation-failure");
    Ok(())
}

/// RFC 7671 §9
#[test]
fn of_two_digests_the_stronger_counts() {
    let (weak, strong) = (format!("3 1 1 {}", "01".repeat(32)), format!("3 1 2 {}", "02".repeat(64)));
    let other = format!("3 0 1 {}", "03".repeat(32));
    let records = [&weak, &strong, &other].map(|text| record(text));
    assert_eq!(strongest(records.to_vec()), [record(&strong), record(&other)]);
    assert_eq!(strongest(vec![record(&weak)]), [record(&weak)]);
}

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// RFC 7672 §2.2
#[tokio::test]
async fn records_count_where_they_are_authentic_and_what_is_not_known_is_no_absence() -> Result<()> {
    let signed = format!(
        "plain.test. A 127.0.0.2
         named.test. A 127.0.0.2
         _25._tcp.named.test. TLSA 3 1 1 {ZEROS}
         six.test. AAAA ::2
         _25._tcp.six.test. TLSA 3 1 1 {ZEROS}
         odd.test. A 127.0.0.2
         _25._tcp.odd.test. TLSA 1 1 1 {ZEROS}
         _25._tcp.odd.test. TLSA 3 1 1 00
         _25._tcp.odd.test. TLSA 3 9 1 {ZEROS}
         alias.test. CNAME named.test.
         own.test. CNAME plain.test.
         _25._tcp.own.test. TLSA 3 1 2 {ZEROS}{ZEROS}
         out.test. CNAME named.unsigned.
         _25._tcp.out.test. TLSA 3 1 1 {ZEROS}
         pointed.test. A 127.0.0.2
         _25._tcp.pointed.test. CNAME _25._tcp.named.test.
         forged.test. A 127.0.0.2
         _25._tcp.forged.test. TLSA 3 1 1 {}
         moved.test. A 127.0.0.77
         mail.test. MX 10 named.test.
         ",
        ZEROS.replace('0', "1"),
    );
    let signed = signed.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let unsigned = format!("named A 127.0.0.2\n_25._tcp.named TLSA 3 1 1 {ZEROS}\nmail MX 10 named.test.\n");
    let twos = ZEROS.replace('0', "2");
    let ones = ZEROS.replace('0', "1");
    let start =
        move || TestResolver::start(&signed, &unsigned, &[(&ones, &twos), ("127.0.0.77", "127.0.0.78")]);
    let resolver = tokio::task::spawn_blocking(start).await??;
    let mut config = Config::new("us.example.org".parse()?, "/nowhere".into());
    config.dns = resolver.config();
    let dns = Dns::new(&config.dns)?;
    let shown = async |host: &str| match asked(&dns, "d.test", host, 25).await {
        Ok(Asked::Nothing) => "nothing".to_owned(),
        Ok(Asked::Encryption) => "encryption".to_owned(),
        Ok(Asked::Certificate(it)) => format!("{} of {}", it.shown().len(), it.server_name()),
        Err(failure) => failure.kind.to_string(),
    };
    for (host, expected) in [
        ("plain.test", "nothing"),
        ("named.test", "1 of named.test"),
        ("NAMED.test", "1 of named.test"),
        ("six.test", "1 of six.test"),
        ("odd.test", "encryption"),
        ("alias.test", "1 of named.test"),
        ("own.test", "1 of own.test"),
        ("out.test", "1 of out.test"),
        ("pointed.test", "1 of pointed.test"),
        ("named.unsigned", "nothing"),
        ("localhost", "nothing"),
        ("there-is-none.test", "nothing"),
        ("forged.test", "dnssec-invalid"),
        ("moved.test", "dnssec-invalid"),
    ] {
        assert_eq!(shown(host).await, expected, "{host}");
    }
    for (domain, expected) in [("mail.test", true), ("named.test", true), ("mail.unsigned", false)] {
        assert_eq!(dns.authentic_mail_hosts(domain).await?, expected, "{domain}");
    }
    config.dns.validates = Some(false);
    assert!(!Dns::new(&config.dns)?.validates(), "not believed");
    Ok(())
}
