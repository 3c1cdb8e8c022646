//! Processes that deliver, flag and move are killed again and again at random moments.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const FOLDER: &str = "MAILSTEAD_SOAK_FOLDER";
const LONGEST: Duration = Duration::from_secs(15);

/// The process that is killed. Tells each acknowledgement by a line.
#[test]
#[ignore = "started by the tests below"]
fn worker() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let account = store.account(&bob()).unwrap();
    let mailboxes =
        [account.open(&MailboxName::inbox()).unwrap(), account.open(&"Trash".parse().unwrap()).unwrap()];
    for number in u64::from(getrandom::u32().unwrap()).. {
        let text = format!("{}-{number}", std::process::id());
        deliver(&store, text.as_bytes());
        say(&format!("there {text}"));
        let here = usize::try_from(number % 2).unwrap();
        let (mailbox, other) = (&mailboxes[here], &mailboxes[1 - here]);
        let uids = mailbox.sync().unwrap().uids().to_vec();
        let Some(uid) = uids.get(usize::try_from(number * 7).unwrap() % uids.len().max(1)).copied() else {
            continue;
        };
        // Another worker may move it away at any moment.
        let file = match mailbox.open_message(uid) {
            Err(crate::StoreError::MessageGone(_)) => continue,
            file => file.unwrap(),
        };
        let text = String::from_utf8(file.read().unwrap()).unwrap();
        match number % 3 {
            0 => {
                let now = mailbox.store(&[uid], &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap();
                now.position(uid).into_iter().for_each(|_| say(&format!("flagged {text}")));
            }
            1 => {
                say(&format!("moving {text}"));
                let pairs = mailbox.move_to(&[uid], other).unwrap();
                pairs.iter().for_each(|(_, uid)| say(&format!("uid {} {uid} {text}", 1 - here)));
            }
            _ => say(&format!("uid {here} {uid} {text}")),
        }
    }
}

fn say(line: &str) {
    // Past the test harness, which would keep it.
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::soak::worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What was acknowledged, by the text of the message.
#[derive(Default)]
struct Acknowledged {
    there: Vec<String>,
    flagged: Vec<String>,
    /// Where it lies: mailbox and UID; `None` while that is open.
    places: HashMap<String, Option<(usize, u32)>>,
    /// Whose a UID ever was.
    uids: HashMap<(usize, u32), String>,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        let Some(line) = line.strip_prefix('@') else { return };
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["there", text] => self.there.push((*text).to_owned()),
            ["flagged", text] => self.flagged.push((*text).to_owned()),
            ["moving", text] => drop(self.places.insert((*text).to_owned(), None)),
            ["uid", mailbox, uid, text] => {
                let place = (mailbox.parse().unwrap(), uid.parse().unwrap());
                self.places.insert((*text).to_owned(), Some(place));
                self.own(place, text);
            }
            _ => {} // the line that the kill cut off
        }
    }

    fn own(&mut self, place: (usize, u32), text: &str) {
        let owner = self.uids.entry(place).or_insert_with(|| text.to_owned());
        assert_eq!(owner, text, "UID {place:?} is reused");
    }

    /// Compares with what a fresh store shows. `alone` says that one worker did all, so that the places are those it told last.
    fn check(&mut self, dir: &Path, alone: bool) {
        let store = Store::open(dir).unwrap();
        let account = store.account(&bob()).unwrap();
        let mut seen: BTreeMap<String, Vec<(usize, u32, Flags)>> = BTreeMap::new();
        for (number, name) in ["INBOX", "Trash"].into_iter().enumerate() {
            let mailbox = account.open(&name.parse().unwrap()).unwrap();
            let now = mailbox.snapshot();
            for message in (0..now.len()).map(|at| now.get(at).unwrap()) {
                let text =
                    String::from_utf8(mailbox.open_message(message.uid).unwrap().read().unwrap()).unwrap();
                self.own((number, message.uid.value()), &text);
                seen.entry(text).or_default().push((number, message.uid.value(), message.flags));
            }
        }
        assert!(seen.values().all(|places| places.len() == 1), "doubled");
        for text in &self.there {
            assert!(seen.contains_key(text), "{text} was acknowledged and is lost");
        }
        for text in &self.flagged {
            assert!(seen[text][0].2.contains(Flag::Flagged), "{text} lost its flag");
        }
        for (text, place) in self.places.iter().filter(|_| alone) {
            let (mailbox, uid, _) = seen[text][0];
            assert!(
                place.is_none_or(|place| place == (mailbox, uid)),
                "{text}: {place:?} became {mailbox} {uid}"
            );
        }
    }
}

/// Starts workers and kills them at a random moment, so often, as long as there is time.
fn soak(workers: usize, kills: usize) {
    let dir = fast_dir(); // what a process wrote outlives it there too
    Store::open(dir.path()).unwrap().create_account(&bob()).unwrap();
    let mut acknowledged = Acknowledged::default();
    let began = Instant::now();
    for kill in (1..=kills).take_while(|_| began.elapsed() < LONGEST) {
        let mut running: Vec<_> = (0..workers).map(|_| start(dir.path())).collect();
        let mut told = Vec::new();
        for worker in &mut running {
            let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines().map_while(Result::ok);
            let first = lines.by_ref().find(|line| line.starts_with('@')).expect("the worker does nothing");
            acknowledged.hear(&first);
            told.push(lines);
        }
        std::thread::sleep(Duration::from_micros(u64::from(getrandom::u32().unwrap() % 20_000)));
        running.iter_mut().for_each(|worker| worker.kill().unwrap());
        running.iter_mut().for_each(|worker| assert!(!worker.wait().unwrap().success()));
        told.into_iter().flatten().for_each(|line| acknowledged.hear(&line));
        if kill % 10 == 0 {
            acknowledged.check(dir.path(), workers == 1);
        }
    }
    acknowledged.check(dir.path(), workers == 1);
    let Acknowledged { there, flagged, places, .. } = &acknowledged;
    let counts = [there.len(), flagged.len(), places.len()];
    assert!(counts.iter().all(|it| *it > 0), "the workers did not get to work");
}

#[test]
fn a_process_killed_again_and_again_loses_and_doubles_nothing_it_acknowledged() {
    soak(1, 150);
}

#[test]
fn processes_that_move_each_others_messages_and_are_killed_lose_and_double_nothing() {
    soak(2, 50);
}
