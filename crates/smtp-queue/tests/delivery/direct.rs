//! Straight to the mail hosts of each domain, as a real DNS server names them.

use std::time::{Duration, Instant};

use mail_config::Route;
use smtp_proto::RcptParameters;
use smtp_queue::{Change, Filter, Queue, QueuedMessage, Requests};
use testkit::TestDns;
use tokio::net::TcpListener;

use crate::host::{Host, address};
use crate::peer::{Manner, Peer, listeners};

/// `one`, `two` and `three` are hosts at 127.0.0.2, 3 and 4; `gone` is an address where nobody listens.
const ZONE: &str = "
one.test. A 127.0.0.2
two.test. A 127.0.0.3
three.test. A 127.0.0.4
gone.test. A 127.0.0.5
a.test. MX 10 one.test.
x.a.test. MX 10 two.test.
b.test. MX 10 two.test.
c.test. MX 10 three.test.
first.test. MX 10 gone.test.
first.test. MX 20 one.test.
first.test. MX 30 two.test.
null.test. MX 0 .
*.hanging.test. A 127.0.0.3
";

/// A host that delivers straight, and listeners at one, two and three.
pub(crate) async fn direct() -> (TestDns, Host, [TcpListener; 3]) {
    let dns = tokio::task::spawn_blocking(|| TestDns::start(ZONE)).await.unwrap().unwrap();
    let listeners = listeners(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]).await;
    let mut host = Host::new(None);
    host.config.dns = dns.config();
    host.config.relay.direct = true;
    host.config.relay.port = listeners[0].local_addr().unwrap().port();
    (dns, host, listeners.try_into().unwrap())
}

fn why(message: Option<&QueuedMessage>, recipient: usize) -> String {
    message
        .and_then(|it| it.recipients[recipient].diagnosis.as_ref())
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn tried(message: Option<&QueuedMessage>) -> bool {
    message.is_some_and(|message| message.recipients[0].attempts == 1)
}

#[tokio::test]
async fn each_domain_gets_its_recipients_in_one_transaction() {
    let (_dns, host, [one, two, _]) = direct().await;
    let (mut one, mut two) = (Peer::at(one, Manner::Willing), Peer::at(two, Manner::Willing));
    let running = host.run();
    let to = ["x@a.test", "x@b.test", "y@A.test", "alice@example.org"];
    let id = host.add(Some("alice@example.org"), &to);
    assert_eq!(one.next().await.to, ["x@a.test", "y@a.test"]);
    assert_eq!(two.next().await.to, ["x@b.test"]);
    host.mail().await;
    host.wait(&id, |message| message.is_none()).await;
    running.stop().await;
    assert!(one.received_already().is_none() && two.received_already().is_none());
}

#[tokio::test]
async fn an_operator_sends_recipients_another_way_and_the_others_go_theirs() {
    let (_dns, host, [one, two, _]) = direct().await;
    let (mut one, mut two) = (Peer::at(one, Manner::Willing), Peer::at(two, Manner::Willing));
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["x@gone.test", "y@a.test"]);
    assert_eq!(one.next().await.to, ["y@a.test"]);
    host.wait(&id, tried).await;
    let operator = Queue::open(&host.config.queue_dir()).unwrap();
    let hop = format!("127.0.0.3:{}", host.config.relay.port).parse().unwrap();
    let meant = Filter { domain: Some("gone.test".parse().unwrap()), ..Filter::default() };
    assert_eq!(operator.change(&meant, &Change::Reroute(Some(hop)), |_| ()).unwrap(), 1);
    assert_eq!(two.next().await.to, ["x@gone.test"]);
    host.wait(&id, |message| message.is_none()).await;
    running.stop().await;
    assert!(one.received_already().is_none() && two.received_already().is_none());
}

#[tokio::test]
async fn the_next_host_is_tried_when_one_is_down_busy_or_defers() {
    for manner in [Manner::Busy, Manner::Grudging] {
        let (_dns, host, [one, two, _]) = direct().await;
        let (mut one, mut two) = (Peer::at(one, manner), Peer::at(two, Manner::Willing));
        let running = host.run();
        let id = host.add(Some("alice@example.org"), &["x@first.test"]);
        assert_eq!(two.next().await.to, ["x@first.test"], "{manner:?}");
        host.wait(&id, |message| message.is_none()).await;
        running.stop().await;
        assert!(one.received_already().is_none());
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_not_taken_to_the_next_host() {
    let (_dns, host, [one, two, _]) = direct().await;
    let (_one, mut two) = (Peer::at(one, Manner::Willing), Peer::at(two, Manner::Willing));
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["no@first.test"]);
    let bounce = host.mail().await;
    assert!(
        bounce.contains("Status: 5.1.1\r\n") && bounce.contains("Remote-MTA: dns; one.test\r\n"),
        "{bounce}"
    );
    host.wait(&id, |message| message.is_none()).await;
    running.stop().await;
    assert!(two.received_already().is_none());
}

/// RFC 1047: it may have been taken, so that no other host gets it in the same breath.
#[tokio::test]
async fn a_message_that_may_have_been_taken_is_not_given_to_the_next_host() {
    let (_dns, host, [one, two, _]) = direct().await;
    let (mut one, mut two) = (Peer::at(one, Manner::Vanishing), Peer::at(two, Manner::Willing));
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["x@first.test"]);
    assert_eq!(one.next().await.to, ["x@first.test"]);
    host.wait(&id, tried).await;
    assert!(why(host.queue.show(&id).unwrap().as_ref(), 0).starts_with("4.4.2 one.test"));
    running.stop().await;
    assert!(two.received_already().is_none());
}

/// RFC 7435 §3.
#[tokio::test]
async fn a_host_whose_tls_does_not_work_gets_its_mail_without() {
    let (_dns, host, [one, ..]) = direct().await;
    let mut one = Peer::at(one, Manner::Clumsy);
    let running = host.run();
    host.add(Some("alice@example.org"), &["x@a.test"]);
    assert_eq!(one.next().await.to, ["x@a.test"]);
    running.stop().await;
}

#[tokio::test]
async fn a_domain_that_takes_no_mail_bounces_at_once_and_dns_trouble_waits() {
    let (_dns, host, _listeners) = direct().await;
    let running = host.run();
    let to = ["x@null.test", "x@there-is-none.test", "x@anything.broken", "x@gone.test"];
    let id = host.add(Some("carol@anything.broken"), &to);
    host.wait(&id, |message| message.is_some_and(|it| it.recipients.iter().all(|it| it.attempts == 1))).await;
    let message = host.queue.show(&id).unwrap();
    let states: Vec<_> =
        message.iter().flat_map(|it| it.recipients.iter().map(|it| it.state.as_str())).collect();
    assert_eq!(states, ["failed", "failed", "pending", "pending"]);
    for (place, expected) in ["5.1.10 ", "5.1.2 ", "4.4.3 ", "4.4.1 gone.test"].iter().enumerate() {
        assert!(why(message.as_ref(), place).starts_with(expected), "{}", why(message.as_ref(), place));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_route_takes_its_domains_to_a_smarthost_and_the_smarthost_takes_the_rest_but_for_mx() {
    let (_dns, mut host, [one, ..]) = direct().await;
    let (mut one, mut routed, mut smarthost) =
        (Peer::at(one, Manner::Willing), Peer::start().await, Peer::start().await);
    let route = |domain: &str, smarthost| Route {
        domains: vec![domain.parse().unwrap()],
        smarthost,
        ..Route::default()
    };
    host.config.relay.smarthost = Some(smarthost.smarthost());
    host.config.relay.routes = vec![route("b.test", Some(routed.smarthost())), route("a.test", None)];
    let running = host.run();
    host.add(Some("alice@example.org"), &["x@a.test", "x@b.test", "x@c.test", "x@d.test"]);
    assert_eq!(one.next().await.to, ["x@a.test"]);
    assert_eq!(routed.next().await.to, ["x@b.test"]);
    assert_eq!(smarthost.next().await.to, ["x@c.test", "x@d.test"]);
    running.stop().await;
}

#[tokio::test]
async fn a_destination_that_says_nothing_delays_no_other() {
    let (_dns, mut host, [one, two, _]) = direct().await;
    host.config.queue.max_concurrent = 4;
    let (_silent, mut two) = (Peer::at(one, Manner::Silent), Peer::at(two, Manner::Willing));
    for _ in 0..200 {
        host.add(Some("alice@example.org"), &["x@a.test"]);
    }
    let both = host.add(Some("alice@example.org"), &["x@a.test", "x@b.test"]);
    host.config.limits.drain_timeout = Duration::from_millis(50);
    let running = host.run();
    let begun = Instant::now();
    for _ in 0..50 {
        host.add(Some("alice@example.org"), &["y@b.test"]);
    }
    let mut got = Vec::new();
    for _ in 0..51 {
        got.extend(two.next().await.to);
    }
    assert!(got.contains(&"x@b.test".to_owned()), "{got:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    host.wait(&both, |message| message.is_some_and(|it| it.recipients[1].state.as_str() == "delivered"))
        .await;
    running.stop().await;
    assert_eq!(host.queue.summary().unwrap().messages, 201);
}

#[tokio::test]
async fn a_backlog_for_a_dead_destination_shares_one_outcome_and_a_retry_is_a_real_one() {
    let (_dns, mut host, [one, ..]) = direct().await;
    host.config.queue.max_per_destination = 1;
    // Takes one connection, keeps it for a moment, then nobody listens any more.
    let (connected, accepted) = tokio::sync::oneshot::channel();
    let (address, first) = (one.local_addr().unwrap(), async move {
        let (stream, _) = one.accept().await.unwrap();
        connected.send((stream, one)).unwrap();
    });
    tokio::spawn(first);
    let ids: Vec<_> = (0..300).map(|_| host.add(Some("alice@example.org"), &["x@a.test"])).collect();
    let running = host.run();
    let (stream, listener) = accepted.await.unwrap();
    drop((stream, listener));
    for id in &ids {
        host.wait(id, tried).await;
    }
    let shared = |id| why(host.queue.show(id).unwrap().as_ref(), 0);
    assert!(ids.iter().all(|id| shared(id) == shared(&ids[0])), "{}", shared(&ids[299]));
    assert!(shared(&ids[0]).contains("the connection was closed"), "{}", shared(&ids[0]));
    let mut one = Peer::at(TcpListener::bind(address).await.unwrap(), Manner::Willing);
    host.queue.retry(Some(&ids[7])).unwrap();
    assert_eq!(one.next().await.to, ["x@a.test"]);
    running.stop().await;
}

/// RFC 3464 §2.3: a notification has a part for each recipient. Whoever is the first to find the message late tells of all.
#[tokio::test]
async fn that_a_message_is_late_at_several_hosts_is_told_once_and_in_one_report() {
    let (_dns, mut host, [one, two, three]) = direct().await;
    let (_one, _two) = (Peer::at(one, Manner::Willing), Peer::at(two, Manner::Willing));
    let mut sender = Peer::at(three, Manner::Willing);
    host.config.queue.warn_after = Duration::ZERO;
    let unwanted = RcptParameters { notify: Some("FAILURE".parse().unwrap()), original: None };
    let requests =
        Requests { recipients: [(address("later@x.a.test"), unwanted)].into(), ..Requests::default() };
    let to = ["later@a.test", "later@b.test", "x@gone.test", "later@x.a.test", "yes@a.test"];
    let running = host.run();
    let id = host.add_with(Some("s@c.test"), &to, requests);
    let tried = |times| {
        move |message: Option<&QueuedMessage>| {
            message.is_some_and(|it| it.recipients.iter().take(4).all(|it| it.attempts == times))
        }
    };
    host.wait(&id, tried(1)).await;
    running.stop().await;
    host.config.queue.warn_after = Duration::from_millis(1);
    let running = host.run();
    for times in 2..4 {
        host.queue.retry(Some(&id)).unwrap();
        host.wait(&id, tried(times)).await;
        if times == 2 {
            let told = sender.next().await.text;
            for recipient in ["later@a.test", "later@b.test", "x@gone.test"] {
                let group = format!("Final-Recipient: rfc822; {recipient}\r\nAction: delayed\r\nStatus: 4.");
                assert_eq!(told.matches(&group).count(), 1, "{recipient}: {told}");
            }
            assert!(!told.contains("x.a.test") && !told.contains("yes@a.test"), "{told}");
            assert_eq!(told.matches("Last-Attempt-Date: ").count(), 3, "{told}");
        }
    }
    assert_eq!(host.queue.summary().unwrap().messages, 1, "in one report, once");
    assert!(sender.received_already().is_none());
    running.stop().await;
}

#[tokio::test]
async fn who_was_not_tried_yet_when_a_message_is_late_is_told_of_with_the_others_and_not_again() {
    let (_dns, mut host, [one, two, three]) = direct().await;
    let (_one, mut sender) = (Peer::at(one, Manner::Willing), Peer::at(three, Manner::Willing));
    host.config.queue.warn_after = Duration::from_millis(1);
    let id = host.add(Some("s@c.test"), &["later@a.test", "x@b.test"]);
    // As if a schedule had it wait.
    let connection = rusqlite::Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    let later =
        "UPDATE recipient SET next_attempt = next_attempt + 3600000 WHERE message = ?1 AND position = 1";
    assert_eq!(connection.execute(later, [&id.0]).unwrap(), 1);
    let running = host.run();
    let told = sender.next().await.text;
    for (recipient, status) in [("later@a.test", "4.2.0"), ("x@b.test", "4.4.5")] {
        let group =
            format!("Final-Recipient: rfc822; {recipient}\r\nAction: delayed\r\nStatus: {status}\r\n");
        assert_eq!(told.matches(&group).count(), 1, "{recipient}: {told}");
    }
    assert_eq!(told.matches("Last-Attempt-Date: ").count(), 1, "{told}");
    // Now it turns out that nobody answers there.
    drop(two);
    host.queue.retry(Some(&id)).unwrap();
    host.wait(&id, |message| message.is_some_and(|it| it.recipients[1].attempts == 1)).await;
    assert_eq!(host.queue.summary().unwrap().messages, 1, "no warning of its own");
    assert!(sender.received_already().is_none());
    running.stop().await;
}

/// It may get the message in that moment: who ends last tells of all that the message has not reached.
#[tokio::test]
async fn of_who_is_being_tried_when_a_message_is_late_no_sender_hears_before_that_has_ended() {
    for is_delivered in [true, false] {
        let (_dns, mut host, [one, two, three]) = direct().await;
        let (_one, mut sender) = (Peer::at(one, Manner::Willing), Peer::at(three, Manner::Willing));
        host.config.queue.warn_after = Duration::from_millis(1);
        let running = host.run();
        // Where that goes nobody takes the connection yet.
        let id = host.add(Some("s@c.test"), &["later@a.test", "x@b.test"]);
        host.wait(&id, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
        let message = host.queue.show(&id).unwrap().unwrap();
        assert!(message.recipients.iter().all(|it| !it.warned) && message.recipients[1].attempts == 0);
        assert_eq!(host.queue.summary().unwrap().messages, 1, "no warning");
        let mut slow = is_delivered.then(|| Peer::at(two, Manner::Willing));
        if let Some(slow) = &mut slow {
            assert_eq!(slow.next().await.to, ["x@b.test"]);
        }
        let told = sender.next().await.text;
        assert!(told.contains("Final-Recipient: rfc822; later@a.test\r\nAction: delayed\r\n"), "{told}");
        assert_eq!(told.contains("rfc822; x@b.test"), !is_delivered, "{told}");
        assert!(host.queue.show(&id).unwrap().unwrap().recipients[0].warned);
        running.stop().await;
        assert!(sender.received_already().is_none());
    }
}

/// A message that fails at several destinations within a short time gets one report; what is still tried is waited for no longer than that.
#[tokio::test]
async fn what_fails_at_several_hosts_is_told_in_one_report() {
    let (_dns, mut host, [one, two, three]) = direct().await;
    let (_one, _two) = (Peer::at(one, Manner::Willing), Peer::at(two, Manner::Willing));
    let mut sender = Peer::at(three, Manner::Willing);
    host.config.queue.gather_reports = Duration::from_secs(60);
    let running = host.run();
    host.add(Some("s@c.test"), &["no@a.test", "no@b.test", "no@null.test", "yes@a.test"]);
    let told = sender.next().await.text;
    for recipient in ["no@a.test", "no@b.test", "no@null.test"] {
        assert_eq!(told.matches(&format!("Final-Recipient: rfc822; {recipient}")).count(), 1, "{told}");
    }
    host.wait_until_empty().await;
    assert!(sender.received_already().is_none(), "in one report");
    // Nor does it wait when all others are done.
    host.add(Some("s@c.test"), &["no@a.test", "yes@b.test"]);
    assert!(sender.next().await.text.contains("no@a.test"));
    host.wait_until_empty().await;
    // A destination that hangs is waited for so long, and no longer.
    running.stop().await;
    host.config.queue.gather_reports = Duration::from_secs(3);
    host.config.limits.drain_timeout = Duration::from_millis(50);
    let running = host.run();
    let id = host.add(Some("s@c.test"), &["no@a.test", "stall@b.test"]);
    let begun = Instant::now();
    let told = sender.next().await.text;
    assert!(told.contains("no@a.test") && !told.contains("rfc822; stall@b.test"), "{told}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    host.queue.remove(Some(&id)).unwrap();
    running.stop().await;
}
