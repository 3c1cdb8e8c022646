use std::path::PathBuf;
use std::sync::Arc;

use mail_config::TlsConfig;
use tokio::net::TcpStream;

use crate::Stream;

/// Why the certificates can't be used. The text tells the operator which file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate, no key, or one that does not fit.
    #[error("{path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// The certificates, chosen by SNI, read again when their files change.
#[derive(Debug)]
pub struct TlsContext {
    // PLATFORM
}

impl TlsContext {
    /// Reads the certificates. `None` if none are configured.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(config: &TlsConfig) -> Result<Option<Arc<Self>>, TlsError> {
        let _ = config;
        todo!("PLATFORM")
    }

    /// Performs the server's part of the handshake, within a deadline.
    ///
    /// # Errors
    /// What the handshake failed for.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<Stream> {
        let _ = stream;
        todo!("PLATFORM")
    }
}
