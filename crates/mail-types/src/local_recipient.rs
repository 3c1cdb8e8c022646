use crate::Address;

/// Who of ours gets a message: an account, and the detail of the address by which the mail comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalRecipient {
    /// Whose mail it is, in lower case.
    pub account: Address,
    /// What stood behind the delimiter in the local part, as it was given (`lists` of `bob+lists@`): it may name a mailbox. Never empty.
    pub detail: Option<Box<str>>,
}

impl LocalRecipient {
    /// The address that leads here.
    #[must_use]
    pub fn address(&self, delimiter: Option<char>) -> Address {
        let (Some(detail), Some(delimiter)) = (&self.detail, delimiter) else { return self.account.clone() };
        let local_part = format!("{}{delimiter}{detail}", self.account.local_part());
        Address::new(&local_part, self.account.domain().clone()).unwrap_or_else(|_| self.account.clone())
    }
}

impl From<Address> for LocalRecipient {
    fn from(account: Address) -> Self {
        Self { account, detail: None }
    }
}
