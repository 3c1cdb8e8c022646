//! GETMETADATA and SETMETADATA, and who is told of annotations that others change. RFC 5464.

use std::collections::BTreeMap;
use std::ops::Range;

use imap_proto::{MetadataOptions, metadata_changed, metadata_response};
use mail_store::{Account, MetadataChange, MetadataChanges, StoreError};
use mail_types::{MailboxName, MetadataEntry, MetadataScope, Rights, SpecialUse};
use tokio::sync::watch;
use tracing::{error, info};

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
const OF_CONTENT: Rights =
    Rights::READ.union(Rights::SEEN).union(Rights::WRITE).union(Rights::INSERT).union(Rights::POST);
/// Of a mailbox, as LIST tells it. RFC 6154 §4.
const SPECIAL_USE: &str = "/private/specialuse";

/// Which changes of annotations a client has been told of that wants to be told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Wakes when there are new ones.
    changes: watch::Receiver<()>,
    /// It woke, and nothing was told since.
    is_due: bool,
    /// The number of the last one.
    up_to: i64,
    /// Later ones that the session made itself.
    own: Vec<Range<i64>>,
}

impl Told {
    /// What changes from now on is to be told.
    fn begin(account: &Account) -> Self {
        let changes = account.watch_metadata();
        let up_to = account.last_metadata_change().unwrap_or_else(|error| {
            error!(%error, "what changed of annotations can't be looked up");
            0
        });
        Self { changes, is_due: false, up_to, own: Vec::new() }
    }

    /// Waits until there may be something to tell. Safe to drop and call again.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
        self.is_due = true;
    }

    pub(crate) const fn is_due(&self) -> bool {
        self.is_due
    }

    /// What others have changed.
    fn take(&mut self, account: &Account) -> Result<Vec<MetadataChange>, StoreError> {
        self.changes.mark_unchanged();
        self.is_due = false;
        let mut changes = account.metadata_changes_since(self.up_to)?;
        self.up_to = changes.iter().map(|it| it.number).max().unwrap_or(self.up_to);
        changes.retain(|change| !self.own.iter().any(|own| own.contains(&change.number)));
        self.own.retain(|own| own.end > self.up_to + 1);
        Ok(changes)
    }
}

impl Session {
    /// Begins to tell of annotations that change, or ends it, as the client wants it now.
    pub(crate) fn attend_to_metadata(&mut self) {
        let is_wanted =
            self.enabled.metadata || self.notify.as_ref().is_some_and(|notify| notify.hears_of_annotations());
        if is_wanted != self.annotations.is_some() {
            let account = self.account().ok().filter(|_| is_wanted);
            self.annotations = account.map(|account| Box::new(Told::begin(account)));
        }
    }

    /// Tells which annotations others have changed, without their values. RFC 5464 §4.4.2.
    pub(crate) fn tell_metadata(&mut self, out: &mut Output) {
        let Some(mut annotations) = self.annotations.take() else { return };
        let changes = self.account().map(|account| annotations.take(account));
        self.annotations = Some(annotations);
        let changes = match changes {
            Ok(Ok(changes)) => changes,
            Ok(Err(error)) => return error!(%error, "changes of annotations can't be told"),
            Err(_) => return,
        };
        let mut told: BTreeMap<Option<MailboxName>, Vec<MetadataEntry>> = BTreeMap::new();
        for change in changes.into_iter().filter(|it| self.hears_of_annotations_of(it.mailbox.as_ref())) {
            told.entry(change.mailbox).or_default().push(change.entry);
        }
        for (mailbox, entries) in told {
            out.line(format!("* {}", metadata_changed(&self.place_name(mailbox.as_ref()), &entries)));
        }
    }

    fn hears_of_annotations_of(&self, of: Option<&MailboxName>) -> bool {
        self.enabled.metadata || self.notify.as_ref().is_some_and(|notify| notify.hears_of_annotations_of(of))
    }

    /// What annotations belong to, as the client calls it.
    fn place_name(&self, of: Option<&MailboxName>) -> String {
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
    let own = match &place {
        Some(place) => place.account().set_metadata(Some(place.name()), changes)?,
        None => session.account()?.set_metadata(None, changes)?,
    };
    if let Some(annotations) = session.annotations.as_mut().filter(|_| is_own && !own.is_empty()) {
        annotations.own.push(own);
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
