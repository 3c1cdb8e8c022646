//! What the operator sees: results on standard output, failures on standard error, and the exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use mail_config::ConfigErrors;
use serde::Serialize;

use crate::soundness::Unusable;

/// The exit code for a wrong usage or a config that does not hold.
pub(crate) const BAD_USAGE: u8 = 2;

/// A usage that the grammar of the command line can't refuse by itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Writes one line to standard output, at once.
pub(crate) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes lines as they are, each with its end.
pub(crate) fn text(lines: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()
}

/// Writes a value as JSON, on one line.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string(value)?)?)
}

/// Writes rows as columns that stand below each other, the first row being the headings.
pub(crate) fn table(rows: &[Vec<String>]) -> std::io::Result<()> {
    line(&columns(rows))
}

/// The rows with each column as wide as its widest cell.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// Tells what does not stop a command.
#[expect(clippy::print_stderr, reason = "this is where the operator is told")]
pub(crate) fn warn(text: &str) {
    eprintln!("warning: {text}");
}

/// Says what failed, and turns a command's result into the exit code of the process.
#[expect(clippy::print_stderr, reason = "this is where the operator is told")]
pub(crate) fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        eprintln!("{errors}");
        return ExitCode::from(BAD_USAGE);
    }
    if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("mailstead: {}", with_causes(&error));
    if error.is::<UsageError>() || error.is::<Unusable>() {
        ExitCode::from(BAD_USAGE)
    } else {
        ExitCode::FAILURE
    }
}

/// An error and what caused it. Most errors name their cause themselves; it is not said twice.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let is_told = text.contains(&cause) || (!last.is_empty() && cause.ends_with(&last));
        if !is_told {
            text = if text.is_empty() { cause.clone() } else { format!("{text}: {cause}") };
        }
        last = cause;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error =
            anyhow::anyhow!("Error code 26: no database").context("no database").context("x: no database");
        assert_eq!(with_causes(&error.context("can't start")), "can't start: x: no database");
        let other = anyhow::anyhow!("Permission denied").context("can't write");
        assert_eq!(with_causes(&other), "can't write: Permission denied");
        let hint =
            anyhow::anyhow!("Permission denied").context("can't read x: Permission denied; let it be read");
        assert_eq!(with_causes(&hint), "can't read x: Permission denied; let it be read");
    }

    #[test]
    fn columns_stand_below_each_other_without_trailing_space() {
        let rows = [vec!["server".to_owned(), "pid".to_owned()], vec!["imap".to_owned(), "7".to_owned()]];
        assert_eq!(columns(&rows), "server  pid\nimap    7");
    }
}
