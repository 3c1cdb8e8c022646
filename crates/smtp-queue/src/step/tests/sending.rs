//! Of attempts: what is relayed, returned, told of, sent on and delivered here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use mail_directory::Directory;
use tokio::task::spawn_blocking;

use super::host::{Host, PATIENCE, address};
use super::peer::{Peer, Received};
use super::{dies, instructions};
use crate::step::Step;
use crate::{Change, Filter, Handling, Queue, QueuedRecipient, RecipientState, Requests};

/// One attempt at a time, so that one message is on its way.
fn open(folder: &Path, port: u16) -> Host {
    let mut host = Host::open(folder, Some(Peer::smarthost_at(port)));
    host.config.queue.max_concurrent = 1;
    host.config.queue.max_per_destination = 1;
    host.config.queue.warn_after = Duration::from_millis(1);
    host.config.queue.gather_reports = Duration::from_secs(8);
    host.config.queue.suppression.bounces = 1;
    host.config.queue.verp = vec!["news@example.org".parse().unwrap()];
    host
}

/// Of each kind some; `elsewhere` is the port of another host.
fn fill(host: &Host, elsewhere: u16) {
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    directory.add_alias(&"sales@example.org".parse().unwrap(), &[address("sold@x.org")]).unwrap();
    let ours = Handling { is_ours: true, ..Handling::default() };
    let add = |sender, recipients: &[&str]| {
        host.add_handled(Some(sender), recipients, Requests::default(), ours);
    };
    host.add_large("alice@example.org", "yes@x.org");
    host.add_large("carol@example.com", "sales@example.org");
    host.add(Some("carol@example.com"), &["alice@example.org"]);
    add("news@example.org", &["v1@x.org", "v2@x.org", "v3@x.org"]);
    // What goes to one host is gathered into one transaction.
    add("carol@example.com", &GATHERED);
    // What fails at two destinations is told in one report.
    add("carol@example.com", &["no@x.org", "no@z.org"]);
    let there = Filter { domain: Some("z.org".parse().unwrap()), ..Filter::default() };
    let hop = format!("127.0.0.1:{elsewhere}").parse().unwrap();
    assert_eq!(host.queue.change(&there, &Change::Reroute(Some(hop)), |_| {}).unwrap(), 1);
    host.add_large("carol@example.com", "no@y.org");
    host.add(Some("carol@example.com"), &["later@x.org"]);
}

/// Until all is done, or tried and left for later.
async fn settle(host: &Host) {
    let running = host.run();
    let is_left = |it: &QueuedRecipient| {
        let far = Timestamp::now() + SignedDuration::from_secs(30);
        it.state != RecipientState::Pending || it.next_attempt.is_some_and(|next| next > far)
    };
    let settled = async {
        while !host.queue.list(None, 100).unwrap().iter().all(|it| it.recipients.iter().all(is_left)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, settled).await.expect("not all is done");
    running.stop().await;
}

#[tokio::test]
#[ignore = "the process that another test has die"]
async fn sends_all() {
    let Some((folder, port)) = instructions() else { return };
    settle(&open(&folder, port)).await;
}

/// How often each has reached whom it was for: messages by recipient, reports by whom and what they tell. The same report twice counts once.
fn counted(folder: &Path, received: &[Received]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for (place, Received { from, to, text }) in received.iter().enumerate() {
        if from.is_empty() && received[..place].iter().any(|it| it.text == *text) {
            continue;
        }
        if from.is_empty() {
            let text = text.replace("\r\n", "\n");
            for group in text.split("Final-Recipient: rfc822; ").skip(1) {
                let mut lines = group.lines();
                let (recipient, action) = (lines.next().unwrap(), lines.next().unwrap());
                *count.entry(format!("{recipient} {action}")).or_default() += 1;
            }
        } else {
            to.iter().for_each(|to| *count.entry(to.clone()).or_default() += 1);
        }
    }
    let inbox = folder.join("mail/example.org/alice/Maildir/new");
    count.insert("alice@example.org".to_owned(), std::fs::read_dir(inbox).map_or(0, Iterator::count));
    count
}

/// Recipients of one message at one host.
const GATHERED: [&str; 2] = ["g1@x.org", "g2@x.org"];

const EXPECTED: [&str; 12] = [
    "alice@example.org",
    "g1@x.org",
    "g2@x.org",
    "later@x.org Action: delayed",
    "no@x.org Action: failed",
    "no@y.org Action: failed",
    "no@z.org Action: failed",
    "sold@x.org",
    "v1@x.org",
    "v2@x.org",
    "v3@x.org",
    "yes@x.org",
];

/// Destinations of these.
const DESTINATIONS: usize = 3;

/// What is queued at this moment and not recorded as done: the names of messages, and recipients.
fn pending(folder: &Path) -> BTreeSet<String> {
    let queue = Queue::open(&folder.join("queue")).unwrap();
    let messages = queue.list(None, 100).unwrap().into_iter();
    let texts = messages.flat_map(|message| {
        let recipients = message.recipients.into_iter().filter(|it| it.state == RecipientState::Pending);
        let recipients: Vec<String> = recipients.map(|it| it.address.to_string()).collect();
        recipients.into_iter().chain([message.id.0])
    });
    texts.collect()
}

/// What came twice was not recorded as done when the process died, and was on its way to a destination.
#[track_caller]
fn only_what_was_on_its_way_came_twice(
    received: &[Received],
    counted: &BTreeMap<String, usize>,
    pending: &BTreeSet<String>,
) {
    let again = counted.iter().filter(|(_, count)| **count > 1).map(|(to, _)| to);
    let (gathered, others): (Vec<&String>, Vec<&String>) =
        again.partition(|to| GATHERED.contains(&to.as_str()));
    assert!(gathered.is_empty() || gathered.len() == GATHERED.len(), "one transaction: {counted:?}");
    let messages: Vec<&String> = gathered.first().copied().into_iter().chain(others).collect();
    let reports = received.iter().enumerate().filter(|(_, it)| it.from.is_empty());
    let reports =
        reports.filter(|(place, it)| received[..*place].iter().any(|before| before.text == it.text));
    let reports: Vec<&String> = reports.map(|(_, it)| &it.text).collect();
    for text in &reports {
        assert!(pending.iter().any(|id| text.contains(id)), "{pending:?}: {text}");
    }
    assert!(messages.iter().all(|to| pending.contains(*to)), "{pending:?}: {counted:?}");
    assert!(counted.values().all(|count| *count <= 2), "{counted:?}");
    assert!(messages.len() + reports.len() <= DESTINATIONS, "{counted:?}");
}

/// Into one transaction for one host, whoever died.
#[track_caller]
fn recipients_were_gathered(received: &[Received]) {
    for Received { to, .. } in received {
        assert!(to.iter().all(|to| !GATHERED.contains(&to.as_str())) || *to == GATHERED, "{to:?}");
    }
}

/// Has a process die at the step, each time that it is reached, and another one go on. Tells how often that was.
async fn dies_at(step: Step) -> usize {
    for times in 0.. {
        let (mut peer, mut other) = (Peer::start().await, Peer::start().await);
        let folder = tempfile::tempdir().unwrap();
        fill(&open(folder.path(), peer.port), other.port);
        let (path, port) = (folder.path().to_owned(), peer.port);
        let died = spawn_blocking(move || dies("sending::sends_all", &path, port, (step, times)).0);
        let died = died.await.unwrap();
        let left = pending(folder.path());
        settle(&open(folder.path(), peer.port)).await;
        let next = || peer.received_already().or_else(|| other.received_already());
        let received: Vec<Received> = std::iter::from_fn(next).collect();
        let counted = counted(folder.path(), &received);
        let reached: Vec<&str> = counted.keys().map(String::as_str).collect();
        assert_eq!(reached, EXPECTED, "{step:?} {times}");
        assert!(!counted.values().any(|count| *count == 0), "{step:?} {times}: {counted:?}");
        only_what_was_on_its_way_came_twice(&received, &counted, &left);
        recipients_were_gathered(&received);
        is_clean(folder.path());
        if !died {
            return times;
        }
    }
    0
}

/// Only what is to be tried later is left, and no file.
fn is_clean(folder: &Path) {
    let queue = Queue::open(&folder.join("queue")).unwrap();
    assert_eq!(queue.summary().unwrap().messages, 1);
    queue.sweep(Duration::ZERO).unwrap();
    assert_eq!(std::fs::read_dir(folder.join("queue/messages")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_comes_again_only_where_a_process_dies_before_that_is_recorded() {
    let (replied, made) = tokio::join!(dies_at(Step::Replied), dies_at(Step::OffspringMade));
    assert!(replied >= 9 && made >= 9, "{replied} {made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_never_comes_again_wherever_a_process_dies() {
    let steps = [Step::Committed, Step::Recorded, Step::FileRemoved, Step::Bounced];
    let times = join_all(steps.map(dies_at)).await;
    assert!(times[0] >= 9 && times[1] >= 9 && times[2] >= 3 && times[3] >= 1, "{times:?}");
}

/// What failed elsewhere before is told in a report that takes the place of one in the queue, which another process finds there if this one dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_to_tell_of_more_takes_the_place_of_the_first_one_or_leaves_it() {
    assert_eq!(dies_at(Step::Superseded).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_an_attempt_is_queued_with_its_outcome_or_not_at_all() {
    let steps = [Step::Changed, Step::FileMade, Step::FileWritten, Step::FileFlushed, Step::FolderFlushed];
    let times = join_all(steps.map(dies_at)).await;
    assert!(times[0] >= 9 && times.iter().all(|it| *it >= 1), "{times:?}");
}
