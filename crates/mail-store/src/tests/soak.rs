//! Processes that deliver, append, copy, move, flag and expunge are killed again and again at random moments.
//!
//! `MAILSTEAD_SOAK_SECONDS` says for how long (10 by default), `MAILSTEAD_SOAK_SEED` which moments. `cargo test -p mail-store
//! soak -- --nocapture` tells how many it were.

mod ledger;
mod worker;

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

use fastrand::Rng;

use super::*;
use ledger::Ledger;

const FOLDER: &str = "MAILSTEAD_SOAK_FOLDER";
/// No process lives longer, from its start: some die while they open the store, few after hundreds of operations.
const LONGEST: Duration = Duration::from_millis(90);
/// After so many kills what lies there is compared with what was acknowledged.
const ROUND: usize = 20;

/// How many processes work on one account at once, for each account.
const ACCOUNTS: [usize; 3] = [1, 1, 4];

pub(super) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

fn start(dir: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::soak::worker::worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, dir)
        .env("MAILSTEAD_SOAK_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts so many processes on one account and kills them, until the time has come.
fn soak(workers: usize, seed: u64, end: Instant) -> Ledger {
    let dir = fast_dir(); // what a process wrote outlives it there too
    Store::open(dir.path()).unwrap().create_account(&bob()).unwrap();
    let (mut random, mut ledger) = (Rng::with_seed(seed), Ledger::new(workers == 1));
    while Instant::now() < end {
        for _ in 0..ROUND {
            let running: Vec<_> = (0..workers).map(|_| start(dir.path(), random.u64(..))).collect();
            std::thread::sleep(LONGEST.mul_f64(random.f64()));
            for mut worker in running {
                worker.kill().unwrap();
                let said = BufReader::new(worker.stdout.take().unwrap()).lines().map_while(Result::ok);
                said.for_each(|line| ledger.hear(&line));
                assert!(!worker.wait().unwrap().success(), "a worker ended by itself");
                ledger.kills += 1;
            }
            if random.u8(0..40) == 0 {
                // The next one has to open what was cut short without an index.
                let removed = std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite"));
                // The workers since the last time may have been killed before they made one.
                assert!(removed.map_or_else(|error| error.kind() == ErrorKind::NotFound, |()| true));
            }
        }
        ledger.check(dir.path());
    }
    ledger.check_to_the_end(dir.path());
    ledger
}

#[test]
fn processes_killed_at_any_moment_lose_and_double_and_change_nothing_that_was_acknowledged() {
    let seed = setting("MAILSTEAD_SOAK_SEED", getrandom::u64().unwrap());
    let end = Instant::now() + Duration::from_secs(setting("MAILSTEAD_SOAK_SECONDS", 10));
    println!("MAILSTEAD_SOAK_SEED={seed}");
    std::thread::scope(|scope| {
        let accounts = ACCOUNTS.into_iter().zip(seed..);
        let accounts =
            accounts.map(|(workers, seed)| (workers, scope.spawn(move || soak(workers, seed, end))));
        for (workers, soaked) in accounts.collect::<Vec<_>>() {
            let ledger = soaked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            println!("{workers} at once: {}", ledger.summary());
        }
    });
}
