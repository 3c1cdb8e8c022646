//! The rules of RFC 7208 one by one, as the published test suite of SPF (release 2014.04) divides them; zones and names are our own.

use mail_auth::SpfResult::{self, Fail, Neutral, None as NoRecord, Pass, PermError, SoftFail, TempError};

use super::super::{Lab, client};

/// The client's address, the sender's domain (or the whole sender), and what comes of it.
type Case = (&'static str, &'static str, SpfResult);

/// What the client says by HELO where that does not matter.
const HELO: &str = "mail.host.test";

async fn check(zone: &str, cases: &[Case]) {
    check_helo(HELO, zone, cases).await;
}

async fn check_helo(helo: &str, zone: &str, cases: &[Case]) {
    let lab = Lab::new(zone);
    for (ip, from, expected) in cases {
        let from = if from.contains('@') { (*from).to_owned() } else { format!("a@{from}") };
        let mut client = client(ip, helo, Some(&from));
        client.ip = client.ip.to_canonical();
        let found = lab.verdicts.look_at_client(&client).await;
        assert_eq!(found.mail_spf.unwrap().result(), *expected, "{ip} {from}, HELO {helo}");
    }
}

async fn of_helo(zone: &str, ip: &str, helo: &str) -> SpfResult {
    Lab::new(zone).verdicts.look_at_client(&client(ip, helo, None)).await.helo_spf.result()
}

#[tokio::test]
async fn only_a_domain_of_several_labels_is_looked_at() {
    let label = "a".repeat(62);
    let zone = format!("single. TXT \"v=spf1 -all\"\n{label}.x.test. TXT \"v=spf1 -all\"\n");
    for helo in ["single", "[192.0.2.1]", "a...x.test", &format!("{label}aa.x.test"), ""] {
        assert_eq!(of_helo(&zone, "192.0.2.1", helo).await, NoRecord, "{helo}");
    }
    assert_eq!(of_helo(&zone, "192.0.2.1", &format!("{label}.x.test")).await, Fail);
    check(&zone, &[("192.0.2.1", "a@[192.0.2.1]", NoRecord)]).await;
}

#[tokio::test]
async fn of_the_texts_exactly_one_is_the_record() {
    let zone = r#"
empty.test. TXT "v=spf1"
joined.test. TXT "v=spf1" "mx"
other.test. TXT "v=spf10"
other.test. TXT "v=spf1 ip4:192.0.2.1"
case.test. TXT "v=SpF1 ~all"
two.test. TXT "v=spf1 +all"
two.test. TXT "V=sPf1 -all"
foreign.test. TXT "\226 not ours"
foreign.test. TXT "v=spf1 -all"
octets.test. TXT "v=spf1 a:\239x.test -all"
control.test. TXT "v=spf1 a:x.test\013ptr -all"
blanks.test. TXT "v=spf1  a   -all "
into-two.test. TXT "v=spf1 include:two.test ?all"
to-two.test. TXT "v=spf1 redirect=two.test"
"#;
    check(
        zone,
        &[
            ("192.0.2.1", "empty.test", Neutral),
            ("192.0.2.1", "joined.test", NoRecord),
            ("192.0.2.1", "other.test", Pass),
            ("192.0.2.1", "case.test", SoftFail),
            ("192.0.2.1", "two.test", PermError),
            ("192.0.2.1", "foreign.test", Fail),
            ("192.0.2.1", "octets.test", PermError),
            ("192.0.2.1", "control.test", PermError),
            ("192.0.2.1", "blanks.test", Fail),
            ("192.0.2.1", "into-two.test", PermError),
            ("192.0.2.1", "to-two.test", PermError),
            ("192.0.2.1", "there-is-none.test", NoRecord),
            ("192.0.2.1", "x.broken", TempError),
        ],
    )
    .await;
}

#[tokio::test]
async fn mistakes_anywhere_count_and_what_stands_first_decides() {
    let zone = r#"
late.test. TXT "v=spf1 ip4:192.0.2.1 -all moo"
unknown.test. TXT "v=spf1 moo.cow-far_out=man:dog/cat ip4:192.0.2.1 -all"
first.test. TXT "v=spf1 redirect=first.test ~all"
then.test. TXT "v=spf1 ip4:192.0.2.1 redirect=unknown.test"
open.test. TXT "v=spf1 ip4:192.0.2.1"
twice.test. TXT "v=spf1 all -all"
neutral.test. TXT "v=spf1 ?all"
holes.test. TXT "v=spf1 a:mail.x...test -all"
obsolete.test. TXT "v=spf1 default=pass"
"#;
    check(
        zone,
        &[
            ("192.0.2.1", "late.test", PermError),
            ("192.0.2.1", "unknown.test", Pass),
            ("192.0.2.1", "first.test", SoftFail),
            ("192.0.2.2", "then.test", Fail),
            ("192.0.2.2", "open.test", Neutral),
            ("192.0.2.2", "twice.test", Pass),
            ("192.0.2.2", "neutral.test", Neutral),
            ("192.0.2.2", "holes.test", Fail),
            ("192.0.2.2", "obsolete.test", Neutral),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_include_matches_by_a_pass_alone() {
    let zone = r#"
fail.test. TXT "v=spf1 ip4:192.0.2.5 -all"
soft.test. TXT "v=spf1 ip4:192.0.2.6 ~all"
neutral.test. TXT "v=spf1 ip4:192.0.2.7 ?all"
wrong.test. TXT "v=spf1 include +all"
none.test. TXT "v=spfl is no record"
a.test. TXT "v=spf1 include:fail.test ~all"
b.test. TXT "v=spf1 include:soft.test all"
c.test. TXT "v=spf1 include:neutral.test -all"
d.test. TXT "v=spf1 include:x.broken -all"
e.test. TXT "v=spf1 include:wrong.test -all"
f.test. TXT "v=spf1 include:none.test -all"
everybody.test. TXT "v=spf1 +all"
not-them.test. TXT "v=spf1 -include:everybody.test"
nested.test. TXT "v=spf1 include:not-them.test ~all"
softly.test. TXT "v=spf1 ~include:everybody.test"
redirects.test. TXT "v=spf1 redirect=everybody.test"
over.test. TXT "v=spf1 ?include:redirects.test -all"
"#;
    check(
        zone,
        &[
            ("192.0.2.1", "a.test", SoftFail),
            ("192.0.2.1", "b.test", Pass),
            ("192.0.2.1", "c.test", Fail),
            ("192.0.2.1", "d.test", TempError),
            ("192.0.2.1", "e.test", PermError),
            ("192.0.2.1", "f.test", PermError),
            // What an inner include makes of a match is the outer one's to judge.
            ("192.0.2.1", "not-them.test", Fail),
            ("192.0.2.1", "nested.test", SoftFail),
            ("192.0.2.1", "softly.test", SoftFail),
            ("192.0.2.1", "over.test", Neutral),
        ],
    )
    .await;
}

#[tokio::test]
async fn redirect_goes_on_with_the_other_domain() {
    let zone = r#"
lost.test. TXT "v=spf1 redirect=there-is-none.test"
down.test. TXT "v=spf1 redirect=x.broken"
from.test. TXT "v=spf1 redirect=to.test"
from.test. A 192.0.2.1
to.test. TXT "v=spf1 a -all"
to.test. A 192.0.2.2
exp.test. TXT "v=spf1 exp=exp1.test redirect=to.test"
void-exp.test. TXT "v=spf1 a:none1.test a:none2.test exp=none3.test -all"
"#;
    check(
        zone,
        &[
            ("192.0.2.1", "lost.test", PermError),
            ("192.0.2.1", "down.test", TempError),
            ("192.0.2.2", "from.test", Pass),
            ("192.0.2.1", "from.test", Fail),
            ("192.0.2.1", "exp.test", Fail),
            ("192.0.2.1", "void-exp.test", Fail),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_and_mx_match_any_address_within_their_lengths() {
    let zone = r#"
six.test. TXT "v=spf1 a//33 -all"
six.test. A 192.0.2.1
dual.test. TXT "v=spf1 a/24//64 -all"
dual.test. A 192.0.2.5
dual.test. AAAA 2001:db8:1234::dead:beef
only4.test. TXT "v=spf1 a/24 -all"
only4.test. A 192.0.2.5
only4.test. AAAA 2001:db8:1234::dead:beef
only6.test. TXT "v=spf1 a//64 -all"
only6.test. A 192.0.2.5
only6.test. AAAA 2001:db8:1234::dead:beef
several.test. TXT "v=spf1 a:two.test/24"
two.test. A 203.0.113.1
two.test. A 192.0.2.5
nobody.test. TXT "v=spf1 a/0 -all"
any4.test. TXT "v=spf1 a/0 -all"
any4.test. A 203.0.113.1
any6.test. TXT "v=spf1 a//0 -all"
any6.test. AAAA 2001:db8::1
colon.test. TXT "v=spf1 a:foo:bar/baz.x.test"
foo:bar/baz.x.test. A 192.0.2.1
mx.test. TXT "v=spf1 mx/24 -all"
mx.test. MX 10 mx1.test.
mx.test. MX 10 two.test.
mx1.test. A 198.51.100.1
implicit.test. TXT "v=spf1 mx"
implicit.test. A 192.0.2.1
null.test. TXT "v=spf1 mx"
null.test. A 192.0.2.1
null.test. MX 0 .
down.test. TXT "v=spf1 mx -all"
down.test. MX 10 x.broken.
both.test. TXT "v=spf1 mx"
both.test. MX 10 mx6.test.
both.test. MX 20 mx1.test.
mx6.test. A 198.51.100.2
mx6.test. AAAA 2001:db8:ff0::2
"#;
    check(
        zone,
        &[
            ("192.0.2.2", "six.test", Fail),
            ("192.0.2.4", "dual.test", Pass),
            ("::ffff:192.0.2.4", "dual.test", Pass),
            ("2001:db8:1234::cafe:babe", "dual.test", Pass),
            ("192.0.2.4", "only6.test", Fail),
            ("2001:db8:1234::cafe:babe", "only4.test", Fail),
            ("192.0.2.4", "several.test", Pass),
            ("192.0.2.4", "nobody.test", Fail),
            ("192.0.2.4", "any4.test", Pass),
            ("2001:db8::9", "any4.test", Fail),
            ("192.0.2.4", "any6.test", Fail),
            ("2001:db9::9", "any6.test", Pass),
            ("192.0.2.1", "colon.test", Pass),
            ("192.0.2.4", "mx.test", Pass),
            ("192.0.3.4", "mx.test", Fail),
            ("192.0.2.1", "implicit.test", Neutral),
            ("192.0.2.1", "null.test", Neutral),
            ("192.0.2.1", "down.test", TempError),
            ("2001:db8:ff0::2", "both.test", Pass),
            ("198.51.100.1", "both.test", Pass),
        ],
    )
    .await;
}

#[tokio::test]
async fn ptr_matches_names_that_lead_back() {
    let zone = r#"
10.2.0.192.in-addr.arpa. PTR host.a.test.
10.2.0.192.in-addr.arpa. PTR forged.b.test.
10.2.0.192.in-addr.arpa. PTR xa.test.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR Host.A.Test.
host.a.test. A 192.0.2.10
host.a.test. AAAA 2001:db8::1
xa.test. A 192.0.2.10
forged.b.test. A 192.0.2.11
a.test. TXT "v=spf1 ptr -all"
of-a.test. TXT "v=spf1 ptr:A.Test -all"
b.test. TXT "v=spf1 ptr -all"
itself.test. TXT "v=spf1 ptr:host.a.test -all"
tail.test. TXT "v=spf1 ptr:ost.a.test -all"
nameless.test. TXT "v=spf1 ptr ptr ptr ~all"
"#;
    check(
        zone,
        &[
            ("192.0.2.10", "a.test", Pass),
            ("192.0.2.10", "of-a.test", Pass),
            ("2001:db8::1", "of-a.test", Pass),
            ("192.0.2.10", "b.test", Fail),
            ("192.0.2.10", "itself.test", Pass),
            ("192.0.2.10", "tail.test", Fail),
            // The client's zone is not the sender's: it counts for no look-up that found nothing.
            ("192.0.2.99", "nameless.test", SoftFail),
        ],
    )
    .await;
}

#[tokio::test]
async fn exists_asks_for_ipv4_addresses_whatever_the_client_has() {
    let zone = r#"
four.test. A 127.0.0.2
six.test. AAAA 2001:db8::4
a.test. TXT "v=spf1 exists:four.test"
b.test. TXT "v=spf1 exists:six.test -all"
c.test. TXT "v=spf1 exists:x.broken -all"
"#;
    check(
        zone,
        &[
            ("192.0.2.1", "a.test", Pass),
            ("2001:db8::3", "a.test", Pass),
            ("2001:db8::3", "b.test", Fail),
            ("2001:db8::3", "c.test", TempError),
        ],
    )
    .await;
}

#[tokio::test]
async fn addresses_are_of_one_kind() {
    let zone = r#"
all4.test. TXT "v=spf1 ip4:198.51.100.1/0 -all"
one.test. TXT "v=spf1 ip4:192.0.2.1/32 -all"
mapped.test. TXT "v=spf1 -ip4:192.0.2.1 ip6:::ffff:192.0.2.1"
all6.test. TXT "v=spf1 ip6:::1.1.1.1/0"
half.test. TXT "v=spf1 ip6:2001:db8:8000::/33"
"#;
    check(
        zone,
        &[
            ("192.0.2.1", "all4.test", Pass),
            ("2001:db8::1", "all4.test", Fail),
            ("192.0.2.1", "one.test", Pass),
            ("192.0.2.2", "one.test", Fail),
            ("::ffff:192.0.2.1", "mapped.test", Fail),
            ("192.0.2.2", "mapped.test", Neutral),
            ("192.0.2.1", "all6.test", Neutral),
            ("::ffff:192.0.2.1", "all6.test", Neutral),
            ("2001:db8::1", "all6.test", Pass),
            ("2001:db8:8000::1", "half.test", Pass),
            ("2001:db8:7fff::1", "half.test", Neutral),
        ],
    )
    .await;
}

#[tokio::test]
async fn macros_name_what_is_asked_for() {
    let zone = r#"
dot.test. TXT "v=spf1 redirect=%{d}.d.spf.test."
dot.test.d.spf.test. TXT "v=spf1 include:o.spf.test. ~all"
o.spf.test. TXT "v=spf1 ip4:192.0.2.40"
signs.test. TXT "v=spf1 a:macro%%percent%_%_space%-url-space.x.test -all"
macro%percent\032\032space%20url-space.x.test. A 192.0.2.40
helo.test. TXT "v=spf1 a:%{H} -all"
mail.host.test. A 192.0.2.40
split.test. TXT "v=spf1 exists:%{i}.%{l2r-}.user.%{d2}"
192.0.2.40.gladstone.philip.user.split.test. A 127.0.0.2
several.test. TXT "v=spf1 exists:%{l2r+-}.user.%{d2}"
bar.foo.user.several.test. A 127.0.0.2
name.test. TXT "v=spf1 exists:%{p}.ok.x.test -all"
42.2.0.192.in-addr.arpa. PTR any.x.test.
42.2.0.192.in-addr.arpa. PTR mx.name.test.
43.2.0.192.in-addr.arpa. PTR mx.name.test.
any.x.test. A 192.0.2.42
mx.name.test. A 192.0.2.42
mx.name.test.ok.x.test. A 127.0.0.2
unknown.ok.x.test. A 127.0.0.3
own.test. TXT "v=spf1 -include:_spfh.%{d2} ip4:192.0.2.0/24 -all"
_spfh.own.test. TXT "v=spf1 -a:%{h} +all"
nibbles.test. TXT "v=spf1 exists:%{ir}.%{v}.x.test -all"
3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.x.test. A 127.0.0.2
inner.test. TXT "v=spf1 include:%{o}.rules.test -all"
inner.test.rules.test. TXT "v=spf1 exists:%{d}.%{o}.seen.test -all"
inner.test.rules.test.inner.test.seen.test. A 127.0.0.2
"#;
    check(
        zone,
        &[
            ("192.0.2.40", "dot.test", Pass),
            ("192.0.2.41", "dot.test", SoftFail),
            ("192.0.2.40", "signs.test", Pass),
            ("192.0.2.40", "helo.test", Pass),
            ("192.0.2.41", "helo.test", Fail),
            ("192.0.2.40", "philip-gladstone-test@split.test", Pass),
            ("192.0.2.40", "foo-bar+zip+quux@several.test", Pass),
            ("192.0.2.42", "name.test", Pass),
            // That name does not lead back: it is unknown.
            ("192.0.2.43", "name.test", Pass),
            ("2001:db8::3", "nibbles.test", Pass),
            ("192.0.2.40", "own.test", Pass),
            ("192.0.2.40", "inner.test", Pass),
        ],
    )
    .await;
    check_helo("JUMPIN' JUPITER", zone, &[("192.0.2.40", "helo.test", Fail)]).await;
    check_helo("[192.0.2.40]", zone, &[("192.0.2.40", "helo.test", Fail)]).await;
    // Its name is not there: the rule does not tell on it.
    check_helo("OEMCOMPUTER", zone, &[("192.0.2.40", "own.test", Fail)]).await;
}

#[tokio::test]
async fn look_ups_have_limits() {
    let many = |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<String>();
    let mut zone = r#"
loop.test. TXT "v=spf1 ip4:198.51.100.1 redirect=loop.test"
ring.test. TXT "v=spf1 include:ring2.test"
ring2.test. TXT "v=spf1 include:ring.test"
ten.test. TXT "v=spf1 a mx a mx a mx a mx a ptr ip4:192.0.2.1 -all"
ten.test. A 192.0.2.8
ten.test. MX 10 ten.test.
eleven.test. TXT "v=spf1 a mx a mx a mx a mx a ptr a ip4:192.0.2.1 -all"
eleven.test. A 192.0.2.8
eleven.test. MX 10 eleven.test.
shared.test. TXT "v=spf1 a a a a a a a a"
shared.test. A 192.0.2.10
include10.test. TXT "v=spf1 a include:shared.test ip4:192.0.2.1 mx -all"
include10.test. A 192.0.2.8
include11.test. TXT "v=spf1 a include:shared.test a ip4:192.0.2.1 -all"
include11.test. A 192.0.2.8
void2.test. TXT "v=spf1 a:n1.test exists:n2.test ?all"
void3.test. TXT "v=spf1 a:n1.test exists:n2.test mx:n3.test ?all"
void-inside.test. TXT "v=spf1 a:n1.test include:void2.test -all"
no-address.test. TXT "v=spf1 a:ring.test a:loop.test a:void2.test ?all"
hosts10.test. TXT "v=spf1 mx"
hosts11.test. TXT "v=spf1 mx"
addresses.test. TXT "v=spf1 a -all"
names.test. TXT "v=spf1 ptr"
"#
    .to_owned();
    zone += &many(10, &|n| format!("hosts10.test. MX {n} h{n}.test.\nh{n}.test. A 192.0.2.{n}\n"));
    zone += &many(11, &|n| format!("hosts11.test. MX {n} h{n}.test.\n"));
    zone += &many(20, &|n| format!("addresses.test. A 192.0.2.{}\n", n + 1));
    zone += &many(30, &|n| format!("200.2.0.192.in-addr.arpa. PTR n{n}.names.test.\n"));
    check(
        &zone,
        &[
            ("192.0.2.1", "loop.test", PermError),
            ("192.0.2.1", "ring.test", PermError),
            ("192.0.2.1", "ten.test", Pass),
            ("192.0.2.1", "eleven.test", PermError),
            ("192.0.2.1", "include10.test", Pass),
            ("192.0.2.1", "include11.test", PermError),
            ("192.0.2.1", "void2.test", Neutral),
            ("192.0.2.1", "void3.test", PermError),
            ("192.0.2.1", "void-inside.test", PermError),
            ("192.0.2.1", "no-address.test", PermError),
            ("192.0.2.9", "hosts10.test", Pass),
            ("192.0.2.9", "hosts11.test", PermError),
            ("192.0.2.20", "addresses.test", Pass),
            // It is not the domain's fault.
            ("192.0.2.200", "names.test", Neutral),
        ],
    )
    .await;
}
