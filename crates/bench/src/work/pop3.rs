use anyhow::{Context, Result};

use super::{Size, Work, address, as_it_is, at_once, measured, megabytes, nothing, per_second};
use crate::client::Pop3;
use crate::maildir;
use crate::peer::{PASSWORD, Peer, Server};
use crate::report::Figure;

pub(super) const WORKS: &[Work] = &[
    Work {
        name: "pop3-login",
        what: "login, STAT, QUIT, 8 clients",
        peer: Peer::Dovecot,
        prepare: nothing,
        before: as_it_is,
        run: log_in,
    },
    Work {
        name: "pop3-retr",
        what: "RETR of 2,000 messages of 10 KB",
        peer: Peer::Dovecot,
        prepare: filled,
        before: as_it_is,
        run: retrieve,
    },
];

const fn messages(size: Size) -> usize {
    size.of(2000, 100)
}

fn filled(server: &Server, size: Size) -> Result<()> {
    maildir::fill(&server.maildir(0), messages(size), 10_000)?;
    server.maildir(0).parent().map_or(Ok(()), |home| server.hand_over(home))
}

fn open(server: &Server, user: usize) -> Result<Pop3> {
    Pop3::open(server.ports.pop3.context("no POP3")?, &address(user), PASSWORD)
}

fn log_in(server: &Server, size: Size) -> Result<Figure> {
    let (clients, each) = (8, size.of(250, 10));
    let (_, took, cpu) = measured(server, || {
        at_once(clients, |user| {
            (0..each).try_for_each(|_| {
                let mut session = open(server, user)?;
                session.command("STAT")?;
                session.command("QUIT")
            })
        })
    })?;
    Ok(per_second(clients * each, took, cpu))
}

fn retrieve(server: &Server, size: Size) -> Result<Figure> {
    let mut session = open(server, 0)?;
    let (octets, took, cpu) = measured(server, || {
        (1..=messages(size)).map(|number| session.lines(&format!("RETR {number}"))).sum::<Result<u64>>()
    })?;
    session.command("QUIT")?;
    Ok(megabytes(octets, took, cpu))
}
