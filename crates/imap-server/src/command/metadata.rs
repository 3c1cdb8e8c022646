//! GETMETADATA and SETMETADATA. RFC 5464.

use std::collections::BTreeMap;
use std::sync::Arc;

use imap_proto::{MetadataOptions, metadata_response};
use mail_store::MetadataChanges;
use mail_types::{MailboxName, MetadataEntry, MetadataScope, Rights, SpecialUse};
use tracing::info;

use crate::access::{NO_PERMISSION, Place};
use crate::answer::{Failure, Output};
use crate::filters;
use crate::server::Shared;
use crate::session::Session;
use crate::text::{RespText, Text};

/// Of the server, as the config says.
const COMMENT: &str = "/shared/comment";
const ADMIN: &str = "/shared/admin";
/// One of these it takes, beside [`Rights::LOOKUP`].
pub(crate) const OF_CONTENT: Rights =
    Rights::READ.union(Rights::SEEN).union(Rights::WRITE).union(Rights::INSERT).union(Rights::POST);
/// Of a mailbox, as LIST tells it. RFC 6154 §4.
const SPECIAL_USE: &str = "/private/specialuse";

impl Session {
    /// What annotations belong to, as the client calls it.
    pub(crate) fn place_name(&self, of: Option<&MailboxName>) -> String {
        of.map_or_else(String::new, |name| self.wire_name(name))
    }

    pub(crate) fn shared(&self) -> Result<&Shared, Failure> {
        self.owner.as_ref().map(|owner| &*owner.shared).ok_or_else(|| Failure::bad(Text::LogInFirst))
    }

    /// Finds a mailbox of which the user may see and set annotations. RFC 5464 §3.3.
    fn annotated(&self, name: &MailboxName) -> Result<Place, Failure> {
        let place = self.check(name, Rights::LOOKUP)?;
        if place.rights().intersects(OF_CONTENT) { Ok(place) } else { Err(NO_PERMISSION) }
    }

    /// All annotations of a mailbox or the server that the client may see.
    pub(crate) fn metadata(
        &self,
        of: Option<&MailboxName>,
    ) -> Result<BTreeMap<MetadataEntry, Vec<u8>>, Failure> {
        let kept = match of {
            Some(name) => {
                let place = self.annotated(name)?;
                place.account().metadata(Some(place.name()), place.reader())?
            }
            None => self.account()?.metadata(None, None)?,
        };
        let mut all: BTreeMap<_, _> =
            kept.iter().map(|(entry, value)| (entry.clone(), value.to_vec())).collect();
        if of.is_none() {
            let config = &self.shared()?.config.imap;
            for (name, value) in [(COMMENT, &config.comment), (ADMIN, &config.admin)] {
                let entry: Option<MetadataEntry> = name.parse().ok();
                all.extend(entry.zip(value.as_ref().map(|value| value.clone().into_bytes())));
            }
        }
        Ok(all)
    }
}

pub(crate) fn get_metadata(
    session: &Session,
    of: Option<&MailboxName>,
    options: MetadataOptions,
    named: &[MetadataEntry],
    out: &mut Output,
) -> Result<RespText, Failure> {
    let all = session.metadata(of)?;
    let mut found: BTreeMap<&MetadataEntry, Option<&[u8]>> = BTreeMap::new();
    let is_wanted = |entry: &MetadataEntry| {
        named
            .iter()
            .any(|above| entry.levels_below(above).is_some_and(|levels| options.depth.reaches(levels)))
    };
    found.extend(all.iter().filter(|(it, _)| is_wanted(it)).map(|(it, value)| (it, Some(value.as_slice()))));
    if !options.depth.reaches(1) {
        // Who asks for these alone is told which have no value.
        for entry in named {
            found.entry(entry).or_insert(None);
        }
    }
    let size = |value: &Option<&[u8]>| value.map_or(0, |value| value.len() as u64);
    let is_small = |value: &Option<&[u8]>| options.max_size.is_none_or(|most| size(value) <= most);
    let longest = found.values().filter(|value| !is_small(value)).map(size).max();
    found.retain(|_, value| is_small(value));
    if !found.is_empty() {
        write(session, of, &found.into_iter().collect::<Vec<_>>(), out);
    }
    Ok(match longest {
        Some(longest) => Text::SomeAreLonger.coded_as(format!("METADATA LONGENTRIES {longest}")),
        None => Text::Done.into(),
    })
}

fn write(
    session: &Session,
    of: Option<&MailboxName>,
    values: &[(&MetadataEntry, Option<&[u8]>)],
    out: &mut Output,
) {
    out.octets(b"* ");
    out.line(metadata_response(&session.place_name(of), values));
}

/// Tells what entries of a mailbox have as values. RFC 9590.
pub(crate) fn tell_of(
    session: &Session,
    name: &MailboxName,
    entries: &[MetadataEntry],
    out: &mut Output,
) -> Result<(), Failure> {
    let all = session.metadata(Some(name))?;
    let values: Vec<_> = entries.iter().map(|entry| (entry, all.get(entry).map(Vec::as_slice))).collect();
    write(session, Some(name), &values, out);
    Ok(())
}

pub(crate) fn set_metadata(
    session: &mut Session,
    of: Option<&MailboxName>,
    changes: &[(MetadataEntry, Option<Vec<u8>>)],
) -> Result<RespText, Failure> {
    let config = &session.shared()?.config.imap;
    let (most, largest) = (config.max_annotations, config.max_annotation);
    if changes.iter().any(|(entry, _)| !entry.may_have_value()) {
        return Err(Failure::bad(Text::NoValueThere));
    }
    if changes.iter().flat_map(|(_, value)| value).any(|value| value.len() > largest) {
        return Err(Failure::no(Text::AnnotationTooLarge.coded_as(format!("METADATA MAXSIZE {largest}"))));
    }
    if of.is_none() && changes.iter().any(|(entry, _)| entry.scope() == MetadataScope::Shared) {
        return Err(Failure::no(Text::OnlyAdministratorTellsAll.coded("NOPERM")));
    }
    if of.is_none() && changes.iter().any(|(entry, value)| !filters::may_be_kept(entry, value.as_deref())) {
        return Err(Failure::no(Text::NoSearchForFilter.coded("CANNOT")));
    }
    let place = of.map(|name| session.annotated(name)).transpose()?;
    if changes.iter().any(|(entry, _)| entry.scope() == MetadataScope::Shared) {
        // What others see takes more than what only the user does.
        place.iter().try_for_each(|place| place.needs(Rights::WRITE))?;
    }
    let is_own = place.as_ref().is_none_or(Place::is_own);
    let mut special_use = None;
    let mut values = Vec::with_capacity(changes.len());
    for (entry, value) in changes {
        match of.filter(|_| entry.as_str() == SPECIAL_USE) {
            Some(name) => special_use = Some(use_of(name, is_own, value.as_deref())?),
            None => values.push((entry.clone(), value.clone())),
        }
    }
    let reader = place.as_ref().and_then(Place::reader);
    let changes = MetadataChanges { values: &values, special_use, most, reader };
    let account = match &place {
        Some(place) => Arc::clone(place.account()),
        None => Arc::clone(session.account()?),
    };
    let own = account.set_metadata(place.as_ref().map(Place::name), changes)?;
    if let Some(annotations) = &mut session.annotations {
        annotations.knows(&account, own);
    }
    info!(mailbox = of.map(tracing::field::display), "annotated");
    Ok(Text::Done.into())
}

/// The special use that a value names. RFC 6154 §4; INBOX has none, and no mailbox is a view of all mail. What another's mailbox
/// is for he alone says.
fn use_of(name: &MailboxName, is_own: bool, value: Option<&[u8]>) -> Result<Option<SpecialUse>, Failure> {
    let refused = || Failure::no(Text::NotOfThisUse.coded("USEATTR"));
    if !is_own {
        return Err(refused());
    }
    let Some(value) = value else { return Ok(None) };
    let named = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    let possible =
        named.filter(|it| !name.is_inbox() && !matches!(it, SpecialUse::All | SpecialUse::Flagged));
    possible.map(Some).ok_or_else(refused)
}
