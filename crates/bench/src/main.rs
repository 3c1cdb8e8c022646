//! Mailstead beside Debian's Postfix and Dovecot: the same work, on the same disk, in alternating rounds.
//!
//! Absolute figures drift from hour to hour; the medians' ratio from one run is what counts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what it is for")]

mod backlog;
mod client;
mod maildir;
mod peer;
mod process;
mod report;
mod signature;
mod sink;
mod work;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::peer::{Peer, Place};
use crate::report::Report;
use crate::work::{Size, Work};

/// Measures Mailstead beside Postfix and Dovecot (Debian packages postfix, dovecot-imapd, dovecot-pop3d; run it as root).
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Works whose name begins so; all of them without it. `--list` names them.
    works: Vec<String>,
    /// Names the works and ends.
    #[arg(long)]
    list: bool,
    /// Rounds for each work: A B A B …
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How much each round does, in parts of the full size: 10 is a tenth.
    #[arg(long, default_value_t = 1)]
    part: usize,
    /// Where the servers keep their files: a folder on the disk to be measured.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// The `mailstead` executable.
    #[arg(long, default_value = "target/release/mailstead")]
    mailstead: PathBuf,
    /// Leaves the peers out: ours alone.
    #[arg(long)]
    alone: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        Work::all().for_each(|work| println!("{:24} {}", work.name, work.what));
        return Ok(());
    }
    ensure!(nix::unistd::geteuid().is_root(), "the peers can only be started by root");
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the limit of open files")?;
    let mailstead = std::path::absolute(&arguments.mailstead)?;
    ensure!(mailstead.exists(), "{} is missing: cargo build --release", mailstead.display());
    let dir = std::path::absolute(&arguments.dir)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let chosen = |work: &&'static Work| {
        arguments.works.is_empty() || arguments.works.iter().any(|name| work.name.starts_with(name.as_str()))
    };
    let size = Size { part: arguments.part.max(1) };
    println!("{}", Report::HEAD);
    for work in Work::all().filter(chosen) {
        let report =
            measure(work, size, &arguments, &Place { dir: dir.clone(), mailstead: mailstead.clone() })
                .with_context(|| format!("in {}", work.name))?;
        println!("{report}");
    }
    Ok(())
}

/// Starts both servers afresh, and lets them take turns.
fn measure(work: &Work, size: Size, arguments: &Arguments, place: &Place) -> Result<Report> {
    let mut peers = vec![Peer::Mailstead];
    if !arguments.alone && work.peer != Peer::Mailstead {
        peers.push(work.peer);
    }
    let mut servers = peers.iter().map(|peer| peer.start(place)).collect::<Result<Vec<_>>>()?;
    for server in &servers {
        (work.prepare)(server, size)?;
    }
    let mut report = Report::new(work.name, servers.iter().map(|server| server.name).collect());
    for _ in 0..arguments.rounds {
        let pids: Vec<u32> = servers.iter().map(|server| server.pid).collect();
        for (position, server) in servers.iter_mut().enumerate() {
            process::until_idle(&pids);
            (work.before)(server)?;
            report.add(position, (work.run)(server, size)?);
        }
    }
    Ok(report)
}
