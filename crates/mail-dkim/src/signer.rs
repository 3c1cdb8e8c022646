//! What is signed, and how.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use mail_auth::common::crypto::{Algorithm, Ed25519Key, RsaKey, Sha256, SigningKey};
use mail_auth::common::headers::{HeaderWriter as _, Writable};
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use mail_message::Envelope;
use mail_types::Domain;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::keys::{IN_USE, KeyError, Keys, Kind};
use crate::seal::{Passed, Sealer, body_hash};

/// The longest header that is signed, in octets.
const MAX_HEADER: usize = 1 << 20;
/// Signed where they are there, and none may be added: RFC 6376 §5.4.2, §8.15.
pub(crate) const SEALED: &[&str] = &["From", "Subject", "Date", "To", "Message-ID"];
/// Signed where they are there, and then none may be added: RFC 8058 §4, which has people leave a list by one click on what these say.
pub(crate) const SEALED_IF_THERE: &[&str] = &["List-Unsubscribe", "List-Unsubscribe-Post"];
/// Signed where they are there: RFC 6376 §5.4.1.
pub(crate) const SIGNED: &[&str] = &[
    "Cc",
    "Sender",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Auto-Submitted",
    "TLS-Required",
];

/// Why a message could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The message could not be read, or its signature not be made.
    #[error("can't sign the message: {0}")]
    Message(#[from] io::Error),
}

/// A key that several signatures at once are made with.
struct Shared<K>(Arc<K>);

impl<K: SigningKey<Hasher = Sha256>> SigningKey for Shared<K> {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        self.0.sign(input)
    }

    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }
}

/// The keys of one domain that sign.
struct Signer {
    domain: String,
    generation: String,
    rsa: Option<Shared<RsaKey<Sha256>>>,
    ed25519: Option<Shared<Ed25519Key>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("domain", &self.domain)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Signer {
    fn load(keys: &Keys, domain: &Domain, generation: String) -> Result<Self, KeyError> {
        let rsa = load(&keys.file(domain, Kind::Rsa, &generation), RsaKey::from_key_der)?;
        let ed25519 = load(&keys.file(domain, Kind::Ed25519, &generation), |der| {
            Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_der())
        })?;
        Ok(Self {
            domain: domain.to_ascii(),
            generation,
            rsa: rsa.map(|it| Shared(Arc::new(it))),
            ed25519: ed25519.map(|it| Shared(Arc::new(it))),
        })
    }

    /// The DKIM-Signature fields of a message, of which the rest is read to its end.
    fn sign(&self, header: &[u8], mut rest: impl BufRead) -> io::Result<String> {
        let fields = signed_fields(header);
        let rsa = self.signing(self.rsa.as_ref(), Kind::Rsa, &fields);
        let ed25519 = self.signing(self.ed25519.as_ref(), Kind::Ed25519, &fields);
        let mut rsa = rsa.as_ref().map(DkimSigner::sign_streaming);
        let mut ed25519 = ed25519.as_ref().map(DkimSigner::sign_streaming);
        let mut feed = |octets: &[u8]| {
            rsa.iter_mut().for_each(|it| it.write(octets));
            ed25519.iter_mut().for_each(|it| it.write(octets));
        };
        feed(header);
        loop {
            let block = rest.fill_buf()?;
            if block.is_empty() {
                break;
            }
            feed(block);
            let length = block.len();
            rest.consume(length);
        }
        let rsa = rsa.map(|it| it.finish()).transpose().map_err(unsignable)?;
        let ed25519 = ed25519.map(|it| it.finish()).transpose().map_err(unsignable)?;
        Ok(rsa.into_iter().chain(ed25519).map(|it| it.to_header()).collect())
    }

    fn signing<K: SigningKey<Hasher = Sha256>>(
        &self,
        key: Option<&Shared<K>>,
        kind: Kind,
        fields: &[&'static str],
    ) -> Option<DkimSigner<Shared<K>, Done>> {
        let signer = DkimSigner::from_key(Shared(Arc::clone(&key?.0)))
            .domain(&self.domain)
            .selector(kind.selector(&self.generation))
            .headers(fields.iter().copied())
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        Some(signer)
    }
}

impl Signer {
    /// The ARC set of a message whose header is known, and of which the rest is read to its end: by the RSA key, which all verifiers know, if
    /// there is one. `None` if there is no key at all.
    fn seal(&self, passed: &Passed<'_>, rest: impl BufRead) -> io::Result<Option<String>> {
        let hash = body_hash(rest)?;
        let set = match (&self.rsa, &self.ed25519) {
            (Some(key), _) => self.sealer(key, Kind::Rsa).set(passed, &hash),
            (None, Some(key)) => self.sealer(key, Kind::Ed25519).set(passed, &hash),
            (None, None) => return Ok(None),
        };
        set.map(Some).map_err(unsignable)
    }

    fn sealer<'k, K>(&'k self, key: &'k K, kind: Kind) -> Sealer<'k, K> {
        let (selector, at) = (kind.selector(&self.generation), Timestamp::now().as_second());
        Sealer { key, domain: &self.domain, selector, at }
    }
}

fn unsignable(error: mail_auth::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}

/// The key in a file; `None` if there is no such file.
fn load<K>(
    file: &Path,
    read: impl FnOnce(PrivateKeyDer<'_>) -> mail_auth::Result<K>,
) -> Result<Option<K>, KeyError> {
    let pem = match fs::read(file) {
        Ok(pem) => pem,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::io("read", file)(error)),
    };
    let damaged = |why: String| KeyError::Damaged { path: file.to_owned(), why };
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| damaged(error.to_string()))?;
    read(der).map(Some).map_err(|error| damaged(error.to_string()))
}

/// All up to the empty line, with that; `None` if that doesn't come.
fn read_header(message: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    loop {
        let start = header.len();
        let left = MAX_HEADER.saturating_sub(start) as u64;
        let length = io::Read::take(&mut *message, left).read_until(b'\n', &mut header)?;
        if header.len() >= MAX_HEADER {
            return Ok(None);
        }
        if length == 0 || matches!(header.get(start..), Some(b"\r\n" | b"\n")) {
            return Ok(Some(header));
        }
    }
}

/// The domain of the first address in From.
fn domain_of(header: &[u8]) -> Option<Domain> {
    let from = Envelope::parse(header).from;
    let host = from.iter().find_map(|address| address.host.as_ref())?;
    str::from_utf8(host).ok()?.parse().ok()
}

/// The names of the fields to be signed. One that is named once more than it is there may not be added.
fn signed_fields(header: &[u8]) -> Vec<&'static str> {
    let is_there = |name: &str| {
        header.split(|octet| *octet == b'\n').any(|line| {
            let (start, rest) = line.split_at_checked(name.len()).unwrap_or((line, &[]));
            start.eq_ignore_ascii_case(name.as_bytes()) && rest.trim_ascii_start().starts_with(b":")
        })
    };
    let there =
        |names: &[&'static str]| names.iter().copied().filter(|name| is_there(name)).collect::<Vec<_>>();
    let sealed_if_there = there(SEALED_IF_THERE);
    let mut fields = there(SEALED);
    fields.extend(there(SIGNED));
    fields.extend(&sealed_if_there);
    // Once more than they are there.
    fields.extend(SEALED);
    fields.extend(sealed_if_there);
    fields
}

/// The keys that sign, of all domains, as they were last found on the disk.
#[derive(Debug)]
pub struct Signers {
    keys: Keys,
    known: Mutex<HashMap<Domain, Known>>,
}

/// A domain's keys that sign, and what was seen of the file that names them.
#[derive(Debug, Clone)]
struct Known {
    seen: Option<Seen>,
    signer: Option<Arc<Signer>>,
}

/// The file's inode and modification time, in seconds and nanoseconds.
type Seen = (u64, i64, i64);

impl Signers {
    /// Those in a folder.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self { keys, known: Mutex::default() }
    }

    /// The DKIM-Signature fields of a message, each line ended by CRLF, to be put before it: in the name of its From field's
    /// domain. `None` if there are no keys for that, or if its header has no end within 1 MiB. Reads the message to its end, of
    /// which only the header is kept in memory. Blocks.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, mut message: impl BufRead) -> Result<Option<String>, SignError> {
        let Some(header) = read_header(&mut message)? else { return Ok(None) };
        let Some(domain) = domain_of(&header) else { return Ok(None) };
        let Some(signer) = self.of(&domain)? else { return Ok(None) };
        Ok(Some(signer.sign(&header, message)?))
    }

    /// The ARC set (RFC 8617 §5.1) of a message that others have written, each line ended by CRLF, to be put before it: in the name of the domain of
    /// the address that sends it on, which the Delivered-To field above all others names. It vouches for what the server `authserv_id` found out
    /// when the message came. `None` if there is nothing to vouch for, if there are no keys for that domain, if the chain of sets has failed
    /// before or has no room, or if its header has no end within 1 MiB. Reads the message to its end, of which only the header is kept in
    /// memory. Blocks.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn seal(&self, mut message: impl BufRead, authserv_id: &str) -> Result<Option<String>, SignError> {
        let Some(header) = read_header(&mut message)? else { return Ok(None) };
        let Some(passed) = Passed::of(&header, authserv_id) else { return Ok(None) };
        let Some(signer) = self.of(&passed.domain)? else { return Ok(None) };
        Ok(signer.seal(&passed, message)?)
    }

    /// The keys that sign what is from a domain: its own, or those of the nearest domain above it, which DMARC takes as well
    /// (RFC 7489 §3.1.1). `None` if there are none. Looks at the disk.
    fn of(&self, domain: &Domain) -> Result<Option<Arc<Signer>>, KeyError> {
        let mut name = domain.as_str();
        loop {
            if let Ok(domain) = name.parse()
                && let Some(signer) = self.of_exactly(&domain)?
            {
                return Ok(Some(signer));
            }
            match name.split_once('.') {
                Some((_, above)) if above.contains('.') => name = above,
                Some(_) | None => return Ok(None),
            }
        }
    }

    fn of_exactly(&self, domain: &Domain) -> Result<Option<Arc<Signer>>, KeyError> {
        let file = self.keys.folder_of(domain).join(IN_USE);
        let seen = fs::metadata(&file).ok().map(|it| (it.ino(), it.mtime(), it.mtime_nsec()));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned();
        if let Some(known) = known.filter(|it| it.seen == seen) {
            return Ok(known.signer);
        }
        let signer = match self.keys.in_use(domain)? {
            Some(generation) => Some(Arc::new(Signer::load(&self.keys, domain, generation)?)),
            None => None,
        };
        let known = Known { seen, signer: signer.clone() };
        // Domains without keys may be any number.
        if signer.is_some() {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.clone(), known);
        }
        Ok(signer)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn signers() -> (tempfile::TempDir, Keys, Signers, Domain) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path().to_owned());
        let domain: Domain = "example.org".parse().unwrap();
        keys.generate(&domain, date(2026, 11, 28)).unwrap();
        let signers = Signers::new(keys.clone());
        (dir, keys, signers, domain)
    }

    const MESSAGE: &str =
        "From: a@example.org\r\nSubject: x\r\n y\r\nTo: b@example.net\r\nX-Other: 1\r\n\r\nText\r\n\r\n";

    #[test]
    fn both_keys_sign_with_their_selectors() {
        let (_dir, _, signers, _) = signers();
        let fields = signers.sign(MESSAGE.as_bytes()).unwrap().unwrap();
        assert_eq!(fields.matches("DKIM-Signature:").count(), 2, "{fields}");
        for part in
            ["a=rsa-sha256", "a=ed25519-sha256", "s=rsa-20261128", "s=ed25519-20261128", "d=example.org"]
        {
            assert!(fields.contains(part), "{part} in {fields}");
        }
        assert!(fields.ends_with("\r\n") && !fields.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn no_field_that_people_see_can_be_added_to_what_is_signed() {
        let names = signed_fields(MESSAGE.as_bytes());
        let count = |name: &str| names.iter().filter(|it| **it == name).count();
        assert_eq!([count("From"), count("Subject"), count("To"), count("Date")], [2, 2, 2, 1]);
        assert_eq!([count("Cc"), count("List-Unsubscribe")], [0, 0]);
        let names = signed_fields(b"From: a@b.c\r\nList-Unsubscribe: <https://a.test>\r\n\r\n");
        let count = |name: &str| names.iter().filter(|it| **it == name).count();
        assert_eq!([count("List-Unsubscribe"), count("List-Unsubscribe-Post")], [2, 0]);
    }

    #[test]
    fn a_domain_below_is_signed_for_by_the_one_above() {
        let (_dir, keys, signers, domain) = signers();
        let below: Domain = "news.mail.example.org".parse().unwrap();
        assert_eq!(signers.of(&below).unwrap().unwrap().domain, "example.org");
        assert!(signers.of(&"example.net".parse().unwrap()).unwrap().is_none());
        assert!(signers.of(&"org".parse().unwrap()).unwrap().is_none());
        keys.remove_all(&domain).unwrap();
        assert!(signers.of(&below).unwrap().is_none(), "removed meanwhile");
    }

    #[test]
    fn keys_put_to_use_sign_from_then_on() {
        let (_dir, keys, signers, domain) = signers();
        let generation = |signers: &Signers| signers.of(&domain).unwrap().unwrap().generation.clone();
        assert_eq!(generation(&signers), "20261128");
        let later = keys.generate(&domain, date(2027, 1, 1)).unwrap();
        assert_eq!(generation(&signers), "20261128");
        keys.put_to_use(&domain, &later.name).unwrap();
        assert_eq!(generation(&signers), "20270101");
    }

    #[test]
    fn what_nobody_here_is_named_by_or_has_no_end_of_its_header_is_not_signed() {
        let (_dir, _, signers, _) = signers();
        let is_signed = |message: &str| signers.sign(message.as_bytes()).unwrap().is_some();
        assert!(is_signed("From: A <a@example.org>\r\n"), "a message without a body");
        assert!(!is_signed(&format!("From: a@example.org\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADER / 6))));
        assert!(!is_signed("From: a@example.net\r\n\r\nx"));
        assert!(!is_signed("Subject: x\r\n\r\nFrom: a@example.org\r\n"));
    }
}
