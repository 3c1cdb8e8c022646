use super::*;
use mail_types::{LocalRecipient, Quota};

struct Fixture {
    directory: Directory,
    folder: tempfile::TempDir,
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn pattern(text: &str) -> AddressPattern {
    text.parse().unwrap()
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// example.org with bob and carol, the aliases info (both) and out (elsewhere).
fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    directory.add_domain(&"example.org".parse().unwrap()).unwrap();
    directory.add_account(&address("Bob@example.org"), &secret("bob's")).unwrap();
    directory.add_account(&address("carol@example.org"), &secret("carol's")).unwrap();
    directory
        .add_alias(&pattern("info@example.org"), &["bob@example.org", "carol@example.org"].map(address))
        .unwrap();
    directory
        .add_alias(&pattern("out@example.org"), &["info@example.org", "x@example.net"].map(address))
        .unwrap();
    Fixture { directory, folder }
}

#[track_caller]
fn check(directory: &Directory, recipient: &str, accounts: &[&str], remote: &[&str]) {
    let list = |addresses: &[&str]| addresses.iter().map(|text| address(text)).collect::<Vec<_>>();
    let Resolution::Ours(reached) =
        directory.resolve(&address(recipient), Sender::default(), Some('+')).unwrap()
    else {
        panic!("{recipient} reaches nobody");
    };
    let addresses: Vec<Address> = reached.accounts.iter().map(|it| it.address(Some('+'))).collect();
    let elsewhere = reached.forwards.iter().flat_map(|it| it.targets.clone()).chain(reached.remote);
    assert_eq!((addresses, elsewhere.collect()), (list(accounts), list(remote)), "{recipient}");
}

#[test]
fn mail_reaches_accounts_and_what_aliases_lead_to_each_once() {
    let Fixture { directory, .. } = fixture();
    check(&directory, "BOB@Example.org", &["bob@example.org"], &[]);
    check(&directory, "bob+Lists@example.org", &["bob+Lists@example.org"], &[]);
    check(&directory, "bob+@example.org", &["bob@example.org"], &[]);
    check(&directory, "info+x@example.org", &["bob@example.org", "carol@example.org"], &[]);
    directory.add_alias(&pattern("shop@example.org"), &[address("bob+Shop@example.org")]).unwrap();
    check(&directory, "shop@example.org", &["bob+shop@example.org"], &[]);
    check(&directory, "info@example.org", &["bob@example.org", "carol@example.org"], &[]);
    check(&directory, "out@example.org", &["bob@example.org", "carol@example.org"], &["x@example.net"]);
    check(&directory, "Postmaster@example.org", &["bob@example.org"], &[]);
    let resolve = |text: &str| directory.resolve(&address(text), Sender::default(), Some('+')).unwrap();
    assert_eq!(resolve("nobody@example.org"), Resolution::UnknownUser);
    assert_eq!(resolve("bob@example.net"), Resolution::Foreign);
}

#[test]
fn some_targets_of_an_alias_are_removed_and_with_the_last_the_alias() {
    let Fixture { directory, .. } = fixture();
    let info = pattern("info@example.org");
    let remove = |targets: &[&str]| {
        let targets: Vec<Address> = targets.iter().map(|it| address(it)).collect();
        directory.remove_targets(&info, &targets)
    };
    let refused = remove(&["bob@example.org", "dave@example.org"]).unwrap_err().to_string();
    assert_eq!(
        refused,
        "info@example.org does not go to dave@example.org: it goes to bob@example.org, carol@example.org"
    );
    check(&directory, "info@example.org", &["bob@example.org", "carol@example.org"], &[]);
    assert_eq!(remove(&["BOB@example.org"]).unwrap(), [address("carol@example.org")]);
    check(&directory, "info@example.org", &["carol@example.org"], &[]);
    assert_eq!(remove(&["carol@example.org"]).unwrap(), []);
    assert!(matches!(remove(&["carol@example.org"]), Err(DirectoryError::NotFound(_))));
}

/// The local part of a foreign address is its host's affair: RFC 5321 §2.4.
#[test]
fn a_foreign_target_is_removed_as_it_was_given_or_in_any_case() {
    let Fixture { directory, .. } = fixture();
    let out = pattern("out@example.org");
    directory.add_alias(&out, &[address("X@example.net"), address("Y@example.net")]).unwrap();
    let left = directory.remove_targets(&out, &[address("X@example.net"), address("y@example.net")]).unwrap();
    assert_eq!(left, ["info@example.org", "x@example.net"].map(address));
}

#[test]
fn an_alias_must_not_lead_back_to_itself() {
    let Fixture { directory, .. } = fixture();
    let refused = directory.add_alias(&pattern("info@example.org"), &[address("out@example.org")]);
    assert!(matches!(refused, Err(DirectoryError::Refused(_))), "{refused:?}");
}

#[test]
fn a_password_opens_its_account_only() {
    let Fixture { directory, .. } = fixture();
    let open = |name: &str, password: &str| directory.authenticate(name, &secret(password)).unwrap();
    assert_eq!(open("BOB@example.org", "bob's"), Some(address("bob@example.org")));
    assert_eq!(open("bob", "bob's"), Some(address("bob@example.org")), "there is one domain");
    assert_eq!(open("bob@example.org", "carol's"), None);
    assert_eq!(open("nobody@example.org", "bob's"), None);
    assert_eq!(open("info@example.org", ""), None);
}

#[test]
fn a_change_by_another_process_is_seen_at_once() {
    let Fixture { directory, folder } = fixture();
    let other = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    assert!(directory.authenticate("bob", &secret("bob's")).unwrap().is_some());
    other.set_password(&address("bob@example.org"), &secret("new")).unwrap();
    assert!(directory.authenticate("bob", &secret("bob's")).unwrap().is_none());
    assert!(directory.authenticate("bob", &secret("new")).unwrap().is_some());
    other.remove_account(&address("bob@example.org")).unwrap();
    assert_eq!(
        directory.resolve(&address("bob@example.org"), Sender::default(), None).unwrap(),
        Resolution::UnknownUser
    );
}

#[test]
fn one_sends_as_oneself_and_as_ones_aliases() {
    let Fixture { directory, .. } = fixture();
    let may =
        |from: &str| directory.may_send_as(&address("bob@example.org"), &address(from), Some('+')).unwrap();
    for own in [
        "bob@example.org",
        "Bob@example.org",
        "bob+shop@example.org",
        "info@example.org",
        "postmaster@example.org",
    ] {
        assert!(may(own), "{own}");
    }
    for foreign in ["carol@example.org", "nobody@example.org", "bob@example.net"] {
        assert!(!may(foreign), "{foreign}");
    }
}

#[test]
fn names_are_taken_once_and_in_local_domains_only() {
    let Fixture { directory, .. } = fixture();
    let add = |name: &str| directory.add_account(&address(name), &secret("x"));
    assert!(matches!(add("bob@example.org"), Err(DirectoryError::Exists(_))));
    assert!(matches!(add("info@example.org"), Err(DirectoryError::Exists(_))));
    assert!(matches!(add("bob@example.net"), Err(DirectoryError::NotFound(_))));
    assert!(matches!(
        directory.remove_domain(&"example.org".parse().unwrap()),
        Err(DirectoryError::Refused(_))
    ));
    assert_eq!(directory.aliases().unwrap().len(), 2);
    assert_eq!(directory.accounts().unwrap().len(), 2);
}

#[test]
fn case_and_the_form_of_a_domain_make_no_difference() {
    let Fixture { directory, .. } = fixture();
    directory.add_domain(&"Bücher.example".parse().unwrap()).unwrap();
    assert!(matches!(
        directory.add_domain(&"xn--bcher-kva.EXAMPLE".parse().unwrap()),
        Err(DirectoryError::Exists(_))
    ));
    directory.add_account(&address("JOSÉ@xn--bcher-kva.example"), &secret("j")).unwrap();
    for form in ["josé@bücher.example", "José@BÜCHER.example", "JOSÉ@XN--BCHER-KVA.example."] {
        check(&directory, form, &["josé@bücher.example"], &[]);
    }
    check(&directory, "JOSÉ+x@xn--bcher-kva.example", &["josé+x@bücher.example"], &[]);
    let opened = directory.authenticate("José@xn--bcher-kva.example", &secret("j")).unwrap();
    assert_eq!(opened, Some(address("josé@bücher.example")));
    assert_eq!(directory.authenticate("bob", &secret("bob's")).unwrap(), None, "there are two domains");
}

#[test]
fn a_target_in_a_domain_that_becomes_ours_later_is_found_whatever_its_case() {
    let Fixture { directory, .. } = fixture();
    directory.add_alias(&pattern("dave@example.org"), &[address("Dave@example.net")]).unwrap();
    check(&directory, "dave@example.org", &[], &["Dave@example.net"]);
    directory.add_domain(&"example.net".parse().unwrap()).unwrap();
    directory.add_account(&address("dave@example.net"), &secret("d")).unwrap();
    check(&directory, "dave@example.org", &["dave@example.net"], &[]);
}

#[test]
fn postmaster_is_reached_in_every_domain_as_soon_as_there_is_an_account() {
    let Fixture { directory, .. } = fixture();
    directory.add_domain(&"empty.example".parse().unwrap()).unwrap();
    check(&directory, "POSTMASTER@empty.example", &["bob@example.org"], &[]);
    directory.add_alias(&pattern("postmaster@empty.example"), &[address("carol@example.org")]).unwrap();
    check(&directory, "postmaster@empty.example", &["carol@example.org"], &[]);
    assert_eq!(directory.postmaster().unwrap(), Some(address("postmaster@empty.example")));
}

#[test]
fn a_loop_through_details_ends() {
    let Fixture { directory, .. } = fixture();
    let add = |alias: &str, target: &str| directory.add_alias(&pattern(alias), &[address(target)]);
    add("a@example.org", "b+1@example.org").unwrap();
    add("b@example.org", "a+1@example.org").unwrap();
    let resolved = directory.resolve(&address("a@example.org"), Sender::default(), Some('+')).unwrap();
    assert_eq!(resolved, Resolution::UnknownUser);
    add("b@example.org", "carol@example.org").unwrap();
    check(&directory, "a@example.org", &["carol@example.org"], &[]);
}

/// Ten levels of ten aliases, each of which leads to all of the next level: 10^10 ways to bob.
#[test]
fn aliases_are_followed_once_however_many_ways_lead_to_them() {
    let Fixture { directory, .. } = fixture();
    let level =
        |level: u32| (0..10).map(|n| address(&format!("{level}.{n}@example.org"))).collect::<Vec<_>>();
    for number in (0..9).rev() {
        let targets = if number == 8 { vec![address("bob@example.org")] } else { level(number + 1) };
        for alias in level(number) {
            directory.database.add_targets(&alias.to_string(), "example.org", &as_text(&targets)).unwrap();
        }
    }
    check(&directory, "0.0@example.org", &["bob@example.org"], &[]);
    assert!(directory.add_alias(&pattern("8.0@example.org"), &[address("0.0@example.org")]).is_err());
    assert!(directory.add_alias(&pattern("new@example.org"), &[address("0.0@example.org")]).is_ok());
}

fn as_text(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_newer_format_is_not_touched() {
    let Fixture { directory, folder } = fixture();
    drop(directory);
    let path = folder.path().join("directory.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Directory::open(&path), Err(DirectoryError::NewerFormat { found: 99, .. })));
}

#[tokio::test]
async fn a_server_logs_in_who_knows_the_password() {
    let Fixture { directory, .. } = fixture();
    let directory = std::sync::Arc::new(directory);
    let open =
        async |name: &str, password: &str| directory.log_in(name.to_owned(), secret(password)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(open("BOB@example.org", "bob's").await, Some(address("bob@example.org")));
        assert_eq!(open("bob", "carol's").await, None);
    }
    directory.set_password(&address("bob@example.org"), &secret("new")).unwrap();
    assert_eq!(open("bob", "bob's").await, None);
    assert_eq!(open("bob", "new").await, Some(address("bob@example.org")));
    assert_eq!(open("nobody", "x").await, None);
}

#[test]
fn a_flood_of_logins_takes_no_thread_from_others_and_holds_up_nobody_who_is_remembered() {
    const FLOOD: usize = 20;
    let Fixture { directory, folder } = fixture();
    let directory = std::sync::Arc::new(directory);
    let threads = login::at_once() + 1;
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(threads).build().unwrap();
    runtime.block_on(async {
        directory.log_in("bob".to_owned(), secret("bob's")).await.unwrap();
        let mut flood = tokio::task::JoinSet::new();
        for number in 0..FLOOD {
            let directory = std::sync::Arc::clone(&directory);
            flood.spawn(async move { directory.log_in("bob".to_owned(), secret(&number.to_string())).await });
        }
        // Now all of them want to have their password verified.
        assert_eq!(flood.join_next().await.unwrap().unwrap().unwrap(), None);
        assert!(directory.log_in("bob".to_owned(), secret("bob's")).await.unwrap().is_some());
        let mut refused = 1;
        while let Some(Ok(Ok(None))) = flood.try_join_next() {
            refused += 1;
        }
        assert!(refused < FLOOD / 2, "{refused} came first");
        while let Some(answer) = flood.join_next().await {
            assert_eq!(answer.unwrap().unwrap(), None);
        }
    });
    drop(folder);
}

#[test]
fn an_alias_that_leads_to_a_whole_town_is_an_error_and_no_silent_loss() {
    let Fixture { directory, .. } = fixture();
    let town: Vec<_> = (0..MAX_REACHED).map(|n| address(&format!("{n}@example.net"))).collect();
    directory.add_alias(&pattern("town@example.org"), &town[1..]).unwrap();
    assert!(directory.resolve(&address("town@example.org"), Sender::default(), None).is_ok());
    directory.add_alias(&pattern("town@example.org"), &town[..1]).unwrap();
    let refused = directory.resolve(&address("town@example.org"), Sender::default(), None);
    assert!(matches!(refused, Err(DirectoryError::LeadsTooFar(_))), "{refused:?}");
}

#[test]
fn an_account_has_the_quota_of_the_config_until_it_gets_its_own() {
    let Fixture { directory, folder } = fixture();
    let (bob, default) = (address("bob@example.org"), Quota { storage: Some(100), messages: Some(7) });
    assert_eq!(directory.quota(&bob, default).unwrap(), default);
    let setting = QuotaSetting { storage: Limit::AtMost(5 << 30), messages: Limit::Unlimited };
    directory.set_quota(&address("BOB@example.org"), setting).unwrap();
    let other_process = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    let own = Quota { storage: Some(5 << 30), messages: None };
    assert_eq!(other_process.quota(&bob, default).unwrap(), own);
    assert_eq!(other_process.quota(&address("carol@example.org"), default).unwrap(), default);
    directory.set_quota(&bob, QuotaSetting::default()).unwrap();
    assert_eq!(other_process.quota_setting(&bob).unwrap(), QuotaSetting::default());
    let nobody = directory.set_quota(&address("nobody@example.org"), setting);
    assert!(matches!(nobody, Err(DirectoryError::NotFound(_))));
}

#[test]
fn a_directory_of_the_first_format_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.sqlite");
    let old = rusqlite::Connection::open(&path).unwrap();
    let made = "CREATE TABLE domain (name TEXT PRIMARY KEY) STRICT;
        CREATE TABLE account (
            address TEXT PRIMARY KEY,
            domain TEXT NOT NULL REFERENCES domain (name),
            password TEXT NOT NULL,
            created INTEGER NOT NULL DEFAULT (unixepoch())
        ) STRICT;
        INSERT INTO domain VALUES ('example.org');
        INSERT INTO account (address, domain, password) VALUES ('bob@example.org', 'example.org', 'x');
        PRAGMA user_version = 1;";
    old.execute_batch(made).unwrap();
    let directory = Directory::open(&path).unwrap();
    assert_eq!(directory.quota_setting(&address("bob@example.org")).unwrap(), QuotaSetting::default());
}

/// A directory as the version before SCRAM left it.
fn of_format_2() -> Fixture {
    let Fixture { directory, folder } = fixture();
    drop(directory);
    let file = folder.path().join("directory.sqlite");
    let older = "ALTER TABLE account DROP COLUMN receives; DROP TABLE refusal;
        ALTER TABLE account DROP COLUMN keeps_copy;
        DROP TABLE forward; DROP TABLE member; DROP TABLE poster; DROP TABLE list;
        ALTER TABLE account DROP COLUMN scram; DROP TABLE secret; PRAGMA user_version = 2;";
    rusqlite::Connection::open(&file).unwrap().execute_batch(older).unwrap();
    Fixture { directory: Directory::open(&file).unwrap(), folder }
}

/// With one thread for what blocks, what a login left to be done is done before the next question is answered.
fn in_order<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(work)
}

#[test]
fn an_older_password_gets_its_keys_for_scram_at_the_next_login() {
    let Fixture { directory, folder } = of_format_2();
    let directory = std::sync::Arc::new(directory);
    let log_in = async |password: &str| directory.log_in("bob".to_owned(), secret(password)).await.unwrap();
    let claim = async |name: &str| directory.scram_claim(name.to_owned()).await.unwrap();
    in_order(async {
        assert!(log_in("guess").await.is_none());
        assert!(claim("bob").await.account.is_none(), "a wrong password has no keys");
        assert!(log_in("bob's").await.is_some());
        let made = claim("bob").await;
        assert!(made.account.is_some() && made.keys.are_of("bob's"));
        assert!(claim("carol").await.account.is_none(), "she did not log in");
        // Once: another process, which remembers no password, finds the keys and leaves them.
        let other = std::sync::Arc::new(Directory::open(&folder.path().join("directory.sqlite")).unwrap());
        assert!(other.log_in("bob".to_owned(), secret("bob's")).await.unwrap().is_some());
        let same = other.scram_claim("bob".to_owned()).await.unwrap();
        assert_eq!(same.keys, made.keys);
    });
}

#[test]
fn keys_of_a_password_that_was_changed_meanwhile_are_not_kept() {
    let Fixture { directory, .. } = of_format_2();
    let (bob, old) = (address("bob@example.org"), directory.database.password("bob@example.org").unwrap());
    let (old, has_keys) = old.unwrap();
    assert!(!has_keys);
    directory.set_password(&bob, &secret("new")).unwrap();
    directory.complete_keys(&bob, &old, &secret("bob's"));
    let keys = directory.database.scram("bob@example.org").unwrap().unwrap();
    assert!(keys.parse::<ScramKeys>().unwrap().are_of("new"));
}

/// RFC 4013 §2.3: a password with a character of which nobody can say how it is written.
#[test]
fn a_password_that_can_have_no_keys_still_opens_the_account() {
    let Fixture { directory, .. } = of_format_2();
    let directory = std::sync::Arc::new(directory);
    let odd = "\u{7}bell";
    directory.set_password(&address("bob@example.org"), &secret(odd)).unwrap();
    in_order(async {
        assert!(directory.log_in("bob".to_owned(), secret(odd)).await.unwrap().is_some());
        assert!(directory.scram_claim("bob".to_owned()).await.unwrap().account.is_none());
    });
}

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
