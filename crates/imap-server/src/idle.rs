//! IDLE. RFC 2177: what changes is told at once, until the client says DONE.

use std::io;
use std::sync::Arc;

use line_codec::imap::Event;
use mail_store::{Changes, StoreError};
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::answer::Output;
use crate::connection::{Client, RESTARTING, SILENT};
use crate::session::{LOST, Session, State};

/// How an IDLE ended.
pub(crate) enum Idled {
    /// By DONE.
    Done,
    /// By something else than DONE.
    By(Event),
    /// The client is gone.
    Gone,
    /// This is to be said, and the connection closed.
    Bye(&'static str),
}

/// Waits for a change; none comes where nothing is selected.
async fn changed(changes: &mut Option<Changes>) -> bool {
    match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

impl Client {
    /// Waits for DONE and tells what changes meanwhile. It holds no thread and nothing of its own between two changes.
    pub(crate) async fn idle(&mut self) -> io::Result<Idled> {
        self.wire.line("+ idling").await?;
        let mut changes = match &self.session()?.state {
            State::Selected(_, selected) => Some(selected.mailbox().watch()),
            State::NotAuthenticated | State::Authenticated(_) => None,
        };
        if let Some(ended) = self.look().await? {
            return Ok(ended);
        }
        let silent_until = Instant::now() + self.shared.config.imap.idle_timeout;
        let keep_alive = self.shared.config.imap.keep_alive;
        let mut keep_alive_at = Instant::now() + keep_alive;
        loop {
            tokio::select! {
                event = self.wire.event() => return Ok(match event? {
                    Some(Event::Command(line)) if line.eq_ignore_ascii_case(b"DONE") => Idled::Done,
                    Some(event) => Idled::By(event),
                    None => Idled::Gone,
                }),
                is_watched = changed(&mut changes) => {
                    if !is_watched {
                        changes = None;
                    }
                    if let Some(ended) = self.tell().await? {
                        return Ok(ended);
                    }
                }
                () = sleep_until(keep_alive_at) => {
                    self.wire.line("* OK Still here").await?;
                    if let Some(ended) = self.look().await? {
                        return Ok(ended);
                    }
                    keep_alive_at = Instant::now() + keep_alive;
                }
                () = sleep_until(silent_until) => return Ok(Idled::Bye(SILENT)),
                () = self.drain.begun() => return Ok(Idled::Bye(RESTARTING)),
            }
        }
    }

    /// Looks for changes itself; something comes back if that was the end of it.
    async fn look(&mut self) -> io::Result<Option<Idled>> {
        let look = |session: &mut Session, out: &mut Output| {
            let told = session.tell_changes(true, out);
            session.tell_mod_seq(out);
            told
        };
        let (told, mut out) = self.blocking(look).await?;
        self.wire.send(out.take()).await?;
        match told {
            Ok(()) => Ok(None),
            Err(StoreError::NoSuchMailbox(_)) => Ok(Some(Idled::Bye(LOST))),
            Err(error) => {
                error!(%error, "changes in the selected mailbox can't be told");
                Ok(None)
            }
        }
    }

    /// Tells what the store has found, without looking again. A wake without news is that of a mailbox deleted or renamed.
    async fn tell(&mut self) -> io::Result<Option<Idled>> {
        let State::Selected(_, selected) = &self.session()?.state else { return Ok(None) };
        let now = selected.mailbox().snapshot();
        if Arc::ptr_eq(&now, selected.now()) {
            return self.look().await;
        }
        let (_, mut out) = self
            .blocking(|session, out| {
                if let State::Selected(_, selected) = &mut session.state {
                    selected.tell(now, true, out);
                }
                session.tell_mod_seq(out);
            })
            .await?;
        self.wire.send(out.take()).await?;
        Ok(None)
    }
}
