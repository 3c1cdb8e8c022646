//! A command on the wire, and what it means to the client that sends it.

use std::collections::{BTreeMap, BTreeSet};

use crate::session::{Session, set};
use crate::step::{Change, Command, Condition, Which};
use crate::view::{Allowed, Flags, Kind, View};

/// A command on the wire, and what it means.
pub(crate) struct Built {
    pub(crate) text: String,
    pub(crate) allowed: Allowed,
    /// The messages that it names, as the client numbers them.
    pub(crate) named: Vec<(u32, Option<u32>)>,
}

pub(crate) fn changed(change: Change, flags: &Flags, before: &Flags) -> Flags {
    match change {
        Change::Add => before | flags,
        Change::Remove => before - flags,
        Change::Replace => flags.clone(),
    }
}

/// The numbers of the messages that a client knows to have changed since.
pub(crate) fn changed_since(view: &View, mod_seq: u64, truth: &BTreeMap<u32, Flags>) -> Vec<u32> {
    let is_there = |uid: Option<u32>| uid.is_some_and(|uid| truth.contains_key(&uid));
    let changed =
        view.messages.iter().zip(1..).filter(|(it, _)| it.mod_seq >= Some(mod_seq) && is_there(it.uid));
    changed.map(|(_, number)| number).collect()
}

/// What a client expects of its own STORE.SILENT, unless it is told otherwise.
pub(crate) fn expect(command: &Command, built: &Built, view: &mut View) {
    let Command::Store { change, flags, silent: true, .. } = command else { return };
    for (number, _) in &built.named {
        let message = &mut view.messages[*number as usize - 1];
        message.flags = message.flags.as_ref().map(|before| changed(*change, flags, before));
    }
}

/// The messages meant: by UID only those whose UID is known.
fn named(which: &Which, by_uid: bool, view: &View) -> Vec<(u32, Option<u32>)> {
    let count = view.messages.len();
    let numbers: BTreeSet<usize> =
        which.iter().filter(|_| count > 0).map(|at| usize::from(*at) % count).collect();
    let all = numbers.into_iter().map(|at| (u32::try_from(at).unwrap() + 1, view.messages[at].uid));
    all.filter(|(_, uid)| !by_uid || uid.is_some()).collect()
}

/// What is sent; NOOP where there is nothing that it could name.
pub(crate) fn build(command: &Command, session: &Session) -> Built {
    let view = &session.view;
    let back = |back: u8| view.mod_seq.saturating_sub(u64::from(back % 16)).max(1);
    let reckons = view.kind != Kind::Plain && !view.messages.is_empty();
    let built = match command {
        Command::Append(flags) => {
            plain(&format!("APPEND {{mailbox}} ({}) {{8+}}\r\nA: b\r\n\r\n", joined(flags)), true)
        }
        Command::Store { which, by_uid, .. } => of_some(which, *by_uid, "STORE", &store(command, view), view),
        Command::Expunge => plain("EXPUNGE", true),
        Command::UidExpunge(which) => of_some(which, true, "EXPUNGE", "", view),
        Command::Copy { which, by_uid } => of_some(which, *by_uid, "COPY", "{mailbox}", view),
        Command::Move { which, by_uid, away } => {
            of_some(which, *by_uid, "MOVE", if *away { "away" } else { "{mailbox}" }, view)
        }
        Command::Fetch { which, by_uid } => of_some(which, *by_uid, "FETCH", session.items(), view),
        Command::Read { which, by_uid } => {
            let items = format!("(BODY[TEXT]<0.1> {}", session.items().trim_start_matches('('));
            of_some(which, *by_uid, "FETCH", &items, view)
        }
        Command::Changed { back: by } if reckons => {
            let vanished = if view.kind == Kind::Qresync { " VANISHED" } else { "" };
            plain(&format!("UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE {}{vanished})", back(*by)), true)
        }
        Command::Search { back: by } if reckons => plain(&format!("SEARCH MODSEQ {}", back(*by)), false),
        Command::Noop | Command::Changed { .. } | Command::Search { .. } => plain("NOOP", true),
    };
    Built { text: built.text.replace("{mailbox}", &session.mailbox), ..built }
}

fn plain(text: &str, expunge: bool) -> Built {
    Built { text: text.to_owned(), allowed: Allowed { expunge, bare: false }, named: Vec::new() }
}

/// A command on messages.
fn of_some(which: &Which, by_uid: bool, verb: &str, rest: &str, view: &View) -> Built {
    let named = named(which, by_uid, view);
    if named.is_empty() {
        return plain("NOOP", true);
    }
    let numbers = set(named.iter().map(|(number, uid)| if by_uid { uid.unwrap() } else { *number }));
    let uid = if by_uid { "UID " } else { "" };
    let allowed = Allowed { expunge: by_uid || matches!(verb, "COPY" | "MOVE"), bare: false };
    Built { text: format!("{uid}{verb} {numbers} {rest}"), allowed, named }
}

/// What stands behind the messages in a STORE.
fn store(command: &Command, view: &View) -> String {
    let Command::Store { which, by_uid, change, flags, silent, condition } = command else {
        return String::new();
    };
    let sign = match change {
        Change::Add => "+",
        Change::Remove => "-",
        Change::Replace => "",
    };
    let first = named(which, *by_uid, view).first().map(|(number, _)| *number as usize - 1);
    let told = first.and_then(|at| view.messages[at].mod_seq).unwrap_or(view.mod_seq).max(1);
    let condition = match condition {
        Condition::SinceTold if view.kind != Kind::Plain => format!("(UNCHANGEDSINCE {told}) "),
        Condition::Zero if view.kind != Kind::Plain => "(UNCHANGEDSINCE 0) ".to_owned(),
        Condition::None | Condition::SinceTold | Condition::Zero => String::new(),
    };
    let silent = if *silent { ".SILENT" } else { "" };
    format!("{condition}{sign}FLAGS{silent} ({})", joined(flags))
}

fn joined(flags: &Flags) -> String {
    flags.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}
