use clap::{Args, Subcommand, ValueEnum};
use mail_types::{AddressPattern, Domain, Network};

use super::Moment;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ReportArguments {
    #[command(subcommand)]
    pub(crate) received: Option<ReceivedReports>,
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
    /// Only what this client has sent: an account, the name of a relay client, or an IP address, as --by client has it
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
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
    /// Who brought it: the account or the name of a relay client, or else the IP address
    Client,
}

/// What others report, where the config has addresses for that.
#[derive(Debug, Subcommand)]
pub(crate) enum ReceivedReports {
    /// What others did with mail in the name of our domains, by who sent it and whether SPF and DKIM passed
    Dmarc(ReceivedArguments),
    /// How others' TLS with our mail hosts went, and why it failed
    Tls(ReceivedArguments),
    /// Who called mail of ours spam, or worse
    Feedback(ReceivedArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ReceivedArguments {
    /// Reports that came not before: a day such as 2026-11-28, a moment, or so long ago, such as 7d
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Moment>,
    /// Not after; a day to its end
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<Moment>,
    /// Only about this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<Domain>,
    /// Show so many lines [default: 100, with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
