//! What a contributor runs beside cargo itself.

mod tidy;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use self::tree::Tree;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Checks the house rules that clippy can't hold
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Tidy => tidy(),
    }
}

#[expect(clippy::print_stderr, reason = "this is where the contributor is told")]
fn tidy() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("where is the workspace?")?;
    let complaints = tidy::check(&Tree::read(root)?);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
