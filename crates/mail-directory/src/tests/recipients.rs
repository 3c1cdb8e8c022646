//! Catch-alls, refusals, forwards, lists and rights to send.

use super::*;

fn resolution(directory: &Directory, recipient: &str, sender: &str) -> Resolution {
    let sender = Some(sender).filter(|it| !it.is_empty()).map(address);
    let sender = Sender { address: sender.as_ref(), standing: Standing::Ours };
    directory.resolve(&address(recipient), sender, Some('+')).unwrap()
}

#[test]
fn a_catch_all_takes_what_nothing_else_takes() {
    let Fixture { directory, .. } = fixture();
    directory.add_alias(&pattern("@example.org"), &[address("carol@example.org")]).unwrap();
    check(&directory, "bob@example.org", &["bob@example.org"], &[]);
    check(&directory, "bob+x@example.org", &["bob+x@example.org"], &[]);
    check(&directory, "whoever@example.org", &["carol@example.org"], &[]);
    check(&directory, "abuse@example.org", &["carol@example.org"], &[]);
    assert_eq!(resolution(&directory, "whoever@example.net", ""), Resolution::Foreign);
    let may = |account: &str, from: &str| {
        directory.may_send_as(&address(account), &address(from), Some('+')).unwrap()
    };
    assert!(may("carol@example.org", "whoever@example.org"), "answers to what came by it");
    assert!(!may("carol@example.org", "bob@example.org") && !may("bob@example.org", "whoever@example.org"));
    assert!(directory.accounts_of(&address("whoever@example.org")).unwrap().is_empty());
    // What leads nowhere ends.
    directory.add_alias(&pattern("@example.org"), &[address("nobody@example.org")]).unwrap();
    check(&directory, "other@example.org", &["carol@example.org"], &[]);
    assert_eq!(directory.remove_alias(&pattern("@Example.org")).ok(), Some(()));
    assert_eq!(resolution(&directory, "whoever@example.org", ""), Resolution::UnknownUser);
}

#[test]
fn who_is_refused_by_one_still_reaches_the_others() {
    let Fixture { directory, .. } = fixture();
    let by_bob = Refusal { account: Some(address("Bob@example.org")), sender: pattern("Eve@example.net") };
    let by_all = Refusal { account: None, sender: pattern("@spam.test") };
    [&by_bob, &by_all].into_iter().for_each(|refusal| directory.refuse(refusal).unwrap());
    assert!(matches!(directory.refuse(&by_bob), Err(DirectoryError::Exists(_))));
    let refused = |recipient: &str, sender: &str| {
        resolution(&directory, recipient, sender) == Resolution::SenderRefused
    };
    assert!(refused("bob@example.org", "eve@Example.net") && refused("bob+x@example.org", "EVE@example.net"));
    assert!(refused("carol@example.org", "x@a.spam.test") && refused("nobody@example.org", "x@spam.test"));
    assert!(!refused("bob@example.org", "other@example.net") && !refused("bob@example.org", ""));
    assert!(!refused("postmaster@example.org", "x@spam.test"));
    let Resolution::Ours(reached) = resolution(&directory, "info@example.org", "eve@example.net") else {
        panic!("carol refuses nobody");
    };
    assert_eq!(reached.accounts, [LocalRecipient::from(address("carol@example.org"))]);
    assert_eq!(directory.refusals().unwrap().len(), 2);
    directory.stop_refusing(&by_all).unwrap();
    assert!(!refused("carol@example.org", "x@spam.test"));
    directory.remove_account(&address("bob@example.org")).unwrap();
    assert_eq!(directory.refusals().unwrap(), []);
}

#[test]
fn an_account_that_takes_no_mail_is_told_from_one_that_is_not_there() {
    let Fixture { directory, .. } = fixture();
    let (bob, carol) = (address("bob@example.org"), address("carol@example.org"));
    directory.set_receives(&address("BOB@example.org"), false).unwrap();
    assert_eq!(resolution(&directory, "bob+x@example.org", ""), Resolution::Disabled);
    check(&directory, "info@example.org", &["carol@example.org"], &[]);
    check(&directory, "postmaster@example.org", &["carol@example.org"], &[]);
    assert!(directory.may_send_as(&bob, &bob, None).unwrap(), "it still sends");
    directory.set_receives(&carol, false).unwrap();
    assert_eq!(resolution(&directory, "info@example.org", ""), Resolution::Disabled);
    assert!(matches!(resolution(&directory, "postmaster@example.org", ""), Resolution::Ours(_)));
    assert!(matches!(directory.receives(&address("eve@example.org")), Err(DirectoryError::NotFound(_))));
}

fn forwards(directory: &Directory, recipient: &str, sender: &str) -> Vec<String> {
    let Resolution::Ours(reached) = resolution(directory, recipient, sender) else { panic!("{recipient}") };
    let shown = |it: &Forward| {
        let sender =
            it.sender.as_ref().map(|it| it.local_part().split('=').next().unwrap_or_default().to_owned());
        let targets: Vec<String> = it.targets.iter().map(ToString::to_string).collect();
        format!("{} via {} to {}", sender.unwrap_or_default(), it.via, targets.join(" "))
    };
    let accounts = reached.accounts.iter().map(|it| it.account.to_string());
    reached.forwards.iter().map(shown).chain(accounts).collect()
}

fn with_srs(Fixture { directory, folder }: Fixture) -> Fixture {
    let key = folder.path().join("srs.key");
    let srs = Srs::open(&key, std::time::Duration::from_secs(21 * 24 * 3600)).unwrap();
    Fixture { directory: directory.with_srs(Some(srs)), folder }
}

#[test]
fn mail_goes_on_from_accounts_with_a_copy_or_without() {
    let Fixture { directory, folder: _folder } = with_srs(fixture());
    let bob = address("bob@example.org");
    let set = |account: &Address, targets: &[&str], keeps_copy| {
        let targets = targets.iter().map(|it| address(it)).collect();
        directory.set_forwarding(account, &Forwarding { targets, keeps_copy })
    };
    set(&bob, &["Bob@example.net", "carol@example.org"], true).unwrap();
    let from = |recipient: &str, sender: &str| forwards(&directory, recipient, sender);
    let both = "SRS0 via bob@example.org to Bob@example.net";
    assert_eq!(from("bob@example.org", "eve@example.com"), [both, "bob@example.org", "carol@example.org"]);
    assert_eq!(from("bob@example.org", "")[0], " via bob@example.org to Bob@example.net");
    assert_eq!(
        from("bob@example.org", "carol@example.org")[0],
        "carol via bob@example.org to Bob@example.net"
    );
    set(&bob, &["Bob@example.net"], false).unwrap();
    assert_eq!(from("bob+x@example.org", "eve@example.com"), [both]);
    let carol = address("carol@example.org");
    assert!(!directory.may_send_as(&carol, &bob, None).unwrap(), "who gets one's mail is not one");
    set(&bob, &["carol@example.org"], false).unwrap();
    assert_eq!(from("bob@example.org", ""), ["carol@example.org"]);
    // Round and round, to nobody, to who takes nothing.
    set(&carol, &["bob@example.org"], false).unwrap();
    assert_eq!(from("bob@example.org", ""), ["carol@example.org"]);
    set(&carol, &["nobody@example.org"], false).unwrap();
    assert_eq!(from("carol@example.org", ""), ["carol@example.org"]);
    set(&carol, &[], false).unwrap();
    directory.set_receives(&carol, false).unwrap();
    assert_eq!(from("bob@example.org", ""), ["bob@example.org"]);
    assert!(matches!(set(&bob, &["BOB@example.org"], true), Err(DirectoryError::Refused(_))));
}

#[test]
fn a_report_to_a_return_address_reaches_the_sender_and_nothing_else_does() {
    let Fixture { directory, folder: _folder } = with_srs(fixture());
    directory
        .set_forwarding(
            &address("bob@example.org"),
            &Forwarding { targets: vec![address("bob@example.net")], keeps_copy: false },
        )
        .unwrap();
    directory.add_alias(&pattern("@example.org"), &[address("carol@example.org")]).unwrap();
    let Resolution::Ours(reached) = resolution(&directory, "bob@example.org", "Eve@example.com") else {
        panic!()
    };
    let back = reached.forwards[0].sender.as_ref().unwrap().to_string();
    let Resolution::Ours(reached) = resolution(&directory, &back, "") else { panic!("{back}") };
    assert_eq!((reached.remote, reached.accounts), (vec![address("Eve@example.com")], vec![]));
    assert_eq!(resolution(&directory, &back, "x@example.net"), Resolution::NoReturn);
    let forged = back.replace("Eve", "Adam");
    assert_eq!(resolution(&directory, &forged, ""), Resolution::NoReturn, "no catch-all takes it either");
    assert!(!directory.may_send_as(&address("carol@example.org"), &address(&back), None).unwrap());
}

#[test]
fn a_list_lets_those_post_whom_it_knows() {
    let Fixture { directory, folder: _folder } = with_srs(fixture());
    let staff = address("staff@example.org");
    directory
        .add_list(&address("Staff@example.org"), &address("carol@example.org"), Posting::Members)
        .unwrap();
    assert_eq!(resolution(&directory, "staff@example.org", "bob@example.org"), Resolution::MayNotPost);
    directory.add_members(&staff, &["info@example.org", "Eve@example.net"].map(address)).unwrap();
    let post = |sender: &str, is_proven: bool| {
        let (address, staff) = (address(sender), staff.clone());
        let standing = if is_proven { Standing::Ours } else { Standing::Stranger };
        let sender = Sender { address: Some(&address), standing };
        let found = directory.resolve(&staff, sender, Some('+')).unwrap();
        if found == Resolution::MayNotPost {
            return None;
        }
        let Resolution::Ours(reached) = found else { panic!("{found:?}") };
        reached.forwards.first().cloned()
    };
    let sent = post("bob@example.org", true).unwrap();
    assert_eq!(sent.sender, Some(address("staff-bounces@example.org")));
    assert_eq!(sent.targets, ["Eve@example.net", "info@example.org"].map(address));
    assert_eq!(
        sent.fields(),
        "Delivered-To: staff@example.org\r\nList-Id: <staff.example.org>\r\n\
         List-Post: <mailto:staff@example.org>\r\nPrecedence: list\r\n"
    );
    assert!(post("eve@example.net", false).is_some(), "a member elsewhere");
    assert!(post("bob+x@example.org", true).is_some() && post("carol@example.org", true).is_some());
    assert!(post("bob@example.org", false).is_none(), "who only says so");
    assert!(post("mallory@example.net", true).is_none());
    assert_eq!(resolution(&directory, "staff@example.org", ""), Resolution::MayNotPost, "no report");
    directory.set_posters(&staff, &["@example.net", "News@example.com"].map(pattern)).unwrap();
    assert!(post("mallory@example.net", false).is_some() && post("news@example.com", false).is_some());
    directory.change_list(&staff, &address("carol@example.org"), Posting::Named).unwrap();
    assert!(post("bob@example.org", true).is_none() && post("carol@example.org", true).is_some());
    directory.change_list(&staff, &address("carol@example.org"), Posting::Anyone).unwrap();
    assert!(post("mallory@example.com", false).is_some());
    for other in ["staff-bounces@example.org", "Staff-Owner@example.org", "staff-request@example.org"] {
        check(&directory, other, &["carol@example.org"], &[]);
    }
    assert!(!directory.may_send_as(&address("bob@example.org"), &staff, None).unwrap());
    assert!(matches!(directory.add_account(&staff, &secret("x")), Err(DirectoryError::Exists(_))));
    assert!(matches!(
        directory.add_list(&address("bob@example.org"), &staff, Posting::Anyone),
        Err(DirectoryError::Exists(_))
    ));
    directory.remove_members(&staff, &[address("eve@EXAMPLE.net")]).unwrap();
    assert_eq!(directory.list(&staff).unwrap().unwrap().members, [address("info@example.org")]);
    directory.remove_list(&staff).unwrap();
    assert_eq!(resolution(&directory, "staff-owner@example.org", ""), Resolution::UnknownUser);
}

#[test]
fn one_sends_as_whom_one_was_given_the_right_to() {
    let Fixture { directory, .. } = fixture();
    let bob = address("bob@example.org");
    let may = |from: &str| directory.may_send_as(&bob, &address(from), Some('+')).unwrap();
    directory.set_send_rights(&bob, &["Carol@example.org", "@example.net"].map(pattern)).unwrap();
    assert!(may("carol@example.org") && may("CAROL@example.org") && may("Anybody@example.NET"));
    assert!(!may("carol+x@example.org") && !may("x@sub.example.net") && !may("dave@example.org"));
    assert_eq!(directory.send_rights(&bob).unwrap(), ["@example.net", "carol@example.org"].map(pattern));
    let carol = address("carol@example.org");
    assert!(!directory.may_send_as(&carol, &address("x@example.net"), None).unwrap(), "the right is bob's");
    directory.set_send_rights(&bob, &[]).unwrap();
    assert!(!may("carol@example.org") && !may("x@example.net"));
    assert!(matches!(directory.send_rights(&address("x@example.org")), Err(DirectoryError::NotFound(_))));
}
