use clap::Subcommand;
use mail_types::Address;

use super::ListArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum SuppressionCommand {
    /// Lists the addresses, and those that have bounced but not often enough
    List(ListArguments),
    /// Shows what is known of one address; exits with 1 if nothing is
    Show {
        /// Such as bob@example.net
        address: Address,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Has addresses get no bulk mail until they are removed; the running server sees it at once
    Add {
        /// Such as bob@example.net
        #[arg(required = true)]
        addresses: Vec<Address>,
        /// What its sender is told
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Forgets addresses: mail goes to them again; the running server sees it at once
    Remove {
        /// Such as bob@example.net
        #[arg(required = true)]
        addresses: Vec<Address>,
    },
}
