//! What others report about mail in our name comes by mail.

use std::path::Path;
use std::sync::Arc;

use mail_config::Config;
use mail_reports::{Inbox, Kept, ReportError};
use mail_types::Address;
use tracing::warn;

/// The addresses for reports, and where these go. The default has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    addresses: Arc<[Address]>,
    inbox: Option<Arc<Inbox>>,
}

impl Reports {
    /// Blocks.
    pub(crate) fn open(config: &Config) -> Result<Self, ReportError> {
        let addresses: Arc<[Address]> = config.reports.addresses.clone().into();
        let is_wanted = !addresses.is_empty();
        let inbox =
            is_wanted.then(|| Inbox::open(&config.reports_dir(), &config.reports_file())).transpose()?;
        Ok(Self { addresses, inbox })
    }

    /// True if one of them is an address for reports.
    pub(crate) fn are_for(&self, recipients: &[Address]) -> bool {
        !self.addresses.is_empty() && recipients.iter().any(|it| self.addresses.contains(&it.to_lowercase()))
    }

    /// Keeps the file of the message `id`. One that can't be kept is delivered all the same.
    pub(crate) fn keep(&self, file: &Path, id: &str) -> Option<Kept> {
        let kept = self.inbox.as_ref()?.keep(file, id);
        kept.inspect_err(|error| warn!(id, %error, "a message with a report can't be kept")).ok()
    }
}
