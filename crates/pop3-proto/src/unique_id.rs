use std::fmt;

use mail_types::{Uid, UidValidity};

/// What UIDL shows for a message, the same in every session. RFC 1939 §7.
///
/// It has Dovecot's default form (`%08Xu%08Xv`): UID, then UIDVALIDITY, eight hexadecimal digits each. A client that
/// comes from there downloads nothing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UniqueId {
    /// The message's UID.
    pub uid: Uid,
    /// Its generation.
    pub uid_validity: UidValidity,
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.uid.value(), self.uid_validity.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_id_has_the_form_of_dovecot() {
        let uid = Uid::try_from(0x2f).unwrap();
        let uid_validity = UidValidity::try_from(0x66AB_12CD).unwrap();
        assert_eq!(UniqueId { uid, uid_validity }.to_string(), "0000002f66ab12cd");
    }
}
