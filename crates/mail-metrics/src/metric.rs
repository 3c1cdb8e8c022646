use serde::{Deserialize, Serialize};

/// What can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Metric {
    /// Connections taken.
    Connections,
    /// Connections turned away.
    RefusedConnections,
    /// Logins that failed.
    FailedLogins,
    /// Messages that clients brought.
    Messages,
    /// Their octets.
    Octets,
    /// Senders and recipients refused.
    Refusals,
    /// Attempts to deliver to a recipient.
    Deliveries,
    /// Those that failed, by why.
    Failures,
    /// Messages that the queue got from itself.
    Offspring,
    /// Messages in the queue.
    QueueMessages,
    /// Their octets.
    QueueOctets,
    /// Those that are held.
    QueueHeld,
    /// The age of the oldest.
    QueueOldest,
    /// Our addresses on block lists.
    Listings,
    /// Block lists that could not be asked.
    UnansweredLists,
    /// Octets that are free on a disk.
    DiskFree,
    /// Octets that mail leaves free there.
    DiskMinFree,
}

/// How a figure behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Metric {
    /// Every one.
    pub const ALL: [Self; 17] = [
        Self::Connections,
        Self::RefusedConnections,
        Self::FailedLogins,
        Self::Messages,
        Self::Octets,
        Self::Refusals,
        Self::Deliveries,
        Self::Failures,
        Self::Offspring,
        Self::QueueMessages,
        Self::QueueOctets,
        Self::QueueHeld,
        Self::QueueOldest,
        Self::Listings,
        Self::UnansweredLists,
        Self::DiskFree,
        Self::DiskMinFree,
    ];

    /// As Prometheus knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "mailstead_connections_total",
            Self::RefusedConnections => "mailstead_refused_connections_total",
            Self::FailedLogins => "mailstead_failed_logins_total",
            Self::Messages => "mailstead_messages_total",
            Self::Octets => "mailstead_message_octets_total",
            Self::Refusals => "mailstead_refusals_total",
            Self::Deliveries => "mailstead_deliveries_total",
            Self::Failures => "mailstead_delivery_failures_total",
            Self::Offspring => "mailstead_queued_total",
            Self::QueueMessages => "mailstead_queue_messages",
            Self::QueueOctets => "mailstead_queue_octets",
            Self::QueueHeld => "mailstead_queue_held_messages",
            Self::QueueOldest => "mailstead_queue_oldest_seconds",
            Self::Listings => "mailstead_blocklist_listed",
            Self::UnansweredLists => "mailstead_blocklist_unanswered",
            Self::DiskFree => "mailstead_disk_free_octets",
            Self::DiskMinFree => "mailstead_disk_min_free_octets",
        }
    }

    /// One sentence.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Connections => "Connections taken.",
            Self::RefusedConnections => {
                "Connections turned away because there were too many, or for failed logins."
            }
            Self::FailedLogins => "Logins that failed.",
            Self::Messages => "Messages that clients brought, by what became of them.",
            Self::Octets => "Octets of messages that were taken.",
            Self::Refusals => "Senders and recipients refused before there was a message.",
            Self::Deliveries => {
                "Attempts of the queue to deliver a message to a recipient, by what came of them."
            }
            Self::Failures => {
                "Attempts deferred or given up, by the first two numbers of the enhanced status code."
            }
            Self::Offspring => {
                "Messages that the queue got from itself: reports, and what goes on to others."
            }
            Self::QueueMessages => "Messages in the queue.",
            Self::QueueOctets => "Octets in the queue.",
            Self::QueueHeld => "Messages in the queue that are held.",
            Self::QueueOldest => "Age of the oldest message in the queue.",
            Self::Listings => "1 while an address of ours is on a block list.",
            Self::UnansweredLists => "1 while a block list gives no answer about an address of ours.",
            Self::DiskFree => "Octets that are free on the disk where this lies.",
            Self::DiskMinFree => "Octets that must stay free there: mail is refused rather than take them.",
        }
    }

    /// The names of its labels.
    #[must_use]
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Connections | Self::RefusedConnections | Self::FailedLogins | Self::Octets => &["listener"],
            Self::Messages => &["listener", "outcome"],
            Self::Refusals => &["listener", "command"],
            Self::Deliveries => &["outcome"],
            Self::Failures => &["outcome", "status"],
            Self::Offspring => &["kind"],
            Self::QueueMessages | Self::QueueOctets | Self::QueueHeld | Self::QueueOldest => &[],
            Self::Listings | Self::UnansweredLists => &["address", "list"],
            Self::DiskFree | Self::DiskMinFree => &["disk"],
        }
    }

    /// How it behaves.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Connections
            | Self::RefusedConnections
            | Self::FailedLogins
            | Self::Messages
            | Self::Octets
            | Self::Refusals
            | Self::Deliveries
            | Self::Failures
            | Self::Offspring => Kind::Counter,
            Self::QueueMessages
            | Self::QueueOctets
            | Self::QueueHeld
            | Self::QueueOldest
            | Self::Listings
            | Self::UnansweredLists
            | Self::DiskFree
            | Self::DiskMinFree => Kind::Gauge,
        }
    }
}
