use jiff::{SignedDuration, Timestamp};
use smtp_proto::{ByMode, DeliverBy, MailParameters, Priority};

/// When and how a message is to go on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handling {
    /// Only over TLS, to hosts that handle it so too. RFC 8689.
    pub require_tls: bool,
    /// `None` if its sender has not said. RFC 6710.
    pub priority: Option<Priority>,
    /// When it is to be delivered at the latest. RFC 2852.
    pub deadline: Option<Deadline>,
    /// It is not tried before. RFC 4865.
    pub release: Option<Timestamp>,
    /// It was written here, and is signed in the name of its From field's domain where it leaves. RFC 6376.
    pub is_ours: bool,
    /// It went to many people, as newsletters do: where its sender has set no priority, other mail goes first.
    pub is_bulk: bool,
}

/// The moment for which a message must be delivered, and what is done then. RFC 2852.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Timestamp,
    /// What is done.
    pub mode: ByMode,
    /// Its sender wants to hear of each host that it is handed to.
    pub trace: bool,
}

impl Deadline {
    /// True if it is past `now`, and its sender is to hear of that. RFC 2852 §4.1.3.
    pub(crate) fn is_missed(&self, now: Timestamp) -> bool {
        self.mode == ByMode::Notify && now >= self.at
    }

    /// What is left of the time for delivery, as the next host is told. RFC 2852 §4.1.4.
    pub(crate) fn left(&self, now: Timestamp) -> DeliverBy {
        let Self { at, mode, trace } = *self;
        let left = at.duration_since(now).as_secs().clamp(-999_999_999, 999_999_999);
        DeliverBy { seconds: i32::try_from(left).unwrap_or_default(), mode, trace }
    }
}

impl Handling {
    /// What these parameters ask for of a message that comes `now`.
    #[must_use]
    pub fn of(parameters: &MailParameters, now: Timestamp) -> Self {
        let deadline = |by: DeliverBy| Deadline {
            at: now.saturating_add(SignedDuration::from_secs(by.seconds.into())).unwrap_or(now),
            mode: by.mode,
            trace: by.trace,
        };
        Self {
            require_tls: parameters.require_tls,
            priority: parameters.priority,
            deadline: parameters.deliver_by.map(deadline),
            release: parameters.hold.map(|hold| hold.release(now)),
            is_ours: false,
            is_bulk: false,
        }
    }

    /// What goes with a message that is made of this one, a report: RFC 8689 §5, RFC 6710 §4.6.
    pub(crate) fn of_report(&self) -> Self {
        let Self { require_tls, priority, .. } = *self;
        Self { require_tls, priority, is_ours: true, ..Self::default() }
    }

    /// Who is looked at first: what its sender has said, or that bulk mail waits for other mail.
    pub(crate) fn turn(&self) -> Priority {
        self.priority.unwrap_or(if self.is_bulk { Priority::BULK } else { Priority::NORMAL })
    }

    /// True if it must not be delivered any more.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline.mode == ByMode::Return && now >= deadline.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6710 §4.6, RFC 8689 §5; not when its message is to be delivered.
    #[test]
    fn a_report_matters_as_much_as_what_it_is_about_and_has_no_times_of_its_own() {
        let deadline = Some(Deadline { at: Timestamp::MAX, mode: ByMode::Return, trace: true });
        let (priority, release) = (Priority::try_from(-4).ok(), Some(Timestamp::MAX));
        let message =
            Handling { require_tls: true, priority, deadline, release, is_ours: false, is_bulk: true };
        let report = Handling { require_tls: true, priority, is_ours: true, ..Handling::default() };
        assert_eq!(message.of_report(), report);
    }
}
