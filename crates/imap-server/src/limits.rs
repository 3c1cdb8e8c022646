//! What one command may ask for at most. What is over a limit is answered `NO [LIMIT]` (RFC 5530 §3): the command is well formed.

use imap_proto::{Command, MessageSet, NotifyRequest, SearchKey, SearchRequest, SelectParams};
use mail_config::CommandLimits;
use mail_types::MailboxName;

use crate::answer::Failure;
use crate::text::{RespText, Text};

/// Refuses a command that asks for too much.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other commands name nothing that is counted")]
pub(crate) fn check(command: &Command, limits: &CommandLimits) -> Result<(), Failure> {
    match command {
        Command::Create(name, _) | Command::Rename(_, name) => check_name(name, limits),
        Command::Select(_, params) | Command::Examine(_, params) => {
            check_ranges(ranges_known(params), limits)
        }
        Command::Store { set, .. }
        | Command::Copy(set, _)
        | Command::Move(set, _)
        | Command::UidExpunge(set) => check_ranges(ranges(set), limits),
        Command::Fetch(set, items, _) => {
            check_ranges(ranges(set), limits)?;
            check_items(items.len(), limits)
        }
        Command::Notify(NotifyRequest::Set { groups, .. }) => {
            let events = groups.iter().flat_map(|group| &group.events);
            check_items(events.map(|event| event.items().len()).sum(), limits)
        }
        Command::Search(request)
        | Command::Esearch(_, request)
        | Command::Sort(_, request)
        | Command::Thread(_, request) => check_search(request, limits),
        _ => Ok(()),
    }
}

fn under(count: usize, most: usize, text: RespText) -> Result<(), Failure> {
    if count > most { Err(Failure::no(text)) } else { Ok(()) }
}

fn check_items(items: usize, limits: &CommandLimits) -> Result<(), Failure> {
    under(items, limits.max_fetch_items, Text::TooManyItems.coded("LIMIT"))
}

fn check_ranges(ranges: usize, limits: &CommandLimits) -> Result<(), Failure> {
    under(ranges, limits.max_set, Text::TooManyNumbers.coded("LIMIT"))
}

fn check_name(name: &MailboxName, limits: &CommandLimits) -> Result<(), Failure> {
    under(name.as_str().len(), limits.max_mailbox_name, Text::NameTooLong.coded("LIMIT"))?;
    under(name.levels().count(), limits.max_mailbox_depth, Text::TooManyLevels.coded("LIMIT"))
}

fn ranges(set: &MessageSet) -> usize {
    match set {
        MessageSet::Seq(set) => set.ranges().len(),
        MessageSet::Uid(set) => set.ranges().len(),
        MessageSet::Saved(_) => 0,
    }
}

fn ranges_known(params: &SelectParams) -> usize {
    let Some(qresync) = &params.qresync else { return 0 };
    let known = qresync.known.as_ref().map_or(0, |set| set.ranges().len());
    let sample = qresync.sample.as_ref();
    known + sample.map_or(0, |(seqs, uids)| seqs.ranges().len() + uids.ranges().len())
}

/// What a search key comes to.
#[derive(Default)]
struct Extent {
    keys: usize,
    depth: usize,
    ranges: usize,
}

impl Extent {
    /// The grammar has bounded the depth.
    fn add(&mut self, key: &SearchKey, depth: usize) {
        self.depth = self.depth.max(depth);
        if let SearchKey::And(keys) = key {
            // Keys side by side are no level of their own; those in parentheses are.
            keys.iter().for_each(|key| self.add(key, depth + usize::from(matches!(key, SearchKey::And(_)))));
            return;
        }
        self.keys += 1;
        if let SearchKey::Or(left, right) = key {
            self.add(left, depth + 1);
            self.add(right, depth + 1);
        } else if let SearchKey::Not(key) | SearchKey::Fuzzy(key) = key {
            self.add(key, depth + 1);
        } else if let SearchKey::Seq(set) = key {
            self.ranges += set.ranges().len();
        } else if let SearchKey::Uid(set) = key {
            self.ranges += set.ranges().len();
        }
    }
}

fn check_search(request: &SearchRequest, limits: &CommandLimits) -> Result<(), Failure> {
    let mut extent = Extent::default();
    extent.add(&request.key, 1);
    under(extent.keys, limits.max_search_keys, Text::TooManyKeys.coded("LIMIT"))?;
    under(extent.depth, limits.max_search_depth, Text::SearchTooDeep.coded("LIMIT"))?;
    check_items(request.updates.len(), limits)?;
    check_ranges(extent.ranges, limits)
}
