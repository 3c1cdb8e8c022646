use std::io::{self, IsTerminal, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// How far a long job is: a bar on standard error where that is a terminal, else nothing.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template("{msg}"); // until it is known what there is to do
        let bar = ProgressBar::with_draw_target(Some(0), target);
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Begins a stretch of `octets`, called `what`.
    pub(crate) fn begin(&self, what: &str, octets: u64) {
        let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left";
        self.0.reset();
        self.0.set_length(octets);
        self.0.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        self.0.set_message(what.to_owned());
    }

    /// Shows that the job, called `what`, is at the `position`th of `count` mailboxes.
    pub(crate) fn count(&self, what: &str, position: usize, count: usize) {
        let template = "{msg} [{bar:30}] {pos} of {len} mailboxes";
        self.0.set_length(count as u64);
        self.0.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        self.0.set_message(what.to_owned());
        self.0.set_position(position as u64);
    }

    pub(crate) fn advance(&self, octets: u64) {
        self.0.inc(octets);
    }

    /// Advances by what is read.
    pub(crate) fn watch<'a>(&'a self, source: &'a mut dyn Read) -> Watched<'a> {
        Watched { source, progress: self, octets: 0 }
    }

    /// Tells what does not stop the job, above the bar.
    pub(crate) fn warn(&self, text: &str) {
        self.0.suspend(|| output::warn(text));
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// A file, the reading of which is shown.
pub(crate) struct Watched<'a> {
    source: &'a mut dyn Read,
    progress: &'a Progress,
    /// What was read.
    pub(crate) octets: u64,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.octets += read as u64;
        self.progress.advance(read as u64);
        Ok(read)
    }
}
