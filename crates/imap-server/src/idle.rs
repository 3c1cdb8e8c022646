//! IDLE. RFC 2177: what changes is told at once, until the client says DONE.

use std::io;

use line_codec::imap::Event;
use mail_store::StoreError;
use mail_types::Localised as _;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::answer::{Output, Status};
use crate::connection::{Client, RESTARTING, SILENT, lost};
use crate::session::{LOST, Session};
use crate::text::Text;

/// How an IDLE ended.
pub(crate) enum Idled {
    /// By DONE.
    Done,
    /// By something else than DONE.
    By(Event),
    /// The client is gone.
    Gone,
    /// This is to be said, and the connection closed.
    Bye(Text),
}

/// Waits until there is something to tell that the client wants to hear of.
pub(crate) async fn heard(session: Option<&mut Session>) {
    match session {
        Some(session) => session.heard().await,
        None => std::future::pending().await,
    }
}

impl Client {
    /// Waits for DONE and tells what changes meanwhile. It holds no thread and nothing of its own between two changes.
    pub(crate) async fn idle(&mut self) -> io::Result<Idled> {
        self.wire.line(&format!("+ {}", Text::Idling.within(self.language))).await?;
        self.attend(true);
        let idled = self.wait_for_done().await;
        self.attend(false);
        idled
    }

    /// Listens to the selected mailbox for as long as IDLE runs, or not.
    fn attend(&mut self, is_idle: bool) {
        if let Ok(selected) = self.session_mut().and_then(|session| session.selected().map_err(|_| lost())) {
            selected.attend(is_idle);
        }
    }

    async fn wait_for_done(&mut self) -> io::Result<Idled> {
        if let Some(text) = self.tell_news(true).await? {
            return Ok(Idled::Bye(text));
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
                () = heard(self.session.as_deref_mut()) => {
                    if let Some(text) = self.tell_news(true).await? {
                        return Ok(Idled::Bye(text));
                    }
                }
                () = sleep_until(keep_alive_at) => {
                    self.say("*", Status::Ok, Text::StillHere).await?;
                    if let Some(text) = self.look().await? {
                        return Ok(Idled::Bye(text));
                    }
                    keep_alive_at = Instant::now() + keep_alive;
                }
                () = sleep_until(silent_until) => return Ok(Idled::Bye(SILENT)),
                () = self.drain.begun() => return Ok(Idled::Bye(RESTARTING)),
            }
        }
    }

    /// Tells what was heard of, and says with what words the connection is to end, if so.
    pub(crate) async fn tell_news(&mut self, allow_expunge: bool) -> io::Result<Option<Text>> {
        self.tell_by(move |session, out| session.tell_news(allow_expunge, out)).await
    }

    /// As [`Self::tell_news`], whatever was heard.
    async fn look(&mut self) -> io::Result<Option<Text>> {
        self.tell_by(|session, out| session.look_for_news(true, out)).await
    }

    async fn tell_by(
        &mut self,
        tell: impl FnOnce(&mut Session, &mut Output) -> Result<(), StoreError> + Send + 'static,
    ) -> io::Result<Option<Text>> {
        let (told, mut out) = self.blocking(tell).await?;
        if out.len() > 0 {
            self.wire.send(out.take()).await?;
        }
        self.tell_arrivals().await?;
        match told {
            Ok(()) => Ok(None),
            Err(StoreError::NoSuchMailbox(_)) => Ok(Some(LOST)),
            Err(error) => {
                error!(%error, "changes in the selected mailbox can't be told");
                Ok(None)
            }
        }
    }

    /// Tells what the client wants to have fetched of messages that arrived; the next part of it is made only when the last was
    /// taken.
    pub(crate) async fn tell_arrivals(&mut self) -> io::Result<()> {
        while self.session.as_deref().is_some_and(Session::has_arrivals) {
            // On the heap: sessions that wait have none.
            Box::pin(self.tell_next_arrivals()).await?;
        }
        Ok(())
    }

    async fn tell_next_arrivals(&mut self) -> io::Result<()> {
        let ((), mut out) = self.blocking(Session::tell_arrivals).await?;
        self.wire.send(out.take()).await.map(|_| ())
    }
}
