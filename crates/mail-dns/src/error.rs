use std::time::Duration;

use hickory_resolver::net::{DnsError as Answer, NetError};
use hickory_resolver::proto::op::ResponseCode;

/// The resolver can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The servers of the config, or of the system, can't be used.
    #[error("the DNS can't be asked: {0}")]
    Resolver(String),
}

/// Why a look-up gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// NXDOMAIN: there is no such name, nor any below it. RFC 8020.
    #[error("there is no such name")]
    NoSuchName,
    /// The name has no record of this type.
    #[error("the name has no such record")]
    NoRecords,
    /// The name can't be asked for: a label is empty or too long.
    #[error("this is no domain name")]
    NotAName,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// An answer that says nothing (SERVFAIL, REFUSED), or none.
    #[error("{0}")]
    Failed(String),
}

impl LookupError {
    /// True if the answer may be another one later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Failed(_))
    }
}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> Self {
        let NetError::Dns(Answer::NoRecordsFound(none)) = error else {
            return Self::Failed(error.to_string());
        };
        if none.response_code == ResponseCode::NXDomain { Self::NoSuchName } else { Self::NoRecords }
    }
}
