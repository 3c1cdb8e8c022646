//! What is measured.

mod imap;
mod imap_load;
mod pop3;
mod relay;
mod smtp;
mod smtp_waiting;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::peer::{DOMAIN, Peer, Server};
use crate::process;
use crate::report::{Figure, Unit};

/// How much a round does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) part: usize,
}

impl Size {
    /// A part of the full count, at least `least`.
    const fn of(self, full: usize, least: usize) -> usize {
        let part = full / self.part;
        if part < least { least } else { part }
    }
}

/// One thing that is measured on both servers.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Ourselves where nobody else is measured.
    pub(crate) peer: Peer,
    /// Done once, before the rounds.
    pub(crate) prepare: fn(&Server, Size) -> Result<()>,
    /// Done before each round.
    pub(crate) before: fn(&mut Server) -> Result<()>,
    pub(crate) run: fn(&Server, Size) -> Result<Figure>,
}

const fn as_it_is(_: &mut Server) -> Result<()> {
    Ok(())
}

const fn nothing(_: &Server, _: Size) -> Result<()> {
    Ok(())
}

impl Work {
    /// All works.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        smtp::WORKS
            .iter()
            .chain(relay::WORKS)
            .chain(relay::ALONE)
            .chain(smtp_waiting::WORKS)
            .chain(imap::WORKS)
            .chain(imap_load::WORKS)
            .chain(pop3::WORKS)
    }
}

fn address(user: usize) -> String {
    format!("user{user}@{DOMAIN}")
}

/// Runs `act` and says how long it took, and what CPU time the server spent on it.
fn measured<T>(server: &Server, act: impl FnOnce() -> Result<T>) -> Result<(T, Duration, Duration)> {
    let (cpu, began) = (process::cpu(server.pid), Instant::now());
    let value = act()?;
    let took = began.elapsed();
    Ok((value, took, process::cpu(server.pid).saturating_sub(cpu)))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per_second(count: usize, took: Duration, cpu: Duration) -> Figure {
    Figure { value: count as f64 / took.as_secs_f64(), cpu, unit: Unit::PerSecond, waits: Vec::new() }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn megabytes(octets: u64, took: Duration, cpu: Duration) -> Figure {
    let value = octets as f64 / 1e6 / took.as_secs_f64();
    Figure { value, cpu, unit: Unit::Megabytes, waits: Vec::new() }
}

fn milliseconds(took: Duration, cpu: Duration) -> Figure {
    Figure { value: took.as_secs_f64() * 1000.0, cpu, unit: Unit::Milliseconds, waits: Vec::new() }
}

/// The memory that each of so many sessions takes: what the server's grows by.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]
fn memory_of_each<T>(
    server: &Server,
    sessions: usize,
    open: impl FnOnce() -> Result<T>,
) -> Result<(T, Figure)> {
    let before = process::memory(server.pid);
    let open = open()?;
    let value = process::memory(server.pid).saturating_sub(before) as f64 / sessions as f64;
    Ok((open, Figure { value, cpu: Duration::ZERO, unit: Unit::Kibibytes, waits: Vec::new() }))
}

/// The time that 99 of 100 of these stay below.
fn ninety_ninth(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

/// Runs `act` on so many threads at once; the first failure counts.
fn at_once<T: Send>(threads: usize, act: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    with_each((0..threads).collect(), act)
}

/// Runs `act` with each of these at once, on threads of their own; the first failure counts.
fn with_each<S: Send, T: Send>(each: Vec<S>, act: impl Fn(S) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let act = &act;
        let running: Vec<_> = each.into_iter().map(|one| scope.spawn(move || act(one))).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?).collect()
    })
}
