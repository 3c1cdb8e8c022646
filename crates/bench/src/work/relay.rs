use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::{Size, Work, address, as_it_is, at_once, measured, milliseconds, nothing, per_second, with_each};
use crate::client::Smtp;
use crate::peer::{PASSWORD, Peer, Server};
use crate::report::{Figure, Unit};
use crate::sink::Sink;
use crate::{backlog, maildir, process};

/// Submission, the queue, and delivery to another host; the time ends when that has the last message.
pub(super) const WORKS: &[Work] = &[
    work("relay-1", "4 KB through the queue to another host, 1 sender", |server, size| {
        relay(server, 1, size.of(1000, 20), 4096)
    }),
    work("relay-20", "the same, 20 senders", |server, size| relay(server, 20, size.of(200, 5), 4096)),
    work("relay-100", "the same, 100 senders", |server, size| relay(server, 100, size.of(40, 2), 4096)),
    Work {
        peer: Peer::Backlogged,
        ..work(
            "relay-backlog",
            "4 KB, 20 senders: what 20,000 deferred messages cost the others",
            |server, size| relay(server, 20, size.of(200, 5), 4096),
        )
    },
    work("relay-100k", "100 KB, 20 senders", |server, size| {
        let figure = relay(server, 20, size.of(40, 2), 100_000)?;
        Ok(Figure { value: figure.value / 10.0, unit: Unit::Megabytes, ..figure })
    }),
];

/// What ours is measured in alone.
pub(super) const ALONE: &[Work] = &[
    alone("queue-dead", "memory while 20,000 messages are deferred for a dead host", |server, size| {
        memory_with(server, size.of(20_000, 1000))
    }),
    alone("queue-million", "memory with 1,000,000 messages queued", |server, size| {
        memory_with(server, size.of(1_000_000, 1000))
    }),
    Work {
        before: |server| {
            let _ = sink(server)?.first();
            server.restart_after(|server| backlog::add(&server.queue()?, "far.test", 100_000))
        },
        ..alone("queue-restart", "from the start to the first delivery, 100,000 messages queued", restart)
    },
];

const fn alone(name: &'static str, what: &'static str, run: fn(&Server, Size) -> Result<Figure>) -> Work {
    Work { peer: Peer::Mailstead, ..work(name, what, run) }
}

/// The most memory that all its processes took until every message was tried.
#[expect(clippy::cast_precision_loss, reason = "kibibytes are far below 2^52")]
fn memory_with(server: &Server, messages: usize) -> Result<Figure> {
    let queue = server.queue()?;
    let (most, _, cpu) = measured(server, || {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(process::memory(server.pid));
                    std::thread::sleep(Duration::from_millis(200));
                }
                most
            });
            let tried =
                backlog::add(&queue, backlog::DEAD, messages).and_then(|()| backlog::until_tried(&queue));
            done.store(true, Ordering::Relaxed);
            let most = watcher.join().map_err(|_| anyhow!("the watcher panicked"))?;
            tried.map(|()| most.max(process::memory(server.pid)))
        })
    })?;
    queue.remove(None)?;
    Ok(Figure { value: most as f64, cpu, unit: Unit::Kibibytes, waits: Vec::new() })
}

fn restart(server: &Server, _: Size) -> Result<Figure> {
    let (sink, queue) = (sink(server)?, server.queue()?);
    let first = loop {
        match sink.first() {
            Some(first) => break first,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        ensure!(server.started.elapsed() < Duration::from_secs(60), "nothing was delivered");
    };
    queue.remove(None)?;
    Ok(milliseconds(first.saturating_duration_since(server.started), process::cpu(server.pid)))
}

const fn work(name: &'static str, what: &'static str, run: fn(&Server, Size) -> Result<Figure>) -> Work {
    Work { name, what, peer: Peer::Postfix, prepare: nothing, before: as_it_is, run }
}

fn sink(server: &Server) -> Result<&Sink> {
    server.sink.as_ref().context("it sends nothing on")
}

fn relay(server: &Server, senders: usize, each: usize, octets: usize) -> Result<Figure> {
    let text = maildir::message(0, octets);
    let sink = sink(server)?;
    // What a password costs is no part of it: Postfix asks for none here.
    let sessions = at_once(senders, |number| {
        let mut session = Smtp::open(server.ports.submission.context("no submission")?)?;
        session.log_in(&address(number % 20), PASSWORD)?;
        Ok((number, session))
    })?;
    let before = sink.count();
    let ((), took, cpu): ((), Duration, Duration) = measured(server, || {
        with_each(sessions, |(number, mut session)| {
            let sender = address(number % 20);
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
