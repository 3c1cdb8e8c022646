//! Random commands of several sessions in two processes' worth of servers, with foreign changes in the Maildir and the index lost in
//! between, against a simple model of a mailbox: what each client knows from what it was told is compared with what is there, and so
//! it is for clients that come back by CONDSTORE and QRESYNC after the connection was lost anywhere.
//!
//! And a storm: many clients of two accounts at once, each by itself, of which nothing is known but what each was told.
//!
//! `MAILSTEAD_MODEL_CASES` and `MAILSTEAD_MODEL_SEED` make a longer run and another one, `MAILSTEAD_STORM_ROUNDS` a longer storm.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]
#![allow(clippy::print_stdout, reason = "a test that fails tells how it came to that")]

mod built;
mod client;
mod foreign;
mod session;
mod step;
mod storm;
mod view;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use testkit::{Fixture, Security};

use crate::world::World;

/// Steps of one case at most.
const STEPS: usize = 80;

fn from_environment(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// Which draws what it would draw another time, and differs by its number.
fn runner(config: Config, number: u8) -> TestRunner {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&from_environment("MAILSTEAD_MODEL_SEED", 0).to_le_bytes());
    seed[4] = number;
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

thread_local! {
    /// This thread is on its way to the smallest failing case: of those in between nothing is printed.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Plays a case, and gives the message with which it fails. Other threads' failures are printed meanwhile as ever.
fn quietly(play: impl FnOnce()) -> Result<(), String> {
    IS_QUIET.set(true);
    let played = catch_unwind(AssertUnwindSafe(play));
    IS_QUIET.set(false);
    played.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "a panic".to_owned(), ToString::to_string),
    })
}

/// Has threads that are quiet print no panics.
fn respect_quiet_threads() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_QUIET.get() {
            print(panic);
        }
    }));
}

#[test]
fn every_session_knows_what_is_there() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fixture = Fixture::new().unwrap();
    let start = || runtime.block_on(async { fixture.start(imap_server::run) }).unwrap();
    let (one, two) = (start(), start());
    let addresses = [one.address(Security::Plain), two.address(Security::Plain)];
    let maildir = fixture.config.mail_dir().join("example.org/alice/Maildir");
    let config = Config {
        cases: from_environment("MAILSTEAD_MODEL_CASES", 16),
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = runner(config, 0);
    let (mut cases, mut taken) = (0, 0);
    let counts = std::cell::RefCell::new((&mut cases, &mut taken));
    respect_quiet_threads();
    let result = runner.run(&prop::collection::vec(step::step(), 1..STEPS), |steps| {
        let mut counts = counts.borrow_mut();
        *counts.0 += 1;
        *counts.1 += steps.len();
        let mut world = World::new(addresses, &maildir, *counts.0);
        quietly(|| world.play(&steps)).map_err(TestCaseError::fail)
    });
    println!("{taken} steps in {cases} cases");
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn a_storm_leaves_everyone_knowing_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fixture = Fixture::new().unwrap();
    let start = || runtime.block_on(async { fixture.start(imap_server::run) }).unwrap();
    let (one, two) = (start(), start());
    let addresses = [one.address(Security::Plain), two.address(Security::Plain)];
    let rounds = from_environment("MAILSTEAD_STORM_ROUNDS", 3);
    let mut storms = [storm::Storm::new(addresses, "alice", 1), storm::Storm::new(addresses, "bob", 2)];
    std::thread::scope(|scope| {
        for storm in &mut storms {
            scope.spawn(move || (0..rounds).for_each(|_| storm.round()));
        }
    });
    println!("{} commands in {rounds} rounds", storms.iter().map(|storm| storm.commands).sum::<usize>());
}
