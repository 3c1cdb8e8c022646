//! A message on its way to the milters and back.

use smtp_proto::{Body, Reply};

use super::{Incoming, MAX_HEADER, Verdicted, bare_cr_or_lf, header_too_long, missing, too_big};
use crate::milter::{Mail, Ruled};
use crate::policy::Verdict;
use crate::transaction::Transaction;

impl Incoming {
    /// Who sends it to whom, to be changed.
    pub(crate) const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Another sender, or others who get it.
    pub(crate) fn set_transaction(&mut self, transaction: Transaction) {
        self.transaction = transaction;
    }

    /// The whole message, judged, as it would be stored now; `None` if it is refused. Computes.
    pub(crate) fn gather(&mut self) -> Option<Mail> {
        let piece = std::mem::take(&mut self.piece);
        self.inspect(&piece);
        if self.size > self.limits.size {
            self.refuse(too_big(self.limits.size));
        }
        if (self.has_bare || self.last_octet == b'\r') && !self.transaction.is_binary() {
            self.refuse(bare_cr_or_lf());
        }
        let missing = |seen: &_| missing(seen, &self.trace, &self.transaction, self.rights.as_ref());
        let rest = self.header.pass(&piece, &mut self.held, missing).to_vec();
        self.header.finish(&mut self.held, missing);
        if self.held.len() > MAX_HEADER {
            self.refuse(header_too_long());
        }
        if self.header.seen.received > self.limits.hops {
            // RFC 5321 §6.3.
            self.refuse(Reply::new(554, "5.4.6", "The message goes round in a loop"));
        }
        let Verdicted::Known { body, .. } = &mut self.verdict else { return None };
        if self.refusal.is_some() {
            return None;
        }
        let mut body = std::mem::take(body);
        body.put_behind(rest);
        Some(Mail::new(&std::mem::take(&mut self.held), body))
    }

    /// Takes the message back, with what the milters have made of it.
    pub(crate) fn take_back(&mut self, mail: Mail, ruled: &Ruled) {
        self.held = mail.header();
        let above = mail.above();
        if ruled.is_changed {
            self.holds = self.holds.max(Body::of(&self.held)).max(Body::of(&above)).max(mail.body.holds);
        }
        if let Some(refusal) = &ruled.refusal {
            self.refuse(refusal.clone());
        }
        self.is_discarded |= ruled.is_discarded;
        self.is_held |= ruled.quarantine.is_some();
        let Verdicted::Known { verdict, body } = &mut self.verdict else { return };
        *body = mail.body;
        let junk = ruled.junk.iter().map(|milter| (milter, "junk"));
        for (milter, word) in junk.chain(ruled.quarantine.iter().map(|(milter, _)| (milter, "quarantine"))) {
            verdict.get_or_insert_with(|| Box::new(Verdict::unknown())).add_junk(milter, word);
        }
        if !above.is_empty() {
            let verdict = verdict.get_or_insert_with(|| Box::new(Verdict::unknown()));
            verdict.fields.insert_str(0, &String::from_utf8_lossy(&above));
        }
    }
}
