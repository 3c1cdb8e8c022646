use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mail_config::{CertificateFiles, TlsConfig};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::Stream;

/// How often, at most, the files are looked at for a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the certificates can't be used. The text tells the operator which file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate, no key, or one that does not fit.
    #[error("{path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// The certificates, chosen by SNI, read again when their files change.
#[derive(Debug)]
pub struct TlsContext {
    config: Arc<rustls::ServerConfig>,
    resolver: Arc<Resolver>,
}

impl TlsContext {
    /// Reads the certificates. `None` if none are configured.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(config: &TlsConfig) -> Result<Option<Arc<Self>>, TlsError> {
        if config.certificates.is_empty() {
            return Ok(None);
        }
        let resolver = Arc::new(Resolver::load(config.certificates.clone())?);
        let server = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| resolver.invalid(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        Ok(Some(Arc::new(Self { config: Arc::new(server), resolver })))
    }

    /// Performs the server's part of the handshake.
    ///
    /// # Errors
    /// What the handshake failed for.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<Stream> {
        if self.resolver.is_time_to_look() {
            let resolver = Arc::clone(&self.resolver);
            // The files are read off the async threads; this handshake still gets the fresh certificate.
            let _ = tokio::task::spawn_blocking(move || resolver.refresh()).await;
        }
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Looks at once whether the files changed.
    pub fn refresh(&self) {
        self.resolver.refresh();
    }
}

/// Answers with the certificate for the name that the client asks for.
#[derive(Debug)]
struct Resolver {
    files: Vec<CertificateFiles>,
    certificates: RwLock<Certificates>,
    looked: Mutex<Instant>,
}

#[derive(Debug)]
struct Certificates {
    /// For clients that send no name, or none of ours.
    default: Arc<CertifiedKey>,
    /// Exact names, and `*.` names as they stand in the certificate.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    stamps: Vec<Stamp>,
}

/// What tells that a file was replaced or rewritten.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let of = |metadata: Metadata| (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size());
    std::fs::metadata(path).ok().map(of)
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    files.iter().flat_map(|pair| [stamp(&pair.certificate), stamp(&pair.key)]).collect()
}

impl Resolver {
    fn load(files: Vec<CertificateFiles>) -> Result<Self, TlsError> {
        let certificates = RwLock::new(Certificates::load(&files)?);
        Ok(Self { files, certificates, looked: Mutex::new(Instant::now()) })
    }

    fn invalid(&self, problem: String) -> TlsError {
        let path = self.files.first().map(|pair| pair.certificate.clone()).unwrap_or_default();
        TlsError::Invalid { path, problem }
    }

    fn is_time_to_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.elapsed() >= LOOK_EVERY;
        if due {
            *looked = Instant::now();
        }
        due
    }

    /// Reads the files anew if they changed. Files that don't fit leave the old certificates in use.
    fn refresh(&self) {
        let now = stamps(&self.files);
        if now == self.certificates.read().unwrap_or_else(PoisonError::into_inner).stamps {
            return;
        }
        match Certificates::load(&self.files) {
            Ok(certificates) => {
                info!("the certificates changed and are in use");
                *self.certificates.write().unwrap_or_else(PoisonError::into_inner) = certificates;
            }
            Err(error) => {
                warn!(%error, "the changed certificates can't be used; the old ones stay in use");
                self.certificates.write().unwrap_or_else(PoisonError::into_inner).stamps = now;
            }
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let found = hello.server_name().and_then(|name| certificates.find(name));
        Some(found.unwrap_or_else(|| Arc::clone(&certificates.default)))
    }
}

impl Certificates {
    fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        let keys = files.iter().map(certified_key).collect::<Result<Vec<_>, _>>()?;
        let mut by_name = HashMap::new();
        for key in &keys {
            for name in names(key) {
                by_name.entry(name).or_insert_with(|| Arc::clone(key));
            }
        }
        let default = keys.into_iter().next().ok_or_else(|| TlsError::Invalid {
            path: PathBuf::new(),
            problem: "no certificate is configured".to_owned(),
        })?;
        Ok(Self { default, by_name, stamps })
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard()?)).map(Arc::clone)
    }
}

/// Reads one pair of files and checks that they belong together.
fn certified_key(files: &CertificateFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = read(&files.certificate)?;
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
    let chain = chain
        .map_err(|error| invalid(&files.certificate, format!("is no PEM certificate chain: {error}")))?;
    if chain.is_empty() {
        return Err(invalid(
            &files.certificate,
            "holds no certificate; it must be PEM, the server's own certificate first".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(|error| invalid(&files.key, format!("holds no PEM private key: {error}")))?;
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    let key = key.map_err(|error| {
        invalid(&files.certificate, format!("can't be used with the key {}: {error}", files.key.display()))
    })?;
    Ok(Arc::new(key))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn invalid(path: &Path, problem: String) -> TlsError {
    TlsError::Invalid { path: path.to_owned(), problem }
}

/// The DNS names in the server's own certificate, in lower case.
fn names(key: &CertifiedKey) -> Vec<String> {
    let leaf = key.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let Some((_, leaf)) = leaf else { return Vec::new() };
    let Ok(Some(alternative)) = leaf.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    };
    alternative.value.general_names.iter().filter_map(dns).collect()
}
