//! What is said to people, in the language that the client asked for. RFC 5255 §3.

use std::fmt;
use std::io;

use imap_proto::{Language, LanguageRange, Tag, language_response};

use crate::access::namespaces;
use crate::answer::{Failure, Status};
use crate::connection::{Client, Next};
use crate::text::{RespText, Text};

impl Client {
    /// A status response as a line.
    pub(crate) fn status(&self, tag: impl fmt::Display, status: Status, text: impl Into<RespText>) -> String {
        format!("{tag} {status} {}", text.into().within(self.language))
    }

    /// Sends a status response.
    pub(crate) async fn say(
        &mut self,
        tag: impl fmt::Display,
        status: Status,
        text: impl Into<RespText>,
    ) -> io::Result<()> {
        let line = self.status(tag, status, text);
        self.wire.line(&line).await
    }

    /// Answers a command with a line and, with it, that it is done.
    pub(crate) async fn tell(&mut self, tag: &Tag, line: &str, text: impl Into<RespText>) -> io::Result<()> {
        let done = self.status(tag, Status::Ok, text);
        self.wire.line(&format!("{line}\r\n{done}")).await
    }

    /// Answers a command that failed.
    pub(crate) async fn fail(&mut self, tag: impl fmt::Display, failure: &Failure) -> io::Result<()> {
        let (status, text) = failure.said();
        self.say(tag, status, text).await
    }

    /// Says why the connection is to be closed.
    pub(crate) async fn bye(&mut self, text: impl Into<RespText>) -> io::Result<Next> {
        self.say("*", Status::Bye, text).await?;
        Ok(Next::Close)
    }

    /// Tells which languages there are, or goes over to one. RFC 5255 §3.2.
    pub(crate) async fn on_language(&mut self, tag: &Tag, ranges: &[LanguageRange]) -> io::Result<()> {
        if ranges.is_empty() {
            let all = format!("* {}", language_response(&Language::ALL));
            return self.tell(tag, &all, Text::LanguagesListed).await;
        }
        let Some(language) = LanguageRange::choose(ranges, self.shared.config.imap.language) else {
            return self.say(tag, Status::No, Text::NoSuchLanguage).await;
        };
        let before = namespaces(std::mem::replace(&mut self.language, language));
        let mut told = format!("* {}", language_response(&[language]));
        let after = namespaces(language);
        if self.session()?.account().is_ok() && after != before {
            told.push_str("\r\n");
            told.push_str(&after);
        }
        self.tell(tag, &told, Text::NowSpeaking).await
    }
}
