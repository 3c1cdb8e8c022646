mod dkim;
mod moment;
mod queue;
mod report;
mod suppression;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mail_config::parse_size;
use mail_directory::{Limit, Posting};
use mail_types::{Address, AddressPattern, Domain, MailboxName, Rights};

use crate::store::export::Format;
pub(crate) use dkim::{DkimCommand, DkimListArguments};
pub(crate) use moment::{Moment, span};
pub(crate) use queue::{QueueArguments, QueueCommand, QueueSelection};
pub(crate) use report::{Grouping, ReceivedArguments, ReceivedReports, ReportArguments};
pub(crate) use suppression::SuppressionCommand;

/// Hosts a small mail domain: receives mail, sends it on, and lets people read it.
#[derive(Debug, Parser)]
#[command(name = "mailstead", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// The configuration file [default: /etc/mailstead/mailstead.toml]
    #[arg(long, global = true, env = "MAILSTEAD_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, 1 it failed, 2 wrong usage or config.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a domain to try things on, on this machine only, with two accounts and the settings for a mail client
    Demo(DemoArguments),
    /// Writes a config and a certificate for testing, and prints the DNS records to publish
    Init(InitArguments),
    /// Runs all servers that the config enables, each in a process of its own
    ///
    /// SIGHUP puts a changed config into force: new processes take over, the old ones finish their sessions. SIGTERM and
    /// Ctrl-C let everything finish and stop; a second one stops at once.
    Serve,
    /// Runs the SMTP server alone, on its own sockets or on those that systemd hands down
    Smtp,
    /// Runs the delivery of queued mail alone, or, with a command, looks after the queue
    Queue(QueueArguments),
    /// Runs the IMAP server alone, likewise
    Imap,
    /// Runs the POP3 server alone, likewise
    Pop3,
    /// Tells by HTTP, alone, what the running servers count
    Metrics,
    /// Shows how the running servers are
    ///
    /// Exits with 0 if every server runs, with 1 if one does not.
    Status(StatusArguments),
    /// Finds what happened to a message, from the connection that brought it to the mailbox or the next host
    ///
    /// Shows who brought it, what was found out about it and what became of it, each attempt to send it on with what the other
    /// host said, and the report that its sender got; and what was refused. Works while the servers run and while they don't.
    /// Exits with 1 if nothing was found.
    Trace(TraceArguments),
    /// Counts what came of mail: received, sent, deferred, bounced, refused, and why
    ///
    /// Recipients are counted, of what is deferred attempts. Reads the event log, while the servers run and while they don't. With a command it shows
    /// what others report about mail in our name.
    Report(ReportArguments),
    /// Checks the config
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Adds, lists, removes accounts; sets passwords
    #[command(subcommand)]
    Account(AccountCommand),
    /// Adds, lists, removes local domains
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Makes, lists, exchanges the keys that outgoing mail is signed with (DKIM), and prints their DNS records
    #[command(subcommand)]
    Dkim(DkimCommand),
    /// Adds, lists, removes aliases
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Adds, lists, removes lists of members
    #[command(subcommand)]
    List(ListCommand),
    /// Lists, adds, removes addresses that get no bulk mail any more: nobody is there, or who is there has complained
    #[command(subcommand)]
    Suppression(SuppressionCommand),
    /// Adds, lists, removes senders whose mail is refused
    #[command(subcommand)]
    Refusal(RefusalCommand),
    /// Shows and changes who else may use an account's mailboxes
    #[command(subcommand)]
    Acl(AclCommand),
    /// Looks after the stored mail: imports and exports
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Print one JSON object instead of the table, once every server accepts connections
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the demo's config and mail live
    #[arg(long, default_value = "mailstead-demo", value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The domain whose mail is hosted
    pub(crate) domain: Domain,
    /// Where mail, accounts and the queue live; the config is written there too, unless --config says where
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The host's own name in the DNS [default: mail.DOMAIN]
    #[arg(long, value_name = "HOST")]
    pub(crate) hostname: Option<Domain>,
    /// The user that the servers become when started as root [default: mailstead, where there is such a user]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print what the servers have counted, in the text format of Prometheus
    #[arg(long, conflicts_with = "json")]
    pub(crate) metrics: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArguments {
    /// A Message-ID, an address that sent or should have got it, or its name in the queue, the log or its Received field; an account or
    /// a client's IP address has failed logins too
    #[arg(value_name = "MESSAGE-ID|ADDRESS|QUEUE-ID")]
    pub(crate) wanted: String,
    /// Show so many messages, those of which there was news last
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) last: usize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Reports every mistake in the config at once, and certificates that can't be used
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Adds an account; its password is asked for, or read from standard input
    Add {
        /// Such as alice@example.org
        address: Address,
    },
    /// Lists the accounts with what they hold and may hold
    List(ListArguments),
    /// Removes an account; its mail stays on disk
    Remove {
        /// Such as alice@example.org
        address: Address,
    },
    /// Shows how much mail an account may hold, or changes that; running servers see it at once
    Quota(QuotaArguments),
    /// Has an account take mail or none (550 5.2.1), or shows which; running servers see it at once
    ///
    /// Its mail can still be read, and it can still send.
    Receive {
        /// Such as alice@example.org
        address: Address,
        /// From now on
        switch: Option<Switch>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows where an account's mail goes on to, or changes that; running servers see it at once
    Forward {
        /// Such as alice@example.org
        address: Address,
        /// From now on, instead of where it went before: addresses here or elsewhere
        targets: Vec<Address>,
        /// Whether the mail stays in the account as well [default: as before; on for a new account]
        #[arg(long, value_name = "SWITCH")]
        copy: Option<Switch>,
        /// To nobody any more
        #[arg(long, conflicts_with = "targets")]
        none: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Has the server save a copy of what an account sends in its Sent mailbox, or shows whether it does
    ///
    /// A client that saves one as well has its copy put into the place of the server's.
    SentCopy {
        /// Such as alice@example.org
        address: Address,
        /// From now on
        switch: Option<Switch>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows as whom an account may send besides itself and its aliases, or changes that; running servers see it at once
    SendAs {
        /// Such as alice@example.org
        address: Address,
        /// From now on, instead of what it might before: addresses, or @example.net for all of a domain
        senders: Vec<AddressPattern>,
        /// As nobody else any more
        #[arg(long, conflicts_with = "senders")]
        none: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sets a new password, which is asked for, or read from standard input
    Password {
        /// Such as alice@example.org
        address: Address,
    },
}

/// What holds from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct QuotaArguments {
    /// Such as alice@example.org
    pub(crate) address: Address,
    /// Octets of all its messages, such as 5GiB; "none" for as many as it likes, "default" for what the config says
    #[arg(long, value_name = "SIZE", value_parser = size_limit)]
    pub(crate) storage: Option<Limit>,
    /// Messages; "none" and "default" likewise
    #[arg(long, value_name = "NUMBER", value_parser = number_limit)]
    pub(crate) messages: Option<Limit>,
    /// No limit at all
    #[arg(long, conflicts_with_all = ["storage", "messages", "default"])]
    pub(crate) none: bool,
    /// What the config says
    #[arg(long, conflicts_with_all = ["storage", "messages"])]
    pub(crate) default: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn size_limit(text: &str) -> Result<Limit, String> {
    limit(text, parse_size, "a size such as 5GiB")
}

fn number_limit(text: &str) -> Result<Limit, String> {
    limit(text, |text| text.parse().ok(), "a number of messages")
}

fn limit(text: &str, number: impl Fn(&str) -> Option<u64>, expected: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit::Unlimited),
        "default" => Ok(Limit::Default),
        _ => number(text)
            .filter(|limit| *limit > 0)
            .map(Limit::AtMost)
            .ok_or_else(|| format!("expected {expected}, \"none\" or \"default\"")),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Makes a domain local
    Add {
        /// Such as example.org
        domain: Domain,
    },
    /// Lists the local domains
    List(ListArguments),
    /// Removes a domain that has no account and no alias left
    Remove {
        /// Such as example.org
        domain: Domain,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ListCommand {
    /// Adds a list, or members to it
    ///
    /// What is posted goes on to the members from LIST-bounces, so that its owner hears of failures, not who posted. LIST-owner and LIST-request
    /// reach the owner too.
    Add {
        /// Such as staff@example.org
        list: Address,
        /// Who gets its mail: accounts, aliases, other lists, or addresses elsewhere
        members: Vec<Address>,
        /// Who looks after a new list
        #[arg(long, value_name = "ADDRESS")]
        owner: Option<Address>,
        /// Who may post to a new list, besides its owner: "anyone", "members", or "named", nobody else [default: members]
        #[arg(long, value_name = "WHO")]
        post: Option<Posting>,
    },
    /// Changes a list's owner and who may post
    Set {
        /// Such as staff@example.org
        list: Address,
        /// Who looks after it
        #[arg(long, value_name = "ADDRESS")]
        owner: Option<Address>,
        /// "anyone", "members" or "named"
        #[arg(long, value_name = "WHO")]
        post: Option<Posting>,
        /// Who may post in any case, instead of those who could before: an address, @example.net for a domain; "none" for nobody
        #[arg(long, value_name = "SENDER", num_args = 1..)]
        allow: Vec<String>,
    },
    /// Lists the lists with their members
    List(ListArguments),
    /// Removes a list, or members from it
    Remove {
        /// Such as staff@example.org
        list: Address,
        /// Who no longer gets its mail; without any, the list goes with all its members
        members: Vec<Address>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RefusalCommand {
    /// Has mail of senders refused, when they name their recipient (550 5.7.1); running servers see it at once
    ///
    /// What is sent to postmaster and abuse is not refused, so that somebody who is refused wrongly can say so.
    Add(RefusalArguments),
    /// Lists the senders whose mail is refused
    List(ListArguments),
    /// Takes mail of senders again
    Remove(RefusalArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RefusalArguments {
    /// Such as eve@example.net, or @example.net for a domain and all below it
    #[arg(required = true)]
    pub(crate) senders: Vec<AddressPattern>,
    /// Only for this account [default: for all]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) account: Option<Address>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Adds an alias, or targets to it
    Add {
        /// Such as sales@example.org; @example.org for all mail to the domain that nothing else takes
        alias: AddressPattern,
        /// Who gets its mail: accounts, other aliases, or addresses elsewhere
        #[arg(required = true)]
        targets: Vec<Address>,
    },
    /// Lists the aliases
    List(ListArguments),
    /// Removes an alias, or targets from it
    Remove {
        /// Such as sales@example.org
        alias: AddressPattern,
        /// Who no longer gets its mail; without any, the alias goes with all its targets
        targets: Vec<Address>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// Gives rights in a mailbox, instead of those that there were; clients see it at once
    ///
    /// The rights are letters: l the mailbox is listed, r it is read, s read marks are kept, w other flags, i messages are added,
    /// t and e messages are marked as deleted and removed, k mailboxes are made below it, x it is deleted, p mail is sent to it, a its
    /// rights are changed. "lrs" lets somebody read, "lrswite" work with the messages. A mailbox that is made below another has the
    /// rights of that one.
    Set {
        /// Whose mailbox, such as team@example.org
        account: Address,
        /// Such as INBOX
        mailbox: MailboxName,
        /// An account; an alias, for all accounts that it leads to; "anyone", for the accounts of the same domain; "owner". With "-"
        /// before it the rights are taken away from whoever has them otherwise
        #[arg(value_name = "WHO", allow_hyphen_values = true)]
        identifier: String,
        /// Such as lrs
        rights: Rights,
    },
    /// Lists the rights in an account's mailboxes, but for those that every owner has
    List {
        /// Such as team@example.org
        account: Address,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes what a mailbox says of somebody
    Remove {
        /// Whose mailbox, such as team@example.org
        account: Address,
        /// Such as INBOX
        mailbox: MailboxName,
        /// As `acl list` names it
        #[arg(value_name = "WHO", allow_hyphen_values = true)]
        identifier: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Brings mail from elsewhere into an account
    ///
    /// Takes Maildirs with their subfolders, mbox files and trees of them (Thunderbird's, Apple Mail's), .eml files and folders
    /// of them, and .zip, .tar and .tar.gz of these. Flags, keywords, dates and mailboxes are kept. The servers may run meanwhile.
    ///
    /// Run it again after it was stopped: messages that are there already, with the same content in the same mailbox, are not
    /// imported twice.
    Import(ImportArguments),
    /// Writes an account's mail into a folder, as a Maildir or as mbox files
    ///
    /// Nothing is changed in the account, and the servers may run meanwhile. A Maildir has subfolders, flags, keywords, dates and
    /// subscriptions as Dovecot reads them; of mbox files there is one for each mailbox, with Status, X-Status and X-Keywords.
    ///
    /// Run it again after it was stopped, and it goes on. `store import` takes back all that it writes, as it was.
    Export(ExportArguments),
    /// Looks for everything that is not as it should be in files, UIDs, sizes, flags and indexes
    ///
    /// Names each fault with its file, and changes nothing. The servers may run meanwhile. Exits with 0 if nothing was found, with
    /// 1 if something was.
    Check(CheckArguments),
    /// Makes the indexes anew from the Maildirs, with the same UIDs, flags, keywords and dates
    ///
    /// UIDs that are missing or doubled are given anew. The servers may run meanwhile. Names what can't be mended, and exits
    /// with 1 then.
    Rebuild(RebuildArguments),
    /// Shows how much an account holds
    Stats(StatsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// Whose mail, such as alice@example.org
    pub(crate) account: Address,
    /// The folder to write to; it is made if it is missing
    #[arg(value_name = "DEST")]
    pub(crate) target: PathBuf,
    /// How to write it
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Only this mailbox, and those below it
    #[arg(long, value_name = "NAME")]
    pub(crate) mailbox: Option<MailboxName>,
    /// Print the counts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Such as alice@example.org [default: all accounts]
    #[arg(value_name = "ACCOUNT")]
    pub(crate) accounts: Vec<Address>,
    /// Read every message too, and compare its content's hash with the one it had when it came
    #[arg(long)]
    pub(crate) content: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArguments {
    /// Such as alice@example.org [default: all accounts]
    #[arg(value_name = "ACCOUNT")]
    pub(crate) accounts: Vec<Address>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArguments {
    /// Such as alice@example.org
    pub(crate) account: Address,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Whose mail it becomes, such as alice@example.org
    pub(crate) account: Address,
    /// Maildirs, mbox files, .eml files, folders of these, archives of these
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<PathBuf>,
    /// Import into this mailbox, and subfolders below it; it is made if it is missing [default: INBOX, and an mbox file into the
    /// mailbox of its name]
    #[arg(long, value_name = "NAME")]
    pub(crate) mailbox: Option<MailboxName>,
    /// Say what would be imported, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the counts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// The command lines that a file shows, without the program's name.
    fn shown(text: &str) -> Vec<&str> {
        let mut commands = Vec::new();
        for line in text.lines() {
            let in_code = line.split('`').skip(1).step_by(2);
            let whole = std::iter::once(line).filter(|line| !line.contains('`'));
            commands.extend(in_code.chain(whole).filter_map(command_in));
        }
        commands
    }

    /// What stands behind `mailstead`, in whatever folder, as whatever user, or behind the service of a container.
    fn command_in(code: &str) -> Option<&str> {
        let before =
            ["sudo mailstead ", "ExecStart=/usr/local/bin/mailstead ", "--rm mailstead ", "--rm imap "];
        let behind = before.iter().find_map(|before| code.split_once(before)).map(|(_, behind)| behind);
        behind.or_else(|| code.strip_prefix("mailstead "))
    }

    #[test]
    fn every_command_that_is_shown_to_a_user_exists() {
        let files = [
            ("README.md", include_str!("../../../README.md"), 20),
            ("mailstead.service", include_str!("../../../config/systemd/mailstead.service"), 1),
            ("mailstead-smtp.service", include_str!("../../../config/systemd/mailstead-smtp.service"), 1),
            ("mailstead-queue.service", include_str!("../../../config/systemd/mailstead-queue.service"), 1),
            ("mailstead-imap.service", include_str!("../../../config/systemd/mailstead-imap.service"), 1),
            ("mailstead-pop3.service", include_str!("../../../config/systemd/mailstead-pop3.service"), 1),
            ("compose.yaml", include_str!("../../../docker/compose.yaml"), 2),
            ("separate.yaml", include_str!("../../../docker/separate.yaml"), 2),
            ("mailstead.toml", include_str!("../../../config/mailstead.toml"), 1),
        ];
        for (file, text, least) in files {
            let commands = shown(text);
            assert!(commands.len() >= least, "{file}: {commands:?}");
            for command in commands {
                let words = std::iter::once("mailstead").chain(command.split_whitespace());
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{file} shows `mailstead {command}`: {error}");
                }
            }
        }
    }
}
