//! Sessions that wait hear of what others do.

use super::*;
use crate::snapshot::Snapshot;
use crate::watch::{Changes, Watcher};

/// Waits until the snapshot is as wanted.
async fn until(mailbox: &Mailbox, changes: &mut Changes, wanted: impl Fn(&Snapshot) -> bool) {
    let heard = async {
        while !wanted(&mailbox.snapshot()) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("nothing was heard");
}

/// Delivery, a foreign rename and a foreign removal, each heard by one who waits.
async fn hears_all(dir: &Path, mailbox: &Arc<Mailbox>, mut changes: Changes) {
    let other = Store::open(dir).unwrap();
    deliver(&other, b"one\r\n");
    until(mailbox, &mut changes, |it| it.len() == 1).await;
    let cur = dir.join("example.org/bob/Maildir/cur");
    let file = only_file(&cur);
    std::fs::rename(&file, file.to_str().unwrap().to_owned() + "S").unwrap();
    until(mailbox, &mut changes, |it| it.get(0).is_some_and(|it| it.flags.contains(Flag::Seen))).await;
    std::fs::remove_file(only_file(&cur)).unwrap();
    until(mailbox, &mut changes, |it| it.is_empty()).await;
}

#[tokio::test]
async fn one_who_waits_hears_of_deliveries_and_of_what_foreign_programs_do() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    let changes = mailbox.watch();
    hears_all(dir.path(), &mailbox, changes).await;
}

#[tokio::test]
async fn without_inotify_the_same_is_heard_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    let changes = mailbox.watch_by(&Watcher::by_clock());
    hears_all(dir.path(), &mailbox, changes).await;
}

#[tokio::test]
async fn one_who_waits_on_a_mailbox_hears_that_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    let name: MailboxName = "Trash".parse().unwrap();
    for clock in [None, Some(Watcher::by_clock())] {
        let mailbox = one.account(&bob()).unwrap().open(&name).unwrap();
        let mut changes = clock.as_ref().map_or_else(|| mailbox.watch(), |it| mailbox.watch_by(it));
        // Another thread sets the watch: once a first change is heard, it stands.
        std::fs::write(mailbox.folder().join("new").join(crate::names::unique()), b"x\r\n").unwrap();
        until(&mailbox, &mut changes, |it| it.len() == 1).await;
        two.account(&bob()).unwrap().delete(&name).unwrap();
        let deleted = async {
            while mailbox.sync().is_ok() {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), deleted).await.expect("nothing was heard");
        two.account(&bob()).unwrap().create(&name, None).unwrap();
    }
}

#[tokio::test]
async fn a_thousand_who_wait_share_one_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    let mut all: Vec<Changes> = (0..1000).map(|_| mailbox.watch()).collect();
    let mut first = mailbox.watch();
    deliver(&store, b"x\r\n");
    until(&mailbox, &mut first, |it| it.len() == 1).await;
    for changes in &mut all {
        tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    }
}

/// True if an inotify watch of this process is on the folder.
fn is_watched(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let wanted = format!(" ino:{:x} ", std::fs::metadata(folder).unwrap().ino());
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    infos.filter_map(|it| std::fs::read_to_string(it.path()).ok()).any(|it| it.contains(&wanted))
}

#[tokio::test]
async fn a_mailbox_that_nobody_waits_on_has_no_watches() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    let cur = mailbox.folder().join("cur");
    for waits in [true, false] {
        let _changes = waits.then(|| mailbox.watch());
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_watched(&cur) != waits {
            assert!(Instant::now() < deadline, "waits: {waits}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
