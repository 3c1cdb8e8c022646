use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use mail_config::{parse_duration, parse_size};
use mail_types::{AddressPattern, Domain};
use smtp_queue::{Filter, NextHop, Priority, SenderFilter, WaitState};

#[derive(Debug, Args)]
pub(crate) struct QueueArguments {
    #[command(subcommand)]
    pub(crate) command: Option<QueueCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Lists the queued messages, oldest first
    List {
        #[command(flatten)]
        filter: QueueFilter,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows one message, its recipients and what came of the last attempts
    Show {
        /// As `queue list` names it
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the message itself
        #[arg(long, conflicts_with = "json")]
        message: bool,
    },
    /// Has recipients tried at once
    Retry(QueueSelection),
    /// Holds messages back from delivery and expiry
    Hold(QueueSelection),
    /// Lets held messages go on
    Release {
        #[command(flatten)]
        selection: QueueSelection,
        /// What its sender holds back until later (FUTURERELEASE) goes at once too
        #[arg(long)]
        early: bool,
    },
    /// Removes messages without telling their senders
    Remove(QueueSelection),
    /// Has recipients go to another host than the config says, at once; those here are delivered here in any case
    #[command(group = ArgGroup::new("where").required(true).args(["to", "back"]))]
    Reroute {
        #[command(flatten)]
        selection: QueueSelection,
        /// A host, such as mx.example.net, 192.0.2.1:2525 or [2001:db8::1]; one that the config names is spoken to as it says there
        #[arg(long, value_name = "HOST[:PORT]")]
        to: Option<NextHop>,
        /// Again where the config says
        #[arg(long)]
        back: bool,
    },
}

/// Messages are meant with all of their recipients, but where a retry or another way is for some.
#[derive(Debug, Args)]
pub(crate) struct QueueSelection {
    /// As `queue list` names them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Every message in the queue
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: QueueFilter,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// All of it must fit.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which messages")]
pub(crate) struct QueueFilter {
    /// From this sender, such as alice@example.org, @example.org for all of a domain, or "<>" for reports
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    pub(crate) sender: Option<SenderFilter>,
    /// Waiting for this recipient, or for one in a domain, such as @example.net
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) recipient: Option<AddressPattern>,
    /// Waiting for a recipient in this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<Domain>,
    /// Queued at least so long ago, such as 4h or 2d
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) older_than: Option<Duration>,
    /// Queued at most so long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) newer_than: Option<Duration>,
    /// Of which the last attempt failed so: a status or its beginning, such as 4.4, or words of what was said
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Why it waits
    #[arg(long, value_enum)]
    pub(crate) state: Option<QueueState>,
    /// Of at least this size, such as 10MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) larger_than: Option<u64>,
    /// Of at most this size
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) smaller_than: Option<u64>,
    /// Of this priority (MT-PRIORITY), such as 4, or from one to another, such as -9..-1
    #[arg(long, value_name = "PRIORITY", allow_hyphen_values = true)]
    pub(crate) priority: Option<Priorities>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueueState {
    /// Not tried yet
    New,
    /// Tried, and tried again later
    Deferred,
    /// Held back until later by its sender (FUTURERELEASE)
    Scheduled,
    /// Held by an operator
    Held,
}

/// From the least to the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priorities(Priority, Priority);

impl FromStr for Priorities {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if least <= most => Ok(Self(least, most)),
            _ => Err("expected a number from -9 to 9, or two of them such as -9..-1".to_owned()),
        }
    }
}

impl QueueFilter {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            older_than: self.older_than,
            newer_than: self.newer_than,
            reason: self.reason.clone(),
            state: self.state.map(|state| match state {
                QueueState::New => WaitState::New,
                QueueState::Deferred => WaitState::Deferred,
                QueueState::Scheduled => WaitState::Scheduled,
                QueueState::Held => WaitState::Held,
            }),
            min_size: self.larger_than,
            max_size: self.smaller_than,
            priority: self.priority.map(|Priorities(least, most)| (least, most)),
        }
    }
}

fn sender(text: &str) -> Result<SenderFilter, String> {
    if text == "<>" {
        return Ok(SenderFilter::Nobody);
    }
    text.parse().map(SenderFilter::Somebody).map_err(|error: mail_types::AddressError| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a time such as 30m, 4h or 2d".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "expected a size such as 10MiB".to_owned())
}
