//! Another program at work in the Maildir: it adds, flags, renames, moves, copies and removes files, and asks nobody.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::ledger::{Ledger, id_of};
use super::player::MAIN;
use super::truth::{folder, name_parts, uid_validity};

pub(crate) struct Foreign<'a> {
    maildir: &'a Path,
    ledger: &'a Ledger,
    rng: Rng,
    count: usize,
}

/// A file in `cur/`.
struct Found {
    path: PathBuf,
    name: String,
    id: String,
    /// UIDVALIDITY and the UID in its name.
    place: Option<(u32, u32)>,
}

/// True if it was renamed; false if somebody was faster or has that name.
fn renamed(from: &Path, to: &Path) -> Result<bool> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT | Errno::EEXIST) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("renaming {} to {}", from.display(), to.display())),
    }
}

/// The letters with one of them set or cleared.
fn toggled(info: &str, letter: char) -> String {
    let mut letters: Vec<char> = info.chars().filter(|it| *it != letter).collect();
    if letters.len() == info.len() {
        letters.push(letter);
    }
    letters.sort_unstable();
    letters.into_iter().collect()
}

impl<'a> Foreign<'a> {
    pub(crate) fn new(maildir: &'a Path, ledger: &'a Ledger, seed: u64) -> Self {
        Self { maildir, ledger, rng: Rng::with_seed(seed), count: 0 }
    }

    /// Works until all are to stop.
    pub(crate) fn run(&mut self) -> Result<()> {
        while !self.ledger.is_over() {
            let before = self.ledger.steps();
            for _ in 0..4 {
                self.step()?;
                // It is not to do more than all the others together.
                std::thread::sleep(Duration::from_millis(self.rng.u64(2..12)));
            }
            self.ledger.wait_for(before + 1);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let folder = self.folder();
        match self.rng.u32(0..100) {
            0..8 => self.add(&folder).map(drop),
            8..14 => self.take_from_new(&folder),
            14..74 => self.flag(&folder),
            74..80 => self.remove(&folder),
            80..94 => self.move_away(&folder),
            _ => self.copy(&folder),
        }
    }

    fn folder(&mut self) -> PathBuf {
        folder(self.maildir, self.rng.choice(MAIN).unwrap_or("INBOX"))
    }

    /// Delivers as procmail does, with either line end. The path in `new/`.
    pub(crate) fn add(&mut self, folder: &Path) -> Result<PathBuf> {
        let (id, mut text) = self.ledger.write("foreign", self.rng.usize(0..40));
        if self.rng.bool() {
            text = text.replace("\r\n", "\n");
        }
        self.count += 1;
        let size = if self.rng.bool() { format!(",S={}", text.len()) } else { String::new() };
        let name = format!("17000000{:02}.M{}P7.elsewhere{size}", self.rng.u32(0..100), self.count);
        let (tmp, new) = (folder.join("tmp").join(&name), folder.join("new").join(&name));
        std::fs::write(&tmp, text)?;
        std::fs::rename(tmp, &new)?;
        self.ledger.acknowledge(&id);
        Ok(new)
    }

    /// Takes what is new to `cur/`, as mutt does.
    fn take_from_new(&self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder.join("new"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name")?;
            renamed(&entry.path(), &folder.join("cur").join(format!("{name}:2,S")))?;
        }
        Ok(())
    }

    /// A file in `cur/`, often one of the same few; `None` if somebody was faster.
    fn find(&mut self, folder: &Path) -> Result<Option<Found>> {
        let entries = std::fs::read_dir(folder.join("cur"))?;
        let mut paths = entries.map(|it| Ok(it?.path())).collect::<Result<Vec<_>>>()?;
        if self.rng.bool() {
            paths.sort_by_key(|path| name_parts(&path.to_string_lossy()).0);
            paths.truncate(5);
        }
        let Some(path) = self.rng.choice(paths) else { return Ok(None) };
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let id = id_of(&text).with_context(|| format!("{} has no id", path.display()))?;
        let name = path.file_name().and_then(|it| it.to_str()).context("a name")?.to_owned();
        let uid = name_parts(&name).0;
        let place = uid.map(|uid| anyhow::Ok((uid_validity(folder)?, uid))).transpose()?;
        Ok(Some(Found { path, name, id, place }))
    }

    /// Renames as a mail reader does. `\Answered` is set and cleared by nobody else.
    fn flag(&mut self, folder: &Path) -> Result<()> {
        let Some(Found { path, name, id, place }) = self.find(folder)? else { return Ok(()) };
        let letter = self.rng.choice(['R', 'R', 'R', 'F', 'S', 'D', 'T']).unwrap_or('R');
        if letter == 'T' {
            self.ledger.may_go(&id);
        }
        let info = toggled(name_parts(&name).1, letter);
        let front = name.split_once(":2,").map_or(name.as_str(), |(front, _)| front);
        let is_done = renamed(&path, &path.with_file_name(format!("{front}:2,{info}")))?;
        self.ledger.note(&id, format!("{is_done} flagged {} {info}", path.display()));
        match place.filter(|_| is_done && letter == 'R') {
            Some(place) if self.ledger.only(place, &id) => {
                self.ledger.owns(place, "\\Answered", info.contains('R'));
            }
            Some(place) => self.ledger.replaces(place),
            None => {}
        }
        Ok(())
    }

    fn remove(&mut self, folder: &Path) -> Result<()> {
        let Some(found) = self.find(folder)? else { return Ok(()) };
        self.ledger.may_go(&found.id);
        match std::fs::remove_file(&found.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Moves a file to another mailbox under its name, UID and all, as `mv` does.
    fn move_away(&mut self, here: &Path) -> Result<()> {
        let (Some(found), target) = (self.find(here)?, self.folder()) else { return Ok(()) };
        if let Some(place) = found.place {
            // It may come back before anybody notices, with other flags.
            self.ledger.leaves(place);
            self.ledger.replaces(place);
        }
        let to = target.join("cur").join(&found.name);
        let is_done = renamed(&found.path, &to)?;
        self.ledger.note(&found.id, format!("{is_done} moved {} to {}", found.path.display(), to.display()));
        Ok(())
    }

    /// Copies a file to another mailbox under its name, as `cp -p` does.
    fn copy(&mut self, here: &Path) -> Result<()> {
        let (Some(found), target) = (self.find(here)?, self.folder()) else { return Ok(()) };
        self.ledger.copies(&found.id);
        let (Ok(text), Ok(data)) = (std::fs::read(&found.path), std::fs::metadata(&found.path)) else {
            return Ok(()); // somebody was faster
        };
        let tmp = target.join("tmp").join(&found.name);
        std::fs::write(&tmp, text)?;
        std::fs::File::options().write(true).open(&tmp)?.set_modified(data.modified()?)?;
        if renamed(&tmp, &target.join("cur").join(&found.name))? {
            self.ledger.acknowledge(&found.id);
        } else {
            std::fs::remove_file(&tmp)?;
        }
        Ok(())
    }
}
