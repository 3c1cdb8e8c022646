//! What a client knows of a mailbox: nothing but what it was told, by the letter of RFC 3501 and RFC 7162.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::Reply;

pub(crate) type Flags = BTreeSet<String>;

/// What a client has enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Condstore,
    Qresync,
}

/// A message, as far as the client knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) uid: Option<u32>,
    pub(crate) flags: Option<Flags>,
    pub(crate) mod_seq: Option<u64>,
    /// Whether it was told `\Recent`.
    pub(crate) recent: bool,
}

/// What outlives a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {
    pub(crate) uid_validity: u64,
    /// RFC 7162 §6
    pub(crate) mod_seq: u64,
    pub(crate) flags: BTreeMap<u32, Flags>,
}

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) kind: Kind,
    pub(crate) messages: Vec<Message>,
    pub(crate) uid_validity: u64,
    /// The mod-sequence up to which it takes itself to know all.
    pub(crate) mod_seq: u64,
    /// That of the answers since the last tagged one: the code, and the highest of the messages.
    code: Option<u64>,
    told: u64,
    /// What SEARCH, SORT or THREAD found.
    pub(crate) found: Vec<u32>,
    /// The keywords that FLAGS named.
    keywords: BTreeSet<String>,
    /// While it comes back: what it knew.
    pub(crate) resumed: Option<BTreeMap<u32, Flags>>,
}

/// What the command that is answered allows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowed {
    pub(crate) expunge: bool,
    /// It asks for FETCH itself, without UID and MODSEQ.
    pub(crate) bare: bool,
}

impl View {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            messages: Vec::new(),
            uid_validity: 0,
            mod_seq: 0,
            code: None,
            told: 0,
            found: Vec::new(),
            keywords: BTreeSet::new(),
            resumed: None,
        }
    }

    pub(crate) fn position(&self, uid: u32) -> Option<usize> {
        self.messages.iter().position(|message| message.uid == Some(uid))
    }

    /// Takes in a whole answer.
    pub(crate) fn take(&mut self, reply: &Reply, allowed: Allowed) {
        self.found.clear();
        reply.untagged.iter().for_each(|line| self.take_line(line, allowed));
        self.take_code(&reply.tagged);
        self.complete();
    }

    /// A command ends. RFC 7162 §6.
    fn complete(&mut self) {
        let told = std::mem::take(&mut self.told);
        self.mod_seq = self.code.take().unwrap_or_else(|| self.mod_seq.max(told));
    }

    pub(crate) fn take_line(&mut self, line: &str, allowed: Allowed) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["*", "OK", ..] => self.take_code(line.strip_prefix("* ").unwrap()),
            ["*", "SEARCH" | "SORT", numbers @ ..] => {
                self.found = numbers.iter().map_while(|it| it.parse().ok()).collect();
            }
            ["*", "THREAD", ..] => {
                self.found =
                    line.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect();
            }
            ["*", "FLAGS", ..] => self.take_keywords(line),
            ["*", "VANISHED", "(EARLIER)", uids] => self.vanished_earlier(uids),
            ["*", "VANISHED", uids] => {
                assert!(allowed.expunge && self.kind == Kind::Qresync, "{line}");
                numbers(uids).for_each(|uid| self.vanished(uid));
            }
            ["*", number, "EXPUNGE"] => {
                assert!(allowed.expunge && self.kind != Kind::Qresync, "{line}");
                self.messages.remove(number.parse::<usize>().unwrap() - 1);
            }
            ["*", number, "EXISTS"] => {
                let count = number.parse().unwrap();
                assert!(count >= self.messages.len(), "fewer without EXPUNGE: {line}");
                self.messages.resize(count, Message::default());
            }
            ["*", number, "FETCH", ..] => self.fetched(number.parse::<usize>().unwrap() - 1, line, allowed),
            ["*", _, "RECENT"] | ["*", "ENABLED" | "CAPABILITY" | "STATUS" | "ESEARCH", ..] => {}
            _ => panic!("what is this: {line}"),
        }
    }

    /// RFC 3501 §7.2.6: none is left out that a message has.
    fn take_keywords(&mut self, line: &str) {
        let (_, flags) = line.split_once('(').unwrap();
        let now = flags.trim_end_matches(')').split(' ').map(str::to_owned).collect();
        let before = std::mem::replace(&mut self.keywords, now);
        for flags in self.messages.iter().filter_map(|message| message.flags.as_ref()) {
            self.knows(&(flags & &before), line);
        }
    }

    fn knows(&self, flags: &Flags, line: &str) {
        let unknown = flags.iter().find(|flag| !flag.starts_with('\\') && !self.keywords.contains(*flag));
        assert_eq!(unknown, None, "FLAGS has not named it: {line}");
    }

    /// Those that it does not know by UID stand behind all others.
    fn vanished(&mut self, uid: u32) {
        let unknown = || self.messages.iter().position(|message| message.uid.is_none());
        let position = self.position(uid).or_else(unknown);
        self.messages.remove(position.unwrap_or_else(|| panic!("VANISHED {uid}: no such message")));
    }

    /// It must name no message that is there.
    fn vanished_earlier(&mut self, uids: &str) {
        for uid in numbers(uids) {
            assert_eq!(self.position(uid), None, "VANISHED (EARLIER) {uid}");
            if let Some(resumed) = &mut self.resumed {
                resumed.remove(&uid);
            }
        }
    }

    fn fetched(&mut self, at: usize, line: &str, allowed: Allowed) {
        let item = |name: &str| Some(line.split_once(name)?.1.split_once(')')?.0);
        let uid =
            line.split_once("UID ").map(|(_, it)| it.split([' ', ')']).next().unwrap().parse().unwrap());
        let flags = item("FLAGS (").map(|it| {
            it.split(' ')
                .filter(|it| !it.is_empty() && *it != "\\Recent")
                .map(str::to_owned)
                .collect::<Flags>()
        });
        flags.iter().for_each(|flags| self.knows(flags, line));
        let mod_seq: Option<u64> = item("MODSEQ (").map(|it| it.parse().unwrap());
        if !allowed.bare {
            assert_eq!(mod_seq.is_some(), self.kind != Kind::Plain, "{line}");
            assert!(uid.is_some(), "{line}");
        }
        let message = self.messages.get_mut(at).unwrap_or_else(|| panic!("no such message: {line}"));
        if let (Some(uid), Some(known)) = (uid, message.uid) {
            assert_eq!(uid, known, "{line}");
        }
        assert!(mod_seq.is_none() || mod_seq >= message.mod_seq, "{message:?}: {line}");
        message.uid = uid.or(message.uid);
        message.recent |= line.contains("\\Recent");
        message.mod_seq = mod_seq.or(message.mod_seq);
        if let (Some(resumed), Some(uid), Some(flags)) = (&mut self.resumed, message.uid, &flags) {
            resumed.insert(uid, flags.clone());
        }
        message.flags = flags.or_else(|| message.flags.take());
        self.told = self.told.max(mod_seq.unwrap_or_default());
    }

    fn take_code(&mut self, text: &str) {
        let Some((code, _)) = text.split_once('[').and_then(|(_, it)| it.split_once(']')) else { return };
        let (name, value) = code.split_once(' ').unwrap_or((code, ""));
        match name {
            "HIGHESTMODSEQ" => {
                assert_ne!(self.kind, Kind::Plain, "{text}");
                self.code = Some(value.parse().unwrap());
            }
            "UIDVALIDITY" => self.uid_validity = value.parse().unwrap(),
            _ => {}
        }
    }

    /// What it keeps when the connection ends: the tagged answer may be missing.
    pub(crate) fn into_cache(self) -> Cache {
        let known = self.messages.into_iter().filter_map(|message| Some((message.uid?, message.flags?)));
        Cache { uid_validity: self.uid_validity, mod_seq: self.mod_seq, flags: known.collect() }
    }
}

/// The numbers of a set.
pub(crate) fn numbers(set: &str) -> impl Iterator<Item = u32> {
    set.split(',').flat_map(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    })
}
