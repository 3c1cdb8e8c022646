//! Rules that hold for whatever octets come. `README.md` lists the targets and says how to run them for long.

mod cut;
mod dictionary;
mod mutate;
mod seeds;
mod target;

use anyhow::{Context as _, Result};

pub use mutate::Mutator;
pub use seeds::seeds;

/// A rule, and what inputs are made of.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As the command line and `corpus/` name it.
    pub name: &'static str,
    /// Panics if the octets break the rule.
    pub run: fn(&[u8]),
    /// In the form of libFuzzer and AFL: a word in quotes on each line.
    pub dictionary: &'static str,
}

const IMAP: &str = include_str!("../dictionaries/imap.dict");
const MAIL: &str = include_str!("../dictionaries/mail.dict");
const SMTP: &str = include_str!("../dictionaries/smtp.dict");
const POP3: &str = include_str!("../dictionaries/pop3.dict");
const MILTER: &str = include_str!("../dictionaries/milter.dict");
const NAMES: &str = include_str!("../dictionaries/names.dict");

const fn target(name: &'static str, run: fn(&[u8]), dictionary: &'static str) -> Target {
    Target { name, run, dictionary }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("imap_framer", target::imap::framer, IMAP),
    target("imap_command", target::imap::command, IMAP),
    target("imap_client", target::imap::client, IMAP),
    target("imap_response", target::imap_response::response, MAIL),
    target("mailbox_name", target::names::mailbox_name, NAMES),
    target("smtp", target::smtp::commands_and_replies, SMTP),
    target("pop3", target::pop3::commands_and_responses, POP3),
    target("milter", target::milter::packets, MILTER),
    target("mail_data", target::smtp::mail_data, SMTP),
    target("message", target::message::message, MAIL),
    target("file_name", target::names::file_name, NAMES),
    target("deflate", target::deflate::deflate, IMAP),
];

impl Target {
    /// The target of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        TARGETS
            .iter()
            .find(|it| it.name == name)
            .copied()
            .with_context(|| format!("no target is named {name}"))
    }
}
