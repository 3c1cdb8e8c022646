//! What is kept of the directory in memory holds only as long as nobody has changed anything, in whatever process.

use std::process::Command;

use super::*;

/// A change, and whom mail of eve@example.net for bob reaches afterwards.
type Change = (&'static str, fn(&Directory), fn(&Resolution) -> bool);

fn bob() -> Address {
    address("bob@example.org")
}

fn refuses_eve(account: Option<Address>) -> Refusal {
    Refusal { account, sender: pattern("eve@example.net") }
}

const fn is_ours(resolution: &Resolution) -> bool {
    matches!(resolution, Resolution::Ours(_))
}

/// Each is made by a process of its own, while this one has in memory how it was before.
const CHANGES: [Change; 12] = [
    ("no mail", |it| it.set_receives(&bob(), false).unwrap(), |to| *to == Resolution::Disabled),
    ("mail again", |it| it.set_receives(&bob(), true).unwrap(), is_ours),
    (
        "bob refuses",
        |it| it.refuse(&refuses_eve(Some(bob()))).unwrap(),
        |to| *to == Resolution::SenderRefused,
    ),
    ("bob does not", |it| it.stop_refusing(&refuses_eve(Some(bob()))).unwrap(), is_ours),
    ("all refuse", |it| it.refuse(&refuses_eve(None)).unwrap(), |to| *to == Resolution::SenderRefused),
    ("not all", |it| it.stop_refusing(&refuses_eve(None)).unwrap(), is_ours),
    (
        "a forward",
        |it| {
            let targets = vec![address("bob@example.com")];
            it.set_forwarding(&bob(), &Forwarding { targets, keeps_copy: false }).unwrap();
        },
        |to| matches!(to, Resolution::Ours(Reached { accounts, .. }) if accounts.is_empty()),
    ),
    (
        "a copy",
        |it| {
            let targets = vec![address("bob@example.com")];
            it.set_forwarding(&bob(), &Forwarding { targets, keeps_copy: true }).unwrap();
        },
        |to| matches!(to, Resolution::Ours(Reached { accounts, .. }) if accounts.len() == 1),
    ),
    ("no account", |it| it.remove_account(&bob()).unwrap(), |to| *to == Resolution::UnknownUser),
    ("an account", |it| it.add_account(&bob(), &secret("new")).unwrap(), is_ours),
    ("none again", |it| it.remove_account(&bob()).unwrap(), |to| *to == Resolution::UnknownUser),
    (
        "no domain",
        |it| {
            for alias in ["info", "out"] {
                it.remove_alias(&pattern(&format!("{alias}@example.org"))).unwrap();
            }
            it.remove_account(&address("carol@example.org")).unwrap();
            it.remove_domain(&"example.org".parse().unwrap()).unwrap();
        },
        |to| *to == Resolution::Foreign,
    ),
];

fn memory(directory: &Directory) -> Option<LocalRecipient> {
    directory.in_memory().unwrap().plain_account(&bob(), Quota::default())
}

/// Where another process finds the directory, and which change it is to make.
const ORDER: &str = "MAILSTEAD_TEST_CHANGE";

#[test]
fn a_change_by_another_process_counts_at_once() {
    if let Ok(order) = std::env::var(ORDER) {
        let (number, file) = order.split_once(' ').unwrap();
        let (_, change, _) = CHANGES[number.parse::<usize>().unwrap()];
        return change(&Directory::open(Path::new(file)).unwrap());
    }
    let Fixture { directory, folder } = fixture();
    let eve = address("eve@example.net");
    let look = || {
        let sender = Sender { address: Some(&eve), ..Sender::default() };
        directory.resolve(&bob(), sender, Some('+')).unwrap()
    };
    assert!(is_ours(&look()) && is_ours(&look()));
    assert_eq!(memory(&directory), Some(bob().into()));
    for (number, (name, _, expected)) in CHANGES.iter().enumerate() {
        let order = format!("{number} {}", folder.path().join("directory.sqlite").display());
        let mut other = Command::new(std::env::current_exe().unwrap());
        let done = other
            .args(["--exact", "tests::moments::a_change_by_another_process_counts_at_once"])
            .env(ORDER, order)
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {done:?}");
        assert!(memory(&directory).is_none(), "{name}: nothing is in memory that may have changed");
        assert!(expected(&look()), "{name}: {:?}", look());
        let plain = memory(&directory).map(|bob| Reached { accounts: vec![bob], ..Reached::default() });
        assert!(plain.is_none_or(|reached| look() == Resolution::Ours(reached)), "{name}");
        assert!(expected(&look()), "{name}, from memory");
    }
}

#[test]
fn the_quota_is_that_which_was_set_last() {
    let Fixture { directory, folder } = fixture();
    let other = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    for messages in [5, 6, 7] {
        let setting = QuotaSetting { messages: Limit::AtMost(messages), ..QuotaSetting::default() };
        other.set_quota(&bob(), setting).unwrap();
        let quota = directory.moment().unwrap().quota(&bob(), Quota::default()).unwrap();
        assert_eq!(quota.messages, Some(messages));
        assert_eq!(directory.quota(&bob(), Quota::default()).unwrap(), quota);
        assert_eq!(memory(&directory), None, "who has a quota may be full");
    }
}

#[test]
fn what_is_told_from_memory_is_what_the_directory_says() {
    let Fixture { directory, .. } = fixture();
    let tell = |text: &str| directory.in_memory().unwrap().plain_account(&address(text), Quota::default());
    assert_eq!(tell("bob@example.org"), None, "nobody has asked yet");
    let eve = address("eve@example.net");
    let names =
        ["Bob@example.org", "carol@Example.org", "bob+x@example.org", "info@example.org", "no@example.org"];
    for name in names.into_iter().chain(["postmaster@example.org", "bob@example.net"]) {
        let sender = Sender { address: Some(&eve), ..Sender::default() };
        let resolution = directory.resolve(&address(name), sender, Some('+')).unwrap();
        if let Some(account) = tell(name) {
            let reached = Reached { accounts: vec![account], ..Reached::default() };
            assert_eq!(resolution, Resolution::Ours(reached), "{name}");
        }
    }
    assert!(["BOB@example.org", "carol@example.org"].iter().all(|name| tell(name).is_some()));
    let foreign = |text: &str| directory.in_memory().unwrap().is_foreign(&address(text));
    assert!(foreign("bob@example.net") && !foreign("no@example.org"));
    directory.add_domain(&"example.net".parse().unwrap()).unwrap();
    assert!(!foreign("bob@example.net"), "it is ours from now on");
    let limited = Quota { messages: Some(5), ..Quota::default() };
    let told = directory.in_memory().unwrap().plain_account(&bob(), limited);
    assert_eq!(told, None, "who has a quota may be full");
}
