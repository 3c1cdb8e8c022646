//! When and how a message is to go on its way: RFC 2852, RFC 4865, RFC 8689.

use jiff::{SignedDuration, Timestamp};
use mail_config::SmtpRole;
use smtp_proto::{Hold, MailParameters, Reply};

use super::Session;

/// How long mail is held back at most. RFC 4865 §3.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FutureRelease {
    pub(crate) seconds: u32,
    /// The same as a moment.
    pub(crate) latest: Timestamp,
}

impl FutureRelease {
    fn allows(&self, hold: Hold) -> bool {
        match hold {
            Hold::For(seconds) => seconds <= self.seconds,
            Hold::Until(moment) => moment <= self.latest,
        }
    }
}

impl Session {
    pub(super) fn future_release(&self) -> Option<FutureRelease> {
        self.policy.future_release.filter(|_| self.policy.role == SmtpRole::Submission)
    }

    /// The size that is declared of a message whose sender is being checked, if it is to be held back.
    pub(crate) fn asks_to_hold(&self) -> Option<u64> {
        let parameters = &self.pending.as_ref()?.parameters;
        parameters.hold.map(|_| parameters.size.unwrap_or_default())
    }

    /// The answer to [`super::Step::CheckSender`] and [`super::Step::CheckHold`] where the sender may hold back no more.
    pub(crate) fn no_more_held(&mut self) -> Reply {
        self.pending = None;
        too_much_held_back()
    }

    /// Why a message is not handled as these parameters ask.
    pub(super) fn refusal_of_handling(&self, parameters: &MailParameters, now: Timestamp) -> Option<Reply> {
        if parameters.require_tls && !self.policy.is_tls {
            // RFC 8689 §2
            let text = "REQUIRETLS is for connections under TLS: STARTTLS comes first";
            return Some(Reply::new(530, "5.7.10", text));
        }
        match (parameters.hold, self.future_release()) {
            (None, _) => None,
            (Some(_), None) => {
                Some(Reply::new(555, "5.5.4", "Mail is not held back here (HOLDFOR, HOLDUNTIL)"))
            }
            (Some(hold), Some(limit)) if limit.allows(hold) => refusal_of_hold(hold, parameters, now),
            (Some(_), Some(limit)) => {
                let text = format!("Mail is held back for {} seconds at most", limit.seconds);
                Some(Reply::new(501, "5.5.4", text))
            }
        }
    }
}

/// RFC 4865 §6 (4).
///
/// Deviates: RFC 4865 §6 (5) has 5.7.16, which the registry of RFC 5248 knows as something else since RFC 6710. This is what RFC 3463 §3.3 has for
/// limits.
pub(crate) fn too_much_held_back() -> Reply {
    let text = "So much of your mail is held back until later that there is no room for more: send it without a time, or when some has gone";
    Reply::new(552, "5.2.2", text)
}

/// Why a message can't be held back so, within the limit. RFC 4865 §4.2, §5.2.2.
fn refusal_of_hold(hold: Hold, parameters: &MailParameters, now: Timestamp) -> Option<Reply> {
    let release = hold.release(now);
    let time = parameters.deliver_by.map(|by| SignedDuration::from_secs(by.seconds.into()));
    let is_too_late = time.is_some_and(|time| now.saturating_add(time).is_ok_and(|end| end < release));
    let text = if release <= now {
        "The moment until which the message is to be held back is past (HOLDUNTIL)"
    } else if is_too_late {
        "The message would be held back beyond the time for its delivery (BY)"
    } else {
        return None;
    };
    Some(Reply::new(501, "5.5.4", text))
}
