//! All accounts' mail, below one folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use disk_room::{MinFree, Room};
use mail_types::{Address, LocalRecipient, Quota, SpecialUse, Usage};

use crate::account::{Account, create_home, folder_for, folder_named};
use crate::acl::Identifier;
use crate::delivery::{Delivery, Notes};
use crate::disk;
use crate::error::StoreError;
use crate::quota;
use crate::recent::Recent;
use crate::shares::Shares;
use crate::summary::Summarizer;

/// All accounts' mail, below one folder.
#[derive(Debug)]
pub struct Store {
    mail_dir: PathBuf,
    /// What mail may take of its disk.
    room: Arc<Room>,
    open: Mutex<HashMap<PathBuf, Weak<Account>>>,
    recent: Arc<Recent>,
    summarizer: Option<Arc<dyn Summarizer>>,
    notes: Arc<Notes>,
    shares: Shares,
}

impl Store {
    /// Opens the store at `mail_dir`, making the folder when it does not exist. Takes back what a process that was killed had placed of
    /// a message without saying that it is there; else it touches no account. Messages may take all of the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder can't be made or written.
    pub fn open(mail_dir: &Path) -> Result<Arc<Self>, StoreError> {
        Self::open_with(mail_dir, MinFree::NOTHING, None)
    }

    /// As [`Self::open`]; messages and caches leave so much of the disk free, or are not written, as on one that is full; copies, which are links, leave half of it. What the summarizer makes is kept of messages in mailboxes that are open, before it is needed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        mail_dir: &Path,
        min_free: MinFree,
        summarizer: Option<Arc<dyn Summarizer>>,
    ) -> Result<Arc<Self>, StoreError> {
        disk::create_dir(mail_dir)?;
        Ok(Arc::new(Self {
            mail_dir: mail_dir.to_owned(),
            room: Arc::new(Room::new(mail_dir.to_owned(), min_free)),
            open: Mutex::default(),
            recent: Arc::default(),
            summarizer,
            notes: Notes::open(mail_dir),
            shares: Shares::new(mail_dir),
        }))
    }

    pub(crate) fn home(&self, owner: &Address) -> PathBuf {
        let local_part = encode(&owner.local_part().to_lowercase());
        self.mail_dir.join(encode(owner.domain().as_str())).join(local_part)
    }

    /// Makes an account's folders: INBOX, Drafts, Sent, Junk, Trash and Archive, subscribed, each with its special use.
    /// What is there already stays.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn create_account(&self, owner: &Address) -> Result<(), StoreError> {
        let home = self.home(owner);
        create_home(&self.mail_dir, &home)?;
        Arc::new(Account::open_home(&home, Weak::new(), None, Arc::clone(&self.room))?).complete()
    }

    /// Sees to it that so many octets more leave of the disk what mail leaves free.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::StorageFull`].
    pub fn check_disk(&self, octets: u64) -> std::io::Result<()> {
        self.room.admit_mail(octets)
    }

    /// The mail of `owner`, whose folders are made at first use. One [`Account`] per process and owner.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn account(self: &Arc<Self>, owner: &Address) -> Result<Arc<Account>, StoreError> {
        let home = self.home(owner);
        if let Some(account) = self.opened(&home) {
            return Ok(account);
        }
        if !Account::is_complete(&home)? {
            self.create_account(owner)?; // it may have got mail before
        }
        let recent = Arc::downgrade(&self.recent);
        let account = Account::open_home(&home, recent, self.summarizer.clone(), Arc::clone(&self.room))?;
        let account = Arc::new(account);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = open.get(&home).and_then(Weak::upgrade).filter(|it| it.is_current()) {
            return Ok(other); // another thread was faster
        }
        open.retain(|_, account| account.strong_count() > 0);
        open.insert(home, Arc::downgrade(&account));
        Ok(account)
    }

    /// As [`Self::account`] where the account's folders are there already: nothing is made of a name that somebody guessed.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn existing_account(self: &Arc<Self>, owner: &Address) -> Result<Option<Arc<Account>>, StoreError> {
        if Account::is_complete(&self.home(owner))? { self.account(owner).map(Some) } else { Ok(None) }
    }

    /// The accounts, sorted, in which an identifier has rights that is meant, given the account's address.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn owners_sharing(
        &self,
        is_meant: impl Fn(&Address, &Identifier) -> bool,
    ) -> Result<Vec<Address>, StoreError> {
        self.shares.owners(is_meant)
    }

    /// See [`Shares::folder`].
    pub(crate) fn shares_folder(&self) -> PathBuf {
        self.shares.folder()
    }

    fn opened(&self, home: &Path) -> Option<Arc<Account>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(home).and_then(Weak::upgrade).filter(|it| it.is_current())
    }

    /// True if `owner`, who has this quota, may get `more`. Never opens an index.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn has_room(&self, owner: &Address, quota: Quota, more: Usage) -> Result<bool, StoreError> {
        quota::has_room(&self.home(owner).join("Maildir"), quota, more)
    }

    /// How much mail `owner`, who has this quota, has. Never opens an index.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn usage(&self, owner: &Address, quota: Quota) -> Result<Usage, StoreError> {
        quota::usage(&self.home(owner).join("Maildir"), quota)
    }

    /// Starts to deliver one message to `recipients` (at least one): to the mailbox that the detail names, where there is such a one,
    /// else to INBOX. Never opens an index.
    ///
    /// The name is that of a mailbox in UTF-8 or modified UTF-7, in this case or, if only one is meant, in any. Whoever writes the address
    /// chooses it, so a mailbox with a special use, such as Sent, is never meant.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn deliver(&self, recipients: &[LocalRecipient]) -> Result<Delivery, StoreError> {
        let mut maildirs = Vec::with_capacity(recipients.len());
        for LocalRecipient { account, detail } in recipients {
            let maildir = self.home(account).join("Maildir");
            maildirs.push(match detail {
                // Whose Maildir is made only now has no other mailbox yet.
                Some(detail) => folder_named(&maildir, detail)
                    .or_else(|error| error.is_not_found().then_some(maildir).ok_or(error))?,
                None => maildir,
            });
        }
        Delivery::start(maildirs, &self.notes, &self.room)
    }

    /// As [`Self::deliver`], but to the mailbox that each recipient has for junk; to INBOX where one has none.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`] if an account's folders have to be made first.
    pub fn deliver_junk(&self, recipients: &[Address]) -> Result<Delivery, StoreError> {
        let mut maildirs = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let home = self.home(recipient);
            if !Account::is_complete(&home)? {
                self.create_account(recipient)?; // nobody has logged in yet
            }
            maildirs.push(folder_for(&home.join("Maildir"), SpecialUse::Junk)?);
        }
        Delivery::start(maildirs, &self.notes, &self.room)
    }
}

/// A name that is one folder's, whatever the text holds: all but letters, digits and a few marks is written `%XX`.
pub(crate) fn encode(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (position, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_+=".contains(&byte) || (byte == b'.' && position > 0) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// The name of a user's file in the folder of another's mailbox, which begins so. None ends as those that are only temporary.
pub(crate) fn file_of(kind: &str, user: &Address) -> String {
    let name = format!("{kind}{}", encode(&user.to_lowercase().to_string()));
    name.strip_suffix(".tmp").map(|start| format!("{start}%2Etmp")).unwrap_or(name)
}
