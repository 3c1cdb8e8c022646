//! The mailbox as it must be, the clients, and what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::built::{Built, build, changed, changed_since, expect};
use crate::client::{Client, Reply};
use crate::session::Session;
use crate::step::{Change, Command, Condition, Return, Step};
use crate::view::{Allowed, Flags, Kind, View, numbers};

/// Clients of each kind.
const KINDS: [Kind; 4] = [Kind::Qresync, Kind::Condstore, Kind::Plain, Kind::Qresync];

pub(crate) struct World {
    addresses: [SocketAddr; 2],
    maildir: PathBuf,
    pub(crate) folder: PathBuf,
    mailbox: String,
    sessions: Vec<Session>,
    /// Looks at the mailbox without knowing anything.
    auditor: Client,
    pub(crate) truth: BTreeMap<u32, Flags>,
    /// The highest UID ever given.
    last_uid: u32,
    /// The highest mod-sequence ever told by SELECT.
    highest: u64,
    pub(crate) files: u32,
}

impl World {
    pub(crate) fn new(addresses: [SocketAddr; 2], maildir: &Path, number: usize) -> Self {
        let mut auditor = Client::log_in(addresses[0]);
        let mailbox = format!("m{number}");
        assert!(auditor.run(&format!("CREATE {mailbox}")).tagged.starts_with("OK"));
        auditor.run("CREATE away");
        let open = |(at, kind): (usize, &Kind)| Session::open(addresses[at % 2], "alice", &mailbox, *kind);
        let sessions = KINDS.iter().enumerate().map(open).collect();
        Self {
            addresses,
            maildir: maildir.to_owned(),
            folder: maildir.join(format!(".{mailbox}")),
            sessions,
            mailbox,
            auditor,
            truth: BTreeMap::new(),
            last_uid: 0,
            highest: 0,
            files: 0,
        }
    }

    pub(crate) fn play(&mut self, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            self.step(step);
            if number % 8 == 7 {
                self.quiesce();
            }
        }
        self.quiesce();
    }

    fn who(&self, who: u8) -> usize {
        usize::from(who) % self.sessions.len()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Do(who, command) => self.perform(self.who(*who), command),
            Step::Together(commands) => {
                let built: Vec<_> =
                    commands.iter().zip(&self.sessions).map(|(it, session)| build(it, session)).collect();
                let send = |(built, session): (&Built, &mut Session)| session.client.send(&built.text);
                let tags: Vec<_> = built.iter().zip(&mut self.sessions).map(send).collect();
                for (((command, built), tag), who) in commands.iter().zip(&built).zip(&tags).zip(0..) {
                    let session = &mut self.sessions[who];
                    let reply = session.client.finish(tag);
                    expect(command, built, &mut session.view);
                    session.view.take(&reply, built.allowed);
                    session.learn();
                }
                self.adopt_truth();
            }
            Step::Idle(who, commands) => {
                let idler = self.who(*who);
                let tag = self.sessions[idler].client.send("IDLE");
                while !self.sessions[idler].client.line().starts_with('+') {}
                for (at, command) in commands.iter().enumerate() {
                    self.perform((idler + 1 + at % (self.sessions.len() - 1)) % self.sessions.len(), command);
                }
                let session = &mut self.sessions[idler];
                session.client.send_line("DONE");
                let reply = session.client.finish(&tag);
                session.view.take(&reply, Allowed { expunge: true, bare: false });
                session.learn();
                self.perform(idler, &Command::Noop);
            }
            Step::Return(who, how) => self.come_back(self.who(*who), how),
            Step::Foreign(foreign) => self.by_another_program(foreign),
            Step::LoseIndex => self.lose_index(),
        }
    }

    /// A client leaves, others go on, and it comes back.
    fn come_back(&mut self, who: usize, how: &Return) {
        let session = self.sessions.remove(who);
        if how.close == Some(true) && how.kind == session.view.kind {
            self.truth.retain(|_, flags| !flags.contains("\\Deleted"));
        }
        let away = session.leave(how);
        for (at, command) in how.meanwhile.iter().enumerate() {
            if how.index_lost && at + 1 == how.meanwhile.len() {
                self.lose_index();
            }
            self.perform(at % self.sessions.len(), command);
        }
        let session = away.come_back(self.addresses[usize::from(how.server) % 2], how);
        if session.view.kind != Kind::Plain {
            assert!(session.view.mod_seq >= self.highest, "{} {}", session.view.mod_seq, self.highest);
            self.highest = session.view.mod_seq;
        }
        self.sessions.insert(who, session);
        self.check(who, true);
    }

    fn lose_index(&self) {
        let home = self.maildir.parent().unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(home.join(format!("index.sqlite{suffix}")));
        }
    }

    fn perform(&mut self, who: usize, command: &Command) {
        let session = &mut self.sessions[who];
        let built = build(command, session);
        let reply = session.client.run(&built.text);
        assert!(!reply.tagged.starts_with("BAD"), "{}: {}", built.text, reply.tagged);
        self.happens(who, command, &built, &reply);
        let session = &mut self.sessions[who];
        let knows_all = session.view.messages.iter().all(|message| message.mod_seq.is_some());
        let sought =
            built.text.strip_prefix("SEARCH MODSEQ ").filter(|_| knows_all).map(|it| it.parse().unwrap());
        let messages = changed_since(&session.view, 0, &self.truth);
        let wanted = sought.map(|mod_seq| changed_since(&session.view, mod_seq, &self.truth));
        expect(command, &built, &mut session.view);
        session.view.take(&reply, built.allowed);
        session.view.found.retain(|it| messages.contains(it));
        assert!(
            wanted.as_ref().is_none_or(|it| *it == session.view.found),
            "{} {wanted:?} {reply:?}",
            built.text
        );
        session.learn();
        self.check(who, built.allowed.expunge);
    }

    /// What a command that was answered means for the mailbox.
    fn happens(&mut self, who: usize, command: &Command, built: &Built, reply: &Reply) {
        let uids: Vec<u32> = built.named.iter().filter_map(|(_, uid)| *uid).collect();
        match command {
            Command::Append(flags) => {
                let uid =
                    code(&reply.tagged, "APPENDUID").unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
                self.arrives(uid, flags.clone());
            }
            Command::Store { change, flags, .. } if !built.named.is_empty() => {
                let refused = self.refused(who, command, built, reply);
                for uid in uids.iter().filter(|uid| !refused.contains(uid)) {
                    if let Some(before) = self.truth.get_mut(uid) {
                        *before = changed(*change, flags, before);
                    }
                }
            }
            Command::Expunge => self.truth.retain(|_, flags| !flags.contains("\\Deleted")),
            Command::UidExpunge(_) => {
                self.truth.retain(|uid, flags| !(flags.contains("\\Deleted") && uids.contains(uid)));
            }
            Command::Read { .. } => {
                let read = self.truth.iter_mut().filter(|(uid, _)| uids.contains(uid));
                read.for_each(|(_, flags)| flags.extend(["\\Seen".to_owned()]));
            }
            Command::Copy { .. } | Command::Move { .. } => {
                let lines = reply.untagged.iter().chain([&reply.tagged]);
                let Some(pairs) = lines.filter_map(|line| code(line, "COPYUID")).next() else { return };
                let sets: Vec<&str> = pairs.split(' ').skip(1).collect();
                let stays = matches!(command, Command::Copy { .. });
                let comes_here = !matches!(command, Command::Move { away: true, .. });
                for (from, to) in numbers(sets[0]).zip(numbers(sets[1])) {
                    let flags = self.truth[&from].clone();
                    if !stays {
                        self.truth.remove(&from);
                    }
                    if comes_here {
                        self.arrives(to, flags);
                    }
                }
            }
            Command::Noop
            | Command::Store { .. }
            | Command::Fetch { .. }
            | Command::Changed { .. }
            | Command::Search { .. } => {}
        }
    }

    pub(crate) fn arrives(&mut self, uid: u32, flags: Flags) {
        assert!(uid > self.last_uid, "{uid} was given before, up to {}", self.last_uid);
        self.last_uid = uid;
        self.truth.insert(uid, flags);
    }

    /// The UIDs of the messages whose flags were not to be changed. That must have had a reason, or its absence one.
    fn refused(&self, who: usize, command: &Command, built: &Built, reply: &Reply) -> BTreeSet<u32> {
        let Command::Store { by_uid, change, flags, condition, .. } = command else { return BTreeSet::new() };
        let modified: BTreeSet<u32> =
            code(&reply.tagged, "MODIFIED").map(|it| numbers(it).collect()).unwrap_or_default();
        let is_refused = |(number, uid): &&(u32, Option<u32>)| match uid {
            Some(uid) if *by_uid => modified.contains(uid),
            _ => modified.contains(number),
        };
        let refused: BTreeSet<u32> =
            built.named.iter().filter(is_refused).filter_map(|(_, uid)| *uid).collect();
        let view = &self.sessions[who].view;
        for (_, uid) in &built.named {
            let Some((uid, truth)) = uid.and_then(|uid| Some((uid, self.truth.get(&uid)?))) else { continue };
            let known = view.messages[view.position(uid).unwrap()].flags.as_ref().unwrap();
            let touches = |flag: &String| *change == Change::Replace || flags.contains(flag);
            let differs = truth.symmetric_difference(known).any(touches);
            match condition {
                _ if view.kind == Kind::Plain => assert!(refused.is_empty(), "{reply:?}"),
                Condition::None => assert!(!refused.contains(&uid), "{reply:?}"),
                Condition::SinceTold => {
                    assert!(!differs || refused.contains(&uid), "{uid} {truth:?} {known:?}")
                }
                Condition::Zero => {
                    let exists = |flag: &String| flag.starts_with('\\') || truth.contains(flag);
                    let exists = *change == Change::Replace || flags.iter().any(exists);
                    assert_eq!(exists, refused.contains(&uid), "{uid} has {truth:?}");
                }
            }
        }
        refused
    }

    pub(crate) fn audit(&mut self) -> BTreeMap<u32, Flags> {
        let mut view = View::new(Kind::Plain);
        let allowed = Allowed { expunge: true, bare: false };
        view.take(&self.auditor.run(&format!("EXAMINE {}", self.mailbox)), allowed);
        view.take(&self.auditor.run("UID FETCH 1:* (UID FLAGS)"), allowed);
        let message = |it: crate::view::Message| Some((it.uid?, it.flags?));
        view.messages.into_iter().filter_map(message).collect()
    }

    /// After commands at once: in which order they came is not known.
    fn adopt_truth(&mut self) {
        let now = self.audit();
        let new = now.keys().filter(|uid| !self.truth.contains_key(uid));
        for uid in new {
            assert!(*uid > self.last_uid, "{uid} was given before, up to {}", self.last_uid);
        }
        self.last_uid = now.keys().copied().max().unwrap_or_default().max(self.last_uid);
        self.truth = now;
    }

    /// What a client knows is what is there; without `exactly` it may count messages that are gone.
    fn check(&self, who: usize, exactly: bool) {
        let view = &self.sessions[who].view;
        let mut known = BTreeMap::new();
        for message in &view.messages {
            match (&message.uid, &message.flags) {
                (Some(uid), Some(flags)) if exactly || self.truth.contains_key(uid) => {
                    known.insert(*uid, flags.clone());
                }
                (Some(_), _) | (None, _) => {
                    assert!(!exactly, "session {who} doesn't know all it counts: {view:?}")
                }
            }
        }
        assert_eq!(known, self.truth, "what session {who} knows, and what is there");
        assert!(view.messages.iter().filter_map(|it| it.uid).is_sorted());
    }

    /// Everyone is told all.
    fn quiesce(&mut self) {
        for who in 0..self.sessions.len() {
            self.perform(who, &Command::Noop);
        }
        assert_eq!(self.audit(), self.truth, "what a new session sees, and what is there");
        let files = std::fs::read_dir(self.folder.join("cur")).unwrap().count();
        assert_eq!(files, self.truth.len(), "files in cur");
    }
}

/// What stands in a response code behind its name.
pub(crate) fn code<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("[{name} "))?;
    rest.split_once(']').map(|(code, _)| code)
}
