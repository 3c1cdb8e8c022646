use super::*;

struct Fixture {
    directory: Directory,
    folder: tempfile::TempDir,
}

fn address(text: &str) -> Address {
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
        .add_alias(&address("info@example.org"), &["bob@example.org", "carol@example.org"].map(address))
        .unwrap();
    directory
        .add_alias(&address("out@example.org"), &["info@example.org", "x@example.net"].map(address))
        .unwrap();
    Fixture { directory, folder }
}

#[track_caller]
fn check(directory: &Directory, recipient: &str, accounts: &[&str], remote: &[&str]) {
    let list = |addresses: &[&str]| addresses.iter().map(|text| address(text)).collect::<Vec<_>>();
    let expected = Resolution::Ours { accounts: list(accounts), remote: list(remote) };
    assert_eq!(directory.resolve(&address(recipient), Some('+')).unwrap(), expected);
}

#[test]
fn mail_reaches_accounts_and_what_aliases_lead_to_each_once() {
    let Fixture { directory, .. } = fixture();
    check(&directory, "BOB@Example.org", &["bob@example.org"], &[]);
    check(&directory, "bob+lists@example.org", &["bob@example.org"], &[]);
    check(&directory, "info@example.org", &["bob@example.org", "carol@example.org"], &[]);
    check(&directory, "out@example.org", &["bob@example.org", "carol@example.org"], &["x@example.net"]);
    check(&directory, "Postmaster@example.org", &["bob@example.org"], &[]);
    let resolve = |text: &str| directory.resolve(&address(text), Some('+')).unwrap();
    assert_eq!(resolve("nobody@example.org"), Resolution::UnknownUser);
    assert_eq!(resolve("bob@example.net"), Resolution::Foreign);
}

#[test]
fn an_alias_must_not_lead_back_to_itself() {
    let Fixture { directory, .. } = fixture();
    let refused = directory.add_alias(&address("info@example.org"), &[address("out@example.org")]);
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
    assert_eq!(directory.resolve(&address("bob@example.org"), None).unwrap(), Resolution::UnknownUser);
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
