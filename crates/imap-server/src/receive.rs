//! How the messages of APPEND come in: each goes to the store piece by piece.

use std::io;

use bytes::Bytes;
use imap_proto::{AppendNext, AppendRequest, AppendScript, Command, Request, Within};
use line_codec::imap::{Event, Literal};
use tokio::time::timeout;

use crate::answer::{Failure, Output, Status};
use crate::command::append::Appending;
use crate::connection::{Client, FLOOD, Next, lost, refused, tag_of};
use crate::session::Session;
use crate::text::Text;

/// What became of the messages so far, and what the last literal is. After a failure the rest is read and thrown away.
type Received = Result<(Appending, Within), Failure>;

const fn not_valid() -> Failure {
    Failure::bad(Text::AppendNotUnderstood)
}

impl Client {
    /// Takes the messages of one APPEND or REPLACE, and answers it.
    pub(crate) async fn append(&mut self, head: &Bytes, literal: Literal) -> io::Result<Next> {
        let (tag, mut received) = self.open_append(head, literal).await?;
        let mut waits = literal.synchronising;
        loop {
            if waits && received.is_err() {
                // The client is told instead of `+`, and sends nothing more.
                self.wire.refuse_message();
                break;
            }
            if waits {
                self.wire.line("+ OK").await?;
            }
            received = self.receive(received).await?;
            match self.behind_literal().await? {
                Some(Event::AppendEnd(rest)) => {
                    received = self.go_on(received, &rest, None).await?;
                    break;
                }
                Some(Event::AppendMore { head, literal }) => {
                    waits = literal.synchronising;
                    received = self.go_on(received, &head, Some(literal)).await?;
                }
                Some(Event::Refused { refusal, .. }) => {
                    received = received.and(Err(refused(refusal)));
                    break;
                }
                Some(Event::Flood) => {
                    return self.bye(FLOOD).await;
                }
                Some(Event::Command(_) | Event::Continue | Event::Append { .. }) | None => {
                    return Ok(Next::Close);
                }
            }
        }
        self.end_append(tag, received.map(|(appending, _)| appending)).await
    }

    /// What comes behind a literal; URLs that are literals themselves are asked for.
    async fn behind_literal(&mut self) -> io::Result<Option<Event>> {
        loop {
            match timeout(self.patience(), self.wire.event()).await?? {
                Some(Event::Continue) => self.wire.line("+ OK").await?,
                event => return Ok(event),
            }
        }
    }

    /// An APPEND or REPLACE that has no literal: all of it comes from URLs. RFC 4469.
    pub(crate) async fn append_at_once(&mut self, tag: String, request: AppendRequest) -> io::Result<Next> {
        if request.script.next != AppendNext::End {
            self.say(&tag, Status::Bad, Text::MessageMustBeLiteral).await?;
            return self.count_error().await;
        }
        let begun = self.blocking(move |session, _| {
            let mut appending = Appending::start(session, &request)?;
            appending.perform(request.script.steps).map(|()| appending)
        });
        let (received, _) = begun.await?;
        self.end_append(tag, received).await
    }

    /// The tag, and the first message's way into the store.
    async fn open_append(&mut self, head: &[u8], literal: Literal) -> io::Result<(String, Received)> {
        let Request { tag, command } = match self.parse(head) {
            Ok(request) => request,
            Err(error) => return Ok((tag_of(&error), Err(Failure::from(&error)))),
        };
        let tag = tag.to_string();
        if let Err(failure) = self.check(&command)? {
            return Ok((tag, Err(failure)));
        }
        let Command::Append(request) = command else {
            return Ok((tag, Err(Failure::bad(Text::NoSuchCommand))));
        };
        let AppendNext::Literal(within) = request.script.next else { return Ok((tag, Err(not_valid()))) };
        let begun = self.blocking(move |session, _| {
            let mut appending = Appending::start(session, &request)?;
            appending.perform(request.script.steps)?;
            appending.announce(literal.size, literal.binary, within)?;
            Ok((appending, within))
        });
        begun.await.map(|(opened, _)| (tag, opened))
    }

    /// Does what stands behind a literal, up to the next one or to the end.
    async fn go_on(
        &mut self,
        received: Received,
        text: &Bytes,
        literal: Option<Literal>,
    ) -> io::Result<Received> {
        let text = text.clone();
        let done = self.blocking(move |_, _| {
            let (mut appending, within) = received?;
            let AppendScript { steps, next } =
                AppendScript::behind(within, literal.is_some(), &text).ok_or_else(not_valid)?;
            appending.perform(steps)?;
            match (next, literal) {
                (AppendNext::Literal(within), Some(literal)) => {
                    appending.announce(literal.size, literal.binary, within)?;
                    Ok((appending, within))
                }
                (AppendNext::End, None) => Ok((appending, within)),
                (AppendNext::Literal(_), None) | (AppendNext::End, Some(_)) => Err(not_valid()),
            }
        });
        done.await.map(|(done, _)| done)
    }

    /// Writes one literal.
    async fn receive(&mut self, mut received: Received) -> io::Result<Received> {
        while let Some(piece) = timeout(self.patience(), self.wire.message()).await?? {
            if let Ok((mut appending, within)) = received {
                let written = tokio::task::spawn_blocking(move || {
                    appending.write(&piece).map(|()| (appending, within))
                });
                received = written.await.map_err(|_| lost())?;
            }
        }
        Ok(received)
    }

    async fn end_append(&mut self, tag: String, received: Result<Appending, Failure>) -> io::Result<Next> {
        let answered = tag.clone();
        let commit = move |session: &mut Session, out: &mut Output| {
            let result = received.and_then(|appending| appending.commit(session, out));
            session.finish(&tag, result, true, out)
        };
        let (progress, mut out) = self.command(&answered, commit).await?;
        self.wire.send(out.take()).await?;
        self.tell_arrivals().await?;
        self.after(&progress).await
    }
}
