use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mail_config::{CertificateFiles, SmtpRole, TlsConfig};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tracing::{info, warn};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::Stream;
use crate::channel_binding::end_point;
use crate::stream::Secured;

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
    resolver: Arc<Resolver>,
    /// Clients that come back resume their sessions.
    may_resume: bool,
    /// Clients may bind logins to the connection.
    may_bind: bool,
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
        Ok(Some(Arc::new(Self { resolver, may_resume: true, may_bind: config.channel_binding })))
    }

    /// What a listener of this role uses. Clients that come back resume their sessions; other mail servers are offered no
    /// tickets, over which some of them stumble.
    #[must_use]
    pub fn for_role(self: &Arc<Self>, role: SmtpRole) -> Arc<Self> {
        if role != SmtpRole::Mx {
            return Arc::clone(self);
        }
        Arc::new(Self { resolver: Arc::clone(&self.resolver), may_resume: false, may_bind: self.may_bind })
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
        // On the heap, so that only a client that shakes hands has it.
        Box::pin(self.handshake(stream)).await
    }

    async fn handshake(&self, stream: TcpStream) -> std::io::Result<Stream> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let identity = self.resolver.identity(start.client_hello().server_name());
        let identity = identity.ok_or_else(|| std::io::Error::other("no certificate"))?;
        let config = if self.may_resume { &identity.config } else { &identity.without_resumption };
        let stream = start.into_stream(Arc::clone(config)).await?;
        Ok(Stream::Tls(Box::new(Secured { stream, identity: self.may_bind.then_some(identity) })))
    }

    /// What clients will stumble over although the certificates can be used, each a line for the operator.
    #[must_use]
    pub fn warnings(&self, hostname: &str) -> Vec<String> {
        let certificates = self.resolver.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let mut warnings: Vec<String> = Vec::new();
        for (files, identity) in self.resolver.files.iter().zip(&certificates.identities) {
            let days = days_left(&identity.key);
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
fn server_config(key: &Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.ignore_client_order = true;
    Ok(config)
}

/// AES-128 with SHA-256 before all else, as RFC 8446 §9.1 has it: processors hash SHA-256 by themselves, and of a handshake much is hashing.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_preferred(suite.suite()));
    provider
}

const fn is_preferred(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// A certificate with all that shows it. Its tickets are its own, so who resumes a session has seen this certificate.
#[derive(Debug)]
pub(crate) struct Identity {
    key: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
    without_resumption: Arc<ServerConfig>,
    /// `tls-server-end-point`, where the certificate has one.
    pub(crate) end_point: Option<Arc<[u8]>>,
}

impl Identity {
    fn load(files: &CertificateFiles) -> Result<Arc<Self>, TlsError> {
        let key = certified_key(files)?;
        let failed = |error: rustls::Error| invalid(&files.certificate, error.to_string());
        let mut config = server_config(&key).map_err(failed)?;
        let mut without_resumption = config.clone();
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
        without_resumption.session_storage = Arc::new(NoServerSessionStorage {});
        without_resumption.send_tls13_tickets = 0;
        let end_point = key.cert.first().and_then(|leaf| end_point(leaf));
        Ok(Arc::new(Self {
            config: Arc::new(config),
            without_resumption: Arc::new(without_resumption),
            end_point,
            key,
        }))
    }
}

/// Finds the certificate for the name that a client asks for.
#[derive(Debug)]
struct Resolver {
    files: Vec<CertificateFiles>,
    certificates: RwLock<Certificates>,
    looked: Mutex<Instant>,
}

#[derive(Debug)]
struct Certificates {
    /// In the order of the files; the first is for clients that send no name, or none of ours.
    identities: Vec<Arc<Identity>>,
    /// Exact names, and `*.` names as they stand in the certificate.
    by_name: HashMap<String, Arc<Identity>>,
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

    fn identity(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let found = name.and_then(|name| certificates.find(name));
        found.or_else(|| certificates.identities.first().map(Arc::clone))
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

impl Certificates {
    fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        let identities = files.iter().map(Identity::load).collect::<Result<Vec<_>, _>>()?;
        let mut by_name = HashMap::new();
        for identity in &identities {
            for name in names(&identity.key) {
                by_name.entry(name).or_insert_with(|| Arc::clone(identity));
            }
        }
        Ok(Self { identities, by_name, stamps })
    }

    fn find(&self, name: &str) -> Option<Arc<Identity>> {
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
