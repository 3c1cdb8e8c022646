//! The queue process as a whole, against a server on loopback: what is queued is delivered once, tried again, or bounced.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod aggregate;
mod binary;
mod crash;
mod damage;
mod direct;
mod full;
mod host;
mod international;
mod log;
mod peer;
mod routes;
mod turns;

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mail_config::FullMailbox;
use mail_directory::{Directory, Forwarding, Limit, Posting, QuotaSetting};
use smtp_proto::{ByMode, RcptParameters, Return};
use smtp_queue::{Deadline, Handling, Queue, QueuedMessage, Requests};

use host::{Host, address};
use peer::{Manner, Peer, listeners};

fn gone(message: Option<&QueuedMessage>) -> bool {
    message.is_none()
}

#[tokio::test]
async fn a_message_added_by_another_process_goes_out_at_once_and_once() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let other = Queue::open(&host.config.queue_dir()).unwrap();
    for _ in 0..2 {
        let id = host.add(Some("alice@example.org"), &["bob@example.net", "eve@example.net"]);
        let received = peer.next().await;
        assert_eq!(received.from, "alice@example.org");
        assert_eq!(received.to, ["bob@example.net", "eve@example.net"]);
        assert!(received.text.ends_with("\r\n\r\n..dot\r\n.\r\n"), "{}", received.text);
        host.wait(&id, gone).await;
    }
    running.stop().await;
    assert_eq!(other.summary().unwrap().messages, 0);
    assert!(peer.received_already().is_none());
    assert_eq!(fs::read_dir(host.config.queue_dir().join("messages")).unwrap().count(), 0);
}

#[tokio::test]
async fn each_recipient_is_delivered_retried_or_bounced_for_itself() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let id = host.add(Some("carol@example.com"), &["yes@x.org", "no@x.org", "later@x.org"]);
    assert_eq!(peer.next().await.to, ["yes@x.org"]);
    let bounce = peer.next().await;
    assert_eq!((bounce.from.as_str(), &bounce.to[..]), ("", &["carol@example.com".to_owned()][..]));
    assert!(bounce.text.contains("Final-Recipient: rfc822; no@x.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"));
    assert!(!bounce.text.contains("later@x.org") && !bounce.text.contains("yes@x.org"), "{}", bounce.text);

    let message = host.queue.show(&id).unwrap().unwrap();
    let states: Vec<_> = message.recipients.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(states, ["delivered", "failed", "pending"]);
    let later = &message.recipients[2];
    let why = later.diagnosis.as_ref().unwrap().to_string();
    assert!(why.ends_with("said: 451 4.2.0 come back later"), "{why}");
    assert!(later.attempts == 1 && later.next_attempt > later.last_attempt);
    host.queue.retry(Some(&id)).unwrap();
    host.wait(&id, |message| message.unwrap().recipients[2].attempts == 2).await;
    running.stop().await;
}

/// What RCPT says with these values.
fn parameters(notify: &str, original: Option<&str>) -> RcptParameters {
    let original = original.map(|original| original.parse().unwrap());
    RcptParameters { notify: Some(notify.parse().unwrap()), original }
}

/// RFC 3461 §4.1, §4.3, §6.2
#[tokio::test]
async fn a_bounce_reports_what_the_sender_wants_to_hear() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let requests = Requests {
        ret: Some(Return::Headers),
        envelope_id: Some("QQ 314159".to_owned()),
        recipients: [
            (address("no@x.org"), parameters("NEVER", None)),
            (address("no@y.org"), parameters("SUCCESS", None)),
            (address("no@z.org"), parameters("FAILURE", Some("rfc822;Named+40x.org"))),
        ]
        .into(),
    };
    let id =
        host.add_with(Some("carol@example.com"), &["no@x.org", "no@y.org", "no@z.org"], requests.clone());
    let bounce = peer.next().await.text;
    assert!(bounce.contains("\r\nOriginal-Envelope-Id: QQ 314159\r\nReporting-MTA: "), "{bounce}");
    assert!(
        bounce.contains(
            "\r\nOriginal-Recipient: rfc822; Named@x.org\r\nFinal-Recipient: rfc822; no@z.org\r\nAction: failed\r\n"
        ),
        "{bounce}"
    );
    assert!(!bounce.contains("no@x.org") && !bounce.contains("no@y.org"), "{bounce}");
    assert!(
        bounce.contains("Content-Type: text/rfc822-headers\r\n") && !bounce.contains("\r\n..dot"),
        "{bounce}"
    );
    host.wait(&id, gone).await;
    // One that nobody wants to hear of leaves nothing behind.
    let id = host.add_with(Some("carol@example.com"), &["no@x.org"], requests);
    host.wait(&id, gone).await;
    assert_eq!(host.queue.summary().unwrap().messages, 0);
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// RFC 3461 §5.2.2 (b), §5.2.3, §5.2.1
#[tokio::test]
async fn a_delivery_is_reported_to_who_wants_to_hear_of_it_unless_the_next_host_does() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    let requests = Requests {
        ret: Some(Return::Full),
        envelope_id: Some("E1".to_owned()),
        recipients: [
            (address("b@x.org"), parameters("SUCCESS", Some("rfc822;Robert@x.org"))),
            (address("c@x.org"), parameters("FAILURE,DELAY", None)),
            (address("alice@example.org"), parameters("SUCCESS,FAILURE", None)),
        ]
        .into(),
    };
    let to = ["b@x.org", "c@x.org", "d@x.org", "alice@example.org"];
    let running = host.run();
    let id = host.add_with(Some("carol@example.com"), &to, requests.clone());
    host.wait(&id, gone).await;
    let mut texts = [peer.next().await, peer.next().await, peer.next().await];
    texts.sort_by_key(|it| it.to.len());
    let (reports, message) = texts.split_at(2);
    assert_eq!(message[0].to, ["b@x.org", "c@x.org", "d@x.org"]);
    let relayed = reports.iter().find(|it| it.text.contains("Action: relayed")).unwrap();
    let group = "\r\nOriginal-Recipient: rfc822; Robert@x.org\r\nFinal-Recipient: rfc822; b@x.org\r\n\
        Action: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; [127.0.0.1]\r\nDiagnostic-Code: smtp; 250 2.0.0 taken\r\n";
    assert!(
        relayed.text.contains(group) && relayed.text.contains("Original-Envelope-Id: E1\r\n"),
        "{relayed:?}"
    );
    assert!(!relayed.text.contains("c@x.org") && !relayed.text.contains("d@x.org"), "{relayed:?}");
    let delivered = reports.iter().find(|it| it.text.contains("Action: delivered")).unwrap();
    assert!(delivered.text.contains("\r\nFinal-Recipient: rfc822; alice@example.org\r\n"), "{delivered:?}");
    for report in reports {
        assert_eq!((report.from.as_str(), &report.to[..]), ("", &["carol@example.com".to_owned()][..]));
        // RFC 3461 §6.2: the header alone, whatever RET says.
        assert!(report.text.contains("text/rfc822-headers") && !report.text.contains("dot"), "{report:?}");
    }
    running.stop().await;

    // One that reports itself is asked to, and nobody else tells.
    let mut peer = Peer::at(listeners(&["127.0.0.1"]).await.remove(0), Manner::Reporting);
    host.config.relay.smarthost = Some(peer.smarthost());
    let running = host.run();
    let id = host.add_with(Some("carol@example.com"), &["b@x.org", "d@x.org"], requests);
    let text = peer.next().await.text;
    let asked = "RCPT TO:<b@x.org> NOTIFY=SUCCESS ORCPT=rfc822;Robert@x.org\nRCPT TO:<d@x.org>\n";
    assert!(text.starts_with(asked), "{text}");
    host.wait(&id, gone).await;
    host.wait_until_empty().await;
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// RFC 3461 §4.1, §5.2.5; RFC 3464 §2.3.9
#[tokio::test]
async fn who_wants_to_hear_of_delays_is_warned_once() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.warn_after = Duration::from_millis(1);
    let requests = Requests {
        recipients: [
            (address("later@y.org"), parameters("FAILURE,SUCCESS", None)),
            (address("later@z.org"), parameters("DELAY", None)),
        ]
        .into(),
        ..Requests::default()
    };
    let running = host.run();
    let id =
        host.add_with(Some("carol@example.com"), &["later@x.org", "later@y.org", "later@z.org"], requests);
    let warning = peer.next().await.text;
    for recipient in ["later@x.org", "later@z.org"] {
        let group = format!("Final-Recipient: rfc822; {recipient}\r\nAction: delayed\r\nStatus: 4.2.0\r\n");
        assert!(warning.contains(&group), "{warning}");
    }
    assert!(!warning.contains("later@y.org") && warning.contains("Will-Retry-Until: "), "{warning}");
    host.queue.retry(Some(&id)).unwrap();
    let tried_again = |message: &QueuedMessage| message.recipients.iter().all(|it| it.attempts == 2);
    host.wait(&id, |message| tried_again(message.unwrap())).await;
    assert_eq!(host.queue.summary().unwrap().messages, 1, "no second warning");
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// RFC 4865 §3
#[tokio::test]
async fn what_its_sender_holds_back_is_tried_when_it_is_released_and_not_before() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let held = |release: Timestamp| {
        let handling = Handling { release: Some(release), ..Handling::default() };
        host.add_handled(Some("carol@example.com"), &["b@x.org"], Requests::default(), handling)
    };
    let far = held(Timestamp::now() + SignedDuration::from_hours(1));
    let due = || host.queue.show(&far).unwrap().unwrap().recipients.first().unwrap().next_attempt;
    let at_first = due();
    host.queue.retry(None).unwrap();
    assert_eq!(due(), at_first);
    host.queue.hold(Some(&far)).unwrap();
    host.queue.release(Some(&far)).unwrap();
    assert_eq!(due(), at_first);
    let release = Timestamp::now() + SignedDuration::from_millis(500);
    let near = held(release);
    peer.next().await;
    assert!(Timestamp::now() >= release);
    host.wait(&near, gone).await;
    let waiting = host.queue.show(&far).unwrap().unwrap();
    let recipient = waiting.recipients.first().unwrap();
    assert_eq!((recipient.attempts, recipient.next_attempt), (0, waiting.handling.release));
    assert!(waiting.handling.release > Some(release));
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// RFC 2852 §4: R returns the message, N tells its sender and goes on.
#[tokio::test]
async fn what_is_not_delivered_in_time_is_returned_or_its_sender_is_told() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let timed = |recipient: &str, mode, milliseconds| {
        let at = Timestamp::now() + SignedDuration::from_millis(milliseconds);
        let handling =
            Handling { deadline: Some(Deadline { at, mode, trace: false }), ..Handling::default() };
        host.add_handled(Some("carol@example.com"), &[recipient], Requests::default(), handling)
    };
    // The peer does not support it: what is to be returned does not even go there.
    let returned = timed("b@x.org", ByMode::Return, 60_000);
    let bounce = peer.next().await.text;
    assert!(
        bounce.contains("Action: failed\r\nStatus: 5.4.7\r\n") && bounce.contains("DELIVERBY"),
        "{bounce}"
    );
    assert!(bounce.contains("\r\nDeliver-By-Date: "), "{bounce}");
    host.wait(&returned, gone).await;
    let noted = timed("later@x.org", ByMode::Notify, 300);
    let warning = peer.next().await.text;
    assert!(warning.contains("Final-Recipient: rfc822; later@x.org\r\nAction: delayed\r\n"), "{warning}");
    assert_eq!(host.queue.show(&noted).unwrap().unwrap().recipients.first().unwrap().attempts, 2);
    // Nothing is tried when the time is over.
    let over = timed("alice@example.org", ByMode::Return, -1);
    let bounce = peer.next().await.text.replace("\r\n   ", "");
    assert!(
        bounce.contains("Status: 5.4.7\r\n") && bounce.contains("the time for its delivery is over"),
        "{bounce}"
    );
    host.wait(&over, gone).await;
    running.stop().await;
}

/// RFC 3461 §5.2.7
#[tokio::test]
async fn what_the_sender_wants_to_hear_goes_with_a_message_that_an_alias_leads_on() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    directory.add_alias(&"sales@example.org".parse().unwrap(), &[address("no@x.org")]).unwrap();
    directory.add_alias(&"silent@example.org".parse().unwrap(), &[address("no@y.org")]).unwrap();
    let requests = Requests {
        recipients: [(address("silent@example.org"), parameters("NEVER", None))].into(),
        ..Requests::default()
    };
    let running = host.run();
    host.add_with(Some("carol@example.com"), &["silent@example.org", "sales@example.org"], requests);
    let bounce = peer.next().await.text;
    assert!(
        bounce.contains(
            "\r\nOriginal-Recipient: rfc822; sales@example.org\r\nFinal-Recipient: rfc822; no@x.org\r\n"
        ),
        "{bounce}"
    );
    assert!(!bounce.contains("no@y.org"), "{bounce}");
    running.stop().await;
}

#[tokio::test]
async fn what_can_not_be_delivered_in_time_comes_back_to_a_local_sender() {
    let peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.expire_after = Duration::from_millis(1);
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["later@x.org"]);
    let bounce = host.mail().await;
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");
    assert!(bounce.contains("Status: 5.4.7\r\n") && bounce.contains("come back later"), "{bounce}");
    assert!(bounce.contains("In-Reply-To: <1@example.org>\r\n") && bounce.contains("Subject: hello\r\n"));
    host.wait(&id, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_from_nobody_is_never_bounced() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let id = host.add(None, &["no@x.org"]);
    host.wait(&id, gone).await;
    running.stop().await;
    assert_eq!(host.queue.summary().unwrap().messages, 0);
    assert!(peer.received_already().is_none());
}

#[tokio::test]
async fn local_recipients_get_their_mail_without_a_smarthost() {
    let host = Host::new(None);
    let running = host.run();
    let id = host.add(Some("carol@example.com"), &["alice@example.org"]);
    assert!(host.mail().await.starts_with("Return-Path: <carol@example.com>\r\nSubject: hello\r\n"));
    host.wait(&id, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn an_alias_leads_on_to_another_host_and_an_unknown_user_bounces() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let targets = [address("alice@example.org"), address("bob@example.net")];
    directory.add_alias(&"both@example.org".parse().unwrap(), &targets).unwrap();
    let running = host.run();
    host.add(Some("carol@example.com"), &["both@example.org"]);
    let forwarded = peer.next().await;
    // From a return address of ours.
    assert!(forwarded.from.ends_with("=example.com=carol@example.org"), "{}", forwarded.from);
    assert_eq!(forwarded.to, ["bob@example.net"]);
    assert!(forwarded.text.starts_with("Delivered-To: both@example.org\r\n"), "{}", forwarded.text);
    assert!(host.mail().await.contains("Subject: hello"));
    host.add(Some("carol@example.com"), &["nobody@example.org"]);
    assert!(peer.next().await.text.contains("Final-Recipient: rfc822; nobody@example.org\r\n"));
    running.stop().await;
}

/// The one who gets a bounce of what goes on: through our return address.
#[tokio::test]
async fn the_bounce_of_what_goes_on_comes_to_its_sender() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let forwarding = Forwarding { targets: vec![address("no@x.org")], keeps_copy: false };
    directory.set_forwarding(&address("alice@example.org"), &forwarding).unwrap();
    let running = host.run();
    host.add(Some("Carol@example.com"), &["alice@example.org"]);
    let bounce = peer.next().await;
    assert_eq!((bounce.from.as_str(), &bounce.to[..]), ("", &["Carol@example.com".to_owned()][..]));
    assert!(bounce.text.contains("Original-Recipient: rfc822; alice@example.org\r\n"), "{}", bounce.text);
    running.stop().await;
}

/// A member's mail goes on as anybody's, a list within a list too, and each once.
#[tokio::test]
async fn a_list_reaches_members_here_and_elsewhere_and_those_of_other_lists() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let (outer, inner) = (address("outer@example.org"), address("inner@example.org"));
    let forwarding = Forwarding { targets: vec![address("alice@example.net")], keeps_copy: true };
    directory.set_forwarding(&address("alice@example.org"), &forwarding).unwrap();
    for (list, owner) in [(&outer, "alice@example.org"), (&inner, "owner@example.net")] {
        directory.add_list(list, &address(owner), Posting::Named).unwrap();
    }
    directory.add_members(&outer, &[inner.clone(), address("alice@example.org")]).unwrap();
    // Back to the first.
    directory.add_members(&inner, &[address("eve@example.net"), outer.clone()]).unwrap();
    let running = host.run();
    host.add(Some("alice@example.org"), &["outer@example.org"]);
    let mut sent = [peer.next().await, peer.next().await, peer.next().await];
    sent.sort_by(|one, other| one.to.cmp(&other.to));
    let from: Vec<&str> = sent.iter().map(|it| it.from.as_str()).collect();
    assert_eq!(from, ["outer-bounces@example.org", "inner-bounces@example.org", ""]);
    let text = &sent[0].text;
    assert!(
        text.starts_with("Delivered-To: alice@example.org\r\nDelivered-To: outer@example.org\r\n"),
        "{text}"
    );
    let to: Vec<&[String]> = sent.iter().map(|it| &it.to[..]).collect();
    assert_eq!(to, [["alice@example.net"], ["eve@example.net"], ["owner@example.net"]]);
    let bounce = &sent[2].text;
    assert!(bounce.contains("outer@example.org\r\nAction: failed\r\nStatus: 5.4.6\r\n"), "{bounce}");
    assert!(
        host.mail().await.starts_with("Return-Path: <outer-bounces@example.org>\r\nDelivered-To: outer@")
    );
    host.wait_until_empty().await;
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// What waits for room in the account does not go on a second time when there is some.
#[tokio::test]
async fn what_goes_on_does_not_wait_for_a_full_account_and_goes_once() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.retry_min = Duration::from_millis(50);
    host.config.queue.retry_max = Duration::from_millis(50);
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let alice = address("alice@example.org");
    let forwarding = Forwarding { targets: vec![address("alice@example.net")], keeps_copy: true };
    directory.set_forwarding(&alice, &forwarding).unwrap();
    let full = QuotaSetting { storage: Limit::AtMost(1), messages: Limit::Default };
    directory.set_quota(&alice, full).unwrap();
    let running = host.run();
    host.add(Some("carol@example.com"), &["alice@example.org"]);
    assert_eq!(peer.next().await.to, ["alice@example.net"]);
    directory.set_quota(&alice, QuotaSetting::default()).unwrap();
    assert!(host.mail().await.contains("Subject: hello"));
    host.wait_until_empty().await;
    running.stop().await;
    assert!(peer.received_already().is_none());
}

#[tokio::test]
async fn without_a_smarthost_mail_waits_and_says_so_until_there_is_one() {
    let mut host = Host::new(None);
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["bob@example.net"]);
    host.wait(&id, |message| message.unwrap().recipients[0].attempts == 1).await;
    let message = host.queue.show(&id).unwrap().unwrap();
    let why = message.recipients[0].diagnosis.as_ref().unwrap().to_string();
    assert_eq!(why, "4.4.4 no [relay] smarthost is configured, and direct delivery is switched off");
    running.stop().await;

    let mut peer = Peer::start().await;
    host.config.relay.smarthost = Some(peer.smarthost());
    let running = host.run();
    assert_eq!(peer.next().await.to, ["bob@example.net"]);
    running.stop().await;
}

#[tokio::test]
async fn a_delivery_cut_off_is_tried_again_by_the_next_process() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.limits.drain_timeout = Duration::from_millis(50);
    let id = host.add(Some("alice@example.org"), &["bob@example.net", "stall@example.net"]);
    let running = host.run();
    // It hangs in RCPT; the deadline of the drain cuts it off.
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.stop().await;
    let message = host.queue.show(&id).unwrap().unwrap();
    assert!(message.recipients.iter().all(|it| it.attempts == 0 && it.next_attempt.is_some()));

    let second = host.add(Some("alice@example.org"), &["bob@example.net"]);
    let running = host.run();
    assert_eq!(peer.next().await.to, ["bob@example.net"], "the stalled one holds up no other");
    host.wait(&second, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn only_one_process_delivers_and_the_next_takes_over() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let (first, second) = (host.run(), host.run());
    for _ in 0..5 {
        host.add(Some("alice@example.org"), &["bob@example.net"]);
        peer.next().await;
    }
    first.stop().await;
    host.add(Some("alice@example.org"), &["bob@example.net"]);
    peer.next().await;
    second.stop().await;
    assert!(peer.received_already().is_none(), "each was sent once");
}

#[tokio::test]
async fn held_messages_stay_until_they_are_released() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let held = host.add(Some("alice@example.org"), &["held@example.net"]);
    host.queue.hold(Some(&held)).unwrap();
    let running = host.run();
    host.add(Some("alice@example.org"), &["bob@example.net"]);
    assert_eq!(peer.next().await.to, ["bob@example.net"]);
    host.queue.release(Some(&held)).unwrap();
    assert_eq!(peer.next().await.to, ["held@example.net"]);
    running.stop().await;
}

#[tokio::test]
async fn a_message_whose_file_is_lost_blocks_no_other() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let lost = host.add_large("alice@example.org", "bob@example.net");
    fs::remove_file(host.config.queue_dir().join("messages").join(&lost.0)).unwrap();
    let running = host.run();
    host.add(Some("alice@example.org"), &["eve@example.net"]);
    assert_eq!(peer.next().await.to, ["eve@example.net"]);
    host.wait(&lost, |message| message.unwrap().recipients[0].attempts == 1).await;
    let why = host.queue.show(&lost).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap().to_string();
    assert_eq!(why, "4.3.0 the message file can't be read");
    running.stop().await;
}

/// RFC 3463 §3.3: the owner can make room.
#[tokio::test]
async fn mail_for_a_full_account_waits_for_room() {
    let host = Host::new(None);
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let at_most = |octets| QuotaSetting { storage: Limit::AtMost(octets), messages: Limit::Unlimited };
    directory.set_quota(&address("alice@example.org"), at_most(1)).unwrap();
    let running = host.run();
    let id = host.add(Some("carol@example.com"), &["alice@example.org"]);
    host.wait(&id, |message| message.unwrap().recipients[0].attempts == 1).await;
    let why = host.queue.show(&id).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap();
    assert!(why.to_string().contains("the mailbox is full"), "{why}");
    assert_eq!(why.status.to_string(), "4.2.2");
    directory.set_quota(&address("alice@example.org"), at_most(10_000)).unwrap();
    host.queue.retry(Some(&id)).unwrap();
    assert!(host.mail().await.contains("Subject: hello"));
    host.wait(&id, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn mail_for_a_full_account_bounces_where_it_is_to_be_rejected() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.quota.full = FullMailbox::Reject;
    host.config.quota.default.messages = Some(0);
    let running = host.run();
    let id = host.add(Some("carol@example.com"), &["alice@example.org"]);
    let bounce = peer.next().await;
    assert!(bounce.text.contains("Status: 5.2.2\r\n"), "{}", bounce.text);
    host.wait(&id, gone).await;
    running.stop().await;
}
