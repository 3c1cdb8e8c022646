//! A client with what it knows: how it selects the mailbox, comes back to it, and fetches what is new.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::client::{Client, Reply};
use crate::step::Return;
use crate::view::{Allowed, Cache, Flags, Kind, View};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) view: View,
    pub(crate) mailbox: String,
    name: &'static str,
}

pub(crate) const UID_COMMAND: Allowed = Allowed { expunge: true, bare: false };
const BY_NUMBER: Allowed = Allowed { expunge: false, bare: false };

/// As compact as a client writes it.
pub(crate) fn set(numbers: impl IntoIterator<Item = u32>) -> String {
    let numbers: Vec<String> = numbers.into_iter().map(|it| it.to_string()).collect();
    numbers.join(",")
}

impl Session {
    /// On a new connection, of an account's mailbox.
    pub(crate) fn open(address: SocketAddr, name: &'static str, mailbox: &str, kind: Kind) -> Self {
        let mut client = Client::log_in_as(address, name);
        enable(&mut client, kind);
        let mut session = Self { client, view: View::new(kind), mailbox: mailbox.to_owned(), name };
        session.select(params(kind));
        session.learn();
        session
    }

    fn select(&mut self, params: &str) {
        let reply = self.client.run(&format!("SELECT {}{params}", self.mailbox));
        assert!(reply.tagged.starts_with("OK"), "{}", reply.tagged);
        self.view.take(&reply, UID_COMMAND);
    }

    /// Runs a command.
    pub(crate) fn run(&mut self, command: &str, allowed: Allowed) -> Reply {
        let reply = self.client.run(command);
        self.view.take(&reply, allowed);
        reply
    }

    /// Fetches what was announced but is not known yet, as clients do.
    pub(crate) fn learn(&mut self) {
        let unknown = |message: &crate::view::Message| message.uid.is_none() || message.flags.is_none();
        // Of some it hears only by the first of these; those that are gone meanwhile stay unknown.
        for _ in 0..3 {
            let Some(first) = self.view.messages.iter().position(unknown) else { return };
            let items = self.items();
            self.run(&format!("FETCH {}:{} {items}", first + 1, self.view.messages.len()), BY_NUMBER);
        }
    }

    pub(crate) fn items(&self) -> &'static str {
        if self.view.kind == Kind::Plain { "(UID FLAGS)" } else { "(UID FLAGS MODSEQ)" }
    }

    /// Leaves the mailbox, is cut off, or is about to select it anew.
    pub(crate) fn leave(self, how: &Return) -> Away {
        let Self { mut client, mut view, mailbox, name } = self;
        let stays_connected = how.close.is_some() && how.kind == view.kind;
        if stays_connected {
            if how.close == Some(true) {
                let reply = client.run("CLOSE");
                assert!(reply.untagged.is_empty() && !reply.tagged.contains("HIGHESTMODSEQ"), "{reply:?}");
            }
        } else if let Some(lines) = how.cut {
            client.send("NOOP");
            for _ in 0..lines {
                let line = client.line();
                if !line.starts_with("* ") {
                    break; // the tagged answer: the client dies with it
                }
                view.take_line(&line, UID_COMMAND);
            }
        }
        let was_plain = view.kind == Kind::Plain;
        Away { client: stays_connected.then_some(client), was_plain, cache: view.into_cache(), mailbox, name }
    }

    /// As a client that knows CONDSTORE only. RFC 7162 §3.1.2.1.
    fn resume(&mut self, cache: Cache) {
        let mod_seq = cache.mod_seq;
        let newest = cache.flags.keys().next_back().copied().unwrap_or_default();
        self.view.resumed = Some(cache.flags);
        self.select(params(Kind::Condstore));
        assert_eq!(self.view.uid_validity, cache.uid_validity);
        if self.view.messages.is_empty() {
            self.view.resumed = None;
            return;
        }
        if self.view.mod_seq != mod_seq {
            self.keep_mod_seq(&format!("FETCH 1:* (UID FLAGS) (CHANGEDSINCE {mod_seq})"), BY_NUMBER);
        }
        self.keep_mod_seq("UID SEARCH ALL", UID_COMMAND);
        let found = self.view.found.clone();
        self.view.resumed.as_mut().unwrap().retain(|uid, _| found.contains(uid));
        self.keep_mod_seq(&format!("UID FETCH {}:* (UID FLAGS MODSEQ)", newest + 1), UID_COMMAND);
        self.resumed();
    }

    /// What SELECT said stays what it has to come back with, until all is fetched. RFC 7162 §6.
    fn keep_mod_seq(&mut self, command: &str, allowed: Allowed) {
        let mod_seq = self.view.mod_seq;
        self.run(command, allowed);
        self.view.mod_seq = self.view.mod_seq.max(mod_seq);
    }

    /// RFC 7162 §3.2.5.
    fn resynchronize(&mut self, cache: Cache, how: &Return) {
        let known: Vec<u32> = cache.flags.keys().copied().collect();
        let mut params = format!(" (QRESYNC ({} {}", cache.uid_validity, cache.mod_seq);
        if how.names_known && !known.is_empty() {
            let _ = write!(params, " {}", set(known.iter().copied()));
        }
        let mut sample: Vec<usize> = how
            .sample
            .iter()
            .filter(|_| !known.is_empty())
            .map(|it| usize::from(*it) % known.len())
            .collect();
        sample.sort_unstable();
        sample.dedup();
        if !sample.is_empty() {
            let numbers = sample.iter().map(|at| u32::try_from(*at).unwrap() + 1);
            let _ = write!(params, " ({} {})", set(numbers), set(sample.iter().map(|at| known[*at])));
        }
        params.push_str("))");
        self.view.resumed = Some(cache.flags);
        self.select(&params);
        assert_eq!(self.view.uid_validity, cache.uid_validity);
        let newest = known.last().copied().unwrap_or_default();
        self.keep_mod_seq(&format!("UID FETCH {}:* (UID FLAGS MODSEQ)", newest + 1), UID_COMMAND);
        self.resumed();
    }

    /// What it knew, changed by what it was told, is what it counts.
    fn resumed(&mut self) {
        let resumed: BTreeMap<u32, Flags> = self.view.resumed.take().unwrap();
        let count = self.view.messages.len();
        assert_eq!(resumed.len(), count, "it has {:?}, and counts {count}", resumed.keys());
        for (message, (uid, flags)) in self.view.messages.iter_mut().zip(resumed) {
            assert!(message.uid.is_none_or(|it| it == uid), "{message:?} is {uid}");
            (message.uid, message.flags) = (Some(uid), Some(flags));
        }
    }
}

/// A client that is not in the mailbox, with what it keeps.
#[derive(Debug)]
pub(crate) struct Away {
    client: Option<Client>,
    was_plain: bool,
    cache: Cache,
    mailbox: String,
    name: &'static str,
}

impl Away {
    /// Comes back with what it knew.
    pub(crate) fn come_back(self, address: SocketAddr, how: &Return) -> Session {
        let connect = || {
            let mut client = Client::log_in_as(address, self.name);
            enable(&mut client, how.kind);
            client
        };
        let client = self.client.unwrap_or_else(connect);
        let mut session =
            Session { client, view: View::new(how.kind), mailbox: self.mailbox, name: self.name };
        match how.kind {
            _ if self.was_plain => session.select(params(how.kind)),
            Kind::Plain => session.select(""),
            Kind::Condstore => session.resume(self.cache),
            Kind::Qresync => session.resynchronize(self.cache, how),
        }
        session.learn();
        session
    }
}

const fn params(kind: Kind) -> &'static str {
    match kind {
        Kind::Condstore => " (CONDSTORE)",
        Kind::Plain | Kind::Qresync => "",
    }
}

fn enable(client: &mut Client, kind: Kind) {
    if kind == Kind::Qresync {
        let reply = client.run("ENABLE QRESYNC");
        assert!(reply.untagged.iter().any(|line| line.starts_with("* ENABLED") && line.contains("QRESYNC")));
    }
}
