//! The store alone, at several sizes of a mailbox: what must stay flat as that grows, and what opening it costs.
//!
//! `MAILBOX_SIZES=1000000 cargo bench -p bench --bench store` measures other sizes than 1,000 and 100,000 messages.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that fails may say so at once"
)]

mod fixture;

use std::alloc::System;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap::Cap;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use mail_store::{FlagChange, Mailbox};
use mail_types::{Flag, MailboxName, Uid};

use fixture::Fixture;

/// Counts what Rust code has allocated; SQLite's page cache, of a fixed size for an account, is not in it.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// How many messages one command concerns.
const MANY: usize = 10_000;

fn sizes() -> Vec<usize> {
    let sizes = std::env::var("MAILBOX_SIZES").unwrap_or_else(|_| "1000,100000".to_owned());
    sizes.split(',').map(|size| size.trim().parse().unwrap()).collect()
}

fn store(criterion: &mut Criterion) {
    for size in sizes() {
        let fixture = Fixture::new(Path::new(env!("CARGO_TARGET_TMPDIR")), size);
        let began = Instant::now();
        drop(fixture.open());
        println!("first open of {size} messages with names of another program: {:?}", began.elapsed());
        fixture.settle();
        memory(&fixture);
        let mut group = criterion.benchmark_group(size.to_string());
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(300));
        opening(&mut group, &fixture);
        let account = fixture.account();
        let mailbox = account.open(&MailboxName::inbox()).unwrap();
        looking(&mut group, &mailbox);
        changing(&mut group, &fixture, &mailbox);
        if size >= MANY {
            changing_many(&mut group, &mailbox, &account.open(&"Trash".parse().unwrap()).unwrap());
        }
        group.finish();
    }
}

fn memory(fixture: &Fixture) {
    let before = MEMORY.allocated();
    let mailbox = fixture.open();
    let (octets, count) = (MEMORY.allocated() - before, mailbox.snapshot().len());
    println!("an open mailbox of {count} messages: {octets} octets, {} a message", octets / count);
}

fn opening(group: &mut BenchmarkGroup<'_, WallTime>, fixture: &Fixture) {
    group.bench_function("open, index there", |b| {
        b.iter_batched(|| (), |()| fixture.open(), BatchSize::PerIteration);
    });
    group.bench_function("open, index deleted", |b| {
        b.iter_batched(|| fixture.delete_index(), |()| fixture.open(), BatchSize::PerIteration);
    });
}

fn looking(group: &mut BenchmarkGroup<'_, WallTime>, mailbox: &Arc<Mailbox>) {
    fixture::settle(mailbox);
    group.bench_function("look, nothing new", |b| b.iter(|| mailbox.sync().unwrap()));
    group.bench_function("newest 100, all of each", |b| {
        b.iter(|| {
            let now = mailbox.sync().unwrap();
            for position in now.len().saturating_sub(100)..now.len() {
                let message = now.get(position).unwrap();
                black_box(mailbox.open_message(message.uid).unwrap().read().unwrap());
            }
        });
    });
}

fn changing(group: &mut BenchmarkGroup<'_, WallTime>, fixture: &Fixture, mailbox: &Arc<Mailbox>) {
    group.bench_function("deliver, look", |b| {
        b.iter(|| {
            fixture.deliver();
            mailbox.sync().unwrap()
        });
    });
    group.bench_function("append", |b| b.iter(|| fixture::append(mailbox)));
    let uid = mailbox.snapshot().uids().get(0).unwrap();
    let mut turn = Turn::default();
    group.bench_function("flag one", |b| b.iter(|| mailbox.store(&[uid], &turn.next()).unwrap()));
}

fn changing_many(group: &mut BenchmarkGroup<'_, WallTime>, mailbox: &Mailbox, trash: &Arc<Mailbox>) {
    let many: Vec<Uid> = mailbox.snapshot().uids().iter().take(MANY).collect();
    let mut turn = Turn::default();
    group.bench_function(BenchmarkId::new("flag", MANY), |b| {
        b.iter(|| mailbox.store(&many, &turn.next()).unwrap());
    });
    let empty = || trash.expunge(&trash.sync().unwrap().uids().to_vec()).unwrap();
    group.bench_function(BenchmarkId::new("copy", MANY), |b| {
        b.iter_batched(empty, |_| mailbox.copy(&many, trash).unwrap(), BatchSize::PerIteration);
    });
    let fill = || {
        empty();
        mailbox.copy(&many, trash).unwrap()
    };
    group.bench_function(BenchmarkId::new("expunge", MANY), |b| {
        b.iter_batched(fill, |_| empty(), BatchSize::PerIteration);
    });
    empty();
}

/// Sets a flag and takes it away again by turns.
#[derive(Default)]
struct Turn {
    is_set: bool,
}

impl Turn {
    fn next(&mut self) -> FlagChange {
        self.is_set = !self.is_set;
        let flags = [Flag::Flagged].into_iter().collect();
        if self.is_set { FlagChange::Add(flags) } else { FlagChange::Remove(flags) }
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
