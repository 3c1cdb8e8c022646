use std::net::SocketAddr;

use crate::reader::Reader;
use crate::{Listener, SmtpRole, TlsMode};

/// `[metrics]`: what the servers count, over HTTP, for who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// One, in the clear and without a password; none where nobody is to ask.
    pub listeners: Vec<Listener>,
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> MetricsConfig {
    let expected = "an address with its port, such as \"127.0.0.1:9090\"";
    let addresses = reader.list("listen", expected, |text| text.parse::<SocketAddr>().ok());
    let addresses = addresses.unwrap_or_default();
    if addresses.is_empty() {
        return MetricsConfig::default();
    }
    reader.place(NAME);
    let listener = Listener {
        name: NAME.to_owned(),
        addresses,
        tls: TlsMode::None,
        role: SmtpRole::Submission,
        proxies: Vec::new(),
    };
    MetricsConfig { listeners: vec![listener] }
}

/// Under which systemd may hand the socket down.
const NAME: &str = "metrics";
