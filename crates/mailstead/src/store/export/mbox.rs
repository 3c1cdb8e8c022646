//! mbox files, in the form called mboxrd: every line that could be taken for the start of a message gets a `>` more.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mail_store::{Mailbox, Message, MessageFile};
use mail_types::MailboxName;

use super::resumed::Resumed;
use super::{Done, make_folder, open, sync_folder};
use crate::store::input::{Input, without_quotes};
use crate::store::trouble::Trouble;
use crate::store::{dates, mbox_header};

/// The file of a mailbox.
pub(super) struct File {
    path: PathBuf,
    /// Where it is written; the same if it is whole already.
    part: PathBuf,
    content: Resumed,
}

impl File {
    /// `A/B` lies in `A.sbd/B.mbox`: no name of a mailbox can be taken for another's folder.
    pub(super) fn open(target: &Path, name: &MailboxName) -> Result<Self, Trouble> {
        let mut levels: Vec<&str> = name.levels().collect();
        let last = levels.pop().unwrap_or_default();
        let folder = levels.iter().fold(target.to_owned(), |path, level| path.join(format!("{level}.sbd")));
        make_folder(&folder)?;
        let path = folder.join(format!("{last}.mbox"));
        let part = folder.join(format!("{last}.mbox.part"));
        let (part, content) = if path.exists() {
            (path.clone(), Resumed::of_whole(&path))
        } else {
            (part.clone(), Resumed::of_part(&part))
        };
        let content = content.with_context(|| format!("can't open {}", part.display()))?;
        Ok(Self { path, part, content })
    }

    pub(super) fn add(&mut self, mailbox: &Mailbox, message: &Message) -> Result<Done, Trouble> {
        let Some(source) = open(mailbox, message)? else { return Ok(Done::Gone) };
        let start = self.content.position();
        match self.write(source, message) {
            Err(Trouble::Message(text)) => {
                self.content.go_back(start).map_err(|error| self.failed(error))?;
                Err(Trouble::Message(text))
            }
            Err(fatal) => Err(fatal),
            Ok(()) if self.content.is_same() => Ok(Done::WasThere),
            Ok(()) => Ok(Done::Written),
        }
    }

    fn write(&mut self, mut source: MessageFile, message: &Message) -> Result<(), Trouble> {
        let is_unterminated = !ends_in_lf(&source).map_err(Trouble::unreadable)?;
        self.put(dates::from_line(message.internal_date.unix_seconds()).as_bytes())?;
        let mut input = Input::new(&mut source.file);
        let start = input.line().map_err(Trouble::unreadable)?;
        self.put(mbox_header::format(&message.flags, is_unterminated, start).as_bytes())?;
        let (mut at_start, mut read) = (true, 0);
        loop {
            let line = input.line().map_err(Trouble::unreadable)?;
            if line.is_empty() {
                break;
            }
            if at_start && without_quotes(line).starts_with(b"From ") {
                self.put(b">")?;
            }
            at_start = line.ends_with(b"\n");
            match line.strip_suffix(b"\r\n") {
                Some(text) => self.put(text).and_then(|()| self.put(b"\n"))?,
                None => self.put(line)?,
            }
            read += line.len() as u64;
            let length = line.len();
            input.consume(length);
        }
        if read != source.file_size {
            return Err(Trouble::Message("its file changed while it was read".to_owned()));
        }
        self.put(if is_unterminated { b"\n\n" } else { b"\n" })
    }

    fn put(&mut self, data: &[u8]) -> Result<(), Trouble> {
        self.content.write(data).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Trouble {
        Trouble::Fatal(anyhow::Error::new(error).context(format!("can't write {}", self.part.display())))
    }

    /// Gives the file its name, now that it is whole.
    pub(super) fn close(self) -> Result<(), Trouble> {
        let Self { path, part, content } = self;
        content.finish().with_context(|| format!("can't write {}", part.display()))?;
        if part != path {
            std::fs::rename(&part, &path).with_context(|| format!("can't rename {}", part.display()))?;
        }
        Ok(path.parent().map_or(Ok(()), sync_folder)?)
    }
}

fn ends_in_lf(source: &MessageFile) -> io::Result<bool> {
    let mut last = [0];
    if let Some(at) = source.file_size.checked_sub(1) {
        source.file.read_exact_at(&mut last, at)?;
    }
    Ok(last == *b"\n")
}
