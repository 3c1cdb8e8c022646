//! Look-ups of which it is known whether the answer is authentic: DNSSEC, as a resolver that validates says by the AD bit. RFC 4035 §3.2.3.
//!
//! What the bit says is worth no more than the way from the resolver: so it is believed on this machine, and elsewhere only where the config says so.

use futures_util::StreamExt as _;
use hickory_resolver::NameServerPool;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle as _;
use hickory_resolver::net::{DnsError as Answer, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message, Query};
use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::timeout;

use crate::dns::plain;
use crate::{Dns, LookupError};

/// Whom to ask for answers that are validated.
pub(crate) type Validating = NameServerPool<TokioRuntimeProvider>;

/// Whether the records of a name are authentic, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentic {
    /// They are, and so is every alias on the way.
    pub is_secure: bool,
    /// The name that the records have, at the end of the aliases; in lower case without the last dot.
    pub owner: String,
}

/// A TLSA record as it stands in the DNS. RFC 6698 §2.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsaRecord {
    /// What is associated: 2 an authority, 3 the server's own certificate.
    pub usage: u8,
    /// 0 the certificate, 1 its public key.
    pub selector: u8,
    /// 0 as it is, 1 by SHA-256, 2 by SHA-512.
    pub matching: u8,
    /// The association.
    pub data: Vec<u8>,
}

impl Dns {
    /// True if it can be known of answers whether they are authentic.
    #[must_use]
    pub const fn validates(&self) -> bool {
        self.validating.is_some()
    }

    /// Whether the MX records of a domain are authentic; where it has none, that is asked of its address.
    ///
    /// # Errors
    /// [`LookupError`]; a forged answer is temporary.
    pub async fn authentic_mail_hosts(&self, domain: &str) -> Result<bool, LookupError> {
        match self.ask(domain, RecordType::MX).await {
            Ok((_, is_secure)) => Ok(is_secure),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(self.authentic_host(domain).await?.is_secure),
        }
    }

    /// Whether the addresses of a host are authentic, and under which name they stand. RFC 7672 §2.2.2.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn authentic_host(&self, host: &str) -> Result<Authentic, LookupError> {
        let (message, is_secure) = match self.ask(host, RecordType::A).await {
            Err(error) if !error.is_temporary() => self.ask(host, RecordType::AAAA).await?,
            answer => answer?,
        };
        let is_address = |data: &RData| data.ip_addr().is_some();
        let owner =
            message.answers.iter().find(|record| is_address(&record.data)).map(|record| plain(&record.name));
        Ok(Authentic { is_secure, owner: owner.ok_or(LookupError::NoRecords)? })
    }

    /// True if a name is an alias, and that is authentic.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn is_authentic_alias(&self, name: &str) -> Result<bool, LookupError> {
        match self.ask(name, RecordType::CNAME).await {
            Ok((_, is_secure)) => Ok(is_secure),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// The TLSA records of a service, authentic ones only: none where there are none, and where they stand in a zone that is not signed.
    ///
    /// # Errors
    /// Temporary ones only: it can't be known that there are none.
    pub async fn tlsa(&self, host: &str, port: u16) -> Result<Vec<TlsaRecord>, LookupError> {
        let record =
            |data: &RData| if let RData::TLSA(it) = data { Some(TlsaRecord::from(it)) } else { None };
        match self.ask(&format!("_{port}._tcp.{host}"), RecordType::TLSA).await {
            Ok((message, true)) => Ok(message.answers.iter().filter_map(|it| record(&it.data)).collect()),
            Err(error) if error.is_temporary() => Err(error),
            Ok((_, false)) | Err(_) => Ok(Vec::new()),
        }
    }

    /// Asks a resolver that validates; tells whether all of the answer is authentic.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<(Message, bool), LookupError> {
        let Some(validating) = &self.validating else {
            return Err(LookupError::Failed("no resolver validates".to_owned()));
        };
        let mut name = Name::from_str_relaxed(name).map_err(|_| LookupError::NotAName)?;
        name.set_fqdn(true);
        let mut request = DnsRequest::from_query(Query::query(name, kind), DnsRequestOptions::default());
        // RFC 6840 §5.7: so one asks for the bit without asking for the signatures.
        request.metadata.authentic_data = true;
        let answer = timeout(self.timeout(), validating.send(request).next()).await;
        let answer = answer.map_err(|_| LookupError::TimedOut(self.timeout()))?;
        let response = answer.ok_or_else(|| LookupError::Failed("no answer".to_owned()))??;
        let response = Answer::from_response(response).map_err(NetError::from)?;
        let is_secure = response.metadata.authentic_data;
        Ok((response.into_message(), is_secure))
    }
}

impl From<&TLSA> for TlsaRecord {
    fn from(record: &TLSA) -> Self {
        Self {
            usage: record.cert_usage.into(),
            selector: record.selector.into(),
            matching: record.matching.into(),
            data: record.cert_data.clone(),
        }
    }
}
