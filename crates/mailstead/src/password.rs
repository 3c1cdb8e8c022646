use std::io::{BufRead, IsTerminal};

use anyhow::{Context, bail};
use mail_types::Secret;

/// A new password: asked for twice on a terminal, else the first line of standard input. Never from the command line, where
/// every user of the machine can read it.
pub(crate) fn read_new() -> anyhow::Result<Secret<String>> {
    let stdin = std::io::stdin();
    let password = if stdin.is_terminal() { ask_twice()? } else { first_line(stdin.lock())? };
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(Secret::new(password))
}

fn ask_twice() -> anyhow::Result<String> {
    let password = rpassword::prompt_password("New password: ").context("can't read the password")?;
    let again = rpassword::prompt_password("Again: ").context("can't read the password")?;
    if password != again {
        bail!("the two passwords differ");
    }
    Ok(password)
}

fn first_line(mut input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line).context("can't read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_end_is_cut_off() {
        assert_eq!(first_line(&b" two words \r\nrest"[..]).unwrap(), " two words ");
        assert_eq!(first_line(&b"no line end"[..]).unwrap(), "no line end");
    }
}
