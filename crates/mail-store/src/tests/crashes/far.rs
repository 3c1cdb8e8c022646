//! What goes from one account to another.

use mail_types::Rights;

use super::*;
use crate::View;

/// Bob's INBOX as its owner sees it, and one of alice's as he does.
fn both_accounts(store: &Arc<Store>, target: &str) -> Result<(View, View), StoreError> {
    let inbox = account(store).open(&name("INBOX"))?;
    let target = store.account(&alice())?.open(&name(target))?;
    Ok((View::of_owner(inbox), View::of_reader(target, &bob())))
}

fn transfer(store: &Arc<Store>, is_move: bool) -> Result<(), StoreError> {
    let (inbox, target) = both_accounts(store, "Archive")?;
    inbox.transfer(&inbox.sync()?.uids().to_vec(), &target, Rights::ALL, is_move).map(|_| ())
}

#[test]
fn a_copy_to_another_account_cut_short() {
    check(&Operation {
        act: |store| transfer(store, false),
        more: &["one", "two", "three", "four"],
        done: |after| after["alice/Archive"].2.len() == 4 && after["bob/INBOX"].2.len() == 4,
        is_whole: true,
        is_taken_back: true,
        ..NOTHING
    });
}

#[test]
fn a_move_to_another_account_cut_short() {
    check(&Operation {
        act: |store| transfer(store, true),
        done: |after| {
            let there = &after["alice/Archive"].2;
            after["bob/INBOX"].2.is_empty() && there.iter().any(|it| it.1 == "one" && it.2 == "Work")
        },
        is_whole: true,
        ..NOTHING
    });
}

/// Each message by its mailbox and UID.
fn places(state: &State) -> Vec<(&str, u32, &str)> {
    let each = state.iter().flat_map(|(mailbox, (_, _, messages))| {
        messages.iter().map(move |(uid, text, _)| (mailbox.as_str(), *uid, text.as_str()))
    });
    each.collect()
}

#[test]
fn a_move_that_fails_leaves_all_where_it_was() {
    let within: fn(&Arc<Store>) -> Result<(), StoreError> = |store| {
        let (inbox, trash) = open_both(store, "Trash")?;
        inbox.move_to(&inbox.snapshot().uids().to_vec(), &trash).map(|_| ())
    };
    for act in [within, |store: &Arc<Store>| transfer(store, true)] {
        for step in 0.. {
            let dir = fast_dir();
            begin(dir.path());
            let before = state(dir.path());
            fault::once(step);
            let result = Store::open(dir.path()).and_then(|store| act(&store));
            let struck = fault::has_struck();
            fault::after(None);
            let after = state(dir.path());
            assert!(result.is_ok() || places(&after) == places(&before), "step {step}: {after:?}");
            if !struck {
                result.unwrap();
                break;
            }
        }
    }
}
