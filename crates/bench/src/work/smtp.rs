use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Size, Work, address, as_it_is, at_once, measured, megabytes, ninety_ninth, nothing, per_second};
use crate::client::{Mail, Smtp, crowd, unverified};
use crate::maildir;
use crate::peer::{Peer, Server};
use crate::report::Figure;
use crate::signature;

pub(super) const WORKS: &[Work] = &[
    work("smtp-1", "4 KB to local accounts, 1 session", |server, size| {
        deliver(server, 1, size.of(1000, 20), 4096)
    }),
    work("smtp-20", "the same, 20 sessions", |server, size| deliver(server, 20, size.of(200, 5), 4096)),
    work("smtp-100", "the same, 100 sessions", |server, size| deliver(server, 100, size.of(50, 2), 4096)),
    work("smtp-500", "the same, 500 sessions", |server, size| deliver(server, 500, size.of(10, 1), 4096)),
    work("smtp-single", "20 clients, a session for each message", single),
    work("smtp-100k", "100 KB, 20 sessions", |server, size| {
        let sent = size.of(40, 2);
        in_megabytes(deliver(server, 20, sent, 100_000)?, 100_000)
    }),
    work("smtp-5m", "5 MB, 4 sessions", |server, size| {
        in_megabytes(deliver(server, 4, size.of(20, 1), 5_000_000)?, 5_000_000)
    }),
    work("smtp-recipients", "one message to 100 accounts", to_many),
    Work {
        peer: Peer::Judging,
        ..work(
            "verdicts-20",
            "4 KB signed, 20 sessions: what verdicts cost, from the same hosts",
            |server, size| {
                deliver_text(server, 20, size.of(200, 5), &signature::sign(&maildir::message(0, 4096))?)
            },
        )
    },
    work("smtp-starttls", "STARTTLS handshakes, 8 clients, the same certificate on both", handshakes),
    Work {
        peer: Peer::PostfixAsInstalled,
        ..work("smtp-starttls-own", "the same, each with the certificate of its installation", handshakes)
    },
];

pub(super) const fn work(
    name: &'static str,
    what: &'static str,
    run: fn(&Server, Size) -> Result<Figure>,
) -> Work {
    Work { name, what, peer: Peer::Postfix, prepare: nothing, before: as_it_is, run }
}

const ACCOUNTS: usize = 20;

pub(super) fn open(server: &Server) -> Result<Smtp> {
    Smtp::open(server.ports.smtp.context("no SMTP")?)
}

/// Every session sends so many messages; the time ends when the last one is in its mailbox.
fn deliver(server: &Server, sessions: usize, each: usize, octets: usize) -> Result<Figure> {
    deliver_text(server, sessions, each, &maildir::message(0, octets))
}

fn deliver_text(server: &Server, sessions: usize, each: usize, text: &str) -> Result<Figure> {
    let before = arrived(server, ACCOUNTS);
    let address = server.ports.smtp.context("no SMTP")?;
    let mail = Mail { recipients: (0..ACCOUNTS).map(super::address).collect(), text: text.into(), each };
    let (seen, took, cpu) = measured(server, || {
        let seen = crowd(address, sessions, mail)?;
        let sent = seen.iter().map(|session| session.messages.len()).sum::<usize>();
        until_arrived(server, ACCOUNTS, before + sent).map(|()| seen)
    })?;
    let longest = seen.iter().map(|session| session.greeted).max().unwrap_or_default();
    let times: Vec<Duration> = seen.into_iter().flat_map(|session| session.messages).collect();
    let figure = per_second(times.len(), took, cpu);
    let waits = vec![(" longest to greeting", longest), (" message, 99th percent.", ninety_ninth(times))];
    Ok(Figure { waits, ..figure })
}

fn single(server: &Server, size: Size) -> Result<Figure> {
    let (clients, each) = (20, size.of(100, 5));
    let text = maildir::message(0, 4096);
    let before = arrived(server, ACCOUNTS);
    let ((), took, cpu) = measured(server, || {
        at_once(clients, |number| {
            for _ in 0..each {
                let mut session = open(server)?;
                session.send(&[address(number % ACCOUNTS)], text.as_bytes())?;
                session.quit()?;
            }
            Ok(())
        })?;
        until_arrived(server, ACCOUNTS, before + clients * each)
    })?;
    Ok(per_second(clients * each, took, cpu))
}

fn to_many(server: &Server, size: Size) -> Result<Figure> {
    const RECIPIENTS: usize = 100;
    let recipients: Vec<String> = (0..RECIPIENTS).map(address).collect();
    let text = maildir::message(0, 4096);
    let (before, sent) = (arrived(server, RECIPIENTS), size.of(20, 2));
    let ((), took, cpu) = measured(server, || {
        let mut session = open(server)?;
        for _ in 0..sent {
            session.send(&recipients, text.as_bytes())?;
        }
        session.quit()?;
        until_arrived(server, RECIPIENTS, before + sent * RECIPIENTS)
    })?;
    Ok(per_second(sent * RECIPIENTS, took, cpu))
}

fn handshakes(server: &Server, size: Size) -> Result<Figure> {
    let (clients, each) = (8, size.of(100, 5));
    let tls = unverified();
    let (_, took, cpu) = measured(server, || {
        at_once(clients, |_| (0..each).try_for_each(|_| open(server)?.secure(&tls)?.quit()))
    })?;
    Ok(per_second(clients * each, took, cpu))
}

#[expect(clippy::cast_precision_loss, clippy::unnecessary_wraps, reason = "message sizes are far below 2^52")]
fn in_megabytes(figure: Figure, octets: usize) -> Result<Figure> {
    let unit = megabytes(0, Duration::from_secs(1), Duration::ZERO).unit;
    Ok(Figure { value: figure.value * octets as f64 / 1e6, unit, ..figure })
}

fn arrived(server: &Server, accounts: usize) -> usize {
    (0..accounts).map(|user| maildir::count(&server.maildir(user))).sum()
}

fn until_arrived(server: &Server, accounts: usize, expected: usize) -> Result<()> {
    let began = Instant::now();
    while arrived(server, accounts) < expected {
        ensure!(began.elapsed() < Duration::from_secs(120), "not all of the mail arrived");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
