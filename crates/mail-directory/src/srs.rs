//! The Sender Rewriting Scheme: mail that is sent on to another domain gets a return address of ours, so that its sender's SPF record
//! does not speak against us, and so that its bounces come back here, from where they go to the sender.
//!
//! `SRS0=hash=day=domain=local-part@ours` stands for `local-part@domain`; of what another host has rewritten before us, only the first such
//! host and we are named: `SRS1=hash=host==…@ours`. The hash is a keyed one, so that nobody else can make an address that we pass mail on
//! for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mail_types::{Address, Domain, Secret};
use sha2::Sha256;

/// Octets of a key.
const KEY: usize = 32;
/// Octets of a hash: eight letters.
const HASH: usize = 5;
const DAY: u64 = 24 * 3600;
/// Days come again after so many.
const DAYS: u64 = 1 << 10;
/// Letters of which case makes no difference: some hosts change it.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("the key for return addresses, {path}, can't be used: {source}")]
pub struct SrsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub source: io::Error,
}

/// What an address for bounces stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// Bounces go on to this one.
    To(Address),
    /// We have not made it, or so long ago that it holds no more.
    NotOurs,
}

/// Makes return addresses, and knows them again.
#[derive(Debug, Clone)]
pub struct Srs {
    /// The first one makes addresses, those of all are known.
    keys: Vec<Secret<[u8; KEY]>>,
    /// Days for which an address holds.
    days: u64,
}

impl Srs {
    /// With the keys in `file`: base64, 32 octets each, one a line, of which the first one is used for new addresses. Where there is no file, a
    /// key is made, which only this user may read. An address holds for `expire`, in whole days.
    ///
    /// # Errors
    /// The file can't be read or made, or holds something else.
    pub fn open(file: &Path, expire: Duration) -> Result<Self, SrsError> {
        let failed = |source| SrsError { path: file.to_owned(), source };
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(file).map_err(failed)?,
            read => read.map_err(failed)?,
        };
        let keys: Option<Vec<_>> = text.lines().filter(|line| !line.trim().is_empty()).map(key).collect();
        let keys = keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
            failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "it must hold 32 octets in base64, one key a line",
            ))
        })?;
        Ok(Self { keys, days: (expire.as_secs() / DAY).clamp(1, DAYS / 2) })
    }

    /// The return address under `domain`, which is ours, for mail of `sender`; `None` if it would be longer than an address may be.
    #[must_use]
    pub fn rewrite(&self, sender: &Address, domain: &Domain) -> Option<Address> {
        self.rewrite_on(sender, domain, today())
    }

    /// What stands behind a local part, if it is one of a return address, of us or of others.
    #[must_use]
    pub fn returned(&self, local_part: &str) -> Option<Returned> {
        self.returned_on(local_part, today())
    }

    fn rewrite_on(&self, sender: &Address, domain: &Domain, day: u64) -> Option<Address> {
        let host = sender.domain().to_ascii();
        let signed = match tagged(sender.local_part()) {
            None => {
                let signed = format!("{}={host}={}", letters(day % DAYS, 2), sender.local_part());
                format!("SRS0={}={signed}", self.hash("SRS0", &signed)?)
            }
            Some((Tag::First, rest)) => {
                let signed = format!("{host}={rest}");
                format!("SRS1={}={signed}", self.hash("SRS1", &signed)?)
            }
            Some((Tag::Further, rest)) => {
                let (_, signed) = rest.get(1..)?.split_once('=')?;
                format!("SRS1={}={signed}", self.hash("SRS1", signed)?)
            }
        };
        Address::new(&signed, domain.clone()).ok()
    }

    fn returned_on(&self, local_part: &str, day: u64) -> Option<Returned> {
        let (tag, rest) = tagged(local_part)?;
        Some(self.sender(tag, rest, day).map_or(Returned::NotOurs, Returned::To))
    }

    fn sender(&self, tag: Tag, rest: &str, day: u64) -> Option<Address> {
        let (hash, signed) = rest.get(1..)?.split_once('=')?;
        if !self.is_hash(tag.name(), signed, hash) {
            return None;
        }
        match tag {
            Tag::First => {
                let (made, sender) = signed.split_once('=')?;
                let (host, local_part) = sender.split_once('=')?;
                let age = (day % DAYS + DAYS - number(made)?) % DAYS;
                if age > self.days { None } else { Address::new(local_part, host.parse().ok()?).ok() }
            }
            Tag::Further => {
                let (host, rest) = signed.split_once('=')?;
                Address::new(&format!("SRS0{rest}"), host.parse().ok()?).ok()
            }
        }
    }

    /// The hash of the first key.
    pub(crate) fn hash(&self, tag: &str, signed: &str) -> Option<String> {
        let hash = mac(self.keys.first()?, tag, signed)?.finalize().into_bytes();
        let octets = hash.iter().take(HASH).fold(0, |number, octet| number << 8 | u64::from(*octet));
        Some(letters(octets, HASH * 8 / 5))
    }

    /// True if it is the hash of one of the keys.
    pub(crate) fn is_hash(&self, tag: &str, signed: &str, hash: &str) -> bool {
        let octets = number(hash).filter(|_| hash.len() == HASH * 8 / 5).unwrap_or(u64::MAX).to_be_bytes();
        let octets = octets.get(octets.len() - HASH..).unwrap_or_default();
        let is_of = |key| mac(key, tag, signed).is_some_and(|mac| mac.verify_truncated_left(octets).is_ok());
        self.keys.iter().any(is_of) && number(hash).is_some()
    }
}

/// What rewrote an address.
#[derive(Debug, Clone, Copy)]
enum Tag {
    /// `SRS0`: only one host.
    First,
    /// `SRS1`: several, one after another.
    Further,
}

impl Tag {
    const fn name(self) -> &'static str {
        match self {
            Self::First => "SRS0",
            Self::Further => "SRS1",
        }
    }
}

/// What stands behind the tag, with the separator, of which hosts have three kinds.
fn tagged(local_part: &str) -> Option<(Tag, &str)> {
    let (tag, rest) = local_part.split_at_checked(4)?;
    let tag = [Tag::First, Tag::Further].into_iter().find(|it| it.name().eq_ignore_ascii_case(tag))?;
    rest.starts_with(['=', '+', '-']).then_some((tag, rest))
}

/// Some hosts change the case of an address.
fn mac(key: &Secret<[u8; KEY]>, tag: &str, signed: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.reveal()).ok()?;
    mac.update(tag.as_bytes());
    mac.update(signed.to_lowercase().as_bytes());
    Some(mac)
}

/// A number in so many letters.
fn letters(number: u64, count: usize) -> String {
    let letter = |place: usize| {
        let index = usize::try_from(number >> (5 * place) & 31).unwrap_or_default();
        ALPHABET.get(index).copied().map_or('a', char::from)
    };
    (0..count).rev().map(letter).collect()
}

fn number(letters: &str) -> Option<u64> {
    letters.bytes().try_fold(0_u64, |number, letter| {
        let value = ALPHABET.iter().position(|it| *it == letter.to_ascii_lowercase())?;
        Some(number.checked_mul(32)? | u64::try_from(value).ok()?)
    })
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY
}

fn key(line: &str) -> Option<Secret<[u8; KEY]>> {
    STANDARD.decode(line.trim()).ok()?.try_into().ok().map(Secret::new)
}

/// Makes a key, whole or not at all; where another process was faster, its key counts.
fn make(file: &Path) -> io::Result<String> {
    let mut octets = [0; KEY];
    getrandom::fill(&mut octets).map_err(io::Error::other)?;
    let unfinished = file.with_extension(format!("new-{:x}", getrandom::u64().map_err(io::Error::other)?));
    let line = format!("{}\n", STANDARD.encode(octets));
    let made = whole_file::create(&unfinished, line.as_bytes(), 0o600).and_then(|()| {
        match fs::hard_link(&unfinished, file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => fs::read_to_string(file),
        }
    });
    // What is left of it after a crash is known to nobody and harms nobody.
    let _ = fs::remove_file(&unfinished);
    let text = made?;
    whole_file::keep_names_beside(file)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn srs(folder: &tempfile::TempDir) -> Srs {
        Srs::open(&folder.path().join("srs.key"), Duration::from_secs(21 * DAY)).unwrap()
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn ours() -> Domain {
        "example.org".parse().unwrap()
    }

    fn there_and_back(srs: &Srs, sender: &str) -> String {
        let rewritten = srs.rewrite(&address(sender), &ours()).unwrap();
        assert_eq!(rewritten.domain(), &ours());
        let again: Address = rewritten.to_string().parse().unwrap();
        match srs.returned(again.local_part()) {
            Some(Returned::To(sender)) => sender.to_string(),
            other => panic!("{rewritten}: {other:?}"),
        }
    }

    #[test]
    fn a_bounce_finds_back_to_every_kind_of_sender() {
        let folder = tempfile::tempdir().unwrap();
        let srs = srs(&folder);
        let long = format!("{}@{}.example.net", "x".repeat(64), "y".repeat(60));
        for sender in
            ["Eve=Mallory@example.net", "\"a b=\"@example.net", "josé@bücher.example", "a@[192.0.2.1]", &long]
        {
            assert_eq!(there_and_back(&srs, sender), address(sender).to_string());
        }
        let longest = Address::new(&"x".repeat(240), "example.net".parse().unwrap()).unwrap();
        assert_eq!(srs.rewrite(&longest, &ours()), None);
    }

    #[test]
    fn of_several_hosts_that_rewrote_the_first_one_gets_the_bounce() {
        let folder = tempfile::tempdir().unwrap();
        let srs = srs(&folder);
        let first = "SRS0+abcd=ef=example.com=bob@one.example";
        assert_eq!(there_and_back(&srs, first), first);
        assert_eq!(there_and_back(&srs, "SRS1=wxyz=one.example=+abcd=ef=example.com=bob@two.example"), first);
        assert!(srs.rewrite(&address(first), &ours()).unwrap().local_part().starts_with("SRS1="));
    }

    #[test]
    fn what_others_made_or_changed_is_known_not_to_be_ours() {
        let folder = tempfile::tempdir().unwrap();
        let srs = srs(&folder);
        let made = srs.rewrite(&address("eve@example.net"), &ours()).unwrap();
        let made = made.local_part();
        let returned = |local_part: &str| srs.returned(local_part);
        assert!(
            matches!(returned(&made.to_ascii_lowercase()), Some(Returned::To(_))),
            "some hosts change case"
        );
        assert!(matches!(returned(&made.replace("SRS0=", "SRS0+")), Some(Returned::To(_))));
        let other = tempfile::tempdir().unwrap();
        let others = self::srs(&other).rewrite(&address("eve@example.net"), &ours()).unwrap();
        for forged in [
            others.local_part(),
            &made.replace("eve", "eva"),
            &made.replace("example.net", "example.com"),
            &made.replace("SRS0=", "SRS0=="),
            &made.replace("SRS0", "SRS1"),
            "SRS0=aaaaaaaa=aa=example.net=eve",
            "SRS0=",
            "SRS1=a=b",
            "SRS0=é=aa=b=c",
        ] {
            assert_eq!(returned(forged), Some(Returned::NotOurs), "{forged}");
        }
        for other in ["SRS0", "srs", "SRS2=a", "SRS0x=a=b=c=d", "é"] {
            assert_eq!(returned(other), None, "{other}");
        }
    }

    #[test]
    fn a_return_address_holds_for_so_many_days() {
        let folder = tempfile::tempdir().unwrap();
        let srs = srs(&folder);
        let made = srs.rewrite_on(&address("eve@example.net"), &ours(), 1020).unwrap();
        let holds = |day| matches!(srs.returned_on(made.local_part(), day), Some(Returned::To(_)));
        assert_eq!([holds(1020), holds(1041), holds(1042), holds(1019)], [true, true, false, false]);
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_only_and_an_older_one_still_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("srs.key");
        let made = srs(&folder).rewrite(&address("eve@example.net"), &ours()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let old = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{}\n{old}", STANDARD.encode([7; KEY]))).unwrap();
        let srs = srs(&folder);
        assert!(matches!(srs.returned(made.local_part()), Some(Returned::To(_))));
        assert_ne!(srs.rewrite(&address("eve@example.net"), &ours()).unwrap(), made);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&file, "no key\n").unwrap();
        assert!(Srs::open(&file, Duration::from_secs(DAY)).is_err());
    }
}
