//! What is on the disk before a message is said to be there, and in which order it came there.

use mail_types::LocalRecipient;

use super::*;
use crate::StoreError;
use crate::disk::fault;

const LINK: &str = "linking";
const RENAME: &str = "renaming";
const FILE: &str = "flushing";
const FOLDER: &str = "flushing the folder";

/// What the messages' own steps are, in their order: each fails once, and then nothing is there.
fn steps(
    is_kept: bool,
    act: impl Fn(&Arc<Store>) -> Box<dyn FnOnce() -> Result<(), StoreError>>,
) -> Vec<&'static str> {
    fault::claim_order(Some(is_kept));
    let mut steps = Vec::new();
    for step in 0.. {
        let dir = fast_dir();
        let store = Store::open(dir.path()).unwrap();
        let commit = act(&store);
        let before = inbox(&store).snapshot().len();
        fault::once(step);
        let result = commit();
        let has_struck = fault::has_struck();
        fault::after(None);
        let there = inbox(&store).snapshot().len() - before;
        assert_eq!(there, usize::from(result.is_ok()), "{is_kept}, step {step}: {result:?}");
        match result {
            Err(StoreError::Io { context, .. }) => steps.push(context),
            other => other.unwrap(),
        }
        if !has_struck {
            break;
        }
    }
    steps.retain(|step| [LINK, RENAME, FILE, FOLDER].contains(step));
    steps
}

fn delivery(
    to: &'static [&'static str],
) -> impl Fn(&Arc<Store>) -> Box<dyn FnOnce() -> Result<(), StoreError>> {
    move |store| {
        let to: Vec<LocalRecipient> = to.iter().map(|to| to.parse::<Address>().unwrap().into()).collect();
        to.iter().for_each(|to| drop(store.account(&to.account).unwrap()));
        let mut delivery = store.deliver(&to).unwrap();
        delivery.write_all(b"x\r\n").unwrap();
        Box::new(|| delivery.commit_all().map_err(|(_, error)| error))
    }
}

#[test]
fn a_name_is_made_when_the_content_is_flushed_or_where_a_journal_keeps_the_order_both_are_flushed_behind_it()
{
    let one = delivery(&["bob@example.org"]);
    assert_eq!(steps(false, &one), [FILE, LINK, FOLDER]);
    assert_eq!(steps(true, &one), [LINK, FOLDER, FILE]);
    let two = delivery(&["alice@example.org", "bob@example.org"]);
    // So few are many to a test: all names come to the disk at once, and behind them the file.
    assert_eq!(steps(false, &two), [FILE, LINK, LINK]);
    assert_eq!(steps(true, &two), [LINK, LINK]);
}

#[test]
fn an_append_is_named_and_flushed_in_the_same_order() {
    let append = |store: &Arc<Store>| -> Box<dyn FnOnce() -> Result<(), StoreError>> {
        let begin = || {
            let mut append = inbox(store).append(Flags::new(), None).unwrap();
            append.write_all(b"x\r\n").unwrap();
            append
        };
        // The first one raises the high-water marks too.
        begin().commit().unwrap();
        let append = begin();
        Box::new(|| append.commit().map(drop))
    };
    assert_eq!(steps(false, append), [FILE, RENAME, FOLDER]);
    assert_eq!(steps(true, append), [RENAME, FOLDER, FILE]);
}
