//! LIST (RFC 3501 §6.3.8, RFC 5258, RFC 6154 §2, RFC 5819, RFC 8440) and LSUB (RFC 3501 §6.3.9).

use std::collections::{BTreeMap, BTreeSet};

use imap_proto::{ListRequest, ListReturn, ListSelect};
use mail_store::MailboxEntry;
use mail_types::{MailboxName, SpecialUse};

use crate::access::Place;
use crate::answer::{Failure, Output};
use crate::command::acl::tell_rights;
use crate::command::mailbox::status;
use crate::command::metadata::tell_of;
use crate::command::pattern::Pattern;
use crate::session::Session;
use crate::text::{RespText, Text};

/// A name that may be shown.
#[derive(Debug, Default)]
struct Listed {
    /// It is a mailbox, or stands above one.
    exists: bool,
    selectable: bool,
    subscribed: bool,
    special_use: Option<SpecialUse>,
    /// Where it lies, if it is another's.
    place: Option<Place>,
}

/// Everything that has a name for the user: his mailboxes, those that others share with him, what stands above them, and subscriptions.
pub(crate) struct Names {
    names: BTreeMap<MailboxName, Listed>,
    /// The names that have something below them that exists.
    parents: BTreeSet<MailboxName>,
}

impl Names {
    fn read(session: &Session) -> Result<Self, Failure> {
        let account = session.account()?;
        let mut all = Self::of(&account.mailboxes()?, &account.subscriptions()?);
        all.add_shared(session.access()?.shared()?);
        Ok(all)
    }

    /// Adds others' mailboxes. What they are for is for their owners.
    pub(crate) fn add_shared(&mut self, shared: impl IntoIterator<Item = (MailboxName, Place)>) {
        for (name, place) in shared {
            for above in std::iter::successors(name.parent(), MailboxName::parent) {
                self.names.entry(above.clone()).or_default().exists = true;
                self.parents.insert(above);
            }
            let listed = self.names.entry(name).or_default();
            (listed.exists, listed.selectable, listed.place) = (true, true, Some(place));
        }
    }

    pub(crate) fn of<'a>(
        mailboxes: impl IntoIterator<Item = &'a MailboxEntry>,
        subscriptions: impl IntoIterator<Item = &'a MailboxName>,
    ) -> Self {
        let mut names: BTreeMap<MailboxName, Listed> = BTreeMap::new();
        let mut parents = BTreeSet::new();
        for entry in mailboxes {
            parents.extend(entry.name.parent());
            let listed = Listed {
                exists: true,
                selectable: entry.selectable,
                subscribed: false,
                special_use: entry.special_use,
                place: None,
            };
            names.insert(entry.name.clone(), listed);
        }
        for name in subscriptions {
            let mut above = name.parent();
            while let Some(parent) = above {
                above = parent.parent();
                names.entry(parent).or_default();
            }
            names.entry(name.clone()).or_default().subscribed = true;
        }
        Self { names, parents }
    }

    /// Tells of some mailboxes what LIST would, and under which names the client knows them (RFC 9051 §6.3.9.7); which of them it
    /// can hear nothing of for lack of rights (RFC 5465 §5.9), too.
    pub(crate) fn tell<'a>(
        &self,
        session: &Session,
        renamed: impl IntoIterator<Item = (&'a MailboxName, Option<&'a MailboxName>)>,
        no_access: &BTreeSet<MailboxName>,
        out: &mut Output,
    ) {
        for (name, old) in renamed {
            let listed = self.names.get(name);
            let mut shown = match listed {
                Some(listed) => told(self, name, listed),
                None => vec!["\\NonExistent"],
            };
            shown.extend(no_access.contains(name).then_some("\\NoAccess"));
            shown.extend(listed.filter(|listed| listed.subscribed).map(|_| "\\Subscribed"));
            let old = old.map(|old| format!(" (\"OLDNAME\" ({}))", session.shown(old))).unwrap_or_default();
            out.text(format_args!("* LIST ({}) \"/\" {}{old}\r\n", shown.join(" "), session.shown(name)));
        }
    }

    fn children_attribute(&self, name: &MailboxName) -> &'static str {
        if self.parents.contains(name) { "\\HasChildren" } else { "\\HasNoChildren" }
    }
}

impl Listed {
    /// Every name that exists is selected, but for what the options of RFC 5258 §3.1 say.
    fn is_selected_by(&self, request: &ListRequest) -> bool {
        let subscribed = request.selects(ListSelect::Subscribed);
        (if subscribed { self.subscribed } else { self.exists })
            && (!request.selects(ListSelect::SpecialUse) || self.special_use.is_some())
    }
}

pub(crate) fn list(session: &Session, request: &ListRequest, out: &mut Output) -> Result<RespText, Failure> {
    if !request.is_extended() && request.patterns.iter().all(Vec::is_empty) {
        // The delimiter is asked for.
        out.line("* LIST (\\Noselect) \"/\" \"\"");
        return Ok(Text::MailboxesListed.into());
    }
    let patterns: Vec<Pattern> = request
        .patterns
        .iter()
        .map(|pattern| Pattern::new(&request.reference, pattern, session.enabled.utf8))
        .flat_map(|pattern| pattern.with_normalised(session.enabled.imap4rev2))
        .collect();
    let matches = |name: &MailboxName| patterns.iter().any(|pattern| pattern.matches(name));
    let names = Names::read(session)?;
    // RFC 5258 §3.5: a name that is not selected itself is told only for what is below it and does not show by itself.
    let (mut selected_below, mut hidden_below) = (BTreeSet::new(), BTreeSet::new());
    if request.selects(ListSelect::RecursiveMatch) {
        for (name, _) in names.names.iter().filter(|(_, listed)| listed.is_selected_by(request)) {
            let above = std::iter::successors(name.parent(), MailboxName::parent);
            selected_below.extend(above.clone());
            hidden_below.extend(above.filter(|_| !matches(name)));
        }
    }
    for (name, listed) in names.names.iter().filter(|(name, _)| matches(name)) {
        if !listed.is_selected_by(request) && !hidden_below.contains(name) {
            continue;
        }
        let child_info = if selected_below.contains(name) { child_info(request) } else { String::new() };
        let attributes = attributes(&names, name, listed, request);
        let shown = session.shown(name);
        out.text(format_args!("* LIST ({attributes}) \"/\" {shown}{child_info}\r\n"));
        if request.returns(&ListReturn::MyRights) && listed.selectable && listed.is_selected_by(request) {
            // What is deleted this moment has none. RFC 8440 §3.
            let place = listed.place.clone().map_or_else(|| session.access()?.find(name), Ok);
            let _ = place.and_then(|place| tell_rights(session, name, &place, out));
        }
        if let Some(items) = request.status().filter(|_| listed.selectable) {
            // A mailbox that is deleted this moment is passed over. RFC 5819 §2.
            let _ = status(session, name, items, out);
        }
        if let Some(entries) = request.metadata().filter(|_| listed.selectable) {
            // So here. RFC 9590 §3.
            let _ = tell_of(session, name, entries, out);
        }
    }
    Ok(Text::MailboxesListed.into())
}

/// `childinfo-extended-item`: by what the names below were selected.
fn child_info(request: &ListRequest) -> String {
    let options = [(ListSelect::Subscribed, "\"SUBSCRIBED\""), (ListSelect::SpecialUse, "\"SPECIAL-USE\"")];
    let selecting: Vec<&str> =
        options.into_iter().filter(|(option, _)| request.selects(*option)).map(|(_, name)| name).collect();
    format!(" (\"CHILDINFO\" ({}))", selecting.join(" "))
}

fn attributes(names: &Names, name: &MailboxName, listed: &Listed, request: &ListRequest) -> String {
    let mut attributes = Vec::new();
    if !listed.selectable {
        // RFC 5258 §3.5: that a name only stands above others is told so to those who know the attribute.
        attributes.push(if request.is_extended() { "\\NonExistent" } else { "\\Noselect" });
    }
    attributes.push(names.children_attribute(name));
    let tells_subscribed =
        request.selects(ListSelect::Subscribed) || request.returns(&ListReturn::Subscribed);
    if listed.subscribed && tells_subscribed {
        attributes.push("\\Subscribed");
    }
    // iOS looks for them in the plain form too.
    attributes.extend(listed.special_use.map(SpecialUse::as_str));
    attributes.join(" ")
}

/// With a `%` at its end, the pattern finds names above subscribed ones too, shown as `\Noselect`. Special uses are there
/// for Outlook 2013, which looks for them in LSUB.
pub(crate) fn lsub(
    session: &Session,
    reference: &[u8],
    wanted: &[u8],
    out: &mut Output,
) -> Result<RespText, Failure> {
    let pattern = Pattern::new(reference, wanted, session.enabled.utf8);
    let names = Names::read(session)?;
    let subscribed = names.names.iter().filter(|(_, listed)| listed.subscribed);
    let above: BTreeSet<MailboxName> =
        subscribed.flat_map(|(name, _)| std::iter::successors(name.parent(), MailboxName::parent)).collect();
    for (name, listed) in names.names.iter().filter(|(name, _)| pattern.matches(name)) {
        let attributes = match (listed.subscribed, listed.selectable) {
            (true, true) => listed.special_use.map_or("", SpecialUse::as_str),
            (true, false) => "\\Noselect",
            (false, _) if pattern.ends_with_percent() && above.contains(name) => "\\Noselect",
            (false, _) => continue,
        };
        out.text(format_args!("* LSUB ({attributes}) \"/\" {}\r\n", session.shown(name)));
    }
    Ok(Text::MailboxesListed.into())
}

/// Tells of one mailbox what LIST would, and under which name the client knows it. RFC 9051 §6.3.2, §6.3.9.7.
pub(crate) fn tell(
    session: &Session,
    name: &MailboxName,
    old: Option<&MailboxName>,
    out: &mut Output,
) -> Result<(), Failure> {
    Names::read(session)?.tell(session, [(name, old)], &BTreeSet::new(), out);
    Ok(())
}

fn told(names: &Names, name: &MailboxName, listed: &Listed) -> Vec<&'static str> {
    let mut told = Vec::new();
    if !listed.selectable {
        told.push("\\NonExistent");
    }
    told.push(names.children_attribute(name));
    told.extend(listed.special_use.map(SpecialUse::as_str));
    told
}

/// LIST as it was before special uses had a standard, by the attributes' names of that time. Outlook 2013 and 2016 look for it.
pub(crate) fn xlist(
    session: &Session,
    reference: &[u8],
    wanted: &[u8],
    out: &mut Output,
) -> Result<RespText, Failure> {
    let pattern = Pattern::new(reference, wanted, session.enabled.utf8);
    let names = Names::read(session)?;
    for (name, listed) in names.names.iter().filter(|(name, it)| it.exists && pattern.matches(name)) {
        let mut attributes = Vec::new();
        attributes.extend((!listed.selectable).then_some("\\Noselect"));
        attributes.push(names.children_attribute(name));
        attributes.extend(name.is_inbox().then_some("\\Inbox"));
        attributes.extend(listed.special_use.map(xlist_use));
        out.text(format_args!("* XLIST ({}) \"/\" {}\r\n", attributes.join(" "), session.shown(name)));
    }
    Ok(Text::MailboxesListed.into())
}

const fn xlist_use(special_use: SpecialUse) -> &'static str {
    match special_use {
        SpecialUse::All => "\\AllMail",
        SpecialUse::Junk => "\\Spam",
        SpecialUse::Flagged => "\\Starred",
        SpecialUse::Archive
        | SpecialUse::Drafts
        | SpecialUse::Important
        | SpecialUse::Sent
        | SpecialUse::Trash => special_use.as_str(),
    }
}
