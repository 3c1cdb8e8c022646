//! What a login can be bound to: the TLS connection, or the certificate that the server showed.

use std::sync::Arc;

use mail_types::ChannelBindings;
use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConnection};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// RFC 9266 §3.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// What a connection can be bound to; `None` before TLS 1.3.
///
/// With TLS 1.2 clients bind to `tls-unique` (RFC 5802 §6.1), which can't be had here, and an exporter is of one connection
/// alone only where both ends know the extended master secret (RFC 9266 §4.2).
pub(crate) fn channel_bindings(
    connection: &ServerConnection,
    end_point: Option<&Arc<[u8]>>,
) -> Option<ChannelBindings> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    let exporter = connection.export_keying_material([0; 32], EXPORTER, Some(&[])).ok()?;
    Some(ChannelBindings { exporter, end_point: end_point.map(Arc::clone) })
}

/// The hash of a certificate by the function of its signature, SHA-256 for MD5 and SHA-1. RFC 5929 §4.1.
///
/// `None` for a signature without one such function (Ed25519): there the standard defines no binding.
pub(crate) fn end_point(certificate: &CertificateDer<'_>) -> Option<Arc<[u8]>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let hash = match SignatureAlgorithm::try_from(algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(params)) => params.hash_algorithm_oid().to_id_string(),
        _ => algorithm.algorithm.to_id_string(),
    };
    Some(match hash.as_str() {
        // MD5 and SHA-1: with RSA, RSASSA-PSS (its default), with ECDSA; and SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.3.14.3.2.26"
        | "1.2.840.10045.4.1"
        | "1.2.840.113549.1.1.11"
        | "2.16.840.1.101.3.4.2.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).as_slice().into(),
        "1.2.840.113549.1.1.12" | "2.16.840.1.101.3.4.2.2" | "1.2.840.10045.4.3.3" => {
            Sha384::digest(certificate).as_slice().into()
        }
        "1.2.840.113549.1.1.13" | "2.16.840.1.101.3.4.2.3" | "1.2.840.10045.4.3.4" => {
            Sha512::digest(certificate).as_slice().into()
        }
        "1.2.840.113549.1.1.14" | "2.16.840.1.101.3.4.2.4" | "1.2.840.10045.4.3.1" => {
            Sha224::digest(certificate).as_slice().into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> CertificateDer<'static> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
    }

    /// RFC 5929 §4.1.
    #[test]
    fn the_signature_says_by_what_a_certificate_is_hashed() {
        let by_256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point(&by_256).as_deref(), Some(Sha256::digest(&by_256).as_slice()));
        let by_384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(end_point(&by_384).as_deref(), Some(Sha384::digest(&by_384).as_slice()));
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }
}
