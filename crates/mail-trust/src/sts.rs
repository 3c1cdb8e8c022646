//! The record and the policy of MTA-STS. RFC 8461 §3.1, §3.2. Pure.

use std::time::Duration;

/// The longest that a policy may be kept: RFC 8461 §3.2.
const MAX_AGE: u64 = 31_557_600;
/// Patterns of one policy.
const MAX_PATTERNS: usize = 100;

/// The id of the policy that a domain has now, found in the TXT records of `_mta-sts.DOMAIN`. `None` if there is none, more than one, or
/// it is malformed: RFC 8461 §3.1.
#[must_use]
pub(crate) fn policy_id(texts: &[Vec<u8>]) -> Option<String> {
    let mut records = texts.iter().filter_map(|text| str::from_utf8(text).ok()).filter_map(record_fields);
    let (fields, None) = (records.next()?, records.next()) else { return None };
    // Of a field that is there twice the first one counts.
    let id =
        fields.split(';').filter_map(|field| field.trim().split_once('=')).find(|(name, _)| *name == "id");
    let (_, id) = id?;
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

/// What follows the version. What has another one is no record of ours to judge.
fn record_fields(text: &str) -> Option<&str> {
    text.strip_prefix("v=STSv1")?.trim_start_matches([' ', '\t']).strip_prefix(';')
}

/// What is done where a mail host does not prove what the policy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail all the same, and the domain a report.
    Testing,
    /// Nothing: the domain has no policy any more.
    None,
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How strict it is.
    pub mode: Mode,
    /// The names that its mail hosts may have, in lower case, `*.` at the beginning for one label more; none only with [`Mode::None`].
    pub hosts: Vec<String>,
    /// How long it holds after it was fetched.
    pub max_age: Duration,
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAPolicy(String);

impl Policy {
    /// Reads the text that a policy host serves.
    ///
    /// # Errors
    /// [`NotAPolicy`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NotAPolicy> {
        let wrong = |what: &str| NotAPolicy(what.to_owned());
        let fields: Vec<(&str, &str)> = fields(text)?;
        let first = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        if first("version") != Some("STSv1") {
            return Err(wrong("it has no \"version: STSv1\""));
        }
        let mode = match first("mode") {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            Some(_) | None => return Err(wrong("its mode is neither enforce nor testing nor none")),
        };
        let max_age =
            first("max_age").filter(|value| value.len() <= 10 && value.bytes().all(|c| c.is_ascii_digit()));
        let max_age =
            max_age.and_then(|value| value.parse::<u64>().ok()).ok_or_else(|| wrong("it has no max_age"))?;
        let hosts = fields.iter().filter(|(key, _)| *key == "mx").map(|(_, value)| pattern(value));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() && mode != Mode::None {
            return Err(wrong("it names no mx"));
        }
        if hosts.len() > MAX_PATTERNS {
            return Err(wrong("it names too many mx"));
        }
        Ok(Self { mode, hosts, max_age: Duration::from_secs(max_age.min(MAX_AGE)) })
    }

    /// True if a mail host of this name is one of the domain's. RFC 8461 §4.1.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.hosts.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(above) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == above)
            }
            None => *pattern == host,
        })
    }
}

/// The keys and values of the lines. What has no colon makes the whole malformed.
fn fields(text: &str) -> Result<Vec<(&str, &str)>, NotAPolicy> {
    let lines =
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).trim_end_matches([' ', '\t']));
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let field = line.split_once(':').map(|(key, value)| (key, value.trim_matches([' ', '\t'])));
            field.ok_or_else(|| NotAPolicy("a line of it has no colon".to_owned()))
        })
        .collect()
}

/// A name or `*.` and a name, in A-labels.
fn pattern(value: &str) -> Result<String, NotAPolicy> {
    let name = value.strip_prefix("*.").unwrap_or(value);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
    };
    let is_name = name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(is_label);
    let pattern = value.strip_suffix('.').unwrap_or(value).to_ascii_lowercase();
    is_name.then_some(pattern).ok_or_else(|| NotAPolicy("an mx of it is no host name".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_id(texts: &[&str], expected: Option<&str>) {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        assert_eq!(policy_id(&texts).as_deref(), expected, "{texts:?}");
    }

    /// RFC 8461 §3.1
    #[test]
    fn one_record_gives_the_id_and_two_give_none() {
        check_id(&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z"));
        check_id(&["v=STSv1;id=1"], Some("1"));
        check_id(&["v=STSv1 ; x=y ; id=2 "], Some("2"));
        check_id(&["other", "v=STSv1; id=3;", "v=STSv10; id=4;"], Some("3"));
        check_id(&["v=STSv1; id=3;", "v=STSv1; id=3;"], None);
        check_id(&["v=STSv1; id=;"], None);
        check_id(&["v=STSv1; id=a-b;"], None);
        check_id(&["v=STSv1; id=123456789012345678901234567890123;"], None);
        check_id(&["v=STSv1;"], None);
        check_id(&["V=STSv1; id=1;"], None);
        check_id(&["v=STSv1 id=1;"], None);
        check_id(&[], None);
    }

    const EXAMPLE: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n\
        mx: backupmx.example.com\nmax_age: 604800\n";

    /// RFC 8461 §3.2: the example, with both ends of lines, and what may be left out and added.
    #[test]
    fn a_policy_is_read_whatever_its_line_ends() {
        let policy = Policy::parse(EXAMPLE).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.hosts, ["mail.example.com", "*.example.net", "backupmx.example.com"]);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        let crlf = EXAMPLE.replace('\n', " \r\n");
        assert_eq!(Policy::parse(crlf.trim_end()).unwrap(), policy);
        let twice = format!("{EXAMPLE}mode: none\nmax_age: 1\nx-new: a: b\n");
        assert_eq!(Policy::parse(&twice).unwrap(), policy, "the first of two counts");
        let none = Policy::parse("version: STSv1\nmode: none\nmax_age: 9999999999\n").unwrap();
        assert_eq!((none.mode, none.max_age.as_secs()), (Mode::None, MAX_AGE));
    }

    #[test]
    fn what_is_no_policy_is_told() {
        for (from, to) in [
            ("version: STSv1", "version: STSv2"),
            ("mode: enforce", "mode: Enforce"),
            ("mode: enforce", "mode enforce"),
            ("max_age: 604800", "max_age: -1"),
            ("max_age: 604800", "max_age: 12345678901"),
            ("mx: mail.example.com", "mx: mail..example.com"),
            ("mx: mail.example.com", "mx: a*.example.com"),
            ("mx: mail.example.com", "mx:"),
        ] {
            let text = EXAMPLE.replace(from, to);
            assert!(text != EXAMPLE && Policy::parse(&text).is_err(), "{text}");
        }
        assert!(Policy::parse("version: STSv1\nmode: testing\nmax_age: 1\n").is_err());
        assert!(Policy::parse("").is_err());
        assert!(Policy::parse("<html>404: not here</html>").is_err());
    }

    /// RFC 8461 §4.1
    #[test]
    fn a_wildcard_stands_for_one_label() {
        let policy = Policy::parse(EXAMPLE).unwrap();
        for host in ["mail.example.com", "MAIL.example.com.", "a.example.net", "A.Example.Net"] {
            assert!(policy.names(host), "{host}");
        }
        for host in
            ["example.net", ".example.net", "a.b.example.net", "x.mail.example.com", "example.com", ""]
        {
            assert!(!policy.names(host), "{host}");
        }
    }
}
