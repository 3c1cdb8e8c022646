//! The queue on disk: what is committed stays, what is not leaves nothing, and operators see it from another process.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::slice;
use std::sync::Arc;

use disk_room::MinFree;
use jiff::Timestamp;
use mail_types::Address;
use smtp_proto::Return;
use smtp_queue::{
    Body, Change, Envelope, Filter, Handling, Queue, QueueError, QueueId, RcptParameters, RecipientState,
    Requests, WaitState,
};
use tempfile::TempDir;

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\n.dots\r\nand \xe4 octets\r\n";

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn envelope() -> Envelope {
    Envelope {
        sender: Some(address("\"a b\"@example.org")),
        origin: String::new(),
        recipients: vec![address("bob@example.net"), address("josé@bücher.example")],
        smtputf8: true,
        body: Body::Binary,
        requests: Requests::default(),
        handling: Handling::default(),
    }
}

fn open() -> (TempDir, Arc<Queue>) {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(&folder.path().join("data/queue")).unwrap();
    (folder, queue)
}

/// A small message, which lies in the database.
fn add(queue: &Arc<Queue>) -> QueueId {
    add_text(queue, MESSAGE)
}

/// One that has a file of its own.
fn large() -> Vec<u8> {
    MESSAGE.iter().copied().cycle().take(100_000).collect()
}

fn add_text(queue: &Arc<Queue>, text: &[u8]) -> QueueId {
    let mut writer = queue.add().unwrap();
    text.chunks(1000).for_each(|piece| writer.write_all(piece).unwrap());
    writer.commit(&envelope()).unwrap()
}

/// One that has a file of its own.
fn add_to(queue: &Arc<Queue>, envelope: &Envelope) -> QueueId {
    let mut writer = queue.add().unwrap();
    writer.write_all(&large()).unwrap();
    writer.commit(envelope).unwrap()
}

fn content(queue: &Queue, id: &QueueId) -> Vec<u8> {
    let mut content = Vec::new();
    queue.content(id).unwrap().read_to_end(&mut content).unwrap();
    content
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join("data/queue/messages")).unwrap().count()
}

#[test]
fn a_committed_message_is_there_after_a_restart() {
    let (folder, queue) = open();
    let (id, other) = (add(&queue), add_text(&queue, &large()));
    drop(queue);
    let queue = Queue::open(&folder.path().join("data/queue")).unwrap();
    assert_eq!((content(&queue, &other), files(folder.path())), (large(), 1));
    let message = queue.show(&id).unwrap().unwrap();
    assert_eq!(message.sender, envelope().sender);
    assert_eq!(message.size, MESSAGE.len() as u64);
    assert!(message.smtputf8 && message.body == Body::Binary && !message.held);
    let recipients: Vec<_> = message.recipients.iter().map(|it| it.address.clone()).collect();
    assert_eq!(recipients, envelope().recipients);
    assert!(message.recipients.iter().all(|it| it.state == RecipientState::Pending && it.attempts == 0));
    assert_eq!(message.recipients[0].next_attempt, Some(message.arrived));
    assert_eq!(content(&queue, &id), MESSAGE);
}

#[test]
fn an_uncommitted_message_leaves_nothing() {
    let (folder, queue) = open();
    for text in [MESSAGE, &large()] {
        let mut writer = queue.add().unwrap();
        writer.write_all(text).unwrap();
        drop(writer);
    }
    assert_eq!((queue.summary().unwrap().messages, files(folder.path())), (0, 0));
}

#[test]
fn a_message_for_nobody_is_refused() {
    let (folder, queue) = open();
    let nobody = Envelope { recipients: Vec::new(), ..envelope() };
    assert!(matches!(queue.add().unwrap().commit(&nobody), Err(QueueError::NoRecipients)));
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn an_operator_looks_on_and_intervenes_from_another_process() {
    let (folder, server) = open();
    let (first, second) = (add_text(&server, &large()), add(&server));
    let operator = Queue::open(&folder.path().join("data/queue")).unwrap();

    let page = operator.list(None, 1).unwrap();
    assert_eq!(page[0].id, first);
    assert_eq!(operator.list(Some(&first), 10).unwrap()[0].id, second);

    operator.hold(Some(&first)).unwrap();
    let held = server.show(&first).unwrap().unwrap();
    assert!(held.held && held.recipients.iter().all(|it| it.next_attempt.is_none()));
    assert_eq!(operator.retry(None).unwrap(), 2);
    assert!(server.show(&first).unwrap().unwrap().recipients[0].next_attempt.is_none(), "held stays held");
    operator.release(Some(&first)).unwrap();
    assert!(server.show(&first).unwrap().unwrap().recipients[0].next_attempt.is_some());

    assert_eq!(operator.remove(Some(&first)).unwrap(), 1);
    assert_eq!(server.show(&first).unwrap(), None);
    assert_eq!(files(folder.path()), 0);
    let summary = server.summary().unwrap();
    assert_eq!((summary.messages, summary.octets, summary.held), (1, MESSAGE.len() as u64, 0));
    assert_eq!(operator.remove(None).unwrap(), 1);
    assert_eq!(files(folder.path()), 0);
}

fn all() -> Filter {
    Filter::default()
}

/// What operators see of those whose recipients are at example.net, after the change.
fn changed(queue: &Queue, change: &Change, filter: &Filter) -> Vec<QueueId> {
    let mut seen = Vec::new();
    let count = queue.change(filter, change, |ids| seen.extend_from_slice(ids)).unwrap();
    assert_eq!(count, seen.len());
    seen
}

#[test]
fn what_messages_have_in_common_says_which_are_changed() {
    let (folder, server) = open();
    let envelope = |recipients: &[&str]| Envelope {
        recipients: recipients.iter().map(|it| address(it)).collect(),
        ..envelope()
    };
    let both = add_to(&server, &envelope(&["bob@example.net", "eve@example.com"]));
    let other = add_to(&server, &envelope(&["eve@example.com"]));
    let queue = Queue::open(&folder.path().join("data/queue")).unwrap();
    let next = |id: &QueueId, place: usize| queue.show(id).unwrap().unwrap().recipients[place].next_attempt;
    let of_domain = Filter { domain: Some("example.net".parse().unwrap()), ..all() };

    let before = [next(&both, 0), next(&both, 1)];
    assert_eq!(changed(&queue, &Change::Retry, &of_domain), slice::from_ref(&both));
    assert!(next(&both, 0) > before[0], "who is meant is tried now");
    assert_eq!(next(&both, 1), before[1], "who is not meant waits for its time");
    assert_eq!(changed(&queue, &Change::Hold, &of_domain), slice::from_ref(&both));
    assert_eq!([next(&both, 0), next(&both, 1)], [None, None]);
    assert!(next(&other, 0).is_some());
    let held = Filter { state: Some(WaitState::Held), ..all() };
    assert_eq!(changed(&queue, &Change::Release { early: false }, &held), slice::from_ref(&both));
    assert!(next(&both, 0).is_some());
    assert!(changed(&queue, &Change::Release { early: false }, &held).is_empty());
    let before = next(&both, 0);
    assert!(changed(&queue, &Change::Release { early: true }, &all()).is_empty(), "nothing was held");
    assert_eq!(queue.change_one(&both, &Change::Release { early: true }).unwrap(), 0);
    assert_eq!(next(&both, 0), before, "its time is as it was");
    assert_eq!(
        [queue.change_one(&both, &Change::Hold).unwrap(), queue.change_one(&both, &Change::Hold).unwrap()],
        [1, 0]
    );
    assert_eq!(changed(&queue, &Change::Hold, &all()), slice::from_ref(&other));
    assert_eq!(changed(&queue, &Change::Release { early: false }, &all()), [both.clone(), other.clone()]);
    assert_eq!(changed(&queue, &Change::Remove, &of_domain), slice::from_ref(&both));
    assert_eq!((queue.show(&both).unwrap(), files(folder.path())), (None, 1));
    assert_eq!(changed(&queue, &Change::Remove, &all()), [other]);
    assert_eq!((queue.summary().unwrap().messages, files(folder.path())), (0, 0));
}

#[test]
fn recipients_that_are_sent_another_way_can_be_sent_the_usual_one_again() {
    let (_folder, queue) = open();
    let envelope =
        Envelope { recipients: vec![address("bob@example.net"), address("eve@example.com")], ..envelope() };
    let id = add_to(&queue, &envelope);
    let hops = || -> Vec<Option<String>> {
        let message = queue.show(&id).unwrap().unwrap();
        message.recipients.iter().map(|it| it.next_hop.as_ref().map(ToString::to_string)).collect()
    };
    let of_domain = Filter { domain: Some("example.net".parse().unwrap()), ..all() };
    let there = Change::Reroute(Some("other.example:26".parse().unwrap()));
    assert_eq!(changed(&queue, &there, &of_domain), slice::from_ref(&id));
    assert_eq!(hops(), [Some("other.example:26".to_owned()), None]);
    queue.change_one(&id, &there).unwrap();
    assert_eq!(hops(), [Some("other.example:26".to_owned()), Some("other.example:26".to_owned())]);
    changed(&queue, &Change::Reroute(None), &of_domain);
    assert_eq!(hops(), [None, Some("other.example:26".to_owned())]);
}

#[test]
fn a_queue_of_many_pages_is_gone_through_once() {
    let (_folder, queue) = open();
    let messages = (0..1203).map(|_| (queue.add().unwrap(), envelope())).collect();
    let ids = queue.commit_all(messages, std::time::Duration::ZERO).unwrap();
    let mut seen = Vec::new();
    queue
        .each(&all(), |page| {
            seen.extend(page.into_iter().map(|message| message.id));
            Ok::<_, QueueError>(())
        })
        .unwrap();
    let mut expected = ids;
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(changed(&queue, &Change::Remove, &all()).len(), 1203);
}

#[test]
fn on_a_disk_full_of_mail_no_message_is_taken_and_what_is_queued_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let id = add_to(&Queue::open(folder.path()).unwrap(), &envelope());
    let files = || fs::read_dir(folder.path().join("messages")).unwrap().count();
    let before = files();
    let queue = Queue::open_with(folder.path(), MinFree::octets(u64::MAX)).unwrap();
    let add = |size: usize| {
        let mut writer = queue.add().unwrap();
        writer
            .write_all(&vec![b'x'; size])
            .map_err(|error| error.kind() == std::io::ErrorKind::StorageFull)?;
        let messages = vec![(writer, envelope())];
        queue.commit_all(messages, std::time::Duration::ZERO).map_err(|error| error.is_full())
    };
    assert_eq!([add(1000), add(100_000)], [Err(true), Err(true)]);
    assert_eq!(files(), before);
    assert_eq!(queue.hold(Some(&id)).unwrap(), 1);
    assert_eq!(queue.remove(Some(&id)).unwrap(), 1);
}

/// RFC 4865
#[test]
fn what_its_sender_holds_back_goes_early_only_when_an_operator_says_so() {
    let (_folder, queue) = open();
    // The database counts milliseconds.
    let in_ten_days = Timestamp::now().as_millisecond() + 10 * 24 * 3_600_000;
    let later = Timestamp::from_millisecond(in_ten_days).unwrap();
    let handling = Handling { release: Some(later), ..Handling::default() };
    let id = add_to(&queue, &Envelope { handling, ..envelope() });
    let message = || queue.show(&id).unwrap().unwrap();
    let scheduled = Filter { state: Some(WaitState::Scheduled), ..all() };
    for (change, count) in [(Change::Retry, 1), (Change::Release { early: false }, 0)] {
        assert_eq!(changed(&queue, &change, &scheduled).len(), count);
        assert!(message().recipients.iter().all(|it| it.next_attempt >= Some(later)), "{change:?}");
    }
    // Held and let go again it still waits for its time.
    queue.change_one(&id, &Change::Hold).unwrap();
    queue.change_one(&id, &Change::Release { early: false }).unwrap();
    assert_eq!(message().recipients[0].next_attempt, Some(later));
    assert_eq!(changed(&queue, &Change::Release { early: true }, &scheduled).len(), 1);
    let now = Timestamp::now();
    assert!(message().recipients.iter().all(|it| it.next_attempt.is_some_and(|next| next <= now)));
    assert!(message().handling.release.is_some_and(|release| release <= now), "its time begins now");
    queue.change_one(&id, &Change::Remove).unwrap();
    assert!(matches!(queue.change_one(&id, &Change::Remove), Err(QueueError::NoSuchMessage(_))));
}

#[test]
fn an_unknown_name_is_said_and_never_becomes_a_path_or_a_pattern() {
    let (_folder, queue) = open();
    add(&queue);
    for name in ["0", "%", "", "../queue.sqlite"] {
        let id = QueueId(name.to_owned());
        assert!(matches!(queue.retry(Some(&id)), Err(QueueError::NoSuchMessage(_))), "{name}");
        assert!(matches!(queue.remove(Some(&id)), Err(QueueError::NoSuchMessage(_))), "{name}");
        assert!(
            queue
                .content(&id)
                .and_then(|mut file| {
                    file.read_to_end(&mut Vec::new()).map_err(|_| QueueError::NoRecipients)
                })
                .is_err()
        );
    }
    assert_eq!(queue.summary().unwrap().messages, 1);
}

/// RFC 3461 §4
#[test]
fn what_the_sender_wants_to_hear_is_kept() {
    let (folder, queue) = open();
    let parameters = RcptParameters {
        notify: Some("SUCCESS,DELAY".parse().unwrap()),
        original: Some("rfc822;Bob+2Btag+40example.net".parse().unwrap()),
    };
    let requests = Requests {
        ret: Some(Return::Full),
        envelope_id: Some("a+b = c".to_owned()),
        recipients: [(address("bob@example.net"), parameters.clone())].into(),
    };
    let mut writer = queue.add().unwrap();
    writer.write_all(MESSAGE).unwrap();
    let id = writer.commit(&Envelope { requests, ..envelope() }).unwrap();
    drop(queue);
    let queue = Queue::open(&folder.path().join("data/queue")).unwrap();
    let message = queue.show(&id).unwrap().unwrap();
    assert_eq!((message.ret, message.envelope_id.as_deref()), (Some(Return::Full), Some("a+b = c")));
    let kept: Vec<_> = message.recipients.iter().map(|it| it.parameters.clone()).collect();
    assert_eq!(kept, [parameters, RcptParameters::default()]);
}

#[test]
fn a_queue_of_the_first_format_goes_on() {
    let (folder, queue) = open();
    let id = add_text(&queue, &large());
    drop(queue);
    let path = folder.path().join("data/queue");
    let before = "ALTER TABLE message DROP COLUMN ret; ALTER TABLE message DROP COLUMN envelope_id;
        ALTER TABLE recipient DROP COLUMN notify; ALTER TABLE recipient DROP COLUMN original;
        ALTER TABLE recipient DROP COLUMN warned; DROP INDEX recipient_due_in_turn; DROP INDEX message_held_back; DROP TABLE notice; DROP TABLE lineage;
        ALTER TABLE recipient DROP COLUMN next_hop; ALTER TABLE recipient DROP COLUMN sender; ALTER TABLE recipient DROP COLUMN origin;
        ALTER TABLE message DROP COLUMN origin; ALTER TABLE message DROP COLUMN is_bulk;
        ALTER TABLE recipient DROP COLUMN priority; ALTER TABLE message DROP COLUMN require_tls;
        ALTER TABLE message DROP COLUMN priority; ALTER TABLE message DROP COLUMN deadline;
        ALTER TABLE message DROP COLUMN deadline_returns; ALTER TABLE message DROP COLUMN deadline_traced;
        ALTER TABLE message DROP COLUMN release; ALTER TABLE message DROP COLUMN is_ours;
        DROP TRIGGER content_goes_with_its_message; DROP TABLE content; ALTER TABLE message DROP COLUMN content;
        ALTER TABLE message DROP COLUMN checksum; PRAGMA user_version = 1;";
    rusqlite::Connection::open(path.join("queue.sqlite")).unwrap().execute_batch(before).unwrap();
    let queue = Queue::open(&path).unwrap();
    let message = queue.show(&id).unwrap().unwrap();
    assert_eq!((message.recipients.len(), message.ret, message.checksum), (2, None, None));
    assert!(message.recipients.iter().all(|it| !it.warned));
    assert_eq!(message.handling, Handling::default());
    assert_eq!(content(&queue, &id), large());
    let second = add(&queue);
    assert_eq!(content(&queue, &second), MESSAGE);
    assert_eq!(queue.show(&second).unwrap().unwrap().checksum, Some(crc32fast::hash(MESSAGE)));
}

#[test]
fn a_newer_format_is_not_touched() {
    let (folder, queue) = open();
    drop(queue);
    let path = folder.path().join("data/queue");
    rusqlite::Connection::open(path.join("queue.sqlite"))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(Queue::open(&path), Err(QueueError::NewerFormat { found: 99, .. })));
}

#[test]
fn many_threads_add_at_once() {
    let (folder, queue) = open();
    let other = Queue::open(&folder.path().join("data/queue")).unwrap();
    std::thread::scope(|scope| {
        for queue in [&queue, &other, &queue, &other] {
            scope.spawn(move || (0..10).for_each(|_| drop(add(queue))));
        }
    });
    assert_eq!(queue.summary().unwrap().messages, 40);
    let queued = queue.list(None, 100).unwrap();
    assert!(queued.iter().all(|message| content(&queue, &message.id) == MESSAGE));
}
