//! Clients of one mailbox that all do what comes to their minds, at once. No order is known; checked is what each was told against what it
//! was told before, what may never change, and at the end of each round that all know the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use crate::built::{build, expect};
use crate::client::Client;
use crate::session::{Away, Session, UID_COMMAND, set};
use crate::step::{Change, Command, Return, Which, command, which};
use crate::view::{Allowed, Flags, Kind, View};
use crate::world::code;

/// What each client does in a round.
const DEEDS: usize = 40;
/// Clients, by what they enable; the last one has NOTIFY tell it of changes.
const KINDS: [Kind; 6] =
    [Kind::Qresync, Kind::Condstore, Kind::Plain, Kind::Plain, Kind::Qresync, Kind::Condstore];
/// What NOTIFY is asked for, to come whenever it comes. RFC 5465 §5.1.
const NOTIFY: &str =
    "NOTIFY SET (SELECTED-DELAYED (MessageNew (UID FLAGS MODSEQ) MessageExpunge FlagChange))";

/// What one client does.
#[derive(Debug, Clone)]
enum Deed {
    Do(Command),
    /// Looks at what never changes of a message.
    Look(Which),
    /// Searches, sorts or threads.
    Seek(u8),
    /// Sets or takes the keyword that nobody else touches.
    Mark(Which, bool),
    AppendTwo,
    Idle,
    /// Leaves, and comes back when the round is over.
    Leave(Farewell),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Logout,
    /// Amid the literal of an APPEND.
    Torn,
    /// Without a word, an answer still to come.
    Gone,
}

/// What all clients of a mailbox have in common.
#[derive(Debug, Default)]
struct Common {
    /// What was seen of each message that never changes, by UID.
    fixed: BTreeMap<u32, String>,
    /// Who was told that a message is recent.
    recent_of: BTreeMap<u32, usize>,
    /// The UIDs that APPEND and COPY told.
    given: BTreeSet<u32>,
}

struct Participant {
    number: usize,
    /// How often it opened the mailbox: each time it is another one to whom messages may be recent.
    opened: usize,
    session: Option<Session>,
    away: Option<Away>,
    runner: TestRunner,
    /// What it did last with its own keyword, by UID.
    marked: BTreeMap<u32, bool>,
    commands: usize,
}

pub(crate) struct Storm {
    /// Whose mailbox it is.
    name: &'static str,
    addresses: [SocketAddr; 2],
    mailbox: String,
    participants: Vec<Participant>,
    common: Mutex<Common>,
    auditor: Client,
    /// How many commands were answered.
    pub(crate) commands: usize,
}

fn deed() -> impl Strategy<Value = Deed> {
    let farewell = prop::sample::select(vec![Farewell::Logout, Farewell::Torn, Farewell::Gone]);
    prop_oneof![
        30 => command().prop_map(|it| Deed::Do(mild(it))),
        6 => which().prop_map(Deed::Look),
        8 => any::<u8>().prop_map(Deed::Seek),
        8 => (which(), any::<bool>()).prop_map(|(which, on)| Deed::Mark(which, on)),
        2 => Just(Deed::AppendTwo),
        3 => Just(Deed::Idle),
        1 => farewell.prop_map(Deed::Leave),
    ]
}

/// What would take others' keywords away does not.
fn mild(mut command: Command) -> Command {
    if let Command::Store { change: change @ Change::Replace, .. } = &mut command {
        *change = Change::Add;
    }
    command
}

impl Storm {
    pub(crate) fn new(addresses: [SocketAddr; 2], name: &'static str, number: u8) -> Self {
        let mut auditor = Client::log_in_as(addresses[0], name);
        let mailbox = "storm".to_owned();
        for created in [&mailbox, "away"] {
            assert!(auditor.run(&format!("CREATE {created}")).tagged.starts_with("OK"));
        }
        let participant = |(at, kind): (usize, &Kind)| {
            let mut session = Session::open(addresses[at % 2], name, &mailbox, *kind);
            listen(at, &mut session);
            let draws = number * 16 + u8::try_from(at).unwrap();
            Participant {
                number: at,
                opened: 0,
                session: Some(session),
                away: None,
                runner: crate::runner(Config::default(), draws),
                marked: BTreeMap::new(),
                commands: 0,
            }
        };
        let participants = KINDS.iter().enumerate().map(participant).collect();
        Self { name, addresses, mailbox, participants, common: Mutex::default(), auditor, commands: 0 }
    }

    /// All at once; then those that left come back, and all must know the same.
    pub(crate) fn round(&mut self) {
        let common = &self.common;
        std::thread::scope(|scope| {
            for participant in &mut self.participants {
                let name = format!("client {} of {}", participant.number, self.name);
                let act = || (0..DEEDS).for_each(|_| participant.act(common));
                std::thread::Builder::new().name(name).spawn_scoped(scope, act).unwrap();
            }
        });
        for participant in &mut self.participants {
            participant.come_back(self.addresses);
        }
        let truth = self.audit();
        for participant in &mut self.participants {
            participant.check(&truth, &self.common);
            self.commands += std::mem::take(&mut participant.commands);
        }
        self.check_mod_seqs();
    }

    fn audit(&mut self) -> BTreeMap<u32, Flags> {
        let mut view = View::new(Kind::Plain);
        view.take(&self.auditor.run(&format!("EXAMINE {}", self.mailbox)), UID_COMMAND);
        let torn = self.auditor.run("SEARCH SUBJECT torn");
        assert_eq!(torn.untagged, ["* SEARCH"], "a message that never came whole");
        view.take(&self.auditor.run("UID FETCH 1:* (UID FLAGS)"), UID_COMMAND);
        view.messages.into_iter().map(|it| (it.uid.unwrap(), it.flags.unwrap())).collect()
    }

    /// Those that know mod-sequences know the same ones.
    fn check_mod_seqs(&self) {
        let knows = |it: &&Participant| it.session.as_ref().unwrap().view.kind != Kind::Plain;
        let mod_seqs = |participant: &Participant| {
            let messages = &participant.session.as_ref().unwrap().view.messages;
            messages.iter().map(|it| (it.uid, it.mod_seq)).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.participants.iter().filter(knows).map(mod_seqs).collect();
        for pair in all.windows(2) {
            // Who came back is told of what changed only, and keeps no mod-sequences here.
            for (one, other) in pair[0].iter().zip(&pair[1]) {
                assert!(one.1.is_none() || other.1.is_none() || one == other, "{one:?} {other:?}");
            }
        }
    }
}

fn listen(number: usize, session: &mut Session) {
    if number + 1 == KINDS.len() && session.view.kind == Kind::Condstore {
        let reply = session.run(NOTIFY, UID_COMMAND);
        assert!(reply.tagged.starts_with("OK"), "{}", reply.tagged);
    }
}

impl Participant {
    fn act(&mut self, common: &Mutex<Common>) {
        let deed = deed().new_tree(&mut self.runner).unwrap().current();
        let Some(session) = &mut self.session else { return };
        self.commands += 1;
        match deed {
            Deed::Do(command) => perform(session, &command, common),
            Deed::Look(which) => look(session, &which, common),
            Deed::Seek(at) => seek(session, at, self.number, &self.marked),
            Deed::Mark(which, on) => mark(session, &which, on, self.number, &mut self.marked),
            Deed::AppendTwo => {
                let mailbox = session.mailbox.clone();
                let text = format!("APPEND {mailbox} {{8+}}\r\nA: b\r\n\r\n (\\Seen) {{8+}}\r\nA: b\r\n\r\n");
                let reply = session.run(&text, UID_COMMAND);
                given(&reply.tagged, "APPENDUID", common);
            }
            Deed::Idle => {
                let tag = session.client.send("IDLE");
                loop {
                    let line = session.client.line();
                    if line.starts_with('+') {
                        break;
                    }
                    session.view.take_line(&line, UID_COMMAND);
                }
                session.client.send_line("DONE");
                let reply = session.client.finish(&tag);
                session.view.take(&reply, UID_COMMAND);
            }
            Deed::Leave(farewell) => return self.leave(farewell),
        }
        session.learn();
        note_recent(&session.view, self.number + KINDS.len() * self.opened, common);
    }

    fn leave(&mut self, farewell: Farewell) {
        let mut session = self.session.take().unwrap();
        let mailbox = session.mailbox.clone();
        match farewell {
            Farewell::Logout => assert!(session.client.run("LOGOUT").tagged.starts_with("OK")),
            Farewell::Torn => {
                session.client.tear(&format!("APPEND {mailbox} {{99+}}\r\nSubject: torn\r\n\r\n"))
            }
            Farewell::Gone => session.client.tear("UID FETCH 1:* (FLAGS BODY.PEEK[])\r\nx NOOP\r\n"),
        }
        let kind = session.view.kind;
        self.away = Some(session.leave(&coming_back(kind, None)));
    }

    /// Nothing else happens meanwhile.
    fn come_back(&mut self, addresses: [SocketAddr; 2]) {
        let Some(away) = self.away.take() else { return };
        let how = coming_back(KINDS[self.number], Some(self.number));
        let mut session = away.come_back(addresses[(self.number + self.opened) % 2], &how);
        self.opened += 1;
        listen(self.number, &mut session);
        self.session = Some(session);
    }

    /// It knows what is there, and so of its own keyword.
    fn check(&mut self, truth: &BTreeMap<u32, Flags>, common: &Mutex<Common>) {
        let session = self.session.as_mut().unwrap();
        session.run("NOOP", UID_COMMAND);
        session.learn();
        note_recent(&session.view, self.number + KINDS.len() * self.opened, common);
        let messages = session.view.messages.iter();
        let known: Vec<(u32, Flags)> =
            messages.map(|it| (it.uid.unwrap(), it.flags.clone().unwrap())).collect();
        assert!(known.is_sorted_by_key(|(uid, _)| *uid));
        let known: BTreeMap<u32, Flags> = known.into_iter().collect();
        assert_eq!(known, *truth, "what client {} knows, and what is there", self.number);
        for (uid, on) in &self.marked {
            let flags = truth.get(uid);
            assert!(
                flags.is_none_or(|it| it.contains(&keyword(self.number)) == *on),
                "{uid}: {flags:?} {on}"
            );
        }
        self.marked.retain(|uid, _| truth.contains_key(uid));
    }
}

/// The keyword that one client alone sets and takes away.
fn keyword(number: usize) -> String {
    format!("$Mine{number}")
}

fn coming_back(kind: Kind, names_known: Option<usize>) -> Return {
    let names_known = names_known.is_some_and(|number| number % 4 == 0);
    Return {
        kind,
        server: 0,
        close: None,
        cut: None,
        names_known,
        sample: vec![1, 7, 30],
        meanwhile: Vec::new(),
        index_lost: false,
    }
}

fn perform(session: &mut Session, command: &Command, common: &Mutex<Common>) {
    let built = build(command, session);
    let reply = session.client.run(&built.text);
    assert!(!reply.tagged.starts_with("BAD"), "{}: {}", built.text, reply.tagged);
    expect(command, &built, &mut session.view);
    session.view.take(&reply, built.allowed);
    if matches!(command, Command::Append(_)) {
        given(&reply.tagged, "APPENDUID", common);
    } else if matches!(command, Command::Copy { .. }) {
        given(&reply.tagged, "COPYUID", common);
    }
}

/// RFC 4315 §3: no UID is given twice.
fn given(tagged: &str, name: &str, common: &Mutex<Common>) {
    let Some(uids) = code(tagged, name).and_then(|it| it.rsplit(' ').next()) else { return };
    let mut common = common.lock().unwrap();
    for uid in crate::view::numbers(uids) {
        assert!(common.given.insert(uid), "{uid} was given before: {tagged}");
    }
}

fn known_uids(session: &Session, which: &Which) -> Vec<u32> {
    let messages = &session.view.messages;
    let at = |it: &u8| usize::from(*it) % messages.len();
    let uids: BTreeSet<u32> =
        which.iter().filter(|_| !messages.is_empty()).filter_map(|it| messages[at(it)].uid).collect();
    uids.into_iter().collect()
}

/// What is told of a message is what was told of it before, to whomever.
fn look(session: &mut Session, which: &Which, common: &Mutex<Common>) {
    let uids = known_uids(session, which);
    if uids.is_empty() {
        return;
    }
    let items = "(RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE BODY.PEEK[])";
    let command = format!("UID FETCH {} {items}", set(uids));
    let reply = session.run(&command, Allowed { expunge: true, bare: true });
    for line in reply.untagged.iter().filter(|line| line.contains("ENVELOPE")) {
        let (uid, rest) = line.split_once("UID ").unwrap().1.split_once(' ').unwrap();
        let mut common = common.lock().unwrap();
        let before = common.fixed.entry(uid.parse().unwrap()).or_insert_with(|| rest.to_owned());
        assert_eq!(before, rest, "UID {uid} changed");
    }
}

fn seek(session: &mut Session, at: u8, number: usize, marked: &BTreeMap<u32, bool>) {
    let own = keyword(number);
    let commands = [
        format!("SEARCH KEYWORD {own}"),
        format!("SEARCH NOT KEYWORD {own}"),
        "SEARCH OR FLAGGED (UNSEEN SMALLER 9)".to_owned(),
        "SEARCH LARGER 7 SINCE 1-Jan-2020 NOT SUBJECT nothing".to_owned(),
        "SORT (REVERSE ARRIVAL) UTF-8 ALL".to_owned(),
        "SORT (SUBJECT) UTF-8 UNDELETED".to_owned(),
        "THREAD REFERENCES UTF-8 ALL".to_owned(),
        "SEARCH RETURN (MIN MAX COUNT ALL) FLAGGED".to_owned(),
        "STATUS away (MESSAGES UIDNEXT UNSEEN)".to_owned(),
    ];
    let command = &commands[usize::from(at) % commands.len()];
    let allowed = Allowed { expunge: command.starts_with("STATUS"), bare: false };
    let reply = session.run(command, allowed);
    assert!(reply.tagged.starts_with("OK"), "{command}: {}", reply.tagged);
    let found = &session.view.found;
    let once: BTreeSet<u32> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "{reply:?}");
    assert!(once.last().is_none_or(|it| *it as usize <= session.view.messages.len()), "{reply:?}");
    assert!(!command.starts_with("SEARCH") || found.is_sorted(), "{reply:?}");
    // Only it sets that keyword, so it knows what it has to find, but for what others have removed.
    let wanted = match command {
        it if *it == commands[0] => true,
        it if *it == commands[1] => false,
        _ => return,
    };
    for number in once {
        let uid = session.view.messages[number as usize - 1].uid;
        let is_marked = uid.and_then(|uid| marked.get(&uid));
        assert!(is_marked.is_none_or(|it| *it == wanted), "{command} found {number}, which is {is_marked:?}");
    }
}

fn mark(session: &mut Session, which: &Which, on: bool, number: usize, marked: &mut BTreeMap<u32, bool>) {
    let uids = known_uids(session, which);
    if uids.is_empty() {
        return;
    }
    let sign = if on { '+' } else { '-' };
    let command = format!("UID STORE {} {sign}FLAGS ({})", set(uids.iter().copied()), keyword(number));
    let reply = session.run(&command, UID_COMMAND);
    // Of those that are gone it is told nothing.
    let is_told = |uid: &u32| {
        let item = [format!("UID {uid} "), format!("UID {uid})")];
        reply.untagged.iter().any(|line| item.iter().any(|it| line.contains(it)))
    };
    marked.extend(uids.into_iter().filter(is_told).map(|uid| (uid, on)));
}

/// RFC 3501 §2.3.2: a message is recent to one session only.
fn note_recent(view: &View, who: usize, common: &Mutex<Common>) {
    let mut common = common.lock().unwrap();
    for uid in view.messages.iter().filter(|it| it.recent).filter_map(|it| it.uid) {
        let of = *common.recent_of.entry(uid).or_insert(who);
        assert_eq!(of, who, "UID {uid} is recent to two");
    }
}

impl Client {
    /// Sends what is no whole command, and is gone.
    fn tear(&mut self, text: &str) {
        let _ = write!(self.stream_mut(), "torn {text}");
        let _ = self.stream_mut().shutdown(Shutdown::Both);
    }
}
