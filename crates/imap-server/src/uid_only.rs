//! UIDONLY: clients that do without sequence numbers. RFC 9586.

use imap_proto::{AppendRequest, Command, SearchKey, SearchRequest};

use crate::answer::Failure;
use crate::session::Session;
use crate::text::Text;

impl Session {
    /// Refuses a command with sequence numbers, or answered with them, of a client that has said that it uses none.
    pub(crate) fn check_numbers(&self, command: &Command) -> Result<(), Failure> {
        if self.enabled.uid_only && uses_numbers(command) {
            return Err(Failure::Bad(Text::NoNumbersWithUidOnly.coded("UIDREQUIRED")));
        }
        Ok(())
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other commands name no messages")]
fn uses_numbers(command: &Command) -> bool {
    match command {
        Command::Fetch(set, ..)
        | Command::Store { set, .. }
        | Command::Copy(set, _)
        | Command::Move(set, _)
        | Command::Append(AppendRequest { replaces: Some(set), .. }) => !set.is_uid(),
        Command::Search(request) | Command::Sort(_, request) | Command::Thread(_, request) => {
            !request.uid || names_numbers(request)
        }
        Command::Esearch(_, request) => names_numbers(request),
        Command::Select(_, params) | Command::Examine(_, params) => {
            params.qresync.as_ref().is_some_and(|client| client.sample.is_some())
        }
        _ => false,
    }
}

fn names_numbers(request: &SearchRequest) -> bool {
    request.key.any(&|key| matches!(key, SearchKey::Seq(_)))
}
