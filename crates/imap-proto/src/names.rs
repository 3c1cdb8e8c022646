//! Which mailboxes a command names.

use mail_types::MailboxName;

use crate::{Command, EventFilter, MailboxFilter, NotifyRequest};

impl Command {
    /// The names of mailboxes in it, but for those that it makes, deletes, renames, selects or appends to: of these a server may have to say
    /// what it takes the name for (RFC 9051 §6.3.9.7). The patterns of LIST are no names.
    pub fn mailboxes_mut(&mut self) -> Vec<&mut MailboxName> {
        match self {
            Self::Subscribe(name)
            | Self::Unsubscribe(name)
            | Self::Status(name, _)
            | Self::GetQuotaRoot(name)
            | Self::GetMetadata(Some(name), ..)
            | Self::SetMetadata(Some(name), _)
            | Self::SetAcl(name, ..)
            | Self::DeleteAcl(name, _)
            | Self::GetAcl(name)
            | Self::ListRights(name, _)
            | Self::MyRights(name)
            | Self::Copy(_, name)
            | Self::Move(_, name) => vec![name],
            Self::Esearch(sources, _) => sources.iter_mut().flat_map(filtered).collect(),
            Self::Notify(NotifyRequest::Set { groups, .. }) => {
                let filters = groups.iter_mut().filter_map(|group| match &mut group.filter {
                    EventFilter::Mailboxes(filter) => Some(filter),
                    EventFilter::SelectedDelayed => None,
                });
                filters.flat_map(filtered).collect()
            }
            Self::Capability
            | Self::Noop
            | Self::Logout
            | Self::Unauthenticate
            | Self::Id(_)
            | Self::Language(_)
            | Self::StartTls
            | Self::Authenticate { .. }
            | Self::Login { .. }
            | Self::Enable(_)
            | Self::Select(..)
            | Self::Examine(..)
            | Self::Create(..)
            | Self::Delete(_)
            | Self::Rename(..)
            | Self::List(_)
            | Self::Lsub(..)
            | Self::XList(..)
            | Self::Namespace
            | Self::GetQuota(_)
            | Self::SetQuota(..)
            | Self::GetMetadata(None, ..)
            | Self::SetMetadata(None, _)
            | Self::Append(_)
            | Self::Idle
            | Self::Compress
            | Self::Check
            | Self::Close
            | Self::Unselect
            | Self::Expunge
            | Self::UidExpunge(_)
            | Self::Search(_)
            | Self::CancelUpdate(_)
            | Self::Notify(NotifyRequest::None)
            | Self::Sort(..)
            | Self::Thread(..)
            | Self::Fetch(..)
            | Self::Store { .. } => Vec::new(),
        }
    }
}

fn filtered(filter: &mut MailboxFilter) -> &mut [MailboxName] {
    match filter {
        MailboxFilter::Subtree(names)
        | MailboxFilter::SubtreeOne(names)
        | MailboxFilter::Mailboxes(names) => names,
        MailboxFilter::Selected
        | MailboxFilter::Inboxes
        | MailboxFilter::Personal
        | MailboxFilter::Subscribed => &mut [],
    }
}

#[cfg(test)]
mod tests {
    use crate::Request;

    #[track_caller]
    fn check(command: &str, expected: &[&str]) {
        let mut command = Request::parse(format!("a {command}").as_bytes()).unwrap().command;
        let names: Vec<String> = command.mailboxes_mut().into_iter().map(|name| name.to_string()).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        check("STATUS a (MESSAGES)", &["a"]);
        check("COPY 1 a/b", &["a/b"]);
        check("GETMETADATA \"\" /private/comment", &[]);
        check("GETMETADATA a /private/comment", &["a"]);
        check("ESEARCH IN (mailboxes (a b) selected subtree c) ALL", &["a", "b", "c"]);
        check(
            "NOTIFY SET (selected (MessageNew MessageExpunge)) (subtree a (MailboxName)) (mailboxes b NONE)",
            &["a", "b"],
        );
        check("LIST \"\" a", &[]);
    }
}
