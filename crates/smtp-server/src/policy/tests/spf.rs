//! RFC 7208: the examples of its Appendix A; `rules.rs` has the rest of its rules.

mod rules;

use mail_auth::SpfResult::{self, Fail, None as NoRecord, Pass, PermError, SoftFail, TempError};

use super::{Lab, client};

/// The zone of RFC 7208 Appendix A, with a name for each of its records, and some more.
const ZONE: &str = r#"
example.com. A 192.0.2.10
example.com. A 192.0.2.11
example.com. MX 10 mail-a.example.com.
example.com. MX 20 mail-b.example.com.
amy.example.com. A 192.0.2.65
bob.example.com. A 192.0.2.66
mail-a.example.com. A 192.0.2.129
mail-b.example.com. A 192.0.2.130
example.org. MX 10 mail-c.example.org.
mail-c.example.org. A 192.0.2.140
10.2.0.192.in-addr.arpa. PTR example.com.
65.2.0.192.in-addr.arpa. PTR amy.example.com.
66.2.0.192.in-addr.arpa. PTR bob.example.com.
4.0.0.10.in-addr.arpa. PTR bob.example.com.
all.test. TXT "v=spf1 +all"
a.test. TXT "v=spf1 a:example.com -all"
aorg.test. TXT "v=spf1 a:example.org -all"
mx.test. TXT "v=spf1 mx:example.com -all"
mxorg.test. TXT "v=spf1 mx:example.org -all"
mxboth.test. TXT "v=spf1 mx:example.com mx:example.org -all"
net30.test. TXT "v=spf1 mx:example.com/30 mx:example.org/30 -all"
ptr.example.com. TXT "v=spf1 ptr:example.com -all"
ip4.test. TXT "v=spf1 ip4:192.0.2.128/28 -all"
ip6.test. TXT "v=spf1 ip6:2001:db8::/32 ~all"
sites.test. TXT "v=spf1 include:ip4.test include:a.test ~all"
moved.test. TXT "v=spf1 redirect=a.test"
mary.mobile-users._spf.users.test. A 127.0.0.2
joel.remote-users._spf.users.test. A 127.0.0.2
users.test. TXT "v=spf1 mx:example.com include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all"
mobile-users._spf.users.test. TXT "v=spf1 exists:%{l1r+}.%{d} -all"
remote-users._spf.users.test. TXT "v=spf1 exists:%{l1r+}.%{d} -all"
bl.test. TXT "v=spf1 -exists:%{ir}.listed.test a:example.com -all"
10.2.0.192.listed.test. A 127.0.0.2
long.test. TXT ( "v=spf1 ip4:192.0.2.1 " "-all" )
two.test. TXT "v=spf1 +all"
two.test. TXT "v=spf1 -all"
noise.test. TXT "v=spf1 bogus:x -all"
noise.test. TXT "site-verification=1"
other.test. TXT "v=spf10 +all"
deep.test. TXT "v=spf1 a:a.d.test a:b.d.test a:c.d.test a:d.d.test a:e.d.test a:f.d.test a:g.d.test a:h.d.test a:i.d.test a:j.d.test a:k.d.test +all"
loop.test. TXT "v=spf1 include:loop.test -all"
lost.test. TXT "v=spf1 include:there-is-none.test +all"
down.test. TXT "v=spf1 a:x.broken +all"
"#;

#[tokio::test]
async fn the_examples_of_rfc_7208_come_out_as_it_says() {
    let lab = Lab::new(ZONE);
    let table: [(&str, &str, SpfResult); 36] = [
        ("all.test", "203.0.113.9", Pass),
        ("a.test", "192.0.2.10", Pass),
        ("a.test", "192.0.2.11", Pass),
        ("a.test", "192.0.2.12", Fail),
        ("aorg.test", "192.0.2.10", Fail),
        ("mx.test", "192.0.2.129", Pass),
        ("mx.test", "192.0.2.130", Pass),
        ("mx.test", "192.0.2.10", Fail),
        ("mxorg.test", "192.0.2.140", Pass),
        ("mxboth.test", "192.0.2.140", Pass),
        ("net30.test", "192.0.2.131", Pass),
        ("net30.test", "192.0.2.143", Pass),
        ("net30.test", "192.0.2.144", Fail),
        ("ptr.example.com", "192.0.2.65", Pass),
        ("ptr.example.com", "192.0.2.140", Fail),
        ("ptr.example.com", "10.0.0.4", Fail),
        ("ip4.test", "192.0.2.65", Fail),
        ("ip4.test", "192.0.2.129", Pass),
        ("ip6.test", "2001:db8:1::1", Pass),
        ("ip6.test", "2001:db9::1", SoftFail),
        ("sites.test", "192.0.2.129", Pass),
        ("sites.test", "192.0.2.10", Pass),
        ("sites.test", "192.0.2.99", SoftFail),
        ("moved.test", "192.0.2.10", Pass),
        ("moved.test", "192.0.2.99", Fail),
        ("bl.test", "192.0.2.10", Fail),
        ("bl.test", "192.0.2.11", Pass),
        ("long.test", "192.0.2.1", Pass),
        ("two.test", "192.0.2.1", PermError),
        ("noise.test", "192.0.2.1", PermError),
        ("other.test", "192.0.2.1", NoRecord),
        ("there-is-none.test", "192.0.2.1", NoRecord),
        ("deep.test", "192.0.2.1", PermError),
        ("loop.test", "192.0.2.1", PermError),
        ("lost.test", "192.0.2.1", PermError),
        ("down.test", "192.0.2.1", TempError),
    ];
    for (domain, ip, expected) in table {
        let client = client(ip, "client.test", Some(&format!("a@{domain}")));
        let found = lab.verdicts.look_at_client(&client).await;
        assert_eq!(found.mail_spf.unwrap().result(), expected, "{domain} {ip}");
        let greets = super::client(ip, domain, None);
        assert_eq!(
            lab.verdicts.look_at_client(&greets).await.helo_spf.result(),
            expected,
            "HELO {domain} {ip}"
        );
    }
    assert_eq!(sender(&lab, "a@anything.broken").await, TempError);
}

#[tokio::test]
async fn the_local_part_is_asked_for_where_a_record_wants_it() {
    let lab = Lab::new(ZONE);
    for (from, expected) in [("mary@users.test", Pass), ("joel@users.test", Pass), ("bob@users.test", Fail)] {
        assert_eq!(sender(&lab, from).await, expected, "{from}");
    }
}

async fn sender(lab: &Lab, from: &str) -> SpfResult {
    let client = client("203.0.113.9", "client.test", Some(from));
    lab.verdicts.look_at_client(&client).await.mail_spf.unwrap().result()
}
