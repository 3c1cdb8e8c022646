use std::io::Write as _;

use super::*;
use crate::Handling;
use crate::database::Progress;

fn due(queue: &Queue, now: Timestamp) -> Vec<String> {
    let mut due = Vec::new();
    let mut offer = |found: Option<&Due<'_>>| {
        due.extend(found.map(|found| found.message.to_owned()));
        Further::Next
    };
    queue.due(now, &mut offer).unwrap();
    due
}

#[test]
fn only_what_an_interrupted_step_left_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let large = || {
        let mut writer = queue.add().unwrap();
        writer.write_all(&[b'x'; 100_000]).unwrap();
        writer
    };
    let queued = large().commit(&Envelope::plain()).unwrap();
    // Killed before the row was written; the file was complete already.
    let orphan = large().persist(&Envelope::plain()).unwrap();
    let queue = Queue::open(folder.path()).unwrap();

    assert_eq!(queue.sweep(Duration::from_secs(3600)).unwrap(), 0, "it may be another process's work");
    assert_eq!(queue.sweep(Duration::ZERO).unwrap(), 1);
    assert!(queue.content(&queued).is_ok());
    assert!(queue.content(&orphan.id).is_err());
}

/// By a crash of the machine a row comes back whose removal is not on the disk yet.
#[test]
fn a_file_is_swept_when_it_is_on_the_disk_that_its_message_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let mut writer = queue.add().unwrap();
    writer.write_all(&[b'x'; 100_000]).unwrap();
    let id = writer.commit(&Envelope::plain()).unwrap();
    let now = Timestamp::now();
    let (state, diagnosis) = (crate::RecipientState::Delivered, None);
    let step =
        Progress { position: 0, state, last_attempt: now, next_attempt: None, diagnosis, warned: false };
    let (progress, offspring, warned) = (vec![step], Vec::new(), Vec::new());
    let done = Arc::new(Attempted { id, progress, offspring, warned, superseded: None });
    let writer = queue.writer().unwrap();
    writer.write(Change::Record(Arc::clone(&done))).unwrap();
    assert!(!writer.is_flushed());
    assert_eq!(queue.sweep(Duration::ZERO).unwrap(), 1);
    assert!(writer.is_flushed());
}

#[test]
fn what_may_have_lost_its_row_is_swept_only_when_an_operator_has_done_with_that() {
    let folder = tempfile::tempdir().unwrap();
    let large = |queue: &Arc<Queue>| {
        let mut writer = queue.add().unwrap();
        writer.write_all(&[b'x'; 100_000]).unwrap();
        writer
    };
    let queued = large(&Queue::open(folder.path()).unwrap()).commit(&Envelope::plain()).unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let foreign = queue.path(&QueueId("notes.txt".to_owned()));
    fs::write(&foreign, "an operator's").unwrap();
    let database = folder.path().join("queue.sqlite");
    let length = usize::try_from(fs::metadata(&database).unwrap().len()).unwrap();
    fs::write(&database, b"no database ".repeat(length)).unwrap();
    assert_eq!(queue.sweep(Duration::ZERO).unwrap(), 0);
    let told = queue.notices().unwrap();
    assert!(told.first().is_some_and(|it| it.text.contains("1 files in messages/")), "{told:?}");
    // In the second after that, which the name of the text is of.
    while Timestamp::now().as_second() <= told[0].since.as_second() {
        std::thread::yield_now();
    }
    let orphan = large(&queue).persist(&Envelope::plain()).unwrap().id;
    assert_eq!(queue.sweep(Duration::ZERO).unwrap(), 1);
    assert!(queue.path(&queued).exists() && !queue.path(&orphan).exists() && foreign.exists());
    let texts = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    texts.filter(|path| path.extension().is_some_and(|it| it == "txt")).for_each(|path| {
        fs::remove_file(path).unwrap();
    });
    assert_eq!((queue.sweep(Duration::ZERO).unwrap(), queue.notices().unwrap()), (1, Vec::new()));
    assert!(foreign.exists());
}

/// A look that finds damage has not seen what is behind that.
#[test]
fn a_look_that_finds_the_database_damaged_fails_and_the_next_one_finds_all() {
    let folder = tempfile::tempdir().unwrap();
    let add = |queue: &Arc<Queue>| queue.add().unwrap().commit(&Envelope::plain()).unwrap().0;
    let queue = Queue::open(folder.path()).unwrap();
    let ids = [add(&queue), add(&queue)];
    drop(queue);
    Database::damage_index(&folder.path().join("queue.sqlite"));
    let queue = Queue::open(folder.path()).unwrap();
    let failed = queue.due(Timestamp::MAX, |_| Further::Next);
    assert!(failed.is_err_and(|error| error.is_loss()));
    assert_eq!(due(&queue, Timestamp::MAX), ids);
}

#[test]
fn a_message_that_may_be_taken_back_is_left_alone_until_it_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let due = || due(&queue, Timestamp::now());
    let wait = Duration::from_secs(300);
    let id = queue.add().unwrap().commit_after(&Envelope::plain(), wait).unwrap();
    assert!(due().is_empty());
    queue.retry(Some(&id)).unwrap();
    assert_eq!(due(), [id.0]);
}

/// RFC 6710 §5
#[test]
fn what_matters_more_is_due_first_whatever_is_due_longer() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let add = |priority: &str| {
        let (priority, is_bulk) = (priority.parse().ok(), priority == "bulk");
        let handling = Handling { priority, is_bulk, ..Handling::default() };
        queue.add().unwrap().commit(&Envelope { handling, ..Envelope::plain() }).unwrap().0
    };
    let [bulk, low, usual, high, said] = ["bulk", "-9", "", "9", "0"].map(add);
    assert_eq!(due(&queue, Timestamp::MAX), [high, usual, said, bulk, low]);
    let next = queue.due(Timestamp::UNIX_EPOCH, |_| Further::Next).unwrap();
    assert!(next.is_some_and(|next| next <= Timestamp::now()));
}

#[test]
fn a_message_being_written_is_not_in_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let mut writer = queue.add().unwrap();
    writer.write_all(b"half").unwrap();
    assert!(due(&queue, Timestamp::MAX).is_empty());
}

/// A command is gone in a moment, and what it reads it reads beside those who write.
#[test]
fn a_visitor_starts_nothing_and_opens_to_write_only_when_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Queue::open(folder.path()).unwrap();
    let id = server.add().unwrap().commit(&Envelope::plain()).unwrap();
    let visitor = Queue::visit(folder.path()).unwrap();
    assert!(visitor.show(&id).unwrap().is_some());
    assert_eq!(visitor.summary().unwrap().messages, 1);
    assert!(visitor.watch.is_none() && visitor.writer.get().is_none());
    visitor.remove(Some(&id)).unwrap();
    assert!(visitor.writer.get().is_some() && server.show(&id).unwrap().is_none());
}

/// It may last: here somebody is at work in the database until then.
#[tokio::test]
async fn on_a_thread_of_an_async_runtime_the_last_look_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let writer = Arc::clone(queue.writer().unwrap());
    let at_work = writer.alone();
    drop(queue);
    drop(at_work);
}
