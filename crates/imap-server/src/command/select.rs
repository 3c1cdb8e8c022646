//! SELECT, EXAMINE and CLOSE. RFC 3501 §6.3.1, §6.3.2, §6.4.2.

use std::sync::Arc;

use mail_types::{Flag, MailboxName};
use tracing::info;

use crate::answer::{Failure, Output};
use crate::command::expunge::deleted;
use crate::selected::SelectedMailbox;
use crate::session::{Session, State};

/// A SELECT that fails leaves no mailbox selected.
pub(crate) fn select(
    session: &mut Session,
    name: &MailboxName,
    read_only: bool,
    out: &mut Output,
) -> Result<String, Failure> {
    session.unselect();
    let account = Arc::clone(session.account()?);
    let selected = SelectedMailbox::open(account.open(name)?, read_only)?;
    tell(&selected, out);
    info!(mailbox = %name, read_only, "selected");
    session.state = State::Selected(account, Box::new(selected));
    let mode = if read_only { "READ-ONLY" } else { "READ-WRITE" };
    Ok(format!("[{mode}] Selected"))
}

fn tell(selected: &SelectedMailbox, out: &mut Output) {
    let snapshot = selected.told();
    let mut flags = Flag::ALL.map(Flag::as_str).join(" ");
    for keyword in snapshot.keywords() {
        flags.push(' ');
        flags.push_str(keyword.as_str());
    }
    out.line(format!("* FLAGS ({flags})"));
    if selected.is_read_only() {
        out.line("* OK [PERMANENTFLAGS ()] Nothing can be changed");
    } else {
        out.line(format!("* OK [PERMANENTFLAGS ({flags} \\*)] Flags and keywords are kept"));
    }
    out.line(format!("* {} EXISTS", snapshot.len()));
    out.line(format!("* {} RECENT", selected.recent_count()));
    let unseen =
        |position: &usize| snapshot.get(*position).is_some_and(|message| !message.flags.contains(Flag::Seen));
    if let Some(first) = (0..snapshot.len()).find(unseen) {
        out.line(format!("* OK [UNSEEN {}] The first unseen message", first + 1));
    }
    out.line(format!("* OK [UIDVALIDITY {}] UIDs are valid", selected.mailbox().uid_validity()));
    out.line(format!("* OK [UIDNEXT {}] The next UID", snapshot.uid_next()));
}

/// Removes what is `\Deleted` without telling, unless the mailbox is read-only.
pub(crate) fn close(session: &mut Session) -> Result<String, Failure> {
    let selected = session.selected()?;
    if !selected.is_read_only() {
        let uids = deleted(selected, None)?;
        if !uids.is_empty() {
            selected.mailbox().expunge(&uids)?;
        }
    }
    session.unselect();
    Ok("Closed".to_owned())
}
