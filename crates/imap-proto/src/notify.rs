//! NOTIFY: what a client wants to hear of without asking. RFC 5465 §8.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::char;
use nom::combinator::{map, opt, value};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded, separated_pair};

use crate::FetchItem;
use crate::esearch::{MailboxFilter, filter_mailboxes};
use crate::expected::Noun;
use crate::fetch::fetch_att;
use crate::grammar::{Parsed, atom, expect, list1, sp};

/// `notify`, without its verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyRequest {
    /// `NONE`: of nothing.
    None,
    /// `SET`
    Set {
        /// `STATUS`: the figures of the mailboxes now.
        status: bool,
        /// Of what.
        groups: Vec<EventGroup>,
    },
}

/// `event-group`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventGroup {
    /// Where.
    pub filter: EventFilter,
    /// What; nothing for `NONE`.
    pub events: Vec<NotifyEvent>,
}

/// `filter-mailboxes`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFilter {
    /// `selected-delayed`: in the selected mailbox, but expunges only when they may be told.
    SelectedDelayed,
    /// `selected` is here that of the filter.
    Mailboxes(MailboxFilter),
}

/// `event`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyEvent {
    /// `MessageNew`, with what is to be fetched of the messages.
    MessageNew(Vec<FetchItem>),
    /// `MessageExpunge`
    MessageExpunge,
    /// `FlagChange`
    FlagChange,
    /// `AnnotationChange`
    AnnotationChange,
    /// `MailboxName`
    MailboxName,
    /// `SubscriptionChange`
    SubscriptionChange,
    /// `MailboxMetadataChange`
    MailboxMetadataChange,
    /// `ServerMetadataChange`
    ServerMetadataChange,
    /// `event-ext`: none that is known.
    Unknown(String),
}

impl NotifyEvent {
    /// What is to be fetched of the messages.
    #[must_use]
    pub fn items(&self) -> &[FetchItem] {
        if let Self::MessageNew(items) = self { items } else { &[] }
    }
}

/// `"NOTIFY" SP (notify-set / notify-none)`
pub(crate) fn notify<const UTF8: bool>(input: &[u8]) -> Parsed<'_, NotifyRequest> {
    let status = map(opt((sp, tag_no_case("STATUS"))), |it| it.is_some());
    let groups = separated_list1(sp, expect(Noun::EventGroup, event_group::<UTF8>));
    let set = preceded(tag_no_case("SET"), separated_pair(status, sp, groups));
    alt((
        map(set, |(status, groups)| NotifyRequest::Set { status, groups }),
        value(NotifyRequest::None, tag_no_case("NONE")),
    ))
    .parse(input)
}

/// `event-group = "(" filter-mailboxes SP events ")"`
fn event_group<const UTF8: bool>(input: &[u8]) -> Parsed<'_, EventGroup> {
    let filter = alt((
        value(EventFilter::SelectedDelayed, tag_no_case("selected-delayed")),
        map(filter_mailboxes::<UTF8>, EventFilter::Mailboxes),
    ));
    let events = alt((value(Vec::new(), tag_no_case("NONE")), list1(Noun::Event, event)));
    let group = separated_pair(expect(Noun::MailboxFilter, filter), sp, events);
    map(delimited(char('('), group, char(')')), |(filter, events)| EventGroup { filter, events }).parse(input)
}

fn event(input: &[u8]) -> Parsed<'_, NotifyEvent> {
    let (rest, name) = atom(input)?;
    let event = match name.to_ascii_uppercase().as_str() {
        "MESSAGENEW" => {
            let items = opt(preceded(sp, list1(Noun::FetchItem, fetch_att)));
            return map(items, |items| NotifyEvent::MessageNew(items.unwrap_or_default())).parse(rest);
        }
        "MESSAGEEXPUNGE" => NotifyEvent::MessageExpunge,
        "FLAGCHANGE" => NotifyEvent::FlagChange,
        "ANNOTATIONCHANGE" => NotifyEvent::AnnotationChange,
        "MAILBOXNAME" => NotifyEvent::MailboxName,
        "SUBSCRIPTIONCHANGE" => NotifyEvent::SubscriptionChange,
        "MAILBOXMETADATACHANGE" => NotifyEvent::MailboxMetadataChange,
        "SERVERMETADATACHANGE" => NotifyEvent::ServerMetadataChange,
        _ => NotifyEvent::Unknown(name.to_owned()),
    };
    Ok((rest, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::command::tests::accepted;

    fn groups(line: &str) -> Option<Vec<EventGroup>> {
        let command = accepted(line)?;
        let Command::Notify(NotifyRequest::Set { groups, .. }) = command else { panic!("{command:?}") };
        Some(groups)
    }

    fn filters(line: &str) -> Vec<EventFilter> {
        groups(line).unwrap().into_iter().map(|it| it.filter).collect()
    }

    #[test]
    fn the_standards_examples_are_understood() {
        let found = groups(
            "notify set status (selected (MessageNew (uid body.peek[header.fields (from to subject)]) \
             MessageExpunge)) (subtree Lists (MessageNew MessageExpunge))",
        )
        .unwrap();
        let [first, second] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(first.filter, EventFilter::Mailboxes(MailboxFilter::Selected));
        let [NotifyEvent::MessageNew(items), NotifyEvent::MessageExpunge] = first.events.as_slice() else {
            panic!("{first:?}")
        };
        assert!(matches!(items.as_slice(), [FetchItem::Uid, FetchItem::Section { peek: true, .. }]));
        assert_eq!(second.events, [NotifyEvent::MessageNew(Vec::new()), NotifyEvent::MessageExpunge]);
        let found = groups(
            "notify set (mailboxes INBOX (Messagenew messageExpunge)) (personal (SubscriptionChange))",
        );
        assert_eq!(found.unwrap().len(), 2);
        assert_eq!(accepted("NOTIFY NONE"), Some(Command::Notify(NotifyRequest::None)));
        assert!(matches!(
            accepted("NOTIFY SET STATUS (inboxes NONE)"),
            Some(Command::Notify(NotifyRequest::Set { status: true, .. }))
        ));
    }

    #[test]
    fn every_filter_and_event_has_its_name() {
        let name = |text: &str| vec![text.parse().unwrap()];
        let filter = EventFilter::Mailboxes;
        assert_eq!(
            filters(
                "NOTIFY SET (Selected-Delayed NONE) (inboxes NONE) (personal NONE) (subscribed NONE) \
                 (subtree (a) NONE) (mailboxes \"%\" NONE)"
            ),
            [
                EventFilter::SelectedDelayed,
                filter(MailboxFilter::Inboxes),
                filter(MailboxFilter::Personal),
                filter(MailboxFilter::Subscribed),
                filter(MailboxFilter::Subtree(name("a"))),
                filter(MailboxFilter::Mailboxes(name("%"))),
            ]
        );
        let found = groups(
            "NOTIFY SET (personal (FlagChange AnnotationChange MailboxName SubscriptionChange \
             MailboxMetadataChange ServerMetadataChange X-Other))",
        );
        assert_eq!(
            found.unwrap().remove(0).events,
            [
                NotifyEvent::FlagChange,
                NotifyEvent::AnnotationChange,
                NotifyEvent::MailboxName,
                NotifyEvent::SubscriptionChange,
                NotifyEvent::MailboxMetadataChange,
                NotifyEvent::ServerMetadataChange,
                NotifyEvent::Unknown("X-Other".to_owned()),
            ]
        );
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for line in [
            "NOTIFY",
            "NOTIFY SET",
            "NOTIFY SET STATUS",
            "NOTIFY NONE (inboxes NONE)",
            "NOTIFY SET (inboxes)",
            "NOTIFY SET (inboxes ())",
            "NOTIFY SET inboxes NONE",
            "NOTIFY SET (inboxes MessageNew)",
            "NOTIFY SET (nowhere NONE)",
            "NOTIFY SET (mailboxes NONE)",
            "NOTIFY SET (selected (MessageNew ()))",
            "NOTIFY SET (selected (MessageExpunge (UID)))",
            "NOTIFY SET (inboxes NONE)(personal NONE)",
        ] {
            assert_eq!(accepted(line), None, "{line}");
        }
    }
}
