use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mail_config::{CertificateFiles, SmtpRole, TlsConfig};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::Stream;

/// How often, at most, the files are looked at for a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate that is good for less than this should have been renewed.
const RENEW_DAYS: i64 = 7;

/// Why the certificates can't be used. The text tells the operator which file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {path}: {source}{}", advice(source))]
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

fn advice(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        "; let the user that the servers run as read it"
    } else {
        ""
    }
}

/// The certificates, chosen by SNI, read again when their files change.
#[derive(Debug)]
pub struct TlsContext {
    config: Arc<rustls::ServerConfig>,
    resolver: Arc<Resolver>,
    /// The same for other mail servers.
    without_resumption: Option<Arc<Self>>,
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
        let failed = |error: rustls::Error| resolver.invalid(error.to_string());
        let mut server = server_config(&resolver).map_err(failed)?;
        let mut to_servers = server.clone();
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
        to_servers.session_storage = Arc::new(NoServerSessionStorage {});
        to_servers.send_tls13_tickets = 0;
        let to_servers =
            Self { config: Arc::new(to_servers), resolver: Arc::clone(&resolver), without_resumption: None };
        let without_resumption = Some(Arc::new(to_servers));
        Ok(Some(Arc::new(Self { config: Arc::new(server), resolver, without_resumption })))
    }

    /// What a listener of this role uses. Clients that come back resume their sessions; other mail servers are offered no
    /// tickets, over which some of them stumble.
    #[must_use]
    pub fn for_role(self: &Arc<Self>, role: SmtpRole) -> Arc<Self> {
        let without = self.without_resumption.as_ref().filter(|_| role == SmtpRole::Mx);
        Arc::clone(without.unwrap_or(self))
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

    /// What clients will stumble over although the certificates can be used, each a line for the operator.
    #[must_use]
    pub fn warnings(&self, hostname: &str) -> Vec<String> {
        let certificates = self.resolver.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let mut warnings: Vec<String> = Vec::new();
        for (files, key) in self.resolver.files.iter().zip(&certificates.keys) {
            let days = days_left(key);
            if days.is_some_and(|days| days < RENEW_DAYS) {
                let when =
                    if days.is_some_and(|days| days < 0) { "has expired" } else { "expires in a few days" };
                warnings.push(format!("{} {when}: renew it", files.certificate.display()));
            }
        }
        if certificates.find(hostname).is_none() {
            warnings.push(format!(
                "no certificate is for {hostname}: clients that are set to this name will complain"
            ));
        }
        warnings
    }

    /// Looks at once whether the files changed.
    pub fn refresh(&self) {
        self.resolver.refresh();
    }
}

/// TLS 1.2 and 1.3. ALPN is not negotiated: a client that offers a protocol by it is served all the same, RFC 7301 §3.1.
fn server_config(resolver: &Arc<Resolver>) -> Result<rustls::ServerConfig, rustls::Error> {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(resolver) as Arc<dyn ResolvesServerCert>);
    Ok(config)
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
    /// In the order of the files; the first is for clients that send no name, or none of ours.
    keys: Vec<Arc<CertifiedKey>>,
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
        found.or_else(|| certificates.keys.first().map(Arc::clone))
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
        Ok(Self { keys, by_name, stamps })
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
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

/// The server's own certificate.
fn leaf(key: &CertifiedKey) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(key.cert.first()?).ok().map(|(_, leaf)| leaf)
}

/// Whole days until the certificate expires; below 0 if it has.
fn days_left(key: &CertifiedKey) -> Option<i64> {
    let left = leaf(key)?.validity().not_after.timestamp() - ASN1Time::now().timestamp();
    Some(left.div_euclid(24 * 3600))
}

/// The DNS names in the server's own certificate, in lower case.
fn names(key: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = leaf(key) else { return Vec::new() };
    let Ok(Some(alternative)) = leaf.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    };
    alternative.value.general_names.iter().filter_map(dns).collect()
}
