//! IDLE. RFC 2177: what changes is told at once, until the client says DONE.

use std::io;

use line_codec::imap::Event;
use tokio::time::{Instant, sleep_until};

use crate::connection::Client;
use crate::session::State;

/// How an IDLE ended.
pub(crate) enum Idled {
    /// By DONE.
    Done,
    /// By something else than DONE.
    Bad,
    /// The client is gone, too long silent, or the server stops.
    Gone,
}

impl Client {
    /// Waits for DONE and tells what changes meanwhile.
    pub(crate) async fn idle(&mut self) -> io::Result<Idled> {
        self.wire.line("+ idling").await?;
        let mut changes = match &self.session()?.state {
            State::Selected(_, selected) => Some(selected.mailbox().watch()),
            State::NotAuthenticated | State::Authenticated(_) => None,
        };
        self.tell_changes().await?;
        let silent_until = Instant::now() + self.shared.config.imap.idle_timeout;
        let keep_alive = self.shared.config.imap.keep_alive;
        let mut keep_alive_at = Instant::now() + keep_alive;
        loop {
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.wire.event() => return Ok(match event? {
                    Some(Event::Command(line)) if line.eq_ignore_ascii_case(b"DONE") => Idled::Done,
                    Some(_) => Idled::Bad,
                    None => Idled::Gone,
                }),
                still_open = changed => {
                    if !still_open {
                        changes = None;
                    }
                    self.tell_changes().await?;
                }
                () = sleep_until(keep_alive_at) => {
                    self.wire.line("* OK Still here").await?;
                    keep_alive_at = Instant::now() + keep_alive;
                }
                () = sleep_until(silent_until) => return Ok(Idled::Gone),
                () = self.drain.begun() => return Ok(Idled::Gone),
            }
        }
    }
}
