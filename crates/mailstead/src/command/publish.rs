//! What the owner of a domain may publish so that others send to it over TLS only: RFC 8461, RFC 8460.

use jiff::Zoned;
use mail_types::Domain;

/// Where others report on the TLS of our hosts: a record's name, kind and value.
pub(super) fn tls_reports(domain: &Domain) -> Vec<String> {
    let domain = domain.to_ascii();
    vec![
        format!("_smtp._tls.{domain}."),
        "TXT".to_owned(),
        format!("\"v=TLSRPTv1; rua=mailto:postmaster@{domain}\""),
    ]
}

/// The policy of MTA-STS, how to serve it, and what to publish then.
pub(super) fn mta_sts(domain: &Domain, hostname: &Domain, today: &Zoned) -> String {
    let (domain, host, id) = (domain.to_ascii(), hostname.to_ascii(), today.strftime("%Y%m%d"));
    format!(
        "To have others send to {domain} over TLS only (MTA-STS), have a web server serve this text as text/plain at\n\
         https://mta-sts.{domain}/.well-known/mta-sts.txt, with a certificate for that name; Mailstead has no web server:\n\n  \
         version: STSv1\n  mode: testing\n  mx: {host}\n  max_age: 86400\n\n\
         Then publish these records. Once reports show no failures, change the mode to enforce, max_age to 604800, and the id:\n\n  \
         mta-sts.{domain}.   A    <the web server's address>\n  \
         _mta-sts.{domain}.  TXT  \"v=STSv1; id={id}\"\n\n\
         The certificate of {host} must then be one that everybody trusts, and for that name.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_served_and_published_names_the_domain_and_its_host() {
        let today = jiff::civil::date(2026, 11, 28).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let (domain, host) = ("example.org".parse().unwrap(), "mail.example.net".parse().unwrap());
        let text = mta_sts(&domain, &host, &today);
        for part in [
            "https://mta-sts.example.org/.well-known/mta-sts.txt",
            "mx: mail.example.net\n",
            "_mta-sts.example.org.  TXT  \"v=STSv1; id=20261128\"\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(
            tls_reports(&domain).join(" "),
            "_smtp._tls.example.org. TXT \"v=TLSRPTv1; rua=mailto:postmaster@example.org\""
        );
    }
}
