use std::path::PathBuf;

use mail_dns::DnsError;

use crate::AuthoritiesError;

/// Why it can't be found out what mail hosts must prove.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The certification authorities.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The DNS.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// What is kept of policies.
    #[error("{path}: {source}")]
    Database {
        /// Where it lies.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A thread.
    #[error("the work ended unexpectedly: {0}")]
    Work(String),
}
