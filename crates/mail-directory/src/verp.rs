//! Return addresses that say for which recipient they are (VERP): whatever a bounce holds, it is known whose mail came back.
//!
//! `news+bob=example.net=hash@ours` is what mail of `news@ours` to `bob@example.net` comes from. It is an address of `news`, with a detail, and gets
//! there. The hash is a keyed one, of the keys that [`Srs`] has, so that nobody has others' addresses taken for dead.

use std::path::Path;
use std::time::Duration;

use mail_types::{Address, AddressPattern};

use crate::srs::{Srs, SrsError};

/// Makes such addresses, and knows them again.
#[derive(Debug, Clone)]
pub struct Verp {
    keys: Srs,
    senders: Vec<AddressPattern>,
    delimiter: char,
}

/// What of the hash of a return address tells it from others.
const PURPOSE: &str = "VERP";

impl Verp {
    /// For mail of these senders, in lower case, with the keys in `file`; one is made where there is none. `delimiter` stands before an address's detail.
    ///
    /// # Errors
    /// As [`Srs::open`].
    pub fn open(file: &Path, senders: &[AddressPattern], delimiter: char) -> Result<Self, SrsError> {
        // A return address of this kind holds for ever.
        let keys = Srs::open(file, Duration::ZERO)?;
        Ok(Self { keys, senders: senders.to_vec(), delimiter })
    }

    /// From which address mail of `sender` to `recipient` is sent; `None` if it is left as it is: no such address is wanted, the sender has a detail
    /// already, or the address would be longer than one may be.
    #[must_use]
    pub fn sender(&self, sender: &Address, recipient: &Address) -> Option<Address> {
        let is_meant = self.senders.iter().any(|pattern| pattern.fits(sender));
        if !is_meant || sender.local_part().contains(self.delimiter) {
            return None;
        }
        let (local_part, domain) = (recipient.local_part(), recipient.domain().to_ascii());
        let signed = format!("{}{}{local_part}={domain}", sender.local_part(), self.delimiter);
        let hash = self.keys.hash(PURPOSE, &format!("{signed}@{}", sender.domain()))?;
        Address::new(&format!("{signed}={hash}"), sender.domain().clone()).ok()
    }

    /// Who sent the mail that is returned to an address, and to whom; `None` if we have not made it.
    #[must_use]
    pub fn returned(&self, address: &Address) -> Option<(Address, Address)> {
        let (signed, hash) = address.local_part().rsplit_once('=')?;
        if !self.keys.is_hash(PURPOSE, &format!("{signed}@{}", address.domain()), hash) {
            return None;
        }
        let (sender, recipient) = signed.split_once(self.delimiter)?;
        let (local_part, domain) = recipient.rsplit_once('=')?;
        let recipient = Address::new(local_part, domain.parse().ok()?).ok()?;
        Some((Address::new(sender, address.domain().clone()).ok()?, recipient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn verp(folder: &Path) -> Verp {
        Verp::open(&folder.join("srs.key"), &["@example.org".parse().unwrap()], '+').unwrap()
    }

    #[test]
    fn a_return_address_says_whose_mail_came_back() {
        let folder = tempfile::tempdir().unwrap();
        let verp = verp(folder.path());
        let news = address("news@example.org");
        for recipient in
            ["bob@example.net", "bob+a=b@x.test", "\"a b\"@x.test", "josé@bücher.example", "a@[192.0.2.1]"]
        {
            let made = verp.sender(&news, &address(recipient)).unwrap();
            let again: Address = made.to_string().parse().unwrap();
            assert!(again.local_part().starts_with("news+") && again.domain() == news.domain());
            assert_eq!(verp.returned(&again), Some((news.clone(), address(recipient))), "{made}");
        }
        let made = verp.sender(&news, &address("bob@example.net")).unwrap();
        assert!(verp.returned(&made.to_lowercase()).is_some(), "some hosts change case");
    }

    #[test]
    fn what_others_made_is_known_not_to_be_ours_and_what_cannot_be_made_is_left() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = verp(folder.path());
        let (news, bob) = (address("news@example.org"), address("bob@example.net"));
        let made = ours.sender(&news, &bob).unwrap().to_string();
        let others = verp(other.path()).sender(&news, &bob).unwrap().to_string();
        for forged in [
            others.as_str(),
            &made.replace("bob", "eve"),
            &made.replace("news", "shop"),
            &made.replace("example.org", "example.com"),
            "news+bob=example.net@example.org",
            "news+bob=example.net=aaaaaaaa@example.org",
            "news@example.org",
            "=@example.org",
        ] {
            assert_eq!(ours.returned(&address(forged)), None, "{forged}");
        }
        assert_eq!(ours.sender(&address("news@example.com"), &bob), None);
        assert_eq!(ours.sender(&address("news+x@example.org"), &bob), None);
        let long = Address::new(&"x".repeat(220), "example.net".parse().unwrap()).unwrap();
        assert_eq!(ours.sender(&news, &long), None);
    }
}
