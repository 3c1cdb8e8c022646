//! What others report about mail in our name comes by mail.

mod complaints;

use std::path::Path;
use std::sync::Arc;

use mail_config::Config;
use mail_reports::{Inbox, Kept, Obey, ReportError};
use mail_types::Address;
use smtp_queue::Suppression;
use tracing::warn;

use complaints::Complaints;

/// The addresses for reports, and where these go. The default has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    addresses: Arc<[Address]>,
    inbox: Option<Arc<Inbox>>,
}

impl Reports {
    /// Complaints reach `suppression`, where it is kept. Blocks.
    pub(crate) fn open(config: &Config, suppression: Option<&Arc<Suppression>>) -> Result<Self, ReportError> {
        let addresses: Arc<[Address]> = config.reports.addresses.clone().into();
        let is_wanted = !addresses.is_empty();
        let obey = || {
            let complaints = Complaints::new(config, Arc::clone(suppression?));
            Some(Box::new(complaints) as Box<dyn Obey>)
        };
        let open = || Inbox::open(&config.reports_dir(), &config.reports_file(), obey());
        let inbox = is_wanted.then(open).transpose()?;
        Ok(Self { addresses, inbox })
    }

    /// True if one of them is an address for reports.
    pub(crate) fn are_for(&self, recipients: &[Address]) -> bool {
        !self.addresses.is_empty() && recipients.iter().any(|it| self.addresses.contains(&it.to_lowercase()))
    }

    /// Keeps the file of the message `id`, which is proven to come from the domain `reporter`. One that can't be kept is delivered all the same.
    pub(crate) fn keep(&self, file: &Path, id: &str, reporter: Option<&str>) -> Option<Kept> {
        let reporter = reporter.and_then(|it| it.parse().ok());
        let kept = self.inbox.as_ref()?.keep(file, id, reporter.as_ref());
        kept.inspect_err(|error| warn!(id, %error, "a message with a report can't be kept")).ok()
    }
}
