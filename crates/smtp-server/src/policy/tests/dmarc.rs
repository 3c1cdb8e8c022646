//! RFC 9989: alignment, whose policy counts, and what the DNS may spoil.

use super::{Lab, client};
use crate::policy::judge::Outcome;

/// Names as in RFC 9989 Appendix B: an organizational domain with subdomains, all of which send from one network.
const ZONE: &str = r#"
_dmarc.example.com. TXT "v=DMARC1; p=reject; sp=quarantine; np=reject; rua=mailto:d@example.com"
example.com. TXT "v=spf1 ip4:192.0.2.0/24 -all"
mail.example.com. TXT "v=spf1 ip4:192.0.2.0/24 -all"
mail.example.com. A 192.0.2.9
_dmarc.strict.example.net. TXT "v=DMARC1; p=reject; aspf=s; adkim=s"
sub.strict.example.net. TXT "v=spf1 ip4:192.0.2.0/24 -all"
other.test. TXT "v=spf1 ip4:192.0.2.0/24 -all"
_dmarc.testing.test. TXT "v=DMARC1; p=reject; t=y"
_dmarc.two.test. TXT "v=DMARC1; p=reject"
_dmarc.two.test. TXT "v=DMARC1; p=none"
_dmarc.noise.test. TXT "something else"
_dmarc.noise.test. TXT "v=DMARC1; p=quarantine"
_dmarc.xn--mnchen-3ya.test. TXT "v=DMARC1; p=reject"
"#;

#[tokio::test]
async fn the_policy_of_the_author_is_found_and_alignment_judged() {
    let lab = Lab::new(ZONE);
    let table = [
        // From, MAIL FROM, result, what becomes of it.
        ("a@example.com", "b@example.com", "pass", "accept"),
        ("a@example.com", "b@mail.example.com", "pass", "accept"),
        ("a@mail.example.com", "b@example.com", "pass", "accept"),
        ("a@example.com", "b@other.test", "fail", "refuse"),
        ("a@mail.example.com", "b@other.test", "fail", "junk"),
        ("a@there-is-none.example.com", "b@other.test", "fail", "refuse"),
        ("a@strict.example.net", "b@sub.strict.example.net", "fail", "refuse"),
        ("a@sub.strict.example.net", "b@sub.strict.example.net", "pass", "accept"),
        ("a@testing.test", "b@other.test", "fail", "junk"),
        ("a@two.test", "b@other.test", "none", "accept"),
        ("a@noise.test", "b@other.test", "fail", "junk"),
        ("a@m\u{fc}nchen.test", "b@other.test", "fail", "refuse"),
        ("a@other.test", "b@other.test", "none", "accept"),
        ("a@x.broken", "b@other.test", "temperror", "refuse"),
    ];
    for (author, sender, result, becomes) in table {
        let message = format!("From: Somebody <{author}>\r\n\r\nHello.\r\n");
        let client = client("192.0.2.1", "mail.example.com", Some(sender));
        let verdict = lab.verdict(&client, &message).await;
        assert!(
            verdict.fields.contains(&format!("\tdmarc={result}")),
            "{author} {sender}\n{}",
            verdict.fields
        );
        let became = match verdict.outcome {
            Outcome::Accept => "accept",
            Outcome::Junk => "junk",
            Outcome::Refuse(_) => "refuse",
        };
        assert_eq!(became, becomes, "{author} {sender}\n{}", verdict.fields);
    }
}
