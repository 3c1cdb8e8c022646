//! The commands on mailboxes as such: CREATE, DELETE, RENAME, SUBSCRIBE, LIST, LSUB, STATUS. RFC 3501 §6.3.

use std::sync::Arc;

use imap_proto::{StatusItem, quoted};
use mail_types::{MailboxName, SpecialUse};
use tracing::info;

use crate::answer::{Failure, Output};
use crate::session::Session;

pub(crate) fn create(
    session: &Session,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> Result<String, Failure> {
    session.account()?.create(name, special_use)?;
    info!(mailbox = %name, "created");
    Ok("Created".to_owned())
}

/// A session that deletes the mailbox it selected has none selected then.
pub(crate) fn delete(session: &mut Session, name: &MailboxName) -> Result<String, Failure> {
    session.account()?.delete(name)?;
    if session.selected().is_ok_and(|selected| selected.name() == name) {
        session.unselect();
    }
    info!(mailbox = %name, "deleted");
    Ok("Deleted".to_owned())
}

/// A session that renames the mailbox it selected goes on in it.
pub(crate) fn rename(session: &mut Session, from: &MailboxName, to: &MailboxName) -> Result<String, Failure> {
    let account = Arc::clone(session.account()?);
    account.rename(from, to)?;
    info!(mailbox = %from, %to, "renamed");
    if let Ok(selected) = session.selected()
        && !from.is_inbox()
        && let Some(name) = selected.name().renamed(from, to)
    {
        let mailbox = account.open(&name)?;
        selected.follow(name, mailbox);
    }
    Ok("Renamed".to_owned())
}

pub(crate) fn subscribe(session: &Session, name: &MailboxName, subscribed: bool) -> Result<String, Failure> {
    session.account()?.subscribe(name, subscribed)?;
    Ok("Done".to_owned())
}

/// The pattern applied to the reference, in Unicode. RFC 3501 §6.3.8.
fn pattern(reference: &[u8], pattern: &[u8]) -> String {
    let whole = [reference, pattern].concat();
    // The wildcards are no part of modified UTF-7, so each stretch between them is decoded by itself.
    let mut decoded = String::new();
    for piece in whole.split_inclusive(|c| matches!(c, b'*' | b'%' | b'/')) {
        let (text, last) = match piece.split_last() {
            Some((last @ (b'*' | b'%' | b'/'), text)) => (text, Some(char::from(*last))),
            _ => (piece, None),
        };
        match MailboxName::from_imap(text) {
            Ok(name) => decoded.push_str(name.as_str()),
            Err(_) => decoded.push_str(&String::from_utf8_lossy(text)),
        }
        decoded.extend(last);
    }
    decoded
}

/// `*` matches anything, `%` anything but the delimiter. Linear in the lengths' product, without recursion.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut reachable = vec![false; pattern.len() + 1];
    set(&mut reachable, 0);
    skip_wildcards(&pattern, &mut reachable);
    for c in name.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (position, wanted) in pattern.iter().enumerate() {
            if !reachable.get(position).copied().unwrap_or_default() {
                continue;
            }
            match wanted {
                '*' => set(&mut next, position),
                '%' if c != MailboxName::DELIMITER => set(&mut next, position),
                wanted if *wanted == c => set(&mut next, position + 1),
                _ => {}
            }
        }
        skip_wildcards(&pattern, &mut next);
        reachable = next;
    }
    reachable.last().copied().unwrap_or_default()
}

fn set(reachable: &mut [bool], position: usize) {
    if let Some(slot) = reachable.get_mut(position) {
        *slot = true;
    }
}

/// A wildcard may match nothing.
fn skip_wildcards(pattern: &[char], reachable: &mut [bool]) {
    for (position, wanted) in pattern.iter().enumerate() {
        if matches!(wanted, '*' | '%') && reachable.get(position).copied().unwrap_or_default() {
            set(reachable, position + 1);
        }
    }
}

pub(crate) fn list(
    session: &Session,
    reference: &[u8],
    wanted: &[u8],
    out: &mut Output,
) -> Result<String, Failure> {
    if wanted.is_empty() {
        // The delimiter is asked for.
        out.line("* LIST (\\Noselect) \"/\" \"\"");
        return Ok("Listed".to_owned());
    }
    let wanted = pattern(reference, wanted);
    let mailboxes = session.account()?.mailboxes()?;
    for entry in mailboxes.iter().filter(|entry| matches(&wanted, entry.name.as_str())) {
        let has_children = mailboxes.iter().any(|other| other.name.is_below(&entry.name));
        let mut attributes = Vec::new();
        if !entry.selectable {
            attributes.push("\\Noselect");
        }
        attributes.push(if has_children { "\\HasChildren" } else { "\\HasNoChildren" });
        attributes.extend(entry.special_use.map(SpecialUse::as_str));
        let name = quoted(&entry.name.to_mutf7());
        out.line(format!("* LIST ({}) \"/\" {name}", attributes.join(" ")));
    }
    Ok("Listed".to_owned())
}

/// RFC 3501 §6.3.9: with `%`, a name above a subscribed one is shown as `\Noselect`.
pub(crate) fn lsub(
    session: &Session,
    reference: &[u8],
    wanted: &[u8],
    out: &mut Output,
) -> Result<String, Failure> {
    let wanted = pattern(reference, wanted);
    let subscribed = session.account()?.subscriptions()?;
    let mut above: Vec<String> = Vec::new();
    for name in &subscribed {
        if matches(&wanted, name.as_str()) {
            out.line(format!("* LSUB () \"/\" {}", quoted(&name.to_mutf7())));
        } else if wanted.ends_with('%') {
            let ends = name.as_str().match_indices(MailboxName::DELIMITER).map(|(end, _)| end);
            let parents = ends.filter_map(|end| name.as_str().get(..end)).map(str::to_owned);
            above.extend(parents.filter(|parent| matches(&wanted, parent)));
        }
    }
    above.sort_unstable();
    above.dedup();
    for parent in above.iter().filter_map(|parent| parent.parse::<MailboxName>().ok()) {
        if !subscribed.contains(&parent) {
            out.line(format!("* LSUB (\\Noselect) \"/\" {}", quoted(&parent.to_mutf7())));
        }
    }
    Ok("Listed".to_owned())
}

pub(crate) fn status(
    session: &Session,
    name: &MailboxName,
    items: &[StatusItem],
    out: &mut Output,
) -> Result<String, Failure> {
    let status = session.account()?.status(name)?;
    let item = |item: &StatusItem| match item {
        StatusItem::Messages => format!("MESSAGES {}", status.messages),
        StatusItem::Recent => format!("RECENT {}", status.recent),
        StatusItem::UidNext => format!("UIDNEXT {}", status.uid_next),
        StatusItem::UidValidity => format!("UIDVALIDITY {}", status.uid_validity),
        StatusItem::Unseen => format!("UNSEEN {}", status.unseen),
    };
    let items: Vec<String> = items.iter().map(item).collect();
    out.line(format!("* STATUS {} ({})", quoted(&name.to_mutf7()), items.join(" ")));
    Ok("Done".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_stays_in_its_level_and_star_does_not() {
        for (pattern, name, expected) in [
            ("*", "INBOX", true),
            ("%", "INBOX", true),
            ("%", "a/b", false),
            ("*", "a/b/c", true),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("%/b", "a/b", true),
            ("a*c", "a/b/c", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(500), &"b".repeat(500)));
    }

    #[test]
    fn a_pattern_names_mailboxes_as_their_names_do() {
        assert_eq!(pattern(b"", b"inbox"), "INBOX");
        assert_eq!(pattern(b"&U,BTFw-/", b"%"), "台北/%");
    }
}
