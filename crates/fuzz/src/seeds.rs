//! Where inputs begin: real dialogues and messages, and what was found before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::Target;

/// The lines of the clients and the messages in the transcripts, and the files of `corpus/<target>/`.
///
/// # Errors
/// What the file system says.
pub fn seeds(target: &Target) -> Result<Vec<Vec<u8>>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = vec![Vec::new()];
    for file in files(&here.join("corpus").join(target.name))? {
        seeds.push(fs::read(file)?);
    }
    let server = match target.name.split('_').next() {
        Some("smtp" | "mail") => "smtp",
        Some("pop3") => "pop3",
        _ => "imap",
    };
    let wants_messages = ["message", "imap_response", "mail_data"].contains(&target.name);
    for file in files(&here.join(format!("../{server}-server/tests/transcripts")))? {
        let transcript = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        seeds.extend(if wants_messages { messages(&transcript) } else { lines(&transcript) });
    }
    Ok(seeds)
}

/// None where there is no such folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files = entries.map(|entry| entry.map(|it| it.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    Ok(files)
}

/// What the clients say, line by line, and all of it together.
fn lines(transcript: &str) -> Vec<Vec<u8>> {
    let said = |line: &str| {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit());
        line.strip_prefix("C: ").map(|said| format!("{said}\r\n").into_bytes())
    };
    let mut lines: Vec<Vec<u8>> =
        transcript.lines().filter_map(said).filter(|line| line.len() < 2000).collect();
    lines.push(lines.concat());
    lines
}

/// The messages that were given.
fn messages(transcript: &str) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut is_within = false;
    for line in transcript.lines() {
        let text = line.strip_prefix('|');
        match (text, messages.last_mut()) {
            (Some(text), Some(message)) if is_within => {
                message.extend_from_slice(format!("{text}\r\n").as_bytes())
            }
            (Some(text), _) => messages.push(format!("{text}\r\n").into_bytes()),
            (None, _) => {}
        }
        is_within = text.is_some();
    }
    messages
}
