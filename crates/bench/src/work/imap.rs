use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{
    Size, Work, address, as_it_is, at_once, measured, megabytes, memory_of_each, milliseconds, nothing,
    per_second, with_each,
};
use crate::client::Imap;
use crate::maildir;
use crate::peer::{PASSWORD, Peer, Server};
use crate::process;
use crate::report::Figure;

/// A server that does nothing for so long is at rest.
const REST: Duration = Duration::from_secs(4);

pub(super) const WORKS: &[Work] = &[
    work("imap-login", "LOGIN SELECT LOGOUT, 8 clients", nothing, |server, size| log_in(server, size, false)),
    work("imap-login-tls", "the same under TLS", nothing, |server, size| log_in(server, size, true)),
    work(
        "imap-select",
        "SELECT of 100,000 messages, again",
        |s, z| filled(s, 0, z.of(100_000, 1000), 400),
        |s, z| timed(s, &["SELECT INBOX"; 20], z),
    ),
    Work {
        before: Server::restart,
        ..work(
            "imap-open",
            "the first SELECT of 100,000 messages after a restart",
            |s, z| filled(s, 0, z.of(100_000, 1000), 400),
            opened,
        )
    },
    Work {
        before: without_index,
        ..work(
            "imap-open-anew",
            "the same with the index deleted",
            |s, z| filled(s, 0, z.of(100_000, 1000), 400),
            opened,
        )
    },
    work(
        "imap-flags",
        "FETCH 1:* (UID FLAGS), 100,000 messages",
        |s, z| filled(s, 0, z.of(100_000, 1000), 400),
        |s, z| timed(s, &["FETCH 1:* (UID FLAGS)"], z),
    ),
    work(
        "imap-envelope",
        "FETCH 1:* (ENVELOPE BODYSTRUCTURE), 10,000 messages, warm",
        ten_thousand,
        |s, z| timed(s, &["FETCH 1:* (ENVELOPE BODYSTRUCTURE)"], z),
    ),
    work(
        "imap-bodies",
        "UID FETCH of 10,000 whole messages of 10 KB",
        |s, z| filled(s, 0, z.of(10_000, 100), 10_000),
        bodies,
    ),
    work("imap-append-1", "APPEND of 10 KB, 1 session", nothing, |server, size| {
        append(server, 1, size.of(400, 20))
    }),
    work("imap-append-16", "the same, 16 sessions", nothing, |server, size| {
        append(server, 16, size.of(50, 5))
    }),
    work(
        "imap-append-large",
        "the same, 1 session, into a mailbox of 10,000",
        ten_thousand,
        |server, size| append(server, 1, size.of(400, 20)),
    ),
    work("imap-store-1", "STORE of one flag, 1 session", ten_thousand, |server, size| {
        store(server, 1, size.of(1000, 50))
    }),
    work("imap-store-8", "the same, 8 sessions on one mailbox", ten_thousand, |server, size| {
        store(server, 8, size.of(200, 20))
    }),
    work("imap-store-all", "STORE of a flag on 10,000 messages", ten_thousand, |s, z| {
        timed(s, &["STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)"], z)
    }),
    work("imap-search-body", "SEARCH BODY over 10,000 messages", ten_thousand_at_rest, |s, z| {
        timed(s, &["SEARCH BODY \"message 77:\""], z)
    }),
    work("imap-search-text", "SEARCH TEXT over 10,000 messages, all found", ten_thousand_at_rest, |s, z| {
        timed(s, &["SEARCH TEXT \"quick brown\""], z)
    }),
    work("imap-search-header", "SEARCH SUBJECT over 10,000 messages", ten_thousand, |s, z| {
        timed(s, &["SEARCH SUBJECT \"number 77\""], z)
    }),
    work("imap-sort", "SORT (SUBJECT DATE) over 10,000 messages", ten_thousand, |s, z| {
        timed(s, &["SORT (SUBJECT DATE) UTF-8 ALL"], z)
    }),
    work("imap-thread", "THREAD REFERENCES over 10,000 messages", ten_thousand, |s, z| {
        timed(s, &["THREAD REFERENCES UTF-8 ALL"], z)
    }),
    work("imap-idle-1k", "memory of an idle session, out of 1,000", nothing, |server, size| {
        idle_memory(server, size.of(1000, 50), false)
    }),
    work("imap-idle-1k-tls", "the same under TLS", nothing, |server, size| {
        idle_memory(server, size.of(1000, 50), true)
    }),
    work("imap-idle-10k", "memory of an idle session, out of 10,000", nothing, |server, size| {
        idle_memory(server, size.of(10_000, 50), false)
    }),
    work("imap-idle-10k-tls", "the same under TLS", nothing, |server, size| {
        idle_memory(server, size.of(10_000, 50), true)
    }),
    work("imap-watchers", "until 1,000 sessions in IDLE know of new mail", nothing, watchers),
];

pub(super) const fn work(
    name: &'static str,
    what: &'static str,
    prepare: fn(&Server, Size) -> Result<()>,
    run: fn(&Server, Size) -> Result<Figure>,
) -> Work {
    Work { name, what, peer: Peer::Dovecot, prepare, before: as_it_is, run }
}

/// Fills the INBOX of an account and has it opened once.
pub(super) fn filled(server: &Server, user: usize, count: usize, octets: usize) -> Result<()> {
    maildir::fill(&server.maildir(user), count, octets)?;
    if let Some(home) = server.maildir(user).parent() {
        server.hand_over(home)?;
    }
    let mut session = open(server, user, false)?;
    session.command("SELECT INBOX")?;
    session.command("FETCH 1:* (ENVELOPE BODYSTRUCTURE)")?;
    session.command("LOGOUT").map(|_| ())
}

pub(super) fn ten_thousand(server: &Server, size: Size) -> Result<()> {
    filled(server, 0, size.of(10_000, 500), 4096)
}

/// And waits until the server has done what it does beside the work, such as to index texts.
fn ten_thousand_at_rest(server: &Server, size: Size) -> Result<()> {
    ten_thousand(server, size)?;
    rest(server)
}

/// Waits until the server does nothing more.
pub(super) fn rest(server: &Server) -> Result<()> {
    for _ in 0..200 {
        let before = process::cpu(server.pid);
        std::thread::sleep(REST);
        if process::cpu(server.pid) - before < REST / 100 {
            return Ok(());
        }
    }
    anyhow::bail!("the server comes to no rest")
}

pub(super) fn open(server: &Server, user: usize, under_tls: bool) -> Result<Imap> {
    let tls = server.tls();
    let mut session = if under_tls {
        Imap::open(server.ports.imaps.context("no IMAPS")?, Some(&tls))?
    } else {
        Imap::open(server.ports.imap.context("no IMAP")?, None)?
    };
    session.log_in(&address(user), PASSWORD)?;
    Ok(session)
}

fn log_in(server: &Server, size: Size, under_tls: bool) -> Result<Figure> {
    let (clients, each) = (8, size.of(250, 10));
    let (_, took, cpu) = measured(server, || {
        at_once(clients, |user| {
            (0..each).try_for_each(|_| {
                let mut session = open(server, user, under_tls)?;
                session.command("SELECT INBOX")?;
                session.command("LOGOUT").map(|_| ())
            })
        })
    })?;
    Ok(per_second(clients * each, took, cpu))
}

/// The time that the commands take, on average, in a session that has the mailbox open.
fn timed(server: &Server, commands: &[&str], _: Size) -> Result<Figure> {
    let mut session = open(server, 0, false)?;
    session.command("SELECT INBOX")?;
    let (_, took, cpu) =
        measured(server, || commands.iter().try_for_each(|command| session.command(command).map(|_| ())))?;
    let count = u32::try_from(commands.len()).unwrap_or(1);
    Ok(milliseconds(took / count, cpu / count))
}

/// The first SELECT of a session, while the server knows only what is on the disk.
fn opened(server: &Server, _: Size) -> Result<Figure> {
    let mut session = open(server, 0, false)?;
    let (_, took, cpu) = measured(server, || session.command("SELECT INBOX"))?;
    session.command("LOGOUT")?;
    Ok(milliseconds(took, cpu))
}

/// Starts the server anew after all that it can make again from the Maildir was deleted: ours is `index.sqlite` with what
/// belongs to it, Dovecot's are its indexes and the list of UIDs.
fn without_index(server: &mut Server) -> Result<()> {
    server.restart()?;
    let maildir = server.maildir(0);
    for folder in [maildir.parent().unwrap_or(&maildir), &maildir] {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if ["index.sqlite", "dovecot.index", "dovecot-uidlist"].iter().any(|it| name.starts_with(it)) {
                std::fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

fn bodies(server: &Server, _: Size) -> Result<Figure> {
    let mut session = open(server, 0, false)?;
    session.command("SELECT INBOX")?;
    let (octets, took, cpu) = measured(server, || session.command("UID FETCH 1:* (UID BODY.PEEK[])"))?;
    Ok(megabytes(octets, took, cpu))
}

fn append(server: &Server, sessions: usize, each: usize) -> Result<Figure> {
    let text = maildir::message(0, 10_000);
    let open = (0..sessions).map(|user| open(server, user, false)).collect::<Result<Vec<_>>>()?;
    let (_, took, cpu) = measured(server, || {
        with_each(open, |mut session| (0..each).try_for_each(|_| session.append("INBOX", text.as_bytes())))
    })?;
    Ok(per_second(sessions * each, took, cpu))
}

fn store(server: &Server, sessions: usize, each: usize) -> Result<Figure> {
    let selected = |number| {
        let mut session = open(server, 0, false)?;
        session.command("SELECT INBOX").map(|_| (number, session))
    };
    let mut open = (0..sessions).map(selected).collect::<Result<Vec<_>>>()?;
    // What one round sets the next one takes away, so that each message changes once a round: Dovecot looks at the whole
    // folder when it is to rename a file a second time.
    let (_, session) = open.first_mut().context("no sessions")?;
    let sign = if session.says("FETCH 1 FLAGS", "\\Flagged")? { '-' } else { '+' };
    let (_, took, cpu) = measured(server, || {
        with_each(open, |(number, mut session)| {
            (0..each).try_for_each(|at| {
                let message = 1 + number + at * sessions;
                session.command(&format!("STORE {message} {sign}FLAGS.SILENT (\\Flagged)")).map(|_| ())
            })
        })
    })?;
    Ok(per_second(sessions * each, took, cpu))
}

fn idle_memory(server: &Server, sessions: usize, under_tls: bool) -> Result<Figure> {
    let open_idle = |user: usize| {
        let mut session = open(server, user, under_tls)?;
        session.command("SELECT INBOX")?;
        session.idle()?;
        Ok::<_, anyhow::Error>(session)
    };
    // What the first sessions of a process cost is not what the next one does.
    let first = (0..20).map(open_idle).collect::<Result<Vec<_>>>()?;
    let (more, figure) = memory_of_each(server, sessions, || {
        (0..sessions).map(|number| open_idle(number % 20)).collect::<Result<Vec<_>>>()
    })?;
    drop((first, more));
    Ok(figure)
}

fn watchers(server: &Server, size: Size) -> Result<Figure> {
    let count = size.of(1000, 20);
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let mut session = open(server, 0, false)?;
        session.command("SELECT INBOX")?;
        session.idle()?;
        sessions.push(session);
    }
    let maildir = server.maildir(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let name = format!("{}.M{}P1.bench", now.as_secs(), now.subsec_micros());
    std::fs::write(maildir.join("tmp").join(&name), maildir::message(0, 4096))?;
    server.hand_over(&maildir.join("tmp").join(&name))?;
    let ((), took, cpu) = measured(server, || {
        std::fs::rename(maildir.join("tmp").join(&name), maildir.join("new").join(&name))?;
        sessions.iter_mut().try_for_each(|session| session.until("EXISTS"))
    })?;
    Ok(milliseconds(took, cpu))
}
