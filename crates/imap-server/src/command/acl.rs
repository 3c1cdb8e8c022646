//! SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS. RFC 4314.

use imap_proto::{RightsChange, acl_response, listrights_response, myrights_response};
use mail_store::{Identifier, OWNERS, StoreError, Subject};
use mail_types::{MailboxName, Rights};
use tracing::info;

use crate::access::Place;
use crate::answer::{Failure, Output};
use crate::session::Session;
use crate::text::{RespText, Text};

/// Identifiers of one mailbox: each is looked at with every command.
const MOST_ENTRIES: usize = 1000;

/// Any of these tells that a mailbox is there. RFC 4314 §4.
const TELLING: [Rights; 6] =
    [Rights::LOOKUP, Rights::READ, Rights::INSERT, Rights::CREATE, Rights::DELETE, Rights::ADMINISTER];

pub(crate) fn set_acl(
    session: &Session,
    name: &MailboxName,
    identifier: &str,
    change: RightsChange,
) -> Result<RespText, Failure> {
    let place = session.check(name, Rights::ADMINISTER)?;
    let given = prepared(identifier)?;
    let known = session.access()?.identifier(&given, place.owner())?;
    let identifier = known.ok_or(Failure::no(Text::NoSuchIdentifier.coded("NONEXISTENT")))?;
    let given = Identifier::from(given.as_str());
    if place.account().acl(place.name())?.entries().len() >= MOST_ENTRIES {
        return Err(Failure::no(Text::TooManyIdentifiers.coded("LIMIT")));
    }
    place.account().change_acl(place.name(), |acl| {
        let before = acl.get(&identifier).or_else(|| acl.get(&given));
        let before = before.unwrap_or_else(|| implied(&identifier, &place));
        acl.remove(&given);
        acl.set(identifier.clone(), change.applied_to(before));
    })?;
    info!(mailbox = %name, %identifier, ?change, "rights changed");
    Ok(Text::RightsSet.into())
}

pub(crate) fn delete_acl(
    session: &Session,
    name: &MailboxName,
    identifier: &str,
) -> Result<RespText, Failure> {
    let place = session.check(name, Rights::ADMINISTER)?;
    let given = prepared(identifier)?;
    // Who is no more must go too.
    let known = session.access()?.identifier(&given, place.owner())?;
    let given = Identifier::from(given.as_str());
    place.account().change_acl(place.name(), |acl| {
        for identifier in known.iter().chain([&given]) {
            acl.remove(identifier);
        }
    })?;
    info!(mailbox = %name, identifier, "rights deleted");
    Ok(Text::RightsDeleted.into())
}

/// The owner comes first, with the rights that he has, whatever entry gives them.
pub(crate) fn get_acl(session: &Session, name: &MailboxName, out: &mut Output) -> Result<RespText, Failure> {
    let place = session.check(name, Rights::ADMINISTER)?;
    place.open()?;
    let acl = place.account().acl(place.name())?;
    let owner = place.owner();
    let of_owner = acl.rights_of(&mail_store::Asker { address: owner, owner, is_member: &|_| false });
    let others = acl.entries().iter().filter(|(identifier, _)| !is_owner(identifier, &place));
    let others = others.map(|(identifier, rights)| (identifier.to_string(), *rights));
    let entries: Vec<(String, Rights)> =
        std::iter::once((owner.to_string(), of_owner)).chain(others).collect();
    out.line(format!("* {}", acl_response(&session.shown(name), &entries)));
    Ok(Text::Done.into())
}

pub(crate) fn list_rights(
    session: &Session,
    name: &MailboxName,
    identifier: &str,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let place = session.check(name, Rights::ADMINISTER)?;
    place.open()?;
    let known = session.access()?.identifier(&prepared(identifier)?, place.owner())?;
    let known = known.ok_or(Failure::no(Text::NoSuchIdentifier.coded("NONEXISTENT")))?;
    let always = if is_owner(&known, &place) { OWNERS } else { Rights::NONE };
    // In the form in which the client gave it (RFC 4314 §3.4).
    out.line(format!("* {}", listrights_response(&session.shown(name), identifier, always)));
    Ok(Text::Done.into())
}

pub(crate) fn my_rights(
    session: &Session,
    name: &MailboxName,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let place = session.access()?.find(name)?;
    tell_rights(session, name, &place, out)?;
    Ok(Text::Done.into())
}

/// Also for LIST. RFC 8440 §3.
pub(crate) fn tell_rights(
    session: &Session,
    name: &MailboxName,
    place: &Place,
    out: &mut Output,
) -> Result<(), Failure> {
    if !TELLING.into_iter().any(|right| place.rights().contains(right)) {
        return Err(StoreError::NoSuchMailbox(name.clone()).into());
    }
    place.open()?;
    out.line(format!("* {}", myrights_response(&session.shown(name), place.rights())));
    Ok(())
}

/// What is granted without an entry, to which `+` and `-` apply.
fn implied(identifier: &Identifier, place: &Place) -> Rights {
    if is_owner(identifier, place) { Rights::ALL } else { Rights::NONE }
}

fn is_owner(identifier: &Identifier, place: &Place) -> bool {
    let is_named = match &identifier.subject {
        Subject::Owner => true,
        Subject::User(name) => *name == place.owner().to_string(),
        Subject::Anyone | Subject::Authenticated | Subject::Group(_) | Subject::GroupOverride(_) => false,
    };
    is_named && !identifier.is_negative
}

/// RFC 4314 §3.
fn prepared(identifier: &str) -> Result<String, Failure> {
    let prepared = stringprep::saslprep(identifier).map(std::borrow::Cow::into_owned).unwrap_or_default();
    let name = prepared.trim_start_matches('-');
    if name.is_empty() { Err(Failure::bad(Text::NotAnIdentifier)) } else { Ok(prepared) }
}
