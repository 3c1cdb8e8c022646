//! Connecting with a host as a message wants it: RFC 8689.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{Idle, Relay, Target};
use crate::client::demands::{Demands, Denied, Requirement};
use crate::client::outgoing::Outgoing;
use crate::client::pending::Pending;
use crate::message_file::MessageFile;
use crate::{Diagnosis, Status};

/// RFC 8689 §4.2.1: encryption needed.
const ENCRYPTION_NEEDED: Status = Status::new(5, 7, 10);

/// RFC 3463 §3.5: directory server failure.
const NO_ANSWER: Status = Status::new(4, 4, 3);
/// For all that is looked up of one host; each look-up has a time of its own.
pub(super) const LOOK_UPS: Duration = Duration::from_secs(300);

/// Whether a message goes without TLS rather than not at all, looked up in its header when that matters.
pub(super) struct Waiver<'a> {
    outgoing: &'a Outgoing,
    message: &'a MessageFile,
    known: Option<bool>,
}

impl<'a> Waiver<'a> {
    pub(super) const fn of(outgoing: &'a Outgoing, message: &'a MessageFile) -> Self {
        Self { outgoing, message, known: None }
    }

    pub(super) const fn outgoing(&self) -> &'a Outgoing {
        self.outgoing
    }

    pub(super) const fn message(&self) -> &'a MessageFile {
        self.message
    }

    /// RFC 8689 §4.1: what the envelope says goes before the header.
    pub(super) async fn is_given(&mut self) -> bool {
        match self.known {
            Some(known) => known,
            None => *self.known.insert(!self.outgoing.require_tls && waives_tls(self.message).await),
        }
    }
}

async fn waives_tls(message: &MessageFile) -> bool {
    let Ok(message) = message.again() else { return false };
    match spawn_blocking(move || message.waives_tls()).await {
        Ok(Ok(waives)) => waives,
        Ok(Err(error)) => {
            warn!(%error, "the message file can't be read");
            false
        }
        Err(error) => {
            warn!(%error, "reading the message file failed unexpectedly");
            false
        }
    }
}

/// True if a host was refused by us, since it does not prove what it must.
pub(super) fn is_insecure(diagnosis: &Diagnosis) -> bool {
    diagnosis.host.is_none() && [Status::new(4, 7, 5), Status::new(4, 7, 10)].contains(&diagnosis.status)
}

/// What the host must prove, as far as that can be found out in time.
async fn required(target: Target<'_>, demands: &mut Demands<'_>) -> Result<Requirement, Denied> {
    let host = &target.candidate.host;
    target.patience.wait(LOOK_UPS, demands.on(host)).await.unwrap_or_else(|overdue| {
        let text = format!("{host}: what it must prove can't be found out: {overdue}");
        Err(Denied { diagnosis: Diagnosis::ours(NO_ANSWER, text), is_for_now: true })
    })
}

impl Relay {
    /// Connects with a host for a message. `None` if that must not, or can't, go there; `pending` knows why.
    pub(super) async fn approach(
        &self,
        target: Target<'_>,
        demands: &mut Demands<'_>,
        waiver: &mut Waiver<'_>,
        pending: &mut Pending<'_>,
    ) -> Option<Idle> {
        let candidate = target.candidate;
        let denied = match required(target, demands).await {
            Ok(requirement) => match self.connect(target, requirement).await {
                Ok(connection) => return Some(Idle::new(connection, candidate.address)),
                Err(diagnosis) if is_insecure(&diagnosis) => Denied { diagnosis, is_for_now: false },
                Err(diagnosis) => {
                    pending.passed_over(diagnosis);
                    return None;
                }
            },
            Err(denied) => denied,
        };
        if waiver.is_given().await {
            let why = &denied.diagnosis.text;
            info!(host = candidate.host, why, "the message goes there all the same: TLS-Required: No");
            let connected = self.connect(target, Requirement::default()).await;
            return match connected {
                Ok(connection) => {
                    Some(Idle { serves_all: false, ..Idle::new(connection, candidate.address) })
                }
                Err(diagnosis) => {
                    pending.passed_over(diagnosis);
                    None
                }
            };
        }
        let Denied { diagnosis, is_for_now } = denied;
        let is_for_good = waiver.outgoing.must_be_secured() && !is_for_now;
        let status = if is_for_good { ENCRYPTION_NEEDED } else { diagnosis.status };
        pending.passed_over(Diagnosis { status, ..diagnosis });
        None
    }
}
