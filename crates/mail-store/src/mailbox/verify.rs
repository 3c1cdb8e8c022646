//! The comparison that finds what another program did at the same moment as we: beside the work, without the lock.

use std::sync::atomic::Ordering;

use super::Mailbox;
use super::listing::{Listing, Own};
use super::place::{now_nanos, tick};
use super::work::Work;
use crate::error::StoreError;
use crate::housekeeping::{self, Chore};

impl Mailbox {
    /// Has it verified before long, unless that is under way.
    pub(super) fn verify_later(&self) {
        if !self.is_verifying.swap(true, Ordering::Relaxed) {
            housekeeping::later(Chore::Verify(self.this.clone()));
        }
    }

    /// Reads the folder, and only if it isn't as the index says, compares the two under the lock.
    pub(crate) fn verify(&self) {
        if let Err(error) = self.try_verify() {
            tracing::debug!(folder = %self.place.folder.display(), %error, "a mailbox can't be verified now");
        }
        self.is_verifying.store(false, Ordering::Relaxed);
    }

    fn try_verify(&self) -> Result<(), StoreError> {
        let began = now_nanos();
        let before = self.place.time("cur")?;
        let files = Listing::read(&self.place.folder, &["cur"], Own { mark: self.mark, is_unmarked: false })?;
        let rows = self.place.account.read(|index| index.messages(&self.place.key))?;
        let is_same = files.is_of(&rows, self.mark);
        let cost = now_nanos().saturating_sub(began);
        self.change(|work| {
            // Where we went on changing things meanwhile, it is tried again after a while.
            let is_certain = work.row.cur == before && began - before > tick(before);
            if is_certain && !is_same {
                return work.compare_again();
            }
            work.verified(began, cost, is_certain);
            Ok(())
        })?;
        Ok(())
    }
}

impl Work<'_> {
    fn verified(&mut self, began: i64, cost: i64, is_certain: bool) {
        // What the comparison under the lock waits for is not done yet.
        if self.row.compared >= self.row.settles {
            (self.row.compared, self.row.cost) = (began.max(self.row.compared), cost);
        }
        if is_certain {
            self.row.doubt = 0;
        }
    }
}
