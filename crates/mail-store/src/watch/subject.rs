//! What the thread looks after for somebody: an open mailbox, the folder of one that need not be open, an account's names, who
//! shares mailboxes.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Weak;
use std::time::{Duration, Instant};

use inotify::{Event, EventMask};
use mail_types::MailboxName;

use super::notices::Heard;
use crate::mailbox::{Mailbox, Signs, modified_at, now_nanos};

/// For how long a folder is expected to become a mailbox: programs make `cur` after the folder around it.
const BECOMING: Duration = Duration::from_secs(60);
/// On file systems that keep whole seconds a folder changed so lately may change without its time doing so.
const SECONDS: i64 = 2_000_000_000;

/// What somebody waits on.
pub(super) enum Subject {
    /// It is compared with its folder, and shows what it finds.
    Mailbox(Weak<Mailbox>),
    Folder(Folder),
    Names(Names),
    Shared(Shared),
}

impl Subject {
    /// The folder that inotify is to tell of.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Mailbox(mailbox) => mailbox.upgrade().map(|it| it.folder().to_owned()),
            Self::Folder(folder) => Some(folder.path.clone()),
            Self::Names(names) => Some(names.path.clone()),
            Self::Shared(shared) => Some(shared.path.clone()),
        }
    }

    /// True if it may have changed since it was last looked at, as far as times show it.
    pub(super) fn looks_changed(&mut self) -> bool {
        match self {
            Self::Mailbox(_) => true,
            Self::Folder(folder) => folder.looks_changed(),
            Self::Names(names) => names.looks_changed(),
            Self::Shared(shared) => shared.looks_changed(),
        }
    }

    /// True if the event is of something that is looked at.
    pub(super) fn is_changed_by(&mut self, event: &Event<&OsStr>) -> bool {
        let name = event.name.unwrap_or_default();
        // In INBOX's folder lie all other mailboxes.
        let is_hidden = is_hidden(name);
        let is_list = name == "subscriptions" || name == "courierimapsubscribed";
        let is_folder = event.mask.contains(EventMask::ISDIR);
        match self {
            Self::Mailbox(_) | Self::Folder(_) => !is_folder && !is_hidden && !is_list && !is_aside(name),
            Self::Names(names) => {
                if is_folder && is_hidden {
                    names.changed(name);
                }
                is_folder && is_hidden || is_list
            }
            Self::Shared(_) => !is_aside(name),
        }
    }

    /// Wakes who waits on a mailbox of which only that changed what another than its owner has seen or, if `is_of_rights`, what anybody
    /// may do.
    pub(super) fn wake(&self, is_of_rights: bool) {
        match self {
            Self::Mailbox(mailbox) => mailbox.upgrade().into_iter().for_each(|mailbox| mailbox.wake_all()),
            Self::Folder(folder) if folder.is_others || is_of_rights => folder.tell(),
            Self::Folder(_) | Self::Names(_) | Self::Shared(_) => {}
        }
    }

    /// It can't be watched, nor looked at by the clock.
    pub(super) fn give_up(&self) {
        let heard = match self {
            Self::Mailbox(_) => return,
            Self::Folder(folder) => &folder.heard,
            Self::Names(names) => &names.heard,
            Self::Shared(shared) => &shared.heard,
        };
        heard.upgrade().into_iter().for_each(|heard| heard.note(|news| news.overflow = true));
    }
}

/// Files beside the mailbox's own that are written to.
fn is_aside(name: &OsStr) -> bool {
    name == "maildirsize" || name.as_encoded_bytes().ends_with(b".tmp")
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// The folder of a mailbox: whoever waits hears that it may have changed.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) name: MailboxName,
    pub(super) heard: Weak<Heard>,
    /// What it showed when it was last looked at; `None` if a change may not show.
    pub(super) seen: Option<Signs>,
    /// It is another's than the listener's.
    pub(super) is_others: bool,
}

impl Folder {
    fn looks_changed(&mut self) -> bool {
        let now = now_nanos();
        let signs = Signs::of(&self.path).ok();
        let is_same = signs.is_some() && signs == self.seen;
        self.seen = signs.filter(|signs| signs.are_settled(now));
        !is_same
    }

    pub(super) fn tell(&self) {
        let Some(heard) = self.heard.upgrade() else { return };
        heard.note(|news| {
            news.mailboxes.insert(self.name.clone());
        });
    }
}

/// The names of an account's mailboxes, and its subscriptions.
pub(super) struct Names {
    pub(super) path: PathBuf,
    pub(super) heard: Weak<Heard>,
    seen: Option<(i64, Option<i64>)>,
    /// Folders without `cur`, since when.
    becoming: Vec<(PathBuf, Instant)>,
}

impl Names {
    pub(super) const fn new(path: PathBuf, heard: Weak<Heard>) -> Self {
        Self { path, heard, seen: None, becoming: Vec::new() }
    }

    fn looks_changed(&mut self) -> bool {
        let now = now_nanos();
        let folder = modified_at(&self.path).ok();
        let times = folder.map(|folder| (folder, modified_at(&self.path.join("subscriptions")).ok()));
        let is_same = times.is_some() && times == self.seen;
        self.seen = times.filter(|(folder, _)| now - folder > SECONDS);
        if !is_same {
            let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            names.filter(|name| is_hidden(name)).for_each(|name| self.changed(&name));
        }
        !is_same
    }

    /// A folder came or went.
    fn changed(&mut self, name: &OsStr) {
        let path = self.path.join(name);
        let is_known = self.becoming.iter().any(|(known, _)| *known == path);
        if !is_known && path.is_dir() && !path.join("cur").is_dir() {
            self.becoming.push((path, Instant::now()));
        }
    }

    /// Tells that names changed; and in how long that may be so again.
    pub(super) fn tell(&mut self) -> Option<Duration> {
        self.becoming.retain(|(path, since)| {
            since.elapsed() < BECOMING && path.is_dir() && !path.join("cur").is_dir()
        });
        self.heard.upgrade().into_iter().for_each(|heard| heard.note(|news| news.names = true));
        let youngest = self.becoming.iter().map(|(_, since)| since.elapsed()).min();
        youngest.map(|age| age.clamp(Duration::from_millis(10), Duration::from_secs(1)))
    }
}

/// Who shares mailboxes with others, as `shares.rs` notes it.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) heard: Weak<Heard>,
    seen: Option<i64>,
}

impl Shared {
    pub(super) const fn new(path: PathBuf, heard: Weak<Heard>) -> Self {
        Self { path, heard, seen: None }
    }

    fn looks_changed(&mut self) -> bool {
        let now = now_nanos();
        let time = modified_at(&self.path).ok();
        let is_same = time.is_some() && time == self.seen;
        self.seen = time.filter(|time| now - time > SECONDS);
        !is_same
    }

    pub(super) fn tell(&self) {
        self.heard.upgrade().into_iter().for_each(|heard| heard.note(|news| news.names = true));
    }
}
