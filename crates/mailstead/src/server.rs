use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use mail_config::{Config, Listener};
use serde::{Deserialize, Serialize};
use server_core::program;

use crate::supervisor;

/// One of the servers, each of which runs in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Server {
    /// Receives mail.
    Smtp,
    /// Sends mail on.
    Queue,
    /// Lets people read mail.
    Imap,
    /// Lets people fetch mail.
    Pop3,
    /// Tells what the others count.
    Metrics,
}

impl Server {
    /// In the order in which they are started and shown.
    pub(crate) const ALL: [Self; 5] = [Self::Smtp, Self::Queue, Self::Imap, Self::Pop3, Self::Metrics];

    /// The subcommand that is this server.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Queue => "queue",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Metrics => "metrics",
        }
    }

    /// True if `mailstead serve` runs it.
    pub(crate) fn is_enabled(self, config: &Config) -> bool {
        match self {
            Self::Smtp => config.smtp.enabled,
            Self::Queue => config.queue.enabled,
            Self::Imap => config.imap.enabled,
            Self::Pop3 => config.pop3.enabled,
            Self::Metrics => !config.metrics.listeners.is_empty(),
        }
    }

    /// The servers that `mailstead serve` runs.
    pub(crate) fn enabled(config: &Config) -> Vec<Self> {
        Self::ALL.into_iter().filter(|server| server.is_enabled(config)).collect()
    }

    /// Where it listens.
    pub(crate) fn listeners(self, config: &Config) -> &[Listener] {
        match self {
            Self::Smtp => &config.smtp.listeners,
            Self::Queue => &[],
            Self::Imap => &config.imap.listeners,
            Self::Pop3 => &config.pop3.listeners,
            Self::Metrics => &config.metrics.listeners,
        }
    }

    /// True if a new process may start while the old one still finishes its work. Two queue runners would
    /// both try the same message.
    pub(crate) const fn may_overlap(self) -> bool {
        match self {
            Self::Smtp | Self::Imap | Self::Pop3 | Self::Metrics => true,
            Self::Queue => false,
        }
    }

    /// Is this server until it is told to stop: the whole life of a child process, or of a server run alone.
    pub(crate) fn run(self, config: &Path) -> ExitCode {
        let name = self.name();
        match self {
            Self::Smtp => program::run(name, config, |config| Self::Smtp.listeners(config), smtp_server::run),
            Self::Queue => {
                program::run(name, config, |config| Self::Queue.listeners(config), smtp_queue::run)
            }
            Self::Imap => program::run(name, config, |config| Self::Imap.listeners(config), imap_server::run),
            Self::Pop3 => program::run(name, config, |config| Self::Pop3.listeners(config), pop3_server::run),
            Self::Metrics => program::run(
                name,
                config,
                |config| Self::Metrics.listeners(config),
                supervisor::serve_metrics,
            ),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
