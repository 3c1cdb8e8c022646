//! Quota roots and their resources. RFC 9208 §7.

use nom::Parser;
use nom::character::complete::u64;
use nom::combinator::{map, map_opt};
use nom::sequence::separated_pair;

use crate::expected::Noun;
use crate::grammar::{Parsed, atom, list0, name, sp};
use crate::quoted;

/// How much of something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaResource {
    /// `STORAGE`, in units of 1024 octets, or `MESSAGE`. RFC 9208 §5.
    pub name: &'static str,
    /// Used.
    pub usage: u64,
    /// May be used.
    pub limit: u64,
}

/// `quota-root-name = astring`
pub(crate) fn quota_root_name(input: &[u8]) -> Parsed<'_, String> {
    name(input)
}

/// `setquota = quota-root-name SP setquota-list`
pub(crate) fn setquota(input: &[u8]) -> Parsed<'_, (String, Vec<(String, u64)>)> {
    let resource = separated_pair(map(atom, str::to_ascii_uppercase), sp, resource_limit);
    let list = list0(Noun::ResourceAndLimit, resource);
    separated_pair(quota_root_name, sp, list).parse(input)
}

/// `resource-limit = number64`, which has 63 bits.
fn resource_limit(input: &[u8]) -> Parsed<'_, u64> {
    map_opt(u64, |limit| i64::try_from(limit).is_ok().then_some(limit)).parse(input)
}

/// `quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name)`; the mailbox's name is encoded already.
#[must_use]
pub fn quotaroot_response(mailbox: &str, root: Option<&str>) -> String {
    let root = root.map(|root| format!(" {}", quoted(root))).unwrap_or_default();
    format!("QUOTAROOT {}{root}", quoted(mailbox))
}

/// `quota-response = "QUOTA" SP quota-root-name SP quota-list`
#[must_use]
pub fn quota_response(root: &str, resources: &[QuotaResource]) -> String {
    let resource = |it: &QuotaResource| format!("{} {} {}", it.name, it.usage, it.limit);
    let resources: Vec<String> = resources.iter().map(resource).collect();
    format!("QUOTA {} ({})", quoted(root), resources.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::command::tests::accepted;

    #[test]
    fn the_commands_of_the_rfc_are_read() {
        let root = || "!partition/sda4".to_owned();
        assert_eq!(accepted("GETQUOTA \"!partition/sda4\""), Some(Command::GetQuota(root())));
        assert_eq!(accepted("getquota \"\""), Some(Command::GetQuota(String::new())));
        assert_eq!(
            accepted("GETQUOTAROOT INBOX"),
            Some(Command::GetQuotaRoot(mail_types::MailboxName::inbox()))
        );
        let limits = vec![("STORAGE".to_owned(), 510), ("MESSAGE".to_owned(), 1000)];
        assert_eq!(
            accepted("SETQUOTA !partition/sda4 (storage 510 MESSAGE 1000)"),
            Some(Command::SetQuota(root(), limits))
        );
        assert_eq!(accepted("SETQUOTA \"\" ()"), Some(Command::SetQuota(String::new(), Vec::new())));
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for line in [
            "GETQUOTA",
            "GETQUOTA a b",
            "GETQUOTAROOT",
            "SETQUOTA \"\"",
            "SETQUOTA \"\" STORAGE 1",
            "SETQUOTA \"\" (STORAGE)",
            "SETQUOTA \"\" (STORAGE -1)",
            "SETQUOTA \"\" (STORAGE 9223372036854775808)",
        ] {
            assert_eq!(accepted(line), None, "{line}");
        }
    }

    #[test]
    fn responses_are_written_as_the_rfc_shows_them() {
        let storage = QuotaResource { name: "STORAGE", usage: 104, limit: 10_923_847 };
        assert_eq!(
            quota_response("!partition/sda4", &[storage]),
            "QUOTA \"!partition/sda4\" (STORAGE 104 10923847)"
        );
        assert_eq!(quotaroot_response("INBOX", Some("#user/alice")), "QUOTAROOT \"INBOX\" \"#user/alice\"");
        assert_eq!(quotaroot_response("INBOX", None), "QUOTAROOT \"INBOX\"");
    }
}
