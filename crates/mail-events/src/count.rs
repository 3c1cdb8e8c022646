//! What monitoring is told of events.

use mail_metrics::{Metric, Metrics};

use crate::{AttemptOutcome, Event, MessageOutcome, QueuedWhy, Stage};

/// Counts what happened.
pub(crate) fn count(metrics: &Metrics, event: &Event) {
    match event {
        Event::Message(it) => {
            metrics.count(Metric::Messages, &[&it.listener, message(it.outcome)], 1);
            if !it.outcome.is_refusal() {
                metrics.count(Metric::Octets, &[&it.listener], it.size);
            }
        }
        Event::Refusal(it) => {
            let command = match it.stage {
                Stage::Mail => "MAIL",
                Stage::Rcpt => "RCPT",
            };
            metrics.count(Metric::Refusals, &[&it.listener, command], 1);
        }
        Event::LoginFailure(it) => metrics.count(Metric::FailedLogins, &[&it.listener], 1),
        // Which listener and which command was not noted of these.
        Event::Omitted(it) => metrics.count(Metric::Refusals, &["", ""], it.count),
        Event::Queued(it) => {
            let kind = match it.why {
                QueuedWhy::Report => "report",
                QueuedWhy::Forward => "forward",
            };
            metrics.count(Metric::Offspring, &[kind], 1);
        }
        Event::Attempt(it) => {
            let outcome = match it.outcome {
                AttemptOutcome::Delivered => "sent",
                AttemptOutcome::Deferred => "deferred",
                AttemptOutcome::Bounced => "bounced",
            };
            metrics.count(Metric::Deliveries, &[outcome], 1);
            if it.outcome != AttemptOutcome::Delivered {
                metrics.count(Metric::Failures, &[outcome, subject(&it.status)], 1);
            }
        }
        Event::Operator(_) => {}
    }
}

const fn message(outcome: MessageOutcome) -> &'static str {
    match outcome {
        MessageOutcome::Accepted => "accepted",
        MessageOutcome::Junk => "junk",
        MessageOutcome::Discarded => "discarded",
        MessageOutcome::Refused => "refused",
        MessageOutcome::Deferred => "deferred",
        MessageOutcome::Lost => "lost",
    }
}

/// Class and subject of a status: of these there are few. RFC 3463 §2.
fn subject(status: &str) -> &str {
    let known = |it: &&str| matches!(it.as_bytes(), [b'2' | b'4' | b'5', b'.', b'0'..=b'7']);
    status.rsplit_once('.').map(|(subject, _)| subject).filter(known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn what_a_peer_says_makes_no_more_than_a_few_series() {
        assert_eq!(subject("4.4.1"), "4.4");
        for strange in ["", "4", "4.400.1", "9.1.1", "5.9.1"] {
            assert_eq!(subject(strange), "other", "{strange}");
        }
    }
}
