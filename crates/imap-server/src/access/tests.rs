//! Every command with every right.

use std::io::Write as _;

use imap_proto::{Command, Request};
use mail_config::Config;
use mail_directory::Directory;
use mail_store::Store;
use mail_types::{Flags, Secret};

use super::*;
use crate::answer::{Output, Piece};
use crate::command::append::Appending;
use crate::server::Shared;
use crate::session::State;

/// Alice's mailboxes, and bob who is let into them.
struct World {
    shared: Arc<Shared>,
    alice: Arc<Account>,
    mailboxes: usize,
    _dir: tempfile::TempDir,
}

fn address(name: &str) -> Address {
    format!("{name}@example.org").parse().unwrap()
}

fn name(text: &str) -> MailboxName {
    text.parse().unwrap()
}

fn rights(text: &str) -> Rights {
    text.parse().unwrap()
}

impl World {
    fn new() -> Self {
        // In memory where the system has such: many mailboxes are made, each of which flushes.
        let in_memory = std::path::Path::new("/dev/shm");
        let of_system = std::env::temp_dir();
        let dir = tempfile::tempdir_in(if in_memory.is_dir() { in_memory } else { &of_system }).unwrap();
        let config = Config::new("mail.example.org".parse().unwrap(), dir.path().to_owned());
        let directory = Directory::open(&config.directory_file()).unwrap();
        directory.add_domain(&"example.org".parse().unwrap()).unwrap();
        let store = Store::open(&config.mail_dir()).unwrap();
        for user in ["alice", "bob"] {
            directory.add_account(&address(user), &Secret::new("long enough".to_owned())).unwrap();
            store.create_account(&address(user)).unwrap();
        }
        let alice = store.account(&address("alice")).unwrap();
        let (config, directory) = (Arc::new(config), Arc::new(directory));
        let shared = Shared { config, directory, store, events: mail_events::EventLog::off() };
        Self { shared: Arc::new(shared), alice, mailboxes: 0, _dir: dir }
    }

    fn session(&self, user: &str) -> Session {
        let owner = Arc::new(Owner { address: address(user), shared: Arc::clone(&self.shared) });
        let state = State::Authenticated(self.shared.store.account(&address(user)).unwrap());
        Session { state, owner: Some(owner), ..Session::new() }
    }

    /// A mailbox with two messages and one below it, where bob has these rights; and its name.
    fn mailbox(&mut self, rights: Rights) -> String {
        self.mailboxes += 1;
        let mailbox = format!("M{}", self.mailboxes);
        for mailbox in [mailbox.clone(), format!("{mailbox}/below")] {
            self.alice.create(&name(&mailbox), None).unwrap();
            self.alice
                .change_acl(&name(&mailbox), |acl| acl.set(Identifier::from("bob@example.org"), rights))
                .unwrap();
        }
        for _ in 0..2 {
            let mut append = self.alice.open(&name(&mailbox)).unwrap().append(Flags::new(), None).unwrap();
            append.write_all(b"Subject: x\r\n\r\nx\r\n").unwrap();
            append.commit().unwrap();
        }
        mailbox
    }
}

/// What the session answers behind the tag, and all before it.
fn answered(session: &mut Session, line: &str) -> (String, String) {
    let request = Request::parse(format!("a {line}").as_bytes()).unwrap();
    let mut out = Output::new(Language::Unchosen);
    if let Command::Append(request) = &request.command {
        let result = Appending::start(session, request).map(|_| Text::Done.into());
        session.finish(&"a", result, true, &mut out);
    } else {
        let mut progress = session.handle(request, 0, &mut out);
        while let crate::session::Progress::Fetching(job) = progress {
            progress = session.go_on(*job, &mut out);
        }
    }
    let pieces = out.take().into_iter().map(|piece| match piece {
        Piece::Octets(octets) => String::from_utf8(octets).unwrap(),
        Piece::File(..) => String::new(),
    });
    let all: String = pieces.collect();
    let (before, last) = all.trim_end().rsplit_once("\r\n").unwrap_or(("", all.trim_end()));
    (before.to_owned(), last.strip_prefix("a ").unwrap_or(last).to_owned())
}

/// What a command comes to, in the mailbox itself or below it. `%` stands for the mailbox's name.
fn outcome(world: &mut World, is_selected: bool, command: &str, given: Rights) -> String {
    let mailbox = format!("\"Other Users/alice@example.org/{}\"", world.mailbox(given));
    let mut session = world.session("bob");
    if is_selected {
        let (_, selected) = answered(&mut session, &format!("SELECT {mailbox}"));
        if !selected.starts_with("OK") {
            return selected;
        }
        answered(&mut session, "STORE 1 +FLAGS (\\Deleted)");
    }
    let below = format!("{}/", mailbox.trim_end_matches('"'));
    let outcome = answered(&mut session, &command.replace("%/", &below).replace('%', &mailbox)).1;
    for entry in world
        .alice
        .mailboxes()
        .unwrap()
        .into_iter()
        .filter(|it| it.selectable && it.name.as_str().starts_with('M'))
    {
        world.alice.delete(&entry.name).unwrap();
    }
    outcome
}

/// Each command, whether it is one of the selected state, and the rights that it takes. RFC 4314 §4.
const COMMANDS: [(&str, bool, &str); 39] = [
    ("SELECT %", false, "r"),
    ("EXAMINE %", false, "r"),
    ("STATUS % (MESSAGES)", false, "r"),
    ("GETQUOTAROOT %", false, "r"),
    ("GETMETADATA % /shared/comment", false, "l"),
    ("SETMETADATA % (/shared/comment \"x\")", false, "lw"),
    ("SETMETADATA % (/private/comment \"x\")", false, "l"),
    ("CREATE %/new\"", false, "k"),
    ("CREATE %/below/new\"", false, "k"),
    ("DELETE %", false, "x"),
    ("RENAME %/below\" %/other\"", false, "kx"),
    ("SETACL % alice lr", false, "a"),
    ("DELETEACL % alice", false, "a"),
    ("GETACL %", false, "a"),
    ("LISTRIGHTS % alice", false, "a"),
    ("MYRIGHTS %", false, ""),
    ("SUBSCRIBE %", false, ""),
    ("UNSUBSCRIBE %", false, ""),
    ("LIST \"\" %", false, ""),
    ("LSUB \"\" %", false, ""),
    ("ESEARCH IN (mailboxes %) ALL", false, ""),
    ("APPEND % ", false, "i"),
    ("FETCH 1 (BODY[])", true, "r"),
    ("SEARCH ALL", true, "r"),
    ("STORE 2 +FLAGS (\\Seen)", true, "rs"),
    ("STORE 2 -FLAGS (\\Deleted)", true, "rt"),
    ("STORE 2 +FLAGS.SILENT (\\Answered)", true, "rw"),
    ("STORE 2 FLAGS (\\Flagged)", true, "rw"),
    ("STORE 2 +FLAGS (\\Draft)", true, "rw"),
    ("STORE 2 +FLAGS ($Work)", true, "rw"),
    ("EXPUNGE", true, "re"),
    ("UID EXPUNGE 1", true, "re"),
    ("CLOSE", true, "r"),
    ("UNSELECT", true, "r"),
    ("COPY 1 %", true, "ri"),
    ("COPY 1 Archive", true, "r"),
    ("MOVE 1 %", true, "rite"),
    ("MOVE 1 Archive", true, "rte"),
    ("REPLACE 1 % ", true, "rite"),
];

#[test]
fn every_command_takes_the_rights_of_the_standard_and_no_others() {
    let mut world = World::new();
    for (command, is_selected, needed) in COMMANDS {
        let needed = rights(needed);
        for missing in Rights::ALL.iter() {
            let outcome = outcome(&mut world, is_selected, command, Rights::ALL.without(missing));
            let is_done = outcome.starts_with("OK");
            assert_eq!(
                is_done,
                !needed.contains(missing),
                "{command} without {}: {outcome}",
                missing.letters()
            );
            if !is_done && missing != Rights::LOOKUP {
                assert!(
                    outcome.starts_with("NO [NOPERM]"),
                    "{command} without {}: {outcome}",
                    missing.letters()
                );
            }
        }
        // MYRIGHTS takes any right, and annotations take any of the content's beside `l`.
        let least = match command {
            "MYRIGHTS %" => Rights::LOOKUP,
            _ if command.contains("METADATA") => needed.union(Rights::SEEN),
            _ => needed,
        };
        let outcome = outcome(&mut world, is_selected, command, least);
        assert!(outcome.starts_with("OK"), "{command} with {}: {outcome}", least.letters());
    }
}

/// RFC 4314 §6: nothing tells a mailbox that one may not see from one that is not there.
#[test]
fn what_may_not_be_seen_is_as_what_is_not_there() {
    let mut world = World::new();
    for (command, is_selected, needed) in
        COMMANDS.into_iter().filter(|(command, ..)| !command.contains("Archive"))
    {
        let hidden = outcome(&mut world, is_selected, command, Rights::POST);
        let absent = command
            .replace("%/", "\"Other Users/alice@example.org/Nowhere/")
            .replace('%', "\"Other Users/alice@example.org/Nowhere\"");
        let mut session = world.session("bob");
        let absent =
            if is_selected { "SELECT \"Other Users/alice@example.org/Nowhere\"".to_owned() } else { absent };
        let (before, absent) = answered(&mut session, &absent);
        assert_eq!(hidden, absent, "{command}");
        assert_eq!(before, "", "{command}");
        let is_refused = ["NO [NONEXISTENT]", "NO [TRYCREATE]"].iter().any(|it| hidden.starts_with(it));
        assert_eq!(is_refused, !needed.is_empty() || command.starts_with("MYRIGHTS"), "{command}: {hidden}");
    }
}

#[test]
fn only_what_may_be_looked_up_is_listed() {
    let mut world = World::new();
    let listed: Vec<(Rights, String)> =
        Rights::ALL.iter().map(|right| (right, world.mailbox(right))).collect();
    let mut session = world.session("bob");
    let (before, _) = answered(&mut session, "LIST \"\" \"Other Users/*\" RETURN (MYRIGHTS)");
    for (right, mailbox) in listed {
        let shown = format!("\"Other Users/alice@example.org/{mailbox}\"");
        assert_eq!(before.contains(&shown), right == Rights::LOOKUP, "{}", right.letters());
    }
    assert!(before.contains("* MYRIGHTS \"Other Users/alice@example.org/M1\" l\r\n"), "{before}");
}

/// RFC 4314 §5.2, §5.1.1.
#[test]
fn select_tells_what_may_be_changed() {
    let mut world = World::new();
    let kept = "$Forwarded $MDNSent $Junk $NotJunk $Phishing \\*";
    for (given, mode, flags) in [
        ("lr", "READ-ONLY", String::new()),
        ("lrs", "READ-ONLY", "\\Seen".to_owned()),
        ("lrt", "READ-WRITE", "\\Deleted".to_owned()),
        ("lri", "READ-WRITE", String::new()),
        ("lre", "READ-WRITE", String::new()),
        ("lrw", "READ-WRITE", format!("\\Answered \\Flagged \\Draft {kept}")),
        ("lrsw", "READ-WRITE", format!("\\Answered \\Flagged \\Seen \\Draft {kept}")),
        ("lrswt", "READ-WRITE", format!("\\Answered \\Flagged \\Deleted \\Seen \\Draft {kept}")),
    ] {
        let mailbox = world.mailbox(rights(given));
        let mut session = world.session("bob");
        let (before, last) =
            answered(&mut session, &format!("SELECT \"Other Users/alice@example.org/{mailbox}\""));
        assert!(last.starts_with(&format!("OK [{mode}]")), "{given}: {last}");
        assert!(before.contains(&format!("[PERMANENTFLAGS ({flags})]")), "{given}: {before}");
    }
}

/// RFC 4314 §4: of several flags those are set that may be.
#[test]
fn a_store_of_several_flags_does_what_is_allowed() {
    let mut world = World::new();
    for (given, command, after) in [
        ("lrs", "+FLAGS.SILENT (\\Seen \\Flagged)", "\\Deleted \\Seen"),
        ("lrw", "+FLAGS (\\Seen \\Flagged $k)", "\\Flagged \\Deleted $k"),
        ("lrs", "FLAGS (\\Seen)", "\\Deleted \\Seen"),
        ("lrw", "FLAGS (\\Flagged \\Seen)", "\\Flagged \\Deleted"),
        ("lrt", "FLAGS ()", ""),
        ("lrs", "-FLAGS (\\Deleted \\Seen)", "\\Deleted"),
    ] {
        let mailbox = world.mailbox(rights(given));
        let uid = mail_types::Uid::MIN;
        let change = mail_store::FlagChange::Add([mail_types::Flag::Deleted].into_iter().collect());
        world.alice.open(&name(&mailbox)).unwrap().store(&[uid], &change).unwrap();
        let mut session = world.session("bob");
        answered(&mut session, &format!("SELECT \"Other Users/alice@example.org/{mailbox}\""));
        let (before, last) = answered(&mut session, &format!("STORE 1 {command}"));
        assert!(last.starts_with("OK"), "{given} {command}: {last}");
        assert!(before.contains(&format!("FLAGS ({after})")), "{given} {command}: {before}");
    }
}

/// RFC 4314 §4, the example of COPY: what may not be set is lost, and nothing fails.
#[test]
fn copied_and_appended_messages_get_the_flags_that_may_be_set() {
    let mut world = World::new();
    for (given, expected) in [
        ("lrwis", ["\\Draft", "\\Answered", "\\Seen $Forwarded"]),
        ("lrsti", ["\\Deleted", "", "\\Seen"]),
        ("lri", ["", "", ""]),
    ] {
        let target = format!("\"Other Users/alice@example.org/{}\"", world.mailbox(rights(given)));
        let own = world.shared.store.account(&address("bob")).unwrap();
        own.create(&name(given), None).unwrap();
        let own = own.open(&name(given)).unwrap();
        let sources = ["\\Draft \\Deleted", "\\Answered", "$Forwarded \\Seen"];
        for _ in sources {
            let mut append = own.append(Flags::new(), None).unwrap();
            append.write_all(b"x\r\n").unwrap();
            append.commit().unwrap();
        }
        let mut session = world.session("bob");
        answered(&mut session, &format!("SELECT {given}"));
        for (number, flags) in (1..).zip(sources) {
            answered(&mut session, &format!("STORE {number} FLAGS ({flags})"));
        }
        let (_, last) = answered(&mut session, &format!("COPY 1:3 {target}"));
        assert!(last.starts_with("OK [COPYUID"), "{last}");
        answered(&mut session, &format!("SELECT {target}"));
        let (before, _) = answered(&mut session, "FETCH 3:5 (FLAGS)");
        let lines: Vec<String> = (3..)
            .zip(expected)
            .map(|(number, flags)| format!("* {number} FETCH (FLAGS ({flags}))"))
            .collect();
        assert_eq!(before, lines.join("\r\n"));
    }
}

/// RFC 5464 §3.2, §3.3: what is private in a mailbox each user has for himself.
#[test]
fn private_annotations_are_each_users_own() {
    let mut world = World::new();
    let mailbox = world.mailbox(rights("lrw"));
    let shown = format!("\"Other Users/alice@example.org/{mailbox}\"");
    let (mut alice, mut bob) = (world.session("alice"), world.session("bob"));
    answered(&mut alice, &format!("SETMETADATA {mailbox} (/private/comment \"a\" /shared/comment \"s\")"));
    let all = |session: &mut Session, name: &str| {
        let (before, _) =
            answered(session, &format!("GETMETADATA {name} (DEPTH infinity) (/private /shared)"));
        before.replace(&format!("* METADATA {name} "), "")
    };
    assert_eq!(all(&mut bob, &shown), "(/shared/comment \"s\")");
    let (_, last) =
        answered(&mut bob, &format!("SETMETADATA {shown} (/private/comment \"b\" /shared/comment \"t\")"));
    assert!(last.starts_with("OK"), "{last}");
    assert_eq!(all(&mut bob, &shown), "(/private/comment \"b\" /shared/comment \"t\")");
    let own = format!("\"{mailbox}\"");
    assert_eq!(all(&mut alice, &own), "(/private/comment \"a\" /shared/comment \"t\")");
    let (listed, _) = answered(&mut bob, &format!("LIST \"\" {shown} RETURN (METADATA (/private/comment))"));
    assert!(listed.ends_with("(/private/comment \"b\")"), "{listed}");
    answered(&mut bob, &format!("SETMETADATA {shown} (/private/comment NIL)"));
    assert_eq!(all(&mut bob, &shown), "(/shared/comment \"t\")");
    assert_eq!(all(&mut alice, &own), "(/private/comment \"a\" /shared/comment \"t\")");
    let (_, last) = answered(&mut bob, &format!("SETMETADATA {shown} (/private/specialuse \"\\\\Sent\")"));
    assert!(last.starts_with("NO [USEATTR]"), "{last}");
}

/// RFC 5464 §3.3: with `l` and any one of `r`, `s`, `w`, `i` and `p`.
#[test]
fn annotations_take_lookup_and_any_right_to_the_content() {
    let mut world = World::new();
    for right in Rights::ALL.without(Rights::LOOKUP).iter() {
        let is_of_content = rights("rswip").contains(right);
        for command in ["GETMETADATA % /shared/comment", "SETMETADATA % (/private/comment \"x\")"] {
            let outcome = outcome(&mut world, false, command, Rights::LOOKUP.union(right));
            let expected = if is_of_content { "OK" } else { "NO [NOPERM]" };
            assert!(outcome.starts_with(expected), "{command} with l{}: {outcome}", right.letters());
        }
    }
}

/// What is in another's mailbox counts for him.
#[test]
fn the_owners_quota_holds() {
    let mut world = World::new();
    let setting = |messages| mail_directory::QuotaSetting {
        messages: mail_directory::Limit::AtMost(messages),
        ..mail_directory::QuotaSetting::default()
    };
    world.shared.directory.set_quota(&address("alice"), setting(2)).unwrap();
    let mailbox = format!("\"Other Users/alice@example.org/{}\"", world.mailbox(rights("lrwi")));
    let mut session = world.session("bob");
    let (before, _) = answered(&mut session, &format!("GETQUOTAROOT {mailbox}"));
    let root = "\"User quota of alice@example.org\"";
    assert_eq!(before, format!("* QUOTAROOT {mailbox} {root}\r\n* QUOTA {root} (MESSAGE 2 2)"));
    let (again, last) = answered(&mut session, &format!("GETQUOTA {root}"));
    assert_eq!(
        (again.as_str(), last.as_str()),
        ("* QUOTA \"User quota of alice@example.org\" (MESSAGE 2 2)", "OK Done")
    );
    assert!(
        answered(&mut session, "GETQUOTA \"User quota of nobody@example.org\"")
            .1
            .starts_with("NO [NONEXISTENT]")
    );
    answered(&mut session, &format!("SELECT {mailbox}"));
    assert!(answered(&mut session, &format!("COPY 1 {mailbox}")).1.starts_with("NO [OVERQUOTA]"));
    assert!(answered(&mut session, "COPY 1 Archive").1.starts_with("OK"));
}
