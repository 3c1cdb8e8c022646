use std::time::Duration;

use anyhow::{Context, Result};

use super::{Size, Work, address, as_it_is, at_once, measured, nothing, per_second};
use crate::client::Smtp;
use crate::maildir;
use crate::peer::{PASSWORD, Peer, Server};
use crate::report::{Figure, Unit};
use crate::sink::Sink;

/// Submission, the queue, and delivery to another host; the time ends when that has the last message.
pub(super) const WORKS: &[Work] = &[
    work("relay-1", "4 KB through the queue to another host, 1 sender", |server, size| {
        relay(server, 1, size.of(1000, 20), 4096)
    }),
    work("relay-20", "the same, 20 senders", |server, size| relay(server, 20, size.of(200, 5), 4096)),
    work("relay-100", "the same, 100 senders", |server, size| relay(server, 100, size.of(40, 2), 4096)),
    work("relay-100k", "100 KB, 20 senders", |server, size| {
        let figure = relay(server, 20, size.of(40, 2), 100_000)?;
        Ok(Figure { value: figure.value / 10.0, unit: Unit::Megabytes, ..figure })
    }),
];

const fn work(name: &'static str, what: &'static str, run: fn(&Server, Size) -> Result<Figure>) -> Work {
    Work { name, what, peer: Peer::Postfix, prepare: nothing, before: as_it_is, run }
}

fn sink(server: &Server) -> Result<&Sink> {
    server.sink.as_ref().context("it sends nothing on")
}

fn relay(server: &Server, senders: usize, each: usize, octets: usize) -> Result<Figure> {
    let text = maildir::message(0, octets);
    let sink = sink(server)?;
    let before = sink.count();
    let ((), took, cpu): ((), Duration, Duration) = measured(server, || {
        at_once(senders, |number| {
            let mut session = Smtp::open(server.ports.submission.context("no submission")?)?;
            let sender = address(number % 20);
            session.log_in(&sender, PASSWORD)?;
            for count in 0..each {
                let recipient = format!("r{count}@far{}.test", number % 50);
                session.send_as(&sender, &[recipient], text.as_bytes())?;
            }
            session.quit()
        })?;
        sink.wait_for(before + senders * each)
    })?;
    Ok(per_second(senders * each, took, cpu))
}
