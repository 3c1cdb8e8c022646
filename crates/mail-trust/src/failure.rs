use std::fmt;

/// In which way the security of a connection failed, or of what would have said how it is to be secured. RFC 8460 §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The mail host does not offer STARTTLS, or refuses it.
    StarttlsNotSupported,
    /// Its certificate is for other names.
    CertificateHostMismatch,
    /// Its certificate has expired, or is not valid yet.
    CertificateExpired,
    /// No authority that is trusted vouches for it.
    CertificateNotTrusted,
    /// The TLS handshake failed in another way, or the mail host is none that the policy names.
    ValidationFailure,
    /// The TLSA records of the mail host can't be used.
    TlsaInvalid,
    /// The DNS did not say whether there are TLSA records, or its answer was forged.
    DnssecInvalid,
    /// The policy could not be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The certificate of the policy host could not be verified.
    StsWebpkiInvalid,
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How security failed, and in words why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {why}")]
pub struct Failure {
    /// For programs.
    pub kind: Kind,
    /// For people.
    pub why: String,
}

impl Failure {
    /// A failure, why in words.
    #[must_use]
    pub const fn new(kind: Kind, why: String) -> Self {
        Self { kind, why }
    }
}
