//! Who waits for whom: bulk mail, accounts that send much, destinations that hang, schedules.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_config::QueueRate;
use mail_directory::Verp;
use smtp_queue::{Handling, QueuedMessage, Requests, Suppression};

use crate::direct::direct;
use crate::host::{Host, PATIENCE, address};
use crate::peer::{Manner, Peer, listeners};

#[tokio::test]
async fn one_message_passes_the_newsletter_of_the_same_account_and_the_backlog_of_another() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.max_per_destination = 1;
    let bulk = Handling { is_bulk: true, ..Handling::default() };
    for number in 0..300 {
        let to = format!("x{number}@x.test");
        host.add_handled(Some("news@example.org"), &[&to], Requests::default(), bulk);
        host.add(Some("many@example.org"), &[&to]);
    }
    host.add(Some("news@example.org"), &["reset@x.test"]);
    host.add(Some("one@example.org"), &["reset@x.test"]);
    let running = host.run();
    let mut from = Vec::new();
    for _ in 0..602 {
        from.push(peer.next().await);
    }
    let place =
        |sender: &str| from.iter().position(|it| it.from == sender && it.to == ["reset@x.test"]).unwrap();
    assert!(place("news@example.org") < 8 && place("one@example.org") < 8, "{:?}", &from[..10]);
    let bulk = from.iter().position(|it| it.from == "news@example.org" && it.to != ["reset@x.test"]).unwrap();
    assert_eq!(bulk, 302, "behind all other mail");
    host.wait_until_empty().await;
    running.stop().await;
}

/// Many times more destinations than there are deliveries at one time, each taking connections and saying nothing.
#[tokio::test]
async fn however_many_destinations_hang_the_others_get_their_mail() {
    let (_dns, mut host, [one, two, _]) = direct().await;
    let mut live = Peer::at(one, Manner::Willing);
    host.config.queue.max_concurrent = 8;
    host.config.limits.drain_timeout = Duration::from_millis(50);
    for number in 0..1000 {
        host.add(Some("alice@example.org"), &[&format!("x@d{number}.hanging.test")]);
    }
    let running = host.run();
    // Five times as many hang as there are deliveries, and more follow as these are given up.
    let mut hanging = Vec::new();
    while hanging.len() < 45 {
        hanging.push(tokio::time::timeout(4 * PATIENCE, two.accept()).await.unwrap().unwrap());
    }
    let begun = Instant::now();
    host.add(Some("alice@example.org"), &["new@a.test"]);
    assert_eq!(live.next().await.to, ["new@a.test"]);
    for _ in 0..20 {
        host.add(Some("alice@example.org"), &["x@a.test"]);
    }
    for _ in 0..20 {
        assert_eq!(live.next().await.to, ["x@a.test"]);
    }
    // By the timeouts of RFC 5321 §4.5.3.2 it would have been five minutes.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let given_up =
        host.queue.list(None, 1000).unwrap().into_iter().find_map(|it| it.recipients[0].diagnosis.clone());
    let why = given_up.unwrap().to_string();
    assert!(why.contains("no answer within") && why.contains("too many other hosts don't answer"), "{why}");
    running.stop().await;
}

#[tokio::test]
async fn a_schedule_spreads_mail_and_what_waits_says_so() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    let domain = Some("slow.test".parse().unwrap());
    let rate = QueueRate {
        account: None,
        domain,
        messages: std::num::NonZeroU32::new(2),
        per: Duration::from_secs(1),
        connections: None,
    };
    host.config.queue.rates = vec![rate];
    for _ in 0..5 {
        host.add(Some("alice@example.org"), &["x@slow.test", "y@fast.test"]);
    }
    let running = host.run();
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..10 {
        let received = peer.next().await;
        if received.to == ["x@slow.test"] {
            slow.push(begun.elapsed());
        }
        if slow.len() == 4 {
            let notices = host.queue.notices().unwrap();
            assert_eq!(notices[0].subject, "rate slow.test");
        }
    }
    let early: Vec<_> =
        (0_u32..).zip(&slow).filter(|(place, at)| **at < Duration::from_millis(499) * *place).collect();
    assert!(slow.len() == 5 && early.is_empty(), "{slow:?}");
    running.stop().await;
}

#[tokio::test]
async fn the_connections_of_an_account_are_bounded() {
    let listener = listeners(&["127.0.0.1"]).await.remove(0);
    let mut host = Host::new(Some(Peer::smarthost_at(listener.local_addr().unwrap().port())));
    host.config.limits.drain_timeout = Duration::from_millis(50);
    let account = |account: &str| QueueRate {
        account: Some(account.to_owned()),
        domain: None,
        messages: None,
        per: Duration::from_secs(1),
        connections: Some(1),
    };
    host.config.queue.rates = vec![account("alice@example.org"), account("bob@example.org")];
    for _ in 0..5 {
        host.add(Some("alice@example.org"), &["x@x.test"]);
        host.add(Some("bob@example.org"), &["x@x.test"]);
    }
    let running = host.run();
    let _one_each = [listener.accept().await.unwrap(), listener.accept().await.unwrap()];
    let third = tokio::time::timeout(Duration::from_millis(500), listener.accept()).await;
    assert!(third.is_err(), "one connection of each");
    running.stop().await;
}

/// What comes back for good is counted; bulk mail does not go there any more, and its sender is told why; what people write does.
#[tokio::test]
async fn who_is_not_there_gets_no_more_bulk_mail() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let ours = |is_bulk| Handling { is_ours: true, is_bulk, ..Handling::default() };
    let send = |is_bulk| {
        host.add_handled(Some("carol@example.com"), &["no@x.test"], Requests::default(), ours(is_bulk))
    };
    let list = Suppression::open(&host.config.suppression_file(), &host.config.queue.suppression).unwrap();
    let nobody = address("no@x.test");
    let bounced = async |count: u32| {
        while list.find(&nobody, Timestamp::now()).unwrap().is_none_or(|it| it.bounces < count) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for count in 1..=2 {
        send(true);
        assert!(peer.next().await.text.contains("550 5.1.1 no such user"));
        bounced(count).await;
    }
    send(true);
    let told = peer.next().await.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("suppression list") && told.contains("Status: 5.1.1"), "{told}");
    assert!(told.contains("mailstead suppression remove no@x.test"), "{told}");
    send(false);
    assert!(peer.next().await.text.contains("550 5.1.1 no such user"), "what a person writes goes there");
    bounced(3).await;
    assert!(list.remove(&nobody).unwrap());
    send(true);
    bounced(1).await;
    assert!(!peer.next().await.text.contains("suppression"));
    host.wait_until_empty().await;
    running.stop().await;
}

/// VERP: whatever comes back says for whom it is; what came of each is written down before the next one's turn.
#[tokio::test]
async fn each_recipient_gets_mail_from_a_return_address_of_its_own_where_that_is_wanted() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.verp = vec!["news@example.org".parse().unwrap()];
    let running = host.run();
    let ours = Handling { is_ours: true, ..Handling::default() };
    let recipients = ["a@x.test", "b+c@x.test", "d@y.test"];
    let mut from = std::collections::BTreeMap::new();
    host.add_handled(Some("news@example.org"), &recipients, Requests::default(), ours);
    for _ in recipients {
        let received = peer.next().await;
        from.insert(received.to.concat(), received.from);
    }
    let verp = Verp::open(&host.config.srs_file(), &host.config.queue.verp, '+').unwrap();
    for recipient in recipients {
        let from = address(from.get(recipient).unwrap());
        assert_eq!(verp.returned(&from), Some((address("news@example.org"), address(recipient))));
    }
    // Of who does not ask for it, and of others' mail that goes on, all get it in one transaction.
    host.add_handled(Some("alice@example.org"), &recipients, Requests::default(), ours);
    assert_eq!(peer.next().await.from, "alice@example.org");
    host.add(Some("news@example.org"), &recipients);
    assert_eq!(peer.next().await.to.len(), 3);
    host.wait_until_empty().await;
    running.stop().await;
}

/// Each recipient has a transaction of its own then, but not a warning.
#[tokio::test]
async fn that_mail_with_return_addresses_of_its_own_is_late_is_told_once() {
    let peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.verp = vec!["alice@example.org".parse().unwrap()];
    host.config.queue.warn_after = Duration::ZERO;
    let ours = Handling { is_ours: true, ..Handling::default() };
    let late = ["later@x.test", "later@y.test", "later@z.test"];
    let tried = |times| {
        move |message: Option<&QueuedMessage>| {
            message.is_some_and(|it| it.recipients.iter().all(|it| it.attempts == times))
        }
    };
    let running = host.run();
    let id = host.add_handled(Some("alice@example.org"), &late, Requests::default(), ours);
    host.wait(&id, tried(1)).await;
    running.stop().await;
    host.config.queue.warn_after = Duration::from_millis(1);
    let running = host.run();
    host.queue.retry(Some(&id)).unwrap();
    host.wait(&id, tried(2)).await;
    let told = host.mail().await;
    for recipient in late {
        assert!(told.contains(&format!("Final-Recipient: rfc822; {recipient}\r\nAction: delayed")), "{told}");
    }
    running.stop().await;
    assert_eq!(host.queue.summary().unwrap().messages, 1, "no other report");
    assert_eq!(host.letters(), 1);
}

/// A newsletter whose recipients have return addresses of their own takes many transactions; its turn ends all the same.
#[tokio::test]
async fn one_message_passes_newsletters_with_return_addresses_of_their_own_that_are_under_way() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.verp = vec!["news@example.org".parse().unwrap()];
    host.config.queue.max_per_destination = 2;
    let bulk = Handling { is_ours: true, is_bulk: true, ..Handling::default() };
    let readers: Vec<String> = (0..150).map(|number| format!("x{number}@x.test")).collect();
    let readers: Vec<&str> = readers.iter().map(String::as_str).collect();
    for _ in 0..2 {
        host.add_handled(Some("news@example.org"), &readers, Requests::default(), bulk);
    }
    let running = host.run();
    for _ in 0..10 {
        peer.next().await;
    }
    let before = peer.received_already_count();
    host.add(Some("alice@example.org"), &["reset@x.test"]);
    let mut place = 0;
    while peer.next().await.to != ["reset@x.test"] {
        place += 1;
    }
    assert!(place < before + 100, "behind {place} of 290, of which {before} were there already");
    for _ in 0..290 - place {
        assert_ne!(peer.next().await.from, "alice@example.org");
    }
    host.wait_until_empty().await;
    running.stop().await;
    assert!(peer.received_already().is_none(), "each once");
}
