use super::*;

fn config(max_connections: usize, per_address: usize) -> LimitsConfig {
    LimitsConfig {
        max_connections,
        max_connections_per_address: per_address,
        max_connections_per_network: 9,
        max_connections_per_account: 1,
        max_login_failures: 3,
        max_login_failures_per_address: 4,
        ban_time: Duration::from_secs(600),
        drain_timeout: Duration::from_secs(1),
        allow_plaintext_login: false,
        ..LimitsConfig::default()
    }
}

fn limits(max_connections: usize, per_address: usize) -> Arc<Limits> {
    Limits::new(&config(max_connections, per_address))
}

/// As a process that begins anew has them.
fn knowing(folder: &std::path::Path) -> Arc<Limits> {
    let places = Places::open(&folder.join("places.sqlite")).unwrap();
    Arc::new(Limits::with_places(&config(9, 9), places))
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

async fn fail(limits: &Limits, peer: &str, name: &str, times: usize) {
    for _ in 0..times {
        limits.login_failed(ip(peer), name).await;
    }
}

fn log_in(limits: &Arc<Limits>, peer: &str, account: &str) {
    assert!(limits.connect(ip(peer)).unwrap().login(&account.parse().unwrap()).is_some());
}

#[test]
fn a_closed_connection_makes_room_for_the_next() {
    let limits = limits(2, 1);
    let [first, second, third] =
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse::<IpAddr>().unwrap());
    let guard = limits.connect(first).unwrap();
    assert!(limits.connect(first).is_err(), "one for each address");
    let _second = limits.connect(second).unwrap();
    assert!(limits.connect(third).is_err(), "two in all");
    drop(guard);
    assert!(limits.connect(third).is_ok());
    assert_eq!(limits.open(), 1);
}

#[test]
fn a_crowd_begins_with_three_quarters_and_ends_below_the_half() {
    let limits = limits(8, 8);
    let is_crowd = || *limits.crowd.borrow();
    let connect = || limits.connect(ip("192.0.2.1")).unwrap();
    let mut open: Vec<_> = (0..5).map(|_| connect()).collect();
    assert!(!is_crowd());
    open.push(connect());
    assert!(is_crowd());
    open.truncate(4);
    assert!(is_crowd());
    open.truncate(3);
    assert!(!is_crowd());
}

#[test]
fn a_network_has_its_own_limit_and_who_is_ours_has_none() {
    let config = LimitsConfig { max_connections_per_network: 3, ..config(99, 2) };
    let ours = vec!["192.0.2.9/32".parse().unwrap()];
    let limits = Arc::new(Limits { exempt: ours, ..Limits::with_places(&config, Places::default()) });
    let connect = |addresses: &[&str]| -> Vec<_> {
        addresses.iter().filter_map(|address| limits.connect(ip(address)).ok()).collect()
    };
    let mut open = connect(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(limits.connect(ip("192.0.2.4")).unwrap_err(), TurnedAway::TooManyThere);
    assert_eq!(limits.connect(ip("::ffff:192.0.2.5")).unwrap_err(), TurnedAway::TooManyThere);
    open.extend(connect(&["192.0.3.4", "198.51.100.1", "192.0.2.9", "192.0.2.9", "127.0.0.1", "127.0.0.1"]));
    assert_eq!(open.len(), 9, "others, and who is exempt");
    let sites = connect(&["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:1:1::1"]);
    assert_eq!(sites.len(), 4);
    assert!(limits.connect(ip("2001:db8:0:4::1")).is_err());
    open.remove(0);
    assert!(limits.connect(ip("192.0.2.4")).is_ok(), "who leaves makes room");
    drop((open, sites));
    let counts = limits.counts();
    assert_eq!((counts.open, counts.by_address.len(), counts.by_network.len()), (0, 0, 0));
}

#[tokio::test]
async fn who_has_logged_in_counts_for_its_network_no_more() {
    let limits = Limits::new(&LimitsConfig { max_connections_per_network: 2, ..config(99, 2) });
    let [bob, alice] = ["bob@example.org", "alice@example.org"].map(|it| it.parse::<Address>().unwrap());
    let connect = |address| limits.connect(ip(address));
    let (mut first, second) = (connect("192.0.2.1").unwrap(), connect("192.0.2.2").unwrap());
    assert!(connect("192.0.2.3").is_err());
    let login = first.login(&bob).unwrap();
    let third = connect("192.0.2.3").unwrap();
    assert!(second.login(&bob).is_none(), "over the account's limit");
    assert!(first.login(&alice).is_some());
    assert!(connect("192.0.2.4").is_err(), "it is still a stranger's, and none is counted off twice");
    assert_eq!(first.reassign(ip("192.0.2.1")), Err(TurnedAway::TooManyThere), "as a stranger again");
    drop((login, first, second, third));
    let counts = limits.counts();
    assert_eq!((counts.by_address.len(), counts.by_network.len()), (0, 0));
}

#[tokio::test]
async fn whom_its_account_has_left_counts_for_its_network_again_if_there_is_room() {
    let limits = Limits::new(&LimitsConfig { max_connections_per_network: 2, ..config(99, 2) });
    let bob: Address = "bob@example.org".parse().unwrap();
    let connect = |address| limits.connect(ip(address));
    let (first, second) = (connect("192.0.2.1").unwrap(), connect("192.0.2.2").unwrap());
    drop(first.login(&bob));
    assert_eq!((first.logout(), first.logout()), (Ok(()), Ok(())), "once");
    assert!(connect("192.0.2.3").is_err());
    drop(first.login(&bob));
    let third = connect("192.0.2.3").unwrap();
    assert_eq!(first.logout(), Err(TurnedAway::TooManyThere));
    drop(third);
    assert_eq!(first.logout(), Ok(()));
    let here = connect("127.0.0.1").unwrap();
    drop(here.login(&bob));
    assert_eq!(here.logout(), Ok(()), "this machine has no limit");
    drop((first, second, here));
    assert!(limits.counts().by_network.is_empty());
}

#[test]
fn a_connection_does_not_compete_with_itself() {
    let limits = Limits::new(&LimitsConfig { max_connections_per_network: 1, ..config(99, 1) });
    let mut guard = limits.connect(ip("192.0.2.1")).unwrap();
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.2"] {
        assert_eq!(guard.reassign(ip(address)), Ok(()), "{address}");
        assert!(limits.connect(ip("192.0.2.3")).is_err(), "it is counted all the same");
    }
    assert!(limits.counts().by_address.contains_key(&ip("192.0.2.2")));
    drop(guard);
    let counts = limits.counts();
    assert_eq!((counts.by_address.len(), counts.by_network.len()), (0, 0));
}

#[test]
fn a_refused_connection_counts_nowhere() {
    let limits = Limits::new(&LimitsConfig { max_connections_per_network: 2, ..config(99, 1) });
    let open = [ip("192.0.2.1"), ip("192.0.2.2")].map(|peer| limits.connect(peer).unwrap());
    assert!(limits.connect(ip("192.0.2.3")).is_err() && limits.connect(ip("192.0.2.1")).is_err());
    assert_eq!(limits.counts().by_address.len(), 2);
    drop(open);
    assert!(limits.connect(ip("192.0.2.3")).is_ok() && limits.connect(ip("192.0.2.1")).is_ok());
}

#[tokio::test]
async fn a_connection_through_a_proxy_counts_for_its_client() {
    let limits = limits(3, 1);
    let [client, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse::<IpAddr>().unwrap());
    let mut guard = limits.connect_proxy().unwrap();
    guard.reassign(client).unwrap();
    assert!(limits.connect(client).is_err(), "one for each address");
    guard.reassign(other).unwrap();
    let second = limits.connect(client).unwrap();
    assert_eq!(guard.reassign(client), Err(TurnedAway::TooManyThere));
    assert!(limits.connect(other).is_err(), "it is still the other's");
    drop((guard, second));
    assert_eq!(limits.open(), 0);
    fail(&limits, "192.0.2.1", "bob", 4).await;
    let banned = limits.connect_proxy().unwrap().reassign(client);
    assert_eq!(banned, Err(TurnedAway::Banned), "whoever brings it");
    let _three = [(); 3].map(|()| limits.connect_proxy().unwrap());
    assert!(limits.connect_proxy().is_err(), "three in all");
}

#[test]
fn an_account_has_its_own_limit() {
    let limits = limits(9, 9);
    let guard = limits.connect("127.0.0.1".parse().unwrap()).unwrap();
    let bob = "bob@example.org".parse().unwrap();
    let login = guard.login(&bob).unwrap();
    assert!(guard.login(&bob).is_none());
    drop(login);
    assert!(guard.login(&bob).is_some());
}

#[tokio::test]
async fn an_address_that_guesses_passwords_is_turned_away_and_loopback_never() {
    let limits = limits(9, 9);
    fail(&limits, "192.0.2.1", "bob", 4).await;
    fail(&limits, "127.0.0.1", "bob", 4).await;
    assert!(limits.connect(ip("192.0.2.1")).is_err());
    assert!(limits.connect(ip("127.0.0.1")).unwrap().admits("bob").await);
}

#[tokio::test]
async fn an_account_is_spared_where_it_has_logged_in_before() {
    let folder = tempfile::tempdir().unwrap();
    let limits = knowing(folder.path());
    log_in(&limits, "192.0.2.1", "bob@example.org");
    fail(&limits, "192.0.2.77", "eve@example.org", 4).await;
    let guard = limits.connect(ip("192.0.2.77")).unwrap();
    assert!(guard.admits("Bob@Example.ORG").await, "of the same network");
    assert!(guard.admits("bob").await);
    assert!(!guard.admits("alice@example.org").await);
    assert!(guard.login(&"bob@example.org".parse().unwrap()).is_some());
    assert!(!guard.admits("alice@example.org").await, "bob's login does not open the door to others");
    fail(&limits, "198.51.100.1", "eve@example.org", 4).await;
    assert!(limits.connect(ip("198.51.100.1")).is_err(), "nobody is known there");
    // In the next process, once it is written.
    limits.places.write(place(ip("192.0.2.1")), "bob@example.org");
    let limits = knowing(folder.path());
    fail(&limits, "192.0.2.1", "alice@example.org", 4).await;
    assert!(limits.connect(ip("192.0.2.1")).unwrap().admits("bob@example.org").await);
}

#[tokio::test]
async fn an_account_that_mistypes_where_it_is_known_turns_nobody_else_away() {
    let folder = tempfile::tempdir().unwrap();
    let limits = knowing(folder.path());
    log_in(&limits, "192.0.2.1", "bob@example.org");
    fail(&limits, "192.0.2.1", "bob@example.org", 3).await;
    let guard = limits.connect(ip("192.0.2.1")).unwrap();
    assert!(guard.admits("bob@example.org").await);
    fail(&limits, "192.0.2.1", "bob@example.org", 1).await;
    assert!(!guard.admits("bob@example.org").await, "guessed from its own network, it is closed there too");
    assert!(guard.admits("alice@example.org").await);
    assert!(limits.connect(ip("192.0.2.1")).is_ok());
}

#[tokio::test]
async fn a_login_that_succeeds_clears_the_failures_of_its_account() {
    let limits = limits(9, 9);
    let bob = "bob@example.org".parse().unwrap();
    for _ in 0..2 {
        fail(&limits, "192.0.2.1", "BOB@example.org", 2).await;
        fail(&limits, "192.0.2.1", "bob", 1).await;
        let guard = limits.connect(ip("192.0.2.1")).unwrap();
        assert!(guard.login(&bob).is_some());
    }
    fail(&limits, "192.0.2.1", "alice", 3).await;
    drop(limits.connect(ip("192.0.2.1")).unwrap().login(&bob));
    fail(&limits, "192.0.2.1", "alice", 1).await;
    assert!(!limits.connect(ip("192.0.2.1")).unwrap().admits("alice").await, "of others it clears none");
}

#[test]
fn the_addresses_of_one_ipv6_network_count_as_one_peer() {
    let limits = limits(9, 1);
    let [first, same, other] = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"]
        .map(|address| address.parse::<IpAddr>().unwrap());
    let _guard = limits.connect(first).unwrap();
    assert!(limits.connect(same).is_err());
    assert!(limits.connect(other).is_ok());
}
