//! Accounts come into being whole, and a message comes to all its recipients or to none.

use mail_types::{LocalRecipient, SpecialUse};

use super::*;
use crate::disk::fault;

/// Every mailbox that an account has from the start is there, subscribed, and known for what it is for.
fn check_whole(store: &Arc<Store>) {
    let account = store.account(&bob()).unwrap();
    let uses: Vec<_> =
        account.mailboxes().unwrap().into_iter().map(|it| (it.name.to_string(), it.special_use)).collect();
    let use_of =
        |name: &str, special_use| assert!(uses.contains(&(name.to_owned(), special_use)), "{name}: {uses:?}");
    use_of("INBOX", None);
    use_of("Drafts", Some(SpecialUse::Drafts));
    use_of("Sent", Some(SpecialUse::Sent));
    use_of("Trash", Some(SpecialUse::Trash));
    let subscribed: Vec<String> = account.subscriptions().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(subscribed, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
}

#[test]
fn an_account_that_began_with_a_delivery_is_whole_at_the_first_login() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"x\r\n");
    check_whole(&store);
    assert_eq!(inbox(&store).snapshot().len(), 1);
}

#[test]
fn an_account_whose_making_was_cut_short_is_completed_and_one_that_is_whole_stays_as_it_is() {
    for step in 0.. {
        let dir = fast_dir();
        fault::after(Some(step));
        let made = Store::open(dir.path()).and_then(|store| store.create_account(&bob()));
        fault::after(None);
        let store = Store::open(dir.path()).unwrap();
        check_whole(&store);
        if made.is_ok() {
            break;
        }
    }
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    account.delete(&"Junk".parse().unwrap()).unwrap();
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let account = Store::open(dir.path()).unwrap().account(&bob()).unwrap();
    assert!(account.mailboxes().unwrap().iter().all(|it| it.name.to_string() != "Junk"), "it was deleted");
}

fn alice() -> Address {
    "alice@example.org".parse().unwrap()
}

fn messages_of(store: &Arc<Store>, owner: &Address) -> usize {
    store.account(owner).unwrap().open(&MailboxName::inbox()).unwrap().snapshot().len()
}

fn very_many() -> Vec<Address> {
    (0..5).map(|number| format!("user{number}@example.org").parse().unwrap()).collect()
}

#[test]
fn a_delivery_to_all_that_fails_for_one_reaches_none() {
    let both = [vec![bob(), alice(), bob()], very_many()];
    for (recipients, is_kept) in both.iter().flat_map(|all| [(all, false), (all, true)]) {
        fault::claim_order(Some(is_kept));
        for step in 0.. {
            let dir = fast_dir();
            let store = Store::open(dir.path()).unwrap();
            let all: Vec<LocalRecipient> = recipients.iter().cloned().map(Into::into).collect();
            let mut delivery = store.deliver(&all).unwrap();
            delivery.write_all(b"x\r\n").unwrap();
            fault::once(step);
            let result = delivery.commit_all();
            let has_struck = fault::has_struck();
            fault::after(None);
            let wanted = usize::from(result.is_ok());
            for owner in recipients {
                assert_eq!(messages_of(&store, owner), wanted, "step {step}, {owner}");
            }
            if !has_struck {
                break;
            }
        }
    }
}

#[test]
fn a_first_message_makes_the_folders_of_each_who_gets_it() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let detail = LocalRecipient { account: alice(), detail: Some("lists".into()) };
    let all: Vec<LocalRecipient> = very_many().into_iter().map(Into::into).chain([detail]).collect();
    let mut delivery = store.deliver(&all).unwrap();
    delivery.write_all(b"x\r\n").unwrap();
    assert!(delivery.commit().iter().all(Result::is_ok));
    for owner in very_many().iter().chain([&alice()]) {
        assert_eq!(messages_of(&store, owner), 1, "{owner}");
    }
}

#[test]
fn a_message_is_there_for_those_to_whom_it_is_said_to_be_delivered_and_for_nobody_else() {
    for is_kept in [false, true] {
        fault::claim_order(Some(is_kept));
        check_outcomes();
    }
}

/// A delivery to two accounts, cut short at every step, comes to what is said to each.
fn check_outcomes() {
    let mut outcomes = std::collections::BTreeSet::new();
    for step in 0.. {
        let dir = fast_dir();
        let store = Store::open(dir.path()).unwrap();
        // Twice to one account: what holds for the one holds for the other.
        let owners = [alice(), bob(), bob()];
        let mut delivery = store.deliver(&owners.clone().map(Into::into)).unwrap();
        delivery.write_all(b"x\r\n").unwrap();
        fault::once(step);
        let delivered: Vec<bool> = delivery.commit().iter().map(Result::is_ok).collect();
        fault::after(None);
        let there: Vec<bool> = owners.iter().map(|owner| messages_of(&store, owner) == 1).collect();
        assert_eq!(delivered, there, "step {step}");
        outcomes.insert(delivered);
        if !fault::has_struck() {
            break;
        }
    }
    let [all, none] = [[true; 3], [false; 3]];
    let some = [[true, false, false], [false, true, true], all, none];
    assert!(some.iter().all(|it| outcomes.contains(it.as_slice())), "{outcomes:?}");
}

#[test]
fn a_delivery_is_taken_back_also_when_a_session_has_seen_it() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    let mut delivery = store.deliver(&[bob(), alice()].map(Into::into)).unwrap();
    delivery.write_all(b"x\r\n").unwrap();
    store.create_account(&alice()).unwrap();
    let new = dir.path().join("example.org/alice/Maildir/new");
    std::fs::remove_dir_all(&new).unwrap();
    std::fs::write(&new, "").unwrap();
    let (position, _) = delivery.place_all(|| assert_eq!(mailbox.sync().unwrap().len(), 1)).unwrap_err();
    assert_eq!(position, 1);
    until(&mailbox, Snapshot::is_empty);
}

fn deliver_by(store: &Arc<Store>, detail: &str) -> String {
    let recipient = LocalRecipient { account: bob(), detail: Some(detail.into()) };
    let mut delivery = store.deliver(&[recipient]).unwrap();
    delivery.write_all(b"x\r\n").unwrap();
    delivery.commit_all().unwrap();
    let account = store.account(&bob()).unwrap();
    let names = account.mailboxes().unwrap().into_iter().filter(|it| it.selectable).map(|it| it.name);
    let with_new =
        names.filter(|name| std::fs::read_dir(account.folder(name).join("new")).unwrap().count() > 0);
    let with_new: Vec<MailboxName> = with_new.collect();
    for name in &with_new {
        let new = account.folder(name).join("new");
        std::fs::read_dir(new)
            .unwrap()
            .for_each(|entry| std::fs::remove_file(entry.unwrap().path()).unwrap());
    }
    with_new.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_detail_names_a_mailbox_of_the_account_or_none() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    store.create_account(&bob()).unwrap();
    let account = store.account(&bob()).unwrap();
    for name in ["Lists", "a.b", "a/b", "two", "TWO", "Grüße", "INBOX/below", "only/below"] {
        account.create(&name.parse().unwrap(), None).unwrap();
    }
    account.delete(&"only".parse().unwrap()).unwrap();
    let by = |detail: &str| deliver_by(&store, detail);
    assert_eq!([by("Lists"), by("LISTS"), by("lists")], ["Lists", "Lists", "Lists"]);
    assert_eq!([by("a.b"), by("A.B"), by("a/b"), by("a")], ["a.b", "a.b", "a/b", "a"]);
    assert_eq!([by("two"), by("TWO"), by("Two")], ["two", "TWO", "INBOX"], "two are meant by the last");
    assert_eq!([by("Grüße"), by("gru\u{308}ße"), by("Gr&APwA3w-e")], ["Grüße", "Grüße", "Grüße"]);
    assert_eq!([by("below"), by("inbox"), by("inbox/below")], ["INBOX", "INBOX", "INBOX/below"]);
    assert_eq!([by("only"), by("only/below")], ["INBOX", "only/below"], "nothing can be put into the first");
    for other in ["..", "../alice", "/", ".Lists", "&", "cur", "Lists/", "Sent", "trash", "Drafts", "Archive"]
    {
        let expected = if other == "Lists/" { "Lists" } else { "INBOX" };
        assert_eq!(by(other), expected, "{other}");
    }
}
