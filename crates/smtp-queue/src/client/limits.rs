//! What a host takes on one connection, as it tells in its reply to EHLO: RFC 9422.

use std::collections::HashSet;
use std::num::NonZeroU32;

use mail_types::Domain;

use super::outgoing::Recipient;

/// The limits of one connection; `None` where none is told. RFC 9422 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// MAILMAX: transactions, each MAIL counted whatever is answered to it.
    pub(crate) transactions: Option<NonZeroU32>,
    /// RCPTMAX: recipients of one transaction, each RCPT counted whatever is answered to it.
    pub(crate) recipients: Option<NonZeroU32>,
    /// RCPTDOMAINMAX: domains of recipients, in all transactions of the connection together.
    pub(crate) domains: Option<NonZeroU32>,
}

impl Limits {
    /// What stands behind the keyword. A limit that is not known, or whose value is none of its own, is ignored; all are where one has another
    /// form: RFC 9422 §3.7.
    pub(crate) fn parse(text: &str) -> Self {
        let mut limits = Self::default();
        for limit in text.split(' ') {
            if !is_limit(limit) {
                return Self::default();
            }
            let Some((name, value)) = limit.split_once('=') else { continue };
            let Some(value) = limit_value(value) else { continue };
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.transactions = Some(value),
                "RCPTMAX" => limits.recipients = Some(value),
                "RCPTDOMAINMAX" => limits.domains = Some(value),
                _ => {}
            }
        }
        limits
    }
}

/// `limit-name ["=" limit-value]`. RFC 9422 §3
fn is_limit(text: &str) -> bool {
    let (name, value) = text.split_once('=').unwrap_or((text, "-"));
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    let is_value = |octet: u8| octet.is_ascii_graphic() && octet != b';';
    !name.is_empty() && name.bytes().all(is_name) && !value.is_empty() && value.bytes().all(is_value)
}

/// `%x31-39 0*5DIGIT`. RFC 9422 §4
fn limit_value(text: &str) -> Option<NonZeroU32> {
    let is_limit = (1..=6).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_digit())
        && !text.starts_with('0');
    text.parse().ok().filter(|_| is_limit)
}

/// What is left of the limits of a connection.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    limits: Limits,
    transactions: u32,
    domains: HashSet<Domain>,
}

impl Allowance {
    /// Of a connection on which no mail has been sent yet.
    pub(crate) fn of(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// True if the connection takes no further transaction.
    pub(crate) fn is_used_up(&self) -> bool {
        self.limits.transactions.is_some_and(|most| self.transactions >= most.get())
    }

    /// The places of those who may be the recipients of the next transaction: all, or the first ones within the limits.
    pub(crate) fn choose(&self, recipients: &[&Recipient]) -> Vec<usize> {
        if self.is_used_up() {
            return Vec::new();
        }
        let (most, mut domains) = (up_to(self.limits.recipients), self.domains.clone());
        let fits = |(_, recipient): &(usize, &&Recipient)| {
            let domain = recipient.address.domain();
            domains.contains(domain)
                || domains.len() < up_to(self.limits.domains) && domains.insert(domain.clone())
        };
        recipients.iter().enumerate().filter(fits).map(|(place, _)| place).take(most).collect()
    }

    /// A transaction with these recipients begins.
    pub(crate) fn spend(&mut self, recipients: &[Recipient]) {
        self.transactions = self.transactions.saturating_add(1);
        if self.limits.domains.is_some() {
            self.domains.extend(recipients.iter().map(|recipient| recipient.address.domain().clone()));
        }
    }
}

fn up_to(limit: Option<NonZeroU32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit.get()).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Outgoing;

    fn limits(transactions: u32, recipients: u32, domains: u32) -> Limits {
        let [transactions, recipients, domains] = [transactions, recipients, domains].map(NonZeroU32::new);
        Limits { transactions, recipients, domains }
    }

    /// RFC 9422 §3.7, §4
    #[test]
    fn limits_are_read_and_what_is_none_is_ignored() {
        for (text, expected) in [
            ("MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1", limits(5, 20, 1)),
            ("rcptmax=999999", limits(0, 999_999, 0)),
            ("X-MAX=1 MAILMAX=3 FLAG", limits(3, 0, 0)),
            ("MAILMAX=0 RCPTMAX=-1 RCPTDOMAINMAX=1000000", Limits::default()),
            ("MAILMAX=05 RCPTMAX=many RCPTDOMAINMAX=1", limits(0, 0, 1)),
            ("MAILMAX=5 FUTURE=a=b", limits(5, 0, 0)),
            ("", Limits::default()),
            // No parameter of the extension at all.
            ("MAILMAX=5  RCPTMAX=20", Limits::default()),
            ("MAILMAX=5 RCPTMAX=", Limits::default()),
            ("MAILMAX=5 =20", Limits::default()),
            ("MAILMAX=5; RCPTMAX=20", Limits::default()),
            ("MAILMAX=5 RCPT/MAX=20", Limits::default()),
        ] {
            assert_eq!(Limits::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn recipients_are_chosen_within_what_is_left() {
        let outgoing = Outgoing::plain("", &["a@x", "b@y", "c@x", "d@Y", "e@z"], 1);
        let recipients: Vec<&Recipient> = outgoing.recipients.iter().collect();
        let chosen = |limits| Allowance::of(limits).choose(&recipients);
        assert_eq!(chosen(Limits::default()), [0, 1, 2, 3, 4]);
        assert_eq!(chosen(limits(0, 2, 0)), [0, 1]);
        assert_eq!(chosen(limits(0, 0, 1)), [0, 2]);
        assert_eq!(chosen(limits(0, 3, 2)), [0, 1, 2]);
        let mut allowance = Allowance::of(limits(2, 0, 1));
        allowance.spend(&outgoing.recipients[1..2]);
        assert_eq!(allowance.choose(&recipients), [1, 3], "of the connection's one domain");
        allowance.spend(&outgoing.recipients[3..4]);
        assert!(allowance.is_used_up() && allowance.choose(&recipients).is_empty());
    }
}
