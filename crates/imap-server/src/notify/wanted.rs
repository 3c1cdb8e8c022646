//! What a client asks for by NOTIFY, as it is looked up. RFC 5465 §5, §6.

use std::sync::Arc;

use imap_proto::{EventFilter, EventGroup, FetchItem, MailboxFilter, NotifyEvent};

use crate::answer::Failure;
use crate::text::Text;

/// The events that are told of, for `BADEVENT`.
const SUPPORTED: &str = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange \
    ServerMetadataChange";

/// What a client hears of the mailbox it selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hears {
    /// Its view stays as it is.
    Nothing,
    /// What comes and goes.
    Messages,
    /// Flags as well.
    All,
}

/// When it hears of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// While a command runs, IDLE included.
    InCommands,
    /// At any time, but expunges while a command runs that may tell them.
    ExpungesLater,
    /// At any time.
    AtOnce,
}

/// The events of the selected mailbox.
#[derive(Debug, Clone)]
pub(crate) struct SelectedEvents {
    pub(crate) hears: Hears,
    pub(crate) when: When,
    /// What is fetched of new messages.
    pub(crate) items: Arc<[FetchItem]>,
}

impl SelectedEvents {
    /// What a client hears before its first NOTIFY.
    pub(crate) fn standard() -> Self {
        Self { hears: Hears::All, when: When::InCommands, items: Arc::default() }
    }

    pub(crate) fn none() -> Self {
        Self { hears: Hears::Nothing, ..Self::standard() }
    }
}

/// The events of other mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an event of the standard, in any combination")]
pub(crate) struct Events {
    pub(crate) messages: bool,
    pub(crate) flags: bool,
    pub(crate) names: bool,
    pub(crate) subscriptions: bool,
    pub(crate) annotations: bool,
    /// Whichever mailboxes the group names.
    pub(crate) server_annotations: bool,
}

impl Events {
    /// True if any of them is of a mailbox.
    pub(crate) const fn is_any_of_mailboxes(self) -> bool {
        self.messages || self.names || self.subscriptions || self.annotations
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self {
            messages: self.messages || other.messages,
            flags: self.flags || other.flags,
            names: self.names || other.names,
            subscriptions: self.subscriptions || other.subscriptions,
            annotations: self.annotations || other.annotations,
            server_annotations: self.server_annotations || other.server_annotations,
        }
    }
}

/// `event-group` of other mailboxes than the selected one.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) filter: MailboxFilter,
    pub(crate) events: Events,
}

/// All that a client asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) selected: SelectedEvents,
    pub(crate) groups: Vec<Group>,
}

impl Wanted {
    /// What is asked for, if it goes together.
    pub(crate) fn of(groups: Vec<EventGroup>) -> Result<Self, Failure> {
        let mut wanted = Self { selected: SelectedEvents::none(), groups: Vec::new() };
        let is_selected = |group: &&EventGroup| group.selected_when().is_some();
        if groups.iter().filter(is_selected).count() > 1 {
            return Err(Failure::bad(Text::SelectedOnce));
        }
        for group in groups {
            let (when, named) = (group.selected_when(), Named::of(group.events)?);
            match (when, group.filter) {
                (Some(when), _) => wanted.selected = named.of_selected(when)?,
                (None, EventFilter::Mailboxes(filter)) => {
                    wanted.groups.push(Group { filter, events: named.of_others()? });
                }
                (None, EventFilter::SelectedDelayed) => {}
            }
        }
        // Where nothing is to be heard, nothing is listened to.
        wanted.groups.retain(|group| group.events != Events::default());
        Ok(wanted)
    }
}

trait SelectedWhen {
    fn selected_when(&self) -> Option<When>;
}

impl SelectedWhen for EventGroup {
    /// When the client is told, if the group is of the selected mailbox.
    fn selected_when(&self) -> Option<When> {
        match &self.filter {
            EventFilter::SelectedDelayed => Some(When::ExpungesLater),
            EventFilter::Mailboxes(MailboxFilter::Selected) => Some(When::AtOnce),
            EventFilter::Mailboxes(_) => None,
        }
    }
}

/// The events that a group names.
#[derive(Default)]
struct Named {
    events: Events,
    items: Vec<FetchItem>,
}

impl Named {
    /// RFC 5465 §5: new messages and expunges go together, and flags with both.
    fn of(events: Vec<NotifyEvent>) -> Result<Self, Failure> {
        let mut named = Self::default();
        let (mut has_new, mut has_expunge) = (false, false);
        for event in events {
            match event {
                NotifyEvent::MessageNew(items) => {
                    has_new = true;
                    named.items.extend(items);
                }
                NotifyEvent::MessageExpunge => has_expunge = true,
                NotifyEvent::FlagChange => named.events.flags = true,
                NotifyEvent::MailboxName => named.events.names = true,
                NotifyEvent::SubscriptionChange => named.events.subscriptions = true,
                NotifyEvent::MailboxMetadataChange => named.events.annotations = true,
                NotifyEvent::ServerMetadataChange => named.events.server_annotations = true,
                NotifyEvent::AnnotationChange | NotifyEvent::Unknown(_) => {
                    return Err(Failure::no(Text::NoSuchEvent.coded_as(format!("BADEVENT ({SUPPORTED})"))));
                }
            }
        }
        if has_new != has_expunge {
            return Err(Failure::bad(Text::EventsTogether));
        }
        if named.events.flags && !has_new {
            return Err(Failure::bad(Text::FlagChangeTogether));
        }
        named.events.messages = has_new;
        Ok(named)
    }

    fn of_selected(self, when: When) -> Result<SelectedEvents, Failure> {
        let Events { messages, flags, names, subscriptions, annotations, server_annotations } = self.events;
        if names || subscriptions || annotations || server_annotations {
            return Err(Failure::bad(Text::EventsOfMessagesOnly));
        }
        let hears = match (messages, flags) {
            (_, true) => Hears::All,
            (true, false) => Hears::Messages,
            (false, false) => Hears::Nothing,
        };
        Ok(SelectedEvents { hears, when, items: self.items.into() })
    }

    fn of_others(self) -> Result<Events, Failure> {
        if !self.items.is_empty() {
            return Err(Failure::bad(Text::FetchOfSelectedOnly));
        }
        Ok(self.events)
    }
}
