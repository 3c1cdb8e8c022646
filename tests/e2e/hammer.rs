//! Several processes and another program at work on the same mailboxes: what each was told, and what is there at the end.

#![allow(clippy::indexing_slicing, clippy::wildcard_enum_match_arm, reason = "a test: it fails by panicking")]

mod foreign;
mod ledger;
mod others;
mod player;
mod steps;
mod truth;
mod view;
mod wire;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use e2e::{HOST, Installation, PATIENCE, Person, Process};
use foreign::Foreign;
use ledger::Ledger;
use nix::sys::signal::Signal;
use player::{MAIN, Player};
use truth::{Truth, folder};
use view::View;

/// What each session does before it stops.
const STEPS: usize = 500;
/// So many of the servers' complaints are shown with a failure.
const COMPLAINTS: usize = 40;
/// Sessions at work in each process; one more only waits.
const PLAYERS: usize = 2;

/// The servers over one data folder.
struct Stage {
    installation: Installation,
    servers: Vec<Process>,
    /// The ports of the two IMAP processes.
    imap: Vec<u16>,
}

impl Stage {
    fn start(domain: &str) -> Result<Self> {
        let installation = Installation::new(domain, &["alice"], "")?;
        let mut servers = vec![
            installation.alone(&["pop3-server"], "pop3")?,
            installation.alone(&["smtp-server"], "smtp")?,
        ];
        let mut imap = Vec::new();
        for _ in 0..2 {
            let (server, port) = another_imap_server(&installation)?;
            servers.push(server);
            imap.push(port);
        }
        Ok(Self { installation, servers, imap })
    }

    fn alice(&self) -> &Person {
        self.installation.site().person("alice")
    }

    /// What the servers complained of last, in the order of time.
    fn complaints(&self) -> String {
        let logs = self.servers.iter().map(Process::log).collect::<String>();
        let is_one = |line: &&str| line.contains(" ERROR ") || line.contains(" WARN ");
        let mut lines: Vec<&str> = logs.lines().filter(is_one).collect();
        lines.sort_unstable(); // each begins with its time
        lines.drain(..lines.len().saturating_sub(COMPLAINTS));
        lines.join("\n")
    }

    fn stop(self) -> Result<Installation> {
        self.servers.into_iter().try_for_each(|server| server.stop(Signal::SIGTERM).map(drop))?;
        Ok(self.installation)
    }
}

fn another_imap_server(installation: &Installation) -> Result<(Process, u16)> {
    let sockets = vec![TcpListener::bind((HOST, 0))?, TcpListener::bind((HOST, 0))?];
    let port = sockets[0].local_addr()?.port();
    Ok((installation.given(&["imap-server"], &["imap", "imaps"], sockets)?, port))
}

/// Has one do its work; all stop when it fails.
fn played<'a>(
    mut player: Player<'a>,
    ledger: &Ledger,
    work: impl FnOnce(&mut Player<'a>) -> Result<()>,
) -> Result<Player<'a>> {
    let done = work(&mut player).with_context(|| player.transcript());
    done.inspect_err(|_| ledger.end()).map(|()| player)
}

fn joined<T>(handle: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Lets everybody work at once, and gives the sessions back as they are then.
fn hammer<'a>(stage: &'a Stage, ledger: &'a Ledger, seed: u64) -> Result<Vec<Player<'a>>> {
    let (site, alice) = (stage.installation.site(), stage.alice());
    let started = |name: String, port: u16, seed: u64| Player::start(&name, port, alice, ledger, seed);
    std::thread::scope(|scope| {
        let ended = |done: Result<()>| done.inspect_err(|_| ledger.end());
        let mut others = vec![
            scope.spawn(move || ended(others::deliver(site, ledger, seed + 1))),
            scope.spawn(move || ended(others::fetch(site, alice, ledger, seed + 2))),
            scope.spawn(move || ended(Foreign::new(&alice.maildir, ledger, seed + 3).run())),
        ];
        if ledger.is_patient {
            others.push(scope.spawn(move || ended(others::destroy(&index(alice), ledger, seed + 4))));
        }
        let (mut players, mut watchers) = (Vec::new(), Vec::new());
        for (process, port) in stage.imap.iter().copied().enumerate() {
            for number in 0..PLAYERS {
                let name = format!("p{process}{number}");
                let seed = seed + 10 + (process * PLAYERS + number) as u64;
                let work = |it: &mut Player<'_>| {
                    let mut steps = (0..STEPS).take_while(|_| !ledger.is_over());
                    steps.try_for_each(|_| it.step().map(|()| ledger.step()))
                };
                players.push(scope.spawn(move || played(started(name, port, seed)?, ledger, work)));
            }
            let watch = |it: &mut Player<'_>| {
                it.select("INBOX")?;
                while !ledger.is_over() {
                    it.learn()?;
                    it.idle(Duration::from_millis(200))?;
                }
                Ok(())
            };
            let name = format!("w{process}");
            watchers.push(scope.spawn(move || played(started(name, port, seed)?, ledger, watch)));
        }
        let played = players.into_iter().map(joined).collect::<Vec<_>>();
        ledger.end();
        let watched = watchers.into_iter().map(joined);
        let all = played.into_iter().chain(watched).collect::<Vec<_>>();
        others.into_iter().try_for_each(joined)?;
        all.into_iter().collect()
    })
}

/// Waits until every session sees what the files say.
fn settled(players: &mut [Player<'_>], maildir: &Path) -> Result<Truth> {
    for (number, player) in players.iter_mut().enumerate() {
        if player.view.as_ref().is_none_or(|view| !MAIN.contains(&view.mailbox.as_str())) {
            player.select(MAIN[number % MAIN.len()])?;
        }
    }
    let began = Instant::now();
    loop {
        match all_agree(players, maildir) {
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
            agreed => return agreed,
        }
    }
}

fn all_agree(players: &mut [Player<'_>], maildir: &Path) -> Result<Truth> {
    players[0].look_at_all()?;
    for (number, player) in players.iter_mut().enumerate() {
        if number % 2 == 0 {
            player.noop()?
        } else {
            player.idle(Duration::from_millis(20))?
        }
        player.learn()?;
    }
    let truth = Truth::read(maildir, &MAIN)?;
    for player in players {
        let view = player.view.as_ref().context("nothing is selected")?;
        view.compare(&truth.folders[&view.mailbox]).with_context(|| player.transcript())?;
    }
    Ok(truth)
}

/// What another program does shows in every idle session.
fn idle_sessions_see(players: &mut [Player<'_>], maildir: &Path, foreign: &mut Foreign<'_>) -> Result<()> {
    for player in &mut *players {
        player.select("INBOX")?;
        player.learn()?;
        player.begin_idle()?;
    }
    let mut tell = |what: &str, is_so: &dyn Fn(&View) -> bool| {
        players.iter_mut().try_for_each(|player| player.hear_of(what, is_so))
    };
    let inbox = folder(maildir, "INBOX");
    let before = Truth::read(maildir, &["INBOX"])?.folders["INBOX"].messages.clone();
    foreign.add(&inbox)?;
    tell("a file in new/", &|view| view.slots.len() == before.len() + 1)?;
    let (path, uid) = newest(&inbox)?;
    let flagged = path.with_file_name(format!("{}F", path.file_name().unwrap().to_str().unwrap()));
    std::fs::rename(&path, &flagged)?;
    tell("a flag by a new name", &|view| {
        let flags = view.slots.last().and_then(|slot| slot.flags.clone());
        flags.is_some_and(|flags| flags.contains("\\Flagged"))
    })?;
    let away = folder(maildir, "Work").join("cur").join(flagged.file_name().unwrap());
    std::fs::rename(&flagged, away)?;
    tell("a file moved away", &|view| view.slots.len() == before.len())?;
    ensure!(!before.contains_key(&uid), "UID {uid} was in use");
    players.iter_mut().try_for_each(Player::end_idle)
}

/// The file with the highest UID.
fn newest(folder: &Path) -> Result<(PathBuf, u32)> {
    let entries = std::fs::read_dir(folder.join("cur"))?.map(|entry| Ok(entry?.path()));
    let paths = entries.collect::<Result<Vec<_>>>()?;
    let uid = |path: &PathBuf| truth::name_parts(&path.to_string_lossy()).0;
    let newest = paths.into_iter().filter_map(|path| Some((uid(&path)?, path))).max();
    newest.map(|(uid, path)| (path, uid)).context("no message")
}

/// Without the index, a new process shows the same.
fn rebuilt_is_the_same(installation: &Installation, ledger: &Ledger, truth: &Truth) -> Result<()> {
    let alice = installation.site().person("alice");
    std::fs::remove_file(index(alice))?;
    let (server, port) = another_imap_server(installation)?;
    let mut player = Player::start("rebuilt", port, alice, ledger, 0)?;
    for mailbox in MAIN {
        player.select(mailbox)?;
        player.learn()?;
        let view = player.view.as_ref().context("not selected")?;
        view.compare(&truth.folders[mailbox]).with_context(|| player.transcript())?;
    }
    ensure!(Truth::read(&alice.maildir, &MAIN)? == *truth, "the files are not what they were");
    server.stop(Signal::SIGTERM).map(drop)
}

fn index(person: &Person) -> PathBuf {
    person.maildir.with_file_name("index.sqlite")
}

/// A seed of its own for each run, unless one is given.
fn seed() -> u64 {
    let given = std::env::var("HAMMER_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(getrandom::u32().unwrap()))
}

/// Everybody at work, until all agree with the files.
fn told_the_truth(stage: &Stage, ledger: &Ledger, seed: u64) -> Result<Truth> {
    let maildir = &stage.alice().maildir;
    let mut setter = Player::start("setup", stage.imap[0], stage.alice(), ledger, seed)?;
    setter.create(&["Work"])?;
    let mut players = hammer(stage, ledger, seed)?;
    ledger.check(&settled(&mut players, maildir)?)?;
    idle_sessions_see(&mut players, maildir, &mut Foreign::new(maildir, ledger, seed))?;
    settled(&mut players, maildir)
}

/// Everybody at work; `is_destroyed`: while the index is destroyed again and again.
fn hammered_from(seed: u64, is_destroyed: bool) -> Result<()> {
    let (stage, mut ledger) = (Stage::start("hammer.test")?, Ledger::default());
    ledger.is_patient = is_destroyed;
    let truth = told_the_truth(&stage, &ledger, seed).map_err(|error| {
        anyhow!("{}\nthe servers complained last:\n{}", cause_first(&error), stage.complaints())
    })?;
    let complaints = stage.complaints();
    ensure!(is_destroyed || !complaints.contains(" ERROR "), "{complaints}");
    rebuilt_is_the_same(&stage.stop()?, &ledger, &truth)
}

/// What went wrong, and then what led to it: who sees only the beginning of a long report knows the reason.
fn cause_first(error: &Error) -> String {
    let mut parts: Vec<String> = error.chain().map(ToString::to_string).collect();
    parts.reverse();
    parts.join("\n")
}

/// As [`hammered_from`], from a seed that a failure tells.
fn hammered(is_destroyed: bool) -> Result<()> {
    let seed = seed();
    hammered_from(seed, is_destroyed).map_err(|error| anyhow!("{}\nHAMMER_SEED={seed}", cause_first(&error)))
}

#[test]
fn whoever_hammers_a_mailbox_is_told_the_truth_and_nothing_is_lost() -> Result<()> {
    hammered(false)
}

#[test]
fn an_index_destroyed_under_those_who_hammer_costs_no_uid_no_flag_and_no_message() -> Result<()> {
    hammered(true)
}
