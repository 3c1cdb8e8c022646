use clap::{Args, Subcommand};
use mail_types::Domain;

#[derive(Debug, Subcommand)]
pub(crate) enum DkimCommand {
    /// Lists keys with their DNS records
    List(DkimListArguments),
    /// Makes new keys for a domain; they sign once they are put to use, or at once where it had none
    Rotate {
        /// Such as example.org
        domain: Domain,
    },
    /// Signs with other keys from now on; the running queue sees it at once
    Use {
        /// Such as example.org
        domain: Domain,
        /// As `mailstead dkim list` names them, such as 20261128
        keys: String,
    },
    /// Removes keys that are not in use any more, or all of a domain
    Remove {
        /// Such as example.org
        domain: Domain,
        /// As `mailstead dkim list` names them
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        keys: Option<String>,
        /// All, also those in use: mail of the domain goes out without a signature then
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DkimListArguments {
    /// Only this domain's
    pub(crate) domain: Option<Domain>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
