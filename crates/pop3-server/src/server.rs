use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::sync::Arc;

use mail_config::Config;
use mail_directory::Directory;
use mail_events::EventLog;
use mail_metrics::Metrics;
use mail_store::{Mailbox, MessageFile, Store, StoreError};
use mail_types::{Address, MailboxName, Uid};
use server_core::{BoundListener, Refusals, ServerContext};
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::connection;
use crate::lock::MaildropLock;
use crate::maildrop::Maildrop;
use crate::session::{Credentials, LoginError, WRONG};

/// Told to a client that is turned away.
const REFUSALS: Refusals = Refusals {
    too_many: Cow::Borrowed(b"-ERR [SYS/TEMP] too many connections\r\n"),
    too_many_there: Cow::Borrowed(b"-ERR [SYS/TEMP] too many connections from your address or network\r\n"),
    banned: Cow::Borrowed(b"-ERR [SYS/TEMP] too many failed logins from your address; come back later\r\n"),
};

/// Serves POP3 on `sockets` until the context drains.
///
/// # Errors
/// The directory or the store can't be opened.
pub async fn run(
    context: ServerContext,
    sockets: Vec<BoundListener>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (config, metrics) = (Arc::clone(&context.config), context.metrics.clone());
    let mail = spawn_blocking(move || Mail::open(config, &metrics)).await??;
    let mail = Arc::new(mail);
    let sessions = Arc::clone(&mail);
    server_core::serve(sockets, context, REFUSALS, move |connection| {
        connection::serve(connection, Arc::clone(&sessions))
    })
    .await;
    spawn_blocking(move || mail.events.close()).await?;
    Ok(())
}

/// What the sessions share.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Arc<Directory>,
    store: Arc<Store>,
    /// What is known of logins.
    pub(crate) events: EventLog,
}

/// A maildrop that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenMaildrop {
    mailbox: Arc<Mailbox>,
    _lock: MaildropLock,
}

impl Mail {
    fn open(config: Arc<Config>, metrics: &Metrics) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let directory = Arc::new(Directory::open(&config.directory_file())?);
        let store = Store::open_with(&config.mail_dir(), config.limits.min_free, None)?;
        let events = EventLog::open_or_complain(&config, "pop3", metrics);
        Ok(Self { config, directory, store, events })
    }

    /// Who this is.
    pub(crate) async fn authenticate(&self, credentials: Credentials) -> Result<Address, LoginError> {
        let (username, password) = match credentials {
            Credentials::Password { username, password } => (username, password),
            Credentials::Proven(account) => return Ok(account),
            Credentials::Unproven(_, reason) => return Err(LoginError::Credentials(reason)),
        };
        match self.directory.log_in(username, password).await {
            Ok(Some(account)) => Ok(account),
            Ok(None) => Err(LoginError::Credentials(WRONG)),
            Err(error) => {
                error!(%error, "the directory failed at a login");
                Err(LoginError::Failure)
            }
        }
    }

    /// Locks the maildrop of `owner` and takes down what it holds; blocks.
    pub(crate) fn open_maildrop(&self, owner: &Address) -> Result<(OpenMaildrop, Maildrop), LoginError> {
        let folder = self.config.data_dir.join("locks");
        let lock = MaildropLock::take(&folder, owner).map_err(|error| {
            error!(%error, folder = %folder.display(), "a maildrop can't be locked");
            failure(error.kind() == io::ErrorKind::StorageFull)
        })?;
        let lock = lock.ok_or(LoginError::InUse)?;
        let (mailbox, maildrop) = self.inbox(owner).map_err(|error| {
            error!(%error, account = %owner, "the maildrop can't be opened");
            failure(error.is_full())
        })?;
        Ok((OpenMaildrop { mailbox, _lock: lock }, maildrop))
    }

    fn inbox(&self, owner: &Address) -> Result<(Arc<Mailbox>, Maildrop), StoreError> {
        let mailbox = self.store.account(owner)?.open(&MailboxName::inbox())?;
        let snapshot = mailbox.sync()?;
        let messages = (0..snapshot.len()).filter_map(|position| snapshot.get(position));
        let maildrop =
            Maildrop::new(mailbox.uid_validity(), messages.map(|message| (message.uid, message.size)));
        Ok((mailbox, maildrop))
    }
}

const fn failure(is_full: bool) -> LoginError {
    if is_full { LoginError::DiskFull } else { LoginError::Failure }
}

impl OpenMaildrop {
    /// Opens a message; `None` if it is gone. Blocks.
    pub(crate) fn message(&self, uid: Uid) -> io::Result<Option<MessageFile>> {
        match self.mailbox.open_message(uid) {
            Ok(message) => Ok(Some(message)),
            Err(StoreError::MessageGone(_)) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Removes messages; false if that failed. Blocks.
    pub(crate) fn remove(&self, uids: &[Uid]) -> bool {
        if uids.is_empty() {
            return true;
        }
        match self.mailbox.expunge(uids) {
            Ok(_) => {
                info!(messages = uids.len(), "expunged");
                true
            }
            Err(error) => {
                error!(%error, "deleted messages can't be removed");
                false
            }
        }
    }
}
