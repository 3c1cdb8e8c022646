use clap::{Args, ValueEnum};
use mail_types::{AddressPattern, Domain, Network};

use super::Moment;

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// What a line is about
    #[arg(long, value_enum, default_value = "day")]
    pub(crate) by: Grouping,
    /// Not before: a day such as 2026-11-28, a moment such as 2026-11-28T07:00:00Z, or so long ago, such as 24h or 7d
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Moment>,
    /// Not after; a day to its end
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<Moment>,
    /// Only mail from this sender, such as alice@example.org, or @example.org for all of a domain
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) sender: Option<AddressPattern>,
    /// Only recipients in this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<Domain>,
    /// Only what this account has sent, such as crm@example.org, or @example.org for all of a domain
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) account: Option<AddressPattern>,
    /// Only what came from this IP address or network
    #[arg(long, value_name = "NETWORK")]
    pub(crate) address: Option<Network>,
    /// Show so many lines: the last messages and days, the greatest of all else [default: 100, with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grouping {
    /// One message
    Message,
    /// The address in MAIL FROM
    Sender,
    /// The recipients' domain
    Domain,
    /// A day
    Day,
    /// Why it was deferred, bounced or refused
    Reason,
    /// Who brought it: the account, or else the IP address
    Client,
}
