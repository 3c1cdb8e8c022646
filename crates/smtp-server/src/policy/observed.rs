//! What domains that ask for it are told of mail in their name. RFC 7489 §7.2.

use mail_auth::report::{
    ActionDisposition, DmarcResult, PolicyOverride, PolicyOverrideReason, Record, SPFDomainScope,
};
use mail_auth::{DkimOutput, DmarcOutput, SpfOutput};

use super::Verdicts;
use super::client::Client;
use super::judge::Outcome;

impl Verdicts {
    /// What was found out, where the domain of From asks for reports and they are sent.
    pub(super) fn record(
        &self,
        client: &Client,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        dmarc: &DmarcOutput,
    ) -> Option<Box<Record>> {
        self.observer.as_ref()?;
        dmarc.dmarc_record().filter(|record| !record.rua().is_empty())?;
        let scope = if client.from.is_some() { SPFDomainScope::MailFrom } else { SPFDomainScope::Helo };
        let record = Record::new()
            .with_source_ip(client.ip)
            .with_header_from(dmarc.domain())
            .with_envelope_from(client.sender_domain().unwrap_or_default())
            .with_dkim_output(dkim)
            .with_spf_output(spf, scope)
            .with_dmarc_output(dmarc);
        Some(Box::new(record))
    }

    /// Counts a message of which this was found out, and that came to this end.
    pub(super) fn observe(&self, record: Record, outcome: &Outcome) {
        let Some(observer) = &self.observer else { return };
        // What is refused for now comes again.
        if matches!(outcome, Outcome::Refuse(reply) if reply.class() == 4) {
            return;
        }
        let record = disposed(record, outcome);
        observer.see(record.header_from(), &record);
    }
}

/// With what was done, where the policy asked for something.
fn disposed(record: Record, outcome: &Outcome) -> Record {
    let passes = [record.dmarc_dkim_result(), record.dmarc_spf_result()].contains(&DmarcResult::Pass);
    if passes {
        return record;
    }
    let asked = record.action_disposition();
    let done = match outcome {
        Outcome::Accept => ActionDisposition::None,
        Outcome::Junk => ActionDisposition::Quarantine,
        Outcome::Refuse(_) => ActionDisposition::Reject,
    };
    let record = record.with_action_disposition(done);
    if done == asked {
        return record;
    }
    record.with_policy_override_reason(PolicyOverrideReason::new(PolicyOverride::LocalPolicy))
}

#[cfg(test)]
mod tests {
    use smtp_proto::Reply;

    use super::*;

    #[test]
    fn a_report_says_what_was_done_and_where_that_was_not_what_the_policy_asked_for() {
        let record = || Record::new().with_action_disposition(ActionDisposition::Reject);
        let refused = disposed(record(), &Outcome::Refuse(Reply::new(550, "5.7.1", "no")));
        assert_eq!(refused.action_disposition(), ActionDisposition::Reject);
        assert!(refused.policy_override_reason().is_empty());
        for (outcome, done) in
            [(Outcome::Junk, ActionDisposition::Quarantine), (Outcome::Accept, ActionDisposition::None)]
        {
            let taken = disposed(record(), &outcome);
            assert_eq!(taken.action_disposition(), done);
            assert_eq!(taken.policy_override_reason().len(), 1);
        }
        let passed = record().with_dmarc_spf_result(DmarcResult::Pass);
        assert_eq!(
            disposed(passed.clone(), &Outcome::Junk),
            passed,
            "of what passed DMARC, no policy speaks"
        );
    }
}
