//! What a player does, at random.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::player::{Done, MAIN, Player, is_side};
use super::view::Slot;
use super::wire::{Said, numbers};

/// Mailboxes that come and go, and so may their messages.
const SIDE: [&str; 3] = ["Side0", "Side1", "Side2"];

/// A message chosen to do something with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Chosen {
    number: usize,
    uid: u32,
    id: String,
}

impl Player<'_> {
    /// Does something, then asks about what is new.
    pub(crate) fn step(&mut self) -> Result<()> {
        if self.view.is_none() {
            let mailbox = self.main();
            self.select(mailbox)?;
        }
        match self.rng.u32(0..100) {
            0..24 => self.store()?,
            24..36 => self.append()?,
            36..46 => self.fetch()?,
            46..54 => self.copy()?,
            54..64 => self.move_away()?,
            64..71 => self.delete()?,
            71..77 => self.search()?,
            77..81 => self.noop()?,
            81..85 => self.idle(Duration::from_millis(30))?,
            85..91 => {
                let mailbox = if self.rng.u8(0..4) == 0 { self.side() } else { self.main() };
                self.select(mailbox)?;
            }
            91..98 => self.mailbox()?,
            _ => self.leave()?,
        }
        self.learn()
    }

    fn main(&mut self) -> &'static str {
        self.rng.choice(MAIN).unwrap_or("INBOX")
    }

    fn side(&mut self) -> &'static str {
        self.rng.choice(SIDE).unwrap_or("Side0")
    }

    /// Some messages, often the same few: there all meet.
    fn choose(&mut self, most: usize) -> Vec<Chosen> {
        let known = |(index, slot): (usize, &Slot)| {
            Some(Chosen { number: index + 1, uid: slot.uid?, id: slot.id.clone()? })
        };
        let slots = self.view.iter().flat_map(|view| &view.slots);
        let mut all: Vec<Chosen> = slots.enumerate().filter_map(known).collect();
        if self.rng.bool() {
            all.truncate(5);
        }
        let count = self.rng.usize(1..=most).min(all.len());
        let chosen: BTreeSet<Chosen> = self.rng.choose_multiple(all, count).into_iter().collect();
        chosen.into_iter().collect()
    }

    /// A command on these messages, by number or by UID.
    fn on(&mut self, verb: &str, chosen: &[Chosen], rest: &str) -> Result<Option<Done>> {
        let by_uid = self.rng.bool();
        let number = |it: &Chosen| if by_uid { it.uid.to_string() } else { it.number.to_string() };
        let set = chosen.iter().map(number).collect::<Vec<_>>().join(",");
        self.command(&format!("{}{verb} {set} {rest}", if by_uid { "UID " } else { "" }))
    }

    fn place(&self, uid: u32) -> (u32, u32) {
        (self.view.as_ref().map_or(0, |view| view.uid_validity), uid)
    }

    fn store(&mut self) -> Result<()> {
        let chosen = self.choose(4);
        if chosen.is_empty() {
            return Ok(());
        }
        let sign = *self.rng.choice(&["+", "-"]).unwrap_or(&"+");
        let flag = match self.rng.u32(0..6) {
            0 => "\\Seen".to_owned(),
            1 => "\\Flagged".to_owned(),
            2 => format!("shared-{}", self.rng.u32(0..30)),
            _ => self.own.clone(),
        };
        let is_replaced = flag != self.own && self.rng.u8(0..4) == 0;
        let sign = if is_replaced { "" } else { sign };
        let places: Vec<_> = chosen.iter().map(|it| self.place(it.uid)).collect();
        if is_replaced {
            places.iter().for_each(|place| self.ledger.replaces(*place));
        }
        let silent = if self.rng.bool() { ".SILENT" } else { "" };
        let Some(done) = self.on("STORE", &chosen, &format!("{sign}FLAGS{silent} ({flag})"))? else {
            return Ok(());
        };
        if !done.is_ok {
            if self.ledger.is_patient {
                places.iter().for_each(|place| self.ledger.replaces(*place));
            }
            return Ok(());
        }
        if flag == self.own {
            places.iter().for_each(|place| self.ledger.owns(*place, &flag, sign == "+"));
        }
        self.stored(&chosen, sign, &flag, silent.is_empty() && !done.text.contains("EXPUNGEISSUED"))
    }

    /// What the client must think after its own STORE where it was told nothing else; `is_told`: it must have been told.
    fn stored(&mut self, chosen: &[Chosen], sign: &str, flag: &str, is_told: bool) -> Result<()> {
        for slot in self.slots().filter(|slot| chosen.iter().any(|it| Some(it.uid) == slot.uid)) {
            ensure!(slot.is_told || !is_told, "the flags of {slot:?} were not told");
            let Some(flags) = slot.flags.as_mut().filter(|_| !slot.is_told) else { continue };
            match sign {
                "+" => drop(flags.insert(flag.to_owned())),
                "-" => drop(flags.remove(flag)),
                _ => *flags = [flag.to_owned()].into(),
            }
        }
        Ok(())
    }

    fn fetch(&mut self) -> Result<()> {
        let chosen = self.choose(6);
        if chosen.is_empty() {
            return Ok(());
        }
        let peek = if self.rng.bool() { "BODY" } else { "BODY.PEEK" };
        self.on("FETCH", &chosen, &format!("(UID FLAGS INTERNALDATE RFC822.SIZE {peek}[])")).map(drop)
    }

    fn append(&mut self) -> Result<()> {
        let mailbox = if self.rng.u8(0..5) == 0 { self.side() } else { self.main() };
        let mut command = format!("APPEND {mailbox}");
        let mut ids = Vec::new();
        for _ in 0..self.rng.usize(1..=2) {
            let (id, text) = self.ledger.write(&self.name, self.rng.usize(0..60));
            let (day, minute) = (self.rng.u32(1..29), self.rng.u32(0..60));
            command += &format!(
                " ({}) \"{day:2}-Feb-2024 11:{minute:02}:00 +0000\" {{{}+}}\r\n{text}",
                self.own,
                text.len()
            );
            if is_side(mailbox) {
                self.ledger.may_go(&id);
            }
            ids.push(id);
        }
        let Some(done) = self.command(&command)? else { return Ok(()) };
        if !done.is_ok {
            ids.iter().for_each(|id| self.ledger.may_go(id));
            return Ok(());
        }
        let code = done.text.split(['[', ']']).nth(1).context("no APPENDUID")?;
        let [_, validity, uids] = code.split(' ').collect::<Vec<_>>()[..] else { bail!("{code}") };
        let uids = numbers(uids)?;
        ensure!(uids.len() == ids.len(), "{code} for {} messages", ids.len());
        for (uid, id) in uids.into_iter().zip(&ids) {
            let place = (validity.parse()?, uid);
            self.ledger.bind(place, id)?;
            self.ledger.acknowledge(id);
            self.ledger.owns(place, &self.own, true);
        }
        Ok(())
    }

    fn copy(&mut self) -> Result<()> {
        self.transfer("COPY")
    }

    fn move_away(&mut self) -> Result<()> {
        self.transfer("MOVE")
    }

    fn transfer(&mut self, verb: &str) -> Result<()> {
        let chosen = self.choose(4);
        if chosen.is_empty() {
            return Ok(());
        }
        let target = if self.rng.u8(0..8) == 0 { self.side() } else { self.main() };
        let (here, is_copy) = (self.place(0).0, verb == "COPY");
        for it in &chosen {
            if is_side(target) {
                self.ledger.may_go(&it.id);
            }
            if is_copy {
                self.ledger.copies(&it.id);
            } else {
                self.ledger.leaves((here, it.uid));
            }
        }
        let Some(done) = self.on(verb, &chosen, target)? else { return Ok(()) };
        let in_text = done.text.split(['[', ']']).nth(1);
        let untagged = done.said.iter().filter_map(|said| match said {
            Said::Other(code) => Some(code.as_str()),
            _ => None,
        });
        for code in untagged.chain(in_text).filter_map(|code| code.strip_prefix("COPYUID ")) {
            let [validity, from, to] = code.split(' ').collect::<Vec<_>>()[..] else { bail!("{code}") };
            let (there, from, to) = (validity.parse()?, numbers(from)?, numbers(to)?);
            ensure!(from.len() == to.len(), "{code}");
            for (from, to) in from.into_iter().zip(to) {
                self.ledger.transferred((here, from), (there, to), is_copy)?;
            }
        }
        if !done.is_ok && self.ledger.is_patient {
            chosen.iter().for_each(|it| self.ledger.may_go(&it.id));
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let chosen = self.choose(3);
        if chosen.is_empty() {
            return Ok(());
        }
        chosen.iter().for_each(|it| self.ledger.may_go(&it.id));
        let set = chosen.iter().map(|it| it.uid.to_string()).collect::<Vec<_>>().join(",");
        if self.command(&format!("UID STORE {set} +FLAGS (\\Deleted)"))?.is_none() {
            return Ok(());
        }
        match self.rng.u32(0..8) {
            0..4 => drop(self.command(&format!("UID EXPUNGE {set}"))?),
            4..6 => drop(self.command("EXPUNGE")?),
            6 => {
                let view = self.view.take();
                if self.command("CLOSE")?.is_some_and(|done| !done.is_ok) {
                    self.view = view;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn search(&mut self) -> Result<()> {
        let keys = ["ALL", "UNSEEN", "FLAGGED", "TEXT line", "HEADER X-ID -1"];
        let key = self.rng.choice(keys).unwrap_or("ALL");
        if self.command(&format!("SEARCH {key}"))?.is_none() {
            return Ok(());
        }
        self.command(&format!("UID SEARCH KEYWORD {}", self.own)).map(drop)
    }

    /// CREATE, RENAME or DELETE.
    fn mailbox(&mut self) -> Result<()> {
        let (one, other) = (self.side(), self.side());
        match self.rng.u32(0..5) {
            0..3 => drop(self.command(&format!("CREATE {one}"))?),
            3 if one != other => {
                let done = self.command(&format!("RENAME {one} {other}"))?;
                if let Some(view) = self.view.as_mut().filter(|view| view.mailbox == one)
                    && done.is_some_and(|done| done.is_ok)
                {
                    other.clone_into(&mut view.mailbox);
                }
            }
            _ => {
                let done = self.command(&format!("DELETE {one}"))?;
                if done.is_some_and(|done| done.is_ok) {
                    self.view.take_if(|view| view.mailbox == one);
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        self.view = None;
        self.wire.send("bye LOGOUT\r\n")?;
        self.reconnect()
    }
}
