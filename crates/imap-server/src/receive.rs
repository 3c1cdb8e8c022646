//! How the messages of APPEND come in: each goes to the store piece by piece.

use std::io;

use bytes::Bytes;
use imap_proto::{Command, Request, parse_append_message};
use line_codec::imap::Event;
use tokio::time::timeout;

use crate::answer::Failure;
use crate::command::append::Appending;
use crate::connection::{Client, FLOOD, Next, lost, refused, tag_of};
use crate::session::Progress;

/// What became of the messages so far. After a failure the rest is read and thrown away.
type Received = Result<Appending, Failure>;

impl Client {
    /// Takes the messages of one APPEND, and answers it.
    pub(crate) async fn append(
        &mut self,
        head: &Bytes,
        size: u64,
        mut synchronising: bool,
    ) -> io::Result<Next> {
        let (tag, mut received) = self.open_append(head, size).await?;
        loop {
            if synchronising && received.is_err() {
                // The client is told instead of `+`, and sends nothing more.
                self.wire.refuse_message();
                break;
            }
            if synchronising {
                self.wire.line("+ OK").await?;
            }
            received = self.receive(received).await?;
            match timeout(self.patience(), self.wire.event()).await?? {
                Some(Event::AppendEnd(rest)) if rest.is_empty() => break,
                Some(Event::AppendEnd(_)) => {
                    received = received.and(Err(Failure::bad("Something stands behind the message")));
                    break;
                }
                Some(Event::AppendMore { head, size, synchronising: waits }) => {
                    synchronising = waits;
                    received = self.begin(received, head, size).await?;
                }
                Some(Event::Refused { refusal, .. }) => {
                    received = received.and(Err(refused(refusal)));
                    break;
                }
                Some(Event::Flood) => {
                    self.wire.line(FLOOD).await?;
                    return Ok(Next::Close);
                }
                Some(Event::Command(_) | Event::Continue | Event::Append { .. }) | None => {
                    return Ok(Next::Close);
                }
            }
        }
        self.end_append(tag, received).await
    }

    /// The tag, and the first message's way into the store.
    async fn open_append(&mut self, head: &[u8], size: u64) -> io::Result<(String, Received)> {
        let Request { tag, command } = match Request::parse(head) {
            Ok(request) => request,
            Err(error) => return Ok((tag_of(&error), Err(Failure::from(&error)))),
        };
        let tag = tag.to_string();
        if !self.session()?.allows(&command) {
            return Ok((tag, Err(Failure::bad("Not in this state"))));
        }
        let Command::Append { mailbox, flags, date } = command else {
            return Ok((tag, Err(Failure::bad("No such command"))));
        };
        let (opened, _) = self
            .blocking(move |session, _| {
                let mut appending = Appending::start(session, mailbox)?;
                appending.begin(flags, date, size).map(|()| appending)
            })
            .await?;
        Ok((tag, opened))
    }

    /// Begins another message.
    async fn begin(&mut self, received: Received, head: Bytes, size: u64) -> io::Result<Received> {
        let begun = self.blocking(move |_, _| {
            let mut appending = received?;
            let (flags, date) = parse_append_message(&head).ok_or(Failure::bad(
                "Not understood: expected flags, a date and time, or the next message",
            ))?;
            appending.begin(flags, date, size).map(|()| appending)
        });
        begun.await.map(|(begun, _)| begun)
    }

    /// Writes one message.
    async fn receive(&mut self, mut received: Received) -> io::Result<Received> {
        while let Some(piece) = timeout(self.patience(), self.wire.message()).await?? {
            if let Ok(mut appending) = received {
                let written =
                    tokio::task::spawn_blocking(move || appending.write(&piece).map(|()| appending));
                received = written.await.map_err(|_| lost())?;
            }
        }
        Ok(received)
    }

    async fn end_append(&mut self, tag: String, received: Received) -> io::Result<Next> {
        let (progress, mut out) = self
            .blocking(move |session, out| {
                let result = received.and_then(Appending::commit);
                session.finish(&tag, result, true, out)
            })
            .await?;
        self.wire.send(out.take()).await?;
        Ok(if matches!(progress, Progress::Lost) { Next::Close } else { Next::Command })
    }
}
