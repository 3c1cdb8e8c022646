//! What `mailstead store rebuild` mends.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use disk_room::Room;
use mail_types::Address;

use super::{Advance, Finding};
use crate::account::Account;
use crate::error::StoreError;
use crate::housekeeping;
use crate::mailbox::Mailbox;
use crate::store::Store;

impl Store {
    /// Makes an account's index anew from its Maildir, with the same UIDVALIDITY, UIDs, flags, keywords and dates, and gives
    /// UIDs where they are missing or doubled. Servers may run meanwhile. Tells what can't be mended.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`]: nothing is lost, it can be tried again.
    pub fn rebuild(
        self: &Arc<Self>,
        owner: &Address,
        progress: &mut dyn FnMut(Advance<'_>),
    ) -> Result<Vec<Finding>, StoreError> {
        let home = self.home(owner);
        if home.join("Maildir/cur").is_dir() {
            // Before the account is opened, which would make a new file where one is missing.
            let room = Arc::new(Room::unlimited());
            rebuild_all(&Arc::new(Account::open_home(&home, Weak::new(), None, room)?), progress)?;
        }
        self.account(owner)?;
        self.check(owner, false, progress)
    }
}

fn rebuild_all(account: &Arc<Account>, progress: &mut dyn FnMut(Advance<'_>)) -> Result<(), StoreError> {
    account.renew_index()?;
    let names = account.names()?;
    let count = names.len();
    for (position, name) in names.into_iter().enumerate() {
        progress(Advance::Mailbox { name: &name, position, count, octets: 0 });
        housekeeping::sweep_mailbox(&account.folder(&name), SystemTime::now());
        if let Err(error) = Mailbox::rebuild(account, &name) {
            // The check that follows names it.
            tracing::error!(mailbox = %name, %error, "a mailbox can't be rebuilt");
        }
    }
    account.forget_what_is_nowhere()
}
