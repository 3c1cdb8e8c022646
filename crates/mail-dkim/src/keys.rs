//! The keys on disk: `<folder>/<domain>/rsa-20261128.pem`, beside it `ed25519-20261128.pem`, and `in-use`, which names the
//! generation that signs, `20261128`.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::Date;
use mail_types::Domain;
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};

/// Octets of one string of a TXT record. RFC 1035 §3.3.
const MAX_STRING: usize = 255;
/// Names the generation that signs.
pub(crate) const IN_USE: &str = "in-use";

/// Why a key can't be used, made or removed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The disk.
    #[error("can't {doing} {path}: {source}")]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds no key of its kind.
    #[error("{path} holds no usable private key: {why}; make others with `mailstead dkim rotate`")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No key could be made.
    #[error("can't make a key: {0}")]
    Generate(#[from] rcgen::Error),
    /// No generation has this name.
    #[error("{domain} has no keys {name}; `mailstead dkim list {domain}` names those it has")]
    Unknown {
        /// Whose.
        domain: Domain,
        /// As it was named.
        name: String,
    },
    /// The generation signs.
    #[error("the keys {name} of {domain} are in use; put others to use first, or remove all with --all")]
    InUse {
        /// Whose.
        domain: Domain,
        /// Which.
        name: String,
    },
}

impl KeyError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Two keys of a domain, made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Letters and digits; names sort by age.
    pub name: String,
    /// It signs.
    pub is_in_use: bool,
}

/// What must stand in the DNS for a key. RFC 6376 §3.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `rsa-20261128._domainkey.example.org`, without a dot at its end.
    pub name: String,
    /// `v=DKIM1; k=rsa; p=…`, whole.
    pub value: String,
}

impl Record {
    /// The value as a zone file has it: in quotes, in as many strings as it takes.
    #[must_use]
    pub fn in_zone_file(&self) -> String {
        let mut strings = Vec::new();
        let mut rest = self.value.as_str();
        while !rest.is_empty() {
            let (string, behind) = rest.split_at(rest.floor_char_boundary(MAX_STRING));
            strings.push(format!("\"{string}\""));
            rest = behind;
        }
        strings.join(" ")
    }
}

/// What a key is made for and with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    Ed25519,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Rsa, Self::Ed25519];

    /// As `k=` names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    pub(crate) fn selector(self, generation: &str) -> String {
        format!("{}-{generation}", self.name())
    }

    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        }
    }

    /// What `p=` says: RFC 6376 §3.6.1 has the key with its algorithm, RFC 8463 §4.2 the bare one.
    fn public(self, pair: &KeyPair) -> String {
        match self {
            Self::Rsa => BASE64_STANDARD.encode(pair.subject_public_key_info()),
            Self::Ed25519 => BASE64_STANDARD.encode(pair.public_key_raw()),
        }
    }
}

/// The keys of all domains.
#[derive(Debug, Clone)]
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Those in a folder, which need not be there yet.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder_of(&self, domain: &Domain) -> PathBuf {
        self.folder.join(domain.to_ascii())
    }

    pub(crate) fn file(&self, domain: &Domain, kind: Kind, generation: &str) -> PathBuf {
        self.folder_of(domain).join(kind.selector(generation)).with_added_extension("pem")
    }

    /// The domains that have keys, in the order of their names. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn domains(&self) -> Result<Vec<Domain>, KeyError> {
        let names = names(&self.folder)?;
        let mut domains: Vec<Domain> = names.iter().filter_map(|name| name.parse().ok()).collect();
        domains.sort();
        Ok(domains)
    }

    /// A domain's generations, the oldest first. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn generations(&self, domain: &Domain) -> Result<Vec<Generation>, KeyError> {
        let in_use = self.in_use(domain)?;
        let names = names(&self.folder_of(domain))?;
        let generation = |file: &String| {
            Kind::ALL.iter().find_map(|kind| {
                file.strip_prefix(&kind.selector(""))?.strip_suffix(".pem").map(str::to_owned)
            })
        };
        let mut generations: Vec<String> = names.iter().filter_map(generation).collect();
        generations.sort();
        generations.dedup();
        let generation = |name: String| Generation { is_in_use: in_use.as_ref() == Some(&name), name };
        Ok(generations.into_iter().map(generation).collect())
    }

    /// The generation of a domain that signs. Blocks.
    pub(crate) fn in_use(&self, domain: &Domain) -> Result<Option<String>, KeyError> {
        let file = self.folder_of(domain).join(IN_USE);
        match fs::read_to_string(&file) {
            Ok(name) => Ok(Some(name.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(KeyError::io("read", &file)(error)),
        }
    }

    /// What must stand in the DNS for a generation. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Io`], [`KeyError::Damaged`].
    pub fn records(&self, domain: &Domain, generation: &str) -> Result<Vec<Record>, KeyError> {
        let record = |kind: Kind| {
            let file = self.file(domain, kind, generation);
            let pem = match fs::read_to_string(&file) {
                Ok(pem) => pem,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(KeyError::io("read", &file)(error)),
            };
            let pair = KeyPair::from_pem(&pem)
                .map_err(|error| KeyError::Damaged { path: file, why: error.to_string() })?;
            Ok(Some(Record {
                name: format!("{}._domainkey.{}", kind.selector(generation), domain.to_ascii()),
                value: format!("v=DKIM1; k={}; p={}", kind.name(), kind.public(&pair)),
            }))
        };
        Kind::ALL.into_iter().filter_map(|kind| record(kind).transpose()).collect()
    }

    /// Makes a generation, named for the day. It signs if the domain has no other that does. Blocks, for about a second.
    ///
    /// # Errors
    /// [`KeyError::Generate`], [`KeyError::Io`].
    pub fn generate(&self, domain: &Domain, day: Date) -> Result<Generation, KeyError> {
        let folder = self.folder_of(domain);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(KeyError::io("make", &folder))?;
        let known = self.generations(domain)?;
        let is_free = |name: &String| known.iter().all(|it| it.name != *name);
        let day = day.strftime("%Y%m%d").to_string();
        let names = std::iter::once(day.clone()).chain(('b'..='z').map(|letter| format!("{day}{letter}")));
        let name = names.into_iter().find(is_free).unwrap_or_else(|| format!("{day}z{}", known.len()));
        for kind in Kind::ALL {
            write_whole(&self.file(domain, kind, &name), kind.generate()?.serialize_pem().as_bytes())?;
        }
        let is_in_use = self.in_use(domain)?.is_none();
        if is_in_use {
            self.put_to_use(domain, &name)?;
        }
        Ok(Generation { name, is_in_use })
    }

    /// Has this generation sign from now on. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Io`].
    pub fn put_to_use(&self, domain: &Domain, name: &str) -> Result<(), KeyError> {
        self.find(domain, name)?;
        write_whole(&self.folder_of(domain).join(IN_USE), format!("{name}\n").as_bytes())
    }

    /// Removes a generation that doesn't sign. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::InUse`], [`KeyError::Io`].
    pub fn remove(&self, domain: &Domain, name: &str) -> Result<(), KeyError> {
        if self.find(domain, name)?.is_in_use {
            return Err(KeyError::InUse { domain: domain.clone(), name: name.to_owned() });
        }
        for kind in Kind::ALL {
            let file = self.file(domain, kind, name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(KeyError::io("remove", &file)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Removes all keys of a domain, whose mail goes out without a signature then. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn remove_all(&self, domain: &Domain) -> Result<(), KeyError> {
        let folder = self.folder_of(domain);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(KeyError::io("remove", &folder)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn find(&self, domain: &Domain, name: &str) -> Result<Generation, KeyError> {
        let unknown = || KeyError::Unknown { domain: domain.clone(), name: name.to_owned() };
        self.generations(domain)?.into_iter().find(|it| it.name == name).ok_or_else(unknown)
    }
}

/// The names in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, KeyError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KeyError::io("read", folder)(error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(KeyError::io("read", folder))
}

/// For its owner's eyes only.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    whole_file::replace(path, content, 0o600).map_err(KeyError::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use jiff::civil::date;

    use super::*;

    fn keys() -> (tempfile::TempDir, Keys, Domain) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path().join("dkim"));
        (dir, keys, "example.org".parse().unwrap())
    }

    #[test]
    fn the_first_keys_sign_and_later_ones_wait_until_they_are_put_to_use() {
        let (_dir, keys, domain) = keys();
        assert_eq!(keys.domains().unwrap(), []);
        assert!(keys.generate(&domain, date(2026, 11, 28)).unwrap().is_in_use);
        assert!(!keys.generate(&domain, date(2026, 11, 28)).unwrap().is_in_use);
        assert!(!keys.generate(&domain, date(2027, 1, 2)).unwrap().is_in_use);
        let shown = || {
            let generations = keys.generations(&domain).unwrap();
            generations.into_iter().map(|it| (it.name, it.is_in_use)).collect::<Vec<_>>()
        };
        let names = ["20261128", "20261128b", "20270102"].map(str::to_owned);
        let with = |used: usize| {
            names.iter().cloned().enumerate().map(|(at, it)| (it, at == used)).collect::<Vec<_>>()
        };
        assert_eq!(shown(), with(0));
        keys.put_to_use(&domain, "20270102").unwrap();
        assert_eq!(shown(), with(2));
        assert_eq!(keys.domains().unwrap(), vec![domain.clone()]);
        assert!(matches!(keys.remove(&domain, "20270102"), Err(KeyError::InUse { .. })));
        assert!(matches!(keys.remove(&domain, "../x"), Err(KeyError::Unknown { .. })));
        assert!(matches!(keys.put_to_use(&domain, "20250101"), Err(KeyError::Unknown { .. })));
        keys.remove(&domain, "20261128").unwrap();
        assert_eq!(shown().len(), 2);
        keys.remove_all(&domain).unwrap();
        assert_eq!(shown(), []);
    }

    #[test]
    fn only_the_owner_may_read_a_key() {
        let (_dir, keys, domain) = keys();
        let name = keys.generate(&domain, date(2026, 11, 28)).unwrap().name;
        for kind in Kind::ALL {
            let mode = fs::metadata(keys.file(&domain, kind, &name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        assert_eq!(fs::metadata(keys.folder_of(&domain)).unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn a_long_record_is_written_in_strings_that_the_dns_takes() {
        let (_dir, keys, domain) = keys();
        let name = keys.generate(&domain, date(2026, 11, 28)).unwrap().name;
        let [rsa, ed25519] = keys.records(&domain, &name).unwrap().try_into().unwrap();
        assert_eq!(rsa.name, "rsa-20261128._domainkey.example.org");
        assert!(rsa.value.starts_with("v=DKIM1; k=rsa; p=MIIBIjAN"), "{}", rsa.value);
        let strings: Vec<_> = rsa.in_zone_file().split("\" \"").map(|it| it.replace('"', "")).collect();
        assert!(strings.len() == 2 && strings.iter().all(|it| it.len() <= MAX_STRING));
        assert_eq!(strings.concat(), rsa.value);
        assert!(ed25519.value.starts_with("v=DKIM1; k=ed25519; p="), "{}", ed25519.value);
        assert_eq!(ed25519.in_zone_file(), format!("\"{}\"", ed25519.value));
    }

    #[test]
    fn a_key_that_can_not_be_read_is_named() {
        let (_dir, keys, domain) = keys();
        let name = keys.generate(&domain, date(2026, 11, 28)).unwrap().name;
        let file = keys.file(&domain, Kind::Rsa, &name);
        fs::write(&file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        let error = keys.records(&domain, &name).unwrap_err().to_string();
        assert!(error.contains("rsa-20261128.pem holds no usable private key"), "{error}");
    }
}
