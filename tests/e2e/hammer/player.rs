//! A client that does anything, in any order, and believes nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::{PATIENCE, Person};
use fastrand::Rng;

use super::ledger::Ledger;
use super::view::{Slot, View};
use super::wire::{Response, Said, Wire};

/// Mailboxes that are always there.
pub(crate) const MAIN: [&str; 3] = ["INBOX", "Work", "Trash"];
const ALL: &str = "(UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (X-ID)])";

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) is_ok: bool,
    pub(crate) text: String,
    pub(crate) said: Vec<Said>,
}

pub(crate) struct Player<'a> {
    pub(crate) name: String,
    port: u16,
    person: &'a Person,
    pub(crate) ledger: &'a Ledger,
    pub(crate) rng: Rng,
    pub(crate) wire: Wire,
    tags: u32,
    pub(crate) view: Option<View>,
    /// A mailbox that may be gone is being left.
    was_aside: bool,
    /// A keyword that nobody else sets or clears.
    pub(crate) own: String,
}

pub(crate) fn is_side(mailbox: &str) -> bool {
    mailbox.starts_with("Side")
}

impl<'a> Player<'a> {
    pub(crate) fn start(
        name: &str,
        port: u16,
        person: &'a Person,
        ledger: &'a Ledger,
        seed: u64,
    ) -> Result<Self> {
        let (name, own, rng) = (name.to_owned(), format!("own-{name}"), Rng::with_seed(seed));
        let wire = Wire::connect(port)?;
        let (view, tags, was_aside) = (None, 0, false);
        let mut this = Self { name, port, person, ledger, rng, wire, tags, view, was_aside, own };
        this.log_in()?;
        Ok(this)
    }

    /// What was said last, for the report of a failure.
    pub(crate) fn transcript(&self) -> String {
        format!("{} said and heard last:\n{}", self.name, self.wire.transcript())
    }

    fn log_in(&mut self) -> Result<()> {
        let login = format!("LOGIN {} {}", self.person.address, self.person.password);
        // Only where the store may fail can this be refused.
        while !self.command(&login)?.context("closed at once")?.is_ok {}
        Ok(())
    }

    pub(crate) fn reconnect(&mut self) -> Result<()> {
        self.view = None;
        self.wire = Wire::connect(self.port)?;
        self.log_in()
    }

    /// Takes in untagged data. False if the server says that it closes the connection, which it may when the selected mailbox is gone.
    fn hear(&mut self, response: &Response, command: &str, said: &mut Vec<Said>) -> Result<bool> {
        let what = response.said()?;
        if matches!(what, Said::Bye) {
            let is_lost = self.was_aside || self.view.as_ref().is_none_or(|view| is_side(&view.mailbox));
            ensure!(is_lost, "{} while a mailbox is selected that is there", response.text);
            return Ok(false);
        }
        match &mut self.view {
            Some(view) => view.hear(&what, command, self.ledger)?,
            None => {
                ensure!(matches!(what, Said::Other(_)), "{} although no mailbox is selected", response.text)
            }
        }
        said.push(what);
        Ok(true)
    }

    /// A command and all that is said until it ends. `None` if the selected mailbox is gone and the connection with it.
    pub(crate) fn command(&mut self, command: &str) -> Result<Option<Done>> {
        self.tags += 1;
        let tag = format!("{}{} ", self.name, self.tags);
        self.slots().for_each(|slot| slot.is_told = false);
        let sent = self.wire.send(&format!("{tag}{command}\r\n"));
        let mut said = Vec::new();
        loop {
            let response = match self.wire.response(PATIENCE) {
                Err(_) if sent.is_err() => bail!("the connection broke at {command}"),
                response => response?.with_context(|| format!("no answer to {command}"))?,
            };
            if let Some(text) = response.text.strip_prefix(&tag) {
                return self.ended(command, text, said).map(Some);
            }
            if !self.hear(&response, command, &mut said)? {
                self.reconnect()?;
                return Ok(None);
            }
        }
    }

    fn ended(&self, command: &str, text: &str, said: Vec<Said>) -> Result<Done> {
        let is_ok = text.starts_with("OK ");
        let is_aside = command.contains("Side") || self.view.as_ref().is_some_and(|it| is_side(&it.mailbox));
        let may_fail = text.starts_with("NO [EXPUNGEISSUED]")
            || is_aside
                && ["[TRYCREATE]", "[NONEXISTENT]", "[ALREADYEXISTS]"].iter().any(|code| text.contains(code))
            || self.ledger.is_patient
                && ["NO [SERVERBUG]", "NO [UNAVAILABLE]"].iter().any(|code| text.starts_with(code));
        ensure!(is_ok || may_fail, "{command}: {text}");
        Ok(Done { is_ok, text: text.to_owned(), said })
    }

    pub(crate) fn slots(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.view.iter_mut().flat_map(|view| &mut view.slots)
    }

    /// Asks for what it doesn't know of the messages that are there.
    pub(crate) fn learn(&mut self) -> Result<()> {
        let Some(set) = self.view.as_ref().and_then(View::unknown) else { return Ok(()) };
        self.command(&format!("FETCH {set} {ALL}")).map(drop)
    }

    pub(crate) fn create(&mut self, mailboxes: &[&str]) -> Result<()> {
        mailboxes.iter().try_for_each(|it| self.command(&format!("CREATE {it}")).map(drop))
    }

    /// Has the server look at the mailboxes that nobody has selected.
    pub(crate) fn look_at_all(&mut self) -> Result<()> {
        MAIN.iter().try_for_each(|it| self.command(&format!("STATUS {it} (MESSAGES)")).map(drop))
    }

    pub(crate) fn noop(&mut self) -> Result<()> {
        self.command("NOOP").map(drop)
    }

    pub(crate) fn select(&mut self, mailbox: &str) -> Result<()> {
        let before = self.view.replace(View::new(mailbox));
        self.was_aside = before.is_some_and(|view| is_side(&view.mailbox));
        let done = self.command(&format!("SELECT {mailbox}"))?;
        self.was_aside = false;
        self.view.take_if(|_| done.is_some_and(|done| !done.is_ok));
        Ok(())
    }

    /// IDLE until nothing has been said for a while.
    pub(crate) fn idle(&mut self, quiet: Duration) -> Result<()> {
        if !self.begin_idle()? {
            return Ok(());
        }
        while let Some(response) = self.wire.response(quiet)? {
            if !self.hear(&response, "IDLE", &mut Vec::new())? {
                return self.reconnect();
            }
        }
        self.end_idle()
    }

    /// False if the connection had to be made anew.
    pub(crate) fn begin_idle(&mut self) -> Result<bool> {
        self.tags += 1;
        self.wire.send(&format!("{}{} IDLE\r\n", self.name, self.tags))?;
        self.hear_until("+ ")
    }

    pub(crate) fn end_idle(&mut self) -> Result<()> {
        self.wire.send("DONE\r\n")?;
        self.hear_until(&format!("{}{} ", self.name, self.tags)).map(drop)
    }

    fn hear_until(&mut self, start: &str) -> Result<bool> {
        loop {
            let response = self.wire.response(PATIENCE)?.context("no answer to IDLE")?;
            if response.text.starts_with(start) {
                return Ok(true);
            }
            if !self.hear(&response, "IDLE", &mut Vec::new())? {
                self.reconnect()?;
                return Ok(false);
            }
        }
    }

    /// Within IDLE: hears until the view is as it should be.
    pub(crate) fn hear_of(&mut self, what: &str, is_so: impl Fn(&View) -> bool) -> Result<()> {
        while !self.view.as_ref().is_some_and(&is_so) {
            let response = self.wire.response(PATIENCE)?;
            let response =
                response.with_context(|| format!("{}: an idle session is not told: {what}", self.name))?;
            self.hear(&response, "IDLE", &mut Vec::new())?;
        }
        Ok(())
    }
}
