use std::net::IpAddr;
use std::sync::Arc;

use mail_config::LimitsConfig;
use mail_types::Address;

/// Counts the open connections of this process: in all, by address, by account.
#[derive(Debug)]
pub struct Limits {
    // PLATFORM
}

impl Limits {
    /// None open yet.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Arc<Self> {
        let _ = config;
        todo!("PLATFORM")
    }

    /// Counts a connection from `peer`; `None` over a limit.
    #[must_use]
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionGuard> {
        let _ = peer;
        todo!("PLATFORM")
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        todo!("PLATFORM")
    }
}

/// One open connection.
#[derive(Debug)]
pub struct ConnectionGuard {
    // PLATFORM
}

impl ConnectionGuard {
    /// Counts the connection to `account` too, after login; `None` over the limit.
    #[must_use]
    pub fn login(&self, account: &Address) -> Option<AccountGuard> {
        let _ = account;
        todo!("PLATFORM")
    }
}

/// One open connection of an account.
#[derive(Debug)]
pub struct AccountGuard {
    // PLATFORM
}
