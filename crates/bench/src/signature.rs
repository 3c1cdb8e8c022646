//! DKIM signatures for the mail that is sent, by dkimpy and a key that is made for the run.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Result, anyhow, ensure};
use tempfile::TempDir;

/// The folder in which the key is, and its public part as a record has it.
static KEY: Mutex<Option<(TempDir, String)>> = Mutex::new(None);

/// The public part of the key, in strings of a TXT record.
pub(crate) fn public_key() -> Result<String> {
    with_key(|_, public| Ok(public.to_owned()))
}

/// The message, its lines ended by CRLF, signed for `elsewhere.test`.
pub(crate) fn sign(message: &str) -> Result<String> {
    with_key(|key, _| {
        let mut command = Command::new("/usr/bin/dkimsign");
        command.args(["--bcanon", "relaxed", "s", "elsewhere.test"]).arg(key);
        run(command, message)
    })
}

fn with_key<T>(act: impl FnOnce(&Path, &str) -> Result<T>) -> Result<T> {
    let mut key = KEY.lock().map_err(|_| anyhow!("the key could not be made"))?;
    if key.is_none() {
        *key = Some(make_key()?);
    }
    let (folder, public) = key.as_ref().ok_or_else(|| anyhow!("there is no key"))?;
    act(&folder.path().join("key"), public)
}

fn make_key() -> Result<(TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("key");
    let mut command = Command::new("openssl");
    command.args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048");
    run(command, "")?;
    let mut command = Command::new("openssl");
    command.args(["rsa", "-pubout", "-in"]).arg(&key);
    let text = run(command, "")?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("-----")).collect();
    Ok((folder, lines.join("\" \"")))
}

fn run(mut command: Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}
