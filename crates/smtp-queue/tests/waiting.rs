//! Who has its turn to write, and keeps it, holds up no reader, and writers not without a word.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use smtp_queue::{Body, Envelope, Handling, Queue, QueueId, Requests};

/// How long a word may be waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of a process that is to keep its turn.
const FOLDER: &str = "MAILSTEAD_TEST_FOLDER";

struct Writer(Sender<String>);

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this process logs from now on.
fn log() -> Receiver<String> {
    let (sender, lines) = channel();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(move || Writer(sender.clone()));
    subscriber.init();
    lines
}

/// A process that keeps its turn until it is ended.
struct Keeper(Child);

impl Keeper {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--quiet", "--ignored", "--nocapture", "--exact", "keeps_its_turn"])
            .env(FOLDER, folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
        assert!(said.map_while(Result::ok).any(|line| line.ends_with("kept")));
        Self(child)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the process that another test starts"]
fn keeps_its_turn() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let file = File::options().write(true).open(Path::new(&folder).join("queue.turn")).unwrap();
    file.lock().unwrap();
    println!("kept");
    let _ = io::Read::read(&mut io::stdin(), &mut [0]);
}

fn add(queue: &Arc<Queue>) -> QueueId {
    let envelope = Envelope {
        sender: None,
        origin: String::new(),
        recipients: vec!["bob@example.net".parse().unwrap()],
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests::default(),
        handling: Handling::default(),
    };
    let mut writer = queue.add().unwrap();
    writer.write_all(b"Subject: x\r\n\r\n").unwrap();
    writer.commit(&envelope).unwrap()
}

#[test]
fn who_keeps_its_turn_is_named_by_who_waits_and_holds_up_no_reader() {
    let lines = log();
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let id = add(&queue);
    let keeper = Keeper::start(folder.path());
    let next = |text: &str| {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains(text), "{line}");
    };
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&queue));
        let visitor = Queue::visit(folder.path()).unwrap();
        assert_eq!(visitor.list(None, 10).unwrap().len(), 1);
        assert!(visitor.show(&id).unwrap().is_some() && visitor.content(&id).is_ok());
        assert_eq!((visitor.summary().unwrap().messages, visitor.notices().unwrap().len()), (1, 0));
        assert_eq!(queue.list(None, 10).unwrap().len(), 1);
        next(&format!("process {} (`", keeper.0.id()));
        assert!(!writing.is_finished());
        drop(keeper);
        assert!(queue.show(&writing.join().unwrap()).unwrap().is_some());
        next("the turn to write to the queue came after");
    });
}
