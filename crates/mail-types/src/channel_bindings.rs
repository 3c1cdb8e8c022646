use std::sync::Arc;

/// What both ends of a TLS 1.3 connection know it by, so that a client can show that nobody stands between. RFC 5056.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266): of this connection alone.
    pub exporter: [u8; 32],
    /// `tls-server-end-point` (RFC 5929 §4.1): the hash of the certificate that the server showed; `None` where the standard
    /// gives that certificate none.
    pub end_point: Option<Arc<[u8]>>,
}
