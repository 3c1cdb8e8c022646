mod moments;
mod recipients;

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
    assert_eq!(directory.moment().unwrap().postmaster().unwrap(), Some(address("postmaster@empty.example")));
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
        ALTER TABLE account DROP COLUMN saves_sent; DROP TABLE send_right; ALTER TABLE account DROP COLUMN keeps_copy;
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
