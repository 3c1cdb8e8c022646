//! SMTP with sessions that wait, and what is waited for.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::smtp::{open, work};
use super::{Size, Work, address, imap, measured, memory_of_each, milliseconds};
use crate::client::Smtp;
use crate::maildir;
use crate::peer::{Peer, Server};
use crate::report::Figure;

/// Sessions that Postfix holds beside a few others: its default limit is 100 processes, one for each.
const POSTFIX: usize = 90;

pub(super) const WORKS: &[Work] = &[
    work("smtp-idle", "memory of an idle session, out of 2,000 (of Postfix 90)", |server, size| {
        let first = idle(server, 5)?;
        let count = held(server, size.of(2000, 50));
        let (more, figure) = memory_of_each(server, count, || idle(server, count))?;
        drop((first, more));
        Ok(figure)
    }),
    work("smtp-crowd", "a message while 10,000 sessions idle (of Postfix 90)", |server, size| {
        let crowd = idle(server, held(server, size.of(10_000, 50)))?;
        let text = maildir::message(0, 4096);
        let (session, took, cpu) = measured(server, || {
            let mut session = open(server)?;
            session.send(&[address(0)], text.as_bytes())?;
            Ok(session)
        })?;
        drop((session, crowd));
        Ok(milliseconds(took, cpu))
    }),
    Work {
        peer: Peer::Mailstead,
        ..work("smtp-notice", "from the last octet of DATA until a session in IDLE knows, median", notice)
    },
];

/// How many sessions the server holds of those that are wanted.
fn held(server: &Server, wanted: usize) -> usize {
    if server.name == "postfix" { POSTFIX.min(wanted) } else { wanted }
}

fn idle(server: &Server, count: usize) -> Result<Vec<Smtp>> {
    (0..count).map(|_| open(server)).collect()
}

/// And what the disk takes for the least that makes such a message durable.
fn notice(server: &Server, size: Size) -> Result<Figure> {
    let text = maildir::message(0, 4096);
    let mut waiting = imap::open(server, 0, false)?;
    waiting.command("SELECT INBOX")?;
    waiting.idle()?;
    let mut sending = open(server)?;
    let (mut noticed, mut replied, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    let ((), _, cpu) = measured(server, || {
        for number in 0..size.of(100, 5) {
            let sent = sending.send(&[address(0)], text.as_bytes())?;
            replied.push(sent.elapsed());
            waiting.until("EXISTS")?;
            noticed.push(sent.elapsed());
            stored.push(store(&server.maildir(1), number, text.as_bytes())?);
        }
        Ok(())
    })?;
    let waits = vec![(" of it until the 250", median(replied)), (" bare file and folder", median(stored))];
    Ok(Figure { waits, ..milliseconds(median(noticed), cpu) })
}

/// Writes a file as a Maildir has it, durably.
fn store(maildir: &Path, number: usize, text: &[u8]) -> Result<Duration> {
    let [tmp, new] = ["tmp", "new"].map(|part| maildir.join(part));
    std::fs::create_dir_all(&tmp)?;
    std::fs::create_dir_all(&new)?;
    let name = format!("{number}.bare");
    let began = Instant::now();
    let mut file = File::create(tmp.join(&name))?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(tmp.join(&name), new.join(&name))?;
    File::open(&new)?.sync_all()?;
    let took = began.elapsed();
    std::fs::remove_file(new.join(&name))?;
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
