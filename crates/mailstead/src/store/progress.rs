use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// How far a long job is: a bar on standard error where that is a terminal, else nothing.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self(ProgressBar::with_draw_target(Some(0), target))
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

    /// Tells what does not stop the job, above the bar.
    pub(crate) fn warn(&self, text: &str) {
        self.0.suspend(|| output::warn(text));
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
