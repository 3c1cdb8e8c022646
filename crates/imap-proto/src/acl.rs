//! Access rights: SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS and their responses. RFC 4314.

use mail_types::{MailboxName, Rights};
use nom::Parser;
use nom::combinator::{map, map_opt, verify};
use nom::sequence::separated_pair;

use crate::astring;
use crate::expected::Noun;
use crate::grammar::{Parsed, expect, mailbox, sp, text};

/// `mod-rights = astring`: how SETACL changes what an identifier may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RightsChange {
    /// These and no others.
    Replace(Rights),
    /// `+`
    Add(Rights),
    /// `-`
    Remove(Rights),
}

impl RightsChange {
    /// What is granted after the change.
    #[must_use]
    pub const fn applied_to(self, before: Rights) -> Rights {
        match self {
            Self::Replace(rights) => rights,
            Self::Add(rights) => before.union(rights),
            Self::Remove(rights) => before.without(rights),
        }
    }
}

/// `mailbox SP identifier SP mod-rights`; `identifier = astring`, which must not be empty (§3).
pub(crate) fn setacl<const UTF8: bool>(input: &[u8]) -> Parsed<'_, (MailboxName, String, RightsChange)> {
    map(
        (mailbox::<UTF8>, sp, identifier, sp, expect(Noun::AccessRights, mod_rights)),
        |(name, _, identifier, _, change)| (name, identifier, change),
    )
    .parse(input)
}

/// `mailbox SP identifier`
pub(crate) fn of_identifier<const UTF8: bool>(input: &[u8]) -> Parsed<'_, (MailboxName, String)> {
    separated_pair(mailbox::<UTF8>, sp, identifier).parse(input)
}

fn identifier(input: &[u8]) -> Parsed<'_, String> {
    expect(Noun::Identifier, verify(text, |text: &String| !text.is_empty())).parse(input)
}

/// `astring`, of `["+" / "-"] *lowercase-alpha`; a right that is not known makes it BAD (§3.1).
fn mod_rights(input: &[u8]) -> Parsed<'_, RightsChange> {
    map_opt(text, |text| {
        let (change, rights): (fn(Rights) -> RightsChange, &str) = match text.split_at_checked(1) {
            Some(("+", rights)) => (RightsChange::Add, rights),
            Some(("-", rights)) => (RightsChange::Remove, rights),
            _ => (RightsChange::Replace, &text),
        };
        rights.parse().ok().map(change)
    })
    .parse(input)
}

/// `acl-data = "ACL" SP mailbox *(SP identifier SP rights)`; the mailbox's name is encoded and in quotes already.
#[must_use]
pub fn acl_response(mailbox: &str, entries: &[(String, Rights)]) -> String {
    let entry = |(identifier, rights): &(String, Rights)| {
        format!(" {} {}", astring(identifier), astring(&rights.to_string()))
    };
    let entries: String = entries.iter().map(entry).collect();
    format!("ACL {mailbox}{entries}")
}

/// `listrights-data = "LISTRIGHTS" SP mailbox SP identifier SP rights *(SP rights)`: what is always granted, and then each right
/// that can be, none tied to another but the virtual ones (§2.1.1).
#[must_use]
pub fn listrights_response(mailbox: &str, identifier: &str, always: Rights) -> String {
    let each = Rights::ALL.without(always).iter().map(Rights::letters);
    let each: Vec<String> = each.chain(["c", "d"].map(str::to_owned)).collect();
    format!("LISTRIGHTS {mailbox} {} {} {}", astring(identifier), astring(&always.letters()), each.join(" "))
}

/// `myrights-data = "MYRIGHTS" SP mailbox SP rights`
#[must_use]
pub fn myrights_response(mailbox: &str, rights: Rights) -> String {
    format!("MYRIGHTS {mailbox} {}", astring(&rights.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::command::tests::accepted;

    fn rights(text: &str) -> Rights {
        text.parse().unwrap()
    }

    #[test]
    fn the_commands_of_the_rfc_are_read() {
        let (drafts, inbox) = ("INBOX/Drafts".parse::<MailboxName>().unwrap(), MailboxName::inbox());
        let set = |identifier: &str, change| Command::SetAcl(drafts.clone(), identifier.to_owned(), change);
        let replace = RightsChange::Replace(rights("lrswideta"));
        assert_eq!(accepted("SeTacl INBOX/Drafts David lrswida"), Some(set("David", replace)));
        let add = RightsChange::Add(rights("kxeta"));
        assert_eq!(accepted("SETACL INBOX/Drafts Chris +cda"), Some(set("Chris", add)));
        let remove = RightsChange::Remove(rights("w"));
        assert_eq!(accepted("SETACL INBOX/Drafts -Fred -w"), Some(set("-Fred", remove)));
        let none = RightsChange::Replace(Rights::NONE);
        assert_eq!(accepted("SETACL INBOX/Drafts anyone \"\""), Some(set("anyone", none)));
        assert_eq!(
            accepted("DeleteAcl INBOX Fred"),
            Some(Command::DeleteAcl(inbox.clone(), "Fred".to_owned()))
        );
        assert_eq!(accepted("getacl INBOX"), Some(Command::GetAcl(inbox.clone())));
        let of_smith = Command::ListRights("~/Mail/saved".parse().unwrap(), "smith".to_owned());
        assert_eq!(accepted("LISTRIGHTS ~/Mail/saved smith"), Some(of_smith));
        assert_eq!(accepted("MYRIGHTS INBOX"), Some(Command::MyRights(inbox)));
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for line in [
            "SETACL INBOX/Drafts John lrQswicda",
            "SETACL INBOX/Drafts John lrqswicda",
            "SETACL INBOX John +-w",
            "SETACL INBOX John",
            "SETACL INBOX \"\" lr",
            "DELETEACL INBOX",
            "DELETEACL INBOX \"\"",
            "GETACL",
            "GETACL INBOX Fred",
            "LISTRIGHTS INBOX",
            "MYRIGHTS",
        ] {
            assert_eq!(accepted(line), None, "{line}");
        }
    }

    #[test]
    fn responses_are_written_as_the_rfc_shows_them() {
        let entries = [("Fred".to_owned(), Rights::ALL), ("-Fred".to_owned(), rights("wetd"))];
        let shown = acl_response("\"INBOX\"", &entries);
        assert_eq!(shown, "ACL \"INBOX\" Fred lrswipkxtecda -Fred wted");
        assert_eq!(acl_response("\"INBOX\"", &[]), "ACL \"INBOX\"");
        assert_eq!(
            listrights_response("\"saved\"", "smith", rights("la")),
            "LISTRIGHTS \"saved\" smith la r s w i p k x t e c d"
        );
        assert_eq!(
            listrights_response("\"archive\"", "anyone", Rights::NONE),
            "LISTRIGHTS \"archive\" anyone \"\" l r s w i p k x t e a c d"
        );
        assert_eq!(myrights_response("\"INBOX\"", rights("rwiptsldaex")), "MYRIGHTS \"INBOX\" lrswipxtecda");
    }
}
