//! What TLSA records say of a server's certificate. RFC 7672 §3, RFC 7671.

use std::sync::Arc;

use mail_dns::{Dns, LookupError, TlsaRecord};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256, Sha512};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authorities::{verifier, verify};
use crate::{Failure, Kind};

/// Records of one host that are looked at.
const MAX_RECORDS: usize = 32;

/// The TLSA records of a mail host, as far as they can be used; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Associations {
    records: Vec<TlsaRecord>,
    /// The names that the host may prove where an authority is associated, the one that the records stand under first.
    names: Vec<String>,
}

/// What the TLSA records of a mail host ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// There are none: DANE asks for nothing.
    Nothing,
    /// There are, but none that can be used: TLS, whoever it is. RFC 7672 §2.2.
    Encryption,
    /// That the certificate is one of these.
    Certificate(Arc<Associations>),
}

/// Finds the TLSA records of a mail host of `domain`.
///
/// # Errors
/// It can't be known whether there are any, so the host must not be given mail. RFC 7672 §2.2.
pub(crate) async fn asked(dns: &Dns, domain: &str, host: &str, port: u16) -> Result<Asked, Failure> {
    let unknown = |what: String| {
        move |error: LookupError| Failure::new(Kind::DnssecInvalid, format!("{what} can't be known: {error}"))
    };
    for base in
        bases(dns, host).await.map_err(unknown(format!("whether the addresses of {host} are authentic")))?
    {
        let records = dns.tlsa(&base, port).await.map_err(unknown(format!("the TLSA records of {base}")))?;
        if !records.is_empty() {
            let records: Vec<TlsaRecord> =
                strongest(records.into_iter().filter(is_usable).take(MAX_RECORDS).collect());
            if records.is_empty() {
                return Ok(Asked::Encryption);
            }
            let mut names = vec![base, host.to_owned(), domain.to_owned()];
            names.dedup();
            return Ok(Asked::Certificate(Arc::new(Associations { records, names })));
        }
    }
    Ok(Asked::Nothing)
}

/// Under which names TLSA records may stand: where the aliases end, and where they begin. RFC 7672 §2.2.2, §2.2.3.
async fn bases(dns: &Dns, host: &str) -> Result<Vec<String>, LookupError> {
    let found = match dns.authentic_host(host).await {
        // What has no address in the DNS can have no records there either.
        Err(error) if !error.is_temporary() => return Ok(Vec::new()),
        found => found?,
    };
    let host = host.to_ascii_lowercase();
    Ok(match (found.is_secure, found.owner == host) {
        (true, true) => vec![host],
        (true, false) => vec![found.owner, host],
        (false, true) => Vec::new(),
        (false, false) if dns.is_authentic_alias(&host).await? => vec![host],
        (false, false) => Vec::new(),
    })
}

/// RFC 7672 §3.1: the usages 0 and 1 are of no use to mail.
fn is_usable(record: &TlsaRecord) -> bool {
    let has_length = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, 2 | 3) && matches!(record.selector, 0 | 1) && has_length
}

/// Of digests of one kind the strongest only: RFC 7671 §9.
fn strongest(records: Vec<TlsaRecord>) -> Vec<TlsaRecord> {
    let is_beaten = |record: &TlsaRecord| {
        let same = |it: &&TlsaRecord| (it.usage, it.selector) == (record.usage, record.selector);
        record.matching == 1 && records.iter().filter(same).any(|it| it.matching == 2)
    };
    records.iter().filter(|record| !is_beaten(record)).cloned().collect()
}

impl Associations {
    /// The name that is asked for in the handshake (SNI). RFC 7672 §8.1.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Verifies what a server has shown.
    ///
    /// # Errors
    /// It is none of what the records name.
    pub(crate) fn verify(&self, shown: &[CertificateDer<'_>]) -> Result<(), Failure> {
        let Some((own, others)) = shown.split_first() else {
            return Err(Failure::new(Kind::CertificateNotTrusted, "it has no certificate".to_owned()));
        };
        // RFC 7672 §3.1.1: neither names nor times matter here.
        if self.of_usage(3).any(|record| matches(record, own)) {
            return Ok(());
        }
        if self.of_usage(2).next().is_none() {
            let why = "its certificate is none that the TLSA records name".to_owned();
            return Err(Failure::new(Kind::ValidationFailure, why));
        }
        self.verify_by_authority(own, others)
    }

    /// RFC 7672 §3.1.2: with the authority that the records name, and no other.
    fn verify_by_authority(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), Failure> {
        let mut roots = RootCertStore::empty();
        for record in self.of_usage(2) {
            for authority in others.iter().filter(|certificate| matches(record, certificate)) {
                roots.add_parsable_certificates([authority.clone().into_owned()]);
            }
            // A whole certificate need not be shown.
            if (record.selector, record.matching) == (0, 0) {
                roots.add_parsable_certificates([CertificateDer::from(record.data.clone())]);
            }
        }
        if roots.is_empty() {
            let why = "no certificate of its chain is an authority that the TLSA records name".to_owned();
            return Err(Failure::new(Kind::ValidationFailure, why));
        }
        let verifier = verifier(Arc::new(roots)).map_err(|error| {
            Failure::new(Kind::TlsaInvalid, format!("the authority can't be used: {error}"))
        })?;
        let mut failed = Failure::new(Kind::CertificateNotTrusted, "it has no name".to_owned());
        for name in &self.names {
            match verify(&verifier, own, others, name) {
                Ok(()) => return Ok(()),
                Err(failure) => failed = failure,
            }
        }
        Err(failed)
    }

    fn of_usage(&self, usage: u8) -> impl Iterator<Item = &TlsaRecord> {
        self.records.iter().filter(move |record| record.usage == usage)
    }

    /// The records as reports have them. RFC 8460 §4.2
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let hex = |data: &[u8]| data.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let shown =
            |it: &TlsaRecord| format!("{} {} {} {}", it.usage, it.selector, it.matching, hex(&it.data));
        self.records.iter().map(shown).collect()
    }
}

/// True if a record names this certificate. RFC 6698 §2.1.
fn matches(record: &TlsaRecord, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.as_ref(),
        1 => match X509Certificate::from_der(certificate) {
            Ok((_, parsed)) => parsed.tbs_certificate.subject_pki.raw,
            Err(_) => return false,
        },
        _ => return false,
    };
    match record.matching {
        0 => selected == record.data,
        1 => Sha256::digest(selected).as_slice() == record.data,
        2 => Sha512::digest(selected).as_slice() == record.data,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
