//! SPF (RFC 7208), for the names of EHLO and of MAIL.
//!
//! Own code, since what the library makes of records goes astray where they include each other, and is told nothing of the limits. The
//! explanation (`exp=`, §6.2) is not shown: its text is a stranger's.

mod evaluation;
mod macros;
mod record;

use std::time::Duration;

use mail_auth::{SpfOutput, SpfResult};
use tokio::time::timeout;

use super::Verdicts;
use super::client::Client;
use evaluation::Evaluation;
use macros::Facts;

/// The longest that one evaluation takes; RFC 7208 §4.6.4 asks for 20 s at least.
const LONGEST: Duration = Duration::from_secs(20);

/// What came of one identity.
#[derive(Debug, Clone)]
pub(crate) struct Spf {
    /// What was asked about: the name of EHLO, or the sender.
    pub(crate) identity: String,
    pub(crate) output: SpfOutput,
}

impl Spf {
    pub(crate) fn result(&self) -> SpfResult {
        self.output.result()
    }

    /// As RFC 8601 §2.7.2 writes it.
    pub(crate) fn name(&self) -> &'static str {
        match self.result() {
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::Neutral => "neutral",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
            SpfResult::None => "none",
        }
    }
}

impl Verdicts {
    pub(crate) async fn spf_of_helo(&self, client: &Client) -> Spf {
        // RFC 7208 §4.3.
        let output = self.spf(client, "postmaster", &client.helo).await;
        Spf { identity: client.helo.clone(), output }
    }

    pub(crate) async fn spf_of_sender(&self, client: &Client, sender: &str) -> Spf {
        let (local_part, domain) = sender.rsplit_once('@').unwrap_or(("postmaster", sender));
        Spf { identity: sender.to_owned(), output: self.spf(client, local_part, domain).await }
    }

    async fn spf(&self, client: &Client, local_part: &str, domain: &str) -> SpfOutput {
        let facts = Facts { ip: client.ip, local_part, sender_domain: domain, helo: &client.helo };
        let result = timeout(LONGEST, Evaluation::new(&self.dns, facts).run()).await;
        SpfOutput::new(domain.to_owned()).with_result(result.unwrap_or(SpfResult::TempError))
    }
}
