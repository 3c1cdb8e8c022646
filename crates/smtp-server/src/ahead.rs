//! Recipients whose commands have come together: the directory is asked about all of them at once.

use std::collections::VecDeque;
use std::sync::Arc;

use mail_directory::{Moment, Resolution, Sender, Standing};
use mail_types::Address;
use smtp_proto::{Command, Recipient, ReversePath};
use smtp_queue::Suppression;
use tracing::error;

use crate::quota::{QuotaError, Quotas};
use crate::suppressed::obstacle;

/// So many are looked up together at most.
const MOST: usize = 200;

/// What is found out about a recipient.
#[derive(Debug)]
pub(crate) enum Found {
    /// Who gets its mail; where it is ours, with room for it.
    Known(Address, Resolution),
    /// Nobody to whom it leads has room.
    Full(Address),
    /// Nobody here, and to get no such mail, for this reason.
    Suppressed(String),
    /// There is no postmaster yet.
    Nobody,
    /// It could not be found out.
    Trouble,
}

/// What is asked about all recipients of a transaction.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) sender: ReversePath,
    pub(crate) standing: Standing,
    /// Octets, as the client says.
    pub(crate) size: Option<u64>,
    pub(crate) delimiter: Option<char>,
    pub(crate) quotas: Quotas,
    /// Obeyed for addresses elsewhere.
    pub(crate) suppression: Option<Arc<Suppression>>,
}

impl Question {
    /// Blocks.
    pub(crate) fn ask(&self, moment: &Moment<'_>, recipient: &Recipient) -> Found {
        self.try_ask(moment, recipient).unwrap_or_else(|error| {
            error!(%error, "the directory can't be asked");
            Found::Trouble
        })
    }

    fn try_ask(&self, moment: &Moment<'_>, recipient: &Recipient) -> Result<Found, QuotaError> {
        let address = match recipient {
            Recipient::Address(address) => address.clone(),
            Recipient::Postmaster => match moment.postmaster()? {
                Some(address) => address,
                None => return Ok(Found::Nobody),
            },
        };
        let sender = Sender { address: self.sender.as_ref(), standing: self.standing };
        let resolution = moment.resolve(&address, sender, self.delimiter)?;
        if let (Resolution::Foreign, Some(list)) = (&resolution, &self.suppression)
            && let Some(text) = obstacle(list, &address)
        {
            return Ok(Found::Suppressed(text));
        }
        Ok(match self.quotas.with_room(moment, resolution, self.size, self.delimiter)? {
            Some(resolution) => Found::Known(address, resolution),
            None => Found::Full(address),
        })
    }
}

/// What was found out about recipients whose commands are the next ones. It must be cleared before any other command is performed.
#[derive(Debug, Default)]
pub(crate) struct Ahead(VecDeque<(Recipient, Found)>);

impl Ahead {
    pub(crate) fn new(found: Vec<(Recipient, Found)>) -> Self {
        Self(found.into())
    }

    /// What was found out about the recipient of this command.
    pub(crate) fn take(&mut self, recipient: &Recipient) -> Option<Found> {
        let (known, found) = self.0.pop_front()?;
        if known == *recipient {
            return Some(found);
        }
        self.clear();
        None
    }

    /// Forgets all: time has passed, or something else comes first.
    pub(crate) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

/// True for one that may mean another, whom it takes longer to find out.
fn is_literal(recipient: &Recipient) -> bool {
    matches!(recipient, Recipient::Address(address) if address.domain().is_literal())
}

/// The recipients of the RCPT commands that `input` begins with, up to one at an address literal.
pub(crate) fn recipients(input: &[u8]) -> Vec<Recipient> {
    let recipient = |line: &[u8]| match Command::parse(line.strip_suffix(b"\r\n")?) {
        Ok(Command::Rcpt { to, .. }) => Some(to).filter(|to| !is_literal(to)),
        _ => None,
    };
    input.split_inclusive(|octet| *octet == b'\n').map_while(recipient).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|it| Recipient::Address(it.parse().unwrap())).collect();
        assert_eq!(recipients(input.as_bytes()), expected, "{input:?}");
    }

    #[test]
    fn only_whole_rcpt_commands_that_come_next_are_looked_ahead_for() {
        check("RCPT TO:<a@x.org>\r\nrcpt to:<b@x.org>\r\nDATA\r\n", &["a@x.org", "b@x.org"]);
        check("RCPT TO:<a@x.org>\r\nRCPT TO:<b@x.or", &["a@x.org"]);
        check("RSET\r\nRCPT TO:<a@x.org>\r\n", &[]);
        check("RCPT TO:<a@x.org>\nRCPT TO:<b@x.org>\r\n", &[]);
        check("RCPT TO:<a@x.org>\r\nRCPT TO:<b@[192.0.2.1]>\r\nRCPT TO:<c@x.org>\r\n", &["a@x.org"]);
        check("RCPT TO:a\r\nRCPT TO:<b@x.org>\r\n", &[]);
        check(&"RCPT TO:<a@x.org>\r\n".repeat(MOST + 1), &["a@x.org"; MOST]);
    }

    #[test]
    fn what_was_found_out_about_another_recipient_is_forgotten() {
        let [a, b] = ["a@x.org", "b@x.org"].map(|it| Recipient::Address(it.parse().unwrap()));
        let mut ahead = Ahead::new(vec![(a.clone(), Found::Nobody), (b.clone(), Found::Nobody)]);
        assert!(ahead.take(&b).is_none());
        assert!(ahead.take(&b).is_none(), "the commands are others than were expected");
        let mut ahead = Ahead::new(vec![(a.clone(), Found::Nobody), (b.clone(), Found::Nobody)]);
        assert!(ahead.take(&a).is_some() && ahead.take(&b).is_some() && ahead.take(&b).is_none());
    }
}
