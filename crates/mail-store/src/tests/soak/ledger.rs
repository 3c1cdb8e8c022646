//! What the workers told, and what must lie there then.

use std::collections::{BTreeMap, HashMap, HashSet};

use mail_types::{Quota, Usage};

use super::*;
use crate::quota::count_folder;

/// UIDVALIDITY and UID.
type Place = (u32, u32);

/// What was acknowledged, by the text of the message.
pub(super) struct Ledger {
    /// One worker did all, so that messages lie where it told last.
    is_alone: bool,
    pub(super) kills: usize,
    /// How many of each there are at least and at most.
    counts: HashMap<String, (i64, i64)>,
    flagged: HashSet<String>,
    /// Where it lies; `None` while that is open.
    places: HashMap<String, Option<Place>>,
    /// Whose a UID ever was.
    uids: HashMap<Place, String>,
    /// What was told to be gone.
    gone: HashSet<Place>,
}

/// A message as it lies there.
struct Seen {
    place: Place,
    flags: Flags,
    is_copy: bool,
}

impl Ledger {
    pub(super) fn new(is_alone: bool) -> Self {
        let (counts, places, uids) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (flagged, gone) = (HashSet::new(), HashSet::new());
        Self { is_alone, kills: 0, counts, flagged, places, uids, gone }
    }

    pub(super) fn hear(&mut self, line: &str) {
        let Some(line) = line.strip_prefix('@') else { return };
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["more", text] => self.count(text).1 += 1,
            ["there", text] => self.count(text).0 += 1,
            ["less", text] => {
                self.count(text).0 -= 1;
                self.places.insert((*text).to_owned(), None);
            }
            ["gone", validity, uid, text] => {
                self.gone.insert(place(validity, uid));
                // Among several another one may have moved it away before.
                self.count(text).1 -= i64::from(self.is_alone);
            }
            ["flagged", text] => drop(self.flagged.insert((*text).to_owned())),
            ["moving", text] => drop(self.places.insert((*text).to_owned(), None)),
            ["at", validity, uid, text] => {
                self.places.insert((*text).to_owned(), Some(place(validity, uid)));
                self.own(place(validity, uid), text);
            }
            ["copied", validity, uid, text] => self.own(place(validity, uid), text),
            ["failed", ..] => panic!("a worker: {line}"),
            _ => panic!("{line:?}"),
        }
    }

    fn count(&mut self, text: &str) -> &mut (i64, i64) {
        self.counts.entry(text.to_owned()).or_default()
    }

    fn own(&mut self, place: Place, text: &str) {
        let owner = self.uids.entry(place).or_insert_with(|| text.to_owned());
        assert_eq!(owner, text, "UID {place:?} is reused");
    }

    /// Compares with what a fresh store shows.
    pub(super) fn check(&mut self, dir: &Path) {
        let store = Store::open(dir).unwrap();
        let seen = self.look(&store);
        let none = Vec::new();
        for (text, (least, most)) in &self.counts {
            let count = seen.get(text).unwrap_or(&none).len() as i64;
            assert!((*least..=*most).contains(&count), "{text}: {least} to {most}, but {count} are there");
        }
        for (text, seen) in &seen {
            for Seen { place, flags, is_copy } in seen {
                assert!(!self.gone.contains(place), "{text} at {place:?} was told to be gone");
                let must_be_flagged = self.flagged.contains(text) && !is_copy;
                assert!(!must_be_flagged || flags.contains(Flag::Flagged), "{text} lost its flag");
                let known = self.places.get(text).copied().flatten().filter(|_| self.is_alone && !is_copy);
                assert!(known.is_none_or(|known| known == *place), "{text}: {known:?} became {place:?}");
            }
        }
        // Whose these are stays so.
        let places = seen.iter().flat_map(|(text, seen)| seen.iter().map(move |it| (it.place, text.clone())));
        places.collect::<Vec<_>>().into_iter().for_each(|(place, text)| self.own(place, &text));
        check_quota(&store, dir);
    }

    fn look(&self, store: &Arc<Store>) -> BTreeMap<String, Vec<Seen>> {
        let account = store.account(&bob()).unwrap();
        let mut seen: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for entry in account.mailboxes().unwrap().into_iter().filter(|it| it.selectable) {
            let mailbox = account.open(&entry.name).unwrap();
            let is_copy = entry.name.to_string().contains("Copies");
            let now = mailbox.snapshot();
            assert!(now.uids().to_vec().is_sorted_by(|one, two| one < two));
            for message in (0..now.len()).map(|at| now.get(at).unwrap()) {
                let content = mailbox.open_message(message.uid).unwrap().read().unwrap();
                let place = (mailbox.uid_validity().value(), message.uid.value());
                let seen = seen.entry(String::from_utf8(content).unwrap()).or_default();
                seen.push(Seen { place, flags: message.flags, is_copy });
            }
        }
        seen.remove(worker::PASSING);
        for text in seen.keys() {
            assert!(self.counts.contains_key(text), "{text:?} was never written");
        }
        seen
    }

    /// Nothing is left to be mended, and no content is damaged.
    pub(super) fn check_to_the_end(&mut self, dir: &Path) {
        self.check(dir);
        let store = Store::open(dir).unwrap();
        let findings = store.check(&bob(), true, &mut |_| ()).unwrap();
        assert_eq!(findings, [], "after {} kills", self.kills);
        assert!(!self.flagged.is_empty() && !self.gone.is_empty(), "the workers did not get to work");
    }

    pub(super) fn summary(&self) -> String {
        let acknowledged: i64 = self.counts.values().map(|it| it.0.max(0)).sum();
        format!(
            "{} kills, {} messages, {acknowledged} of them there, {} UIDs, {} expunged, {} flagged",
            self.kills,
            self.counts.len(),
            self.uids.len(),
            self.gone.len(),
            self.flagged.len()
        )
    }
}

fn place(validity: &str, uid: &str) -> Place {
    (validity.parse().unwrap(), uid.parse().unwrap())
}

/// What was noted as held is never too little, and counted anew it is right.
fn check_quota(store: &Arc<Store>, dir: &Path) {
    let maildir = dir.join("example.org/bob/Maildir");
    let folders = std::fs::read_dir(&maildir).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.join("cur").is_dir()).chain([maildir.clone()]);
    let truth: Usage = folders.map(|folder| count_folder(&folder).unwrap()).sum();
    let account = store.account(&bob()).unwrap();
    account.set_quota(Quota { storage: Some(1 << 40), messages: None });
    let noted = account.usage().unwrap();
    assert!(
        noted.storage >= truth.storage && noted.messages >= truth.messages,
        "{noted:?} is noted of {truth:?}"
    );
    std::fs::write(maildir.join("mailstead-recounted"), "").unwrap();
    assert_eq!(account.usage().unwrap(), truth);
}
