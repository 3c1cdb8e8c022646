//! IMAP with many clients that do all kinds of things at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::imap::{filled, open, rest, ten_thousand, work};
use super::{Size, Work, at_once, measured, milliseconds, ninety_ninth, per_second};
use crate::client::Imap;
use crate::maildir;
use crate::peer::{Server, USERS};
use crate::process;
use crate::report::Figure;

/// Messages in a mailbox under mixed load.
const MESSAGES: usize = 500;
/// How often a session of the mixed load goes through its commands.
const TURNS: usize = 5;

pub(super) const WORKS: &[Work] = &[
    work("imap-mixed-20", "commands of all kinds, 20 clients", mailboxes, |server, size| {
        mixed(server, 20, size.of(10, 1))
    }),
    work("imap-mixed-100", "the same, 100 clients", mailboxes, |server, size| {
        mixed(server, 100, size.of(2, 1))
    }),
    work(
        "imap-latency-search",
        "NOOP and FETCH of new mail, 99th percentile, while another session searches 10,000 messages",
        ten_thousand,
        |server, size| {
            latency(server, |session| {
                (0..size.of(20, 2)).try_for_each(|number| {
                    session.command(&format!("SEARCH BODY \"message {number}7:\"")).map(|_| ())
                })
            })
        },
    ),
    work(
        "imap-latency-append",
        "the same, while another session appends 10,000 messages",
        ten_thousand,
        |server, size| {
            let text = maildir::message(0, 4096);
            latency(server, |session| {
                (0..size.of(10_000, 200)).try_for_each(|_| append(server, session, &text))
            })
        },
    ),
];

/// An INBOX and a mailbox to copy to for each account.
fn mailboxes(server: &Server, _: Size) -> Result<()> {
    for user in 0..USERS {
        filled(server, user, MESSAGES, 4096)?;
        let mut session = open(server, user, false)?;
        session.command("CREATE Copies")?;
        session.command("LOGOUT")?;
    }
    rest(server)
}

/// Each client logs in, works for some turns and logs out, `each` times over; counts commands.
fn mixed(server: &Server, clients: usize, each: usize) -> Result<Figure> {
    let text = maildir::message(0, 4096);
    let (counts, took, cpu) = measured(server, || {
        at_once(clients, |user| {
            (0..each).map(|number| mixed_session(server, user, number, &text)).sum::<Result<usize>>()
        })
    })?;
    Ok(per_second(counts.iter().sum(), took, cpu))
}

fn mixed_session(server: &Server, user: usize, number: usize, text: &str) -> Result<usize> {
    let mut count = 4;
    let mut session = open(server, user, false)?;
    session.command("SELECT INBOX")?;
    // A message changes once a round, as with STORE alone.
    let first = 1 + number * TURNS % MESSAGES;
    let sign = if session.says(&format!("FETCH {first} FLAGS"), "\\Flagged")? { '-' } else { '+' };
    for message in first..first + TURNS {
        let commands = [
            &format!(
                "FETCH {}:{message} (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)",
                message.saturating_sub(19).max(1)
            ),
            &format!("FETCH {message} BODY.PEEK[]"),
            &format!("STORE {message} {sign}FLAGS (\\Flagged)"),
            &format!("COPY {message} Copies"),
            "SEARCH UNSEEN SUBJECT \"number\"",
            "STATUS Copies (MESSAGES UIDNEXT UNSEEN)",
        ];
        for command in commands {
            session.command(command)?;
        }
        session.append("INBOX", text.as_bytes())?;
        for command in ["NOOP", "STORE * +FLAGS.SILENT (\\Deleted)", "EXPUNGE"] {
            session.command(command)?;
        }
        count += commands.len() + 4;
    }
    session.command("LOGOUT")?;
    Ok(count)
}

/// How long a session waits for new mail, again and again, while another does `work` in the same mailbox.
fn latency(server: &Server, work: impl FnOnce(&mut Imap) -> Result<()> + Send) -> Result<Figure> {
    let (mut busy, mut reader, mut sender) = (selected(server)?, selected(server)?, open(server, 0, false)?);
    let text = maildir::message(0, 4096);
    let done = AtomicBool::new(false);
    let cpu = process::cpu(server.pid);
    let times = std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let result = work(&mut busy);
            done.store(true, Ordering::Release);
            result
        });
        let mut times: Vec<Duration> = Vec::new();
        while !done.load(Ordering::Acquire) {
            sender.append("INBOX", text.as_bytes())?;
            let began = Instant::now();
            reader.command("NOOP")?;
            reader.command("FETCH * (UID FLAGS ENVELOPE BODY.PEEK[])")?;
            times.push(began.elapsed());
        }
        working.join().map_err(|_| anyhow!("the busy client panicked"))?.context("in the busy session")?;
        Ok::<_, anyhow::Error>(times)
    })?;
    Ok(milliseconds(ninety_ninth(times), process::cpu(server.pid).saturating_sub(cpu)))
}

/// Stores a message, over a new connection where the server has closed the one that there was.
fn append(server: &Server, session: &mut Imap, text: &str) -> Result<()> {
    let Err(error) = session.append("INBOX", text.as_bytes()) else { return Ok(()) };
    eprintln!("{}: {error:#}; it is connected to again", server.name);
    *session = selected(server)?;
    session.append("INBOX", text.as_bytes())
}

fn selected(server: &Server) -> Result<Imap> {
    let mut session = open(server, 0, false)?;
    session.command("SELECT INBOX")?;
    Ok(session)
}
