//! How long a client may go on that brings no mail, and how slowly mail may come.

use std::time::Duration;

use mail_config::SmtpConfig;
use smtp_proto::Reply;
use tokio::time::Instant;

use crate::connection::End;

/// A client that brings no message is served for so many times the wait for a command.
const WAITS: u32 = 12;
/// In a crowd a client is served for such a part of the time. Postfix under stress waits 10 seconds instead of 5 minutes.
const HASTE: u32 = 10;
/// Recipients over the limit, or refused to users of ours, before more of them count as mistakes: a client with a long list says it in one go.
const MAX_REFUSED_RECIPIENTS: u32 = 10_000;
/// The least octets in a second that mail data may come by in the long run. Postfix's `smtpd_min_data_rate`.
const SLOWEST: u64 = 500;

/// What a client has done since its last message.
#[derive(Debug)]
pub(crate) struct Patience {
    since: Instant,
    /// Commands that were refused.
    errors: u32,
    /// Commands that led nowhere.
    junk: u32,
    /// Recipients that were refused, which is no mistake of the client.
    refused_recipients: u32,
}

/// What a command was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One that brings no message nearer.
    Junk,
    /// RCPT from a stranger.
    Recipient,
    /// RCPT from a user of ours, or from a server of ours by LMTP, whose list of recipients others have filled.
    OurRecipient,
    /// Any other, and what is no command.
    Other,
}

impl Kind {
    /// True if such a reply to it is no mistake of the client.
    fn excuses(self, reply: &Reply) -> bool {
        match self {
            Self::OurRecipient => reply.is_negative(),
            // RFC 5321 §4.5.3.1.10: over the limit; the client sends to them next.
            Self::Recipient => reply.code() == 452,
            Self::Junk | Self::Other => false,
        }
    }
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, errors: 0, junk: 0, refused_recipients: 0 }
    }

    /// A message has come to its end, whatever the reply. One that was taken makes up for all before it.
    pub(crate) fn message(&mut self, reply: &Reply, now: Instant) {
        self.since = now;
        if reply.class() == 2 {
            *self = Self::new(now);
        }
    }

    /// A command was answered so. Why the connection is to end, if it is.
    pub(crate) fn command(&mut self, kind: Kind, reply: &Reply, smtp: &SmtpConfig) -> Option<Reply> {
        if kind.excuses(reply) {
            self.refused_recipients += 1;
            self.errors += u32::from(self.refused_recipients > MAX_REFUSED_RECIPIENTS);
        } else {
            self.errors += u32::from(reply.is_negative());
        }
        self.junk += u32::from(kind == Kind::Junk);
        if self.errors > smtp.max_errors {
            Some(Reply::new(421, "4.7.0", "Too many commands were refused; goodbye"))
        } else if self.junk > smtp.max_junk_commands {
            Some(Reply::new(421, "4.7.0", "Too many commands that lead to no mail; goodbye"))
        } else {
            None
        }
    }

    /// How long the next command is waited for, `longest` at most.
    pub(crate) fn wait(&self, longest: Duration, now: Instant) -> Wait {
        let until = |longest: Duration| (now + longest).min(self.since + longest * WAITS);
        let deadline = until(longest);
        let end = if deadline < now + longest { End::Fruitless } else { End::TimedOut };
        Wait { deadline, end, in_crowd: until(longest / HASTE) }
    }
}

/// By when the whole of a command must be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) deadline: Instant,
    /// What has ended then.
    pub(crate) end: End,
    /// The same where so many are connected that there is hardly room for others.
    pub(crate) in_crowd: Instant,
}

/// By when more of the mail data must be here: what comes in parts gains time, as much as its octets are worth.
#[derive(Debug)]
pub(crate) struct Pace {
    longest: Duration,
    /// Octets that still gain time.
    counted: u64,
    pub(crate) deadline: Instant,
    /// By when anything must be here where so many are connected that there is hardly room for others.
    pub(crate) in_crowd: Instant,
}

impl Pace {
    /// Nothing may come for the `longest` time. What is beyond twice the octets of the longest message gains none: nobody waits for its
    /// end for ever.
    pub(crate) fn new(longest: Duration, max_message_size: u64, now: Instant) -> Self {
        let counted = max_message_size.saturating_mul(2);
        Self { longest, counted, deadline: now + longest, in_crowd: now + longest / HASTE }
    }

    /// So many octets have come.
    pub(crate) fn came(&mut self, octets: usize, now: Instant) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX).min(self.counted);
        self.counted -= octets;
        let gained = Duration::from_millis(octets.saturating_mul(1000) / SLOWEST);
        self.deadline = (self.deadline + gained).min(now + self.longest);
        self.in_crowd = now + self.longest / HASTE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Until when a client is waited for that sends so many octets each second.
    fn lasts(octets: usize) -> Duration {
        let start = Instant::now();
        let mut pace = Pace::new(5 * MINUTE, 5_000_000, start);
        let mut now = start;
        while now < pace.deadline && now < start + 600 * MINUTE {
            pace.came(octets, now);
            now += Duration::from_secs(1);
        }
        now - start
    }

    #[test]
    fn mail_data_may_come_slowly_but_not_for_ever() {
        assert_eq!(lasts(0), 5 * MINUTE);
        assert!(lasts(1) < 6 * MINUTE);
        assert!((9 * MINUTE..11 * MINUTE).contains(&lasts(250)));
        assert!(lasts(500) > 300 * MINUTE);
        assert!(lasts(500) < 350 * MINUTE, "twice the greatest size is ten megabytes");
        assert!(lasts(1_000_000) < 6 * MINUTE);
    }

    #[test]
    fn what_has_come_fast_makes_up_for_no_more_than_the_longest_wait() {
        let now = Instant::now();
        let mut pace = Pace::new(5 * MINUTE, u64::MAX, now);
        pace.came(usize::MAX, now);
        assert_eq!((pace.deadline, pace.in_crowd), (now + 5 * MINUTE, now + MINUTE / 2));
    }

    /// RFC 5321 §4.5.3.1.10
    #[test]
    fn a_long_list_of_recipients_is_no_mistake_and_an_endless_one_is() {
        let (mut patience, smtp) = (Patience::new(Instant::now()), SmtpConfig::default());
        let over = Reply::new(452, "4.5.3", "Too many recipients");
        for _ in 0..MAX_REFUSED_RECIPIENTS + smtp.max_errors {
            assert_eq!(patience.command(Kind::Recipient, &over, &smtp), None);
        }
        assert_eq!(patience.command(Kind::Recipient, &over, &smtp).map(|reply| reply.code()), Some(421));
    }

    /// How many commands of this kind are refused in this way before the connection is closed.
    fn last(kind: Kind, code: u16) -> u32 {
        let (mut patience, smtp) = (Patience::new(Instant::now()), SmtpConfig::default());
        let refusal = Reply::new(code, "5.1.2", "");
        (0..).find(|_| patience.command(kind, &refusal, &smtp).is_some()).unwrap()
    }

    #[test]
    fn only_recipients_may_be_refused_often_and_dead_ones_only_to_users_of_ours() {
        let few = SmtpConfig::default().max_errors;
        let many = few + MAX_REFUSED_RECIPIENTS;
        assert_eq!((last(Kind::OurRecipient, 550), last(Kind::OurRecipient, 452)), (many, many));
        assert_eq!((last(Kind::Recipient, 550), last(Kind::Recipient, 452)), (few, many));
        assert_eq!((last(Kind::Other, 550), last(Kind::Other, 452)), (few, few), "MAIL to a full disk");
    }

    #[test]
    fn a_message_that_was_taken_makes_up_for_what_came_before_it() {
        let (mut patience, now) = (Patience::new(Instant::now()), Instant::now());
        let smtp = SmtpConfig { max_errors: 1, max_junk_commands: 1, ..SmtpConfig::default() };
        let [taken, refused] =
            [(250, "2.0.0"), (550, "5.7.1")].map(|(code, status)| Reply::new(code, status, ""));
        assert_eq!(patience.command(Kind::Junk, &taken, &smtp), None);
        assert_eq!(patience.command(Kind::Other, &refused, &smtp), None);
        patience.message(&taken, now);
        assert_eq!(patience.command(Kind::Junk, &taken, &smtp), None);
        patience.message(&refused, now);
        assert!(patience.command(Kind::Junk, &taken, &smtp).is_some(), "a refused one does not");
    }

    #[test]
    fn who_brings_no_message_is_served_for_an_hour() {
        let now = Instant::now();
        let patience = Patience::new(now);
        let at = |minutes: u32| patience.wait(5 * MINUTE, now + minutes * MINUTE);
        let (end, in_crowd) = (End::TimedOut, now + MINUTE / 2);
        assert_eq!(at(0), Wait { deadline: now + 5 * MINUTE, end, in_crowd });
        let (end, in_crowd) = (End::Fruitless, now + 6 * MINUTE);
        assert_eq!(at(58), Wait { deadline: now + 60 * MINUTE, end, in_crowd });
    }
}
