//! Writes what a target begins with into a folder: `seeds TARGET FOLDER`. The dictionary lies beside it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fuzz::{Target, seeds};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().context("which target?")?;
    let folder = PathBuf::from(arguments.next().context("into which folder?")?);
    let target = Target::named(&name.to_string_lossy())?;
    std::fs::create_dir_all(&folder)?;
    for (number, seed) in seeds(&target)?.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:05}")), seed)?;
    }
    Ok(std::fs::write(folder.with_extension("dict"), target.dictionary)?)
}
