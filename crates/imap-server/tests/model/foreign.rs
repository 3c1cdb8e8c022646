//! What other programs do in the Maildir.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::step::Foreign;
use crate::view::Flags;
use crate::world::World;

impl World {
    pub(crate) fn by_another_program(&mut self, foreign: &Foreign) {
        // Past the tick of the clock of our own changes: what happens in it is found a second later.
        std::thread::sleep(Duration::from_millis(25));
        self.files += 1;
        let name = format!("{}.M{}P1.elsewhere", 1_700_000_000 + self.files, self.files);
        let letters = |flags: &Flags| {
            let letter = |name: &String| match name.as_str() {
                "\\Answered" => Some('R'),
                "\\Deleted" => Some('T'),
                "\\Flagged" => Some('F'),
                "\\Seen" => Some('S'),
                _ => None,
            };
            let mut letters: Vec<char> = flags.iter().filter_map(letter).collect();
            letters.sort_unstable();
            letters.into_iter().collect::<String>()
        };
        let system =
            |flags: &Flags| flags.iter().filter(|it| it.starts_with('\\')).cloned().collect::<Flags>();
        let pick = |at: u8| self.truth.keys().nth(usize::from(at) % self.truth.len().max(1)).copied();
        match foreign {
            Foreign::Deliver => {
                std::fs::write(self.folder.join("new").join(name), "Subject: new\n\nx\n").unwrap();
                self.await_arrival(Flags::new());
            }
            Foreign::Place(flags) => {
                let name = format!("{name}:2,{}", letters(flags));
                let tmp = self.folder.join("tmp").join(&name);
                std::fs::write(&tmp, "Subject: placed\n\nx\n").unwrap();
                std::fs::rename(tmp, self.folder.join("cur").join(name)).unwrap();
                self.await_arrival(system(flags));
            }
            Foreign::Flag(at, flags) => {
                let Some(uid) = pick(*at) else { return };
                let file = self.file_of(uid);
                let (base, info) = file.to_str().unwrap().rsplit_once(":2,").unwrap();
                let keywords: String = info.chars().filter(char::is_ascii_lowercase).collect();
                std::fs::rename(&file, format!("{base}:2,{}{keywords}", letters(flags))).unwrap();
                let known = self.truth.get_mut(&uid).unwrap();
                known.retain(|flag| !flag.starts_with('\\'));
                known.extend(system(flags));
                self.until(|world, now| *now == world.truth);
            }
            Foreign::Remove(at) => {
                let Some(uid) = pick(*at) else { return };
                std::fs::remove_file(self.file_of(uid)).unwrap();
                self.truth.remove(&uid);
                self.until(|world, now| *now == world.truth);
            }
        }
    }

    fn await_arrival(&mut self, flags: Flags) {
        let before = self.truth.len();
        let now = self.until(|_, now| now.len() > before);
        self.arrives(*now.keys().next_back().unwrap(), flags);
    }

    /// Until another program's change is seen.
    fn until(&mut self, holds: impl Fn(&Self, &BTreeMap<u32, Flags>) -> bool) -> BTreeMap<u32, Flags> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.audit();
            if holds(self, &now) {
                return now;
            }
            assert!(
                Instant::now() < deadline,
                "another program's change is not seen: {now:?} {:?}",
                self.truth
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn file_of(&self, uid: u32) -> PathBuf {
        let files = std::fs::read_dir(self.folder.join("cur")).unwrap().map(|it| it.unwrap().path());
        let is_of = |path: &PathBuf| {
            let name = path.to_str().unwrap();
            [':', ','].iter().any(|end| name.contains(&format!(",U={uid}{end}")))
        };
        files.into_iter().find(is_of).unwrap_or_else(|| panic!("no file of UID {uid}"))
    }
}
