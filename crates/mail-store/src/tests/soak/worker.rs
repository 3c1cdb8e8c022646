//! The process that is killed. It tells what it is about to do, and each acknowledgement, by a line.

use mail_types::Quota;

use super::*;
use crate::{Account, StoreError};

/// A limit that is never reached: so what the account holds is counted.
const WIDE: Quota = Quota { storage: Some(1 << 40), messages: None };
/// Of those that came last so many are worked on.
const INTERVAL: usize = 12;
/// The text of messages in the mailbox that comes and goes.
pub(super) const PASSING: &str = "passing";

#[test]
#[ignore = "started by the test above"]
fn worker() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let account = store.account(&bob()).unwrap();
    account.set_quota(WIDE);
    account.usage().unwrap();
    let random = Rng::with_seed(setting("MAILSTEAD_SOAK_SEED", 0));
    let mut worker = Worker { store, account, random, count: 0 };
    loop {
        match worker.step() {
            // Another one was faster.
            Ok(())
            | Err(StoreError::MessageGone(_) | StoreError::NoSuchMailbox(_) | StoreError::MailboxExists(_)) =>
                {}
            Err(error) => {
                say(&format!("failed {error}"));
                return;
            }
        }
    }
}

fn say(line: &str) {
    // Past the test harness, which would keep it. One write, so that no line is told by half.
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
}

struct Worker {
    store: Arc<Store>,
    account: Arc<Account>,
    random: Rng,
    count: usize,
}

/// A message that lies somewhere.
struct Found {
    mailbox: Arc<Mailbox>,
    uid: Uid,
    text: String,
}

fn place(mailbox: &Mailbox, uid: Uid) -> String {
    format!("{} {uid}", mailbox.uid_validity())
}

impl Worker {
    fn text(&mut self) -> String {
        self.count += 1;
        format!("{}-{:08x}-{}", std::process::id(), self.random.u32(..), self.count)
    }

    fn open(&self, name: &str) -> Result<Arc<Mailbox>, StoreError> {
        self.account.open(&name.parse().unwrap())
    }

    /// INBOX or Trash, between which messages move.
    fn mailbox(&mut self) -> Result<Arc<Mailbox>, StoreError> {
        let name = if self.random.bool() { "INBOX" } else { "Trash" };
        self.open(name)
    }

    /// Some messages of a mailbox, of those that came last.
    fn find(&mut self, mailbox: &Arc<Mailbox>, count: usize) -> Result<Vec<Found>, StoreError> {
        let uids = mailbox.sync()?.uids().to_vec();
        let mut found: Vec<Found> = Vec::new();
        for _ in 0..count.min(uids.len()) {
            let uid = uids[uids.len() - 1 - self.random.usize(0..uids.len().min(INTERVAL))];
            if found.iter().any(|it| it.uid == uid) {
                continue;
            }
            let text = mailbox.open_message(uid)?.read().unwrap();
            let text = String::from_utf8(text).unwrap();
            found.push(Found { mailbox: Arc::clone(mailbox), uid, text });
        }
        found.sort_by_key(|it| it.uid);
        Ok(found)
    }

    fn step(&mut self) -> Result<(), StoreError> {
        match self.random.u8(0..16) {
            0..4 => self.deliver(),
            4 | 5 => self.append(1),
            6 => self.append(3),
            7 | 8 => self.flag(),
            9..12 => self.move_some(),
            12 => self.copy(),
            13 => self.expunge(),
            14 => self.replace(),
            _ => self.change_mailboxes(),
        }
    }

    fn deliver(&mut self) -> Result<(), StoreError> {
        let text = self.text();
        let mut delivery = self.store.deliver(&[bob().into()])?;
        delivery.write_all(text.as_bytes()).unwrap();
        say(&format!("more {text}"));
        delivery.commit_all().map_err(|(_, error)| error)?;
        say(&format!("there {text}"));
        Ok(())
    }

    fn append(&mut self, count: usize) -> Result<(), StoreError> {
        let mailbox = self.mailbox()?;
        let texts: Vec<String> = (0..count).map(|_| self.text()).collect();
        let begin = |text: &String| {
            let mut append = mailbox.append(keyword(&[Flag::Draft], "Work"), None)?;
            append.write_all(text.as_bytes()).unwrap();
            say(&format!("more {text}"));
            Ok(append)
        };
        let appends = texts.iter().map(begin).collect::<Result<_, StoreError>>()?;
        let uids = crate::Append::commit_all(appends)?;
        for (uid, text) in uids.iter().zip(&texts) {
            say(&format!("there {text}"));
            say(&format!("at {} {text}", place(&mailbox, *uid)));
        }
        Ok(())
    }

    fn flag(&mut self) -> Result<(), StoreError> {
        let mailbox = self.mailbox()?;
        let found = self.find(&mailbox, 3)?;
        let uids: Vec<Uid> = found.iter().map(|it| it.uid).collect();
        let now = mailbox.store(&uids, &FlagChange::Add(flags(&[Flag::Flagged])))?;
        for Found { uid, text, .. } in found {
            now.position(uid).into_iter().for_each(|_| say(&format!("flagged {text}")));
        }
        Ok(())
    }

    fn move_some(&mut self) -> Result<(), StoreError> {
        let (from, to) = (self.mailbox()?, self.mailbox()?);
        let found = self.find(&from, 4)?;
        found.iter().for_each(|it| say(&format!("moving {}", it.text)));
        let uids: Vec<Uid> = found.iter().map(|it| it.uid).collect();
        for (from, uid) in from.move_to(&uids, &to)? {
            let text = &found.iter().find(|it| it.uid == from).unwrap().text;
            say(&format!("at {} {text}", place(&to, uid)));
        }
        Ok(())
    }

    /// The mailbox of copies has a name now and another then.
    fn copies(&self) -> Result<Arc<Mailbox>, StoreError> {
        self.open("Copies").or_else(|_| self.open("Renamed/Copies"))
    }

    fn copy(&mut self) -> Result<(), StoreError> {
        let (from, to) = (self.mailbox()?, self.copies()?);
        let found = self.find(&from, 3)?;
        found.iter().for_each(|it| say(&format!("more {}", it.text)));
        let uids: Vec<Uid> = found.iter().map(|it| it.uid).collect();
        for (from, uid) in from.copy(&uids, &to)? {
            let text = &found.iter().find(|it| it.uid == from).unwrap().text;
            say(&format!("there {text}"));
            say(&format!("copied {} {text}", place(&to, uid)));
        }
        Ok(())
    }

    fn remove(found: &[Found]) -> Result<(), StoreError> {
        let Some(first) = found.first() else { return Ok(()) };
        found.iter().for_each(|it| say(&format!("less {}", it.text)));
        let uids: Vec<Uid> = found.iter().map(|it| it.uid).collect();
        first.mailbox.expunge(&uids)?;
        found.iter().for_each(|it| say(&format!("gone {} {}", place(&it.mailbox, it.uid), it.text)));
        Ok(())
    }

    fn expunge(&mut self) -> Result<(), StoreError> {
        let mailbox = if self.random.bool() { self.copies()? } else { self.mailbox()? };
        Self::remove(&self.find(&mailbox, 2)?)
    }

    /// As a client saves a draft anew: first the new one, then the old one goes.
    fn replace(&mut self) -> Result<(), StoreError> {
        let mailbox = self.mailbox()?;
        let old = self.find(&mailbox, 1)?;
        self.append(1)?;
        Self::remove(&old)
    }

    fn change_mailboxes(&mut self) -> Result<(), StoreError> {
        let name = |text: &str| text.parse::<MailboxName>().unwrap();
        match self.random.u8(0..4) {
            0 => self.account.create(&name("Copies"), None),
            1 => self.account.rename(&name("Copies"), &name("Renamed/Copies")),
            2 => self.account.rename(&name("Renamed/Copies"), &name("Copies")),
            _ => {
                self.account.create(&name("Passing"), None)?;
                let mut append = self.open("Passing")?.append(Flags::new(), None)?;
                append.write_all(PASSING.as_bytes()).unwrap();
                append.commit()?;
                self.account.delete(&name("Passing"))
            }
        }
    }
}
