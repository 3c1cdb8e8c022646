//! A certificate authority of our own and a certificate signed by it: for the demo, and for a new domain until it has a real one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::{ToSpan, Zoned, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use x509_parser::pem::parse_x509_pem;

use crate::data_dir::write_whole;

/// How long the authority is good.
const AUTHORITY_DAYS: i64 = 3650;
/// How long the server's certificate is good; Apple's clients refuse more than 825 days.
const SERVER_DAYS: i64 = 800;
/// A certificate is renewed when it is good for less than this.
const RENEW_DAYS: i64 = 30;
/// Only the owner reads keys.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The files of an authority and of the certificate that it signs.
pub(crate) struct TestCertificate {
    folder: PathBuf,
}

impl TestCertificate {
    /// In `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The authority's certificate, for clients to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn authority_key(&self) -> PathBuf {
        self.folder.join("ca-key.pem")
    }

    /// The server's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// The server's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Every file.
    pub(crate) fn files(&self) -> [PathBuf; 4] {
        [self.authority(), self.authority_key(), self.certificate(), self.key()]
    }

    /// Makes what is missing, and renews the server's certificate when its time comes. The authority stays, so
    /// that clients that trust it go on.
    pub(crate) fn ensure(&self, names: &[&str]) -> anyhow::Result<()> {
        let is_new = !self.authority().exists() || !self.authority_key().exists();
        if is_new {
            self.make_authority().context("can't make a certificate authority")?;
        }
        if is_new || !self.key().exists() || !is_good(&self.certificate()) {
            self.sign(names).context("can't make a certificate")?;
        }
        Ok(())
    }

    fn make_authority(&self) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = valid_for(CertificateParams::default(), AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The serial number keeps apart the authorities of several tries in a client's list.
        let name = format!("Mailstead test CA {}", Zoned::now().strftime("%Y-%m-%d %H:%M:%S"));
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        write_whole(&self.authority_key(), key.serialize_pem().as_bytes(), PRIVATE)?;
        write_whole(&self.authority(), certificate.pem().as_bytes(), PUBLIC)
    }

    fn sign(&self, names: &[&str]) -> anyhow::Result<()> {
        let authority_key = KeyPair::from_pem(&read(&self.authority_key())?)?;
        let issuer = Issuer::from_ca_cert_pem(&read(&self.authority())?, authority_key)?;
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = valid_for(CertificateParams::new(names.clone())?, SERVER_DAYS)?;
        params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &issuer)?;
        write_whole(&self.key(), key.serialize_pem().as_bytes(), PRIVATE)?;
        write_whole(&self.certificate(), certificate.pem().as_bytes(), PUBLIC)
    }
}

/// From yesterday, for clients whose clock is behind.
fn valid_for(mut params: CertificateParams, days: i64) -> anyhow::Result<CertificateParams> {
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    let date = |date: jiff::civil::Date| -> anyhow::Result<_> {
        Ok(date_time_ymd(date.year().into(), date.month().try_into()?, date.day().try_into()?))
    };
    params.not_before = date(today.checked_sub(1.day())?)?;
    params.not_after = date(today.checked_add(days.days())?)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}

/// True if the certificate is good for a while yet. One that can't be read is not.
fn is_good(path: &Path) -> bool {
    let Ok(pem) = std::fs::read(path) else { return false };
    let Ok((_, pem)) = parse_x509_pem(&pem) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let left = certificate.validity().time_to_expiration();
    left.is_some_and(|left| left.whole_days() >= RENEW_DAYS)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_certificate_stays_and_a_lost_one_is_signed_by_the_same_authority() {
        let folder = tempfile::tempdir().unwrap();
        let files = TestCertificate::new(folder.path());
        files.ensure(&["localhost", "127.0.0.1"]).unwrap();
        let before = files.files().map(|path| std::fs::read(path).unwrap());
        files.ensure(&["localhost", "127.0.0.1"]).unwrap();
        assert_eq!(files.files().map(|path| std::fs::read(path).unwrap()), before);
        std::fs::write(files.certificate(), "damaged").unwrap();
        files.ensure(&["localhost", "127.0.0.1"]).unwrap();
        assert_eq!(std::fs::read(files.authority()).unwrap(), before[0]);
        assert!(is_good(&files.certificate()));
    }
}
